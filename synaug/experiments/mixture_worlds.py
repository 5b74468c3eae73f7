"""The draws of a random mixture that reconstructions are made of and held against, and what is measured on them."""

from dataclasses import dataclass
from functools import cache, cached_property, lru_cache

import pandas as pd
import torch
from torch import Tensor

from synaug.metrics import centroid_distance_ratio, covariance_logdet_ratio
from synaug.metrics.neighbours import neighbourhoods
from synaug.theory.mixtures import GaussianMixture
from synaug.theory.mixtures import random_mixture
from synaug.diffusion.reconstruction import per_image_noise

#: Principal axes of the covariance ratio: every world has as many.
COMPONENTS = 2
#: Fresh draws that the floor is the mean of, and draws that the expected share of each mode is counted in.
FLOOR_DRAWS, OCCUPANCY_DRAWS = 4, 20_000


@dataclass(frozen=True)
class Draws:
    """A world and draws of it: sources and their labels, fresh draws as the reference, more of them for the floor.

    Points are float64 ``[N, D]``, labels int64 ``[N]``. expected: share of each mode ``[K]``, as `modes` counts them.
    """

    seed: int
    k: int
    world: GaussianMixture
    sources: Tensor
    labels: Tensor
    fresh: Tensor
    fresh_labels: Tensor
    floor: list
    expected: Tensor

    @cached_property
    def noise(self):
        """``noise(stream)``, float64 like the sources: keyed by seed, source and stream as in `reconstruct`."""
        return cache(lambda stream: per_image_noise(self.sources.shape, self.seed, torch.arange(len(self.sources)),
                                                    stream).double())

    @cached_property
    def class_variances(self):
        """Total variance of each class of the world ``[C]``."""
        world, classes = self.world, torch.nn.functional.one_hot(self.world.classes).double()
        shares = world.weights[:, None] * classes / (world.weights @ classes)
        centres = shares.T @ world.means
        apart = (world.means - centres[world.classes]).square().sum(1)
        return shares.T @ (world.covariances.diagonal(dim1=1, dim2=2).sum(1) + apart)


@lru_cache(maxsize=2)
def world_draws(seed, n_points, k):
    """The `Draws` of a seed. ValueError where points are too few for k neighbours or for the covariance of a class."""
    world = random_mixture(seed)
    # Not the world's own seed: its parameters were made of that stream.
    generator = torch.Generator().manual_seed(2**32 + seed)

    def draw(n):
        points, component = world.sample(n, generator)
        return points, world.classes[component]

    sets = [draw(n_points) for _ in range(2 + FLOOR_DRAWS)]
    fewest = min(int(labels.bincount(minlength=world.num_classes).min()) for _, labels in sets)
    if fewest < COMPONENTS + 1 or n_points <= k:
        raise ValueError(f"n_points = {n_points} are too few: more than k = {k} are needed, and {COMPONENTS + 1} of "
                         f"each class; world {seed} has a class with {fewest}")
    (sources, labels), (fresh, fresh_labels), *floor = sets
    expected = shares(modes(world, draw(OCCUPANCY_DRAWS)[0]), world)
    return Draws(seed, k, world, sources, labels, fresh, fresh_labels, floor, expected)


def modes(world, points):
    """The component ``[N]`` that most probably made each point."""
    return world.component_log_density(points).argmax(1)


def shares(modes, world):
    return modes.bincount(minlength=len(world.weights)).double() / len(modes)


def measure(draws, points, labels):
    """What a set of points with labels keeps of a world: a frame of metric, reference and value.

    Against the sources and against fresh draws: precision, recall and outer-edge recall (`synaug.metrics`). Against
    the fresh draws, class by class: centroid_distance_ratio and covariance_logdet_ratio. Against the world itself:
    mean_log_density (nats); variance_ratio, the variance within classes over the world's; occupancy_error, the
    total variation distance between the shares of the modes and the expected ones; rare_mode_ratio, the share of
    points in the less likely half of the modes over the expected; class_agreement, the share of points whose most
    probable class is their label.
    """
    world, rows = draws.world, []
    for reference, real in (("source", draws.sources), ("fresh", draws.fresh)):
        found = neighbourhoods(real, points, draws.k).indicators()
        rows += [(metric, reference, found[metric].mean().item())
                 for metric in ("precision", "recall", "outer_edge_recall")]
    pair = draws.fresh, points, draws.fresh_labels, labels
    rows += [("centroid_distance_ratio", "fresh", centroid_distance_ratio(*pair)),
             ("covariance_logdet_ratio", "fresh", covariance_logdet_ratio(*pair, COMPONENTS))]
    occupied = shares(modes(world, points), world)
    rare = draws.expected.argsort()[: len(draws.expected) // 2]
    of_class = torch.zeros(len(points), world.num_classes, dtype=torch.float64)
    of_class.index_add_(1, world.classes, world.component_log_density(points).softmax(1))
    values = {"mean_log_density": world.log_density(points).mean(),
              "variance_ratio": within_class_variance(points, labels) / draws.class_variances[labels].mean(),
              "occupancy_error": (occupied - draws.expected).abs().sum() / 2,
              "rare_mode_ratio": occupied[rare].sum() / draws.expected[rare].sum(),
              "class_agreement": (of_class.argmax(1) == labels).double().mean()}
    rows += [(metric, "world", value.item()) for metric, value in values.items()]
    return pd.DataFrame(rows, columns=["metric", "reference", "value"])


def within_class_variance(points, labels):
    """Total variance within classes, unbiased in each, averaged over points."""
    total = sum(len(own) * own.var(0).sum() for own in (points[labels == c] for c in labels.unique()))
    return total / len(points)


def measure_floor(seed, n_points, k):
    """The frame of `measure` for fresh draws, the mean over several."""
    draws = world_draws(seed, n_points, k)
    tables = [measure(draws, points, labels) for points, labels in draws.floor]
    return tables[0].assign(value=sum(table["value"] for table in tables) / len(tables))
