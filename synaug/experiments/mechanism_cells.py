"""The pieces of the experiment `synaug.experiments.mechanism`, each a cell: the slow set, its copies, trainings on each
training set, and what the gradients of a network are made of. A cell that needs another asks for it by its parameters.

images: {"generator", "n", "digest"}, the first n of the images that a saved generator was trained on. training:
{"classifier", "steps", "recipe", "augment", "batch_size"}. selection, network, pool: the parameters of the cell
`select_slow`, `train_network`, `generate_copies`.
"""

import copy
from functools import lru_cache

import numpy as np
import pandas as pd
import torch
from torch.optim.swa_utils import update_bn

from synaug import augmentation
from synaug.theory import gradient_statistics
from synaug.augmentation import selection as selections
from synaug.augmentation import synthetic_pool
from synaug.classifiers import warm_up as warm_ups
from synaug.augmentation import original, upsampled, with_generated
from synaug.classifiers.training import augment_batch
from synaug.classifiers import build_classifier
from synaug.data import to_floats
from synaug.diffusion.denoisers import generator_hash, load_denoiser
from synaug.experiments import mechanism_gradients, reconstruction_sweep
from synaug.experiments.mechanism_gradients import Members, consequences, losses_of, premises
from synaug.experiments.shared import digest, real_images, some
from synaug.theory.gradient_statistics import gradient_products, mean_gradient
from synaug.precision import fast_precision
from synaug.run.results import CellCache, fingerprint
from synaug.augmentation.selection import select
from synaug.sweeps import Cell
from synaug.augmentation.synthetic_pool import generate_pool
from synaug.theory.two_layer_cnn import gradient_variance
from synaug.theory.two_layer_cnn.gradient_variance import total_variance
from synaug.classifiers.warm_up import warm_up

NAME = "mechanism"  # of the experiment and of its grid

#: What a cell's result depends on beside its parameters.
CODE = reconstruction_sweep.CODE + " " + fingerprint(augmentation, gradient_statistics, mechanism_gradients, selections,
                                                     synthetic_pool, warm_ups, gradient_variance, __file__)


def asked(function, parameters):
    """The result of a cell, stored or run now."""
    cell = Cell(function, parameters)
    return CellCache(NAME, CODE).get_or_run(cell.key, lambda: function(**cell.parameters))


@lru_cache(2)
def loaded(generator, n, wanted):
    """(training images, test images); RuntimeError where they are not those that the cell was made for."""
    real = real_images(generator)
    data = some(real.trained, n)
    if digest(data) != wanted:
        raise RuntimeError(f"the generator {generator} has other training images here than where the sweep started")
    return data, real.test


def training_images(images):
    return loaded(images["generator"], images["n"], images["digest"])[0]


def untrained(data, training, seed):
    return build_classifier(training["classifier"], data.image_shape, data.num_classes, seed)


def select_slow(images, training, seed):
    """sources: int64 places of the slow-learnable images; fraction: their share. passes: how long the warm-up was."""
    data = training_images(images)
    options = {name: training[name] for name in ("steps", "recipe", "augment", "batch_size")}
    seen = warm_up(untrained(data, training, seed), data.images, data.labels, seed=seed, **options)
    chosen = select("slow_learnable", seen, seed=seed)
    return {"sources": chosen.indices.numpy(), "fraction": chosen.fraction, "passes": len(seen.correct)}


def slow_sources(selection):
    return torch.from_numpy(asked(select_slow, selection)["sources"])


def generate_copies(selection, weights, sigma, k, steps):
    """How many images were made: k - 1 of each slow one, from itself at a noise level, kept by `generate_pool`."""
    return len(copies(selection, weights, sigma, k, steps))


def copies(selection, weights, sigma, k, steps):
    denoiser = load_denoiser(selection["images"]["generator"])
    if generator_hash(denoiser) != weights:
        raise RuntimeError(f"the generator {selection['images']['generator']} is another one here than where the sweep "
                           f"started: {generator_hash(denoiser)}, not {weights}")
    denoiser.precision = fast_precision()
    return generate_pool(denoiser, training_images(selection["images"]), slow_sources(selection), k=k, sigmas=sigma,
                         steps=steps)


def training_set(arm, selection, k, pool):
    """pool: of the arm "generated" only."""
    data = training_images(selection["images"])
    if arm == "original":
        return original(data)
    if arm == "upsampled":
        return upsampled(data, slow_sources(selection), k)
    return with_generated(data, copies(**pool), k=k)


def train_network(selection, training, seed, arm, k, pool, recorded, kept, n_evaluate):
    """A training on the training set of an arm: "original", "upsampled" or "generated".

    recorded: steps after which losses are measured: on the slow and the fast real images, each once, and on the first
    n_evaluate test images. kept: steps after which the weights are kept. Returns {"losses": frame of x (the step),
    metric, value; "<step> <name>": weights}.
    """
    images = selection["images"]
    data, test = loaded(images["generator"], images["n"], images["digest"])
    test, slow, model = some(test, n_evaluate), slow_sources(selection), untrained(data, training, seed)
    chosen = training_set(arm, selection, k, pool)
    fast = torch.ones(len(data), dtype=torch.bool).index_fill_(0, slow, False)
    rows, weights = [], {}

    def observe(step, index, logits):
        if step + 1 in recorded:
            now = settled(model, chosen)
            losses, (test_losses, wrong) = losses_of(now, data)[0], losses_of(now, test)
            found = {"train_loss_slow": losses[slow], "train_loss_fast": losses[fast], "test_loss": test_losses,
                     "test_error": wrong}
            rows.extend({"x": step + 1, "metric": metric, "value": values.mean().item()}
                        for metric, values in found.items())
        if step + 1 in kept:
            weights.update({f"{step + 1} {name}": value.numpy().copy() for name, value in model.state_dict().items()})

    options = {name: training[name] for name in ("steps", "recipe", "augment", "batch_size")}
    chosen.train(model, seed=seed, observe=observe, **options)
    return {"losses": pd.DataFrame(rows), **weights}


def settled(model, chosen):
    """A copy of a model in evaluation mode, its batch normalisation with the mean statistics of a training set.

    Running averages over the last few batches lag behind while weights still change fast ("precise" batch norm, Wu &
    Johnson 2021).
    """
    model = copy.deepcopy(model)
    passes = chosen.batches(-(-len(chosen) // 128), seed=0)
    update_bn([to_floats(chosen.data.images[index]) for index in passes], model)
    return model.eval()


def measure_gradients(network, step, pools, sets, sampled_batches):
    """Gradient statistics of training sets at the weights that one of them has led to after a step.

    pools: of generated copies, one a noise level. sets: [arm, k, sigma] of each training set, sigma 0 without copies.
    sampled_batches: mini-batches of the network's own training set, drawn and augmented as in training, for
    "sampled_variance". A frame of part, arm, sigma, swept, x, metric, value; see `mechanism.METRICS`.
    """
    selection, training = network["selection"], network["training"]
    data, slow = training_images(selection["images"]), slow_sources(selection)
    model, stored = untrained(data, training, network["seed"]), asked(train_network, network)
    model.load_state_dict({name: torch.from_numpy(np.asarray(stored[f"{step} {name}"]))
                           for name in model.state_dict()})
    own = training_set(network["arm"], selection, network["k"], network["pool"])
    variance = sampled_variance(model, own, training, network["seed"], sampled_batches)
    model = settled(model, own)
    members = Members(data, slow, {float(pool["sigma"]): copies(**pool) for pool in pools})
    products = gradient_products(model, members.images, members.labels, members.source, members.group)
    rows = consequences(products, members, sets, training["batch_size"])
    sigma = network["pool"]["sigma"] if network["pool"] else 0.0
    rows.append({"arm": network["arm"], "sigma": sigma, "x": float(network["k"]), "metric": "sampled_variance",
                 "value": variance})
    found = [pd.DataFrame(rows).assign(part="consequences", swept="k")]
    if network["arm"] == "original":
        rows = pd.DataFrame(premises(products, members, model))
        found.append(rows.assign(part="premises", swept="sigma", x=rows["sigma"]))
    return pd.concat(found, ignore_index=True)


def sampled_variance(model, chosen, training, seed, count):
    """Variance of a mini-batch's gradient as it is in training: batch statistics, augmentation, shuffled passes."""
    model, generator, gradients = copy.deepcopy(model).train(), torch.Generator().manual_seed(seed), []
    for index in chosen.batches(count, seed, training["batch_size"]):
        batch = augment_batch(to_floats(chosen.data.images[index]), training["augment"], generator)
        gradients.append(mean_gradient(model, batch, chosen.data.labels[index]))
    return total_variance(torch.stack(gradients))[0]
