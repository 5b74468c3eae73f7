"""Training sets to compare ("arms"): the original examples, slow ones upsampled, slow ones joined by generated ones.

All arms share one pool of examples and differ in its weights, so that they can be trained in one batched program and
with common random numbers: the generated examples of a smaller k are among those of a larger one.
"""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from synaug.checks import one_of
from synaug.theory.two_layer_cnn.distribution import NOISE, PatchData, orthogonalise, seeded_generator

KINDS = ("original", "upsampled", "generated")

_FRESH_NOISE = 2_000  # a stream of its own, far from those of samples


@dataclass(frozen=True)
class Arm:
    """How the slow examples (those without the fast patch) are treated; the others stay as they are.

    kind: "original"; "upsampled": each weighs k times as much, k >= 1 (a whole number for mini-batches); "generated":
    each is joined by k - 1 fresh ones, k a whole number, with the same feature patches and label and new noise of
    synthetic_noise_std per coordinate (None: that of the data). Size for whole k: alpha N + k (1 - alpha) N
    (targeted augmentation, quoted second hand). Raises ValueError for anything else.
    """

    kind: str
    k: float = 1
    synthetic_noise_std: float | None = None

    def __post_init__(self):
        one_of("arm", self.kind, KINDS)
        if not 1 <= self.k < math.inf or self.kind == "original" and self.k != 1:
            raise ValueError(f"k must be at least 1, and 1 for the original, got k={self.k} for {self.kind!r}")
        if self.kind == "generated" and self.k != int(self.k):
            raise ValueError(f"k must be a whole number for generated examples, got {self.k}")
        std = self.synthetic_noise_std
        if std is not None and (self.kind != "generated" or not 0 <= std < math.inf):
            raise ValueError(f"synthetic_noise_std, not negative, is for generated arms, got {std} for {self.kind!r}")


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
    arms = tuple(
        dataclasses.replace(arm, synthetic_noise_std=data.distribution.noise_std)
        if arm.kind == "generated" and arm.synthetic_noise_std is None else arm
        for arm in arms
    )
    if not arms or len(set(arms)) < len(arms):
        raise ValueError(f"need at least one arm and none twice, got {list(arms)}")
    most = {}  # synthetic noise -> the largest k that is generated with it
    for arm in arms:
        if arm.kind == "generated":
            most[arm.synthetic_noise_std] = max(most.get(arm.synthetic_noise_std, 1), int(arm.k))
    parts = [(std, copy) for std, k in most.items() for copy in range(k - 1)]

    n, slow = data.labels.shape[1], ~data.has_fast
    index = indices_of(slow)
    pool = _join(data, index, parts)
    numbers = torch.arange(1, len(parts) + 1)
    part = torch.cat([torch.zeros(n, dtype=torch.int64), numbers.repeat_interleave(index.shape[1])])
    source = torch.cat([torch.arange(n).expand(slow.shape), index.repeat(1, len(parts))], dim=1)

    weights = torch.zeros(len(data.seeds), len(arms), len(part), dtype=data.patches.dtype)
    weights[:, :, :n] = 1
    for weight, arm in zip(weights.unbind(1), arms):
        if arm.kind == "upsampled":
            weight[:, :n][slow] = arm.k
        for number, (std, copy) in enumerate(parts, start=1):
            if arm.synthetic_noise_std == std and copy < arm.k - 1:
                weight[:, part == number] = (index >= 0).to(weight.dtype)
    return TrainingSets(arms, pool, part, source, weights)


def indices_of(mask: torch.Tensor) -> torch.Tensor:
    """Where each row of a bool ``[S, N]`` is True, ascending, int64 ``[S, m]``, filled up with -1 to the longest."""
    n = mask.shape[1]
    index = torch.where(mask, torch.arange(n), n).sort(dim=1).values[:, : int(mask.sum(1).max())]
    return torch.where(index < n, index, -1)


def _fresh_noise(data, index, copies):
    """Noise of unit standard deviation ``[copies, S, m, P, d]`` for each slow example; 0 for filling."""
    shape, distribution = data.patches.shape[2:], data.distribution
    fresh = torch.zeros(copies, *index.shape, *shape, dtype=data.patches.dtype)
    for s, seed in enumerate(data.seeds if copies else ()):
        mine, generator = index[s] >= 0, seeded_generator(seed, _FRESH_NOISE)
        count = int(mine.sum())
        for copy in range(copies):
            fresh[copy, s, mine] = torch.randn(count, *shape, dtype=torch.float64, generator=generator).to(fresh)
        if distribution.orthogonal_noise and count:
            noise = (data.roles[s, index[s, mine]] == NOISE).expand(copies, -1, -1)
            taken = torch.cat([data.v_e[s, None], data.v_d[s, None], data.patches[s][data.roles[s] == NOISE]])
            needed = len(taken) + int(noise.sum())
            if distribution.dim < needed:
                raise ValueError(f"orthogonal noise of all generated examples needs dim >= {needed}, "
                                 f"got {distribution.dim}")
            mine_fresh = fresh[:, s, mine]
            mine_fresh[noise] = orthogonalise(mine_fresh[noise], taken)
            fresh[:, s, mine] = mine_fresh
    return fresh


def _join(data, index, parts):
    """The data, then their slow examples once for each (synthetic noise, copy) of parts, with fresh noise."""
    if not parts:
        return data
    fresh = _fresh_noise(data, index, 1 + max(copy for _, copy in parts))
    seeds, filled = torch.arange(len(index))[:, None], index >= 0
    noise = (data.roles[seeds, index] == NOISE)[..., None]
    features = data.patches[seeds, index] * filled[:, :, None, None]
    patches = [torch.where(noise, std * fresh[copy], features) for std, copy in parts]
    joined = {}
    for name in ("labels", "true_labels", "has_fast", "roles"):
        values = getattr(data, name)
        joined[name] = torch.cat([values, *[values[seeds, index]] * len(parts)], dim=1)
    return dataclasses.replace(data, patches=torch.cat([data.patches, *patches], dim=1), **joined)
