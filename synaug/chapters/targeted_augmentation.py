"""Chapter 2: targeted augmentation, upsampling against generation (Nguyen et al. 2025)."""

import math
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from synaug.augmentation import of_classes, original, upsampled, with_generated, with_real
from synaug.augmentation.pool_filters import filter_pool
from synaug.augmentation.selection import Selection, select, slow_clusters
from synaug.chapters.tasks import Trained, clock, error, generated_pool, network, part, seconds_per_image, splits, train, trained, usual_denoiser, weights_of
from synaug.classifiers import build_classifier, predict
from synaug.classifiers.architectures import ARCHITECTURES
from synaug.classifiers.optimizers import OPTIMIZERS
from synaug.classifiers.training import AUGMENTATIONS, RECIPES
from synaug.classifiers.warm_up import WarmUp, warm_up
from synaug.data import ImageDataset, stratified_subset, to_bytes
from synaug.diffusion.reconstruction import reconstruct
from synaug.diffusion.schedules import sigma_of_strength
from synaug.run import Experiment, Settings, Task, param

STUDIES = ("k", "pilot", "primaries", "optimizers", "strength", "selection", "classical", "large", "architectures", "ablations", "budgets", "baselines")
SLOW = "slow_learnable"
#: Filters that are tried; see `synaug.augmentation.pool_filters.filter_pool`.
FILTERS = {"near-copies dropped": {"near_copy_quantile": 0.05}, "off-class dropped": {"min_probability": 0.5}}
DECAY = "weight decay"
#: What needs no new image: ten times the recipe's weight decay, and soft labels.
REGULARISED = {DECAY: {"weight_decay": 5e-3}, "label smoothing": {"label_smoothing": 0.1}}
#: The share of slow examples that pilots count on: the larger of the published ones (second hand).
EXPECTED_SLOW = 0.4
#: Seeds of pilots start here: their runs are none of the comparison's.
PILOT_SEED = 1000
#: Validation images that are looked at while a classifier is trained.
WATCHED = 2000
#: The least probability of a label in the test loss.
TINY = 1e-12


@dataclass(frozen=True, kw_only=True)
class Targeted(Settings):
    """What both experiments of this chapter have."""

    strength: int | float = param("denoising steps of 100 from which images are generated", 50, at_least=0.1, at_most=99.9)
    architecture: str = param("the network", "resnet8", options=tuple(ARCHITECTURES))
    recipe: str = param("learning rates, see synaug.classifiers.train_classifier", "one_cycle", options=tuple(RECIPES))
    passes: int | None = param("passes of the warm-up; None: until the error curve flattens", at_least=1, optional=True)
    sampling_steps: int = param(
        "Heun steps from the noise level of strength, twice as many from noise alone; 9 are as fine as EDM's 18 from 80 are below sigma = 1", 9, at_least=1
    )
    n_evaluate: int | None = param("test and validation images, each; None: all", at_least=1, optional=True)


@dataclass(frozen=True, kw_only=True)
class Comparison(Targeted):
    studies: tuple[str, ...] = param("what is compared", each=True, options=STUDIES)
    generator: str = param("name or folder of a trained generator; its training images are the real images")
    steps: int = param("optimiser steps, of as many images as the recipe has in a batch (128 but for fast)", at_least=1)
    pilot_steps: tuple[int, ...] = param("steps that pilots try", each=True, at_least=1)
    large_generator: str | None = param("generator of the large regime, and the oracle of ablations", optional=True)
    large_steps: int = param("optimiser steps of the large regime", at_least=1)
    large_pilot_steps: tuple[int, ...] = param("steps that its pilots try", each=True, at_least=1)
    ks: tuple[int, ...] = param("how often a chosen example occurs, 2 among them", (2, 3, 4, 5), each=True, at_least=2)
    strengths: tuple[int | float, ...] = param("those that are compared, strength among them", (20, 35, 50, 65, 80), each=True, at_least=0.1, at_most=99.9)
    seeds: int = param("paired trainings of each arm", 5, at_least=2, at_most=1000)
    k_seeds: int = param("paired trainings of each arm of k and of ablations, whose effects are small", at_least=2, at_most=1000)
    pilot_seeds: int = param("paired trainings of pilots", 3, at_least=2, at_most=1000)
    architectures: tuple[str, ...] = param("further networks, for the study of them", (), each=True, options=tuple(ARCHITECTURES))
    augment: str = param(
        "augmentation of classifiers, to which classical adds TrivialAugment; warm-ups have flips",
        "flip",
        options=tuple(a for a in AUGMENTATIONS if f"{a}_trivial" in AUGMENTATIONS),
    )
    k_optimizers: tuple[str, ...] = param("optimizers of k, sgd among them", ("sgd",), each=True, options=tuple(OPTIMIZERS))
    fresh: bool = param("whether fresh real images are added, for control", True)

    @property
    def regimes(self) -> tuple[str, ...]:
        """Those in which classifiers are trained."""
        return ("small", "large") if "large" in self.studies else ("small",)

    def check(self):
        for name, wanted in (("ks", 2), ("strengths", self.strength), ("k_optimizers", "sgd")):
            if wanted not in getattr(self, name):
                raise ValueError(f"{name} must hold {wanted}, got {getattr(self, name)}")
        if "architectures" in self.studies and not self.architectures:
            raise ValueError("the study of architectures needs some: name them in architectures")
        if {"large", "baselines", "ablations"} & set(self.studies):
            if self.large_generator is None:
                raise ValueError("the studies large, ablations and baselines need a large_generator, trained on more images")
            small, large = (splits(name)["real"] for name in (self.generator, self.large_generator))
            if large.name != small.name or len(large) <= len(small):
                raise ValueError(
                    f"large_generator must have been trained on more images than generator, of one data "
                    f"set, got {len(large)} of {large.name} and {len(small)} of {small.name}"
                )
        for regime in self.regimes:
            self.check_regime(regime)

    def check_regime(self, regime: str) -> None:
        """Enough steps for the warm-up, enough images of each kind."""
        (generator, steps, _), k = of_regime(self, regime), max(self.ks)
        real, fresh, validation, test = splits(generator).values()
        n, per_class, unseen = len(real), *(part.labels.bincount(minlength=real.num_classes) for part in (real, fresh))
        fewest, needed = min(len(test), len(validation)), self.passes or 3
        batch = RECIPES[self.recipe]["batch_size"]
        for name in (self.architecture, *self.architectures):
            build_classifier(name, real.image_shape, real.num_classes, seed=0)
        if steps * batch // n < needed or ("budgets" in self.studies and steps < 2):
            raise ValueError(
                f"{steps} steps of {batch} are {steps * batch // n} passes over the {n} images of the "
                f"{regime} regime; the warm-up needs {needed}: {max(2, -(-needed * n // batch))} steps"
            )
        if (per_class == 1).any():
            raise ValueError(f"{generator} has seen one image of a class: a warm-up's clusters need two per class")
        whole = any(arm.kind == "fresh" and not arm.few for arm, _ in trainings(self))
        if whole and (unseen < (k - 1) * per_class).any():
            raise ValueError(
                f"the fresh control at k = {k} may need {k - 1} images for each of the {n} of the "
                f"{regime} regime, class by class; there are {len(fresh)} (fresh=False leaves it out)"
            )
        if "pilot" in self.studies and len(fresh) < (added := n_ceiling(self, regime)):
            raise ValueError(f"the pilot adds {added} fresh images at k = {k}, there are {len(fresh)}")
        self.within(n_evaluate=(real.num_classes, fewest))


SHORT = dict(
    generator="fashion_mnist_2000",
    studies=("k",),
    steps=16,
    pilot_steps=(16,),
    large_steps=16,
    large_pilot_steps=(16,),
    n_evaluate=200,
    ks=(2,),
    seeds=2,
    k_seeds=2,
    pilot_seeds=2,
    passes=1,
)

PROFILES = {
    "smoke": dict(**SHORT, strengths=(20, 50), sampling_steps=1),
    "quick": dict(**SHORT, strengths=(20, 50, 80), sampling_steps=1, architecture="vgg5"),
    # What a CPU trains in minutes.
    "standard": dict(
        studies=("k", "pilot", "optimizers", "strength", "selection", "classical", "large", "architectures", "ablations", "budgets"),
        generator="fashion_mnist_2000",
        steps=800,
        pilot_steps=(800, 1600),
        large_generator="fashion_mnist",
        large_steps=2400,
        large_pilot_steps=(1600, 2400),
        k_seeds=10,
        architectures=("vgg5", "vit_tiny"),
    ),
    # As published, as far as known: 200 passes, over four fifths of a data set, which leave too few fresh real images
    # for control. Twenty passes by a modern, fast recipe are a variant: recipe "one_cycle", steps 6_250.
    "paper": dict(
        studies=("k", "optimizers"),
        k_optimizers=("sgd", "sam"),
        fresh=False,
        generator="cifar10",
        steps=62_500,
        pilot_steps=(62_500,),
        large_steps=62_500,
        large_pilot_steps=(62_500,),
        k_seeds=5,
        architecture="resnet18",
        recipe="two_drops",
        augment="flip_crop",
        architectures=("vgg19", "densenet121", "vit_small", "convnext_tiny", "swin_tiny"),
    ),
}


def of_regime(s: Comparison, regime: str) -> tuple[str, int, tuple[int, ...]]:
    """generator, steps and pilot_steps of a regime, "small" or "large"."""
    prefix = {"small": "", "large": "large_"}[regime]
    return tuple(getattr(s, prefix + name) for name in ("generator", "steps", "pilot_steps"))


def n_ceiling(s: Comparison, regime: str) -> int:
    """How many fresh images a pilot adds: what the largest k does if ``EXPECTED_SLOW`` of the examples are slow."""
    return round(EXPECTED_SLOW * (max(s.ks) - 1) * len(splits(of_regime(s, regime)[0])["real"]))


@dataclass(frozen=True)
class Arm:
    """One way to train a classifier; of the first, "original", only what stands first is said.

    kind: "original", "upsampled", "generated", "fresh", and of baselines "regularised" (one of `REGULARISED`) and "oracle's
    images", the real ones that the oracle has seen, in place of the classifier's.
    budget: optimiser steps, over those of the regime. strengths: of "generated", as denoising steps of 100; several
    take turns; None: from noise alone. oracle: made by a generator that has seen more real data than the classifier.
    """

    regime: str = "small"
    optimizer: str = "sgd"
    architecture: str = "resnet8"
    augment: str = "flip"
    budget: float = 1.0
    kind: str = "original"
    k: int = 1
    selection: str = SLOW
    strengths: tuple[float, ...] | None = ()
    filtered: str = ""
    oracle: bool = False
    few: bool = False
    regularised: str = ""

    def named(self, usual: float) -> str:
        """What sets it apart beside regime, optimizer, architecture, augment, budget and k; usual: strength."""
        apart = [self.kind] if self.selection == SLOW else [self.kind, self.selection.replace("_", " ")]
        if self.strengths is None:
            apart.append("from noise")
        elif self.strengths not in ((), (usual,)):
            apart.append("several strengths" if len(self.strengths) > 1 else f"strength {self.strengths[0]:g}")
        apart += [name for name in (self.filtered, self.regularised) if name] + ["oracle generator"] * self.oracle + ["few"] * self.few
        return ", ".join(apart)


def arms(study: str, s: Comparison) -> list[Arm]:
    """What a study compares; arms that several studies share are the same ones. Pilots are no arms."""
    base, low, high = Arm(architecture=s.architecture, augment=s.augment), min(s.ks), max(s.ks)

    def made(kind, k, **more):
        return replace(base, kind=kind, k=k, **{"strengths": (s.strength,) if kind == "generated" else (), **more})

    def four(**more):
        """The original, upsampling at its published best k, generation at its own (the largest k), and its ceiling."""
        return [replace(base, **more), made("upsampled", low, **more), *(made(kind, high, **more) for kind in ("generated", "fresh"))]

    found = {
        "k": [
            arm
            for name in s.k_optimizers
            for arm in (
                *four(optimizer=name),
                made("fresh", low, optimizer=name),
                *(made(kind, k, optimizer=name) for kind in ("upsampled", "generated") for k in s.ks),
            )
        ],
        # What can be had in minutes, where the generator has left too few images for a fresh control of all.
        "primaries": [
            base,
            *(made(kind, k) for k in (low, high) for kind in ("upsampled", "generated")),
            made("generated", low, strengths=None),
            made("generated", low, selection="random"),
            *(made(kind, low, few=True) for kind in ("upsampled", "generated", "fresh")),
        ],
        "optimizers": [arm for name in ("sgd", "sam") for arm in four(optimizer=name)],
        "strength": [base, *(made("generated", low, strengths=n and (n,)) for n in (*s.strengths, None))],
        # The others' ceiling is that of "k".
        "selection": [
            base,
            made("fresh", low, selection="all"),
            *(made("generated", low, selection=name) for name in (SLOW, "random", "all", "high_loss", "misclassified")),
        ],
        "classical": [replace(base, augment="none"), base, *four(augment=f"{base.augment}_trivial")],
        "large": [*four(regime="large"), made("generated", low, regime="large")],
        "architectures": [arm for name in s.architectures for arm in four(architecture=name)],
        "ablations": [
            made("generated", high, **change)
            for change in (
                {"oracle": True},
                {"strengths": None},
                {"oracle": True, "strengths": None},
                {"strengths": s.strengths},
                *({"filtered": name} for name in FILTERS),
            )
        ],
        "budgets": [arm for budget in (0.5, 2.0) for arm in four(budget=budget)],
        # What one would try without a generator, or with all that it has seen; and whether TrivialAugment wants more steps.
        "baselines": [
            base,
            replace(base, budget=2.0),
            *(replace(base, kind="regularised", regularised=name) for name in REGULARISED),
            replace(base, kind="oracle's images"),
            made("generated", high, strengths=None, oracle=True),
            made("fresh", high),
            replace(base, kind="regularised", regularised=DECAY, augment=f"{base.augment}_trivial"),
            *(made("generated", high, strengths=strengths, regularised=DECAY) for strengths in ((s.strength,), None)),
            made("fresh", high, regularised=DECAY),
            *(
                arm
                for budget in (1.0, 2.0)
                for trivial in [f"{base.augment}_trivial"]
                for arm in (*four(augment=trivial, budget=budget), made("generated", high, strengths=None, augment=trivial, budget=budget))
            ),
        ],
    }.get(study, [])
    return [arm for arm in dict.fromkeys(found) if s.fresh or arm.few or arm.kind != "fresh"]


def trainings(s: Comparison) -> list[tuple[Arm, int]]:
    """Each arm and seed, once, seed by seed, so that a run that was cut has whole pairs."""
    found = dict.fromkeys((arm, seed) for study in s.studies for arm in arms(study, s) for seed in range(s.k_seeds if study in ("k", "ablations") else s.seeds))
    return sorted(found, key=lambda one: one[1])


def images(s: Comparison, regime: str, *parts: str) -> tuple[Task, ...]:
    generator = of_regime(s, regime)[0]
    return tuple(part(generator, name, s.n_evaluate if name in ("test", "validation") else None) for name in parts)


def early(s: Comparison, regime: str, architecture: str, seed: int) -> Task:
    """The warm-up of a seed's training, and what it shows."""
    return Task(
        warmed_up,
        {"architecture": architecture, "steps": of_regime(s, regime)[1], "recipe": s.recipe, "passes": s.passes, "seed": seed, "device": s.device},
        images(s, regime, "real", "test"),
    )


def pool(s: Comparison, arm: Arm) -> Task:
    """Generated images of all real ones, of which arms of all k take their part; the smallest k has its own pool."""
    generator = of_regime(s, "large" if arm.oracle else arm.regime)[0]
    sigmas = None if arm.strengths is None else [sigma_of_strength(n) for n in arm.strengths]
    how = {**network(s, generator), "sigmas": sigmas, "steps": s.sampling_steps * (2 if sigmas is None else 1)}
    k = min(s.ks) if arm.k == min(s.ks) else max(s.ks)
    return Task(generated_pool, {**how, "k": k}, images(s, arm.regime, "real"))


def training(s: Comparison, arm: Arm, seed: int) -> Task:
    """A classifier of an arm, trained and tested."""
    recipe = {"architecture": arm.architecture, "recipe": s.recipe, "seed": seed, "device": s.device, "steps": round(arm.budget * of_regime(s, arm.regime)[1])}
    needs = (*images(s, arm.regime, "real", "test", "validation"), early(s, arm.regime, arm.architecture, seed))
    filters, most, more = FILTERS.get(arm.filtered, {}), None, REGULARISED.get(arm.regularised, {})
    if arm.few:
        fresh = splits(of_regime(s, arm.regime)[0])["fresh"]
        most = int(fresh.labels.bincount(minlength=fresh.num_classes).min()) // (arm.k - 1)
    if arm.kind == "fresh":
        needs += images(s, arm.regime, "fresh")
    elif arm.kind == "oracle's images":
        needs += images(s, "large", "real")
    elif arm.kind == "generated":
        made = pool(s, arm)
        how = {name: value for name, value in made.params.items() if name != "k"}
        needs += (made, Task(seconds_per_image, how, made.needs))
        if "min_probability" in filters:  # their judge has seen the real images only
            needs += (Task(trained, recipe, needs[:1]),)
    return Task(
        train_arm,
        {
            **recipe,
            "augment": arm.augment,
            "optimizer": arm.optimizer,
            "kind": arm.kind,
            "k": arm.k,
            "selection": arm.selection,
            "most": most,
            "filters": filters,
            **more,
        },
        needs,
    )


def rows(s: Comparison):
    """Every training of every arm, every warm-up and every pilot; x is k.

    Errors, shares and gains are in %. Rows of arm "warm-up" and of arms "pilot, ..." (validation only) stand beside.
    """

    def columns(arm, seed, steps, name=None):
        real, nan = splits(of_regime(s, arm.regime)[0])["real"], float("nan")
        strength = float(arm.strengths[0]) if len(arm.strengths or ()) == 1 else nan
        return {
            "dataset": real.name,
            "arm": name or arm.named(s.strength),
            "seed": seed,
            "x": float(arm.k),
            "regime": arm.regime,
            "n_real": len(real),
            "steps": steps,
            "budget": arm.budget,
            "optimizer": arm.optimizer,
            "architecture": arm.architecture,
            "augment": arm.augment,
            "selection": arm.selection if arm.kind in ("upsampled", "generated", "fresh") else "",
            "kind": arm.kind,
            "strength": strength,
            "sigma": sigma_of_strength(strength) if strength > 0 else nan,
        }

    seeds = {}
    for arm, seed in trainings(s):
        task = training(s, arm, seed)
        yield columns(arm, seed, task.params["steps"]), task
        seeds.setdefault((arm.regime, arm.architecture), {})[seed] = task.needs[3]
    for (regime, architecture), shown in seeds.items():
        for seed, task in shown.items():
            following = (seed + 1) % len(shown)
            yield (
                columns(Arm(regime, architecture=architecture, kind="warm-up"), seed, task.params["steps"]),
                Task(described, {"seeds": [seed, following]}, (*images(s, regime, "real"), task, shown[following])),
            )
    for regime in s.regimes if "pilot" in s.studies else ():
        for seed, steps, added in product(range(PILOT_SEED, PILOT_SEED + s.pilot_seeds), of_regime(s, regime)[2], (0, n_ceiling(s, regime))):
            arm = Arm(regime, architecture=s.architecture, augment=s.augment, kind="pilot")
            params = {
                "architecture": s.architecture,
                "steps": steps,
                "recipe": s.recipe,
                "augment": s.augment,
                "seed": seed,
                "added": added,
                "device": s.device,
            }
            yield (
                columns(arm, seed, steps, "pilot, fresh" if added else "pilot, original"),
                Task(pilot, params, images(s, regime, "real", "fresh", "validation")),
            )


EXPERIMENT = Experiment("targeted_augmentation", Comparison, PROFILES, rows, constants={"swept": "k"})


def warmed_up(real: ImageDataset, test: ImageDataset, architecture: str, steps: int, recipe: str, passes: int | None, seed: int, device: str) -> dict:
    """The warm-up of a run of ``steps`` steps.

    Returns logits ``[N, K]``, correct ``[passes, N]``, slow_test bool ``[M]`` (the half of the test images on which the
    warm-up's loss is highest), error (of the last pass, %), seconds of the warm-up and selection_seconds of finding the
    slow examples.
    """
    model, times = build_classifier(architecture, real.image_shape, real.num_classes, seed), [clock(device)]
    seen = warm_up(model, real.images, real.labels, steps=steps, seed=seed, passes=passes, recipe=recipe, device=device)
    times.append(clock(device))
    select(SLOW, seen, seed=seed)
    times.append(clock(device))
    sure = predict(model.eval(), test.images).gather(1, test.labels[:, None])[:, 0]
    slow_test = torch.zeros(len(test), dtype=torch.bool)
    slow_test[sure.argsort(stable=True)[: len(test) // 2]] = True
    return {
        "logits": seen.logits,
        "correct": seen.correct,
        "slow_test": slow_test,
        "error": 100 * seen.errors[-1],
        "seconds": times[1] - times[0],
        "selection_seconds": times[2] - times[1],
    }


def described(real: ImageDataset, own: dict, following: dict, seeds: list[int]) -> dict:
    """What a warm-up took and found. slow_overlap: the share of a seed's slow examples that the next seed finds slow
    too, over the share of all examples that it finds slow: 1 where the seeds have nothing in common."""
    slow, other = (slow_clusters(shown["logits"], real.labels, seed=seed).double() for shown, seed in zip((own, following), seeds))
    return {
        "passes": len(own["correct"]),
        **{name: own[name] for name in ("error", "seconds", "selection_seconds")},
        "slow_share": 100 * slow.mean(),
        "slow_overlap": (slow * other).sum() / slow.sum() / other.mean(),
    }


def pilot(real: ImageDataset, fresh: ImageDataset, validation: ImageDataset, added: int, checkpoint: Path | None = None, **options) -> dict:
    """validation_error (%) after training on the real images and ``added`` fresh ones. options: of `train`."""
    training_set = with_real(real, fresh.subset(range(added))) if added else original(real)
    model, _ = train(training_set, checkpoint=checkpoint, **options)
    return {"validation_error": error(model, validation)}


def train_arm(
    real: ImageDataset,
    test: ImageDataset,
    validation: ImageDataset,
    shown: dict,
    added=None,
    per_image: float = 0.0,
    judge: Trained | None = None,
    *,
    kind: str,
    selection: str,
    k: int,
    filters: dict,
    seed: int,
    most: int | None = None,
    looks: int = 0,
    checkpoint: Path | None = None,
    **options,
) -> dict:
    """One classifier, trained and tested.

    shown: of `warmed_up`, by which examples are selected. added: fresh images, or a pool whose generation took
    ``per_image`` seconds per image. most: examples of each class that are selected at most; None: no limit. filters: of
    `filter_pool`, with the judge. looks: how often validation images are looked at while it is trained, for
    test_error_early, at the look of the least loss, which came after early_step steps. options: of `train`.
    Returns errors in % (test_error_slow: on the half of the test images that is slow), test_loss (cross-entropy, nats),
    added (images) and added_share (% of the real ones), selected_share, seconds of training and of generation.
    """
    training_set, generation = original(added if kind == "oracle's images" else real), 0.0
    chosen = torch.tensor([], dtype=torch.int64)
    if kind in ("upsampled", "generated", "fresh"):
        chosen = selected_by(shown, real, selection, seed).indices
    if most is not None:
        chosen = torch.cat([chosen[real.labels[chosen] == c][:most] for c in range(real.num_classes)]).sort().values
    if kind == "upsampled":
        training_set = upsampled(real, chosen, k)
    elif kind == "fresh":
        training_set = with_real(real, of_classes(added, real.labels[chosen].repeat(k - 1)))
    elif kind == "generated":
        taken = added.take(chosen, k)
        generation = per_image * len(taken)
        if filters:
            taken, _ = filter_pool(taken, real, judge=None if judge is None else judge.model(), **filters)
        training_set = with_generated(real, taken)
    # Named unlike `early`: a task's key takes in what its function names in its module, and that is about settings.
    watched = Earliest(validation, options["steps"], looks) if looks else None
    model, seconds = train(training_set, seed=seed, checkpoint=None if looks else checkpoint, watched=watched, **options)
    says, n = predict(model, test.images), len(training_set) - len(real)
    wrong = (says.argmax(1) != test.labels).double()
    return {
        "test_error": 100 * wrong.mean(),
        "test_error_slow": 100 * wrong[shown["slow_test"]].mean(),
        "test_loss": cross_entropy(says, test.labels),
        "validation_error": error(model, validation),
        "real_error": error(model, real),
        "added": n,
        "added_share": 100 * n / len(real),
        "selected_share": 100 * len(chosen) / len(real),
        "training_seconds": seconds,
        "generation_seconds": generation,
        **({} if watched is None else watched.result(model, test)),
    }


def cross_entropy(says: Tensor, labels: Tensor) -> Tensor:
    """Of probabilities ``[N, K]``, in nats."""
    return F.nll_loss(says.double().clamp_min(TINY).log(), labels)


class Earliest:
    """Keeps the weights of a training at the look at which the loss on (some) validation images is least."""

    def __init__(self, validation: ImageDataset, steps: int, looks: int):
        self.images = stratified_subset(validation, min(WATCHED, len(validation)), 0)
        self.every, self.loss, self.step, self.weights = max(1, steps // looks), math.inf, 0, {}

    def __call__(self, model, step: int, index, logits) -> None:
        if (step + 1) % self.every:
            return
        try:
            now = cross_entropy(predict(model.eval(), self.images.images), self.images.labels).item()
        except ValueError:  # of outputs that are not numbers: they end the training in time, with an error of its own
            now = math.inf
        if now < self.loss or not self.weights:
            self.loss, self.step = now, step + 1
            self.weights = {name: value.clone() for name, value in model.state_dict().items()}
        model.train()

    def result(self, model, test: ImageDataset) -> dict:
        """On the test images; the model then has those weights."""
        model.load_state_dict(self.weights)
        return {"test_error_early": error(model, test), "early_step": self.step}


def selected_by(shown: dict, real: ImageDataset, selection: str = SLOW, seed: int = 0) -> Selection:
    """The examples that are selected by what `warmed_up` has shown."""
    return select(selection, WarmUp(shown["logits"], real.labels, shown["correct"]), seed=seed)


def shown_images(s: Comparison, get) -> tuple[dict[str, Tensor], list[str]]:
    """Rows of images, uint8 ``[K, C, H, W]``, and the names of their columns, a class each: a fast and a slow example
    of seed 0, whose loss is nearest to the median of cluster and class, and what becomes of the slow one at each
    strength, and from noise. get: gives the results of tasks (`synaug.run.Store.get`)."""
    real, n, keys = get(*images(s, "small", "real")), s.sampling_steps, ["label", "cluster"]
    found = selected_by(get(early(s, "small", s.architecture, 0)), real).evidence
    found["off"] = (found["loss"] - found.groupby(keys)["loss"].transform("median")).abs()
    # A class whose outputs are all the same has no slow cluster.
    typical = found.groupby(keys)["off"].idxmin().unstack().dropna().astype(int)
    fast, slow = (real.subset(typical[cluster].tolist()) for cluster in (0, 1))
    denoiser = usual_denoiser(s.generator, weights_of(s.generator), s.device)
    ways = {f"strength {x:g}": {"sigma": sigma_of_strength(x), "steps": n} for x in s.strengths}
    made = {
        name: to_bytes(reconstruct(denoiser, slow.floats(), slow.labels, source_index=slow.source_index, seed=0, device=s.device, **way).images)
        for name, way in {**ways, "from noise": {"reverse_step": 2 * n, "steps": 2 * n}}.items()
    }
    return {"fast": fast.images, "slow": slow.images, **made}, [real.class_names[i] for i in typical.index]
