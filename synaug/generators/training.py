"""Training a class-conditional generator from scratch, or going on with it: a diffusion model, or --recipe vae or gan.

A diffusion model: denoising score matching under EDM preconditioning, AdamW with a warm-up and an inverse square root
decay of the rate (no planned end, so a run can always be continued), an exponential moving average of the weights,
mirrored images under class labels of their own. The other families: synaug.generators.vae and synaug.generators.gan.
A step's images and noise depend only on (seed, step): a run that was cut goes on as if it had not been.

Several processes share each batch of a diffusion model, one per GPU or CPU core, when they are started by
"accelerate launch --multi_gpu --num_processes 2 -m synaug train-generator --folder my_generator" or by
"torchrun --nproc-per-node 2 -m ...", which is the same. On two CPU cores that is 1.4 times as fast as one process
with two threads, and --compile makes the steps another 1.3 times as fast.

One's own images: --dataset photos names a folder with photos/train/<class>/ and photos/test/<class>/, all of one size
and kind (synaug.data.load_image_folder and save_image_folder make them so); --recipe small is for few of them.
"""

import argparse
import math
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

import torch
import torch.distributed
from tqdm import tqdm

from synaug.data import ImageDataset, content_hash, load_dataset
from synaug.diffusion.denoisers import RECORD, checkpoint_folder, holds_generator
from synaug.diffusion.network_files import read_json
from synaug.diffusion.recipe import FAMILIES, NETWORKS, RECIPES, STRATA, WEIGHTINGS, Recipe
from synaug.diffusion.trainer import CURVE_EVERY, LOOK_EVERY, STATE, Trainer
from synaug.generators.gan import GANTrainer
from synaug.generators.vae import VAETrainer
from synaug.paths import given_folder
from synaug.precision import device_name

#: By the family of the recipe.
TRAINERS = {"diffusion": Trainer, "vae": VAETrainer, "gan": GANTrainer}


def train(
    recipe: Recipe,
    folder: str | Path,
    *,
    images: float,
    minutes: float = math.inf,
    device: str = "cpu",
    compile: bool = False,
    save_every: float = 60,
    snapshots: Sequence[float] = (),
    progress: bool = True,
) -> Trainer:
    """Train until ``images`` images were seen or ``minutes`` are over, resuming what ``folder`` holds.

    minutes: of this call; the step that is under way when they are over is finished. compile: see `Trainer`.
    save_every: seconds between checkpoints (a cut run loses at most those). snapshots: numbers of images after which
    the generator of that moment is kept too, in `snapshot_folder`. progress: whether to show the steps, the losses and,
    after the first steps, how long the rest will take. Returns the `Trainer`.
    SIGINT (Ctrl-C) and SIGTERM stop between two steps, and what was trained is kept; a second one stops at once.
    ValueError where the folder holds a run with another recipe, or one that is past a snapshot that it did not keep.
    """
    if any(not 1 <= n <= images or n % 1 for n in snapshots):
        raise ValueError(f"snapshots must be whole numbers in 1..{images:g}, the images to train on, got {list(snapshots)}")
    if not 0 < images < math.inf or not minutes >= 0 or not save_every >= 0:
        raise ValueError(f"images must be positive, minutes and save_every not negative; got {images}, {minutes} and {save_every}")
    trainer = TRAINERS[recipe.family](recipe, folder, device, compile).resume()
    recipe, total = trainer.recipe, math.ceil(images / recipe.batch_size)
    kept = {math.ceil(n / recipe.batch_size): snapshot_folder(trainer.folder, n) for n in snapshots}
    if gone := [place.name for step, place in kept.items() if step <= trainer.step and not holds_generator(place)]:
        raise ValueError(f"the run in {folder} has seen {trainer.step * recipe.batch_size:,} images, and kept no generator of {', '.join(gone)}")
    start = saved = last = time.monotonic()
    warm, timed = trainer.step + (3 if compile else 1), None  # the first steps compile, and allocate
    hidden = trainer.rank or not progress
    with tqdm(total=total, initial=trainer.step, unit="step", disable=hidden, mininterval=5) as bar, _signals_held() as stops:
        while trainer.step < total and not trainer.over(bool(stops) or last - start > 60 * minutes):
            trainer.train_step()
            bar.update()
            now = time.monotonic()
            trainer.seconds += now - last
            last = now
            if trainer.step == warm:
                timed = now
            elif not hidden and timed and trainer.step >= warm + 3 and now > timed + 5:
                step, timed = (now - timed) / (trainer.step - warm), None
                left = total - trainer.step
                bar.write(f"{left:,} steps are left, of {step:.2g} s each on {device_name(device)}: about {left * step / 3600:.1f} hours", file=sys.stderr)
            if not bar.disable and (trainer.step <= warm + 3 or trainer.step % LOOK_EVERY == 0):
                last_point = {"held_out_loss": trainer.curve[-1]["held_out_loss"]} if trainer.curve else {}
                bar.set_postfix(loss=f"{trainer.loss:.3f}", **last_point)
            if trainer.step % CURVE_EVERY == 0 or trainer.step == total:
                trainer.add_point()
            if trainer.step in kept:
                trainer.save_generator(kept[trainer.step])
            if now - saved > save_every:
                trainer.save()
                saved = now
        trainer.save()
    if stops:
        signal.raise_signal(stops[0])
    return trainer


@contextmanager
def _signals_held() -> Iterator[list[int]]:
    """Within it, the first signal that is to stop this process is only noted; the second stops it. In other threads than
    the main one, which get no signals, nothing changes."""
    came: list[int] = []

    def note(number, _):
        if came:
            raise KeyboardInterrupt
        came.append(number)

    main = threading.current_thread() is threading.main_thread()
    heeded = [number for number in (signal.SIGINT, signal.SIGTERM) if main and signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, note) for number in heeded}
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def snapshot_folder(folder: str | Path, images: float) -> Path:
    """Where a run in ``folder`` keeps its generator of after ``images`` images."""
    return Path(folder) / "snapshots" / f"{int(images)}"


def trained_on(generator: str | Path) -> tuple[ImageDataset, ImageDataset]:
    """(the whole training split, the subset that a saved generator was trained on), from its training record.

    ValueError where the record is damaged, or the data set is not here or has other images.
    """
    path = checkpoint_folder(generator) / RECORD
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: without it nobody knows which images the generator has seen")
    record = read_json(path)
    try:
        recipe = Recipe.recorded(record["recipe"])
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is damaged: {error!r}") from error
    try:
        whole = load_dataset(recipe.dataset)
        subset = recipe.subset(whole)
    except ValueError as error:
        raise ValueError(f"{generator} was trained on {recipe.dataset}, which is not here: {error}") from error
    if record.get("images_sha256", content_hash(subset)) != content_hash(subset):
        raise ValueError(f"{generator} was trained on other images than {recipe.dataset} has here")
    return whole, subset


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command, which `run` takes. What changes a recipe has no default: the recipe's holds."""
    parser.add_argument("--folder", type=given_folder, required=True, help="where the run is kept; one that is there goes on")
    parser.add_argument("--images", type=float, default=2e6, help="stop when this many images were seen (default: 2e6)")
    parser.add_argument("--minutes", type=float, default=math.inf, help="stop after this time")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="cpu, cuda or mps")
    parser.add_argument("--compile", action="store_true", help="compile the network: a minute, then faster steps")
    parser.add_argument("--snapshots", type=float, nargs="*", default=(), help="keep the generator of after so many images too, each in a folder of its own")
    parser.add_argument(
        "--recipe", choices=RECIPES, default="fashion_mnist", help="a recipe by name (default: %(default)s), of which the options below change values"
    )
    changes = parser.add_argument_group("values of the recipe", "their meaning: synaug.diffusion.recipe.Recipe")
    meanings = {
        "dataset": "a data set's name, or a folder of images",
        "subset_size": 'number of images to train on, a share such as 0.8, or "all"',
        "strata": "counts per class: their share of the images, or equal",
    }
    for name, value in asdict(Recipe()).items():
        several = isinstance(value, tuple)
        kind = str if name == "subset_size" else int if several else type(value)
        changes.add_argument(
            "--" + name.replace("_", "-"),
            type=kind,
            nargs="*" if several else None,
            default=argparse.SUPPRESS,
            choices={"strata": STRATA, "family": FAMILIES, "network": NETWORKS, "weighting": WEIGHTINGS}.get(name),
            help=f"{meanings.get(name, '')} ({value} in fashion_mnist)".strip(),
        )


def run(options: argparse.Namespace) -> int:
    """Train as the options of `add_arguments` say. Returns the exit status; what went wrong is one sentence."""
    given = {name: getattr(options, name) for name in asdict(Recipe()) if hasattr(options, name)}
    try:
        if options.compile and options.device == "cpu" and not any(map(shutil.which, (os.environ.get("CXX", "c++"), "c++", "g++", "clang++"))):
            raise ValueError("--compile needs a C++ compiler, and none was found")
        trainer = train(
            replace(RECIPES[options.recipe], **given),
            options.folder,
            images=options.images,
            minutes=options.minutes,
            device=options.device,
            compile=options.compile,
            snapshots=options.snapshots,
        )
        if not trainer.rank:
            print(f"{trainer.step * trainer.recipe.batch_size:,} images were seen; the generator is in {options.folder}")
    except KeyboardInterrupt:
        kept = (options.folder / STATE).is_file()
        print(f"stopped: {'the same command goes on from the last save' if kept else 'nothing was trained yet'}", file=sys.stderr)
        return 130
    except (ValueError, OSError, MemoryError, FloatingPointError, torch.OutOfMemoryError) as error:
        print(f"train-generator: {error}", file=sys.stderr)
        return 1
    finally:
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
    return 0
