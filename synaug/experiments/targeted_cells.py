"""The cells of chapter 2: warm-ups, pools of generated images, pilots, classifiers trained on augmented sets.

A cell's parameters are no more than what its result depends on, so that a sweep that gets further arms, seeds or
regimes keeps the cells that it has. Networks and generators stand in them by hashes, not in ``CODE`` by their modules,
for the same reason.
"""

import hashlib
import time
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch.nn import functional as F

from synaug import augmentation
from synaug.classifiers import training as classifier_training
from synaug.classifiers import optimizers
from synaug.augmentation import pool_filters
from synaug import precision
from synaug.classifiers import predictions
from synaug.diffusion import reconstruction
from synaug.diffusion import samplers
from synaug.diffusion import schedules
from synaug.augmentation import selection
from synaug.augmentation import synthetic_pool
from synaug.classifiers import trivial_augment
from synaug.classifiers import warm_up
from synaug.augmentation import original, upsampled, with_generated, with_real
from synaug.classifiers import accuracy, build_classifier, predict
from synaug.data import ImageDataset, images, load_dataset, stratified_subset
from synaug.diffusion.denoisers import generator_hash, load_denoiser, weights_hash
from synaug.experiments.shared import some, trained_once
from synaug.augmentation.pool_filters import filter_pool
from synaug.precision import fast_precision
from synaug.diffusion.reconstruction import reconstruct
from synaug.run.results import CellCache, fingerprint
from synaug.diffusion.schedules import SIGMA_MAX
from synaug.augmentation.selection import select
from synaug.sweeps import Cell
from synaug.augmentation.synthetic_pool import generate_pool
from synaug.classifiers.checkpoint import steps_kept
from synaug.classifiers.warm_up import WarmUp

#: The grid that these cells are of: one cell asks for another's result under this name.
GRID = "targeted_augmentation"

#: What a cell's result depends on beside its parameters: the code, and torch. Data sets are checked when they are read.
CODE = torch.__version__ + " " + fingerprint(
    images, augmentation, classifier_training, optimizers, pool_filters, precision, predictions, reconstruction,
    samplers, schedules, selection, synthetic_pool, trivial_augment, warm_up, __file__)

#: Images on which the speed of a generator is measured.
TIMED = 64

#: The least probability of a label in the test loss.
TINY = 1e-12

#: The share of a training split that is kept for validation.
VALIDATION = 1 / 6


@dataclass(frozen=True)
class Splits:
    """real: what generator and classifiers are trained on. fresh: further real images, for the control that adds those.
    validation: what decisions are made on. All three from the training split, without overlap. test: the test split.
    """

    real: ImageDataset
    fresh: ImageDataset
    validation: ImageDataset
    test: ImageDataset


@lru_cache(maxsize=2)
def splits(dataset: str, n_real: int) -> Splits:
    """The first n_real of the stratified order are real, the last sixth is for validation, fresh is between."""
    whole = load_dataset(dataset)
    order = stratified_subset(whole, len(whole), 0)
    end = len(order) - round(VALIDATION * len(order))
    if not 1 <= n_real < end:
        raise ValueError(f"n_real must be in 1..{end - 1}, which leaves fresh images of {dataset}, got {n_real}")
    real, fresh, validation = (order.subset(range(*ends)) for ends in ((0, n_real), (n_real, end), (end, len(order))))
    return Splits(real, fresh, validation, load_dataset(dataset, "test"))


@lru_cache
def network_hash(architecture: str, image_shape: tuple[int, int, int], num_classes: int) -> str:
    """Of an untrained network: its layers and its first weights."""
    model = build_classifier(architecture, image_shape, num_classes, seed=0)
    return hashlib.sha256(f"{model} {weights_hash(model)}".encode()).hexdigest()[:16]


def finished(function, parameters: dict):
    """The result of another cell of the grid, run now where it is missing."""
    cell = Cell(function, parameters)
    return CellCache(GRID, cell.code).get_or_run(cell.key, lambda: function(**cell.parameters))


def early(dataset, n_real, architecture, network, steps, recipe, passes, seed, n_evaluate, device):
    """The warm-up of a run of ``steps`` steps, and what it shows.

    passes: T0, None for where the error curve flattens. Returns logits ``[N, K]``, correct ``[passes, N]``,
    slow_test bool ``[M]`` (the half of the test images on which the warm-up's loss is highest), passes, error (of the
    last pass, %), seconds of the warm-up and selection_seconds of finding the slow examples.
    """
    data = splits(dataset, n_real)
    model = untrained(architecture, data.real, seed)
    start = clock(device)
    seen = warm_up.warm_up(model, data.real.images, data.real.labels, steps=steps, seed=seed, passes=passes,
                           recipe=recipe, device=device)
    warmed = clock(device)
    select("slow_learnable", seen, seed=seed)
    selected = clock(device)
    test = some(data.test, n_evaluate)
    sure = predict(model.eval(), test.images).gather(1, test.labels[:, None])[:, 0]
    slow_test = torch.zeros(len(test), dtype=torch.bool)
    slow_test[sure.argsort(stable=True)[:len(test) // 2]] = True
    return {"logits": seen.logits.numpy(), "correct": seen.correct.numpy(), "slow_test": slow_test.numpy(),
            "passes": len(seen.correct), "error": 100 * seen.errors[-1], "seconds": warmed - start,
            "selection_seconds": selected - warmed}


def pool(dataset, n_real, generator, weights, k, sigmas, steps, device):
    """k - 1 generated images of each real one; they lie in the store of `generate_pool`.

    sigmas: noise levels that real images are taken to; None for images from noise alone. steps: of Heun's method.
    Returns how many images there are and seconds_per_image, timed on a few made once more.
    """
    real = splits(dataset, n_real).real
    made, denoiser = generated(dataset, n_real, generator, weights, k, sigmas, steps, device)
    timed = some(real, min(TIMED, n_real))
    seconds = clock(device)
    reconstruct(denoiser, timed.floats(), timed.labels, sigma=SIGMA_MAX if sigmas is None else sigmas[0], steps=steps,
                device=device)
    return {"images": len(made), "seconds_per_image": (clock(device) - seconds) / len(timed)}


def generated(dataset, n_real, generator, weights, k, sigmas, steps, device):
    """The `SyntheticPool` itself, and the denoiser. RuntimeError where the generator has other weights."""
    denoiser = load_denoiser(generator, device)
    if generator_hash(denoiser) != weights:
        raise RuntimeError(f"the generator {generator} is another one here than where the sweep started: "
                           f"{generator_hash(denoiser)}, not {weights}")
    denoiser.precision = fast_precision(device)
    real = splits(dataset, n_real).real
    made = generate_pool(denoiser, real, range(len(real)), k=k, sigmas=sigmas, from_noise=sigmas is None, steps=steps,
                         device=device)
    return made, denoiser


def pilot(dataset, n_real, architecture, network, steps, recipe, augment, seed, added, n_evaluate, device):
    """validation_error (%) after training on the real images and ``added`` fresh ones."""
    parameters = dict(locals())
    data = splits(dataset, n_real)
    training_set = with_real(data.real, data.fresh.subset(range(added))) if added else original(data.real)
    model = untrained(architecture, data.real, seed)
    train_on(training_set, model, parameters)
    return {"validation_error": error(model, some(data.validation, n_evaluate))}


def train_arm(dataset, n_real, architecture, network, steps, recipe, augment, optimizer, seed, n_evaluate, device,
              evidence, kind="original", selection=None, k=1, generation=None, filters=None):
    """One classifier, trained and tested.

    evidence: parameters of `early`, by which examples are selected. kind: "original"; "upsampled", "generated" or
    "fresh" (as many real images of the same classes that nothing has seen), with selection (see
    `synaug.augmentation.selection.select`) and k.
    generation: of "generated", parameters of `pool` but for k. filters: of `filter_pool`; the judge of min_probability
    is the classifier trained on the real images with the same seed.
    A training that was cut goes on.
    Returns errors in % (test_error_slow: on the half of the test images that is slow), test_loss (cross-entropy, nats),
    added (images) and added_share (% of the real ones), selected_share, seconds of training and of generation.
    """
    parameters = dict(locals())
    data = splits(dataset, n_real)
    shown = finished(early, evidence)
    training_set, generation_seconds, selected = original(data.real), 0.0, 0
    if kind != "original":
        seen = WarmUp(torch.from_numpy(shown["logits"]), data.real.labels, torch.from_numpy(shown["correct"]))
        chosen = select(selection, seen, seed=seed).indices
        selected = len(chosen)
    if kind == "upsampled":
        training_set = upsampled(data.real, chosen, k)
    elif kind == "fresh":
        training_set = with_real(data.real, of_classes(data.fresh, data.real.labels[chosen].repeat(k - 1)))
    elif kind == "generated":
        taken = generated(**generation, k=k)[0].take(chosen)
        generation_seconds = finished(pool, {**generation, "k": k})["seconds_per_image"] * len(taken)
        if filters:
            taken, _ = filter_pool(taken, data.real, judge=judge(data.real, architecture, steps, recipe, seed, device)
                                   if "min_probability" in filters else None, **filters)
        training_set = with_generated(data.real, taken)
    elif kind != "original":
        raise ValueError(f"unknown kind {kind!r}: original, upsampled, generated or fresh")
    model = untrained(architecture, data.real, seed)
    seconds = train_on(training_set, model, parameters, optimizer=optimizer)
    test = some(data.test, n_evaluate)
    says = predict(model, test.images)
    wrong = says.argmax(1) != test.labels
    slow = torch.from_numpy(shown["slow_test"])
    added = len(training_set) - len(data.real)
    return {"test_error": 100 * wrong.double().mean().item(),
            "test_error_slow": 100 * wrong[slow].double().mean().item(),
            "test_loss": F.nll_loss(says.double().clamp_min(TINY).log(), test.labels).item(),
            "validation_error": error(model, some(data.validation, n_evaluate)),
            "real_error": error(model, data.real), "added": added,
            "added_share": 100 * added / len(data.real), "selected_share": 100 * selected / len(data.real),
            "training_seconds": seconds, "generation_seconds": generation_seconds}


def train_on(training_set, model, parameters, **options):
    """Train by a cell's parameters; a training of the same cell that was cut goes on.

    Returns its seconds, from the start: those before a cut count by their steps.
    """
    state = CellCache(GRID, CODE).path({"what": "training", **parameters}).with_suffix(".training")
    device, steps = parameters["device"], parameters["steps"]
    before, start = steps_kept(state), clock(device)
    training_set.train(model, steps=steps, seed=parameters["seed"], recipe=parameters["recipe"],
                       augment=parameters["augment"], device=device, checkpoint=state, **options)
    seconds = clock(device) - start
    state.unlink(missing_ok=True)
    return seconds * steps / max(steps - before, 1)


def of_classes(fresh: ImageDataset, labels: torch.Tensor) -> ImageDataset:
    """Different images of ``fresh`` with exactly these labels, int64 ``[n]``; ValueError where it has too few."""
    places = torch.empty_like(labels)
    for label in labels.unique():
        own, wanted = (fresh.labels == label).nonzero().flatten(), labels == label
        if wanted.sum() > len(own):
            raise ValueError(f"{int(wanted.sum())} fresh images of class {int(label)} are needed, there are {len(own)}")
        places[wanted] = own[:wanted.sum()]
    return fresh.subset(places)


def judge(real, architecture, steps, recipe, seed, device):
    """A classifier trained on the real images, once a seed."""
    return trained_once(CellCache(GRID, CODE), real, architecture=architecture, steps=steps, recipe=recipe, seed=seed,
                        device=device)


def clock(device):
    """Seconds: of cores on a CPU, where other work may run beside; else by the clock."""
    return time.process_time() if torch.device(device).type == "cpu" else time.perf_counter()


def untrained(architecture, dataset, seed):
    return build_classifier(architecture, dataset.image_shape, dataset.num_classes, seed)


def error(model, dataset):
    """In per cent."""
    return 100 * (1 - accuracy(predict(model, dataset.images), dataset.labels))
