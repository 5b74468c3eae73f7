"""Composition: does a generator make combinations of shape and colour that it has never seen, and do they help a classifier?"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd
import torch

from synaug.chapters.tasks import Trained, Trainings, generated, joined, learning, part_of, trained, trained_within
from synaug.chapters.what_is_left_out.rare_events import corrected_share
from synaug.classifiers import predict
from synaug.classifiers.architectures import ARCHITECTURES
from synaug.data import ImageDataset
from synaug.data.shapes import COLOURS, COMBINATIONS, PER_COMBINATION, SHAPES, colours_of
from synaug.diffusion.recipe import Recipe
from synaug.run import Experiment, Task, param

#: Data sets of the generators and of the real images: without the combination of each shape with one colour, or with all.
DATASETS = {"held out": "shapes_held_out", "all": "shapes"}


@dataclass(frozen=True, kw_only=True)
class Composition(Trainings):
    trained_images: int = param("images that each generator has seen", at_least=1)
    width: int = param("channels of its first stage; the second has twice as many", 16, at_least=16)
    n_samples: int = param("images from noise of each generator", at_least=len(SHAPES), at_most=COMBINATIONS * PER_COMBINATION["train"])
    n_real: int = param("real images of a classifier", 400, at_least=COMBINATIONS, at_most=3000)
    architecture: str = param("the network of judge and classifier", "vgg5", options=tuple(ARCHITECTURES))


PROFILES = {
    "smoke": dict(trained_images=64, n_samples=40, n_real=40, steps=2, sampling_steps=1, seeds=2),
    "quick": dict(trained_images=512, n_samples=100, steps=10, sampling_steps=4, seeds=2),
    "standard": dict(trained_images=150_000, n_samples=2000, steps=800, first_seed=300, seeds=10),
    "paper": dict(trained_images=1_000_000, width=64, n_samples=4000, architecture="resnet18", steps=2000, first_seed=300, seeds=10),
}


def samples(s: Composition, of: str, seed: int) -> Task:
    recipe = asdict(Recipe(dataset=DATASETS[of], subset_size="all", channels=(s.width, 2 * s.width), flip=0.0, seed=seed))
    own, generator = trained_within(s, recipe)
    asked = Task(part_of, {"dataset": "shapes", "split": "train", "n": s.n_samples})  # for their labels
    return Task(generated, {**own, "steps": s.sampling_steps, "seed": seed}, (asked, generator))


def rows(s: Composition) -> Iterator[tuple[dict, Task]]:
    """By seed: what share of the samples is of the missing combinations, and errors of classifiers on these and on others."""
    for seed in s.each_seed:
        columns = {"dataset": "shapes", "seed": seed, "x": float(s.n_samples)}
        judge = Task(trained, {**learning(s), "seed": seed}, (Task(combinations, {}, (Task(part_of, {"dataset": "shapes", "split": "train"}),)),))
        real = {of: Task(part_of, {"dataset": name, "split": "train", "n": s.n_real, "seed": seed}) for of, name in DATASETS.items()}
        made = {of: samples(s, of, seed) for of in DATASETS}
        for of in DATASETS:
            yield {**columns, "arm": of}, Task(missing_shares, {"n": s.n_evaluate, "device": s.device}, (judge, made[of]))
        arms = {
            "real": real["held out"],
            "real and synthetic": Task(joined, {}, (real["held out"], made["held out"])),
            "synthetic": made["held out"],
            "real of all": real["all"],
            "real and oracle": Task(joined, {}, (real["held out"], made["all"])),
        }
        for arm, images in arms.items():
            yield {**columns, "arm": arm}, Task(errors, {"n": s.n_evaluate, "device": s.device}, (Task(trained, {**learning(s), "seed": seed}, (images,)),))


EXPERIMENT = Experiment("composition", Composition, PROFILES, rows, constants={"swept": "samples"})


# The library calls.


def combinations(images: ImageDataset) -> ImageDataset:
    """Images whose class is their combination of shape and colour."""
    names = tuple(f"{colour} {shape}" for shape in SHAPES for colour in COLOURS)
    return ImageDataset(images.images, images.labels * len(COLOURS) + colours_of(images), names, images.source_index, images.name)


def missing_shares(judge: Trained, images: ImageDataset, n: int | None, device: str) -> dict:
    """Among samples of a shape, the share in the colour that was held out for it over that among all real images, mean over
    shapes: corrected for the judge's confusions (`subgroup_share`), and as it says (raw_ratio); the judge's accuracy."""
    model, test = judge.model(device), combinations(part_of("shapes", "test", n))
    # The combination of a shape with each colour: of its own shape's four, which the judge finds likeliest.
    colour, real = (
        predict(model, part.images).unflatten(1, (len(SHAPES), len(COLOURS)))[torch.arange(len(part)), shape].argmax(1)
        for part, shape in ((images, images.labels), (test, test.labels // len(COLOURS)))
    )
    raw, corrected = [], []
    for i in range(len(SHAPES)):
        flagged, says, truly = (colour == i)[images.labels == i], real == i, test.labels % len(COLOURS) == i
        own = test.labels // len(COLOURS) == i
        hits, alarms = says[own & truly], says[own & ~truly]
        raw.append(flagged.double().mean().item())
        corrected.append(corrected_share(flagged, hits, alarms))
    accuracy = 100 * (predict(model, test.images).argmax(1) == test.labels).double().mean().item()
    share = {"missing_ratio": np.mean(corrected) * len(COLOURS)} if np.isfinite(corrected).all() else {}
    return {**share, "raw_ratio": np.mean(raw) * len(COLOURS), "judge_accuracy_percent": accuracy}


def errors(classifier: Trained, n: int | None, device: str) -> pd.DataFrame:
    """Error (%) of the shape of test images in the combinations that were held out, and in the others."""
    test = part_of("shapes", "test", n)
    wrong, missing = predict(classifier.model(device), test.images).argmax(1) != test.labels, colours_of(test) == test.labels
    return pd.DataFrame(
        [{"metric": name, "value": 100 * wrong[which].double().mean().item()} for name, which in (("missing_error", missing), ("seen_error", ~missing))]
    )
