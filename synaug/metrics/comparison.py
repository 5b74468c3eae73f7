"""Every metric of a candidate set against a reference, with intervals, beside the real-data baseline.

The baseline, called floor in frames, is the same comparison for fresh real data: a floor for distances, a ceiling
for recall. It is what a perfect generator would score: the metrics depend on the sizes of the sets, and none of them
is 0 or 1 for two real samples.
"""

import math
from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from synaug.checks import number, of_kind, whole
from synaug.metrics.concentration import centroid_distance_ratio, logdet_ratio, principal_axes, rounding, split_by_class
from synaug.metrics.frechet import frechet_distance
from synaug.metrics.inputs import Features, Labels, as_feature_pair, as_features, as_labels
from synaug.metrics.neighbours import neighbourhoods
from synaug.statistics import bootstrap_interval, jackknife_interval

FRESH_REAL = "fresh real"  # the arm that is the baseline


def compare(
    reference_features: Features,
    candidate_features: Features,
    reference_labels: Labels | None = None,
    candidate_labels: Labels | None = None,
    k: int = 5,
    quantile: float = 0.1,
    components: int = 10,
    n_bootstrap: int = 1000,
    jackknife_groups: int = 10,
    seed: int = 0,
) -> pd.DataFrame:
    """One row per metric: ``metric, value, low, high, k, n_reference, n_candidate``; 95 % intervals.

    Features ``[N, D]`` and ``[M, D]``; the two indices of mode concentration appear when integer
    labels ``[N]`` and ``[M]`` are given. ``k`` is missing where a metric does not use it. With
    ``n_bootstrap=0`` the limits are NaN and nothing is resampled.

    Precision, recall, density, coverage, outer-edge recall are means of per-point values, and the
    points are resampled (percentile bootstrap): fake points for precision and density, real points
    for the others. The interval is *conditional on the neighbour balls*, which are not rebuilt: with
    repeated points every radius would shrink. It says how well the mean over points is known, not how
    the balls would differ in another draw; independent draws or seeds show that. A value of exactly 0
    or 1 has width zero.

    The Frechet distance and the concentration indices are smooth functions of moments, biased at
    finite n. A bootstrap with replacement would add the bias a second time (a resample has fewer
    distinct points), so its percentiles lie above the value. They get a delete-a-group jackknife
    (``jackknife_groups`` groups, stratified by class), centred on the value: spread, not bias. Row i
    of both sets leaves together when the sizes and labels agree, so that reconstructions in the order
    of their sources are treated as pairs. The principal axes stay those of the whole reference. When
    both sets come from the same distribution the Frechet distance is not linear to first order, and
    its interval is a guide only.

    A reference that holds the candidates' own sources flatters them: precision and recall start at 1.

    Raises TypeError or ValueError, before anything is computed, for bad features, labels, k, quantile,
    components, a negative n_bootstrap, or, with intervals, fewer than two groups or more than half the points.
    """
    reference, candidate = as_feature_pair(reference_features, candidate_features)
    if (reference_labels is None) != (candidate_labels is None):
        raise ValueError("give labels for both sets or for neither")
    n_bootstrap, seed = whole("n_bootstrap", n_bootstrap, 0, 1_000_000), whole("seed", seed, 0)
    most = min(len(reference), len(candidate)) // 2
    if n_bootstrap and not 2 <= whole("jackknife_groups", jackknife_groups, 0) <= most:
        raise ValueError(f"jackknife_groups must lie between 2 and {most}, half the smaller set, got {jackknife_groups} (n_bootstrap=0 leaves intervals out)")
    number("quantile", quantile, above=0, at_most=1)
    whole("k", k, 1, min(len(reference), len(candidate)) - 1)
    labels = None
    if reference_labels is not None and candidate_labels is not None:
        labels = (as_labels(reference_labels, "reference labels", len(reference)), as_labels(candidate_labels, "candidate labels", len(candidate)))
        whole("components", components, 1)
        # Enough of every class must remain when a group is left out.
        left_out = 1 / jackknife_groups if n_bootstrap else 0
        split_by_class(reference, candidate, *labels, at_least=least_per_class(components, left_out))

    rows = []
    moment_metrics = _moment_metrics(reference, candidate, labels, components)
    groups = None
    if n_bootstrap:
        groups = _groups(len(reference), labels and labels[0], jackknife_groups, seed), _groups(len(candidate), labels and labels[1], jackknife_groups, seed)
    for name, metric in moment_metrics.items():
        rows.append((name, *_jackknife(metric, groups, jackknife_groups, name), pd.NA))
    for name, values in neighbourhoods(reference, candidate, k).indicators(quantile).items():
        rows.append((name, *_bootstrap(values.cpu().numpy(), n_bootstrap, seed), k))
    frame = pd.DataFrame(rows, columns=["metric", "value", "low", "high", "k"]).astype({"k": "Int64"})
    return frame.assign(n_reference=len(reference), n_candidate=len(candidate))


def compare_with_floor(
    reference_features: Features,
    fresh_features: Features,
    candidates: Mapping[str, Features],
    reference_labels: Labels | None = None,
    fresh_labels: Labels | None = None,
    candidate_labels: Mapping[str, Labels] | None = None,
    **settings,
) -> pd.DataFrame:
    """``compare`` for fresh real data and for each candidate, with columns ``arm`` and ``floor`` in front.

    ``candidates`` maps arm names to features ``[M, D]``, ``candidate_labels`` the same names to labels.
    Fresh real data are real points that are neither in the reference nor sources of a candidate. Their
    rows carry ``arm == "fresh real"``; ``floor`` is their value of the metric, on every row.
    ``settings`` go to ``compare``.

    Raises ValueError when a candidate and the fresh real set differ in size (or in the number of
    points per class): the metrics would differ for that reason alone. Otherwise as ``compare``.
    """
    candidate_labels = {} if candidate_labels is None else candidate_labels
    for name, given in (("candidates", candidates), ("candidate_labels", candidate_labels)):
        of_kind(name, given, Mapping, "; give features and labels by the names of arms")
    if unknown := set(candidate_labels) - set(candidates):
        raise ValueError(f"candidate_labels are of {', '.join(map(repr, unknown))}, which candidates do not hold")
    if FRESH_REAL in candidates:
        raise ValueError(f"{FRESH_REAL!r} is the name of the real-data baseline, not of a candidate")
    labels = {FRESH_REAL: fresh_labels} | {name: candidate_labels.get(name) for name in candidates}
    sets = {FRESH_REAL: fresh_features} | dict(candidates)
    for name, features in sets.items():
        features = as_features(features, name)
        if len(features) != len(fresh_features):
            raise ValueError(f"arm {name!r} has {len(features)} points and the real-data baseline {len(fresh_features)}: sizes must match")
        if labels[name] is not None and fresh_labels is not None:
            counts = [np.unique(np.asarray(some), return_counts=True) for some in (labels[name], fresh_labels)]
            if not all(np.array_equal(*pair) for pair in zip(*counts, strict=True)):
                raise ValueError(f"arm {name!r} and the real-data baseline differ in the number of points per class")
    frames = [compare(reference_features, features, reference_labels, labels[name], **settings).assign(arm=name) for name, features in sets.items()]
    frame = pd.concat(frames, ignore_index=True)
    frame["floor"] = frame["metric"].map(frames[0].set_index("metric")["value"])
    return frame[["arm", "metric", "value", "low", "high", "floor", "k", "n_reference", "n_candidate"]]


Metric = Callable[[object, object], float]  # of the indices kept of the reference and of the candidate


def _moment_metrics(reference: torch.Tensor, candidate: torch.Tensor, labels, components: int) -> dict[str, Metric]:
    """The metrics that are functions of moments, each of the rows kept of either set."""
    metrics = {"frechet_distance": lambda i, j: frechet_distance(reference[i], candidate[j])}
    if labels is not None:
        axes = principal_axes(reference, labels[0], components)
        real, fake = (features.cpu().numpy() for features in (reference, candidate))
        real_projected, fake_projected = real @ axes, fake @ axes
        least = rounding(reference), rounding(candidate)
        metrics["centroid_distance_ratio"] = lambda i, j: centroid_distance_ratio(real[i], fake[j], labels[0][i], labels[1][j])
        metrics["covariance_logdet_ratio"] = lambda i, j: logdet_ratio(real_projected[i], fake_projected[j], labels[0][i], labels[1][j], least)
    return metrics


def _groups(n: int, labels: np.ndarray | None, groups: int, seed: int) -> np.ndarray:
    """A random group ``[n]`` for every row, dealt out class by class so that each group is stratified."""
    order = np.random.default_rng(seed).permutation(n)
    if labels is not None:
        order = order[np.argsort(labels[order], kind="stable")]
    group = np.empty(n, dtype=np.int64)
    group[order] = np.arange(n) % groups
    return group


def least_per_class(components: int = 10, left_out: float = 0.1) -> int:
    """How many rows of each class `compare` needs where it measures volumes, by its defaults."""
    return math.ceil((components + 1) / (1 - left_out)) + 1


def _jackknife(metric: Metric, groups, n_groups: int, name: str) -> tuple[float, float, float]:
    """(value, low, high); ``groups`` None means no interval, and so does a value or replicate that is not finite."""
    value = metric(slice(None), slice(None))
    if groups is None or not np.isfinite(value):
        return value, np.nan, np.nan
    steps = tqdm(range(n_groups), desc=f"{name} interval", delay=5, leave=False)
    replicates = [metric(groups[0] != g, groups[1] != g) for g in steps]
    if not np.isfinite(replicates).all():  # what is left of a class may have collapsed
        return value, np.nan, np.nan
    interval = jackknife_interval(value, replicates)
    return value, interval.low, interval.high


def _bootstrap(values: np.ndarray, n_bootstrap: int, seed: int) -> tuple[float, float, float]:
    if n_bootstrap == 0 or len(values) < 2:
        return float(values.mean()), np.nan, np.nan
    interval = bootstrap_interval(values, n_bootstrap=n_bootstrap, seed=seed)
    return interval.estimate, interval.low, interval.high
