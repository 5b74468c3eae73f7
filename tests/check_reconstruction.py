# ---
# jupyter:
#   jupytext:
#     cell_metadata_filter: tags,mystnb,-all
#     notebook_metadata_filter: kernelspec,jupytext,-jupytext.text_representation.jupytext_version
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Real sample reconstruction, one fact per cell
#
# The numbers below each cell are compared when the tests run.

# %%
import math

import torch

from synaug.diffusion.reconstruction import generate, per_image_noise, reconstruct
from synaug.diffusion.samplers import network_evaluations, sample
from synaug.diffusion.schedules import edm_sigmas, reverse_sigmas, sigma_of_reverse_step
from synaug.theory.mixtures import GaussianMixture

# %% [markdown]
# The noise level of each of the paper's 100 reverse steps, on EDM's grid.

# %%
for t in (0, 10, 20, 25, 30, 40, 50, 60, 70, 75, 80, 90, 100):
    print(f"{t:3} {sigma_of_reverse_step(t):8.4g}")

# %% [markdown]
# The variance-preserving reading puts much more noise into the early steps.

# %%
for t in (10, 20, 30, 50, 100):
    print(f"{t:3} {sigma_of_reverse_step(t, mapping='vp'):8.4g}")

# %% [markdown]
# Heun's method costs 2 t - 1 network evaluations from reverse step t, Euler's t; a stride divides the cost.

# %%
for t in (0, 1, 50, 100):
    print(t, *(network_evaluations(reverse_sigmas(t), solver) for solver in ("heun", "euler")))
print("stride 10:", network_evaluations(reverse_sigmas(50, stride=10)))


# %% [markdown]
# Images of two classes whose pixels are N(-0.5, 0.2²) and N(0.5, 0.2²), and their exact denoiser.

# %%
def denoiser(x, sigma, labels):
    mean = labels.view(-1, 1, 1, 1) - 0.5
    return mean + 0.2**2 / (0.2**2 + sigma**2) * (x - mean)


labels = torch.tensor([0, 1, 0, 1])
images = (labels.view(-1, 1, 1, 1) - 0.5 + 0.2 * per_image_noise((4, 1, 4, 4), 11, torch.arange(4))).clamp(-1, 1)

# %% [markdown]
# At reverse step 0 reconstruction is the identity, bit for bit.

# %%
print(torch.equal(reconstruct(denoiser, images, labels, reverse_step=0).images, images))

# %% [markdown]
# At the last step it does not depend on the source, bit for bit; one step before, it does.

# %%
for t in (100, 99):
    a, b = (reconstruct(denoiser, source, labels, reverse_step=t).images for source in (images, -images))
    print(t, torch.equal(a, b))

# %% [markdown]
# The flow of a Gaussian is a closed form: from noise level s it shrinks the distance from the mean to
# 0.2 / sqrt(0.2² + s²) of itself.

# %%
for t in (20, 40, 60):
    s, mean = sigma_of_reverse_step(t), labels.view(-1, 1, 1, 1) - 0.5
    noised = images + s * per_image_noise(images.shape, 0, torch.arange(4))
    exact = (mean + (noised - mean) * 0.2 / math.sqrt(0.2**2 + s**2)).clamp(-1, 1)
    error = (reconstruct(denoiser, images, labels, reverse_step=t).images - exact).abs().max()
    print(t, f"{s:.3f}", bool(error < 1e-3))

# %% [markdown]
# How far reconstructions are from their sources: farther the later the step (root mean square, pixels in [-1, 1]).

# %%
for t in (0, 20, 30, 40, 60, 100):
    moved = reconstruct(denoiser, images, labels, reverse_step=t).images - images
    print(t, f"{moved.square().mean().sqrt():.2f}")

# %% [markdown]
# An image's noise depends on the seed and its source index alone: a part of a batch, in another order and in batches
# of one, comes out as it did.

# %%
whole = reconstruct(denoiser, images, labels, reverse_step=50, churn=10.0).images
index = torch.tensor([2, 0])
part = reconstruct(denoiser, images[index], labels[index], reverse_step=50, churn=10.0, source_index=index,
                   batch_size=1)
print(torch.equal(part.images, whole[index]))

# %% [markdown]
# What is known of each image.

# %%
print(part.provenance.drop(columns="generator").round(3).T.to_string(header=False))

# %% [markdown]
# Ordinary generation is the last reverse step.

# %%
made = generate(denoiser, labels, image_shape=(1, 4, 4), steps=100).images
print(torch.equal(made, reconstruct(denoiser, images, labels, reverse_step=100).images))

# %% [markdown]
# With the exact denoiser of a mixture, noising and coming back keeps the distribution: here the share, mean and
# spread of the right one of two components, before and after.

# %%
mixture = GaussianMixture([0.3, 0.7], [[-1.0], [1.0]], [[[0.09]], [[0.04]]])
clean, _ = mixture.sample(20_000, torch.Generator().manual_seed(0))
noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
back = sample(mixture, clean + 1.5 * noise, edm_sigmas(30, sigma_max=1.5))
for x in (clean, back):
    right = x[x > 0.3]
    print(f"share {len(right) / len(x):.2f}  mean {right.mean():.2f}  spread {right.std():.2f}")

# %% [markdown]
# What cannot be reconstructed is refused, and the message says why.

# %%
for wrong in ({"images": images * 3}, {"labels": labels[:3]}, {"reverse_step": 101}, {"mapping": "ve"}, {"seed": -1}):
    try:
        reconstruct(denoiser, **{"images": images, "labels": labels, "reverse_step": 50, **wrong})
    except ValueError as error:
        print(error)
