"""Chapter 8: which measures of synthetic images, taken before any training, predict what they gain; and whether a choice
among generated images by what an early network needs gains more than chance."""

from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.transforms.functional import gaussian_blur

from synaug.auditing.inputs import Sets, gather
from synaug.auditing.measures import check_sizes
from synaug.auditing.report import of_sets
from synaug.augmentation import original, with_synthetic
from synaug.augmentation.pool_filters import filter_pool
from synaug.augmentation.synthetic_pool import SyntheticPool
from synaug.chapters.other_generators.families import LATENT, check_family, of_family
from synaug.chapters.targeted_augmentation import FILTERS
from synaug.chapters.tasks import (
    Trained,
    Trainings,
    at_strength,
    error,
    generated_pool,
    joined,
    learning,
    network,
    number_format,
    part,
    pool_images,
    pool_of,
    recipe_of,
    splits,
    train,
    trained,
    trained_generators,
    usual_denoiser,
)
from synaug.classifiers import output_entropy, predict
from synaug.classifiers.architectures import ARCHITECTURES
from synaug.classifiers.predictions import as_inputs
from synaug.data import ImageDataset, stratified_subset
from synaug.diffusion.perturbed import ScaledScore, ScoreNoise
from synaug.diffusion.schedules import sigma_of_strength
from synaug.metrics.encoders import BUILDERS
from synaug.run import Experiment, Task, param
from synaug.statistics.contrasts import differences, select
from synaug.statistics.prediction import LEAST_GROUPS, left_out_predictions, noise_ceiling, rank_correlations

STUDIES = ("pools", "choice")
#: Pools here have images of their own.
POOL_SEED = 8


@dataclass(frozen=True)
class Pool:
    """How a set of images is made. family: which sets are left out together. source: "generator", "oracle", "vae" or "gan"
    (trained on the generator's images), "early" (the generator, trained anew and stopped early), or "real", "fresh" (real
    images, the generator's own and others). level: which of the settings' ``levels`` an early one is. strength:
    denoising steps of 100 from which real images are reconstructed, of a VAE and a GAN their own strength in per cent;
    None: from noise alone. coarse: a sixth of the sampler's steps. wrong: a perturbation of the score, and how large.
    changed: what is done to the images afterwards."""

    family: str
    source: str = "generator"
    strength: float | None = None
    coarse: bool = False
    level: int = 0
    wrong: tuple[str, float] | None = None
    changed: str = ""


#: The sets whose gain is to be predicted. Scores are wrong as in chapter 4.
POOLS = {
    **{f"strength {n}": Pool("from real images", strength=n) for n in (20, 35, 50, 65, 80)},
    "from noise": Pool("from noise"),
    "from noise, few steps": Pool("from noise", coarse=True),
    "oracle, strength 50": Pool("oracle", "oracle", strength=50),
    "oracle, from noise": Pool("oracle", "oracle"),
    "score scaled by 0.95": Pool("wrong score", wrong=("scaled", 0.95)),
    "score scaled by 1.05": Pool("wrong score", wrong=("scaled", 1.05)),
    "score with little noise": Pool("wrong score", wrong=("noise", 0.2)),
    "score with much noise": Pool("wrong score", wrong=("noise", 0.5)),
    **{name: Pool("filtered", strength=50, changed=name) for name in FILTERS},
    "copies": Pool("real, or spoilt", "real"),
    "fresh real images": Pool("real, or spoilt", "fresh"),
    "fresh, blurred": Pool("real, or spoilt", "fresh", changed="blurred"),
    "fresh, a fifth mislabelled": Pool("real, or spoilt", "fresh", changed="mislabelled"),
    "fresh, noisy": Pool("real, or spoilt", "fresh", changed="noisy"),
    **{f"early generator {i + 1}": Pool("early generator", "early", level=i) for i in range(3)},
    "VAE, from noise": Pool("VAE", "vae"),
    "VAE, from real images": Pool("VAE", "vae", strength=50),
    "GAN, from noise": Pool("GAN", "gan"),
    "GAN, from real images": Pool("GAN", "gan", strength=50),
}
#: Those of the generators that every user has. The others, and those of other data, are runs of their own: ``python -m synaug
#: record will_it_help_me --variant families -p studies '["pools"]' -p pools '["VAE, from noise", ...]'``.
USUAL = tuple(name for name, how in POOLS.items() if how.source not in ("early", *LATENT))
#: What is measured of a set before training, beside its real-data baseline; the audit explains each.
PREDICTORS = (
    "frechet_distance",
    "precision",
    "recall",
    "density",
    "coverage",
    "outer_edge_recall",
    "centroid_distance_ratio",
    "covariance_logdet_ratio",
    "distance_ratio",
    "two_sample_auc",
    "label_agreement",
    "near_copies",
    "gradient_alignment",
    "probe_accuracy",
    "probe_gain",
    "probe_gain_all",
)
#: The one that is tested, fixed before any run, and the one that it must beat.
PRIMARY, REFERENCE = "probe_gain_all", "frechet_distance"
#: How one of several images of a source is chosen; and a random choice whose training has the early network's steps as well,
#: so that it costs as much as the others.
CHOICES, LONGER = ("at random", "by alignment", "by uncertainty"), "at random, longer"


@dataclass(frozen=True, kw_only=True)
class Prediction(Trainings):
    real: str | None = param("folder of your real images, a subfolder per class, whose synthetic ones are audited", optional=True)
    synthetic: str | None = param("folder of your synthetic images", optional=True)
    held_out: str | None = param("folder of real images that your generator has not seen; None: a third is held out", optional=True)
    image_size: int | None = param("side in pixels that your images are resized to; None: the real ones' commonest, at most 64", at_least=1, optional=True)
    studies: tuple[str, ...] = param("what is run", STUDIES, each=True, options=STUDIES)
    generator: str = param("name or folder of a trained generator; its training images are the real images", "fashion_mnist_2000")
    oracle: str | None = param("one that was trained on more images, these among them", "fashion_mnist", optional=True)
    pools: tuple[str, ...] = param("sets of images, by name", USUAL, each=True, options=tuple(POOLS))
    levels: tuple[int, ...] = param("images that early generators have seen, three numbers", (32_000, 64_000, 128_000), each=True, at_least=1)
    n_real: int | None = param("real images; None: all that the generator was trained on", at_least=20, optional=True)
    added: int = param("images of each set that are added to the real ones", at_least=20)
    held: int = param("held-out real images beside which a set is measured", at_least=20)
    candidates: int = param("images of each real one among which one is chosen", 4, at_least=2, at_most=64)
    strength: int | float = param("denoising steps of 100 from which they are made", 50, at_least=0.1, at_most=99.9)
    architecture: str = param("the network", "resnet8", options=tuple(ARCHITECTURES))
    early_steps: int = param("those of the early network that measures and chooses", at_least=1)
    sampling_steps: int = param("Heun steps from noise; half as many from real images", at_least=2)
    encoder: str = param("features that sets are measured in", "efficientnet_lite0", options=("pixels", *BUILDERS))
    choices: tuple[str, ...] = param("ways to choose", CHOICES, each=True, options=(*CHOICES, LONGER))
    choice_seeds: int = param("paired trainings with each way to choose", at_least=2, at_most=1000)

    def check(self):
        if (self.real is None) != (self.synthetic is None) or self.held_out and not self.real:
            raise ValueError("real and synthetic must be given together, held_out beside them")
        if self.real is not None:
            check_own(self.real, self.synthetic, self.held_out, self.image_size)
        found, wanted = splits(self.generator), self.n_real or 0
        if wanted > len(found["real"]):
            raise ValueError(f"n_real must be at most {len(found['real'])}, what {self.generator} was trained on, got {wanted}")
        fewest = 2 * found["real"].num_classes
        self.within(held=(fewest, len(found["validation"])), added=(fewest, len(found["fresh"])))
        if len(self.levels) != 3:
            raise ValueError(f"levels must be three numbers of images, got {self.levels}")
        if self.oracle is None and (lost := [name for name in self.pools if POOLS[name].source == "oracle"]):
            raise ValueError(f"the pools {', '.join(lost)} need an oracle")
        for family in sorted({POOLS[name].source for name in self.pools} & {*LATENT}):
            check_family(self.generator, family)


@cache
def check_own(real: str, synthetic: str, held_out: str | None, image_size: int | None) -> None:
    """ValueError where one's own folders cannot be audited; each is read once, however often settings are made."""
    try:
        check_sizes(gather(real, synthetic, held_out, image_size=image_size), k=5)
    except OSError as error:
        raise ValueError(f"real, synthetic, held_out: {error}") from error


PROFILES = {
    "smoke": dict(
        pools=("strength 50", "from noise", "copies", "fresh, blurred"),
        levels=(128, 256, 384),
        n_real=60,
        added=60,
        held=60,
        candidates=2,
        steps=3,
        early_steps=2,
        sampling_steps=2,
        encoder="pixels",
        n_evaluate=50,
        seeds=2,
        choice_seeds=2,
    ),
    "quick": dict(
        pools=("strength 50", "from noise", "oracle, from noise", "score with much noise", "copies", "fresh real images", "fresh, blurred"),
        levels=(128, 256, 384),
        n_real=100,
        added=75,
        held=100,
        candidates=2,
        steps=5,
        early_steps=3,
        sampling_steps=3,
        encoder="pixels",
        n_evaluate=200,
        seeds=2,
        choice_seeds=2,
    ),
    "standard": dict(added=3000, held=1000, steps=800, early_steps=80, sampling_steps=18, first_seed=800, seeds=5, choice_seeds=10),
}


def images(s: Prediction, name: str) -> Task:
    n = {"real": s.n_real, "test": s.n_evaluate, "validation": s.held, "fresh": copies(s) * n_real(s)}[name]
    return part(s.generator, name, n and min(n, len(splits(s.generator)[name])))


def n_real(s: Prediction) -> int:
    return s.n_real or len(splits(s.generator)["real"])


def copies(s: Prediction) -> int:
    """How many images of each real one a set has: for a third more than are added, and one more, so that seeds draw different ones."""
    return 1 - -4 * s.added // (3 * n_real(s))


def pool(s: Prediction, name: str) -> Task:
    how, real = POOLS[name], images(s, "real")
    if how.source in ("real", "fresh"):
        return Task(changed, {"how": how.changed, "n": copies(s) * n_real(s)}, (images(s, how.source),))
    if how.source in ("early", *LATENT):
        by, needs = {"steps": s.sampling_steps, "strength": 1.0 if how.strength is None else how.strength / 100}, (real,)
        if how.source == "early":
            recipe, by = recipe_of(s.generator), by | number_format(s) | {"images": s.levels[how.level]}
            needs = real, Task(trained_generators, {"recipe": recipe, "snapshots": list(s.levels), "device": s.device})
        else:
            by |= network(s, of_family(s.generator, how.source))
        return Task(joined, {}, tuple(Task(at_strength, {**by, "seed": POOL_SEED + i}, needs) for i in range(copies(s))))
    sigmas = None if how.strength is None else [sigma_of_strength(how.strength)]
    by = network(s, s.oracle if how.source == "oracle" else s.generator) | {
        "sigmas": sigmas,
        "steps": max(1, s.sampling_steps // (2 if sigmas else 6 if how.coarse else 1)),
        "seed": POOL_SEED,
    }
    k = 1 + copies(s) * (2 if how.changed else 1)  # of which filters leave enough
    if how.wrong:
        return Task(wrongly_made, {**by, "k": k, "wrong": list(how.wrong)}, (real,))
    if not how.changed:
        return Task(pool_images, {**by, "k": k}, (real,))
    made = Task(generated_pool, {**by, "k": k}, (real,))
    return Task(filtered, {"filters": FILTERS[how.changed]}, (made, real, early(s, s.first_seed, s.steps)))


def early(s: Prediction, seed: int, steps: int) -> Task:
    """A network that has seen the real images alone."""
    return Task(trained, {**learning(s), "steps": steps, "seed": seed}, (images(s, "real"),))


def choice(s: Prediction, by: str, seed: int) -> Task:
    """One image of each real one, of several that were made."""
    made = Task(
        generated_pool,
        {**network(s), "sigmas": [sigma_of_strength(s.strength)], "steps": max(1, s.sampling_steps // 2), "k": 1 + s.candidates, "seed": POOL_SEED},
        (images(s, "real"),),
    )
    return Task(chosen, {"by": by, "seed": seed}, (made, images(s, "validation"), early(s, seed, s.early_steps)))


def audited(s: Prediction, name: str) -> Task:
    """The audit of a set: numbers (as `synaug.auditing.Audit` has them), advice, passed."""
    needs = images(s, "real"), images(s, "validation"), pool(s, name)
    return Task(audit_of, {"n": s.added, "encoder": s.encoder, "device": s.device}, needs)


def training(s: Prediction, seed: int, added: Task | None = None, n: int | None = None) -> Task:
    needs = images(s, "real"), images(s, "test")
    return Task(train_one, {"n": n, **learning(s), "seed": seed}, needs if added is None else (*needs, added))


def rows(s: Prediction):
    """Trainings without and with each set, what was measured of each set, trainings with each choice.

    x is the number of images added; role: "gain", "measure" or "choice". `finish` adds what predicts the gains.
    """
    dataset, seeds = splits(s.generator)["real"].name, range(s.first_seed, s.first_seed + max(s.seeds, s.choice_seeds))

    def at(arm, x, seed, role):
        return {"dataset": dataset, "arm": arm, "family": POOLS[arm].family if arm in POOLS else "", "x": float(x), "seed": seed, "role": role}

    for i, seed in enumerate(seeds):
        yield at("original", 0, seed, "gain"), training(s, seed)
        if "pools" in s.studies and i < s.seeds:
            for name in s.pools:
                yield at(name, s.added, seed, "gain"), training(s, seed, pool(s, name), s.added)
        if "choice" in s.studies and i < s.choice_seeds:
            for by in s.choices:
                steps, of = (s.steps + s.early_steps, CHOICES[0]) if by == LONGER else (s.steps, by)
                yield at(by, n_real(s), seed, "choice"), training(replace(s, steps=steps), seed, choice(s, of, seed))
    for name in s.pools if "pools" in s.studies else ():
        columns, needs = at(name, s.added, 0, "measure"), (images(s, "validation"), pool(s, name), early(s, s.first_seed, s.early_steps))
        yield columns, Task(measured, {}, (audited(s, name),))
        yield columns, Task(alignment, {"n": s.added}, needs)


def finish(frame: pd.DataFrame, s: Prediction | None = None) -> pd.DataFrame:
    """Adds, of each predictor, the rank correlation of what it says of families that are left out with the mean gains,
    and what it has over the reference; and the noise ceiling."""
    mean, each = gains(frame)
    if mean["family"].nunique() < LEAST_GROUPS:
        return frame
    table = select(frame, role="measure").pivot(index="arm", columns="metric", values="value").loc[mean["arm"]]
    said = {name: left_out_predictions(table[name], mean["value"], mean["family"]) for name in PREDICTORS if name in table and table[name].notna().all()}
    found = rank_correlations(said, mean["value"], REFERENCE)
    more = [
        found[["predictor", "value", "low", "high"]].assign(metric="rank_correlation"),
        found[["predictor", "over", "over_low", "over_high"]]
        .set_axis(["predictor", "value", "low", "high"], axis=1)
        .assign(metric="rank_correlation_over_reference"),
    ]
    if each.shape[1] > 3:
        more.append(pd.DataFrame([{"predictor": "noise ceiling", "metric": "rank_correlation", "value": noise_ceiling(each)}]))
    rows = pd.concat(more).rename(columns={"predictor": "arm"})
    return pd.concat([frame, rows.assign(dataset=frame["dataset"].iloc[0], family="", x=float(len(mean)), seed=0, role="prediction")], ignore_index=True)


def gains(frame: pd.DataFrame) -> tuple[pd.DataFrame, np.ndarray]:
    """The mean gain (points) with each set: arm, family, value; and those of each seed, ``[sets, seeds]``."""
    found = differences(select(frame, role="gain"), {"arm": "original"}, metric="test_error", sign=-1)
    table = found.pivot(index=["family", "arm"], columns="seed", values="value").dropna(axis=1)
    return table.mean(axis=1).rename("value").reset_index(), table.to_numpy()


EXPERIMENT = Experiment("will_it_help_me", Prediction, PROFILES, rows, finish, constants={"swept": "images added"})


def wrongly_made(
    real: ImageDataset, generator: str, weights: str, precision: str, device: str, sigmas: list | None, steps: int, k: int, seed: int, wrong: list
) -> ImageDataset:
    """As `generated_pool`, by a generator whose score is wrong by so much."""
    denoiser, (kind, size) = usual_denoiser(generator, weights, device), wrong
    perturbed = ScaledScore(denoiser, size) if kind == "scaled" else ScoreNoise(denoiser, size, denoiser.sigma_data, seed)
    return pool_of(perturbed, real, device, sigmas, steps, k, seed).data


def filtered(made: SyntheticPool, real: ImageDataset, judge: Trained, filters: dict) -> ImageDataset:
    kept, _ = filter_pool(made, real, judge=judge.model() if "min_probability" in filters else None, **filters)
    if not len(kept):
        raise ValueError(f"the filter {filters} leaves none of {len(made)} images; without it there is no such pool")
    return kept.data


def changed(data: ImageDataset, how: str, n: int) -> ImageDataset:
    """n real images, several times each where there are fewer, and what is done to them."""
    data, rng = data.subset(torch.arange(n) % len(data)), np.random.default_rng(POOL_SEED)
    pixels, labels = data.images, data.labels
    if how == "blurred":
        pixels = gaussian_blur(pixels, [5, 5], [1.0, 1.0])
    elif how == "noisy":
        pixels = (pixels + torch.from_numpy(rng.normal(0, 25, pixels.shape))).round().clamp(0, 255).to(torch.uint8)
    elif how == "mislabelled":
        by = torch.from_numpy(rng.integers(1, data.num_classes, n) * (rng.random(n) < 0.2))
        labels = (labels + by) % data.num_classes
    return ImageDataset(pixels, labels, data.class_names, data.source_index, data.name)


def train_one(
    real: ImageDataset, test: ImageDataset, added: ImageDataset | None = None, *, n: int | None, seed: int, checkpoint: Path | None = None, **options
) -> dict:
    """Test error (%) of one classifier. n: images that are added, drawn by the seed, as far as there are so many. options: of
    `train`."""
    own = original(real) if added is None else with_synthetic(real, added, n and min(n, len(added)), seed=seed)
    model, _ = train(own, seed=seed, checkpoint=checkpoint, **options)
    return {"test_error": error(model, test)}


def audit_of(real: ImageDataset, held: ImageDataset, added: ImageDataset, n: int, encoder: str, device: str) -> dict:
    added = stratified_subset(added, min(n, len(added)), 0, proportional=True)
    found = of_sets(Sets(real, held, added), encoder, 5, {}, device, 0, False, False)
    return {"numbers": found.numbers.reset_index(drop=True), "advice": found.advice, "passed": found.passed}


def measured(found: dict) -> pd.DataFrame:
    """What an audit measures of all classes together, less its real-data baseline where it has one: metric, value."""
    numbers = select(found["numbers"], scope="all", metric=PREDICTORS)
    return pd.DataFrame({"metric": numbers["metric"], "value": numbers["value"] - numbers["baseline"].fillna(0)}).reset_index(drop=True)


def last_layer(model, data: ImageDataset) -> tuple[Tensor, Tensor]:
    """Of each image, the gradient of its cross-entropy in the head's outputs ``[N, K]``, and its features with a 1
    ``[N, D + 1]``: their outer product is the gradient in the last layer."""
    with torch.no_grad():
        inputs = as_inputs(data.images, model)
        features = torch.cat([model.features(part) for part in inputs.split(512)])
        p = predict(model, data.images)
    return p - F.one_hot(data.labels, data.num_classes), F.pad(features.flatten(1), (0, 1), value=1.0)


def mean_last_layer(model, data: ImageDataset) -> Tensor:
    """The mean gradient in the last layer, ``[K, D + 1]``."""
    outputs, features = last_layer(model, data)
    return outputs.T @ features / len(data)


def alignment(held: ImageDataset, added: ImageDataset, network: Trained, n: int) -> dict:
    """The cosine between the mean gradients in the last layer of an early network on a set and on held-out images."""
    added = stratified_subset(added, min(n, len(added)), 0, proportional=True)
    own, other = (mean_last_layer(network.model(), data).flatten() for data in (added, held))
    return {"gradient_alignment": float(F.cosine_similarity(own, other, dim=0))}


def chosen(made: SyntheticPool, held: ImageDataset, network: Trained, by: str, seed: int) -> ImageDataset:
    """One image of each source: at random; by alignment, the inner product of its gradient in the last layer with the
    mean one of held-out images, by which a step on it lowers their loss (Pruthi et al. 2020, TracIn); or by uncertainty, the
    entropy of what the network says of it."""
    model = network.model()
    if by == "at random":
        score = torch.from_numpy(np.random.default_rng(seed).random(len(made)))
    elif by == "by uncertainty":
        score = output_entropy(predict(model, made.data.images))
    else:
        outputs, features = last_layer(model, made.data)
        score = ((outputs @ mean_last_layer(model, held)) * features).sum(1)
    # The pool has all sources' first image, then all their second, ...
    return made.data.subset(score.view(made.k - 1, -1).argmax(0) * len(made.sources) + torch.arange(len(made.sources)))
