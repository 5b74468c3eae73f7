"""Chapter 2's confirmatory run: six contrasts of targeted augmentation, whose unit is a new draw of real images.

A draw is some thousand real images that no other draw has, a generator trained on exactly these, its images, a
selection and classifiers. Contrasts, margin and family stand in ``data/claims.json``; they and the arms below were
committed before the first generator was trained, seeds and the rule of early stopping before the first classifier. The
pilot, by which budgets are chosen, has the draw of
the exploratory runs: ``python -m synaug record targeted_draws --profile standard --variant pilot -p generators
fashion_mnist_2000 -p seeds 3 -p more_seeds 3``.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path

import pandas as pd

from synaug.chapters import targeted_augmentation as targeted
from synaug.chapters.targeted_augmentation import Arm
from synaug.chapters.tasks import generated, network, real, real_images_of, recipe_of, splits
from synaug.data import ImageDataset
from synaug.diffusion.denoisers import RECORD
from synaug.diffusion.network_files import read_json
from synaug.metrics.comparison import compare_with_floor
from synaug.metrics.encoders import BUILDERS, encode
from synaug.paths import checkpoints_dir
from synaug.run import Experiment, Task, param
from synaug.statistics.claims import load_claims

#: Seeds start here, for each draw a hundred further on: none of the exploratory runs had them, and no two draws share any.
FIRST_SEED, SEEDS_APART = 2000, 100
#: Looks at validation images in a training, after the best of which it would have been stopped.
LOOKS = 16


@dataclass(frozen=True, kw_only=True)
class Draws(targeted.Targeted):
    generators: tuple[str, ...] = param(
        "names or folders of trained generators, a draw each; their training images, of which no two share any, are the real images", each=True
    )
    steps: int = param("optimiser steps at a budget of 1", at_least=1)
    budgets: tuple[float, ...] = param("budgets that are tried, 1 among them", (0.5, 1.0, 2.0), each=True, at_least=0.01)
    seeds: int = param("paired trainings of each arm and draw, at the budget that the pilot chose", at_least=1, at_most=SEEDS_APART)
    more_seeds: int = param("those at the other budgets, and of the secondary arms", at_least=0, at_most=SEEDS_APART)
    studies: tuple[str, ...] = param("studies of chapter 2 whose further arms are secondary ones", (), each=True, options=targeted.STUDIES)
    n_quality: int = param("samples, and real images, by which a draw's generator is described", at_least=2)
    encoder: str = param("features that its distance is taken in", "efficientnet_lite0", options=("pixels", *BUILDERS))

    def check(self):
        if 1.0 not in self.budgets:
            raise ValueError(f"budgets must hold 1, got {self.budgets}")
        used: dict[int, str] = {}
        for generator in self.generators:
            self.of(generator)
            images = real_images_of(generator)
            self.within(n_quality=(2 * images.test.num_classes, min(len(images.test), len(images.unseen))))
            for index in images.trained.source_index.tolist():
                if (other := used.setdefault(index, generator)) != generator:
                    raise ValueError(f"draws must share no image: {other} and {generator} were both trained on image {index}")

    def of(self, generator: str) -> targeted.Comparison:
        """The settings of chapter 2 for one draw."""
        shared = {field.name: getattr(self, field.name) for field in fields(targeted.Targeted)}
        return targeted.EXPERIMENT.settings(
            **shared,
            generator=generator,
            studies=tuple(dict.fromkeys(("k", *self.studies))),
            steps=self.steps,
            ks=(2, 3, 4, 5),
            strengths=tuple(sorted({20, self.strength, 80})),
        )


PROFILES = {
    "smoke": dict(generators=("fashion_mnist_2000",), steps=16, seeds=1, more_seeds=0, passes=1, sampling_steps=1, n_evaluate=200, n_quality=40),
    "quick": dict(generators=("fashion_mnist_2000",), steps=100, seeds=1, more_seeds=0, passes=3, sampling_steps=5, n_evaluate=2000, n_quality=200),
    # Disjoint draws of 2,000 images, that follow each other in the stratified order.
    "standard": dict(generators=tuple(f"draws/fashion_mnist_{i}" for i in range(1, 7)), steps=800, seeds=5, more_seeds=2, n_quality=2000),
}


def primary(s: targeted.Comparison) -> list[Arm]:
    """The arms of the six contrasts, their ceiling, and TrivialAugment alone."""
    base, noise = Arm(architecture=s.architecture, augment=s.augment), {"strengths": None}
    generation = replace(base, kind="generated", k=5, strengths=(s.strength,))
    return [
        base,
        replace(base, kind="upsampled", k=2),
        replace(base, kind="upsampled", k=5),
        generation,
        replace(generation, **noise),
        replace(generation, selection="random"),
        replace(base, kind="fresh", k=5),
        replace(base, augment=f"{s.augment}_trivial"),
    ]


#: By data set, the budget of each primary arm in their order: that of the least mean validation error in its pilot. Where
#: no pilot is recorded, 1.
CHOSEN: dict[str, tuple[float, ...]] = {"fashion_mnist": (1.0, 1.0, 1.0, 1.0, 1.0, 2.0, 2.0, 2.0)}


def rows(s: Draws) -> Iterator[tuple[dict, Task]]:
    """Every training, draw by draw within a seed, so that a run that was cut has whole pairs; x is k.

    role: "primary" or "secondary" arm, or "quality" of a draw's generator. chosen: whether budget is that of the pilot.
    test_error_early: at the look of the least validation loss, of which early_step tells the step.
    """
    draws = [s.of(generator) for generator in s.generators]
    for own in draws:
        test, unseen = (real(own, part, s.n_quality) for part in ("test", "unseen"))
        samples = Task(generated, {**network(own), "seed": 0, "steps": 2 * s.sampling_steps}, (test,))
        yield (columns(own) | {"role": "quality"}, Task(quality, {"encoder": s.encoder, "device": s.device}, (test, unseen, samples)))
    for seed in range(max(s.seeds, s.more_seeds)):
        for own in draws:
            first = primary(own)
            best = CHOSEN.get(columns(own)["dataset"], (1.0,) * len(first))
            for place, arm in enumerate(first):
                for budget in s.budgets:
                    chosen = budget == best[place]
                    if seed < (s.seeds if chosen else s.more_seeds):
                        yield training(own, replace(arm, budget=budget), seed, role="primary", place=place, chosen=chosen)
            if seed < s.more_seeds:
                further = dict.fromkeys(arm for study in s.studies for arm in targeted.arms(study, own))
                for arm in [arm for arm in further if arm not in first]:
                    yield training(own, arm, seed, role="secondary")


def columns(s: targeted.Comparison) -> dict:
    real = splits(s.generator)["real"]
    return {"dataset": real.name, "n_real": len(real), "draw": Path(s.generator).name}


def training(s: targeted.Comparison, arm: Arm, seed: int, **more) -> tuple[dict, Task]:
    # Draws follow each other in the stratified order, from 0.
    place = recipe_of(s.generator)["subset_start"] // len(splits(s.generator)["real"])
    seed += FIRST_SEED + SEEDS_APART * place
    task = targeted.training(s, arm, seed)
    of_arm = {
        "arm": arm.named(s.strength),
        "x": float(arm.k),
        "seed": seed,
        "steps": task.params["steps"],
        "selection": "" if arm.kind == "original" else arm.selection,
    }
    same = {name: getattr(arm, name) for name in ("budget", "kind", "augment", "optimizer", "architecture")}
    return ({**columns(s), **of_arm, **same, **more}, replace(task, params={**task.params, "looks": LOOKS}))


def quality(reference: ImageDataset, fresh: ImageDataset, samples: ImageDataset, encoder: str, device: str) -> pd.DataFrame:
    """Samples against real images that nothing was trained on, beside as many fresh real images."""
    images = (reference, fresh, samples)
    real, other, made = (encode(one.floats(), encoder, device=device) for one in images)
    frame = compare_with_floor(real, other, {"samples": made}, n_bootstrap=0)
    return frame[["arm", "metric", "value"]]


def design() -> str:
    """The design of the recorded run, as a Markdown list."""

    def size(generator):
        return f"{read_json(checkpoints_dir() / generator / RECORD)['parameters']:,}"

    found, arms = PROFILES["standard"], primary(targeted.Comparison())
    steps = ", ".join(f"{budget * found['steps']:g}" for budget in EXPERIMENT.parameters["budgets"].default)
    (margin,) = {part["negligible"] for claim in load_claims("targeted_draws").values() for part in claim.parts}
    return "\n".join(
        [
            f"- *A draw*: real images that no other draw has, a generator trained on exactly these, its images, a selection, and "
            f"classifiers. {len(found['generators'])} draws, {found['seeds']} seeds per draw, none shared, from {FIRST_SEED + SEEDS_APART} on.",
            f"- *Arms*: {len(arms)}, among them fresh real images as the ceiling, and TrivialAugment alone.",
            f"- *Steps*: {steps} are tried. The one of least "
            f"validation error in a pilot is taken for each arm. The pilot's draw is none of the others. Its generator has "
            f"{size('fashion_mnist_2000')} parameters, theirs {size(found['generators'][0])}. Beside it stands what the "
            f"arm would have had if it had been stopped at the least validation loss of {LOOKS} looks.",
            "- *Fresh real images* of a draw are the next draws' real ones, so ceilings are not independent of each other.",
            "- *Intervals* are over draws: the wider of Student's t over the means of draws, and a bootstrap of draws, then seeds.",
            f"- *Contrasts*: the six below, and Holm's correction over these alone. A whole interval within {margin:g} points of 0 "
            f"is no effect. All else is secondary, and descriptive.",
        ]
    )


EXPERIMENT = Experiment("targeted_draws", Draws, PROFILES, rows, constants={"swept": "k", "regime": "small"})
