"""How well measures that are taken beforehand predict an outcome: over several sets, families of which are left out."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import rankdata

from synaug.checks import whole
from synaug.statistics.intervals import _values

#: Groups that a straight line needs beside the one that is left out.
LEAST_GROUPS = 3


def left_out_predictions(measures: Sequence[float], outcomes: Sequence[float], groups: Sequence) -> np.ndarray:
    """What a straight line says of each outcome, fitted to those of all other groups: float64 ``[n]``.

    measures, outcomes ``[n]``: of each set. groups ``[n]``: the family of each set; a family that a line was fitted to
    says too much about its own members. Where measures do not vary, their outcomes' mean. ValueError for fewer than
    three groups, values that are not finite, or a group that is missing (None or NaN), which is no family.
    """
    x, y = _values(measures, "measures", 2), _values(outcomes, "outcomes", 2)
    # Before groups are an array, which makes of ["a", nan] the texts "a" and "nan".
    missing, groups = pd.isna(list(groups)), np.asarray(groups)
    if not len(x) == len(y) == len(groups):
        raise ValueError(f"{len(x)} measures, {len(y)} outcomes and {len(groups)} groups: there must be as many of each")
    if missing.any():
        raise ValueError(f"every set needs a group, set {int(missing.argmax())} has none")
    if len(names := list(dict.fromkeys(groups.tolist()))) < LEAST_GROUPS:
        raise ValueError(f"at least {LEAST_GROUPS} groups are needed to leave one out, got {', '.join(map(str, names))}")
    said = np.empty(len(x))
    for name in names:
        out = groups == name
        spread = x[~out].var()
        slope = np.cov(x[~out], y[~out], bias=True)[0, 1] / spread if spread > 0 else 0.0
        said[out] = y[~out].mean() + slope * (x[out] - x[~out].mean())
    return said


def rank_correlation(one: npt.ArrayLike, other: npt.ArrayLike) -> np.ndarray:
    """Spearman's along the last axis, of two ``[..., n]``; 0 where either is constant, which ranks nothing."""
    x, y = (ranks - ranks.mean(-1, keepdims=True) for ranks in (rankdata(one, axis=-1), rankdata(other, axis=-1)))
    scale = np.sqrt((x * x).sum(-1) * (y * y).sum(-1))
    return (x * y).sum(-1) / np.where(scale > 0, scale, 1)


def rank_correlations(
    predictions: Mapping[str, Sequence[float]],
    outcomes: Sequence[float],
    reference: str,
    n_bootstrap: int = 2000,
    seed: int = 0,
    groups: Sequence | None = None,
) -> pd.DataFrame:
    """Spearman's correlation of each prediction with the outcomes ``[n]``, and what it has over that of a reference.

    groups ``[n]``: the family of each set, where sets of one family are alike; then whole families are resampled.
    Columns: predictor; value, low, high: the correlation; over, over_low, over_high: less the reference's, by the same
    resamples. Limits: 95 %, percentile bootstrap over sets or families, for the fitted lines. ValueError for an unknown
    reference, fewer than four sets, groups that are not as many, or n_bootstrap < 1.
    """
    n_bootstrap = whole("n_bootstrap", n_bootstrap, 1)
    if reference not in predictions:
        raise ValueError(f"no prediction {reference!r}; there are {', '.join(predictions)}")
    y, rng = _values(outcomes, "outcomes", 4), np.random.default_rng(seed)
    if groups is not None and len(groups) != len(y):
        raise ValueError(f"{len(y)} outcomes and {len(groups)} groups: there must be as many of each")
    said = np.array([_values(values, name, 4) for name, values in predictions.items()])
    members = [[i] for i in range(len(y))] if groups is None else list(pd.Series(range(len(y))).groupby(list(groups)).agg(list))
    resamples = [np.concatenate([members[i] for i in drawn]) for drawn in rng.integers(len(members), size=(n_bootstrap, len(members)))]
    own, drawn, sizes = rank_correlation(said, y), np.empty((n_bootstrap, len(said))), np.array(list(map(len, resamples)))
    for size in np.unique(sizes):  # resamples of one size are ranked at once
        places = np.stack([at for at in resamples if len(at) == size])
        drawn[sizes == size] = rank_correlation(said[:, places], y[places]).T
    place = list(predictions).index(reference)
    over = own - own[place], drawn - drawn[:, [place]]
    rows = [
        (name, own[i], *np.quantile(drawn[:, i], (0.025, 0.975)), over[0][i], *np.quantile(over[1][:, i], (0.025, 0.975))) for i, name in enumerate(predictions)
    ]
    return pd.DataFrame(rows, columns=["predictor", "value", "low", "high", "over", "over_low", "over_high"])


def noise_ceiling(outcomes: np.ndarray, n_splits: int = 200, seed: int = 0) -> float:
    """The rank correlation with mean outcomes that a perfect measure could be expected to have.

    outcomes ``[n, seeds]``, at least four seeds. The root of the reliability of the means: of ``n_splits`` random halves of
    the seeds, by the formula of Spearman and Brown for all of them, twice as many or, of an odd number, which leaves one
    out, a little more. 0 where halves have nothing in common. ValueError for other outcomes, and fewer than one split.
    """
    n_splits = whole("n_splits", n_splits, 1)
    y = np.asarray(outcomes, float)
    if y.ndim != 2 or y.shape[1] < 4 or not np.isfinite(y).all():
        raise ValueError(f"outcomes must be finite [n, seeds] of at least four seeds, got shape {y.shape}")
    rng, half, found = np.random.default_rng(seed), y.shape[1] // 2, []
    for _ in range(n_splits):
        order = rng.permutation(y.shape[1])
        found.append(rank_correlation(y[:, order[:half]].mean(1), y[:, order[half : 2 * half]].mean(1)))
    r = max(0.0, float(np.mean(found)))
    longer = y.shape[1] / half
    return float(np.sqrt(longer * r / (1 + (longer - 1) * r)))
