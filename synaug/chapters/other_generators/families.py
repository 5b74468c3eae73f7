"""Three families of generators under one method: what each does to images, and what its images are worth in training.

All are trained on the very same images: beside a diffusion model ``name`` stand ``name_vae`` and ``name_gan``. What is
measured at each strength is also read off at equal distance from the sources, within the range that all families reach:
a strength takes an image further away in one than in another.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import product

import numpy as np
import pandas as pd
import torch
from sklearn.neighbors import NearestNeighbors

from synaug.chapters.how_much_and_how_mixed import train_arm
from synaug.chapters.mode_concentration import compared, judged
from synaug.chapters.tasks import Trainings, at_strength, check_weights, joined, learning, network, part, scored, splits, trained
from synaug.classifiers import build_classifier
from synaug.classifiers.architectures import ARCHITECTURES
from synaug.data import ImageDataset, content_hash
from synaug.generators import Diffusion, load_generator
from synaug.generators.training import trained_on
from synaug.metrics import FRESH_REAL
from synaug.metrics.comparison import least_per_class
from synaug.metrics.encoders import BUILDERS, encode
from synaug.run import Experiment, Task, param
from synaug.statistics import bootstrap_interval
from synaug.statistics.contrasts import select

STUDIES = ("samples", "adding")
LATENT = ("vae", "gan")
#: The VAE whose images have the noise of its decoder, lest blur be taken for concentration.
NOISY = "vae, with noise"
#: What is asked of the nearest reconstruction, strength 0: the images that the generator has seen, others, and the tenth
#: of these that is furthest from its neighbours.
NEIGHBOUR = 5
SEEN, UNSEEN, OUTER = INVERTED = ("seen", "unseen", "outer")


@dataclass(frozen=True, kw_only=True)
class Families(Trainings):
    studies: tuple[str, ...] = param("what is measured: samples, and what they are worth added to real images", STUDIES, each=True, options=STUDIES)
    generator: str = param("name or folder of a trained diffusion model; the others' are this, then _vae or _gan", "fashion_mnist")
    few: str = param("one that was trained on few images, to which synthetic ones are added; likewise", "fashion_mnist_2000")
    families: tuple[str, ...] = param("which others", LATENT, each=True, options=LATENT)
    strengths: tuple[float, ...] = param("of reconstructions, 0 the nearest to the last, 1: images from noise", each=True, at_least=0, at_most=1)
    places: tuple[float, ...] = param(
        "where families are compared: between the least, 0, and the largest, 1, of the distances from the source that all of them reach",
        (0.1, 0.5, 0.9),
        each=True,
        at_least=0,
        at_most=1,
    )
    n_images: int = param("training images that are reconstructed, and classifiers trained on", at_least=10)
    n_compare: int = param("of those, how many go into distances, precision and recall", at_least=20)
    n_inverted: int = param("images of each kind of which the nearest reconstruction is asked", at_least=10)
    n_few: int | None = param("real images to which others are added; None: all of those of few", at_least=10, optional=True)
    ratios: tuple[int, ...] = param("synthetic images added for each real one", (1, 3), each=True, at_least=1, at_most=20)
    encoder: str = param("features that distances are taken in", "efficientnet_lite0", options=("pixels", *BUILDERS))
    k: int = param("neighbours in precision, recall, density, coverage", 5, at_least=1)
    n_bootstrap: int = param("resamples behind intervals", 1000, at_least=1)
    architecture: str = param("the network", "vgg5", options=tuple(ARCHITECTURES))
    width: int | None = param("channels of its first stage; None: the usual", optional=True, at_least=4)

    def check(self):
        if list(self.strengths) != sorted(self.strengths) or self.strengths[-1:] != (1.0,):
            raise ValueError(f"strengths must increase to 1, images from noise, got {self.strengths}")
        for base in (self.generator, self.few):
            if not isinstance(load_generator(base), Diffusion):
                raise ValueError(f"generator and few must be diffusion models, got {base}")
            for family in self.families:
                check_family(base, family)
        found, few = splits(self.generator), splits(self.few)
        shape, classes = found["real"].image_shape, found["real"].num_classes
        build_classifier(self.architecture, shape, classes, seed=0, width=self.width)
        least = max(self.k + 1, classes * least_per_class())
        self.within(n_images=(least, len(found["real"])), n_compare=(least, min(self.n_images, len(found["fresh"]))))
        wanted = max(self.ratios, default=0) * (self.n_few or len(few["real"]))
        if (self.n_few or 0) > len(few["real"]) or "adding" in self.studies and wanted > len(few["fresh"]):
            raise ValueError(
                f"n_few must be at most {len(few['real'])}, and the largest of ratios times it at most "
                f"{len(few['fresh'])}, the fresh real images, got {self.n_few} and {self.ratios}"
            )


PROFILES = {
    "smoke": dict(
        strengths=(0.8, 1.0),
        n_images=150,
        n_compare=150,
        n_inverted=20,
        n_few=40,
        encoder="pixels",
        n_bootstrap=20,
        sampling_steps=2,
        steps=2,
        n_evaluate=50,
        seeds=2,
    ),
    "quick": dict(
        strengths=(1.0,),
        n_images=150,
        n_compare=150,
        n_inverted=20,
        n_few=60,
        ratios=(1,),
        encoder="pixels",
        n_bootstrap=50,
        sampling_steps=2,
        steps=4,
        n_evaluate=200,
        seeds=2,
    ),
    "standard": dict(strengths=(0.0, 0.2, 0.5, 0.8, 1.0), n_images=10_000, n_compare=5000, n_inverted=500, steps=800, first_seed=900, seeds=10),
}


def of_family(generator: str, family: str) -> str:
    """The name or folder of a generator of a family beside a diffusion model."""
    return f"{generator}_{family}" if family in LATENT else generator


def check_family(generator: str, family: str) -> None:
    """ValueError unless beside a diffusion model there is a generator of a family that has seen the same images."""
    name = of_family(generator, family)
    if getattr(load_generator(name), "family", None) != family or seen_by(name) != seen_by(generator):
        raise ValueError(f"{name} must be a {family} that was trained on the images of {generator}, and is not")


@cache
def seen_by(generator: str) -> str:
    """The hash of the images that a saved generator was trained on."""
    return content_hash(trained_on(generator)[1])


def model_of(s: Families, family: str, few: bool = False) -> dict:
    """Parameters of what runs a generator."""
    return {**network(s, of_family(s.few if few else s.generator, family)), "steps": s.sampling_steps}


def made(s: Families, family: str, strength: float, sources: Task, seed: int = 0, few: bool = False) -> Task:
    own = model_of(s, "vae" if family == NOISY else family, few)
    return Task(at_strength, {**own, "strength": strength, "seed": seed, "noise": family == NOISY}, (sources,))


def added(s: Families, source: str, ratio: int) -> Task:
    """So many images for each of few real ones."""
    n = s.n_few or len(splits(s.few)["real"])
    if source == FRESH_REAL:
        return part(s.few, "fresh", ratio * n)
    return Task(joined, {}, tuple(made(s, source, 1.0, part(s.few, "real", s.n_few), seed=i, few=True) for i in range(ratio)))


def rows(s: Families) -> Iterator[tuple[dict, Task]]:
    """By family (arm) and strength (x): what is measured of the samples, and what classifiers learn from them, by seed;
    role "inversion": the nearest reconstructions; role "departure": of a VAE from its prior, x its training images; role
    "adding": test errors, x the ratio. `finish` adds role "matched"."""
    dataset, families = splits(s.generator)["real"].name, ("diffusion", *s.families)
    seeds = s.each_seed
    if "samples" in s.studies:
        yield from sample_rows(s, dataset, families, seeds)
    if "adding" not in s.studies:
        return
    n = s.n_few or len(splits(s.few)["real"])
    for seed in seeds:
        for source, ratio in (("original", 0), *product((*families, FRESH_REAL), s.ratios)):
            needs = part(s.few, "real", s.n_few), part(s.few, "test", s.n_evaluate)
            options = {"n_real": n, "added": ratio * n, "width": s.width, **learning(s), "seed": seed}
            yield (
                {"dataset": dataset, "arm": source, "seed": seed, "x": float(ratio), "role": "adding"},
                Task(train_arm, options, (*needs, added(s, source, ratio)) if ratio else needs),
            )


def sample_rows(s: Families, dataset: str, families: tuple[str, ...], seeds: range) -> Iterator[tuple[dict, Task]]:
    sources, fresh, test = (part(s.generator, name, n) for name, n in (("real", s.n_images), ("fresh", s.n_images), ("test", s.n_evaluate)))
    judge = Task(trained, {**learning(s), "seed": s.first_seed}, (sources,))
    measure = {"encoder": s.encoder, "n_bootstrap": s.n_bootstrap, "device": s.device}
    pools = {("original", 0.0): sources} | {(f, x): made(s, f, x, sources) for f, x in product(families, s.strengths)}
    if 0.0 in s.strengths:
        pools["diffusion", 0.0] = sources  # the nearest that it can make is the image itself
    if "vae" in families:
        pools[NOISY, 1.0] = made(s, NOISY, 1.0, sources)
        for few, of in ((False, s.generator), (True, s.few)):
            own = {name: model_of(s, "vae", few)[name] for name in ("generator", "weights")}
            yield ({"dataset": dataset, "arm": "vae", "x": float(len(splits(of)["real"])), "role": "departure", "seed": 0}, Task(departure, own))
    for (family, strength), pool in pools.items():
        at = {"dataset": dataset, "arm": family, "x": strength, "role": "strength"}
        for seed in seeds:
            yield {**at, "seed": seed}, Task(scored, {"device": s.device}, (Task(trained, {**learning(s), "seed": seed}, (pool,)), test))
        yield {**at, "seed": 0}, Task(compared, {**measure, "n": s.n_compare, "k": s.k}, (fresh, pool, fresh))
        yield {**at, "seed": 0}, Task(judged, {name: measure[name] for name in ("n_bootstrap", "device")}, (judge, pool))
        yield {**at, "seed": 0}, Task(moved, {**measure, "n": s.n_compare}, (sources, pool))
    for family, which in product(families, INVERTED):
        wanted = part(s.generator, "real" if which == SEEN else "fresh", s.n_images)
        images = Task(asked, {"which": which, "n": s.n_inverted, "encoder": s.encoder, "device": s.device}, (wanted,))
        yield (
            {"dataset": dataset, "arm": family, "x": 0.0, "role": "inversion", "which": which, "seed": 0},
            Task(inversion, {"n_bootstrap": s.n_bootstrap}, (images, made(s, family, 0.0, images))),
        )


def finish(frame: pd.DataFrame, s: Families) -> pd.DataFrame:
    """Adds each metric read off at the places, between the two nearest strengths: role "matched", x the place."""
    rows = select(frame, role="strength", arm=["diffusion", *s.families])
    distances = select(rows, metric="moved").pivot(index="x", columns="arm", values="value")
    least, most = distances.min().max(), distances.max().min()
    if not least < most:
        return frame
    more = []
    for (family, metric, seed), own in rows.groupby(["arm", "metric", "seed"]):
        at = distances[family].reindex(own["x"]).to_numpy()
        order = np.argsort(at)
        for place in s.places:
            wanted = least + place * (most - least)
            more.append(
                {
                    "dataset": own["dataset"].iloc[0],
                    "arm": family,
                    "metric": metric,
                    "seed": seed,
                    "x": place,
                    "role": "matched",
                    **{name: np.interp(wanted, at[order], own[name].to_numpy()[order]) for name in ("value", "low", "high") if name in own},
                }
            )
    return pd.concat([frame, pd.DataFrame(more)], ignore_index=True)


EXPERIMENT = Experiment("families", Families, PROFILES, rows, finish, constants={"swept": "strength"})


# The library calls.


def departure(generator: str, weights: str) -> pd.DataFrame:
    """How far a VAE's latent vectors are from its prior, in nats: mean over classes, the least and the largest."""
    nats = check_weights(generator, weights).departure()
    return pd.DataFrame([{"metric": "departure", "value": nats.mean().item(), "low": nats.min().item(), "high": nats.max().item()}])


def moved(sources: ImageDataset, pool: ImageDataset, encoder: str, n: int, n_bootstrap: int, device: str) -> pd.DataFrame:
    """How far images are from their sources in features, over the mean distance between two sources of a class."""
    sources, pool = sources.subset(range(n)), pool.subset(range(n))
    own, other = (encode(images.floats(), encoder, device=device).double() for images in (sources, pool))
    between = []
    for label in sources.labels.unique():
        features = own[sources.labels == label]
        between.append((features - features.roll(1, 0)).norm(dim=1))
    relative = (other - own).norm(dim=1) / torch.cat(between).mean()
    return pd.DataFrame([{"metric": "moved", **bootstrap_interval(relative, n_bootstrap=n_bootstrap).columns}])


def asked(images: ImageDataset, which: str, n: int, encoder: str, device: str) -> ImageDataset:
    """n images, or of the tenth that is furthest from its fifth neighbour as many as there are."""
    if which != OUTER:
        return images.subset(range(min(n, len(images))))
    features = encode(images.floats(), encoder, device=device).numpy()
    distance = NearestNeighbors(n_neighbors=NEIGHBOUR + 1).fit(features).kneighbors(features)[0][:, -1]
    return images.subset(np.argsort(-distance)[: min(n, len(images) // 10)])


def inversion(images: ImageDataset, made: ImageDataset, n_bootstrap: int) -> pd.DataFrame:
    """Root mean square difference, in a range of -1 to 1, between images and their nearest reconstruction."""
    difference = (made.floats() - images.floats()).flatten(1).square().mean(1).sqrt()
    error = bootstrap_interval(difference, n_bootstrap=n_bootstrap)
    return pd.DataFrame([{"metric": "inversion_error", **error.columns}])
