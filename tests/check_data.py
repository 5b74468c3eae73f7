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
# The images that come with the repository, and how subsets of them are drawn. One fact per cell.

# %%
import hashlib
import tempfile

import torch

from synaug import ImageDataset, draw_splits, load_dataset, load_image_folder
from synaug.data import same_classes, save_image_folder, stratified_subset, to_bytes, to_floats

train, test = load_dataset("fashion_mnist"), load_dataset("fashion_mnist", "test")
print(tuple(train.images.shape), tuple(test.images.shape), train.labels.bincount().unique().tolist())
print(", ".join(train.class_names))

# %%
print(round(train.floats().mean().item(), 4), round(train.floats().std().item(), 4))
print(hashlib.sha256(test.images.numpy().tobytes()).hexdigest()[:16])

# %% [markdown]
# Bytes to floats in [-1, 1] and back is the identity.

# %%
every = torch.arange(256, dtype=torch.uint8).view(-1, 1, 1, 1)
print(to_floats(every).min().item(), to_floats(every).max().item(), torch.equal(to_bytes(to_floats(every)), every))

# %% [markdown]
# A stratified subset has each class equally often, and a larger one of the same seed contains it.

# %%
small, large = (stratified_subset(train, n, seed=0) for n in (1000, 2000))
print(small.labels.bincount().tolist())
print(torch.equal(small.source_index, large.source_index[:1000]))
print(torch.isin(small.source_index, stratified_subset(train, 1000, seed=1).source_index).sum().item())

# %% [markdown]
# Splits share no image and have as many of each class as they are asked for.

# %%
parts = draw_splits(test, 5, 20, seed=0)
places = torch.cat([part.source_index for part in parts])
print([part.labels.bincount().unique().tolist() for part in parts], len(places.unique()))

# %% [markdown]
# What is written as a folder per class reads back equal, in the order of the classes.

# %%
made = ImageDataset(test.images[:6], torch.tensor([0, 1, 0, 1, 1, 0]), ("plain", "striped"))
with tempfile.TemporaryDirectory() as folder:
    read = load_image_folder(save_image_folder(made, f"{folder}/mine"))
order = made.labels.argsort(stable=True)
print(read.class_names, read.labels.tolist(), torch.equal(read.images, made.images[order]))

# %%
digits = load_dataset("digits")
print(tuple(digits.images.shape), digits.num_classes, sorted(digits.images.unique().tolist())[-1])

# %% [markdown]
# A folder with a subfolder per class in each of its splits is a data set, too. Its classes are in alphabetical order.
# Labels cross from one data set to another by the names of the classes.

# %%
with tempfile.TemporaryDirectory() as folder:
    for split, part in zip(("train", "test"), draw_splits(train, 5, 2, seed=0)):
        save_image_folder(part, f"{folder}/{split}")
    own = load_dataset(folder, "test")
print(own.labels.bincount().tolist(), ", ".join(own.class_names[:3]))
print(same_classes(train.class_names[1:3], ["Pullover", "Trouser"]).tolist())

# %%
try:
    load_dataset("fashion")
except ValueError as error:
    print(str(error).split(", and folders")[0])
