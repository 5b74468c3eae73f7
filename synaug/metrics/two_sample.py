"""How well a linear classifier tells two sets apart, and the ratio of their densities that follows from it.

Both on features, standardised by those of both sets together; every score is of rows that it was not fitted on.
"""

import warnings

import numpy as np
import torch
from scipy.stats import rankdata
from sklearn.model_selection import StratifiedKFold

from synaug.checks import number, whole
from synaug.classifiers.last_layer import fit_linear
from synaug.metrics.inputs import Features, as_feature_pair
from synaug.statistics import Interval

#: Weights of |w|^2 / 2 beside the mean loss among which density ratios choose.
STRENGTHS = (0.001, 0.01, 0.1, 1.0)


def two_sample_auc(real: Features, fake: Features, seed: int = 0, strength: float = 1.0, classes: tuple[np.ndarray, np.ndarray] | None = None) -> Interval:
    """How well a linear classifier tells fake ``[M, D]`` from real ``[N, D]``: 0.5 not at all, 1 always.

    Area under the ROC curve on one half of the rows, of a classifier fitted to the other (a classifier two-sample test,
    Lopez-Paz & Oquab 2017), with `auc_interval`. Scores of several folds would depend on each other, and an interval over
    them would be too narrow. classes ``[N]`` and ``[M]``: int64, of the rows, so that the halves have as many of each; to be
    given where the sets were matched by class, else a class that is rare in one half is frequent in the other, and the
    area falls below 0.5. strength: of the penalty beside the mean loss, see `fit_linear`; sets weigh equally, whatever
    their sizes. Raises as `frechet_distance`, and ValueError for classes of another length.
    """
    x, is_fake = _standardised(real, fake)
    groups = is_fake.astype(np.int64)
    if classes is not None:
        if tuple(map(len, classes)) != (len(real), len(fake)):
            raise ValueError(f"classes must be of {len(real)} and {len(fake)} rows, got {' and '.join(str(len(some)) for some in classes)}")
        groups = groups + 2 * np.concatenate([np.asarray(some) for some in classes])
    with warnings.catch_warnings(action="ignore", category=UserWarning):  # of classes of one row
        fitted, left = next(_folds(2, seed).split(x, groups))
    scores = _fitted(x[fitted], is_fake[fitted], strength).decision_function(x[left])
    return auc_interval(scores[~is_fake[left]], scores[is_fake[left]])


def density_ratio_weights(real: Features, fake: Features, seed: int = 0, folds: int = 5, strength: float | None = None) -> torch.Tensor:
    """For each real row how dense the fake set is there, relative to the real one: float64 ``[N]`` of mean 1.

    exp of the held-out log-odds of "fake" (Sugiyama et al. 2012, sec. 4.2: density ratios by probabilistic
    classification), so that real rows resampled with these weights have the density of the fake ones, as far as a linear
    classifier sees: means of the features, so give their squares, too, where spreads matter. Swap the sets for the reverse.
    `effective_sample_size` says how many rows they rest on. strength: None for that of `STRENGTHS` whose held-out log-odds
    have the least log loss. Raises as `frechet_distance`, and ValueError for fewer than two folds, and where the
    classifier tells all rows apart: then there is no ratio.
    """
    found = [_scores(real, fake, seed, folds, value) for value in (STRENGTHS if strength is None else (strength,))]
    scores, is_fake = min(found, key=lambda one: sum(np.logaddexp(0, sign * one[0][which]).mean() for sign, which in ((1, ~one[1]), (-1, one[1]))))
    if scores[is_fake].min() > scores[~is_fake].max():
        raise ValueError("the classifier tells every fake row from every real one: the sets do not overlap, and no real rows have the density of the fake ones")
    weights = torch.from_numpy(np.exp(scores[~is_fake] - scores[~is_fake].max()))
    return weights / weights.mean()


def effective_sample_size(weights: torch.Tensor) -> float:
    """How many equally weighted rows weights ``[N]`` are worth, 1 to N: (sum w)^2 / sum w^2 (Kish 1965). ValueError for
    negative or infinite ones and where all are 0."""
    if weights.ndim != 1 or not bool((weights >= 0).all() and weights.isfinite().all() and weights.any()):
        raise ValueError("weights must be [N], finite, not negative, and not all 0")
    share = weights.double() / weights.max()
    return float(share.sum() ** 2 / share.square().sum())


def auc_interval(low: np.ndarray, high: np.ndarray) -> Interval:
    """P(a score of ``high [M]`` is above one of ``low [N]``), ties as a half, and its 95 % interval, cut to [0, 1].

    DeLong et al. 1988; it has no width where all scores are told apart, so that the limit is then that of as many
    successes without a failure as the smaller set has scores (Clopper & Pearson 1934).
    """
    n, m = len(low), len(high)
    ranks = rankdata(np.concatenate([low, high]))
    above = (ranks[n:] - rankdata(high)) / n  # of each high score, the share of low ones below it
    below = 1 - (ranks[:n] - rankdata(low)) / m
    area, error = above.mean(), np.sqrt(above.var(ddof=1) / m + below.var(ddof=1) / n)
    half = 1 - 0.025 ** (1 / min(n, m)) if area in (0, 1) else 1.96 * error
    return Interval(float(area), float(max(0, area - half)), float(min(1, area + half)), n + m)


def _scores(real, fake, seed, folds, strength) -> tuple[np.ndarray, np.ndarray]:
    """Held-out log-odds ``[N + M]`` of "fake" at equal sizes, and which rows are."""
    x, is_fake = _standardised(real, fake)
    scores = np.empty(len(x))
    for fitted, left in _folds(min(whole("folds", folds, 2), len(real), len(fake)), seed).split(x, is_fake):
        scores[left] = _fitted(x[fitted], is_fake[fitted], strength).decision_function(x[left])
    return scores, is_fake


def _standardised(real, fake) -> tuple[np.ndarray, np.ndarray]:
    """The rows of both, float64 ``[N + M, D]``, and which are fake."""
    real, fake = as_feature_pair(real, fake)
    x = torch.cat([real.double(), fake.double()]).cpu().numpy()
    mean, scale = x.mean(0), x.std(0)
    scale[scale <= 1e-6 * np.maximum(x.max(0), -x.min(0))] = np.inf  # what does not vary says nothing
    x -= mean  # in place: these are hundreds of megabytes
    x /= scale
    return x, np.repeat([False, True], [len(real), len(fake)])


def _folds(n, seed) -> StratifiedKFold:
    return StratifiedKFold(n, shuffle=True, random_state=whole("seed", seed, 0, 2**32 - 1))


def _fitted(x, is_fake, strength):
    """A linear classifier of fake rows, both sets weighing equally."""
    return fit_linear(x, is_fake, number("strength", strength, above=0), class_weight="balanced")
