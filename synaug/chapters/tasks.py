"""What chapters are made of: library calls as tasks, functions of results that they need and plain parameters."""

import time
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import cache, lru_cache, partial, reduce
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor, nn

from synaug.augmentation import TrainingSet, with_real
from synaug.augmentation.synthetic_pool import SyntheticPool, generate_pool
from synaug.classifiers import accuracy, build_classifier, predict, train_classifier
from synaug.classifiers.checkpoint import steps_kept
from synaug.classifiers.training import RECIPES
from synaug.data import ImageDataset, load_dataset, stratified_subset, to_bytes
from synaug.diffusion.denoisers import RECORD, Denoiser, EDMDenoiser, checkpoint_folder, generator_hash, load_denoiser
from synaug.diffusion.network_files import read_json
from synaug.diffusion.recipe import Recipe
from synaug.diffusion.reconstruction import generate, reconstruct
from synaug.diffusion.schedules import SIGMA_MAX
from synaug.files import kept, storable, write_atomically
from synaug.generators import Diffusion, load_generator
from synaug.generators.training import snapshot_folder, trained_on
from synaug.generators.training import train as train_generator
from synaug.precision import channels_last, fast_precision
from synaug.run import Settings, Task, param

data_of = lru_cache(8)(load_dataset)

#: Images on which the speed of a generator is measured.
TIMED = 64

#: The share of a training split that is kept for validation, and of what its generator has not seen, at most.
VALIDATION, OF_UNSEEN = 1 / 6, 1 / 3

#: Images that are reconstructed before they are kept: about a minute's work of a CPU, what a cut run loses at most.
BLOCK = 1024


@dataclass(frozen=True, kw_only=True)
class Trainings(Settings):
    """What most chapters have: samples, and paired trainings of classifiers on them."""

    sampling_steps: int = param("steps of the sampler", 18, at_least=1)
    steps: int = param("optimiser steps, the same for every training", at_least=2)
    recipe: str = param("learning rates, see synaug.classifiers.train_classifier", "one_cycle", options=tuple(RECIPES))
    n_evaluate: int | None = param("test images on which classifiers are scored; None: all", at_least=10, optional=True)
    first_seed: int = param("the first of the seeds, each a draw and trainings on it", 0, at_least=0, at_most=2**30)
    seeds: int = param("paired seeds of each arm", at_least=2, at_most=1000)

    @property
    def each_seed(self) -> range:
        return range(self.first_seed, self.first_seed + self.seeds)


@dataclass(frozen=True)
class RealImages:
    """The images of a generator's data set by what they can be used for.

    trained: the generator was trained on them. unseen: the rest of the training split. test: the test split.
    """

    trained: ImageDataset
    unseen: ImageDataset
    test: ImageDataset


@lru_cache(4)
def real_images_of(generator: str) -> RealImages:
    """`RealImages` of a saved generator, by its training record."""
    whole, trained = trained_on(generator)
    # Not by position: where a data set has no original split, source indices count through all of it.
    unseen = ~torch.isin(whole.source_index, trained.source_index)
    return RealImages(trained, whole.subset(unseen.nonzero().flatten()), load_dataset(whole.name, "test"))


@cache
def weights_of(generator: str) -> str:
    """The hash of a saved generator, which stands for its weights and its training images in tasks' parameters."""
    return generator_hash(load_generator(generator))


def check_weights(generator: str, weights: str, device="cpu", load=load_generator):
    """A saved generator of any family, as ``load`` gives it; RuntimeError where it has other weights than those."""
    loaded = load(generator, device)
    if (here := generator_hash(loaded)) != weights:
        raise RuntimeError(f"the generator {generator} is another one here than where the run started: {here}, not {weights}")
    return loaded


@lru_cache(1)
def usual_denoiser(generator: str, weights: str, device: str = "cpu") -> EDMDenoiser:
    """A saved generator as it is fastest on a device: with CUDA its network is compiled, which takes a minute at its first
    use. RuntimeError where it has other weights than those."""
    denoiser = check_weights(generator, weights, device, load_denoiser)
    denoiser.precision = fast_precision(device)
    if torch.device(device).type == "cuda":
        denoiser.unet.compile()
    return denoiser


def real_images(generator: str, weights: str, part: str, n: int | None = None) -> ImageDataset:
    """The first n (None: all) of the stratified order of a part of `RealImages`. weights: of the generator, which
    stand for the images, too."""
    check_weights(generator, weights)
    images = getattr(real_images_of(generator), part)
    return stratified_subset(images, len(images) if n is None else min(n, len(images)), 0)


@lru_cache(2)
def splits(generator: str) -> dict[str, ImageDataset]:
    """real: what generator and classifiers are trained on, neighbours in the training split's stratified order;
    fresh: those that follow, then those before, the control that adds real images; validation: the last sixth, but at
    most a third of what the generator has not seen, for decisions; test: the test split. ValueError where the generator
    has seen others, or has left fewer than three images per class."""
    whole, subset = trained_on(generator)
    n = len(subset)
    if n > (most := len(whole) - 3 * whole.num_classes):
        raise ValueError(f"{generator} was trained on {n} images of {whole.name}; at most {most} leave fresh ones")
    end = len(whole) - round(min(VALIDATION * len(whole), OF_UNSEEN * (len(whole) - n)))
    for proportional in (False, True):  # the two ways in which generators take their images
        order = stratified_subset(whole, len(whole), 0, proportional=proportional)
        own = torch.isin(order.source_index, subset.source_index).nonzero().flatten()
        start = int(own[0])
        if int(own[-1]) == start + n - 1 < end:
            break
    else:
        raise ValueError(
            f"{generator} was trained on another subset of {whole.name} than {n} neighbours among the first {end} of its stratified order with seed 0"
        )
    fresh = order.subset([*range(start + n, end), *range(start)])
    return {
        "real": order.subset(range(start, start + n)),
        "fresh": fresh,
        "validation": order.subset(range(end, len(order))),
        "test": load_dataset(whole.name, "test"),
    }


def split(generator: str, weights: str, part: str, n: int | None) -> ImageDataset:
    """A part of `splits`: the first n of its stratified order, or all. weights: stand for the images, too."""
    check_weights(generator, weights)
    found = splits(generator)[part]
    return found if n is None else stratified_subset(found, n, 0)


def generated_pool(
    real: ImageDataset, generator: str, weights: str, precision: str, device: str, sigmas: list | None, steps: int, k: int, seed: int = 0
) -> SyntheticPool:
    """k - 1 images of each real one. sigmas: noise levels that they are taken to; None: from noise alone."""
    return pool_of(usual_denoiser(generator, weights, device), real, device, sigmas, steps, k, seed)


def pool_of(denoiser: Denoiser, real: ImageDataset, device: str, sigmas: list | None, steps: int, k: int, seed: int) -> SyntheticPool:
    """`generated_pool`, of any denoiser."""
    how = {"steps": steps, "batch_size": at_once(device), "device": device}
    return generate_pool(denoiser, real, range(len(real)), k=k, sigmas=sigmas, seed=seed, from_noise=sigmas is None, **how)


def pool_images(real: ImageDataset, **how) -> ImageDataset:
    """The images of a `generated_pool` alone."""
    return generated_pool(real, **how).data


def seconds_per_image(real: ImageDataset, generator: str, weights: str, precision: str, device: str, sigmas: list | None, steps: int) -> float:
    """Of generation, measured on a few images."""
    denoiser, some = usual_denoiser(generator, weights, device), stratified_subset(real, min(TIMED, len(real)), 0)
    start = clock(device)
    reconstruct(denoiser, some.floats(), some.labels, sigma=SIGMA_MAX if sigmas is None else sigmas[0], steps=steps, device=device)
    return (clock(device) - start) / len(some)


def at_once(device: str) -> int:
    """How many images are sampled together."""
    return 256 if torch.device(device).type == "cpu" else BLOCK


def clock(device: str) -> float:
    """Seconds: of cores on a CPU, where other work may run beside; else by the clock."""
    return time.process_time() if torch.device(device).type == "cpu" else time.perf_counter()


def real(s, part: str, n: int | None = None) -> Task:
    """The task of `real_images` of the generator of settings."""
    return Task(real_images, {"generator": s.generator, "weights": weights_of(s.generator), "part": part, "n": n})


def part_of(dataset: str, split: str, n: int | None = None, seed: int = 0) -> ImageDataset:
    """A split of a data set: the first n (None: all) of a seed's stratified order."""
    data = data_of(dataset, split)
    return data if n is None else stratified_subset(data, n, seed)


def part(generator: str, name: str, n: int | None = None) -> Task:
    """The task of `split`."""
    return Task(split, {"generator": generator, "weights": weights_of(generator), "part": name, "n": n})


def number_format(s) -> dict:
    """Where networks run, and their precision, told for the key's sake: results of two precisions differ."""
    return {"precision": str(fast_precision(s.device)), "device": s.device}


def network(s, generator: str | None = None) -> dict:
    """What tasks that run a generator, by default that of settings, have among their parameters: it, and where it runs."""
    name = s.generator if generator is None else generator
    return {"generator": name, "weights": weights_of(name), **number_format(s)}


def learning(s) -> dict:
    """What trainings of the network of settings have among their parameters."""
    return {"architecture": s.architecture, "steps": s.steps, "recipe": s.recipe, "device": s.device}


def made_of(denoiser: Denoiser, sources: ImageDataset, sigma: float | None = None, **sampling) -> ImageDataset:
    """Images of the classes of others, rounded to bytes as real ones are: from noise alone, or from those at a noise level.

    sampling: options of `synaug.diffusion.reconstruction.generate`; the noise of an image is that of its source index.
    """
    sampling = {"source_index": sources.source_index, **sampling}
    if sigma is None:
        made = generate(denoiser, sources.labels, image_shape=sources.image_shape, **sampling)
    else:
        made = reconstruct(denoiser, sources.floats(), sources.labels, sigma=sigma, **sampling)
    return replace(sources, images=to_bytes(made.images))


def generated(
    asked: ImageDataset,
    trained: dict | None = None,
    *,
    generator: str | None = None,
    weights: str | None = None,
    images: int | None = None,
    precision: str,
    device: str,
    **sampling,
) -> ImageDataset:
    """`made_of` a data set by `found_denoiser`. The noise is that of the place, as an image may stand there several times."""
    denoiser = found_denoiser(trained, images, generator, weights, device)
    return made_of(denoiser, asked, source_index=torch.arange(len(asked)), device=device, **sampling)


def reconstructed(
    sources: ImageDataset, generator: str, weights: str, precision: str, device: str = "cpu", checkpoint: Path | None = None, **sampling
) -> ImageDataset:
    """Reconstructions of images in their order. sampling: options of `synaug.diffusion.reconstruction.reconstruct`."""
    denoiser = usual_denoiser(generator, weights, device)

    def make(block: ImageDataset) -> Tensor:
        return to_bytes(
            reconstruct(denoiser, block.floats(), block.labels, source_index=block.source_index, batch_size=at_once(device), device=device, **sampling).images
        )

    return in_blocks(sources, make, checkpoint)


def in_blocks(sources: ImageDataset, make: Callable[[ImageDataset], Tensor], checkpoint: Path | None = None) -> ImageDataset:
    """What ``make`` makes of sources, bytes image by image, block by block; with a checkpoint each block is kept."""
    blocks = [sources.subset(places) for places in torch.arange(len(sources)).split(BLOCK)]
    images = [make(block) if checkpoint is None else kept(checkpoint / f"{i}.zip", lambda block=block: make(block)) for i, block in enumerate(blocks)]
    return replace(sources, images=torch.cat(images))


def joined(images: ImageDataset, *others: ImageDataset) -> ImageDataset:
    """Data sets of the same classes, one after the other."""
    return reduce(lambda own, more: with_real(own, more).data, others, images)


@storable
@dataclass(frozen=True, eq=False)
class Trained:
    """A trained classifier as it can be kept."""

    architecture: str
    image_shape: tuple[int, int, int]
    num_classes: int
    weights: dict[str, Tensor]

    def model(self, device="cpu") -> nn.Module:
        """The network itself, in evaluation mode."""
        model = build_classifier(self.architecture, self.image_shape, self.num_classes, seed=0)
        model.load_state_dict(self.weights)
        # Whether trained now or earlier: in one memory format, so that its answers agree in every digit.
        return channels_last(model.to(device)).eval()


def trained(
    images: ImageDataset,
    architecture: str,
    steps: int,
    recipe: str,
    seed: int,
    augment: str = "flip",
    optimizer: str = "sgd",
    device: str = "cpu",
    checkpoint: Path | None = None,
) -> Trained:
    """A classifier trained on a data set; a training that was cut goes on."""
    model = build_classifier(architecture, images.image_shape, images.num_classes, seed)
    train_classifier(
        model, images.images, images.labels, steps=steps, seed=seed, recipe=recipe, augment=augment, optimizer=optimizer, device=device, checkpoint=checkpoint
    )
    weights = {name: value.detach().cpu() for name, value in model.state_dict().items()}
    return Trained(architecture, images.image_shape, images.num_classes, weights)


def train(
    training_set: TrainingSet,
    architecture: str,
    *,
    width: int | None = None,
    steps: int,
    seed: int,
    device: str,
    checkpoint: Path | None = None,
    watched: Callable | None = None,
    **options,
) -> tuple[nn.Module, float]:
    """(the trained classifier, its seconds from the start: those before a cut count by their steps). watched: called with
    the classifier, then as ``observe`` of `synaug.classifiers.train_classifier`, of which further options are."""
    model = build_classifier(architecture, training_set.data.image_shape, training_set.data.num_classes, seed, width)
    before, start = steps_kept(checkpoint), clock(device)
    training_set.train(model, steps=steps, seed=seed, device=device, checkpoint=checkpoint, observe=watched and partial(watched, model), **options)
    return model, (clock(device) - start) * steps / max(steps - before, 1)


def error(model: nn.Module, dataset: ImageDataset) -> float:
    """The share of images that a classifier gets wrong, in per cent."""
    return 100 * (1 - accuracy(predict(model, dataset.images), dataset.labels))


def scored(classifier: Trained, test: ImageDataset, device: str = "cpu") -> dict:
    """Accuracy on real test images."""
    return {"test_accuracy": accuracy(predict(classifier.model(device), test.images), test.labels)}


@storable
@dataclass(frozen=True, eq=False)
class Generator:
    """A generator of any family as it can be kept: its files, each bytes uint8 ``[n]``, by their paths in its folder."""

    files: dict[str, Tensor]

    @classmethod
    def of(cls, folder: Path) -> "Generator":
        return cls(
            {
                path.relative_to(folder).as_posix(): torch.frombuffer(bytearray(path.read_bytes()), dtype=torch.uint8)
                for path in sorted(folder.rglob("*"))
                if path.is_file()
            }
        )

    def load(self, device="cpu") -> Any:
        """The generator itself, in the device's fast number format; see `synaug.generators.load_generator`."""
        with TemporaryDirectory() as folder:
            for name, content in self.files.items():
                write_atomically(Path(folder) / name, content.numpy().tobytes())
            return fastest(load_generator(folder, device), device)


def fastest(generator, device):
    """A generator of any family, in the device's fast number format."""
    (generator.denoiser if isinstance(generator, Diffusion) else generator).precision = fast_precision(device)
    return generator


def found_denoiser(trained: dict | None, images: int | None, generator: str | None, weights: str | None, device: str) -> Denoiser:
    """The denoiser of one of `trained_generators` where there are such, else `usual_denoiser`."""
    return usual_denoiser(generator, weights, device) if trained is None else trained[images].load(device).denoiser


def at_strength(
    sources: ImageDataset,
    trained: dict | None = None,
    *,
    generator: str | None = None,
    weights: str | None = None,
    images: int | None = None,
    precision: str,
    device: str,
    strength: float,
    steps: int,
    seed: int,
    noise: bool = False,
    checkpoint: Path | None = None,
) -> ImageDataset:
    """Reconstructions at a strength, as bytes, kept block by block, of a saved generator, or of one of `trained_generators`,
    of which images is one. noise: with that of a VAE's decoder."""
    model = fastest(check_weights(generator, weights, device), device) if trained is None else trained[images].load(device)
    if isinstance(model, Diffusion):
        model.steps = steps
    elif noise:
        model.decoder_noise = True

    def make(block: ImageDataset) -> Tensor:
        return to_bytes(model.reconstruct(block.floats(), block.labels, strength, seed, source_index=block.source_index).images)

    return in_blocks(sources, make, checkpoint)


def trained_generators(recipe: dict, snapshots: list, device: str, checkpoint: Path | None = None) -> dict:
    """{number of images: the `Generator` of after so many}, of one training by a recipe; one that was cut goes on. That of
    some classes few images are left unseen, of which a trainer warns, is meant."""
    with warnings.catch_warnings(action="ignore", category=UserWarning):
        train_generator(Recipe(**recipe), checkpoint, images=max(snapshots), snapshots=snapshots, device=device, progress=False)
    return {images: Generator.of(snapshot_folder(checkpoint, images)) for images in snapshots}


def trained_within(s, recipe: dict) -> tuple[dict, Task]:
    """What tasks that run a generator trained within a run have among their parameters, and the task that trains it."""
    trainer = Task(trained_generators, {"recipe": recipe, "snapshots": [s.trained_images], "device": s.device})
    return {"images": s.trained_images, **number_format(s)}, trainer


def recipe_of(generator: str) -> dict:
    """The recipe that a saved generator was trained by, as plain data."""
    return asdict(Recipe.recorded(training_record(generator)["recipe"]))


def training_record(generator: str) -> dict:
    """What was written down when a generator was trained."""
    return read_json(checkpoint_folder(generator) / RECORD)
