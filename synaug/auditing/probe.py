"""Linear classifiers on frozen features: what labels, and what set, an image seems to be of."""

import warnings

import numpy as np
from scipy.stats import rankdata
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict

from synaug.statistics import Interval

#: Weight of |w|^2 / 2 beside the mean loss, on features of unit variance, among which real images choose.
STRENGTHS = (0.01, 0.1, 1.0, 10.0)
MOST = 3000  # images on which the strength is chosen


def fit(features: np.ndarray, labels: np.ndarray, strength: float) -> LogisticRegression:
    """Logistic regression on features ``[N, D]`` that minimises mean loss + strength |w|^2 / 2, whatever N."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a probe that is nearly there does
        return LogisticRegression(C=1 / (strength * len(labels)), max_iter=200).fit(features, labels)


def best_strength(features: np.ndarray, labels: np.ndarray, seed: int) -> float:
    """Of `STRENGTHS` the one that classifies best, by cross-validation in two parts on at most `MOST` images."""
    order = np.random.default_rng(seed).permutation(len(labels))[:MOST]
    parts = order[::2], order[1::2]

    def score(strength):
        return sum((fit(features[a], labels[a], strength).predict(features[b]) == labels[b]).sum()
                   for a, b in (parts, parts[::-1]))

    if min(len(np.unique(labels[part])) for part in parts) < 2:
        return 1.0
    return max(STRENGTHS, key=score)


def two_sample_auc(real: np.ndarray, other: np.ndarray, seed: int = 0, folds: int = 5) -> Interval:
    """How well a linear classifier tells others ``[M, D]`` from real ``[N, D]``: 0.5 not at all, 1 always.

    Area under the ROC curve of scores from folds not fitted on (a classifier two-sample test, Lopez-Paz & Oquab 2017);
    interval of DeLong et al. 1988, for the fitted classifiers.
    """
    x = np.concatenate([real, other])
    is_other = np.repeat([0, 1], [len(real), len(other)])
    model = LogisticRegression(C=1 / len(x), max_iter=200, class_weight="balanced")
    cv = StratifiedKFold(min(folds, len(real), len(other)), shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        scores = cross_val_predict(model, x, is_other, cv=cv, method="decision_function")
    return auc_interval(scores[is_other == 0], scores[is_other == 1])


def auc_interval(low: np.ndarray, high: np.ndarray) -> Interval:
    """P(a score of ``high [M]`` is above one of ``low [N]``), ties as a half; DeLong's 95 % interval, cut to [0, 1]."""
    n, m = len(low), len(high)
    ranks = rankdata(np.concatenate([low, high]))
    above = (ranks[n:] - rankdata(high)) / n  # of each high score, the share of low ones below it
    below = 1 - (ranks[:n] - rankdata(low)) / m
    area, error = above.mean(), np.sqrt(above.var(ddof=1) / m + below.var(ddof=1) / n)
    return Interval(float(area), float(max(0, area - 1.96 * error)), float(min(1, area + 1.96 * error)), n + m)
