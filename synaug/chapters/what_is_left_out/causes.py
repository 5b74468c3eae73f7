"""Why training on synthetic images is worse: their density, what a network learns from them, the loss landscape."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace

import numpy as np
import pandas as pd
import torch
from torch.nn import functional as F
from torchvision.transforms.v2.functional import gaussian_blur

from synaug.chapters.tasks import Trained, Trainings, error, generated, joined, network, part, splits, trained
from synaug.classifiers import accuracy, build_classifier, predict
from synaug.classifiers.architectures import ARCHITECTURES
from synaug.classifiers.landscape import loss_barrier, sharpness
from synaug.classifiers.last_layer import refit_last_layer
from synaug.data import ImageDataset, stratified_subset
from synaug.metrics import density_ratio_weights, effective_sample_size, two_sample_auc
from synaug.metrics.encoders import BUILDERS, encode
from synaug.run import Experiment, Task, param
from synaug.statistics import pseudo_values
from synaug.statistics.contrasts import select
from synaug.statistics.prediction import rank_correlation

STUDIES = ("mismatch", "bias", "landscape")
#: Of the pool: no image of it was made for an earlier chapter. Of the judge's training.
POOL_SEED, JUDGE_SEED = 6, 0


@dataclass(frozen=True, kw_only=True)
class Causes(Trainings):
    studies: tuple[str, ...] = param("what is compared", STUDIES, each=True, options=STUDIES)
    generator: str = param("name or folder of a trained generator; its training images are the real images")
    n_real: int = param("images of every training set", at_least=10)
    pool: int = param("images from noise, of which training sets are drawn", at_least=10)
    fresh: int = param("fresh real images that are resampled to the synthetic density", at_least=10)
    encoder: str = param("features that density ratios are estimated in", "efficientnet_lite0", options=("pixels", *BUILDERS))
    components: int = param("principal components of these", 64, at_least=1)
    smaller: tuple[int, ...] = param("smaller sets of real images, between which equal accuracy is sought", each=True, at_least=10)
    architectures: tuple[str, ...] = param(
        "networks; the first is that of all studies", ("resnet8", "vgg5", "vit_tiny"), each=True, options=tuple(ARCHITECTURES)
    )
    added: int = param("images added to the real ones where the landscape is looked at", at_least=10)
    shorter: tuple[int, ...] = param("shorter trainings on real images, between which equal loss is sought", each=True, at_least=1)
    n_changed: int = param("test images that are filtered, blurred and so on", at_least=10)
    n_sharpness: int = param("real training images on which the landscape is measured", at_least=10)
    probes: int = param("random directions of the landscape", 5, at_least=1)

    def check(self):
        of, added = splits(self.generator), min(self.pool, self.fresh)
        classes = of["real"].num_classes
        self.within(
            "one per class to all",
            n_real=(classes, min(len(of["real"]), added)),
            fresh=(classes, len(of["fresh"])),
            added=(classes, added),
            n_sharpness=(classes, self.n_real),
        )
        if max(self.smaller) >= self.n_real or min(self.smaller) < of["real"].num_classes:
            raise ValueError(f"smaller must be numbers from {of['real'].num_classes} to below n_real = {self.n_real}, got {self.smaller}")
        if max(self.shorter) >= self.steps:
            raise ValueError(f"shorter must be numbers of steps below steps = {self.steps}, got {self.shorter}")
        for name in self.architectures:
            build_classifier(name, of["real"].image_shape, of["real"].num_classes, seed=0)


PROFILES = {
    "smoke": dict(
        generator="fashion_mnist_2000",
        n_real=20,
        pool=30,
        fresh=30,
        encoder="pixels",
        components=4,
        smaller=(10,),
        architectures=("vgg5", "resnet8"),
        added=20,
        shorter=(1,),
        steps=2,
        sampling_steps=1,
        n_evaluate=40,
        n_changed=20,
        n_sharpness=10,
        probes=1,
        seeds=2,
    ),
    "quick": dict(
        generator="fashion_mnist_2000",
        n_real=100,
        pool=200,
        fresh=500,
        components=16,
        smaller=(50,),
        architectures=("vgg5", "resnet8"),
        added=100,
        shorter=(3,),
        steps=5,
        sampling_steps=3,
        n_evaluate=200,
        n_changed=50,
        n_sharpness=10,
        probes=1,
        seeds=2,
    ),
    "standard": dict(
        generator="fashion_mnist_2000",
        n_real=2000,
        pool=12_000,
        fresh=10_000,
        smaller=(500, 1000),
        added=3000,
        shorter=(200, 400),
        steps=800,
        n_evaluate=5000,
        n_changed=2000,
        n_sharpness=500,
        first_seed=300,
        seeds=10,
    ),
    "paper": dict(
        generator="cifar10",
        n_real=5000,
        pool=30_000,
        fresh=6000,
        smaller=(1250, 2500),
        architectures=("resnet9", "vgg19", "vit_small"),
        added=5000,
        shorter=(200, 400),
        recipe="one_cycle",
        steps=800,
        n_changed=10_000,
        n_sharpness=500,
        first_seed=300,
        seeds=10,
    ),
}


@dataclass(frozen=True)
class Arm:
    """A training: on n images of a source (see `training_images`), for how many steps, by which optimiser."""

    source: str
    n: int
    architecture: str
    steps: int
    optimizer: str = "sgd"


def arms(study: str, s: Causes) -> list[Arm]:
    base = Arm("original", s.n_real, s.architectures[0], s.steps)
    if study == "mismatch":
        return [replace(base, source=source) for source in ("original", "synthetic", "concentrated", "control", "spread", "as many distinct")]
    if study == "bias":
        return [
            replace(arm, architecture=name)
            for name in s.architectures
            for arm in (base, replace(base, source="synthetic"), *(replace(base, n=n) for n in s.smaller))
        ]
    return [
        base,
        replace(base, source="added"),
        replace(base, source="fresh added"),
        *(replace(base, steps=n) for n in s.shorter),
        replace(base, optimizer="sam"),
        replace(base, source="added", optimizer="sam"),
    ]


def pool(s: Causes) -> Task:
    """Images from noise, as many of each class as of fresh real images."""
    labels = Task(repeated, {"n": s.pool}, (part(s.generator, "real"),))
    return Task(generated, {**network(s), "steps": s.sampling_steps, "seed": POOL_SEED}, (labels,))


def weights(s: Causes) -> Task:
    return Task(ratios, {"encoder": s.encoder, "components": s.components, "device": s.device}, (part(s.generator, "fresh", s.fresh), pool(s)))


def training_images(s: Causes, source: str, n: int, seed: int) -> Task:
    """original, synthetic: drawn at random. concentrated: fresh real images resampled to the synthetic density; control:
    resampled from as few, at random, as these weights are worth; as many distinct: from as many as the concentrated set holds;
    spread: synthetic images resampled to the real density.
    added, fresh added: the original with others."""
    own, fresh, how = part(s.generator, "real"), part(s.generator, "fresh", s.fresh), {"n": n, "seed": seed}
    if source == "as many distinct":
        return Task(as_many_distinct, {"seed": seed}, (fresh, training_images(s, "concentrated", n, seed)))
    if source in ("concentrated", "control", "spread"):
        return Task(resampled, {**how, "arm": source}, (pool(s) if source == "spread" else fresh, weights(s)))
    if source in ("original", "synthetic"):
        return Task(stratified_subset, how, (own if source == "original" else pool(s),))
    others = Task(stratified_subset, {"n": s.added, "seed": seed}, (pool(s) if source == "added" else fresh,))
    return Task(joined, {}, (Task(stratified_subset, how, (own,)), others))


def training(s: Causes, arm: Arm, seed: int) -> Task:
    how = {"architecture": arm.architecture, "steps": arm.steps, "optimizer": arm.optimizer, "recipe": s.recipe, "device": s.device}
    return Task(trained, {**how, "seed": seed}, (training_images(s, arm.source, arm.n, seed),))


def rows(s: Causes):
    """Every training, seed by seed, and what its study measures; x is the number of images of the source."""
    test, changed, device = part(s.generator, "test", s.n_evaluate), part(s.generator, "test", s.n_changed), {"device": s.device}
    judge = Task(
        trained,
        {"architecture": s.architectures[0], "steps": s.steps, "recipe": s.recipe, "seed": JUDGE_SEED, "device": s.device},
        (part(s.generator, "validation"),),
    )
    if "bias" in s.studies:
        spectrum = Task(power, {}, (changed, Task(stratified_subset, {"n": s.n_real, "seed": 0}, (pool(s),))))
        yield {"study": "bias", "dataset": splits(s.generator)["test"].name, "seed": 0}, spectrum
    if "mismatch" in s.studies:
        yield {"study": "mismatch", "dataset": splits(s.generator)["test"].name, "seed": 0, "x": 0.0, "arm": "fresh"}, Task(sizes, {}, (weights(s),))
    for seed in s.each_seed:
        for study in s.studies:
            for arm in arms(study, s):
                columns = {
                    "study": study,
                    "dataset": splits(s.generator)["test"].name,
                    "seed": seed,
                    "arm": arm.source,
                    "x": float(arm.n),
                    **{k: v for k, v in asdict(arm).items() if k in ("architecture", "steps", "optimizer")},
                }
                model, own = training(s, arm, seed), Task(stratified_subset, {"n": s.n_real, "seed": seed}, (part(s.generator, "real"),))
                yield columns, Task(tested, device, (model, test))
                if study == "mismatch":
                    yield columns, Task(auc, {**device, "seed": seed}, (judge, changed, training_images(s, arm.source, arm.n, seed)))
                elif study == "bias":
                    fresh = Task(stratified_subset, {"n": s.n_real, "seed": seed}, (part(s.generator, "fresh", s.fresh),))
                    yield columns, Task(refitted, device, (model, own, fresh, test))
                    yield columns, Task(changed_errors, {**device, "seed": seed}, (model, changed))
                else:
                    base = training(s, arms("landscape", s)[0], seed)
                    yield columns, Task(landscape, {"n": s.n_sharpness, "probes": s.probes, "seed": seed}, (model, base, own))


# The library calls.


def repeated(images: ImageDataset, n: int) -> ImageDataset:
    return images.subset(torch.arange(n) % len(images))


def ratios(fresh: ImageDataset, made: ImageDataset, encoder: str, components: int, device: str) -> dict:
    """{"real": weights of fresh images that give them the synthetic density, "synthetic": the reverse}, as far as a classifier
    sees it that is linear in the leading principal components of the real features and their squares: means and spreads."""
    real, fake = (encode(images.floats(), encoder, device=device).double() for images in (fresh, made))
    values, vectors = torch.linalg.eigh(torch.cov(real.T))
    centre, leading = real.mean(0), vectors[:, -components:] / values[-components:].clamp(min=1e-12).sqrt()
    real, fake = (torch.cat([z, z**2], 1) for z in ((features - centre) @ leading for features in (real, fake)))
    return {"real": density_ratio_weights(real, fake), "synthetic": density_ratio_weights(fake, real)}


def sizes(found: dict) -> dict:
    """How many images the weights are worth."""
    return {f"effective_{name}": effective_sample_size(values) for name, values in found.items()}


def resampled(images: ImageDataset, found: dict, arm: str, n: int, seed: int) -> ImageDataset:
    """n images drawn with replacement, of each class as many, by weights; "control": with equal ones, from as few."""
    weights, rng, places = found["synthetic" if arm == "spread" else "real"], np.random.default_rng(seed), []
    for i, label in enumerate(range(images.num_classes)):
        own = (images.labels == label).nonzero().flatten().numpy()
        p = weights[own].numpy()
        if arm == "control":
            own = rng.choice(own, max(1, round(effective_sample_size(weights[own]))), replace=False)
            p = np.ones(len(own))
        count = n // images.num_classes + (i < n % images.num_classes)
        places.append(rng.choice(own, count, p=p / p.sum()))
    return images.subset(torch.from_numpy(np.concatenate(places)))


def as_many_distinct(images: ImageDataset, other: ImageDataset, seed: int) -> ImageDataset:
    """As many images of each class as another set has, at random, with as many different ones among them, in turn."""
    rng, places = np.random.default_rng(seed), []
    for label in range(images.num_classes):
        own, held = (images.labels == label).nonzero().flatten().numpy(), other.source_index[other.labels == label]
        places.append(np.resize(rng.choice(own, len(held.unique()), replace=False), len(held)))
    return images.subset(torch.from_numpy(np.concatenate(places)))


def tested(classifier: Trained, test: ImageDataset, device: str) -> dict:
    return {"test_error": error(classifier.model(device), test)}


def auc(judge: Trained, real: ImageDataset, images: ImageDataset, seed: int, device: str) -> dict:
    """How well images are told from real test images by the features of a classifier that had no part in the resampling."""
    a, b = (encode(part.floats(), judge.model(device), device=device) for part in (real, images))
    return {"auc": two_sample_auc(a, b, seed, classes=(real.labels.numpy(), images.labels.numpy())).estimate}


def refitted(classifier: Trained, own: ImageDataset, fresh: ImageDataset, test: ImageDataset, device: str) -> pd.DataFrame:
    """Test error (%) once the last layer is fitted to the real training images, or to fresh real ones."""
    model = classifier.model(device)
    return pd.DataFrame(
        [
            {"metric": "refit_error", "refit": name, "value": error(refit_last_layer(model, images.images, images.labels), test)}
            for name, images in (("real", own), ("fresh", fresh))
        ]
    )


def _frequencies(images: torch.Tensor) -> torch.Tensor:
    """Cycles per pixel of each place of the two-dimensional spectrum of images."""
    v, u = (torch.fft.fftfreq(side) for side in images.shape[-2:])
    return (v[:, None] ** 2 + u**2).sqrt()


def _passed(images: torch.Tensor, keep: torch.Tensor) -> torch.Tensor:
    return torch.fft.ifft2(torch.fft.fft2(images) * keep).real


def _shuffled(images: torch.Tensor, generator: torch.Generator, pieces: int = 4) -> torch.Tensor:
    """Each image's patches, ``pieces`` along a side, in random order; what does not divide stays where it is."""
    h, w = (side // pieces for side in images.shape[-2:])
    patches = F.unfold(images[..., : h * pieces, : w * pieces], (h, w), stride=(h, w))
    order = torch.rand(len(images), pieces**2, generator=generator).argsort(1)[:, None]
    moved = patches.gather(2, order.expand_as(patches))
    images = images.clone()
    images[..., : h * pieces, : w * pieces] = F.fold(moved, (h * pieces, w * pieces), (h, w), stride=(h, w))
    return images


#: Cycles per pixel at which low and high frequencies are parted.
CUT = 0.15
CHANGES: dict[str, Callable[[torch.Tensor, torch.Generator], torch.Tensor]] = {
    "none": lambda x, generator: x,
    "low-pass": lambda x, generator: _passed(x, _frequencies(x) <= CUT),
    "high-pass": lambda x, generator: _passed(x, (_frequencies(x) > CUT) | (_frequencies(x) == 0)),
    "noise": lambda x, generator: x + 0.3 * torch.randn(x.shape, generator=generator),
    "blur": lambda x, generator: gaussian_blur(x, [5, 5], [1.0, 1.0]),
    "shuffled patches": _shuffled,
}


def changed_errors(classifier: Trained, test: ImageDataset, seed: int, device: str) -> pd.DataFrame:
    """Error (%) on test images that are changed in each way."""
    model, table = classifier.model(device), []
    for name, change in CHANGES.items():
        images = change(test.floats(), torch.Generator().manual_seed(seed)).clamp(-1, 1)
        table.append({"metric": "changed_error", "change": name, "value": 100 * (1 - accuracy(predict(model, images), test.labels))})
    return pd.DataFrame(table)


def power(real: ImageDataset, made: ImageDataset) -> pd.DataFrame:
    """log10 of the mean power at each distance from the centre of the spectrum; x: cycles per pixel."""
    table = []
    for arm, images in (("original", real.floats()), ("synthetic", made.floats())):
        found, at = torch.fft.fft2(images).abs().square().mean((0, 1)), _frequencies(images)
        ring = (at * min(images.shape[-2:])).round().long()
        for i in range(1, min(images.shape[-2:]) // 2 + 1):
            table.append({"arm": arm, "metric": "log_power", "x": i / min(images.shape[-2:]), "value": found[ring == i].mean().log10().item()})
    return pd.DataFrame(table)


def landscape(classifier: Trained, base: Trained, own: ImageDataset, n: int, probes: int, seed: int) -> dict:
    """The loss on real training images around the weights, and between them and those of the training on real images."""
    some = stratified_subset(own, n, 0)
    found = sharpness(classifier.model(), some.images, some.labels, probes=probes, seed=seed)
    logs = {f"log_{name}": np.log(max(getattr(found, name), 1e-12)) for name in ("loss", "largest_eigenvalue", "trace", "gradient_variance")}
    return {**logs, "filter_normalised": found.filter_normalised, "barrier": loss_barrier(base.model(), classifier.model(), some.images, some.labels)}


# What combines several results, added to the frame at the end.


def interpolated(levels: pd.DataFrame, values: pd.DataFrame, target: float) -> pd.Series | None:
    """Values ``[seed, level]`` of a reference at the level where the mean of ``levels [seed, level]`` is the target, by a
    straight line between the two nearest levels; None where the target is beyond them."""
    means = levels.mean().sort_values()
    above = int(means.searchsorted(target))
    if not 0 < above < len(means):
        return None
    low, high = means.index[above - 1], means.index[above]
    share = (target - means[low]) / (means[high] - means[low])
    return (1 - share) * values[low] + share * values[high]


def table(frame: pd.DataFrame, columns: str, **where) -> pd.DataFrame:
    """Values by seed and a column."""
    return select(frame, **where).pivot(index="seed", columns=columns, values="value")


def derived(found: pd.Series | np.ndarray | None, seeds, metric: str, **columns) -> list[dict]:
    return [] if found is None else [{"metric": metric, "seed": seed, "value": float(value), **columns} for seed, value in zip(seeds, found)]


def share_of(above: pd.Series, below: pd.Series) -> np.ndarray | None:
    """Pseudo-values of mean ``above`` over mean ``below``; None where that is 0."""
    pairs = np.stack([above, below], 1)
    return pseudo_values(lambda rows: rows[:, 0].mean() / rows[:, 1].mean(), pairs) if len(pairs) > 2 and _safe(pairs[:, 1]) else None


def _safe(values: np.ndarray) -> bool:
    """Whether no mean of all but one is 0."""
    return bool((np.abs(values.sum() - values) > 1e-9).all() and abs(values.sum()) > 1e-9)


def correlation_within(rows: np.ndarray) -> float:
    """Mean over arms of the rank correlation of two values ``[n, arms, 2]``."""
    return float(rank_correlation(*rows.T).mean())


def finish(frame: pd.DataFrame, s: Causes) -> pd.DataFrame:
    """Adds, by seed: explained_share and recovered_share of the gap between synthetic and real images, head_share of it
    (pseudo-values, see `synaug.statistics.pseudo_values`); what real images would have at the accuracy, or the training
    loss, of another arm ("original, matched to ..."); rank_correlation of sharpness with test error within arms."""
    more, every = [], {"dataset": frame["dataset"].iloc[0], "x": float(s.n_real)}
    first = {"architecture": s.architectures[0], "steps": s.steps, "optimizer": "sgd"}
    if "mismatch" in s.studies:
        e = table(frame, "arm", study="mismatch", metric="test_error")
        gap, own = e["synthetic"] - e["original"], {**every, **first, "study": "mismatch"}
        more += derived(share_of(e["concentrated"] - e["control"], gap), e.index, "explained_share", arm="concentrated", **own)
        more += derived(share_of(e["concentrated"] - e["as many distinct"], gap), e.index, "explained_share", arm="over as many distinct", **own)
        more += derived(share_of(e["synthetic"] - e["spread"], gap), e.index, "recovered_share", arm="spread", **own)
    for name in s.architectures if "bias" in s.studies else ():
        own = {**every, **first, "study": "bias", "architecture": name}
        of = {"study": "bias", "architecture": name}
        e = table(frame, "arm", **of, metric="test_error", x=s.n_real)
        gap = e["synthetic"] - e["original"]
        for refit in ("real", "fresh"):
            r = table(frame, "arm", **of, metric="refit_error", refit=refit, x=s.n_real)
            # On fresh images both are refitted; the real-trained features have seen the others.
            left = r["synthetic"] - (r["original"] if refit == "fresh" else e["original"])
            more += derived(share_of(gap - left, gap), e.index, "head_share", arm="synthetic", refit=refit, **own)
        unchanged, target = (table(frame, "x", **of, metric="changed_error", change="none", arm=arm) for arm in ("original", "synthetic"))
        for change in CHANGES:
            values = table(frame, "x", **of, metric="changed_error", change=change, arm="original")
            found = interpolated(unchanged, values, target.to_numpy().mean())
            more += derived(found, values.index, "changed_error", arm="original, matched to synthetic", change=change, **own)
    if "landscape" in s.studies:
        metrics = ("log_largest_eigenvalue", "log_trace", "filter_normalised", "log_gradient_variance")
        of, own = {"study": "landscape", "optimizer": "sgd"}, {**every, **first, "study": "landscape"}
        levels = table(frame, "steps", **of, arm="original", metric="log_loss")
        for arm in ("added", "fresh added"):
            target = table(frame, "arm", **of, arm=arm, metric="log_loss").to_numpy().mean()
            for metric in metrics:
                found = interpolated(levels, table(frame, "steps", **of, arm="original", metric=metric), target)
                more += derived(found, levels.index, metric, arm=f"original, matched to {arm}", **own)
        full = select(frame, study="landscape", steps=s.steps).assign(trained=lambda rows: rows["arm"] + rows["optimizer"])
        errors = table(full, "trained", metric="test_error")
        for metric in metrics[:3] if len(errors) > 2 else ():
            both = np.stack([table(full, "trained", metric=metric), errors], 2)
            more += derived(pseudo_values(correlation_within, both), errors.index, "rank_correlation", arm="all", of=metric, **own)
    return pd.concat([frame, pd.DataFrame(more)], ignore_index=True)


EXPERIMENT = Experiment("causes", Causes, PROFILES, rows, finish, constants={"swept": "images"})
