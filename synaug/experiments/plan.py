"""How long the pieces of an experiment should take on a GPU, from the work in them and a stated speed.

`python -m synaug.experiments` lists instead how long missing pieces take by those that have finished on this machine.
"""

from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

from synaug.classifiers import build_classifier
from synaug.denoisers import load_denoiser, new_unet
from synaug.generator_recipe import RECIPES
from synaug.generator_training import trained_on
from synaug.samplers import network_evaluations
from synaug.schedules import reverse_sigmas
from synaug.sweeps.estimate import said

#: Assumed, not measured, of one data-centre GPU of the H100 class: operations a second that small convolutional
#: networks reach in bfloat16, a tenth of its peak; seconds that a training step takes at least, for its hundreds of
#: small kernels; seconds that a piece takes to begin.
OPERATIONS, STEP, BEGIN = 1e14, 5e-3, 10.0
#: Measured on two processor cores, profile "standard": all of a level's distances, of 5,000 images in two encoders.
MEASURING = 60.0

#: (C, H, W) and classes of the data sets that recipes are named for.
SHAPES = {"fashion_mnist": ((1, 28, 28), 10), "cifar10": ((3, 32, 32), 10)}


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


def training_seconds(architecture, image_shape, num_classes, steps, batch_size=128) -> float:
    """Of a classifier: a backward pass counts as two forward passes."""
    network = build_classifier(architecture, image_shape, num_classes, seed=0).eval()
    work = 3 * batch_size * operations(network, torch.empty(1, *image_shape))
    return BEGIN + steps * max(STEP, work / OPERATIONS)


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
    return table(f"{heading} on one GPU, the generator {settings['generator']} given", pieces)


def table(heading: str, pieces: list[Piece]) -> str:
    """A line a piece, the sum, and what was assumed."""
    row = "{:<42} {:>6} {:>14} {:>14}"
    lines = [heading, row.format("", "pieces", "each", "together")]
    for piece in pieces:
        lines.append(row.format(piece.name, piece.number, said(piece.seconds), said(piece.number * piece.seconds)))
    total = sum(piece.number * piece.seconds for piece in pieces)
    lines += [row.format("all, one after the other", sum(p.number for p in pieces), "", said(total)),
              f"Assumed: {OPERATIONS:.0e} operations a second, at least {1000 * STEP:g} ms a training step, "
              f"{BEGIN:g} s to begin a piece. Measured, on two processor cores: a level's measurements."]
    return "\n".join(lines)
