"""After a warm-up, do two clusters of the network's outputs in each class recover fast and slow examples?

USEFUL (arXiv 2404.17768, second hand) picks the examples to upsample so: k-means with two clusters on the outputs of
each class. Here the truth is known.
"""

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


def speed_ratio(distribution: PatchDistribution) -> float:
    """How much faster the fast feature grows than the slow one from equal alignments (derived here, early training).

    alpha beta_e^3 / (q beta_d^3), q = 1 in reading A and 1 - alpha in reading B: a feature's gradient is its frequency
    times its strength cubed. Below 1 the slow feature is learned first, though beta_e > beta_d.
    """
    frequency = 1.0 if distribution.reading == "A" else 1 - distribution.alpha
    slow = frequency * distribution.beta_d**3
    return distribution.alpha * distribution.beta_e**3 / slow if slow > 0 else math.inf


def cluster_agreement(outputs: torch.Tensor, labels: torch.Tensor, has_fast: torch.Tensor) -> float:
    """Adjusted Rand index between two k-means clusters of a class's outputs and its fast and slow examples.

    The mean of the two classes: 1 for the same partition, 0 in the mean for random clusters. outputs: f(x) ``[n]``;
    labels: +-1 ``[n]``; has_fast: bool ``[n]``. ValueError where a class lacks fast or slow examples.
    """
    _check_both(labels, has_fast)
    scores = []
    for label in (-1, 1):
        mine = labels == label
        clusters = KMeans(2, n_init=10, random_state=0).fit_predict(outputs[mine, None].numpy())
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
    distribution: PatchDistribution,
    *,
    n: int,
    seeds: Sequence[int],
    num_filters: int = 40,
    init_std: float = 0.01,
    steps: int = 200,
    momentum: float = 0.9,
    **options,
) -> pd.DataFrame:
    """Both scores (metrics "adjusted_rand_index" and "separability") on the training data: seed, metric, value.

    Trains on n original examples of each seed. 40 filters of standard deviation 0.01, momentum 0.9: USEFUL's toy, from
    memory; its figure shows 200 steps (second hand). options: of `training.train`.
    Raises ValueError, before training, for a sample in which a class lacks fast or slow examples.
    """
    data = distribution.sample(n, seeds)
    for labels, has_fast in zip(data.labels, data.has_fast):
        _check_both(labels, has_fast)
    start = initial_filters(seeds, num_filters, distribution.dim, init_std)
    trained = train(training_sets(data, [Arm("original")]), start, steps=steps, record_every=steps, momentum=momentum, **options)
    rows = []
    for seed, *of_seed in zip(seeds, logits(trained.filters[:, 0], data.patches), data.labels, data.has_fast):
        rows += [
            {"seed": seed, "metric": "adjusted_rand_index", "value": cluster_agreement(*of_seed)},
            {"seed": seed, "metric": "separability", "value": separability(*of_seed)},
        ]
    return pd.DataFrame(rows)


def _check_both(labels, has_fast):
    for label in (-1, 1):
        fast = has_fast[labels == label]
        num_fast, num_slow = int(fast.sum()), int((~fast).sum())
        if min(num_fast, num_slow) == 0:
            raise ValueError(f"class {label} needs fast and slow examples, got {num_fast} and {num_slow}")
