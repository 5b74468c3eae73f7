"""The studies of chapter 2: which classifiers are compared, arm by arm, and the cells that train and test them."""

import math
from dataclasses import dataclass, replace

from synaug.classifiers.training import AUGMENTATIONS
from synaug.experiments import targeted_cells
from synaug.experiments.targeted_cells import network_hash, splits
from synaug.sweeps import Cell

#: In the order of their priority.
STUDIES = ("k", "pilot", "optimizers", "strength", "selection", "classical", "large", "architectures", "suspects",
           "budgets")
#: Those of small effects, which have as many seeds as "k".
MORE_SEEDS = ("k", "suspects")
SLOW = "slow_learnable"
#: Ways to choose examples that "selection" compares with the slow-learnable ones.
OTHER_SELECTIONS = ("random", "all", "high_loss", "misclassified")
#: The share of slow examples that pilots count on: the larger of the published ones (second hand).
EXPECTED_SLOW = 0.4
#: Those of most comparisons; "classical" adds TrivialAugment.
BASE_AUGMENTATIONS = tuple(name for name in AUGMENTATIONS if f"{name}_trivial" in AUGMENTATIONS)
#: Seeds of pilots start here: their runs are none of the comparison's.
PILOT_SEED = 1000
#: Suspect filters; see `synaug.augmentation.pool_filters.filter_pool`.
FILTERS = {"near-copies dropped": {"near_copy_quantile": 0.05}, "off-class dropped": {"min_probability": 0.5}}


def sigma_of_strength(n: float) -> float:
    """The noise level of n of 100 denoising steps: tan(pi n / 200).

    The published recipe noises an image to step n of a cosine schedule of 100 steps (second hand). That schedule has
    alpha_bar = cos²(pi n / 200) (Nichol & Dhariwal 2021, without their offset of 0.008), and
    sigma = sqrt((1 - alpha_bar) / alpha_bar) for images in [-1, 1] (derived here). ValueError unless 0 < n < 100.
    """
    if not 0 < n < 100:
        raise ValueError(f"a strength must lie strictly between 0 and 100 steps, got {n}")
    return round(math.tan(math.pi * n / 200), 6)


@dataclass(frozen=True)
class Arm:
    """One way to train a classifier; of the first, "original", only what stands first is said.

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

    def named(self, usual: tuple[float, ...]) -> str:
        """What sets it apart beside regime, optimizer, architecture, augment, budget and k; usual: strengths."""
        apart = [self.kind] if self.selection == SLOW else [self.kind, self.selection.replace("_", " ")]
        if self.kind == "generated" and self.strengths is None:
            apart.append("from noise")
        elif self.kind == "generated" and self.strengths != usual:
            apart.append("strength " + ", ".join(f"{n:g}" for n in self.strengths) if len(self.strengths) == 1
                         else "several strengths")
        return ", ".join(apart + [self.filtered] * bool(self.filtered) + ["oracle generator"] * self.oracle)


def arms(study: str, settings: dict) -> list[Arm]:
    """What a study compares; arms that several studies share are the same ones."""
    return [arm for arm in compared(study, settings) if settings["fresh"] or arm.kind != "fresh"]


def compared(study: str, settings: dict) -> list[Arm]:
    """`arms`, those with fresh real images among them whether or not there are enough of these."""
    base = Arm(architecture=settings["architecture"], augment=settings["augment"])
    usual, ks = (settings["strength"],), settings["ks"]

    def made(like, kind, k, **more):
        return replace(like, kind=kind, k=k, **({"strengths": usual} if kind == "generated" else {}) | more)

    def four(like):
        """The original, upsampling at its published best k, generation at its own (the largest k), and its ceiling."""
        return [like, made(like, "upsampled", min(ks)), made(like, "generated", max(ks)), made(like, "fresh", max(ks))]

    if study == "k":
        return [arm for optimizer in settings["k_optimizers"] for like in [replace(base, optimizer=optimizer)]
                for arm in (like, *(made(like, kind, k) for kind in ("upsampled", "generated") for k in ks),
                            *(made(like, "fresh", k) for k in sorted({min(ks), max(ks)})))]
    if study == "optimizers":
        return [arm for optimizer in ("sgd", "sam") for arm in four(replace(base, optimizer=optimizer))]
    if study == "strength":
        return [base, *(made(base, "generated", min(ks), strengths=s)
                        for s in (*((n,) for n in settings["strengths"]), None))]
    if study == "selection":
        return [base, *(made(base, "generated", min(ks), selection=name) for name in (SLOW, *OTHER_SELECTIONS)),
                made(base, "fresh", min(ks), selection="all")]  # the others' ceiling is that of "k"
    if study == "classical":
        return [replace(base, augment="none"), base, *four(replace(base, augment=f"{base.augment}_trivial"))]
    if study == "large":
        like = replace(base, regime="large")
        ends = sorted({min(ks), max(ks)})
        return [like, made(like, "upsampled", min(ks)), *(made(like, "generated", k) for k in ends),
                made(like, "fresh", max(ks))]
    if study == "architectures":
        return [arm for name in settings["architectures"] for arm in four(replace(base, architecture=name))]
    if study == "suspects":
        most = made(base, "generated", max(ks))
        return [replace(most, oracle=True), replace(most, strengths=None), replace(most, oracle=True, strengths=None),
                replace(most, strengths=settings["strengths"]),
                *(replace(most, filtered=name) for name in FILTERS)]
    if study == "budgets":
        return [arm for budget in (0.5, 2.0) for arm in four(replace(base, budget=budget))]
    return []


def arm_cells(arm: Arm, seed: int, settings: dict, regimes: dict) -> list[Cell]:
    """The cell that trains an arm, last, after those that it needs. regimes: see `targeted_augmentation.prepare`."""
    regime, device = regimes[arm.regime], settings["device"]
    data = splits(settings["dataset"], regime["n_real"]).real
    shared = {"dataset": settings["dataset"], "n_real": regime["n_real"], "architecture": arm.architecture,
              "network": network_hash(arm.architecture, data.image_shape, data.num_classes),
              "recipe": settings["recipe"], "seed": seed, "n_evaluate": settings["n_evaluate"], "device": device}
    early = Cell(targeted_cells.early, {**shared, "steps": regime["steps"], "passes": settings["passes"]})
    parameters = {**shared, "steps": round(arm.budget * regime["steps"]), "augment": arm.augment,
                  "optimizer": arm.optimizer, "evidence": early.parameters}
    if arm.kind == "original":
        return [early, Cell(targeted_cells.train_arm, parameters, needs=(early,))]
    parameters |= {"kind": arm.kind, "selection": arm.selection, "k": arm.k}
    if arm.kind != "generated":
        return [early, Cell(targeted_cells.train_arm, parameters, needs=(early,))]
    by = regimes["large"] if arm.oracle else regime
    sigmas = None if arm.strengths is None else [sigma_of_strength(n) for n in arm.strengths]
    images = {"dataset": settings["dataset"], "n_real": regime["n_real"], "generator": by["generator"],
              "weights": by["weights"], "sigmas": sigmas, "device": device,
              "steps": settings["sampling_steps"] * (2 if sigmas is None else 1)}
    pools = []
    for k in [k for k in settings["ks"] if k <= arm.k]:
        pools.append(Cell(targeted_cells.pool, {**images, "k": k}, needs=tuple(pools[-1:])))
    parameters["generation"] = images
    if arm.filtered:
        parameters["filters"] = FILTERS[arm.filtered]
    return [early, *pools, Cell(targeted_cells.train_arm, parameters, needs=(early, *pools))]


def pilot_cells(name: str, settings: dict, regimes: dict) -> list[Cell]:
    """Whether fresh real images help a regime, as many as generation at the largest k would add if ``EXPECTED_SLOW``
    of the examples were slow, at several numbers of steps, on validation images."""
    regime = regimes[name]
    data = splits(settings["dataset"], regime["n_real"]).real
    shared = {"dataset": settings["dataset"], "n_real": regime["n_real"], "architecture": settings["architecture"],
              "network": network_hash(settings["architecture"], data.image_shape, data.num_classes),
              "recipe": settings["recipe"], "augment": settings["augment"], "n_evaluate": settings["n_evaluate"],
              "device": settings["device"]}
    return [Cell(targeted_cells.pilot, {**shared, "steps": steps, "added": added, "seed": PILOT_SEED + seed})
            for seed in range(settings["pilot_seeds"]) for steps in regime["pilot_steps"]
            for added in (0, ceiling_images(settings, regime))]


def ceiling_images(settings: dict, regime: dict) -> int:
    """How many fresh real images the pilot of a regime adds."""
    return round(EXPECTED_SLOW * (max(settings["ks"]) - 1) * regime["n_real"])
