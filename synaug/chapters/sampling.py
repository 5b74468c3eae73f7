"""Other ways to sample from a diffusion model, by terms that explore among them, and what is measured of samples."""

import numpy as np
import pandas as pd
import torch

from synaug.chapters.tasks import found_denoiser, made_of, real_images, usual_denoiser, weights_of
from synaug.data import ImageDataset
from synaug.diffusion.denoisers import denoising_loss
from synaug.diffusion.exploration import AnnealedClass, Autoguided, GuidedInterval, MinorityGuided, ParticleGuided
from synaug.metrics import compare
from synaug.metrics.encoders import encode
from synaug.run import Task

#: The arm of samples without any term.
PLAIN = "plain"
#: Guidance interval of Kynkäänniemi et al. (2024) for ImageNet-512, in units of the data's standard deviation.
INTERVAL = (0.28 / 0.5, 2.9 / 0.5)
#: S_churn in steps of the grid where noise is inflated: every step first raises its noise level by a fifth.
INFLATED_CHURN = 0.2
NOISE_INFLATION, AUTOGUIDANCE = "noise inflation", "autoguidance"
#: Exploration terms: the denoiser that one makes of (denoiser, strength, seed, weak denoiser).
TERMS = {
    NOISE_INFLATION: lambda denoiser, strength, seed, weak: denoiser,  # s_noise of the sampler
    "CADS": lambda denoiser, strength, seed, weak: AnnealedClass(denoiser, strength, seed=seed),
    "guidance interval": lambda denoiser, strength, seed, weak: GuidedInterval(denoiser, strength, *(denoiser.sigma_data * edge for edge in INTERVAL)),
    AUTOGUIDANCE: lambda denoiser, strength, seed, weak: Autoguided(denoiser, weak, strength),
    "particle guidance": lambda denoiser, strength, seed, weak: ParticleGuided(denoiser, strength),
    "minority guidance": lambda denoiser, strength, seed, weak: MinorityGuided(denoiser, strength, seed),
}


def fresh(s, place: int) -> Task:
    """As many real images as a pool has that the generator has not seen: 0 is the reference, 1 + seed its like."""
    return Task(unseen_images, {"generator": s.generator, "weights": weights_of(s.generator), "place": place, "n": s.n_images})


def unseen_images(generator: str, weights: str, place: int, n: int) -> ImageDataset:
    return real_images(generator, weights, "unseen", n * (place + 1)).subset(range(n * place, n * (place + 1)))


def drawn(
    sources: ImageDataset,
    trained: dict | None = None,
    *,
    generator: str,
    weights: str,
    precision: str,
    device: str,
    images: int | None = None,
    term: str | None = None,
    strength: float | None = None,
    seed: int,
    **sampling,
) -> ImageDataset:
    """Samples of the classes of sources by a saved generator, with a term at a strength or plain. trained: what
    `trained_generators` gives, of which images is one: it samples, or with autoguidance is the weak one. sampling: of `made_of`."""
    denoiser = found_denoiser(trained, images, generator, weights, device)
    if term is not None:
        denoiser = TERMS[term](usual_denoiser(generator, weights, device), strength, seed, denoiser)
    return made_of(denoiser, sources, seed=seed, device=device, **sampling)


def compared(reference: ImageDataset, samples: ImageDataset, encoder: str, k: int, n_bootstrap: int, device: str) -> pd.DataFrame:
    """`synaug.metrics.compare` of samples with real images."""
    features = (encode(images.floats(), encoder, device=device) for images in (reference, samples))
    frame = compare(*features, reference.labels, samples.labels, k=k, n_bootstrap=n_bootstrap, seed=0)
    return frame[["metric", "value", "low", "high"]]


@torch.inference_mode()
def denoising_losses(
    held_out: ImageDataset, trained: dict | None = None, *, generator: str, weights: str, precision: str, device: str, images: int | None, sigmas: list
) -> np.ndarray:
    """EDM's weighted denoising loss of each image at each noise level, float32 ``[len(sigmas), N]``, of the saved
    generator, or of one of `trained_generators`. The noise of an image is the same at every level, and for all."""
    denoiser = found_denoiser(trained, images, generator, weights, device)
    clean, noise = held_out.floats(), torch.randn(len(held_out), *held_out.image_shape, generator=torch.Generator().manual_seed(0))
    losses = np.empty((len(sigmas), len(clean)), np.float32)
    for own, sigma in zip(losses, sigmas):
        for batch in torch.arange(len(clean)).split(250):
            x, y, z = (values[batch].to(device) for values in (clean, held_out.labels, noise))
            own[batch] = denoising_loss(denoiser, x, y, torch.full((len(x),), float(sigma), device=device), z).cpu()
    return losses


def limits(values: np.ndarray) -> dict:
    """Mean and 95 % limits, mean +- 1.96 standard errors, of per-image values."""
    mean, half = values.mean(), 1.96 * values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else 0.0
    return {"value": mean, "low": mean - half, "high": mean + half}
