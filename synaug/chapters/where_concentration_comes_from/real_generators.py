"""Real generators: the score's error, the sampler, and terms that explore, over pools of equally many samples.

Three parts: generators of several quality levels, small ones at moments of their training; settings of the sampler of
the best; exploration terms, judged by classifiers trained on their samples and by outer-edge recall.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from synaug.chapters.sampling import AUTOGUIDANCE, INFLATED_CHURN, NOISE_INFLATION, PLAIN, TERMS, compared, denoising_losses, drawn, fresh, limits
from synaug.chapters.tasks import network, real, real_images_of, recipe_of, trained_generators
from synaug.checks import number
from synaug.classifiers import accuracy, build_classifier, predict, train_classifier
from synaug.classifiers.architectures import ARCHITECTURES
from synaug.classifiers.training import RECIPES
from synaug.data import ImageDataset
from synaug.diffusion.denoisers import load_denoiser, new_unet
from synaug.diffusion.samplers import check_sampler
from synaug.diffusion.schedules import sigma_of_reverse_step, sigmas_from
from synaug.metrics import FRESH_REAL
from synaug.metrics.encoders import BUILDERS
from synaug.run import Experiment, Settings, Task, param
from synaug.run.experiment import named

#: Quality levels, sampler settings and exploration terms, by the names that they have in recorded frames.
LEVELS, SAMPLERS, EXPLORATION = PARTS = ("levels", "samplers", "exploration")
#: The arm of no samples at all.
REAL_ALONE = "real alone"
NOISE, MIDDLE = "noise", "middle"  # where the way back starts

#: Their strengths, fixed before any was measured; the last is the one that claims are about.
STRENGTHS = {
    NOISE_INFLATION: (1.02, 1.05),
    "CADS": (0.5, 1.0),
    "guidance interval": (2.0,),
    AUTOGUIDANCE: (2.0,),
    "particle guidance": (0.003, 0.01),
    "minority guidance": (0.1,),
}
#: Settings of the sampler: (solver, steps, churn, s_noise).
DETERMINISTIC = tuple((solver, steps, 0.0, 1.0) for solver in ("heun", "euler") for steps in (5, 10, 18, 40))
STOCHASTIC = (("heun", 18, 4.0, 1.0), ("heun", 18, 20.0, 1.0), ("heun", 18, 20.0, 1.02), ("euler", 18, 20.0, 1.0))


@dataclass(frozen=True, kw_only=True)
class Generators(Settings):
    generator: str = param("name or folder of the best generator; others are trained by its recipe, on its images", "fashion_mnist")
    parts: tuple[str, ...] = param(
        "what is measured, in this order: levels (of quality), samplers (settings of the sampler), exploration", PARTS, each=True, options=PARTS
    )
    n_images: int = param("samples of each pool, and real images of each set", at_least=1)
    n_losses: int = param("held-out images in denoising losses", at_least=1)
    n_evaluate: int = param("test images on which classifiers are scored", at_least=1)
    seeds: int = param("classifiers per pool; in exploration, where each has a pool of its own, also pools", at_least=1, at_most=1000)
    classifier: str = param("the network", "resnet8", options=tuple(ARCHITECTURES))
    recipe: str = param("learning rates of its training, see synaug.classifiers.train_classifier", "one_cycle", options=tuple(RECIPES))
    classifier_batch: int = param("images per step of its training", 64, at_least=2)
    classifier_steps: int = param("its optimiser steps", at_least=1)
    steps: int = param("Heun steps of a pool, unless said", at_least=1)
    encoder: str = param("features that samples are compared in", "efficientnet_lite0", options=("pixels", *BUILDERS))
    sizes: tuple[tuple, ...] = param("channels of the generators of lower quality, each a list", (), each=True)
    snapshots: tuple[int, ...] = param("images of training after which each of them is looked at", (), each=True, at_least=1, at_most=10**9)
    batch_size: int = param("images per step of their training", 128, at_least=1)
    middle: int = param("reverse step, of 100, that reconstructions by each quality level start from", 50, at_least=1, at_most=99)
    loss_sigmas: tuple[float, ...] = param("noise levels of denoising losses", (0.1, 0.3, 1.0, 3.0, 10.0), each=True)
    sampler_settings: tuple[tuple, ...] = param(
        "settings of the sampler, each a list of solver, steps, churn, s_noise", (*DETERMINISTIC, *STOCHASTIC), each=True
    )
    strengths: dict = param("exploration terms, {term: its strengths}")
    k: int = param("neighbours in precision and recall", 5, at_least=1)
    n_bootstrap: int = param("resamples behind intervals", 1000, at_least=1)

    def check(self):
        images = real_images_of(self.generator)
        shape, classes, n = images.test.image_shape, images.test.num_classes, self.n_images
        if min(self.loss_sigmas) <= 0:
            raise ValueError(f"loss_sigmas must be positive, got {self.loss_sigmas}")
        needed = {"trained": n, "test": self.n_evaluate, "unseen": max(self.n_losses, n * (self.seeds + 1))}
        for part, count in needed.items():
            if (there := len(getattr(images, part))) < count:
                raise ValueError(f"{count} {part} images are needed, {images.test.name} has {there}: lower n_images, n_losses, n_evaluate or seeds")
        if n < 15 * classes or n <= self.k:
            raise ValueError(f"n_images must be at least 15 per class, {15 * classes}, for covariances in 10 directions, and above k = {self.k}, got {n}")
        self.within("at least one per class", n_losses=(classes, len(images.unseen)), n_evaluate=(classes, len(images.test)))
        build_classifier(self.classifier, shape, classes, seed=0)
        weak = LEVELS in self.parts or EXPLORATION in self.parts and AUTOGUIDANCE in self.strengths
        if weak and not (self.sizes and self.snapshots):
            raise ValueError("quality levels (part levels) and autoguidance need sizes and snapshots to train")
        patch = recipe_of(self.generator)["patch"]
        for size in self.sizes:
            named("sizes", new_unet, shape, classes, channels=size, patch=patch)
        for setting in self.sampler_settings:
            if len(setting) != 4:
                raise ValueError(f"each of sampler_settings must be solver, steps, churn and s_noise, got {setting}")
            named("sampler_settings", check_sampler, setting[0], *setting[2:])
            named("sampler_settings", sigmas_from, 1.0, setting[1])
        denoiser = load_denoiser(self.generator)
        for term, strengths in self.strengths.items():
            if term not in TERMS or not isinstance(strengths, (list, tuple)):
                raise ValueError(f"strengths must be lists by exploration term, of {', '.join(TERMS)}; got {term!r}: {strengths!r}")
            for strength in strengths:
                named("strengths", number, term, strength, at_most=1000)
                named("strengths", TERMS[term], denoiser, strength, 0, denoiser)
                named("strengths", check_sampler, "heun", 0.0, strength if term == NOISE_INFLATION else 1.0)


PROFILES = {
    "smoke": dict(
        parts=("samplers", "exploration"),
        n_images=150,
        n_losses=20,
        n_evaluate=100,
        seeds=1,
        classifier_steps=3,
        steps=2,
        encoder="pixels",
        batch_size=32,
        n_bootstrap=10,
        sampler_settings=(("heun", 2, 0.0, 1.0),),
        strengths={"CADS": (1.0,)},
    ),
    "quick": dict(
        parts=("samplers", "exploration"),
        n_images=150,
        n_losses=50,
        n_evaluate=200,
        seeds=1,
        classifier_steps=10,
        steps=2,
        n_bootstrap=100,
        sampler_settings=(("heun", 2, 0.0, 1.0), ("euler", 3, 0.0, 1.0)),
        strengths={"CADS": (1.0,), "particle guidance": (0.01,)},
    ),
    "standard": dict(
        n_images=800,
        n_losses=500,
        n_evaluate=4000,
        seeds=5,
        classifier_steps=250,
        steps=10,
        sizes=((64, 128), (32, 64), (16, 32)),
        snapshots=(32_000, 64_000, 128_000),
        strengths=STRENGTHS,
    ),
    "paper": dict(
        n_images=4000,
        n_losses=5000,
        n_evaluate=10_000,
        seeds=10,
        classifier_steps=5000,
        steps=18,
        sizes=((64, 128), (32, 64), (16, 32)),
        snapshots=(32_000, 128_000, 512_000, 2_048_000),
        strengths=STRENGTHS,
    ),
}


def levels(s: Generators, size: tuple) -> Task:
    """The generators of a size, one per snapshot."""
    recipe = {**recipe_of(s.generator), "channels": size, "batch_size": s.batch_size}
    return Task(trained_generators, {"recipe": recipe, "snapshots": s.snapshots, "device": s.device})


def pool(s: Generators, steps: int, size: tuple | None = None, sources: Task | None = None, **how) -> Task:
    """Samples of the classes of the sources, or, with sigma, the sources taken to that noise level and brought back.

    By the saved generator, or that of a size after so many images of training; with autoguidance that is the weak one. how: of
    `drawn`.
    """
    if how.get("term") == NOISE_INFLATION:
        how |= {"churn": INFLATED_CHURN * steps, "s_noise": how["strength"]}
    # The usual ones stand here, too: a pool that several parts have is one task.
    parameters = {**network(s), "steps": steps, "solver": "heun", "churn": 0.0, "s_noise": 1.0, "seed": 0, **how}
    needs = (real(s, "trained", s.n_images) if sources is None else sources,)
    return Task(drawn, parameters, needs if size is None else (*needs, levels(s, size)))


def rows(s: Generators):
    """Columns beside the usual ones: part ("floor", which is fresh real images in the samples' place and no samples at
    all, and `PARTS`), level (from "noise" or the "middle" noise level), training_images (of a quality level; missing
    for the saved generator), sigma (of denoising losses), low and high (95 % limits over images, of pools). seed: of
    the pool in exploration and floor, else of the classifier alone. Among quality levels x is the rank of the mean
    denoising loss, 1 for the best. Metrics: those of `synaug.metrics.compare` against fresh real images, accuracy (of
    classifiers trained on the pool alone), accuracy_with_real (on as many of the generator's training images and the
    pool), and those of `loss_rows`.
    """
    every, seeds = {"dataset": real_images_of(s.generator).test.name, "level": NOISE}, range(s.seeds)
    learning = {"classifier": s.classifier, "recipe": s.recipe, "batch_size": s.classifier_batch, "steps": s.classifier_steps, "device": s.device}
    test, sources = real(s, "test", s.n_evaluate), real(s, "trained", s.n_images)

    def taught(about, metric, seed, *sets):
        return ({**every, **about, "seed": seed}, Task(accuracy_after, {**learning, "seed": seed, "metric": metric}, (test, *sets)))

    def measured(about, drawn, seeds, with_real=False):
        options = {"encoder": s.encoder, "k": s.k, "n_bootstrap": s.n_bootstrap, "device": s.device}
        yield {**every, **about, "seed": seeds[0]}, Task(compared, options, (fresh(s, 0), drawn))
        for seed in seeds:
            yield taught(about, "accuracy", seed, drawn)
            if with_real:
                yield taught(about, "accuracy_with_real", seed, sources, drawn)

    def quality_levels():
        found = [{}, *({"size": size, "images": images} for size in s.sizes for images in s.snapshots)]
        names = [{"arm": str(by["size"]), "training_images": by["images"]} if by else {"arm": "saved"} for by in found]
        options, unseen = {**network(s), "sigmas": s.loss_sigmas}, real(s, "unseen", s.n_losses)
        losses = [Task(denoising_losses, {**options, "images": by.get("images")}, (unseen, *([levels(s, by["size"])] if by else []))) for by in found]
        at = {"part": LEVELS, "swept": "loss_rank", "x": np.nan}
        yield {**every, **at, "seed": 0}, Task(loss_rows, {"sigmas": s.loss_sigmas, "names": names}, tuple(losses))
        for by, name in zip(found, names):
            for level, start in ((NOISE, {}), (MIDDLE, {"sigma": sigma_of_reverse_step(s.middle, 100)})):
                yield from measured({**at, **name, "level": level}, pool(s, s.steps, **by, **start), seeds)

    def samplers():
        for solver, steps, churn, s_noise in s.sampler_settings:
            about = {"part": SAMPLERS, "arm": sampler_name(solver, churn, s_noise), "swept": "steps", "x": float(steps)}
            yield from measured(about, pool(s, steps, solver=solver, churn=float(churn), s_noise=float(s_noise)), seeds)

    def exploration():
        weak = {"size": min(s.sizes), "images": min(s.snapshots)} if AUTOGUIDANCE in s.strengths else {}
        for seed in seeds:
            yield from measured({"part": EXPLORATION, "arm": PLAIN, "swept": "strength", "x": 0.0}, pool(s, s.steps, seed=seed), [seed], True)
            for term, strengths in s.strengths.items():
                for strength in map(float, strengths):
                    drawn = pool(s, s.steps, term=term, strength=strength, seed=seed, **(weak if term == AUTOGUIDANCE else {}))
                    yield from measured({"part": EXPLORATION, "arm": term, "swept": "strength", "x": strength}, drawn, [seed], True)

    for seed in seeds:
        beside = {"part": "floor", "swept": "none", "x": 0.0}
        yield from measured({**beside, "arm": FRESH_REAL}, fresh(s, 1 + seed), [seed], True)
        yield taught({**beside, "arm": REAL_ALONE}, "accuracy_with_real", seed, sources)
    for part in s.parts:
        yield from {LEVELS: quality_levels, SAMPLERS: samplers, EXPLORATION: exploration}[part]()


def ranked(frame: pd.DataFrame, s: Generators) -> pd.DataFrame:
    """The frame with the rank of the mean denoising loss as x of quality levels."""
    if LEVELS not in s.parts:
        return frame
    names = frame["arm"] + "@" + frame["training_images"].astype(str) if "training_images" in frame else frame["arm"]
    own, loss = frame["part"] == LEVELS, frame["metric"] == "mean_loss"
    ranks = frame.loc[loss, "value"].rank().set_axis(names[loss])
    return frame.assign(x=frame["x"].where(~own, names.map(ranks)))


EXPERIMENT = Experiment("real_generators", Generators, PROFILES, rows, ranked)


def sampler_name(solver: str, churn: float, s_noise: float) -> str:
    """How a setting of the sampler is called, its number of steps apart."""
    name = solver.capitalize() + (f", churn {churn:g}" if churn else "")
    return name + (f", S_noise {s_noise:g}" if s_noise != 1 else "")


def accuracy_after(
    test: ImageDataset, *sets: ImageDataset, metric: str, classifier: str, seed: int, device: str, checkpoint: Path | None = None, **training
) -> dict:
    """Accuracy on test images of a classifier trained on data sets together. training: of `train_classifier`."""
    images, labels = torch.cat([own.images for own in sets]), torch.cat([own.labels for own in sets])
    model = build_classifier(classifier, test.image_shape, test.num_classes, seed)
    train_classifier(model, images, labels, seed=seed, device=device, checkpoint=checkpoint, **training)
    return {metric: accuracy(predict(model, test.images), test.labels)}


def loss_rows(*losses: np.ndarray, sigmas: list, names: list) -> pd.DataFrame:
    """Of each quality level, whose columns are ``names``: denoising_loss and loss_excess, minus the best one's, at each
    sigma, mean_loss and mean_loss_excess over all; 95 % limits over images, over which the excess is paired."""
    stacked, table = np.stack(losses).astype(np.float64), []  # [levels, sigmas, N]
    best = stacked[stacked.mean(axis=2).argmin(axis=0), np.arange(len(sigmas))]
    for own, name in zip(stacked, names):
        excess = own - best
        for metric, found in (("denoising_loss", own), ("loss_excess", excess)):
            table += [{**name, "metric": metric, "sigma": sigma, **limits(v)} for sigma, v in zip(sigmas, found)]
        table += [{**name, "metric": metric, **limits(found.mean(axis=0))} for metric, found in (("mean_loss", own), ("mean_loss_excess", excess))]
    return pd.DataFrame(table)


# What the page shows.


def shown_samples(s: Generators, get) -> dict[str, Tensor]:
    """{what: uint8 ``[n, C, H, W]``}: real images, and samples of their classes from the same noise, plain and with
    each exploration term at its last strength. Autoguidance is left out: its weak denoiser would have to be trained.

    get: gives the results of tasks. n: two images of each class, in columns of classes.
    """
    sources = real(s, "trained", 2 * real_images_of(s.generator).test.num_classes)
    shown = {"real": sources, PLAIN: pool(s, s.steps, sources=sources)}
    for term, strengths in STRENGTHS.items():
        if term != AUTOGUIDANCE:
            shown[f"{term}, {strengths[-1]:g}"] = pool(s, s.steps, term=term, strength=strengths[-1], sources=sources)
    order = get(sources).labels.argsort(stable=True)
    return {name: get(task).images[order] for name, task in shown.items()}
