"""Rows of a frame of `synaug.experiments.empirical_score`, from what was found for each image: estimates with 95 %
limits over images."""

import numpy as np

from synaug.statistics import mean_interval, paired_interval, ratio_interval

#: Per image and a mean over pixels, what is averaged as it is.
MEANS = ("network_to_empirical", "network_error", "empirical_error", "own_weight")


def difference_rows(found):
    """Rows of `Memory.differences`: means over images, and the paired test of the two denoisers' errors."""
    rows = [{"metric": metric, **limits(mean_interval(found[metric]))} for metric in MEANS if metric in found]
    paired = paired_interval(found["network_error"] - found["empirical_error"])
    return [*rows, {"metric": "error_difference", **limits(paired), "p_value": paired.p_value}]


def calibration_rows(found):
    """Two properties of an optimal denoiser, whose error is uncorrelated with anything it could have known: both are 1.

    score_factor: how many times longer the network's step from the noisy image to its estimate, and so its score, is
    than the best multiple of it, |step|² / <step, true step>. detail_slope: of the detail by which its estimate
    differs from the mean image of the class, the multiple that is in the clean image, <detail, true> / |detail|².
    """
    ratios = {"score_factor": (found["step_square"], found["step_product"]),
              "detail_slope": (found["detail_product"], found["detail_square"])}
    return [{"metric": metric, **limits(ratio_interval(*pair))} for metric, pair in ratios.items()]


def half_own_rows(arm, own, sigmas, n_bootstrap=1000):
    """The row of the noise level where the own share falls to a half; limits by bootstrap over sources.

    own: bool ``[levels, n]``. No row where the share of any resample does not fall that far.
    """
    rng, n = np.random.default_rng(0), own.shape[1]
    found = [half_level(own[:, some].mean(1), sigmas) for some in
             (np.arange(n), *(rng.integers(n, size=n) for _ in range(n_bootstrap)))]
    if None in found:
        return []
    low, high = np.quantile(found[1:], (0.025, 0.975))
    return [{"arm": arm, "x": 0, "sigma": found[0], "metric": "half_own", "split": "train", "value": found[0],
             "low": low, "high": high, "n": n}]


def half_level(shares, sigmas):
    """The noise level at which shares, 1 at ``sigmas[0]`` = 0, first fall to 1/2: linear in ln sigma between levels
    (linear in sigma from 0). None where they do not."""
    below = np.flatnonzero(np.asarray(shares) <= 0.5)
    if len(below) == 0 or below[0] == 0:
        return None
    i = below[0]
    part = (shares[i - 1] - 0.5) / (shares[i - 1] - shares[i])
    if sigmas[i - 1] == 0:
        return part * sigmas[i]
    return float(sigmas[i - 1] * (sigmas[i] / sigmas[i - 1]) ** part)


def limits(interval):
    return {"value": interval.estimate, "low": interval.low, "high": interval.high, "n": interval.n}
