"""Training sets to compare ("arms"): the original examples, slow ones upsampled, slow ones joined by generated ones.

All arms share one pool of examples and differ in its weights, so that they can be trained in one batched program and
with common random numbers: the generated examples of a smaller k are among those of a larger one.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from synaug.checks import one_of, whole
from synaug.theory.two_layer_cnn.distribution import NOISE, PatchData, orthogonalise, seeded_generator

KINDS = ("original", "upsampled", "generated")

_FRESH_NOISE = 2_000  # a stream of its own, far from those of samples


@dataclass(frozen=True)
class Arm:
    """How the slow examples (those without the fast patch) are treated; the others stay as they are.

    kind: "original"; "upsampled": each occurs k times; "generated": each is joined by k - 1 fresh ones, with the same
    feature patches and label and new noise as strong as the data's. Size: alpha N + k (1 - alpha) N (targeted
    augmentation, quoted second hand). ValueError unless k is a whole number of at least 1, and 1 for the original.
    """

    kind: str
    k: int = 1

    def __post_init__(self):
        one_of("arm", self.kind, KINDS)
        if whole("k", self.k, 1) != 1 and self.kind == "original":
            raise ValueError(f"k must be 1 for the original, got {self.k}")


@dataclass(frozen=True)
class TrainingSets:
    """A pool of examples and what each arm makes of it.

    pool: the N real examples, then generated ones, in parts. part: int64 ``[N']``, 0 for the real, then 1, 2, ... for
    one fresh example for each slow one each. source: int64 ``[S, N']``, the real example that an example shares its
    features with (its own index for a real one), -1 for filling, since the number of slow examples differs between
    seeds. weights: ``[S, A, N']``, 0 for filling and for what an arm does not use; the loss is the weighted mean.
    """

    arms: tuple[Arm, ...]
    pool: PatchData
    part: torch.Tensor
    source: torch.Tensor
    weights: torch.Tensor


def training_sets(data: PatchData, arms: Sequence[Arm]) -> TrainingSets:
    """The arms' training sets from the same real examples.

    Raises ValueError for no arms, arms given twice or, where noise is orthogonal, too small a dimension.
    """
    arms = tuple(arms)
    if not arms or len(set(arms)) < len(arms):
        raise ValueError(f"need at least one arm and none twice, got {list(arms)}")
    copies = max(arm.k - 1 if arm.kind == "generated" else 0 for arm in arms)
    n, slow = data.labels.shape[1], ~data.has_fast
    index = indices_of(slow)
    part = torch.cat([torch.zeros(n, dtype=torch.int64), torch.arange(1, copies + 1).repeat_interleave(index.shape[1])])
    source = torch.cat([torch.arange(n).expand(slow.shape), index.repeat(1, copies)], dim=1)
    weights = torch.zeros(len(data.seeds), len(arms), len(part), dtype=data.patches.dtype)
    for weight, arm in zip(weights.unbind(1), arms):
        if arm.kind == "generated":
            weight[:] = (source >= 0) & (part < arm.k)
        else:
            weight[:, :n] = torch.where(slow, arm.k, 1)
    return TrainingSets(arms, _join(data, index, copies), part, source, weights)


def indices_of(mask: torch.Tensor) -> torch.Tensor:
    """Where each row of a bool ``[S, N]`` is True, ascending, int64 ``[S, m]``, filled up with -1 to the longest."""
    n = mask.shape[1]
    index = torch.where(mask, torch.arange(n), n).sort(dim=1).values[:, : int(mask.sum(1).max())]
    return torch.where(index < n, index, -1)


def _fresh_noise(data, index, copies):
    """Noise of unit standard deviation ``[copies, S, m, P, d]`` for each slow example; 0 for filling."""
    shape, distribution = data.patches.shape[2:], data.distribution
    fresh = torch.zeros(copies, *index.shape, *shape, dtype=data.patches.dtype)
    for s, seed in enumerate(data.seeds):
        mine, generator = index[s] >= 0, seeded_generator(seed, _FRESH_NOISE)
        count = int(mine.sum())
        for copy in range(copies):
            fresh[copy, s, mine] = torch.randn(count, *shape, dtype=torch.float64, generator=generator).to(fresh)
        if distribution.orthogonal_noise and count:
            noise = (data.roles[s, index[s, mine]] == NOISE).expand(copies, -1, -1)
            taken = torch.cat([data.v_e[s, None], data.v_d[s, None], data.patches[s][data.roles[s] == NOISE]])
            needed = len(taken) + int(noise.sum())
            if distribution.dim < needed:
                raise ValueError(f"orthogonal noise of all generated examples needs dim >= {needed}, got {distribution.dim}")
            mine_fresh = fresh[:, s, mine]
            mine_fresh[noise] = orthogonalise(mine_fresh[noise], taken)
            fresh[:, s, mine] = mine_fresh
    return fresh


def _join(data, index, copies):
    """The data, then their slow examples so many times, with fresh noise."""
    if not copies:
        return data
    seeds, filled = torch.arange(len(index))[:, None], index >= 0
    noise = (data.roles[seeds, index] == NOISE)[..., None]
    features = data.patches[seeds, index] * filled[:, :, None, None]
    fresh = torch.where(noise, data.distribution.noise_std * _fresh_noise(data, index, copies), features)
    joined = {}
    for name in ("labels", "true_labels", "has_fast", "roles"):
        values = getattr(data, name)
        joined[name] = torch.cat([values, *[values[seeds, index]] * copies], dim=1)
    return dataclasses.replace(data, patches=torch.cat([data.patches, *fresh], dim=1), **joined)
