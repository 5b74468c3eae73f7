"""Examples in the form that makes the network's gradient fast.

Feature patches are multiples of v_e and v_d, so that what they add to every margin and gradient follows from J inner
products; only noise patches need matrix products. So examples are grouped by the patches they have, and noise is
stored times the label: with z = y <w, x>, the margin y f is the sum of z^3, and no label is needed any more.
"""

from dataclasses import dataclass

import torch

from synaug.theory.two_layer_cnn.arms import TrainingSets, indices_of
from synaug.theory.two_layer_cnn.distribution import NOISE, PatchData
from synaug.theory.two_layer_cnn.network import shares


@dataclass(frozen=True)
class ExampleGroup:
    """n examples for each of S seeds, filled up where a seed has fewer.

    noise: ``[S, n, M, d]``, noise patches times labels, 0 for filling. signs: ``[S, 2, n]``, label times true label
    where the example has the fast (first row) or slow feature (second), else 0. shares: ``[S, A, n]``, each example's
    part in the loss of the A arms that use the group; arms: their numbers. present: bool ``[S, n]``, False for filling.
    """

    noise: torch.Tensor
    signs: torch.Tensor
    shares: torch.Tensor
    present: torch.Tensor
    arms: tuple[int, ...] = (0,)
    fast: bool = False
    real: bool = True


def example_group(data: PatchData, index: torch.Tensor, num_noise: int, share: torch.Tensor, **others) -> ExampleGroup:
    """The examples ``index [S, n]`` (-1 for filling) of data, with at most num_noise noise patches each."""
    seeds, present = torch.arange(len(index))[:, None], index >= 0
    roles = data.roles[seeds, index]
    positions = roles.argsort(dim=2, stable=True)[:, :, roles.shape[2] - num_noise :]  # NOISE sorts last
    is_noise = (roles.gather(2, positions) == NOISE) & present[:, :, None]
    labels = data.labels[seeds, index]
    noise = data.patches[seeds[:, :, None], index[:, :, None], positions]
    noise *= (labels[:, :, None] * is_noise)[..., None]
    has_fast = data.has_fast[seeds, index]
    has_slow = torch.ones_like(has_fast) if data.distribution.reading == "A" else ~has_fast
    agreement = labels * data.true_labels[seeds, index] * present
    signs = torch.stack([agreement * has_fast, agreement * has_slow], dim=1)
    return ExampleGroup(noise, signs, share, present, **others)


def grouped(sets: TrainingSets) -> list[ExampleGroup]:
    """The pool's examples by part (real, generated) and by whether they have the fast patch."""
    data, share, groups = sets.pool, shares(sets.weights), []
    for part in range(int(sets.part.max()) + 1):
        for fast in (True, False):
            mine = (sets.part == part) & (sets.source >= 0) & (data.has_fast == fast)
            index = indices_of(mine)
            if index.shape[1] == 0:
                continue
            mine_share = share.gather(2, index.clamp_min(0)[:, None].expand(-1, len(sets.arms), -1))
            mine_share = mine_share * (index >= 0)[:, None]
            arms = tuple(a for a in range(len(sets.arms)) if mine_share[:, a].any())
            num_noise = int((data.roles[mine][0] == NOISE).sum())  # the same for all with these features
            groups.append(example_group(data, index, num_noise, mine_share[:, arms], arms=arms, fast=fast, real=part == 0))
    return groups
