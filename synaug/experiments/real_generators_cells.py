"""The cells of `synaug.experiments.real_generators`: what is measured of a generator's losses, and of a pool of samples."""

from functools import lru_cache

import pandas as pd
import torch

from synaug.classifiers import training as classifier_training
from synaug import classifiers
from synaug.metrics import encoders
from synaug import features
from synaug import metrics
from synaug.classifiers import optimizers
from synaug.classifiers import predictions
from synaug import statistics
from synaug.classifiers import trivial_augment
from synaug.classifiers import accuracy, build_classifier, predict, train_classifier
from synaug.metrics.encoders import encode
from synaug.experiments import generator_pools, shared
from synaug.experiments.generator_ladder import denoising_losses, load
from synaug.experiments.generator_pools import draw
from synaug.experiments.shared import real_images, some
from synaug.metrics import compare
from synaug.run.results import fingerprint

EXPERIMENT = "real_generators"

#: What a measurement depends on beside its parameters.
CODE = generator_pools.CODE + " " + fingerprint(classifier_training, classifiers, encoders, features, metrics,
                                                optimizers, predictions, statistics, trivial_augment, shared, __file__)


def measure_losses(generator, images_of, n, sigmas, device):
    """{"losses": `generator_ladder.denoising_losses` on n images that no generator has seen}, as a cell."""
    held_out = some(real_images(images_of["generator"]).unseen, None).subset(range(n))
    return {"losses": denoising_losses(load(generator, device), held_out.floats(), held_out.labels, sigmas, device)}


@lru_cache(maxsize=1)
def real_sets(generator, n_images, n_evaluate):
    """(training images of the generator, all that it has not seen in stratified order, test images)."""
    real = real_images(generator)
    return some(real.trained, n_images), some(real.unseen, None), some(real.test, n_evaluate)


def measure_pool(world, pool, seeds, with_real):
    """The frame of one pool, as a cell: metric, value, low, high, seed.

    pool: see `generator_pools.pool`, or real images in its place: {"real": "fresh" or "none", "seed": which set}.
    The pool is compared with fresh real images, and classifiers are trained on it, one a seed; with_real: also on
    the generator's own training images and the pool together, at as many steps.
    """
    n, kind = world["n_images"], pool.get("real")
    sources, unseen, test = real_sets(world["generator"], n, world["n_evaluate"])
    reference = unseen.subset(range(n))
    if kind == "fresh":
        first = n * (pool["seed"] + 1)
        samples = unseen.subset(range(first, first + n))
    else:
        samples = None if kind == "none" else draw(EXPERIMENT, pool, sources, world["device"])
    rows = [] if samples is None else compared(reference, samples, world, pool["seed"])
    sets = {} if samples is None else {"accuracy": [samples]}
    if with_real:
        sets["accuracy_with_real"] = [sources] + ([] if samples is None else [samples])
    rows += [{"metric": metric, "seed": seed, "value": trained_accuracy(parts, test, world, seed)}
             for metric, parts in sets.items() for seed in seeds]
    return pd.DataFrame(rows, columns=["metric", "seed", "value", "low", "high"])


def compared(reference, samples, world, seed):
    """Rows of `synaug.metrics.compare` in the world's features."""
    real, own = (encode(images.floats(), world["encoder"], device=world["device"]) for images in (reference, samples))
    frame = compare(real, own, reference.labels, samples.labels, k=world["k"], n_bootstrap=world["n_bootstrap"], seed=0)
    return [{**row, "seed": seed} for row in frame[["metric", "value", "low", "high"]].to_dict("records")]


def trained_accuracy(parts, test, world, seed):
    """Accuracy on test images of a classifier trained on the data sets together."""
    images, labels = torch.cat([part.images for part in parts]), torch.cat([part.labels for part in parts])
    model = build_classifier(world["classifier"], test.image_shape, test.num_classes, seed)
    train_classifier(model, images, labels, steps=world["classifier_steps"], seed=seed, recipe=world["recipe"],
                     batch_size=world["classifier_batch"], device=world["device"])
    return accuracy(predict(model, test.images), test.labels)
