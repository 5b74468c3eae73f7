"""Chapter 1: what happens to images as more of their reverse process is the model's (Yamaguchi 2024)."""

from dataclasses import dataclass
from itertools import product

import numpy as np
import pandas as pd
import torch
from sklearn.decomposition import PCA

from synaug.chapters.tasks import Trained, network, real, real_images_of, reconstructed, scored, trained
from synaug.classifiers import build_classifier, output_entropy, predict
from synaug.classifiers.architectures import ARCHITECTURES
from synaug.classifiers.attention import agreement, explained_block, grad_cam
from synaug.classifiers.training import AUGMENTATIONS, RECIPES
from synaug.data import ImageDataset, stratified_subset
from synaug.diffusion.samplers import check_sampler
from synaug.diffusion.schedules import reverse_sigmas, sigma_of_reverse_step
from synaug.metrics import compare
from synaug.metrics.comparison import least_per_class
from synaug.metrics.encoders import BUILDERS, encode
from synaug.run import Experiment, Settings, Task, param
from synaug.run.experiment import named
from synaug.statistics import bootstrap_interval


@dataclass(frozen=True, kw_only=True)
class Sweep(Settings):
    generator: str = param("name or folder of a trained generator")
    reverse_steps: tuple[int, ...] = param("levels t_re, from 0 (real) to steps (synthetic)", (0, 30, 50, 70, 100), each=True, at_least=0)
    steps: int = param("T, steps of the whole reverse grid", 100, at_least=1)
    mapping: str = param("noise level of a reverse step", "edm", options=("edm", "vp"))
    stride: int = param("take every stride-th level of the grid", at_least=1)
    solver: str = param("how the reverse process is solved", "heun", options=("heun", "euler", "ancestral"))
    churn: float = param("EDM's S_churn; 0 is deterministic", 0.0, at_least=0)
    n_images: int = param("training images that are reconstructed; None: all", at_least=1, optional=True)
    n_compare: int = param("of those, how many go into distances, precision and recall", 5000, at_least=1)
    n_test: int = param("test images that are reconstructed", 1000, at_least=1)
    n_evaluate: int = param("real test images on which classifiers are scored; None: all", at_least=1, optional=True)
    n_maps: int = param("Grad-CAM maps", at_least=1)
    seeds: int = param("classifiers per level", at_least=1, at_most=1000)
    classifier: str = param("the network", options=tuple(ARCHITECTURES))
    classifier_steps: int = param("optimiser steps, the same at every level", at_least=1)
    recipe: str = param("learning rates of the training, see synaug.classifiers.train_classifier", "one_cycle", options=tuple(RECIPES))
    augment: str = param("augmentation of the training, see synaug.classifiers.train_classifier", "flip", options=AUGMENTATIONS)
    encoders: tuple[str, ...] = param(
        "features that distances are taken in", ("efficientnet_lite0", "judge"), each=True, options=("judge", "pixels", *BUILDERS)
    )
    k: int = param("neighbours in precision, recall, density, coverage", 5, at_least=1)
    n_bootstrap: int = param("resamples behind an interval", 1000, at_least=1)

    def check(self):
        levels = self.reverse_steps
        if 0 not in levels or list(levels) != sorted(levels) or len(levels) < 2:
            raise ValueError(f"reverse_steps must be increasing whole numbers from 0, the real image, got {levels}")
        for level in levels:
            named("reverse_steps, steps", reverse_sigmas, level, self.steps, self.mapping, self.stride)
        named("churn", check_sampler, self.solver, self.churn)
        real = real_images_of(self.generator)
        explained_block(build_classifier(self.classifier, real.test.image_shape, real.test.num_classes, seed=0))
        of_test = real.test.num_classes, len(real.test)
        self.within("one per class to all", n_images=(of_test[0], len(real.trained)), n_test=of_test, n_evaluate=of_test)
        if self.n_maps > (most := self.n_evaluate or len(real.test)):
            raise ValueError(f"n_maps must be at most n_evaluate = {most}, got {self.n_maps}")
        compared, classes = min(self.n_compare, self.n_sources, len(real.unseen)), real.test.num_classes
        parts, least = (real.trained, real.unseen), least_per_class()
        fewest = 0 if compared < classes else min(int(stratified_subset(part, compared, 0).labels.bincount(minlength=classes).min()) for part in parts)
        if compared <= self.k or fewest < least:
            raise ValueError(
                f"n_compare and n_images must leave more than k = {self.k} images to compare, and {least} of "
                f"each of the {classes} classes, also among the {len(real.unseen)} unseen ones (some "
                f"{least * classes} images where classes are of one size); got {compared}, {fewest} of one"
            )

    @property
    def n_sources(self) -> int:
        """How many training images are reconstructed."""
        whole = len(real_images_of(self.generator).trained)
        return whole if self.n_images is None else min(self.n_images, whole)


#: The classifier that a CPU trains in minutes; Yamaguchi 2024 has ResNet-18.
SMALL = {"generator": "fashion_mnist", "classifier": "resnet8"}
SHORT = dict(**SMALL, reverse_steps=(0, 50, 100), n_images=200, n_compare=200, n_test=50, n_evaluate=200, n_maps=20, seeds=2, classifier_steps=10)

PROFILES = {
    "smoke": dict(**SHORT, stride=50, n_bootstrap=50),
    "quick": dict(**SHORT, stride=50, n_bootstrap=100),
    "standard": dict(**SMALL, stride=5, n_images=10_000, n_evaluate=10_000, n_maps=500, seeds=5, classifier_steps=600),
    # Some 20 passes over 40,000 images by a modern, fast recipe. The paper's own, 100 epochs of it, is a variant:
    # recipe "paper", classifier_steps 31_250.
    "paper": dict(generator="cifar10", classifier="resnet18", augment="flip_crop", stride=1, n_maps=1000, seeds=3, classifier_steps=7000),
}


def pool(s: Sweep, level: int, split: str = "train") -> Task:
    """Reconstructions from a reverse step of training or test images; at level 0 these themselves."""
    sources = real(s, "trained", s.n_images) if split == "train" else real(s, "test", s.n_test)
    if level == 0:
        return sources
    return Task(
        reconstructed,
        {**network(s), "reverse_step": level, "steps": s.steps, "mapping": s.mapping, "stride": s.stride, "solver": s.solver, "churn": s.churn, "seed": 0},
        (sources,),
    )


def classifier(s: Sweep, level: int, seed: int) -> Task:
    """A classifier trained on the pool of a level, at the same number of steps for each; at level 0, seed 0, the
    judge of reconstructions."""
    return Task(
        trained,
        {"architecture": s.classifier, "steps": s.classifier_steps, "recipe": s.recipe, "augment": s.augment, "seed": seed, "device": s.device},
        (pool(s, level),),
    )


def maps(s: Sweep, level: int, seed: int) -> Task:
    return Task(attention_maps, {"n": s.n_maps, "device": s.device}, (classifier(s, level, seed), real(s, "test", s.n_evaluate)))


def rows(s: Sweep):
    """What classifiers learn, seed by seed, so that a run that was cut has whole pairs; then distances, precision and
    recall against both references, and what the judge says."""
    judge, sources, fresh = classifier(s, 0, 0), pool(s, 0), real(s, "unseen", s.n_sources)
    where, n = {"device": s.device}, s.n_compare
    drawn = {"n_bootstrap": s.n_bootstrap, **where}

    def columns(level, seed=0, **more):
        sigma = sigma_of_reverse_step(level, s.steps, s.mapping)
        return {"dataset": real_images_of(s.generator).test.name, "x": level, "sigma": sigma, "seed": seed, **more}

    for seed, level in product(range(s.seeds), s.reverse_steps):
        at = columns(level, seed, sources="train")
        yield at, Task(scored, where, (classifier(s, level, seed), real(s, "test", s.n_evaluate)))
        if s.seeds > 1:  # at level 0, what two seeds share
            yield at, Task(alike, {}, (maps(s, level, seed), maps(s, 0, (seed + 1) % s.seeds)))
    for level in s.reverse_steps:
        for encoder, (reference, images) in product(s.encoders, (("source", sources), ("fresh", fresh))):
            # As many of each: there may be fewer unseen images than sources.
            yield (
                columns(level, reference=reference, encoder=encoder, sources="train"),
                Task(compared, {"encoder": encoder, "n": n, "k": s.k, **drawn}, (images, pool(s, level), fresh, judge)[: 4 if encoder == "judge" else 3]),
            )
        for split in ("train", "test"):
            yield columns(level, sources=split), Task(judged, drawn, (judge, pool(s, level, split)))
        yield columns(level, sources="train"), Task(plane_spread, drawn, (judge, sources, pool(s, level), fresh))


EXPERIMENT = Experiment("mode_concentration", Sweep, PROFILES, rows, constants={"arm": "reconstruction", "swept": "t_re"})


def compared(
    real: ImageDataset,
    candidate: ImageDataset,
    fresh: ImageDataset,
    judge: Trained | None = None,
    *,
    encoder: str,
    n: int,
    k: int,
    n_bootstrap: int,
    device: str = "cpu",
) -> pd.DataFrame:
    """`synaug.metrics.compare` of the first n images of both, of as many as there are of fresh ones, too."""
    n = min(n, len(fresh), len(candidate))
    by = judge.model(device) if encoder == "judge" else encoder
    real, candidate = real.subset(range(n)), candidate.subset(range(n))
    features = (encode(images.floats(), by, device=device) for images in (real, candidate))
    frame = compare(*features, real.labels, candidate.labels, k=k, n_bootstrap=n_bootstrap, seed=0)
    return frame.astype({"k": "Float64"}).astype({"k": float})  # NaN where there are no neighbours


def judged(judge: Trained, images: ImageDataset, n_bootstrap: int, device: str = "cpu") -> pd.DataFrame:
    """Output entropy (nats) and accuracy of the judge on reconstructions."""
    probabilities = predict(judge.model(device), images.images)
    correct = (probabilities.argmax(1) == images.labels).double()
    found = {"judge_entropy": output_entropy(probabilities), "judge_accuracy": correct}
    return pd.DataFrame([{"metric": metric, **bootstrap_interval(values, n_bootstrap=n_bootstrap).columns} for metric, values in found.items()])


def attention_maps(classifier: Trained, test: ImageDataset, n: int, device: str = "cpu") -> np.ndarray:
    """Grad-CAM maps of the first n test images for their true class, float16 ``[n, H, W]``."""
    return grad_cam(classifier.model(device), test.images[:n], test.labels[:n]).numpy().astype(np.float16)


def alike(own: np.ndarray, other: np.ndarray) -> dict:
    """Whether two classifiers look at the same places: the mean correlation of their maps."""
    return {"cam_agreement": agreement(*(torch.from_numpy(m).float() for m in (own, other))).nanmean().item()}


def judge_plane(judge: Trained, sources: ImageDataset, *sets: ImageDataset, device: str = "cpu") -> list[np.ndarray]:
    """Points float64 ``[N, 2]`` of sets of images in the plane of the first two principal components (scikit-learn's
    `PCA`) of the judge's features of the real sources."""
    model = judge.model(device)

    def features(images):
        return encode(images.floats(), model).double().numpy()

    plane = PCA(2, svd_solver="full").fit(features(sources))
    return [plane.transform(features(images)) for images in sets]


def plane_spread(judge: Trained, sources: ImageDataset, pool: ImageDataset, fresh: ImageDataset, n_bootstrap: int, device: str = "cpu") -> pd.DataFrame:
    """Each reconstruction's squared distance to the mean of its class in the plane, over the mean of the same for
    fresh real images; its mean is the ratio of within-class variances.

    Fresh images, because the judge has been fitted to the sources and separates those better than any others.
    """
    squared = []
    for points, images in zip(judge_plane(judge, sources, pool, fresh, device=device), (pool, fresh)):
        by_class = pd.DataFrame(points).groupby(images.labels.numpy())
        squared.append(by_class.transform(lambda x: (x - x.mean()) ** 2).sum(axis=1))
    ratio = bootstrap_interval(squared[0] / squared[1].mean(), n_bootstrap=n_bootstrap)
    return pd.DataFrame([{"metric": "pca_variance_ratio", **ratio.columns}])


# What the page shows beside the frame.

#: Classes of which images and points are shown: the first.
SHOWN_CLASSES = 10


def plane_points(s: Sweep, get, levels) -> pd.DataFrame:
    """Points to draw: columns first component, second component, level, label, class_name; the first 50 images of each
    class, of the first `SHOWN_CLASSES`. get: gives the results of tasks (`synaug.run.Store.get`)."""
    shown = []
    for level in levels:
        images = get(pool(s, level))
        images = images.subset(range(min(len(images), 50 * images.num_classes)))
        shown.append(images.subset((images.labels < SHOWN_CLASSES).nonzero().flatten()))
    points = judge_plane(get(classifier(s, 0, 0)), get(pool(s, 0)), *shown)
    return pd.concat(
        [
            pd.DataFrame(own, columns=["first component", "second component"]).assign(
                level=level, label=images.labels.numpy(), class_name=[images.class_names[i] for i in images.labels]
            )
            for level, images, own in zip(levels, shown, points)
        ],
        ignore_index=True,
    )


def shown_images(s: Sweep, get, levels, per_class: int = 3) -> torch.Tensor:
    """uint8 ``[L, n, C, H, W]``: reconstructions of the first ``per_class`` sources of each of the first
    `SHOWN_CLASSES` at each level, in columns of classes."""
    sources = get(pool(s, 0))
    by_class = [(sources.labels == c).nonzero().flatten()[:per_class] for c in range(min(sources.num_classes, SHOWN_CLASSES))]
    order = torch.stack(by_class, dim=1).flatten()
    return torch.stack([get(pool(s, level)).images[order] for level in levels])
