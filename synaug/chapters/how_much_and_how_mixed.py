"""Chapter 5: how many synthetic images a real one is worth, in which share and order they are mixed, for which network."""

from dataclasses import dataclass, replace
from pathlib import Path

import torch

from synaug.augmentation import TrainingSet, mixture, original, with_synthetic
from synaug.augmentation.mixed_batches import ORDERS
from synaug.chapters.tasks import Trainings, error, learning, network, part, pool_images, splits, train
from synaug.classifiers import build_classifier
from synaug.classifiers.architectures import ARCHITECTURES
from synaug.data import ImageDataset, stratified_subset
from synaug.diffusion.schedules import SIGMA_MAX
from synaug.run import Experiment, Task, param

STUDIES = ("exchange", "ratio", "order", "scaling")
#: Of pools: no image of theirs was made for an earlier chapter.
POOL_SEED = 5


@dataclass(frozen=True, kw_only=True)
class Mixing(Trainings):
    studies: tuple[str, ...] = param("what is compared", STUDIES, each=True, options=STUDIES)
    generator: str = param("name or folder of a trained generator; its training images are the real images")
    oracle: str | None = param("one that was trained on more images, these among them", optional=True)
    sources: int | None = param("training images that pools are made for; None: all", at_least=1, optional=True)
    n_real: int = param("real images of a training set, drawn for each seed from the generator's", at_least=10)
    other_n_real: tuple[int, ...] = param("others; of more than the generator's, those of the oracle", (), each=True, at_least=10)
    added: tuple[int, ...] = param("images from noise that are added", each=True, at_least=10)
    fresh: tuple[int, ...] = param("fresh real images that are added: the ruler", each=True, at_least=10)
    compared: int = param("images at which sources are compared; among added and fresh", at_least=10)
    distinct: int = param("how many of these are distinct where images are repeated", at_least=10)
    sigma: float = param("noise level from which real images are reconstructed", 1.0, at_least=0.01, at_most=SIGMA_MAX)
    pool: int = param("images from noise, and fresh ones, of which a share of each batch is drawn", 6000, at_least=10)
    shares: tuple[float, ...] = param("shares of a batch", (0.25, 0.5, 0.75, 0.9), each=True, at_least=0.01, at_most=1)
    replaced: tuple[float, ...] = param("shares at a fixed total, that of n_real", (0.5, 0.9), each=True, at_least=0.01, at_most=1)
    order_share: float = param("mean share in all orders", 0.5, at_least=0.01, at_most=0.99)
    widths: tuple[int, ...] = param("further widths of the network", (), each=True, at_least=4)
    width: int = param("channels of the network's first stage", 16, at_least=4)
    architecture: str = param("the network", "resnet8", options=tuple(n for n, a in ARCHITECTURES.items() if a.width))
    few_seeds: int = param("those of the arms of other_n_real", at_least=2, at_most=1000)

    def check(self):
        for name, values in (("added", self.added), ("fresh", self.fresh)):
            if list(values) != sorted(values) or self.compared not in values:
                raise ValueError(f"{name} must be increasing and hold compared = {self.compared}, got {values}")
        if self.distinct > self.compared:
            raise ValueError(f"distinct must be at most compared = {self.compared}, got {self.distinct}")
        for n in (self.n_real, *self.other_n_real):
            name = self.generator if n == self.n_real else self.generator_of(n)
            of = splits(name)
            if not of["real"].num_classes <= n <= len(of["real"]):
                raise ValueError(
                    f"{name} has seen {len(of['real']):,} images; n_real (and other_n_real, of the oracle) must "
                    f"be from {of['real'].num_classes}, one per class, to that, got {n:,}"
                )
            needed = max(*self.fresh, self.pool if n == self.n_real and "order" in self.studies else 0)
            if needed > len(of["fresh"]):
                raise ValueError(f"fresh and pool ask for {needed:,} fresh images, {name} leaves {len(of['fresh']):,}")
        for width in (self.width, *self.widths):
            build_classifier(self.architecture, of["real"].image_shape, of["real"].num_classes, seed=0, width=width)
        if self.oracle is not None:
            if (missing := ~torch.isin(*(splits(name)["real"].source_index for name in (self.generator, self.oracle)))).any():
                raise ValueError(f"the oracle {self.oracle} has not seen {int(missing.sum())} of {self.generator}'s images; give another, or 'none'")

    def generator_of(self, n_real: int) -> str:
        """The generator whose training images so many real ones are drawn from."""
        return self.generator if self.oracle is None or n_real <= len(splits(self.generator)["real"]) else self.oracle


SMALL = {"generator": "fashion_mnist_2000", "oracle": "fashion_mnist"}

PROFILES = {
    "smoke": dict(
        **SMALL,
        sources=40,
        n_real=40,
        other_n_real=(20,),
        added=(20, 40),
        fresh=(20, 40),
        compared=40,
        distinct=10,
        pool=60,
        shares=(0.5,),
        replaced=(0.5,),
        widths=(8,),
        width=4,
        steps=2,
        sampling_steps=1,
        n_evaluate=50,
        seeds=2,
        few_seeds=2,
    ),
    "quick": dict(
        **SMALL,
        sources=100,
        n_real=100,
        added=(100, 200),
        fresh=(50, 200),
        compared=200,
        distinct=20,
        pool=100,
        shares=(0.5,),
        replaced=(0.5,),
        widths=(4,),
        width=8,
        steps=5,
        sampling_steps=2,
        n_evaluate=300,
        seeds=2,
        few_seeds=2,
    ),
    "standard": dict(
        **SMALL,
        n_real=2000,
        other_n_real=(500, 1000, 5000),
        added=(1000, 3000, 9000),
        fresh=(300, 1000, 3000),
        compared=3000,
        distinct=300,
        widths=(8, 24),
        steps=800,
        first_seed=100,
        seeds=10,
        few_seeds=3,
    ),
    "paper": dict(
        generator="cifar10",
        n_real=40_000,
        added=(6000, 20_000, 60_000),
        fresh=(1000, 3000, 6000),
        compared=6000,
        distinct=600,
        widths=(32, 96),
        width=64,
        architecture="resnet9",
        recipe="fast",
        steps=781,
        first_seed=100,
        seeds=10,
        few_seeds=5,
    ),
}


@dataclass(frozen=True)
class Arm:
    """One training set and how it is seen. added: images of the source. mixing: "shuffled" into the real ones,
    "repeated" (few distinct ones), "replaced" (in the place of real ones), or one of `ORDERS`, with the share."""

    n_real: int
    width: int
    source: str = "original"  # or "fresh", "from noise", "reconstruction", "oracle"
    added: int = 0
    mixing: str = "shuffled"
    share: float = 0.0


def arms(study: str, s: Mixing) -> list[Arm]:
    """The arms of a study, with what they are compared with."""
    base = Arm(s.n_real, s.width)
    if study == "exchange":
        sources = [("fresh", s.fresh), ("from noise", s.added), ("reconstruction", [s.compared]), ("oracle", [s.compared] * bool(s.oracle))]
        found = [
            base,
            *(replace(base, source=name, added=n) for name, numbers in sources for n in numbers),
            replace(base, source="from noise", added=s.compared, mixing="repeated"),
        ]
        return found + [
            replace(base, n_real=n_real, source=name, added=n)
            for n_real in s.other_n_real
            for name, n in (("original", 0), *(("fresh", n) for n in s.fresh[1:]), ("from noise", s.compared))
        ]
    if study == "ratio":
        return [
            base,
            *(replace(base, source="from noise", added=s.pool, mixing="mixed", share=q) for q in s.shares),
            *(replace(base, source="from noise", added=round(q * s.n_real), mixing="replaced", share=q) for q in s.replaced),
        ]
    if study == "order":
        return [base, *(replace(base, source=name, added=s.pool, mixing=order, share=s.order_share) for name in ("from noise", "fresh") for order in ORDERS)]
    return [
        replace(base, source=name, added=n, width=width)
        for width in (s.width, *s.widths)
        for name, n in (("original", 0), ("from noise", s.added[0]), ("from noise", s.added[-1]), ("fresh", s.fresh[-1]))
    ]


def trainings(s: Mixing) -> list[tuple[Arm, int]]:
    """Each arm and seed, once, seed by seed, so that a run that was cut has whole pairs."""
    found = dict.fromkeys(arm for study in s.studies for arm in arms(study, s))
    return [(arm, s.first_seed + i) for i in range(max(s.seeds, s.few_seeds)) for arm in found if i < (s.seeds if arm.n_real == s.n_real else s.few_seeds)]


def images(s: Mixing, n_real: int, name: str) -> Task:
    return part(s.generator_of(n_real), name, s.n_evaluate if name == "test" else None)


def pool(s: Mixing, source: str, n_real: int) -> Task:
    """Synthetic images of the classes of the real ones, as many as any arm needs of the source."""
    generator = s.oracle if source == "oracle" else s.generator_of(n_real)
    asked, n = images(s, s.n_real, "real"), len(splits(s.generator)["real"])
    if s.sources is not None and s.sources < n:
        asked, n = Task(stratified_subset, {"n": s.sources, "seed": 0}, (asked,)), s.sources
    closed = source == "from noise" and generator == s.generator
    most = max(*s.added, s.pool, s.n_real) if closed else s.compared
    return Task(
        pool_images,
        {
            **network(s, generator),
            "sigmas": [s.sigma] if source == "reconstruction" else None,
            "steps": s.sampling_steps // (2 if source == "reconstruction" else 1) or 1,
            "k": 1 - -most // n,
            "seed": POOL_SEED,
        },
        (asked,),
    )


def training(s: Mixing, arm: Arm, seed: int) -> Task:
    needs = images(s, arm.n_real, "real"), images(s, arm.n_real, "test")
    if arm.added:
        needs += (images(s, arm.n_real, "fresh") if arm.source == "fresh" else pool(s, arm.source, arm.n_real),)
    distinct = s.distinct if arm.mixing == "repeated" else arm.added
    return Task(
        train_arm,
        {
            "n_real": arm.n_real,
            "added": arm.added,
            "distinct": distinct,
            "mixing": arm.mixing,
            "share": arm.share,
            "width": arm.width,
            **learning(s),
            "seed": seed,
        },
        needs,
    )


def rows(s: Mixing):
    """Every training; x is the number of images added."""
    for arm, seed in trainings(s):
        seen = arm.share or arm.added / (arm.n_real + arm.added)
        yield (
            {
                "dataset": splits(s.generator)["test"].name,
                "arm": arm.source,
                "seed": seed,
                "x": float(arm.added),
                "mixing": arm.mixing,
                "share": seen,
                "n_real": arm.n_real,
                "width": arm.width,
            },
            training(s, arm, seed),
        )


EXPERIMENT = Experiment("how_much_and_how_mixed", Mixing, PROFILES, rows, constants={"swept": "images added"})


def training_set(
    real: ImageDataset,
    others: ImageDataset | None,
    *,
    n_real: int,
    added: int,
    distinct: int | None = None,
    mixing: str = "shuffled",
    share: float = 0.0,
    seed: int,
) -> TrainingSet:
    """What an arm is trained on: a seed draws its real images, and those that are added or replace some. distinct: of those
    added, which come several times, how many; None: all."""
    real = stratified_subset(real, n_real, seed) if n_real < len(real) else real
    if others is None:
        return original(real)
    if mixing == "replaced":
        return mixture(real, stratified_subset(others, n_real, seed), synthetic_share=share, seed=seed)
    drawn = stratified_subset(others, distinct or added, seed)
    if mixing in ORDERS:
        return with_synthetic(real, drawn, order=mixing, share=share)
    return with_synthetic(real, drawn.subset(torch.arange(added) % len(drawn)))


def train_arm(
    real: ImageDataset,
    test: ImageDataset,
    others: ImageDataset | None = None,
    *,
    architecture: str,
    width: int | None = None,
    steps: int,
    recipe: str,
    seed: int,
    device: str,
    checkpoint: Path | None = None,
    **how,
) -> dict:
    """Test error (%) of one classifier. how: of `training_set`."""
    own = training_set(real, others, seed=seed, **how)
    model, _ = train(own, architecture, width=width, steps=steps, recipe=recipe, seed=seed, device=device, checkpoint=checkpoint)
    return {"test_error": error(model, test)}
