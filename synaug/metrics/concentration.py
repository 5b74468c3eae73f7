"""Mode concentration per class: do generated features crowd around the middle of their class?

Two indices of the same question, one of first and one of second moments. Both are relative to real
features of the same class, and both are biased at finite n, so they are read against their value for
fresh real data of the same size.
"""

import math

import numpy as np
import scipy.linalg
import torch

from synaug.checks import whole
from synaug.metrics.inputs import Features, Labels, as_feature_pair, as_labels


def centroid_distance_ratio(real: Features, fake: Features, real_labels: Labels, fake_labels: Labels) -> float:
    """Mean over classes of (mean distance of fake) / (mean distance of real), both to the real class centroid.

    ``real [N, D]``, ``fake [M, D]``, integer labels ``[N]`` and ``[M]``. Positive; below 1 where fake
    features sit closer to the centroid than real ones do. Real against itself gives exactly 1; fresh
    real data about 1 + 1 / n per class of n, because a centroid is nearer to the points it was
    computed from. A class whose mean has moved raises the value, so read it with the log-determinant.

    Raises TypeError or ValueError for bad features or labels, for classes that do not occur in both
    sets, for a class with fewer than two points, and for a real class whose points all coincide.
    """
    classes = split_by_class(real, fake, real_labels, fake_labels, at_least=2)
    return float(np.mean([_distance_ratio(label, *pair) for label, pair in classes.items()]))


def _distance_ratio(label: int, real: np.ndarray, fake: np.ndarray) -> float:
    centroid = real.mean(axis=0, dtype=np.float64)
    real_distance = np.linalg.norm(real - centroid, axis=1).mean()
    if real_distance == 0:
        raise ValueError(f"all real features of class {label} coincide: the ratio is not defined")
    return np.linalg.norm(fake - centroid, axis=1).mean() / real_distance


def covariance_logdet_ratio(real: Features, fake: Features, real_labels: Labels, fake_labels: Labels, components: int = 10) -> float:
    """Mean over classes of log(det S_fake / det S_real) / components, in nats per direction.

    Covariances per class of the projections on the ``components`` leading principal axes of the real
    features within classes (class means removed, classes pooled): a subspace, because a full
    covariance has determinant 0 when a class has fewer points than dimensions. ``exp`` of the value is
    the ratio of geometric-mean variances. Negative: the fake class is more concentrated. Real against
    itself gives exactly 0. A fake class that does not vary along one of the axes, but for rounding, gives minus infinity,
    such a real class infinity, and both together NaN.

    The log-determinant of a sample covariance is low by about components / (2 n) per direction; this
    cancels only between classes of equal size. The axes are chosen for the variance of *this* real
    sample, so fresh real data come out slightly below 0. Hence the default: few axes (10) keep both
    small with tens of points per class.

    Raises TypeError or ValueError as ``centroid_distance_ratio``, for a class with no more than
    ``components`` points, for ``components`` outside 1..D, and where real features do not vary along
    that many axes.
    """
    real, fake = as_feature_pair(real, fake)
    axes = principal_axes(real, real_labels, components)
    return logdet_ratio(
        real.cpu().numpy().astype(np.float64) @ axes, fake.cpu().numpy().astype(np.float64) @ axes, real_labels, fake_labels, (rounding(real), rounding(fake))
    )


def rounding(features: torch.Tensor) -> float:
    """The spread along an axis, some ten units in the last place of the longest of the features ``[N, D]``, below which
    it may be rounding."""
    return 10 * torch.finfo(features.dtype).eps * float(features.double().norm(dim=1).max())


def principal_axes(features: Features, labels: Labels, components: int) -> np.ndarray:
    """The leading eigenvectors ``[D, components]`` of the pooled within-class covariance, the largest last.

    ValueError where components is not from 1 to D, or features vary within classes along fewer axes; for bad features
    or labels ValueError or TypeError.
    """
    features, _ = as_feature_pair(features, features)
    features = features.cpu().numpy().astype(np.float64)
    labels = as_labels(labels, "real labels", len(features))
    dim = features.shape[1]
    whole("components", components, 1, dim)
    for label in np.unique(labels):
        features[labels == label] -= features[labels == label].mean(axis=0)
    values, axes = scipy.linalg.eigh(features.T @ features, subset_by_index=[dim - components, dim - 1])
    if values[0] <= dim * np.finfo(np.float64).eps * values[-1]:
        raise ValueError(f"real features vary within classes along fewer than {components} axes: choose fewer components")
    return axes


def logdet_ratio(real: np.ndarray, fake: np.ndarray, real_labels: Labels, fake_labels: Labels, least: tuple[float, float]) -> float:
    """``covariance_logdet_ratio`` of features that are already projected, ``[N, q]`` and ``[M, q]``.

    least: the `rounding` of either set's features before they were.
    """
    components = real.shape[1]
    classes = split_by_class(real, fake, real_labels, fake_labels, at_least=components + 1)
    ratios = [_logdet(of_fake, least[1]) - _logdet(of_real, least[0]) for of_real, of_fake in classes.values()]
    with np.errstate(invalid="ignore"):  # infinities of both signs
        return float(np.mean(ratios) / components)


def _logdet(features: np.ndarray, least: float) -> float:
    """Of the covariance of ``[n, q]``, n > q; minus infinity where the smallest of its standard deviations is at most
    ``least``, for rounding would decide its logarithm."""
    spreads = np.linalg.svd(features - features.mean(0), compute_uv=False) / np.sqrt(len(features) - 1)
    return -math.inf if spreads[-1] <= least else float(2 * np.log(spreads).sum())


def split_by_class(real: Features, fake: Features, real_labels: Labels, fake_labels: Labels, at_least: int) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    """``{class: (real rows, fake rows)}``; ValueError unless both sets hold the same classes, ``at_least`` rows of each."""
    real, fake = as_feature_pair(real, fake)
    real_labels = as_labels(real_labels, "real labels", len(real))
    fake_labels = as_labels(fake_labels, "fake labels", len(fake))
    classes = np.unique(real_labels)
    if not np.array_equal(classes, np.unique(fake_labels)):
        raise ValueError(f"the classes differ: real {classes.tolist()}, fake {np.unique(fake_labels).tolist()}")
    smallest = min(np.unique(labels, return_counts=True)[1].min() for labels in (real_labels, fake_labels))
    if smallest < at_least:
        raise ValueError(f"every class needs at least {at_least} points in both sets, one has {smallest}")
    real, fake = real.cpu().numpy(), fake.cpu().numpy()
    return {int(c): (real[real_labels == c], fake[fake_labels == c]) for c in classes}
