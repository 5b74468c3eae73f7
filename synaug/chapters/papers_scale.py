"""Chapters 2 and 1 at the papers' scale in minutes of one graphics card: a generator, and the two experiments on its
images by a fast recipe, a pair of seeds of all arms before further seeds."""

import dataclasses
import math
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from synaug import paths
from synaug.chapters import mode_concentration, targeted_augmentation
from synaug.classifiers import build_classifier, train_classifier
from synaug.classifiers.training import RECIPES as CLASSIFIER_RECIPES
from synaug.data import load_dataset, stratified_subset
from synaug.diffusion.denoisers import DESCRIPTION, RECORD, generator_hash, load_denoiser
from synaug.diffusion.network_files import read_json
from synaug.diffusion.recipe import RECIPES
from synaug.diffusion.trainer import STATE
from synaug.generators.training import train
from synaug.precision import usable_device
from synaug.run.results import load_recorded, record
from synaug.run.sweep import run_missing
from synaug.run.tasks import Store

PROFILE, CLASSIFIER, FAST = "paper", "resnet9", "fast"
#: Training images of the data sets that the plan is for; four fifths are for generator and classifiers.
WHOLE = {"cifar10": 50_000, "cifar100": 50_000, "tiny_imagenet": 100_000}
#: Minutes of a generator's training from which compiling its network, which takes about one, pays.
COMPILED_FROM = 3


@dataclasses.dataclass(frozen=True)
class Size:
    """recipe: what differs from the recipe "fast" of generators. images: that the generator sees at most. seeds: at
    most. steps: of each classifier. more: parameters of the two experiments, by name."""

    recipe: dict
    images: float
    seeds: int
    steps: int
    more: dict[str, dict]


def full_size(dataset: str, n: int) -> Size:
    """Some ten passes of each classifier over four fifths of n training images."""
    steps = round(10 * 0.8 * n / CLASSIFIER_RECIPES[FAST]["batch_size"])
    return Size(
        {"dataset": dataset, "patch": 2 if dataset == "tiny_imagenet" else 1},
        2e7,
        10,
        steps,
        {
            "targeted_augmentation": {"architecture": CLASSIFIER, "ks": (2, 5), "sampling_steps": 9},
            "mode_concentration": {"classifier": CLASSIFIER, "stride": 10, "n_bootstrap": 200},
        },
    )


#: Two steps of everything, on digits, by a smaller network.
TINY = Size(
    {"dataset": "digits", "subset_size": 200, "channels": (32, 64), "attention": (4,), "batch_size": 8},
    16,
    2,
    2,
    {
        "targeted_augmentation": {"architecture": "resnet8", "ks": (2, 3), "sampling_steps": 1, "passes": 2, "n_evaluate": 50},
        "mode_concentration": {
            "classifier": "resnet8",
            "reverse_steps": (0, 50, 100),
            "stride": 50,
            "n_compare": 200,
            "n_test": 20,
            "n_evaluate": 50,
            "n_maps": 10,
            "encoders": ("judge",),
            "n_bootstrap": 10,
        },
    },
)


def experiments(size: Size, generator: str, seeds: int, device: str = "cpu") -> list[tuple]:
    """In order of worth, each with its parameters for so many seeds."""
    usual = {"generator": generator, "device": device, "recipe": FAST, "augment": "flip_crop", "seeds": seeds}
    own = [
        (
            targeted_augmentation.EXPERIMENT,
            {"studies": ("primaries",), "fresh": False, "strengths": (50,), "architectures": (), "steps": size.steps, "k_seeds": seeds},
        ),
        (mode_concentration.EXPERIMENT, {"classifier_steps": size.steps}),
    ]
    return [(experiment, usual | given | size.more[experiment.name]) for experiment, given in own]


def run(
    dataset: str,
    minutes: float,
    share: float,
    device: str,
    tell: Callable[[str], None],
    *,
    size: Size | None = None,
    workers: int = 0,
    threads: int | None = None,
) -> tuple[bool, bool]:
    """Go on with the plan for so many minutes; returns whether nothing failed, and whether all is recorded.

    share: of the minutes, for which the generator is trained at most. tell: takes lines of text. workers, threads: see
    `synaug.run.sweep.run_missing`. After each number of seeds what there is is recorded as the variant "fast_<dataset>"
    of the profile "paper". A subset of a data set has its size in the names of generator and variant.
    ValueError, OSError or ImportError where something is not as it must be.
    """
    usable_device(device)
    start, whole = time.monotonic(), load_dataset(dataset)
    name = dataset if whole.name == dataset else f"{dataset}_{len(whole)}"
    size, folder, store = size or full_size(dataset, len(whole)), paths.checkpoints_dir() / f"{name}_fast", Store()
    train_generator(size, folder, share * minutes, device, tell)
    # By its path where the plan is rehearsed: weights are known by a generator's name as long as a process lasts.
    generator, variant = str(folder) if size is TINY else folder.name, f"fast_{name}"
    for seeds in range(2, size.seeds + 1):
        for experiment, given in experiments(size, generator, seeds, device):
            if recorded_seeds(experiment.name, variant, generator) >= seeds:
                continue
            left = minutes - (time.monotonic() - start) / 60
            if left <= 0:
                return True, False
            tasks = experiment.tasks(experiment.settings(PROFILE, **given))
            report = run_missing(tasks, store, minutes=left, workers=workers, threads=threads)
            tell(f"{experiment.name}, {seeds} seeds: {report}")
            tell(speeds(report.finished, store))
            if report.errors or report.missing:
                return not report.errors, False
            frame = experiment.run(PROFILE, store=store, **given)
            tell(f"recorded in {record(frame, experiment.name, PROFILE, variant)}")
    return True, True


def train_generator(size: Size, folder: Path, minutes: float, device: str, tell: Callable[[str], None]) -> None:
    """Train a generator, or go on with one whose training was cut, until it was trained for so many minutes in all.

    Its training state is deleted then, so that it stays as it is: one without a state is taken as it is.
    """
    if (folder / DESCRIPTION).is_file() and not (folder / STATE).is_file():
        return
    spent = read_json(folder / RECORD)["minutes"] if (folder / RECORD).is_file() else 0.0
    compiled = torch.device(device).type == "cuda" and minutes >= COMPILED_FROM
    trainer = train(
        dataclasses.replace(RECIPES[FAST], **size.recipe), folder, images=size.images, minutes=max(minutes - spent, 0), device=device, compile=compiled
    )
    seen = trainer.step * trainer.recipe.batch_size
    tell(f"generator: {seen:,} images seen, {seen / max(trainer.seconds, 1e-9):,.0f} per second")
    (folder / STATE).unlink()


def recorded_seeds(name: str, variant: str, generator: str) -> int:
    """Of the recorded run of this generator; 0 where there is none."""
    try:
        origin = load_recorded(name, PROFILE, variant).attrs["provenance"]
    except (FileNotFoundError, ValueError):
        return 0
    return origin["parameters"]["seeds"] if origin["generator"] == generator_hash(load_denoiser(generator)) else 0


def speeds(finished: list, store: Store) -> str:
    """What tasks took, by their function."""
    took = {}
    for task in finished:
        took.setdefault(task.function.__name__, []).append(store.seconds(task))
    return "; ".join(f"{name}: {len(all_)} in {sum(all_):.1f} s" for name, all_ in took.items())


def steps(dataset: str) -> list[str]:
    """The steps of the plan, and their sizes."""
    size, n = full_size(dataset, WHOLE[dataset]), round(0.8 * WHOLE[dataset])
    s, t = (one.Settings(**one.profiles[PROFILE] | given) for one, given in experiments(size, "", 2))
    heun, arms = 2 * s.sampling_steps, len(targeted_augmentation.arms("primaries", s))
    each = f"trainings of {size.steps} x {CLASSIFIER_RECIPES[FAST]['batch_size']} images"
    sizes = {
        "generator": f"{n:,} images, {size.images:,.0f} seen at most",
        f"pools of chapter 2, k = {s.ks[0]}, {s.ks[-1]}, from noise": f"{n * heun * (s.ks[-1] - 1 + 2):,} passes",
        f"pools of chapter 1, {len(t.reverse_steps) - 1} levels": f"{n * sum(2 * r // t.stride for r in t.reverse_steps):,} passes",
        f"chapter 2, each seed of {arms} arms": f"{arms + 1} {each}",
        "chapter 1, each seed": f"{len(t.reverse_steps)} {each}",
    }
    return [f"{what:<45} {how_much}" for what, how_much in sizes.items()]


def rehearse(dataset: str, device: str, tell: Callable[[str], None]) -> tuple[bool, bool]:
    """Tell the plan's steps, and run each for two iterations on tiny images, in a folder that is gone afterwards."""
    for line in steps(dataset):
        tell(line)
    some = stratified_subset(load_dataset("fashion_mnist"), 20, 0)  # digits are too small for the plan's classifier
    model = build_classifier(CLASSIFIER, some.image_shape, some.num_classes, 0, width=8)
    train_classifier(model, some.images, some.labels, steps=2, seed=0, recipe=FAST, augment="flip_crop", device=device)
    names = ("SYNAUG_CACHE", "SYNAUG_RESULTS", "SYNAUG_CHECKPOINTS")
    before = {name: os.environ.get(name) for name in names}
    with tempfile.TemporaryDirectory() as folder:
        os.environ.update({name: str(Path(folder) / name) for name in names})
        try:
            return run("digits", math.inf, 1, device, tell, size=TINY)
        finally:
            for name, value in before.items():
                os.environ.pop(name) if value is None else os.environ.update({name: value})
