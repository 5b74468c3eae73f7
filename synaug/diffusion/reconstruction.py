"""Real sample reconstruction: noise a real image to a reverse step, and come back.

Yamaguchi 2024, algorithm 1; the same operation as SDEdit (Meng et al. 2022) and Boomerang (Luzi et al. 2024). At
reverse step 0 it is the identity; at the last step it starts from noise alone and is ordinary sampling.
"""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from tqdm import tqdm

from synaug.checks import as_tensor, warn_unit_range, whole
from synaug.diffusion.denoisers import Denoiser, check_input, generator_hash
from synaug.diffusion.samplers import check_sampler, sample
from synaug.diffusion.schedules import reverse_sigmas, sigmas_from
from synaug.precision import home_of, usable_device
from synaug.resources import check_memory


@dataclass(frozen=True)
class Reconstruction:
    """images: float32 ``[N, C, H, W]`` in [-1, 1]. labels: int64 ``[N]``, or None for no class. provenance: one row per
    image, with source_index, label, sigma, reverse_step, from_noise, seed, generator (its `generator_hash`), precision
    (the number format that its network runs in) and the sampler's settings."""

    images: Tensor
    labels: Tensor | None
    provenance: pd.DataFrame


def reconstruct(
    denoiser: Denoiser,
    images: Tensor,
    labels: Collection[int] | Tensor | None = None,
    *,
    reverse_step: int | None = None,
    sigma: float | None = None,
    steps: int = 100,
    mapping: str = "edm",
    stride: int = 1,
    solver: str = "heun",
    churn: float = 0.0,
    s_noise: float = 1.0,
    from_noise: bool | None = None,
    seed: int = 0,
    source_index: Collection[int] | Tensor | None = None,
    batch_size: int = 256,
    device: str | torch.device = "cpu",
    progress: bool = False,
) -> Reconstruction:
    """Reconstruct real images from a reverse step of a grid, or from a noise level.

    denoiser: see `synaug.diffusion.denoisers`. images: float ``[N, C, H, W]`` in [-1, 1]; all within [0, 1] they are
    warned of. labels: int64 ``[N]``, kept, or None for no class.
    reverse_step: 0 .. steps on the grid of ``steps`` and ``mapping`` ("edm" or "vp"), taken every ``stride``-th
    level; or sigma: the noise level itself, brought down in ``steps`` steps of EDM's spacing, stride 1. Exactly one of
    the two.
    solver, churn, s_noise: see `synaug.diffusion.samplers.sample`.
    from_noise: start from noise alone instead of from the noised image; by default only at the last reverse step,
    as the paper does.
    seed, source_index: the noise of an image depends on these two alone, not on its place in a batch or on the
    level, so a sweep over levels uses common random numbers. source_index: int64 ``[N]``, default 0 .. N-1.
    Where churn > 0, its share of a step is that of the whole grid's: a reconstruction from the middle is the end of
    the sampling run that starts at the top. No images give an empty result, without a call of the denoiser.
    batch_size: images at a time. device: where the denoiser is; images are brought there. progress: show a bar.
    Returns a `Reconstruction` on the CPU. Raises ValueError or TypeError before sampling starts.
    """
    images, labels, source_index = checked(denoiser, images, labels, seed, source_index)
    check_sampler(solver, churn, s_noise)
    batch_size = whole("batch_size", batch_size, 1)
    device = usable_device(device)
    if (home := home_of(denoiser, device)).type != device.type:
        raise ValueError(f"the denoiser is on {home}, and device is {device}: they must be the same")
    if reverse_step is not None and sigma is None:
        sigmas = reverse_sigmas(reverse_step, steps, mapping, stride)
        whole_grid = len(reverse_sigmas(steps, steps, mapping, stride)) - 1
        from_noise = reverse_step == steps if from_noise is None else bool(from_noise)
    elif sigma is not None and reverse_step is None:
        if stride != 1:
            raise ValueError(f"stride thins a grid of reverse steps, which sigma does not have: leave it out, got {stride}")
        sigmas, whole_grid = sigmas_from(sigma, steps), steps
        from_noise = bool(from_noise)
    else:
        raise ValueError("give either reverse_step or sigma, not both or neither")
    start, sampling_steps = float(sigmas[0]), len(sigmas) - 1
    if from_noise and start == 0:
        raise ValueError("from_noise needs a noise level above 0")
    if not from_noise:
        warn_unit_range(images)
    provenance = pd.DataFrame(
        {
            "source_index": source_index.numpy(),
            "label": None if labels is None else labels.numpy(),
            "sigma": start,
            "reverse_step": reverse_step,
            "steps": steps,
            "mapping": mapping if sigma is None else None,
            "stride": stride,
            "solver": solver,
            "churn": churn,
            "s_noise": s_noise,
            "from_noise": from_noise,
            "seed": seed,
            "generator": generator_hash(denoiser),
            "precision": str(getattr(denoiser, "precision", torch.float32)).removeprefix("torch."),
        }
    )
    result = images.clone()
    if start == 0:
        return Reconstruction(result, labels, provenance)
    settings = {"solver": solver, "churn": churn * (sampling_steps / whole_grid), "s_noise": s_noise}
    for at in tqdm(range(0, len(images), batch_size), disable=not progress, desc=f"sigma {start:.3g}"):
        batch = slice(at, at + batch_size)
        classes = None if labels is None else labels[batch].to(device)
        result[batch] = _reconstruct_batch(denoiser, images[batch].to(device), classes, sigmas, from_noise, seed, source_index[batch], settings)
    return Reconstruction(result, labels, provenance)


def generate(
    denoiser: Denoiser,
    labels: Collection[int] | Tensor | None = None,
    *,
    n: int | None = None,
    image_shape: tuple[int, ...] | None = None,
    steps: int = 18,
    mapping: str = "edm",
    seed: int = 0,
    source_index: Collection[int] | Tensor | None = None,
    **options,
) -> Reconstruction:
    """Images of the given classes from noise alone: `reconstruct` at the last reverse step of ``steps``.

    labels: int64 ``[N]``, or None for no class. n: how many images; needed where neither labels nor source_index says.
    image_shape: (C, H, W); by default the denoiser's own. steps: of the sampler, 18 in EDM for small images. seed: an
    image's noise depends on it and on its source_index, ``0 .. N - 1`` by default, alone. mapping and further options
    (solver, churn, batch_size, device, ...): see `reconstruct`, whose errors are raised.
    """
    labels = _as_labels(labels)
    if n is None:
        known = source_index if labels is None else labels
        if known is None:
            raise ValueError("without labels, n must say how many images")
        n = len(as_tensor("source_index", known))
    whole("n", n, 0)
    shape = getattr(denoiser, "image_shape", None) if image_shape is None else image_shape
    if not isinstance(shape, (tuple, list)) or len(shape) != 3:
        raise ValueError(f"the denoiser's image_shape is {shape!r}: pass image_shape=(C, H, W)")
    shape = [whole("each of image_shape", size, 1) for size in shape]
    check_memory(8 * n * math.prod(shape), f"making {n:,} images")
    blank = torch.zeros(n, *shape)
    return reconstruct(denoiser, blank, labels, reverse_step=steps, steps=steps, mapping=mapping, seed=seed, source_index=source_index, **options)


def checked(
    generator: Denoiser, images: Tensor, labels: Collection[int] | Tensor | None, seed: int, source_index: Collection[int] | Tensor | None
) -> tuple[Tensor, Tensor | None, Tensor]:
    """Images, labels and source indices of a reconstruction on the CPU; ValueError or TypeError as there."""
    labels = _as_labels(labels)
    check_input(generator, images, labels)
    if images.ndim != 4:
        raise ValueError(f"images must be [N, C, H, W], got {list(images.shape)}")
    if not images.isfinite().all():
        raise ValueError("the images hold NaN or infinite values")
    if len(images) and images.abs().max() > 1 + 1e-5:
        raise ValueError(f"images must be in [-1, 1], got {images.min():.3g}..{images.max():.3g}")
    n = len(images)
    source_index = torch.arange(n) if source_index is None else as_tensor("source_index", source_index).cpu()
    whole("seed", seed, 0, 2**64 - 1)
    if source_index.shape != (n,):
        raise ValueError(f"source_index must be [N] with N = {n}, got {list(source_index.shape)}")
    if source_index.dtype != torch.int64:
        raise TypeError(f"source_index must be int64, got {source_index.dtype}")
    if n and source_index.min() < 0:
        raise ValueError(f"source_index must not be negative, got {int(source_index.min())}")
    return images.detach().cpu().float(), labels, source_index


@torch.inference_mode()
def _reconstruct_batch(denoiser, images, labels, sigmas, from_noise, seed, source_index, settings):
    """Reconstructions of one batch on its own device, clamped to [-1, 1]."""

    def noise(stream):
        return per_image_noise(images.shape, seed, source_index, stream).to(images.device)

    x = float(sigmas[0]) * noise(0)
    if not from_noise:
        x = images + x
    # A step's fresh noise is keyed by the steps left below it, so levels of one grid share it.
    return sample(denoiser, x, sigmas, labels, noise=lambda i: noise(len(sigmas) - 1 - i), **settings).clamp(-1, 1)


def per_image_noise(shape: Sequence[int], seed: int, source_index: Tensor, stream: int = 0) -> Tensor:
    """Standard normal float32 noise of ``shape``, image i's a function of (seed, source_index[i], stream) alone.

    seed: 0 .. 2^64 - 1. source_index: int64 ``[N]``, not negative. stream: a whole number, one a use.
    """
    size = math.prod(shape[1:])
    noise = np.empty((shape[0], size), np.float32)
    for row, index in zip(noise, source_index.tolist(), strict=True):
        # A counter-based generator (Salmon et al. 2011): the key and the counter's third word name the stream.
        key = np.array([seed, index], np.uint64)
        np.random.Generator(np.random.Philox(key=key, counter=[0, 0, stream, 0])).standard_normal(out=row, dtype=np.float32)
    return torch.from_numpy(noise).reshape(shape)


def _as_labels(labels):
    """Labels in any form as a tensor on the CPU; an empty list is of no type yet."""
    labels = None if labels is None else as_tensor("labels", labels).cpu()
    if labels is not None and labels.ndim == 0:
        raise ValueError(f"labels must be [N], one label per image, got the number {labels.item()}")
    return labels.long() if labels is not None and len(labels) == 0 else labels
