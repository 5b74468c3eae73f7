"""Precision, recall, density, coverage and outer-edge recall from nearest-neighbour balls."""

import math
from dataclasses import dataclass
from functools import partial

import torch
from tqdm import tqdm

from synaug.checks import number, whole
from synaug.metrics.distances import Workspace, neighbour_radii, pairs_within, prepare, screened
from synaug.metrics.inputs import Features, as_feature_pair


@dataclass(frozen=True)
class Neighbourhoods:
    """What every point of two sets says about the other set; the metrics are means of these.

    A point's ball has its distance to its ``k``-th nearest neighbour in its own set (itself not
    counted) as radius, and holds the points strictly nearer than that.
    """

    k: int
    real_radii: torch.Tensor  # float64 [N]
    real_recalled: torch.Tensor  # bool [N]: lies in the ball of some fake point
    real_occupied: torch.Tensor  # bool [N]: its own ball holds a fake point
    fake_counts: torch.Tensor  # int64 [M]: number of real balls that hold it

    def indicators(self, quantile: float = 0.1) -> dict[str, torch.Tensor]:
        """Per-point values whose means are the metrics: over fake points for precision and density,
        over real points for recall and coverage, over the outer edge for outer-edge recall.

        Outer-edge recall: does the generator reach where the real data are least dense? Such points are harder to reach
        even by fresh real data, so that it is read against that baseline. ValueError for a quantile outside (0, 1]."""
        return {
            "precision": (self.fake_counts > 0).double(),
            "recall": self.real_recalled.double(),
            "density": self.fake_counts.double() / self.k,
            "coverage": self.real_occupied.double(),
            "outer_edge_recall": self.real_recalled[self.outer_edge(quantile)].double(),
        }

    def outer_edge(self, quantile: float) -> torch.Tensor:
        """Indices of the ceil(quantile * N) real points of lowest density, that is largest radius."""
        number("quantile", quantile, above=0, at_most=1)
        order = self.real_radii.sort(descending=True, stable=True).indices
        return order[: math.ceil(quantile * len(order))]


def neighbourhoods(real: Features, fake: Features, k: int = 5) -> Neighbourhoods:
    """Radii and memberships of real ``[N, D]`` and fake ``[M, D]`` features, block by block.

    Three matrix products, real-real and fake-fake of which only half is multiplied: the work of two
    whole ones. Memory beyond the features is about 50 MB, whatever N and M. Distances are decided in float64
    (see ``distances``); a shower of exact ties or near duplicates only costs time.

    Raises TypeError or ValueError for anything but two finite floating sets of equal D, and for a
    ``k`` that is not an integer from 1 to min(N, M) - 1.
    """
    real, fake = as_feature_pair(real, fake)
    whole("k", k, 1, min(len(real), len(fake)) - 1)
    x, y = prepare(real, fake)
    progress = partial(tqdm, desc="neighbours", delay=5, leave=False)
    real_radii, fake_radii = neighbour_radii(x, k, progress), neighbour_radii(y, k, progress)
    real_rounding, fake_rounding = x.rounding(real_radii), y.rounding(fake_radii)

    recalled = torch.zeros(len(x), dtype=torch.bool, device=real.device)
    occupied = torch.zeros_like(recalled)
    counts = torch.zeros(len(y), dtype=torch.int64, device=real.device)
    space = Workspace(x)
    held = torch.empty_like(space.rows)
    for a in progress(x.blocks()):
        rows = x.rows(a, held)
        for b in y.blocks():
            block = screened(x, rows, a, y, b, space)
            i, j = pairs_within(block, real_radii[a, None], real_rounding[a, None], x, a, y, b)
            occupied[i] = True
            counts += torch.bincount(j, minlength=len(y))
            i, _ = pairs_within(block, fake_radii[None, b], fake_rounding[None, b], x, a, y, b)
            recalled[i] = True
    return Neighbourhoods(k, real_radii.sqrt(), recalled, occupied, counts)


def prdc(real: Features, fake: Features, k: int = 5) -> dict[str, float]:
    """Precision, recall (Kynkaanniemi et al. 2019), density and coverage (Naeem et al. 2020).

    ``real [N, D]``, ``fake [M, D]``; returns ``precision``, ``recall``, ``coverage`` in [0, 1],
    ``density`` >= 0 (it may exceed 1) and the ``k`` that they depend on (5 is the default of Naeem
    et al.; Kynkaanniemi et al. use 3). All four also depend on N and M: compare at equal sizes only.

    As the prdc package: a point is inside a ball when strictly nearer than the radius (torch-fidelity
    counts equality as inside). Hence sets that consist of copies of one point give 0, and a set
    against itself gives exactly 1 for all four unless it repeats a point more than k times. Against
    its own sources a set of near-copies also scores 1: the baseline is fresh real data, not 1.

    Raises as ``neighbourhoods``.
    """
    found = neighbourhoods(real, fake, k).indicators()
    return {"k": k} | {name: found[name].mean().item() for name in ("precision", "recall", "density", "coverage")}
