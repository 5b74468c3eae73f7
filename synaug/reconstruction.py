"""Real sample reconstruction: noise a real image to a reverse step, and come back.

Yamaguchi 2024, algorithm 1; the same operation as SDEdit (Meng et al. 2022) and Boomerang (Luzi et al. 2024). At
reverse step 0 it is the identity; at the last step it starts from noise alone and is ordinary sampling.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from tqdm import tqdm

from synaug.denoisers import generator_hash
from synaug.samplers import sample
from synaug.schedules import reverse_sigmas, sigmas_from


@dataclass(frozen=True)
class Reconstruction:
    """images: float32 ``[N, C, H, W]`` in [-1, 1]. labels: int64 ``[N]``. provenance: one row an image, with
    source_index, label, sigma, reverse_step, from_noise, seed, generator (its hash) and the sampler's settings."""

    images: Tensor
    labels: Tensor
    provenance: pd.DataFrame


def reconstruct(denoiser, images, labels, *, reverse_step=None, sigma=None, steps=100, mapping="edm", stride=1,
                solver="heun", churn=0.0, s_noise=1.0, from_noise=None, seed=0, source_index=None, batch_size=256,
                device="cpu", progress=False):
    """Reconstruct real images from a reverse step of a grid, or from a noise level.

    denoiser: see `synaug.denoisers`. images: float ``[N, C, H, W]`` in [-1, 1]. labels: int64 ``[N]``, kept.
    reverse_step: 0 .. steps on the grid of ``steps`` and ``mapping`` ("edm" or "vp"), taken every ``stride``-th
    level; or sigma: the noise level itself, brought down in ``steps`` steps. Exactly one of the two.
    solver, churn, s_noise: see `synaug.samplers.sample`.
    from_noise: start from noise alone instead of from the noised image; by default only at the last reverse step,
    as the paper does.
    seed, source_index: the noise of an image depends on these two alone, not on its place in a batch or on the
    level, so a sweep over levels uses common random numbers. source_index: int64 ``[N]``, default 0 .. N-1.
    Returns a `Reconstruction`. Raises ValueError or TypeError before sampling starts.
    """
    labels = torch.as_tensor(labels)
    source_index = torch.arange(len(images)) if source_index is None else torch.as_tensor(source_index)
    check_images(denoiser, images, labels)
    if source_index.shape != labels.shape:
        raise ValueError(f"source_index must be [N] with N = {len(images)}, got {list(source_index.shape)}")
    if (reverse_step is None) == (sigma is None):
        raise ValueError("give either reverse_step or sigma, not both or neither")
    if sigma is None:
        sigmas = reverse_sigmas(reverse_step, steps, mapping, stride)
        from_noise = reverse_step == steps if from_noise is None else from_noise
    else:
        sigmas = sigmas_from(float(sigma), steps)
        from_noise = bool(from_noise)
    if from_noise and len(sigmas) == 1:
        raise ValueError("from_noise needs a noise level above 0")
    start, done = float(sigmas[0]), []
    for at in tqdm(range(0, len(images), batch_size), disable=not progress, desc=f"sigma {start:.3g}"):
        batch = slice(at, at + batch_size)
        done.append(_reconstruct_batch(denoiser, images[batch], labels[batch], sigmas, from_noise, seed,
                                       source_index[batch], device, solver=solver, churn=churn, s_noise=s_noise))
    provenance = pd.DataFrame({
        "source_index": source_index.numpy(), "label": labels.numpy(), "sigma": start, "reverse_step": reverse_step,
        "steps": steps, "mapping": mapping if sigma is None else None, "stride": stride, "solver": solver,
        "churn": churn, "s_noise": s_noise, "from_noise": from_noise, "seed": seed,
        "generator": generator_hash(denoiser)})
    return Reconstruction(torch.cat(done) if done else images, labels, provenance)


def generate(denoiser, labels, *, image_shape=None, steps=18, mapping="edm", seed=0, source_index=None, **options):
    """Images of the given classes from noise alone: `reconstruct` at the last reverse step of ``steps``.

    image_shape: (C, H, W); by default the denoiser's own. The other arguments are those of `reconstruct`.
    """
    shape = getattr(denoiser, "image_shape", None) if image_shape is None else image_shape
    if shape is None:
        raise ValueError("the denoiser does not say its image_shape: pass image_shape=(C, H, W)")
    blank = torch.zeros(len(labels), *shape)
    return reconstruct(denoiser, blank, labels, reverse_step=steps, steps=steps, mapping=mapping, seed=seed,
                       source_index=source_index, **options)


def _reconstruct_batch(denoiser, images, labels, sigmas, from_noise, seed, source_index, device, **dials):
    if len(sigmas) == 1:
        return images.clone()

    def noise(stream):
        return per_image_noise(images.shape, seed, source_index, stream).to(device)

    images, labels = images.to(device), labels.to(device)
    x = sigmas[0].item() * noise(0)
    if not from_noise:
        x = images + x
    # A step's fresh noise is keyed by the steps left below it, so levels of one grid share it.
    with torch.inference_mode():
        x = sample(denoiser, x, sigmas, labels, noise=lambda i: noise(len(sigmas) - 1 - i), **dials)
    return x.clamp(-1, 1).float().cpu()


def per_image_noise(shape, seed, source_index, stream=0):
    """Standard normal float32 noise of ``shape``, image i's a function of (seed, source_index[i], stream) alone."""
    size = int(np.prod(shape[1:]))
    rows = [np.random.Generator(np.random.Philox(key=[seed, index], counter=[0, 0, stream, 0]))
            .standard_normal(size, dtype=np.float32) for index in source_index.tolist()]
    return torch.from_numpy(np.stack(rows)).reshape(shape) if rows else torch.empty(shape)


def check_images(denoiser, images, labels):
    """Refuse images and labels that a denoiser cannot take. ValueError or TypeError."""
    if not isinstance(images, Tensor) or not images.is_floating_point():
        raise TypeError("images must be a floating point tensor in [-1, 1]; synaug.data.to_floats converts bytes")
    if images.ndim != 4:
        raise ValueError(f"images must be [N, C, H, W], got {list(images.shape)}")
    if not images.isfinite().all():
        raise ValueError("the images hold NaN or infinite values")
    if len(images) and images.abs().max() > 1 + 1e-5:
        raise ValueError(f"images must be in [-1, 1], got {images.min():.3g}..{images.max():.3g}")
    shape = getattr(denoiser, "image_shape", None)
    if shape is not None and tuple(images.shape[1:]) != tuple(shape):
        raise ValueError(f"the denoiser is for images {tuple(shape)}, got {tuple(images.shape[1:])}")
    if labels.dtype != torch.int64:
        raise TypeError(f"labels must be int64, got {labels.dtype}")
    if labels.shape != (len(images),):
        raise ValueError(f"labels must be [N] with N = {len(images)} images, got {list(labels.shape)}")
    classes = getattr(denoiser, "num_classes", None)
    if classes is not None and len(labels) and not 0 <= labels.min() <= labels.max() < classes:
        raise ValueError(f"labels must be in 0..{classes - 1}, got {int(labels.min())}..{int(labels.max())}")
