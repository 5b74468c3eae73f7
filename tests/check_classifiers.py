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
# How classifiers are trained and what is read off them. One fact per cell.
# (The output of the first is ignored: captum imports a progress bar that warns where there are no widgets.)

# %%
# NBVAL_IGNORE_OUTPUT
import torch

from synaug.classifiers import accuracy, build_classifier, output_entropy, predict, train_classifier
from synaug.classifiers.attention import agreement, grad_cam
from synaug.classifiers.training import batch_order, learning_rate_factor
from synaug.data import load_dataset

train, test = load_dataset("digits"), load_dataset("digits", "test")

# %%
for name, side in (("resnet8", 28), ("resnet18", 32)):
    print(name, sum(p.numel() for p in build_classifier(name, (1, side, side), 10, seed=0).parameters()))

# %% [markdown]
# Learning rate factors of the two recipes along a run.

# %%
for recipe in ("one_cycle", "paper"):
    print(recipe, [round(learning_rate_factor(recipe, share), 3) for share in (0, 0.125, 0.25, 0.3, 0.625, 0.95)])

# %% [markdown]
# Batches are cut from shuffled passes: after three batches of four, six images were seen exactly twice each.

# %%
print(batch_order(6, 4, 3, seed=0).flatten().bincount().tolist())

# %% [markdown]
# Eighty steps on handwritten digits; another seed is another network that is about as good.

# %%
models = []
for seed in (0, 1):
    model = build_classifier("resnet8", train.image_shape, train.num_classes, seed)
    models.append(train_classifier(model, train.images, train.labels, steps=80, seed=seed, augment="none"))
scores = [accuracy(predict(model, test.images), test.labels) for model in models]
print([score > 0.95 for score in scores], abs(scores[0] - scores[1]) < 0.03)

# %% [markdown]
# It is surer of digits than of noise.

# %%
noise = torch.randint(0, 256, test.images[:100].shape, generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
digits, random = (output_entropy(predict(models[0], images)).mean().item() for images in (test.images[:100], noise))
print(digits < 0.3, digits < random / 2)

# %% [markdown]
# A Grad-CAM map agrees with itself completely, and with another network's in part.

# %%
maps = [grad_cam(model, test.images[:50], test.labels[:50]) for model in models]
print(round(agreement(maps[0], maps[0]).nanmean().item(), 3))
print(0.05 < agreement(*maps).nanmean().item() < 0.95)
