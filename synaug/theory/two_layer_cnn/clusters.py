"""After a warm-up, do two clusters of the network's outputs in each class recover fast and slow examples?

USEFUL (arXiv 2404.17768, second hand) picks the examples to upsample so: k-means with two clusters on the outputs of
each class. Here the truth is known.
"""

import dataclasses
import math
from collections.abc import Sequence

import pandas as pd
import torch
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score, roc_auc_score

from synaug.theory.two_layer_cnn.arms import Arm, training_sets
from synaug.theory.two_layer_cnn.distribution import PatchDistribution
from synaug.theory.two_layer_cnn.network import initial_filters, logits
from synaug.theory.two_layer_cnn.training import train

#: What `recovery` can sweep; beta_ratio is beta_d / beta_e, at the distribution's beta_e.
SWEPT = ("alpha", "beta_ratio", "noise_std", "steps")


def speed_ratio(distribution: PatchDistribution) -> float:
    """How much faster the fast feature grows than the slow one from equal alignments (derived here, early training).

    alpha beta_e^3 / (q beta_d^3), q = 1 in reading A and 1 - alpha in reading B: a feature's gradient is its frequency
    times its strength cubed. Below 1 the slow feature is learned first, though beta_e > beta_d.
    """
    frequency = 1.0 if distribution.reading == "A" else 1 - distribution.alpha
    slow = frequency * distribution.beta_d**3
    return distribution.alpha * distribution.beta_e**3 / slow if slow > 0 else math.inf


def cluster_agreement(outputs: torch.Tensor, labels: torch.Tensor, has_fast: torch.Tensor, seed: int = 0) -> float:
    """Adjusted Rand index between two k-means clusters of a class's outputs and its fast and slow examples.

    The mean of the two classes: 1 for the same partition, 0 in the mean for random clusters. outputs: f(x) ``[n]``;
    labels: +-1 ``[n]``; has_fast: bool ``[n]``; seed: of k-means. ValueError where a class lacks fast or slow examples.
    """
    _check_both(labels, has_fast)
    scores = []
    for label in (-1, 1):
        mine = labels == label
        clusters = KMeans(2, n_init=10, random_state=seed).fit_predict(outputs[mine, None].numpy())
        scores.append(adjusted_rand_score(has_fast[mine].numpy(), clusters))
    return sum(scores) / 2


def separability(outputs: torch.Tensor, labels: torch.Tensor, has_fast: torch.Tensor) -> float:
    """Probability that a random fast example has a larger margin y f(x) than a random slow one (area under the curve).

    1 where a threshold tells them apart (USEFUL's separability theorem, from memory); below 1/2 the fast examples have
    the higher loss, and would be taken for the slow ones. Arguments and errors as `cluster_agreement`.
    """
    _check_both(labels, has_fast)
    return float(roc_auc_score(has_fast.numpy(), (labels * outputs).numpy()))


def recovery(
    swept: str,
    values: Sequence[float],
    distribution: PatchDistribution = PatchDistribution(),
    *,
    n: int = 1000,
    seeds: Sequence[int] = (0, 1, 2),
    num_filters: int = 40,
    init_std: float = 0.01,
    steps: int = 200,
    momentum: float = 0.9,
    **options,
) -> pd.DataFrame:
    """Tidy frame of both scores (metrics "adjusted_rand_index" and "separability") on the training data.

    Trains on original data at each of values of swept, one of ``SWEPT``, all else as in distribution. 40 filters of
    standard deviation 0.01, momentum 0.9: USEFUL's toy, from memory; its figure shows 200 steps (second hand).
    options: of `training.train`. Columns: arm, seed, swept, x, metric, value.
    Raises ValueError, before training, for an unknown swept, no values, or a value or sample that does not fit.
    """
    if swept not in SWEPT:
        raise ValueError(f"unknown swept {swept!r}: choose one of {', '.join(SWEPT)}")
    if not len(values):
        raise ValueError("need at least one value")
    worlds = [_changed(distribution, swept, value) for value in values]
    for world in worlds:  # all are drawn again below: together they would take much memory
        data = world.sample(n, seeds)
        for labels, has_fast in zip(data.labels, data.has_fast):
            _check_both(labels, has_fast)
    rows = []
    for value, world in zip(values, worlds):
        data, step_count = world.sample(n, seeds), value if swept == "steps" else steps
        start = initial_filters(seeds, num_filters, world.dim, init_std)
        trained = train(training_sets(data, [Arm("original")]), start, steps=step_count, record_every=step_count,
                        momentum=momentum, **options)
        outputs = logits(trained.filters[:, 0], data.patches)
        for s, seed in enumerate(seeds):
            of_seed = outputs[s], data.labels[s], data.has_fast[s]
            found = {"adjusted_rand_index": cluster_agreement(*of_seed), "separability": separability(*of_seed)}
            rows += [{"seed": seed, "x": value, "metric": metric, "value": score} for metric, score in found.items()]
    frame = pd.DataFrame(rows).assign(arm="original", swept=swept)
    return frame[["arm", "seed", "swept", "x", "metric", "value"]]


def _changed(distribution, swept, value):
    if swept == "steps":
        if value != int(value) or value < 1:
            raise ValueError(f"steps must be whole numbers of at least 1, got {value}")
        return distribution
    if swept == "beta_ratio":
        return dataclasses.replace(distribution, beta_d=value * distribution.beta_e)
    return dataclasses.replace(distribution, **{swept: value})


def _check_both(labels, has_fast):
    for label in (-1, 1):
        fast = has_fast[labels == label]
        num_fast, num_slow = int(fast.sum()), int((~fast).sum())
        if min(num_fast, num_slow) == 0:
            raise ValueError(f"class {label} needs fast and slow examples, got {num_fast} and {num_slow}")
