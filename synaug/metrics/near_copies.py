"""Does a generator repeat its training images? Distances of samples to their nearest training images.

A small distance alone proves nothing: smooth and typical images lie near everything. Two references that were not
trained on tell: fresh real images in place of the samples, and unseen images in place of the training images.
"""

import torch

from synaug.checks import as_tensor, number
from synaug.metrics.distances import nearest_of, prepare
from synaug.metrics.inputs import Features, as_feature_pair


def nearest(features: Features, pool: Features) -> tuple[torch.Tensor, torch.Tensor]:
    """Distance of each row to its nearest row of ``pool``, and that row's index: float64 ``[N]``, int64 ``[N]``.

    features ``[N, D]``, pool ``[M, D]``: floating tensors or arrays; Euclidean distance, exact as float64 differences
    are (an exact copy has distance 0); of equally near rows any. Raises as `synaug.metrics.prdc` for bad features.
    """
    pool, features = as_feature_pair(pool, features, at_least=1)
    squared, index = nearest_of(*prepare(features, pool))
    return squared.sqrt(), index


def nearer_than(distances: torch.Tensor, fresh_distances: torch.Tensor, quantile: float = 0.01) -> torch.Tensor:
    """bool ``[N]``: which samples lie nearer to the training images than that quantile of fresh real images does.

    distances ``[N]``, fresh_distances ``[M]``: to the nearest training image, as `nearest` gives them. For fresh real
    images the expected share is the quantile itself. Exact copies, at distance 0, are always nearer, and fresh images
    that are copies have no part in the quantile. ValueError for an empty set, NaN, or a quantile outside (0, 1).
    """
    number("quantile", quantile, above=0, below=1)
    distances, fresh_distances = as_tensor("distances", distances), as_tensor("fresh_distances", fresh_distances)
    if min(distances.ndim, fresh_distances.ndim) == 0 or len(distances) == 0 or len(fresh_distances) == 0:
        raise ValueError("near-copies need at least one sample and one fresh real image, a distance [N] of each")
    for name, values in (("distances", distances), ("fresh_distances", fresh_distances)):
        if values.isnan().any():
            raise ValueError(f"{name} hold NaN, first at place {int(values.isnan().nonzero()[0])}")
    apart = fresh_distances[fresh_distances > 0].double()
    return (distances == 0) | (distances < (apart.quantile(quantile) if len(apart) else 0))
