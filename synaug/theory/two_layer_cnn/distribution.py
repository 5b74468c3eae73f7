"""The patch distribution of the two-layer CNN theory: fast- and slow-learnable features among noise patches.

Definition 3.1 of targeted augmentation (arXiv 2505.21574), second hand, completed from USEFUL's (arXiv 2404.17768).
An example has P patches in R^d in random order and a label y = +-1. Two orthonormal directions are shared by all
examples: v_e, learned fast (patch beta_e y v_e), and v_d, learned slowly (patch beta_d y v_d).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from synaug.checks import number, one_of

#: What a patch is.
FAST, SLOW, NOISE = 0, 1, 2

#: "A": every example has the slow patch, a share alpha the fast one too (USEFUL; needs P >= 3).
#: "B": every example has one feature patch, fast with probability alpha, else slow (fits the proofs' P = 2).
#: The public texts leave open which is meant. All other patches are noise.
READINGS = ("A", "B")


@dataclass(frozen=True)
class PatchData:
    """n examples for each of S seeds, as ``PatchDistribution.sample`` draws them.

    patches: float ``[S, n, P, d]``. labels: +-1.0 ``[S, n]``, dtype of patches. true_labels: likewise, the sign of the
    feature patches; it differs from labels by label noise alone. has_fast: bool ``[S, n]``; an example without the
    fast patch is "slow". roles: int64 ``[S, n, P]``, FAST, SLOW or NOISE. v_e, v_d: ``[S, d]``.
    """

    distribution: "PatchDistribution"
    seeds: tuple[int, ...]
    patches: torch.Tensor
    labels: torch.Tensor
    true_labels: torch.Tensor
    has_fast: torch.Tensor
    roles: torch.Tensor
    v_e: torch.Tensor
    v_d: torch.Tensor


@dataclass(frozen=True)
class PatchDistribution:
    """Definition 3.1. Defaults: P, d, strengths and noise of the toy of Deng et al. 2023 (public code), USEFUL's alpha.

    num_patches P; dim d; alpha: probability of the fast patch; beta_e >= beta_d >= 0: strengths of the features (the
    definition has beta_e > beta_d; equality is the limit); noise_std: standard deviation of each coordinate of a
    noise patch (sigma_p / sqrt(d) in USEFUL); reading: one of ``READINGS``; label_noise: probability, at most 0.5,
    that a label is flipped; orthogonal_noise: all noise patches of a sample orthogonal to each other and to the
    features, as the proofs assume (needs d >= n (P - 1) + 2), with norms as without. v_e and v_d are a random
    orthonormal pair for each seed. Raises ValueError for anything else.
    """

    num_patches: int = 3
    dim: int = 50
    alpha: float = 0.9
    beta_e: float = 1.0
    beta_d: float = 0.2
    noise_std: float = 0.125
    reading: str = "A"
    label_noise: float = 0.0
    orthogonal_noise: bool = False

    def __post_init__(self):
        one_of("reading", self.reading, READINGS)
        least = 3 if self.reading == "A" else 2
        if self.num_patches < least:
            raise ValueError(f"reading {self.reading} needs num_patches >= {least}, got {self.num_patches}")
        if self.dim < 2:
            raise ValueError(f"two orthogonal features need dim >= 2, got {self.dim}")
        number("alpha", self.alpha, 0, 1)
        if not 0 <= self.beta_d <= self.beta_e < math.inf:
            raise ValueError(f"need 0 <= beta_d <= beta_e, got beta_d={self.beta_d} and beta_e={self.beta_e}")
        number("noise_std", self.noise_std, 0)
        number("label_noise", self.label_noise, 0, 0.5)

    def sample(self, n: int, seeds: Sequence[int], stream: int = 0, dtype: torch.dtype = torch.float32) -> PatchData:
        """n examples for each seed; see ``PatchData``.

        A seed fixes v_e and v_d; seed and stream (say 0 for training, 1 for test) fix the examples, whatever the
        other seeds. Drawn in float64 and rounded to dtype. Raises ValueError for bad sizes, seeds or dtype.
        """
        seeds = check_seeds(seeds)
        if n < 1:
            raise ValueError(f"need at least one example, got n={n}")
        if dtype not in (torch.float32, torch.float64):
            raise ValueError(f"dtype must be float32 or float64, got {dtype}")
        needed = n * (self.num_patches - 1) + 2
        if self.orthogonal_noise and self.dim < needed:
            raise ValueError(f"orthogonal noise of {n} examples needs dim >= {needed}, got {self.dim}")
        draws = []
        for seed in seeds:
            v_e, v_d = self._features(seed)
            patches, *others = self._examples(n, v_e, v_d, seeded_generator(seed, stream))
            draws.append((patches.to(dtype), *others, v_e, v_d))
        patches, signs, flips, has_fast, roles, v_e, v_d = (torch.stack(column) for column in zip(*draws))
        true_labels = signs.to(dtype)
        labels = torch.where(flips, -true_labels, true_labels)
        return PatchData(self, seeds, patches, labels, true_labels, has_fast, roles, v_e.to(dtype), v_d.to(dtype))

    def _features(self, seed):
        g = torch.randn(self.dim, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
        return torch.linalg.qr(g).Q.T

    def _examples(self, n, v_e, v_d, generator):
        """Patches, signs (of the features), flips (of the labels), has_fast and roles of one seed's examples."""
        signs = (2 * torch.randint(0, 2, (n,), generator=generator) - 1).double()
        flips = torch.rand(n, generator=generator) < self.label_noise
        has_fast = torch.rand(n, generator=generator) < self.alpha
        roles = torch.full((n, self.num_patches), NOISE)
        if self.reading == "A":
            roles[:, 0] = SLOW
            roles[has_fast, 1] = FAST
        else:
            roles[:, 0] = torch.where(has_fast, FAST, SLOW)
        roles = roles.gather(1, torch.rand(n, self.num_patches, generator=generator).argsort(1))
        patches = self.noise_std * torch.randn(n, self.num_patches, self.dim, dtype=torch.float64, generator=generator)
        if self.orthogonal_noise:
            patches[roles == NOISE] = orthogonalise(patches[roles == NOISE], torch.stack([v_e, v_d]))
        for role, feature in ((FAST, self.beta_e * v_e), (SLOW, self.beta_d * v_d)):
            example, position = (roles == role).nonzero(as_tuple=True)
            patches[example, position] = signs[example, None] * feature
        return patches, signs, flips, has_fast, roles


def orthogonalise(vectors: torch.Tensor, against: torch.Tensor) -> torch.Tensor:
    """``[m, d]`` made orthogonal to each other and to ``against`` ``[r, d]`` (m + r <= d), each with its norm kept."""
    directions = torch.linalg.qr(torch.cat([against, vectors]).T).Q.T[len(against) :]
    return directions * vectors.norm(dim=1, keepdim=True)


def check_seeds(seeds: Sequence[int]) -> tuple[int, ...]:
    """The seeds as a tuple; ValueError unless they are distinct integers, at least one, none negative."""
    seeds = tuple(seeds)
    if not seeds or len(set(seeds)) < len(seeds) or any(not isinstance(s, (int, np.integer)) or s < 0 for s in seeds):
        raise ValueError(f"seeds must be distinct integers, at least one, none negative, got {seeds}")
    return tuple(int(seed) for seed in seeds)


def seeded_generator(seed: int, stream: int) -> torch.Generator:
    """A generator for one of several independent streams of the same seed."""
    return torch.Generator().manual_seed(int(np.random.SeedSequence([seed, stream]).generate_state(1)[0]))
