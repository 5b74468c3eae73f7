"""What added images are worth: how many of them gain as much as one of a reference, such as one fresh real image."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats
from scipy.interpolate import PchipInterpolator
from scipy.optimize import isotonic_regression

from synaug.checks import number, whole
from synaug.statistics.intervals import Interval, mean_interval


@dataclass(frozen=True)
class ExchangeRate(Interval):
    """estimate: added images per reference image of equal gain; infinite where they gain nothing.

    bound: the least rate that the ruler can show. An estimate or limit that equals it lies beyond the ruler: it says
    "at most so many".
    """

    bound: float

    def __str__(self):
        low, high = (f"{limit:.3g}" if np.isfinite(limit) else "∞" for limit in (self.low, self.high))
        if self.estimate == self.bound:
            return f"at most {self.bound:.3g} (beyond the ruler; up to {high})"
        if not np.isfinite(self.estimate):
            return "no rate, as nothing is gained" + f" (at least {low})" * bool(np.isfinite(self.low))
        return f"{self.estimate:.3g} [{'≤' if self.low == self.bound else ''}{low}, {high}]"


def exchange_rate(
    added: int,
    gains: Sequence[float],
    reference_added: Sequence[int],
    reference_gains: Sequence[Sequence[float]],
    *,
    confidence: float = 0.95,
    n_bootstrap: int = 1000,
    seed: int = 0,
) -> ExchangeRate:
    """How many added images are worth one of the reference: ``added`` over the number of reference images that gains
    as much, by the ruler, the reference's curve of gains.

    The curve goes through 0 and the means, made monotone by isotonic regression, by PCHIP (Fritsch & Carlson 1980) of
    numbers against gains; below its smallest number it is little more than a straight line. The interval: bootstrap
    over pairs, all of a pair's gains together, with percentiles
    widened to Student's t (Hesterberg 2015, the expanded percentile interval).

    added: > 0. gains ``[n]``: what they gain, over the baseline, in each of n >= 3 pairs: draws of images with the
    training on them. Where a draw has several trainings, give their mean: the draw is the unit.
    reference_added ``[m]``: increasing, > 0. reference_gains ``[m, n]``: in the same pairs.
    ValueError for other shapes, values that are not finite and n_bootstrap < 1; where the ruler is flat, its largest number not gaining
    more than 0 (by ``confidence``); and where it is not monotone, a number gaining less than a smaller one (likewise).
    """
    number("confidence", confidence, above=0, below=1)
    n_bootstrap = whole("n_bootstrap", n_bootstrap, 1)
    numbers, ruler, gains = (np.asarray(v, np.float64) for v in (reference_added, reference_gains, gains))
    if gains.ndim != 1 or len(gains) < 3 or numbers.ndim != 1 or ruler.shape != (len(numbers), len(gains)) or not len(numbers):
        raise ValueError(
            f"gains must be [n] with n >= 3, reference_added [m] and reference_gains [m, n], got "
            f"{list(gains.shape)}, {list(numbers.shape)} and {list(ruler.shape)}"
        )
    if not all(np.isfinite(v).all() for v in (numbers, ruler, gains)):
        raise ValueError("numbers and gains must be finite")
    if numbers[0] <= 0 or (np.diff(numbers) <= 0).any() or not 0 < added < np.inf:
        raise ValueError(f"added must be positive, and reference_added positive and increasing, got {added} and {list(numbers)}")
    top = mean_interval(ruler[-1], confidence)
    if top.low <= 0:
        raise ValueError(f"the ruler is flat: {numbers[-1]:g} reference images gain {top.estimate:.3g} [{top.low:.3g}, {top.high:.3g}], not told from 0")
    for i, j in zip(*np.triu_indices(len(numbers), 1)):
        if mean_interval(ruler[j] - ruler[i], confidence).high < 0:
            raise ValueError(
                f"the ruler is not monotone: {numbers[j]:g} reference images gain less than {numbers[i]:g}, {ruler[j].mean():.3g} against {ruler[i].mean():.3g}"
            )

    def rate(chosen):
        return np.divide(added, _worth(gains[chosen].mean(), numbers, ruler[:, chosen].mean(1)))

    n, rng = len(gains), np.random.default_rng(seed)
    with np.errstate(divide="ignore"):
        estimate = float(rate(slice(None)))
        replicates = np.array([rate(chosen) for chosen in rng.integers(n, size=(n_bootstrap, n))])
    tail = stats.norm.cdf(np.sqrt(n / (n - 1)) * stats.t.ppf((1 - confidence) / 2, n - 1))
    # Of order statistics, as there is nothing between a number and infinity.
    low, high = np.quantile(replicates, tail, method="lower"), np.quantile(replicates, 1 - tail, method="higher")
    return ExchangeRate(estimate, float(low), float(high), n, float(added / numbers[-1]))


def _worth(gain: float, numbers: np.ndarray, ruler: np.ndarray) -> float:
    """The number of reference images that gains this much: 0 where it is no gain, the largest where it is beyond."""
    curve = np.maximum(np.r_[0, isotonic_regression(ruler).x], 0)
    if gain <= 0 or curve[-1] <= 0:
        return 0.0 if gain <= 0 else numbers[-1]
    if gain > curve[-1]:
        return numbers[-1]
    heights, first, count = np.unique(curve, return_index=True, return_counts=True)
    at = np.r_[0, numbers]  # numbers of one height: their middle, but for none at all and for the largest
    places = np.array([at[i : i + c].mean() for i, c in zip(first, count)])
    places[0], places[-1] = at[first[0] + count[0] - 1], at[first[-1]]
    return float(PchipInterpolator(heights, places)(gain))
