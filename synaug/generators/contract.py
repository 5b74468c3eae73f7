"""What every generator does, of whatever family: sample classes, and reconstruct real images at a strength."""

import math
from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor

from synaug.checks import as_tensor, number
from synaug.diffusion.denoisers import Denoiser
from synaug.diffusion.perturbed import Wrapped
from synaug.diffusion.reconstruction import Reconstruction, reconstruct
from synaug.diffusion.samplers import check_sampler
from synaug.diffusion.schedules import SIGMA_MAX, sigmas_from
from synaug.precision import home_of

#: Whole numbers ``[N]``.
Labels = Collection[int] | Tensor


class Generator:
    """The contract, which `Diffusion`, `VAE` and `GAN` keep; what pools and chapters take.

    image_shape: (C, H, W). class_names: the names of its labels.
    """

    image_shape: tuple[int, int, int]
    class_names: tuple[str, ...]

    def sample(self, labels: Labels, seed: int = 0, **options: Any) -> Reconstruction:
        """New images of classes, int64 ``[N]``: `reconstruct`, with its options, at strength 1, of which its images are
        no part."""
        return self.reconstruct(torch.zeros(len(as_tensor("labels", labels)), *self.image_shape), labels, 1.0, seed, **options)

    def reconstruct(
        self,
        images: Tensor,
        labels: Labels,
        strength: float,
        seed: int = 0,
        *,
        source_index: Labels | None = None,
        batch_size: int = 256,
        progress: bool = False,
    ) -> Reconstruction:
        """Real images taken away from themselves and brought back, with their classes.

        images: float ``[N, C, H, W]`` in [-1, 1]. labels: int64 ``[N]``.
        strength: 0 for the image itself, or the nearest that the generator can make, to 1 for nothing of it but its
        class. In between it is the same share of noise in every family: noise and image (in a latent space, its place
        there) are added with weights s and sqrt(1 - s²).
        seed, source_index: what an image becomes depends on these two and the strength, not on the images beside it;
        strengths share random numbers. batch_size: images at a time. progress: show a bar.
        Returns a `Reconstruction` on the CPU, whose provenance has the strength. ValueError or TypeError before work
        starts.
        """
        raise NotImplementedError


class Diffusion(Wrapped, Generator):
    """A denoiser with the settings of its sampler. It is still a denoiser.

    denoiser: see `synaug.diffusion.denoisers`. steps, solver, churn: see `synaug.diffusion.reconstruction.reconstruct`;
    18 steps are EDM's for small images. sigma_data: standard deviation of the images; by default the denoiser's own.
    Strength s is the noise level sigma_data s / sqrt(1 - s²), at most 80 (EDM's highest), at which the noise has the
    share s² of the variance; 0 is the identity, 1 starts from noise alone.
    """

    recorded: tuple[str, str]  # as an `EDMDenoiser` has it

    def __init__(self, denoiser: Denoiser, *, steps: int = 18, solver: str = "heun", churn: float = 0.0, sigma_data: float | None = None):
        super().__init__(denoiser)
        sigmas_from(1.0, steps)
        check_sampler(solver, churn)
        self.steps, self.solver, self.churn = steps, solver, churn
        known = getattr(denoiser, "sigma_data", None) if sigma_data is None else sigma_data
        if known is None or self.image_shape is None:
            raise ValueError("the denoiser must say its image_shape, and its sigma_data, the standard deviation of the images, unless that is passed")
        self.sigma_data = number("sigma_data", known, 1e-5)

    def __call__(self, x: Tensor, sigma: float | Tensor, labels: Tensor | None = None) -> Tensor:
        return self.denoiser(x, sigma, labels)

    def sigma_of(self, strength: float) -> float:
        """The noise level of a strength."""
        s = number("strength", strength, 0, 1)
        return SIGMA_MAX if s == 1 else min(SIGMA_MAX, self.sigma_data * s / math.sqrt(1 - s * s))

    def reconstruct(
        self,
        images: Tensor,
        labels: Labels,
        strength: float,
        seed: int = 0,
        *,
        source_index: Labels | None = None,
        batch_size: int = 256,
        progress: bool = False,
    ) -> Reconstruction:
        """See `Generator.reconstruct`."""
        made = reconstruct(
            self.denoiser,
            images,
            labels,
            sigma=self.sigma_of(strength),
            from_noise=strength == 1,
            steps=self.steps,
            solver=self.solver,
            churn=self.churn,
            seed=seed,
            source_index=source_index,
            batch_size=batch_size,
            device=home_of(self.denoiser, torch.device("cpu")),
            progress=progress,
        )
        return Reconstruction(made.images, made.labels, made.provenance.assign(strength=float(strength)))
