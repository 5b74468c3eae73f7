"""A ladder of generators: the same recipe at several sizes and moments of training, and how well each denoises.

A generator is described by plain data, so that cells can name it: a saved one by {"generator": name or folder,
"weights": its hash}; a rung by {"recipe": ..., "snapshots": ..., "images": one of the snapshots}.
"""

import hashlib
import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock

import synaug.data
from synaug.diffusion import denoisers
from synaug.diffusion import recipe as generator_recipe
from synaug.diffusion import trainer as generator_trainer
from synaug.diffusion import training as generator_training
from synaug import precision
from synaug.diffusion.denoisers import denoising_loss
from synaug.diffusion.denoisers import DESCRIPTION, checkpoint_folder, generator_hash, load_denoiser
from synaug.diffusion.recipe import Recipe
from synaug.diffusion.trainer import RECORD
from synaug.diffusion.training import snapshot_folder, train
from synaug.paths import cache_dir
from synaug.precision import fast_precision
from synaug.run.results import canonical_json, fingerprint

#: What a rung depends on beside its recipe: the code, and torch.
CODE = torch.__version__ + " " + fingerprint(synaug.data, denoisers, generator_recipe,
                                             generator_trainer, generator_training, precision, __file__)


def saved(generator):
    """The description of a saved generator."""
    return {"generator": str(generator), "weights": generator_hash(load_denoiser(generator))}


def recipe_of(generator, **changed):
    """The recipe that a saved generator was trained by, with changes, as plain data."""
    recipe = json.loads((checkpoint_folder(generator) / RECORD).read_text())["recipe"]
    return asdict(replace(Recipe(**{**recipe, "channels": tuple(recipe["channels"])}), **changed))


def train_rungs(recipe, snapshots):
    """Train by a recipe and keep the generators of after each number of images in ``snapshots``, as a cell.

    Returns {"held_out_loss": of the last one, "weights": hashes of all}. A run that was cut goes on.
    """
    folder = rungs_folder(recipe, snapshots)
    with FileLock(folder.with_suffix(".lock")):
        trainer = train(Recipe(**{**recipe, "channels": tuple(recipe["channels"])}), folder, images=max(snapshots),
                        snapshots=snapshots, progress=False)
    weights = [generator_hash(load_denoiser(snapshot_folder(folder, images))) for images in snapshots]
    return {"held_out_loss": trainer.curve[-1]["held_out_loss"], "weights": " ".join(weights)}


def rungs_folder(recipe, snapshots) -> Path:
    """Where the rungs of a recipe are kept, of this code."""
    key = hashlib.sha256(canonical_json([recipe, snapshots, CODE]).encode()).hexdigest()[:16]
    folder = cache_dir() / "generators" / f"ladder-{key}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    return folder


def load(description, device="cpu"):
    """The denoiser of a description, in the device's fast number format; a rung that is not there is trained.

    RuntimeError where a saved generator has other weights than described.
    """
    if "recipe" in description:
        folder = snapshot_folder(rungs_folder(description["recipe"], description["snapshots"]), description["images"])
        if not (folder / DESCRIPTION).is_file():
            train_rungs(description["recipe"], description["snapshots"])
        denoiser = load_denoiser(folder, device)
    else:
        denoiser = load_denoiser(description["generator"], device)
        if (weights := generator_hash(denoiser)) != description["weights"]:
            raise RuntimeError(f"the generator {description['generator']} has the weights {weights} here, not "
                               f"{description['weights']}")
    denoiser.precision = fast_precision(device)
    return denoiser


@torch.inference_mode()
def denoising_losses(denoiser, images, labels, sigmas, device="cpu", batch_size=250):
    """EDM's weighted denoising loss of each image at each noise level, float32 ``[len(sigmas), N]``.

    The noise of an image is the same at every level, and whatever the denoiser.
    """
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    losses = np.empty((len(sigmas), len(images)), np.float32)
    for row, sigma in zip(losses, sigmas):
        for at in range(0, len(images), batch_size):
            batch = slice(at, at + batch_size)
            x, y, z = (v[batch].to(device) for v in (images, labels, noise))
            row[batch] = denoising_loss(denoiser, x, y, torch.full((len(x),), float(sigma), device=device), z).cpu()
    return losses
