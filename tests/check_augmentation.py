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
# Targeted augmentation, one fact per cell: what is slow to learn, new images of it, both as a training set.
# (The output of the first is ignored: what it imports may warn.)

# %%
# NBVAL_IGNORE_OUTPUT
import torch

from synaug import build_classifier, draw_splits, generate_pool, load_dataset, load_denoiser, select, warm_up, with_generated

generator = load_denoiser("fashion_mnist")
(real,) = draw_splits(load_dataset("digits"), 30, seed=0)
small = build_classifier("resnet8", real.image_shape, real.num_classes, seed=0)
early = warm_up(small, real.images, real.labels, steps=30, seed=0, passes=8, augment="none")
print([round(error, 1) for error in early.errors[:1] + early.errors[-1:]])

# %% [markdown]
# A selection names places of the data set; slow ones have the higher loss in each class, and some are of every class.

# %%
slow = select("slow_learnable", early)
evidence = slow.evidence.groupby(["label", "selected"])["loss"].mean().unstack()
print(len(slow) == slow.evidence["selected"].sum(), (evidence[True] > evidence[False]).all(), len(evidence.dropna()))


# %% [markdown]
# Two new images of each source, of its class, by a denoiser that is a formula: everything drawn towards grey.

# %%
def denoiser(x, sigma, labels):
    return x / (1 + sigma.reshape(-1, 1, 1, 1) ** 2 if torch.is_tensor(sigma) else 1 + sigma**2)


pool = generate_pool(denoiser, real, slow.indices, k=3, sigmas=(0.5, 1.0), steps=4)
print(len(pool) == 2 * len(slow), torch.equal(pool.data.labels, real.labels[slow.indices].repeat(2)))
print(pool.provenance.groupby("copy")["sigma"].unique().tolist(), set(pool.provenance["generator"]))

# %% [markdown]
# The training set: the real images first, the generated ones marked; a smaller k is a part of it.

# %%
whole, part = with_generated(real, pool), with_generated(real, pool, k=2)
print(len(whole) - len(real) == len(pool), int(whole.synthetic.sum()) == len(pool), len(part) == len(real) + len(slow))
print(torch.equal(whole.data.images[: len(part)], part.data.images))

# %% [markdown]
# The committed generator takes grey noise towards the class that it is told.

# %%
clothes = load_dataset("fashion_mnist")
noise = 20 * torch.randn(10, 1, 28, 28, generator=torch.Generator().manual_seed(0))
guesses = generator(noise, torch.tensor(20.0), torch.arange(10))
print(generator.image_shape, generator.num_classes, tuple(guesses.shape))
means = torch.stack([clothes.floats((clothes.labels == c).nonzero().flatten()[:200]).mean(dim=0) for c in range(10)])
nearest = torch.cdist(guesses.flatten(1), means.flatten(1)).argmin(dim=1)
print((nearest == torch.arange(10)).sum().item() >= 8)
