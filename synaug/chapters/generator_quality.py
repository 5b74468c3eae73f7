"""Chapter 0: how good the generator is, its samples against real images that it has not seen."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from synaug.chapters.tasks import Trained, at_strength, generated, network, real, real_images, real_images_of, trained, training_record, weights_of
from synaug.classifiers import build_classifier, predict
from synaug.classifiers.architectures import ARCHITECTURES
from synaug.classifiers.training import RECIPES
from synaug.data import ImageDataset, stratified_subset
from synaug.diffusion.samplers import SOLVERS
from synaug.diffusion.schedules import reverse_sigmas
from synaug.generators import Diffusion, load_generator
from synaug.metrics import FRESH_REAL, frechet_distance
from synaug.metrics.encoders import BUILDERS, encode
from synaug.metrics.near_copies import nearer_than, nearest
from synaug.run import Experiment, Settings, Task, param
from synaug.statistics import jackknife_interval
from synaug.statistics.proportions import newcombe_interval, wilson_interval

SAMPLES = "samples"
#: A sample is a near-copy if it lies nearer to a training image than this share of fresh real images does.
NEAR_COPY_QUANTILE = 0.01


@dataclass(frozen=True, kw_only=True)
class Quality(Settings):
    generator: str = param("name or folder of a trained generator", "fashion_mnist")
    n_samples: int = param("samples, and real images in each set that they are compared with", at_least=1)
    steps: int = param("steps of a diffusion model's sampler", 18, at_least=1)
    solver: str = param("how a diffusion model's reverse process is solved", "heun", options=tuple(SOLVERS))
    seed: int = param("of the samples' noise", 0, at_least=0, at_most=2**31 - 1)
    encoders: tuple[str, ...] = param("features that distances are taken in", ("efficientnet_lite0", "pixels"), each=True, options=("pixels", *BUILDERS))
    n_searched: int = param("training images among which nearest neighbours are searched in features (in pixels: all); None: all", at_least=1, optional=True)
    n_judge: int = param("unseen real images that the judge is trained on; None: all", at_least=1, optional=True)
    classifier: str = param("the judge's network", "resnet8", options=tuple(ARCHITECTURES))
    classifier_steps: int = param("its optimiser steps", at_least=1)
    recipe: str = param("its learning rates, see synaug.classifiers.train_classifier", "one_cycle", options=tuple(RECIPES))

    def check(self):
        reverse_sigmas(self.steps, self.steps)
        images = real_images_of(self.generator)
        classes, unseen = images.test.num_classes, len(images.unseen)
        self.within(
            "two per class, to as many as test images, and fewer than training images that the generator has not seen",
            n_samples=(2 * classes, min(len(images.test), unseen - 1)),
        )
        self.within("to all training images that the generator has not seen", n_judge=(classes, unseen))
        if (fewest := min(map(self.searched, self.encoders))) < classes:
            raise ValueError(
                f"n_searched and n_samples must leave {classes} training images, one per class, to search among, also of the {unseen} unseen ones; got {fewest}"
            )
        build_classifier(self.classifier, images.test.image_shape, classes, seed=0)

    def searched(self, encoder: str) -> int:
        """How many training images, and as many unseen ones, nearest neighbours are searched among."""
        images = real_images_of(self.generator)
        most = min(len(images.trained), len(images.unseen) - self.n_samples)
        return most if encoder == "pixels" or self.n_searched is None else min(self.n_searched, most)


PROFILES = {
    "smoke": dict(n_samples=40, n_judge=500, classifier_steps=20, n_searched=100),
    "quick": dict(n_samples=50, n_judge=1000, classifier_steps=20, n_searched=500),
    "standard": dict(n_samples=2000, n_judge=None, classifier_steps=2400, n_searched=None),
    "paper": dict(n_samples=10_000, n_judge=None, classifier_steps=20_000, n_searched=None),
}


def sets(s: Quality) -> dict[str, Task]:
    """Equally many images: samples, of the classes of the reference image by image; the reference, which are test
    images; fresh ones, of the training split, that neither the generator has seen."""
    reference = real(s, "test", s.n_samples)
    own = {**network(s), "seed": s.seed, "steps": s.steps}
    if isinstance(load_generator(s.generator), Diffusion):
        samples = Task(generated, {**own, "solver": s.solver}, (reference,))
    else:
        samples = Task(at_strength, {**own, "strength": 1.0}, (reference,))
    return {"samples": samples, "reference": reference, "fresh": real(s, "unseen", s.n_samples)}


def neighbours(s: Quality, encoder: str) -> Task:
    parameters = {"generator": s.generator, "weights": weights_of(s.generator), "encoder": encoder, "n": s.searched(encoder), "device": s.device}
    return Task(nearest_images, parameters, tuple(sets(s).values()))


def rows(s: Quality):
    """What the judge says; Fréchet distances; near-copies. At each, samples beside fresh real images."""
    samples, reference, fresh = sets(s).values()
    # Of real images that neither the generator nor the reference holds.
    unseen = real(s, "unseen")
    judge = Task(
        trained,
        {"architecture": s.classifier, "steps": s.classifier_steps, "recipe": s.recipe, "seed": 0, "device": s.device},
        (unseen if s.n_judge is None else Task(stratified_subset, {"n": s.n_judge, "seed": 0}, (unseen,)),),
    )
    every = {"dataset": real_images_of(s.generator).test.name, "seed": s.seed}
    at = {**every, "x": training_record(s.generator)["images_seen"]}
    yield every, Task(training_losses, {"generator": s.generator, "weights": weights_of(s.generator)})
    yield at, Task(agreements, {}, (judge, samples, reference))
    for encoder in s.encoders:
        of = {**at, "encoder": encoder, "class_name": "all"}
        yield of, Task(distances, {"encoder": encoder, "device": s.device}, (reference, samples, fresh))
        yield {**of, "searched": s.searched(encoder)}, Task(near_copies, {}, (neighbours(s, encoder),))


EXPERIMENT = Experiment("generator_quality", Quality, PROFILES, rows, constants={"swept": "training_images"})


def training_losses(generator: str, weights: str) -> pd.DataFrame:
    """The losses that were noted while the generator was trained, by the number of images seen."""
    return pd.DataFrame(
        [
            {"arm": "training", "class_name": "all", "x": point["images"], "metric": metric, "value": point[metric]}
            for point in training_record(generator)["curve"]
            for metric in ("training_loss", "held_out_loss")
        ]
    )


def agreements(judge: Trained, samples: ImageDataset, reference: ImageDataset) -> pd.DataFrame:
    """How often the judge sees the class that was asked for, or the label of a real test image: all, and by class."""
    model, labels, tables = judge.model(), reference.labels, []
    right = {arm: predict(model, images.images).argmax(1) == labels for arm, images in ((SAMPLES, samples), (FRESH_REAL, reference))}
    for label, name in ((None, "all"), *enumerate(reference.class_names)):
        name = "class all" if label is not None and name == "all" else name
        own = slice(None) if label is None else labels == label
        tables.append(shares("judge_agreement", {arm: found[own] for arm, found in right.items()}, class_name=name))
    return pd.concat(tables, ignore_index=True)


def distances(reference: ImageDataset, samples: ImageDataset, fresh: ImageDataset, encoder: str, device: str) -> pd.DataFrame:
    """Fréchet distance to the reference of samples and of fresh real images, equally many, and their quotient.

    Limits: delete-a-group jackknife, each group holding as many images of each class and leaving all three sets.
    """
    real, own, other = (encode(images.floats(), encoder, device=device) for images in (reference, samples, fresh))
    n, classes = len(real), reference.num_classes
    turn = np.arange(n) // classes  # the sets are in stratified order: one image of each class a turn
    group = turn % min(10, n // classes)

    def found(kept):
        of_samples, of_fresh = frechet_distance(real[kept], own[kept]), frechet_distance(real[kept], other[kept])
        return np.array([of_samples, of_fresh, of_samples / of_fresh])

    replicates = np.array([found(group != g) for g in np.unique(group)])
    columns = ((SAMPLES, "frechet_distance"), (FRESH_REAL, "frechet_distance"), (SAMPLES, "frechet_multiple"))
    values = zip(columns, found(slice(None)), replicates.T)
    return pd.DataFrame([{"arm": arm, "metric": metric, **jackknife_interval(value, others).columns, "n": n} for (arm, metric), value, others in values])


def nearest_images(
    samples: ImageDataset, reference: ImageDataset, fresh: ImageDataset, generator: str, weights: str, encoder: str, n: int, device: str
) -> dict:
    """{"trained", "unseen": {set: `nearest` of n of the generator's training images, or of as many unseen ones}}."""

    def encoded(images):
        return encode(images.floats(), encoder, device=device)

    parts = {
        "trained": real_images(generator, weights, "trained", n),
        "unseen": real_images(generator, weights, "unseen").subset(range(len(fresh), len(fresh) + n)),
    }
    own = {"samples": encoded(samples), "reference": encoded(reference), "fresh": encoded(fresh)}
    return {
        part: {name: nearest(features, among) for name, features in own.items()} for part, among in ((part, encoded(images)) for part, images in parts.items())
    }


def near_copies(found: dict) -> pd.DataFrame:
    """Are samples nearer to training images than fresh real images are, and than to unseen images?

    near_copy_share: nearer to a training image than the first percentile of the reference; beside it the share of other
    fresh real images. trained_nearer_share: nearest to a training image rather than to one of as many unseen.
    """
    trained, unseen = ({name: own for name, (own, _) in found[part].items()} for part in ("trained", "unseen"))
    arms = {SAMPLES: "samples", FRESH_REAL: "fresh"}
    near = {arm: nearer_than(trained[name], trained["reference"], NEAR_COPY_QUANTILE) for arm, name in arms.items()}
    nearer = {arm: trained[name] < unseen[name] for arm, name in arms.items()}
    return pd.concat([shares("near_copy_share", near), shares("trained_nearer_share", nearer)], ignore_index=True)


def shares(metric: str, found: dict[str, torch.Tensor], **columns) -> pd.DataFrame:
    """A proportion of each arm with its Wilson interval, and samples minus fresh real with Newcombe's."""
    counts = {arm: (int(who.sum()), len(who)) for arm, who in found.items()}
    table = [{"arm": arm, "metric": metric, **wilson_interval(yes, n).columns, "n": n} for arm, (yes, n) in counts.items()]
    difference = newcombe_interval(*counts[SAMPLES], *counts[FRESH_REAL])
    table.append({"arm": SAMPLES, "metric": f"{metric}_difference", **difference.columns, "n": difference.n})
    return pd.DataFrame(table).assign(**columns)


# What the page shows beside the frame. get: gives the results of tasks (`synaug.run.Store.get`).


def neighbour_distances(s: Quality, get) -> pd.DataFrame:
    """Distances to the nearest training image, to draw: columns encoder, arm, distance. Fresh real: the reference."""
    return pd.concat(
        [
            pd.DataFrame({"encoder": encoder, "arm": arm, "distance": get(neighbours(s, encoder))["trained"][name][0]})
            for encoder in s.encoders
            for arm, name in ((FRESH_REAL, "reference"), (SAMPLES, "samples"))
        ],
        ignore_index=True,
    )


def closest_pairs(s: Quality, get, encoder: str, name: str = "samples", count: int = 8) -> tuple:
    """The images of a set that lie nearest to a training image: (uint8 ``[count, 2, C, H, W]``, each with that
    training image; distances ``[count]``), the nearest first."""
    found, index = get(neighbours(s, encoder))["trained"][name]
    order = found.argsort()[:count]
    training = real_images(s.generator, weights_of(s.generator), "trained").images[index[order]]
    return torch.stack([get(sets(s)[name]).images[order], training], dim=1), found[order]
