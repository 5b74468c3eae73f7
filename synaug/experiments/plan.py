"""How long the pieces of an experiment should take on a GPU, from the work in them and a stated speed.

`python -m synaug.experiments` lists instead how long missing pieces take by those that have finished on this machine.
"""

import math
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch.utils.flop_counter import FlopCounterMode

from synaug.classifiers import build_classifier
from synaug.diffusion.denoisers import load_denoiser, new_unet
from synaug.diffusion.recipe import RECIPES
from synaug.diffusion.training import trained_on
from synaug.diffusion.samplers import network_evaluations
from synaug.diffusion.schedules import reverse_sigmas
from synaug.sweeps.estimate import said

#: Assumed, not measured, of one data-centre GPU of the H100 class: operations a second that small convolutional
#: networks reach in bfloat16, a tenth of its peak; seconds that a training step takes at least, for its hundreds of
#: small kernels; seconds that a piece takes to begin.
OPERATIONS, STEP, BEGIN = 1e14, 5e-3, 10.0
#: Measured on two processor cores, profile "standard": all of a level's distances, of 5,000 images in two encoders.
MEASURING = 60.0
#: Passes of a warm-up that goes on until its curve flattens: the published one of CIFAR-10 has 8 (second hand).
WARM_UP = 8

#: (C, H, W) and classes of the data sets that recipes are named for.
SHAPES = {"fashion_mnist": ((1, 28, 28), 10), "cifar10": ((3, 32, 32), 10), "cifar100": ((3, 32, 32), 100),
          "tiny_imagenet": ((3, 64, 64), 200)}


@dataclass(frozen=True)
class Piece:
    """Some equal cells. seconds: of each."""

    name: str
    number: int
    seconds: float


@dataclass(frozen=True)
class Generator:
    """What of a generator decides how long work with it takes. operations: of one evaluation for one image."""

    images: int
    image_shape: tuple[int, int, int]
    num_classes: int
    operations: float


def generator_of(name) -> Generator:
    """Of a saved generator; where there is none, of the recipe of that name. FileNotFoundError where that is not."""
    try:
        denoiser = load_denoiser(name)
        unet, shape, classes = denoiser.unet, denoiser.image_shape, denoiser.num_classes
        images, patch = len(trained_on(name)[1]), denoiser.patch
    except FileNotFoundError:
        if name not in RECIPES:
            raise
        recipe = RECIPES[name]
        shape, classes = SHAPES[recipe.dataset]
        images, patch = recipe.subset_size, recipe.patch
        unet = new_unet(shape, classes, channels=recipe.channels, layers=recipe.layers, patch=patch,
                        attention=recipe.attention)
    c, h, w = shape
    inner = torch.empty(1, c * patch**2, h // patch, w // patch)
    return Generator(images, shape, classes, operations(unet.eval(), inner, torch.ones(1), torch.zeros(1).long()))


def operations(network, *inputs) -> float:
    """Floating point operations of one call, counted without making it."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network.to("meta")(*(value.to("meta") for value in inputs))
    return counter.get_total_flops()


@lru_cache
def step_seconds(architecture, image_shape, num_classes, batch_size=128) -> float:
    """Of a classifier's training step: a backward pass counts as two forward passes."""
    network = build_classifier(architecture, image_shape, num_classes, seed=0).eval()
    work = 3 * batch_size * operations(network, torch.empty(1, *image_shape))
    return max(STEP, work / OPERATIONS)


def training_seconds(architecture, image_shape, num_classes, steps, batch_size=128) -> float:
    return BEGIN + steps * step_seconds(architecture, image_shape, num_classes, batch_size)


def sampling_seconds(generator: Generator, images, evaluations) -> float:
    return BEGIN + images * evaluations * generator.operations / OPERATIONS


def plan_of_sweep(heading: str, settings: dict) -> str:
    """The pieces of a reconstruction sweep with the settings of `synaug.experiments.mode_concentration`, to print."""
    generator = generator_of(settings["generator"])
    images = (settings["n_images"] or generator.images) + settings["n_test"]
    pieces = []
    for level in settings["reverse_steps"][1:]:
        sigmas = reverse_sigmas(level, settings["steps"], settings["mapping"], settings["stride"])
        seconds = sampling_seconds(generator, images, network_evaluations(sigmas, settings["solver"]))
        pieces.append(Piece(f"{images:,} reconstructions from t_re = {level}", 1, seconds))
    levels, steps = len(settings["reverse_steps"]), settings["classifier_steps"]
    seconds = training_seconds(settings["classifier"], generator.image_shape, generator.num_classes, steps)
    pieces.append(Piece(f"{settings['classifier']}, {steps:,} steps", levels * settings["seeds"] + 1, seconds))
    pieces.append(Piece("measurements of a level", levels, MEASURING * (settings["n_compare"] / 5000) ** 2))
    return "\n".join([table(f"{heading} on one GPU, the generator {settings['generator']} given", pieces),
                      *assumptions(settings["generator"], generator, settings["classifier"]),
                      "Measured, on two processor cores: a level's measurements."])


def plan_of_comparison(heading: str, settings: dict, trainings: set) -> str:
    """The pieces of a comparison with the settings of `synaug.experiments.targeted_augmentation`, to print.

    trainings: ``(targeted_studies.Arm, seed)``, and ``("pilot", None)`` where there are pilots.
    """
    prefix = {"small": "", "large": "large_"}
    pilots, arms = ("pilot", None) in trainings, [arm for arm, seed in trainings if seed is not None]
    used = {arm.regime for arm in arms} | {"small"} | {"large" for arm in arms if arm.oracle}
    generators = {name: generator_of(settings[prefix[name] + "generator"]) for name in used}

    def training(regime, architecture, steps):
        return training_seconds(architecture, generators[regime].image_shape, generators[regime].num_classes, steps)

    seconds, found = {}, Counter()

    def add(name, value, number=1):
        seconds[name] = value
        found[name] += number

    for regime, architecture in sorted({(arm.regime, arm.architecture) for arm in arms}):
        steps = math.ceil((settings["passes"] or WARM_UP) * generators[regime].images / 128)
        seeds = {seed for arm, seed in trainings if seed is not None and arm.architecture == architecture
                 and arm.regime == regime}
        add(f"warm-up of {architecture}, {steps:,} steps", training(regime, architecture, steps), len(seeds))
    pools = {}
    for arm in arms:
        if arm.kind == "generated":
            kind = arm.regime, arm.oracle, arm.strengths
            pools[kind] = max(arm.k, pools.get(kind, 0))
    for (regime, oracle, strengths), most in pools.items():
        ks = [1, *(k for k in settings["ks"] if k <= most)]
        steps = settings["sampling_steps"] * (2 if strengths is None else 1)
        maker = generators["large" if oracle else regime]
        for before, k in zip(ks, ks[1:]):
            images = (k - before) * generators[regime].images
            add(f"{images:,} images in {steps} steps", sampling_seconds(maker, images, 2 * steps - 1))
    for arm in sorted(arms, key=lambda arm: (arm.architecture, arm.optimizer == "sam")):
        steps = round(arm.budget * settings[prefix[arm.regime] + "steps"])
        passes = 2 if arm.optimizer == "sam" else 1  # SAM takes two gradients a step
        add(f"{arm.architecture}, {steps:,} steps of {arm.optimizer.upper()}",
            training(arm.regime, arm.architecture, passes * steps))
    if pilots:
        for name in [name for name in ("small", "large") if name == "small" or "large" in settings["studies"]]:
            for steps in settings[prefix[name] + "pilot_steps"]:
                add(f"pilot, {steps:,} steps", training(name, settings["architecture"], steps),
                    2 * settings["pilot_seeds"])
    pieces = [Piece(name, number, seconds[name]) for name, number in found.items()]
    given = ", ".join(sorted(settings[prefix[name] + "generator"] for name in used))
    return "\n".join([table(f"{heading} on one GPU, the generator {given} given", pieces),
                      *assumptions(settings["generator"], generators["small"], settings["architecture"]),
                      f"A warm-up without a number of passes counts as {WARM_UP}, SAM as twice the steps."])


def assumptions(name: str, generator: Generator, architecture: str) -> list[str]:
    """The speeds behind a plan, in words, and what measures them."""
    rate = 128 / step_seconds(architecture, generator.image_shape, generator.num_classes)
    return [f"Assumed, not measured: {OPERATIONS:.0e} operations a second, a tenth of an H100's peak in bfloat16; at "
            f"least {1000 * STEP:g} ms a training step; {BEGIN:g} s to begin a piece.",
            f"So {architecture} trains on {rate:,.0f} images a second, and the generator has "
            f"{OPERATIONS / generator.operations:,.0f} evaluations of an image a second; a million images of its own "
            f"training take {said(1e6 * 3 * generator.operations / OPERATIONS)}, which is not counted above.",
            f"Your device's own speeds: python tests/benchmarks/bench_reconstruction.py --generator {name} "
            f"--device cuda, and bench_generator.py and bench_training.py beside it."]


def table(heading: str, pieces: list[Piece]) -> str:
    """A line a piece, and the sum."""
    row = "{:<42} {:>6} {:>14} {:>14}"
    lines = [heading, row.format("", "pieces", "each", "together")]
    for piece in pieces:
        lines.append(row.format(piece.name, piece.number, said(piece.seconds), said(piece.number * piece.seconds)))
    total = sum(piece.number * piece.seconds for piece in pieces)
    lines.append(row.format("all, one after the other", sum(p.number for p in pieces), "", said(total)))
    return "\n".join(lines)
