"""Training a class-conditional generator from scratch: ``python -m synaug.diffusion.training --help``.

Denoising score matching under EDM preconditioning, AdamW with a warm-up and an inverse square root decay of the
rate (no planned end, so a run can always be continued), an exponential moving average of the weights, mirrored
images under class labels of their own. A step's images and noise depend only on (seed, step): a run that was cut
goes on as if it had not been.

Several processes share each batch, one a GPU or one a CPU core, when they are started by
``accelerate launch --multi_gpu --num_processes 2 -m synaug.diffusion.training --folder my_generator`` or by
``torchrun --nproc-per-node 2 -m ...``, which is the same. On two CPU cores that is 1.4 times as fast as one process
with two threads, and ``--compile`` makes the steps another 1.3 times as fast.
"""

import argparse
import json
import math
import time
from dataclasses import asdict
from pathlib import Path

import torch
import torch.distributed
from tqdm import tqdm

from synaug.data import content_hash, load_dataset, stratified_subset
from synaug.diffusion.denoisers import checkpoint_folder
from synaug.diffusion.recipe import RECIPES, Recipe
from synaug.diffusion.trainer import RECORD, Trainer

#: Steps between points of the loss curve.
CURVE_EVERY = 500


def train(recipe, folder, *, images, minutes=math.inf, device="cpu", compile=False, save_every=60, snapshots=(),
          progress=True):
    """Train until ``images`` images were seen or ``minutes`` are over, resuming what ``folder`` holds.

    minutes: of this call; the step that is under way when they are over is finished. compile: see `Trainer`.
    save_every: seconds between checkpoints (a cut run loses at most those). snapshots: numbers of images after which
    the generator of that moment is kept too, in `snapshot_folder`. Returns the `Trainer`.
    ValueError where the folder holds a run with another recipe.
    """
    if any(not 0 < n <= images for n in snapshots):
        raise ValueError(f"snapshots must lie in 1..{images:g}, the images to train on, got {list(snapshots)}")
    if not images > 0 or not minutes >= 0 or not save_every >= 0:
        raise ValueError(f"images must be positive, minutes and save_every not negative; got {images}, {minutes} and "
                         f"{save_every}")
    trainer = Trainer(recipe, folder, device, compile).resume()
    total = math.ceil(images / recipe.batch_size)
    snapshots = {math.ceil(n / recipe.batch_size): snapshot_folder(folder, n) for n in snapshots}
    start = saved = last = time.monotonic()
    bar = tqdm(total=total, initial=trainer.step, unit="step", disable=trainer.rank or not progress, mininterval=5)
    recent = []
    while trainer.step < total and not trainer.over(last - start > 60 * minutes):
        recent.append(trainer.train_step())
        bar.update()
        now = time.monotonic()
        trainer.seconds += now - last
        last = now
        if trainer.step % CURVE_EVERY == 0 or trainer.step == total:
            trainer.curve.append({"step": trainer.step, "images": trainer.step * recipe.batch_size,
                                  "training_loss": round(torch.stack(recent).double().mean().item(), 5),
                                  "held_out_loss": trainer.held_out_loss(),
                                  "minutes": round(trainer.seconds / 60, 2)})
            bar.set_postfix(loss=trainer.curve[-1]["held_out_loss"])
            recent = []
        if trainer.step in snapshots:
            trainer.save_generator(snapshots[trainer.step])
        if now - saved > save_every:
            trainer.save()
            saved = now
    bar.close()
    trainer.save()
    return trainer


def snapshot_folder(folder, images):
    """Where a run in ``folder`` keeps its generator of after ``images`` images."""
    return Path(folder) / "snapshots" / f"{int(images)}"


def trained_on(generator):
    """(the whole training split, the subset that a saved generator was trained on), from its training record.

    ValueError where the data set of that name has other images here.
    """
    path = checkpoint_folder(generator) / RECORD
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: without it nobody knows which images the generator has seen")
    record = json.loads(path.read_text())
    recipe = record["recipe"]
    whole = load_dataset(recipe["dataset"])
    subset = stratified_subset(whole, recipe["subset_size"], recipe["subset_seed"])
    if "images_sha256" in record and record["images_sha256"] != content_hash(subset):
        raise ValueError(f"{generator} was trained on other images than {recipe['dataset']} has here")
    return whole, subset


def main():
    recipes = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    recipes.add_argument("--recipe", choices=RECIPES, default="fashion_mnist", help="a recipe by name, whose values "
                         "other options change")
    recipe = RECIPES[recipes.parse_known_args()[0].recipe]
    parser = argparse.ArgumentParser(parents=[recipes], description="Train a class-conditional generator, or go on "
                                     "training it.")
    parser.add_argument("--folder", type=Path, required=True, help="where the run is kept; one that is there goes on")
    parser.add_argument("--images", type=float, default=2e6, help="stop when this many images were seen")
    parser.add_argument("--minutes", type=float, default=math.inf, help="stop after this time")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="cpu, cuda or mps")
    parser.add_argument("--compile", action="store_true", help="compile the network: a minute, then faster steps")
    parser.add_argument("--snapshots", type=float, nargs="*", default=(), help="keep the generator of after so many "
                        "images too, each in a folder of its own")
    for name, value in asdict(recipe).items():
        several = isinstance(value, tuple)
        parser.add_argument("--" + name.replace("_", "-"), default=value, nargs="*" if several else None,
                            type=int if several else type(value), help=f"default {value}")
    options = vars(parser.parse_args())
    del options["recipe"]
    run = {name: options.pop(name) for name in ("folder", "images", "minutes", "device", "compile", "snapshots")}
    train(Recipe(**options), **run)
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
