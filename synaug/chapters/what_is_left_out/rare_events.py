"""Rare events: does a generator make a minority as often as its training images have it, and what helps a classifier with it?

Classes of Fashion-MNIST are merged into five superclasses, in each of which one class is a minority of known share
(`synaug.data.merged`). The label before merging says what is rare, in real images; in generated ones a judge says it, and
the share is corrected for what it confuses. A second generator has the roles of majority and minority swapped.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from synaug.augmentation.training_sets import of_classes
from synaug.chapters.tasks import Trained, Trainings, data_of, generated, joined, learning, network, part_of, trained, trained_within
from synaug.chapters.what_is_left_out.causes import derived
from synaug.classifiers import build_classifier, predict
from synaug.classifiers.architectures import ARCHITECTURES
from synaug.data import ImageDataset, stratified_subset
from synaug.data.merged import minorities
from synaug.diffusion.recipe import Recipe
from synaug.diffusion.schedules import SIGMA_MAX
from synaug.generators.training import trained_on
from synaug.run import Experiment, Task, param
from synaug.statistics import pseudo_values
from synaug.statistics.contrasts import select
from synaug.statistics.proportions import subgroup_share

#: The data sets of the two generators, by the arm that they are.
DATASETS = {"first": "fashion_mnist_minorities", "swapped": "fashion_mnist_minorities_swapped"}
#: What is added to the training images of a classifier, beside none: of each rare image, k - 1 more.
TREATMENTS = ("upsampled", "reconstructed", "from noise, oracle", "fresh")


@dataclass(frozen=True, kw_only=True)
class Rare(Trainings):
    generators: tuple[str, ...] = param(
        f"generators trained on {' and '.join(DATASETS.values())}, in this order; none: they are trained within the run", (), each=True
    )
    trained_images: int = param("images that a generator trained within the run has seen", 600_000, at_least=1)
    width: int = param("channels of its first stage; the second has twice as many", 32, at_least=16)
    oracle: str = param("a generator of all ten classes, which knows what is rare", "fashion_mnist")
    n_samples: int = param("images from noise of each generator and seed", at_least=5)
    n_judge: int = param("fresh real images that a judge is trained on", at_least=10)
    n_real: int | None = param("training images of a classifier; None: all of the generator's", at_least=10, optional=True)
    k: int = param("how often a rare image counts, itself included, where others are added", 5, at_least=2, at_most=50)
    sigma: float = param("noise level from which rare images are reconstructed", 1.0, at_least=0.01, at_most=SIGMA_MAX)
    architecture: str = param("the network of judge and classifier", "resnet8", options=tuple(ARCHITECTURES))
    sampling_steps: int = param("steps of the sampler", 18, at_least=2)

    def check(self):
        build_classifier(self.architecture, (1, 28, 28), 10, seed=0)
        if len(self.generators) not in (0, len(DATASETS)):
            raise ValueError(f"generators must be {len(DATASETS)}, or none, got {self.generators}")
        for generator, dataset in zip(self.generators, DATASETS.values()):
            if trained_on(generator)[0].name != dataset:
                raise ValueError(f"generators: {generator} must be trained on {dataset}, got {trained_on(generator)[0].name}")


PROFILES = {
    "smoke": dict(trained_images=256, width=16, n_samples=10, n_judge=20, n_real=200, n_evaluate=50, architecture="vgg5", steps=2, sampling_steps=2, seeds=2),
    "quick": dict(
        trained_images=512, width=16, n_samples=100, n_judge=500, n_real=1000, n_evaluate=200, k=3, architecture="vgg5", steps=5, sampling_steps=4, seeds=2
    ),
    # The 60,000 samples that decide take a small network some quarter of an hour of two cores.
    "standard": dict(generators=tuple(DATASETS.values()), n_samples=3000, n_judge=10_000, architecture="vgg5", steps=800, first_seed=300, seeds=10),
    "paper": dict(generators=tuple(DATASETS.values()), n_samples=10_000, n_judge=20_000, architecture="resnet18", steps=2000, first_seed=300, seeds=10),
}


def own_network(s: Rare, which: str) -> tuple[dict, tuple[Task, ...]]:
    """The parameters of what samples a generator of merged classes, and the task that trains it where it is none saved."""
    if s.generators:
        return network(s, s.generators[list(DATASETS).index(which)]), ()
    own, trainer = trained_within(s, asdict(Recipe(dataset=DATASETS[which], subset_size="all", channels=(s.width, 2 * s.width))))
    return own, (trainer,)


def merged(which: str, n: int | None = None) -> Task:
    return Task(part_of, {"dataset": DATASETS[which], "split": "train", "n": n})


def made(s: Rare, which: str, asked: Task, seed: int, sigma: float | None = None) -> Task:
    """Images of a generator of merged classes: of the labels asked for from noise, or from the images at a noise level."""
    own, needs = own_network(s, which)
    return Task(generated, {**own, "sigma": sigma, "steps": s.sampling_steps // (1 if sigma is None else 2), "seed": seed}, (asked, *needs))


def samples(s: Rare, which: str, seed: int) -> Task:
    # Test images, of whose classes samples are asked for: as many of each superclass.
    return made(s, which, Task(part_of, {"dataset": DATASETS[which], "split": "test", "n": s.n_samples}), seed)


def added(s: Rare, which: str, treatment: str) -> Task:
    """k - 1 images for each rare one."""
    rare = Task(rare_images, {"which": which, "times": s.k - 1}, (merged(which, s.n_real),))
    if treatment == "upsampled":
        return rare
    if treatment == "reconstructed":
        return made(s, which, rare, 0, s.sigma)
    by_class = Task(by_own_class, {}, (rare,))
    if treatment == "fresh":
        return Task(fresh_of, {"which": which}, (by_class,))
    oracle = {**network(s, s.oracle), "steps": s.sampling_steps, "seed": 0}
    return Task(to_merged, {"which": which}, (Task(generated, oracle, (by_class,)),))


def judge(s: Rare, seed: int) -> Task:
    """A classifier of the ten classes, trained on fresh real images."""
    return Task(trained, {**learning(s), "seed": seed}, (Task(fresh_images, {"n": s.n_judge, "seed": seed}),))


def rows(s: Rare) -> Iterator[tuple[dict, Task]]:
    """By generator (arm) and seed: shares of rare images among samples, and errors of classifiers; x is the true share."""
    for seed in s.each_seed:
        for which in DATASETS:
            columns = {"dataset": "fashion_mnist", "arm": which, "seed": seed}
            yield (
                {**columns, "treatment": "none"},
                Task(shares, {"which": which, "n": s.n_evaluate, "device": s.device}, (judge(s, seed), samples(s, which, seed))),
            )
            for treatment in ("original", *TREATMENTS):
                base = merged(which, s.n_real)
                own = base if treatment == "original" else Task(joined, {}, (base, added(s, which, treatment)))
                yield (
                    {**columns, "treatment": treatment},
                    Task(minority_errors, {"which": which, "n": s.n_evaluate, "device": s.device}, (Task(trained, {**learning(s), "seed": seed}, (own,)),)),
                )


def finish(frame: pd.DataFrame, s: Rare) -> pd.DataFrame:
    """Adds the slope of log(share made / true share) on log(true share), over both generators: pseudo-values by seed."""
    ratios = select(frame, metric="share_ratio").pivot_table(index="seed", columns="x", values="value", aggfunc="mean")
    x = np.log(ratios.columns.to_numpy(float))

    def slope(values):
        with np.errstate(invalid="ignore", divide="ignore"):
            return float(np.polyfit(x, np.log(values.mean(0)), 1)[0]) if (values.mean(0) > 0).all() else np.nan

    try:
        values = pseudo_values(slope, ratios.to_numpy())
    except ValueError:  # too few seeds, or of some share nothing was made at all: a logarithm of 0
        return frame
    more = derived(values, ratios.index, "slope", arm="both", treatment="none", x=0.0, dataset="fashion_mnist")
    return pd.concat([frame, pd.DataFrame(more)], ignore_index=True)


EXPERIMENT = Experiment("rare_events", Rare, PROFILES, rows, finish, constants={"swept": "share"})


# The library calls.


def fresh_images(n: int, seed: int) -> ImageDataset:
    """Real images of the ten classes that neither generator has seen."""
    whole = data_of("fashion_mnist")
    seen = torch.cat([data_of(name).source_index for name in DATASETS.values()])
    return stratified_subset(whole.subset((~torch.isin(whole.source_index, seen)).nonzero().flatten()), n, seed)


def rare_images(images: ImageDataset, which: str, times: int) -> ImageDataset:
    """The minorities among training images, by their label before merging, several times."""
    own = data_of("fashion_mnist").labels[images.source_index]
    rare = torch.isin(own, torch.tensor([minority for _, minority, _ in minorities(which == "swapped")]))
    return images.subset(rare.nonzero().flatten().repeat(times))


def by_own_class(images: ImageDataset) -> ImageDataset:
    """Merged images with their labels before merging."""
    whole = data_of("fashion_mnist")
    return ImageDataset(images.images, whole.labels[images.source_index], whole.class_names, images.source_index, whole.name)


def to_merged(images: ImageDataset, which: str) -> ImageDataset:
    """Images of the ten classes with the labels of the superclasses."""
    group = torch.empty(10, dtype=torch.int64)
    for i, (majority, minority, _) in enumerate(minorities(which == "swapped")):
        group[[majority, minority]] = i
    data = data_of(DATASETS[which])
    return ImageDataset(images.images, group[images.labels], data.class_names, images.source_index, data.name)


def fresh_of(asked: ImageDataset, which: str) -> ImageDataset:
    """Different real images that neither generator has seen, of the classes asked for."""
    return to_merged(of_classes(fresh_images(40_000, 0), asked.labels), which)


def corrected_share(flagged: Tensor, hits: Tensor, alarms: Tensor) -> float:
    """`subgroup_share` of what a judge flags, bool ``[n]`` each: of samples, of real images of the subgroup, and of others;
    NaN where it is worse than chance."""
    try:
        return subgroup_share(
            int(flagged.sum()), len(flagged), hits=int(hits.sum()), positives=len(hits), false_alarms=int(alarms.sum()), negatives=len(alarms)
        ).estimate
    except ValueError:
        return np.nan


def shares(judge: Trained, images: ImageDataset, which: str, n: int | None, device: str) -> pd.DataFrame:
    """Of each superclass: the share of the minority among samples over that among training images (share_ratio), corrected
    for the judge's confusions of the two, as `subgroup_share` does; without correction (raw_ratio); and the judge's rates.

    The judge decides between the two classes of the superclass; its rates are those on the test images of both.
    """
    model, test, table = judge.model(device), part_of("fashion_mnist", "test", n), []
    found, real = predict(model, images.images), predict(model, test.images)
    for group, (majority, minority, share) in enumerate(minorities(which == "swapped")):
        flagged = found[images.labels == group][:, minority] > found[images.labels == group][:, majority]
        says = real[:, minority] > real[:, majority]
        hits, alarms = says[test.labels == minority], says[test.labels == majority]
        values = {
            "share_ratio": corrected_share(flagged, hits, alarms) / share,
            "raw_ratio": flagged.double().mean().item() / share,
            "judge_hits": hits.double().mean().item(),
            "judge_false_alarms": alarms.double().mean().item(),
        }
        table += [{"x": share, "metric": metric, "value": value} for metric, value in values.items() if np.isfinite(value)]
    return pd.DataFrame(table)


def minority_errors(classifier: Trained, which: str, n: int | None, device: str) -> pd.DataFrame:
    """Test error (%) on the minority of each superclass (x: its share), their mean (rare_error), and that on all test images."""
    test = part_of("fashion_mnist", "test", n)
    wrong = predict(classifier.model(device), test.images).argmax(1) != to_merged(test, which).labels
    table = [
        {"x": share, "metric": "minority_error", "value": 100 * wrong[test.labels == minority].double().mean().item()}
        for _, minority, share in minorities(which == "swapped")
    ]
    table.append({"x": 0.0, "metric": "rare_error", "value": float(np.mean([row["value"] for row in table]))})
    return pd.DataFrame([*table, {"x": 0.0, "metric": "test_error", "value": 100 * wrong.double().mean().item()}])


def shown(s: Rare, which: str, get, per_row: int = 8) -> dict[str, list]:
    """Of each superclass: rare training images, and the samples that the judge calls rare, surest first; rows of images."""
    real, found = get(merged(which)), get(samples(s, which, s.first_seed))
    own = data_of("fashion_mnist").labels[real.source_index]
    p = predict(get(judge(s, s.first_seed)).model(s.device), found.images)
    rows: dict[str, list] = {"real": [], "made": []}
    for group, (majority, minority, _) in enumerate(minorities(which == "swapped")):
        rows["real"].append(real.images[(own == minority)][:per_row])
        odds = (p[:, minority] - p[:, majority]).masked_fill(found.labels != group, -2)
        rows["made"].append(found.images[odds.argsort(descending=True)[: min(per_row, int((found.labels == group).sum()))]])
    return rows
