"""Chapter 2: targeted augmentation, upsampling against generation (Nguyen et al. 2025).

``python -m synaug.experiments --experiment targeted_augmentation --profile standard --minutes 60`` records in pieces.
"""

import time

import torch
from tqdm import tqdm

from synaug.data import load_dataset
from synaug.diffusion.denoisers import generator_hash, load_denoiser
from synaug.experiments.command_line import record_profile
from synaug.experiments.plan import plan_of_comparison
from synaug.experiments.shared import check_training
from synaug.experiments.targeted_cells import GRID, finished, splits
from synaug.experiments.targeted_rows import arm_rows, pilot_rows, warm_up_rows
from synaug.experiments.targeted_studies import (BASE_AUGMENTATIONS, MORE_SEEDS, STUDIES, arm_cells, arms,
                                                 ceiling_images, pilot_cells, sigma_of_strength)
from synaug.diffusion.training import trained_on
from synaug.classifiers.optimizers import OPTIMIZERS
from synaug.run.parameters import resolve_profile, with_defaults
from synaug.run.results import provenance, tidy
from synaug.sweeps import Grid

EXPERIMENT = GRID

#: A regime has the fewest of the steps that pilots try at which fresh real images gain this many points.
CEILING_GAIN = 1.5

#: What a CPU trains in minutes.
SMALL = {"architecture": "resnet8", "recipe": "one_cycle"}

#: What a profile stands for where a parameter is None.
PROFILES = {
    "smoke": dict(**SMALL, studies=("k",), generator="fashion_mnist_2000", steps=16, pilot_steps=(16,),
                  large_generator=None, large_steps=16, large_pilot_steps=(16,), ks=(2,), strengths=(20, 50), seeds=2,
                  k_seeds=2, pilot_seeds=2, passes=1, sampling_steps=1, n_evaluate=200, architectures=()),
    "quick": dict(**SMALL, studies=("k",), generator="fashion_mnist_2000", steps=100, pilot_steps=(100,),
                  large_generator=None, large_steps=100, large_pilot_steps=(100,), ks=(2,), strengths=(20, 50, 80),
                  seeds=2, k_seeds=2, pilot_seeds=2, passes=3, sampling_steps=5, n_evaluate=2000, architectures=()),
    "standard": dict(**SMALL, studies=("k", "pilot", "optimizers", "strength", "selection", "classical", "large",
                              "architectures", "suspects", "budgets"),
                     generator="fashion_mnist_2000", steps=800, pilot_steps=(800, 1600),
                     large_generator="fashion_mnist", large_steps=2400, large_pilot_steps=(1600, 2400), ks=(2, 3, 4, 5),
                     strengths=(20, 35, 50, 65, 80), seeds=5, k_seeds=10, pilot_seeds=3, passes=None,
                     sampling_steps=9, n_evaluate=None, architectures=("vgg5", "vit_tiny")),
    # As published, as far as known: 200 passes, over four fifths of a data set, which leave too few fresh real images
    # for control. Twenty passes by a modern, fast recipe are a variant: recipe "one_cycle", steps 6_250.
    "paper": dict(studies=("k", "optimizers"), k_optimizers=("sgd", "sam"), fresh=False, generator="cifar10",
                  steps=62_500, pilot_steps=(62_500,), large_generator=None, large_steps=62_500,
                  large_pilot_steps=(62_500,), ks=(2, 3, 4, 5), strengths=(20, 35, 50, 65, 80), seeds=5, k_seeds=5,
                  pilot_seeds=3, architecture="resnet18", recipe="two_drops", augment="flip_crop", passes=None,
                  sampling_steps=9, n_evaluate=None,
                  architectures=("vgg19", "densenet121", "vit_small", "convnext_tiny", "swin_tiny")),
}

#: What other profiles stand for where these parameters are None.
USUAL = {"augment": "flip", "k_optimizers": ("sgd",), "fresh": True}


def prepare(profile=None, studies=None, generator=None, steps=None, pilot_steps=None, large_generator=None,
            large_steps=None, large_pilot_steps=None, ks=None, strength=50, strengths=None, seeds=None, k_seeds=None,
            pilot_seeds=None, architecture=None, architectures=None, recipe=None, augment=None, k_optimizers=None,
            fresh=None, passes=None, sampling_steps=None, n_evaluate=None, device="cpu", progress=False):
    """All parameters of a run, checked and completed, before anything long starts.

    profile: "smoke", "quick", "standard" or "paper"; None is $SYNAUG_PROFILE or "quick". A parameter that is None
    takes the profile's value.
    studies: some of `targeted_studies.STUDIES`.
    generator, steps, pilot_steps: of the small regime: a saved generator, whose training images are the real images;
    optimiser steps of 128 images; those that pilots try. large_...: of the large regime, whose generator is also the
    oracle of "suspects".
    ks: how often a chosen example occurs, from 2, the k of most comparisons. strength: denoising steps of 100 from
    which images are generated; strengths: those that are compared, `strength` among them.
    seeds, k_seeds, pilot_seeds: paired trainings of each arm, of those in "k" and "suspects", of pilots.
    architecture, recipe, passes: of classifiers and of the warm-up, see `synaug.classifiers` and `synaug.classifiers.warm_up`.
    augment: of classifiers, one of `targeted_studies.BASE_AUGMENTATIONS`; warm-ups have flips. architectures: others to
    compare. k_optimizers: of "k", "sgd" among them. fresh: whether fresh real images are added for control.
    sampling_steps: Heun steps from the noise level of ``strength``, twice as many from noise alone; 9 are as fine as
    EDM's grid of 18 from 80 is below sigma = 1.
    n_evaluate: test and validation images, each; None for all.
    Returns (dict of all parameters, dict of the regimes). ValueError says what was wrong and what is allowed.
    """
    settings = completed(locals())
    torch.device(device)
    regimes = {"small": regime(settings, "generator", "steps", "pilot_steps")}
    if {"large", "suspects"} & set(settings["studies"]):
        regimes["large"] = regime(settings, "large_generator", "large_steps", "large_pilot_steps")
        if regimes["large"]["dataset"] != regimes["small"]["dataset"]:
            raise ValueError("generator and large_generator must be of one data set, got "
                             f"{regimes['small']['dataset']} and {regimes['large']['dataset']}")
        if regimes["large"]["n_real"] <= regimes["small"]["n_real"]:
            raise ValueError("large_generator must have been trained on more images than generator, got "
                             f"{regimes['large']['n_real']} and {regimes['small']['n_real']}")
    settings["dataset"] = regimes["small"]["dataset"]
    test = load_dataset(settings["dataset"], "test")
    for name in (settings["architecture"], *settings["architectures"]):
        check_training(test, architecture=name, steps=1, recipe=settings["recipe"])
    for name, of in regimes.items():
        check_regime(name, of, settings, test)
    return settings, regimes


def completed(given):
    """The parameters of `prepare`, those that are None by the profile; ValueError where they make no sense."""
    given = {name: value for name, value in given.items() if value is not None}
    profile = resolve_profile(given.get("profile"))
    settings = {**USUAL, **PROFILES[profile], **given, "profile": profile}
    for name in ("studies", "pilot_steps", "large_pilot_steps", "ks", "strengths", "architectures", "k_optimizers"):
        settings[name] = values = tuple(settings[name])
        if len(set(values)) != len(values) or (not values and name != "architectures"):
            raise ValueError(f"{name} must be different values, at least one, got {values}")
    if unknown := sorted(set(settings["studies"]) - set(STUDIES)):
        raise ValueError(f"studies must be some of {', '.join(STUDIES)}, got {', '.join(unknown)}")
    if not {"sgd"} <= set(settings["k_optimizers"]) <= set(OPTIMIZERS):
        raise ValueError(f"k_optimizers must be sgd, or sgd and sam; got {settings['k_optimizers']}")
    if settings["augment"] not in BASE_AUGMENTATIONS:
        raise ValueError(f"augment must be one of {', '.join(BASE_AUGMENTATIONS)}, got {settings['augment']!r}")
    if "architectures" in settings["studies"] and not settings["architectures"]:
        raise ValueError("the study of architectures needs some: name them in architectures")
    if not isinstance(settings["fresh"], bool):
        raise ValueError(f"fresh must be True or False, got {settings['fresh']!r}")
    whole = [("ks", k, 2) for k in settings["ks"]] + [(n, settings[n], 2) for n in ("seeds", "k_seeds", "pilot_seeds")]
    whole += [(n, settings[n], 1) for n in ("steps", "large_steps", "sampling_steps")]
    whole += [(n, s, 1) for n in ("pilot_steps", "large_pilot_steps") for s in settings[n]]
    whole += [(n, settings[n], 1) for n in ("passes", "n_evaluate") if settings[n] is not None]
    for name, value, least in whole:
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise ValueError(f"{name} must be whole, at least {least}, got {value!r}")
    if 2 not in settings["ks"]:
        raise ValueError(f"ks must hold 2, the published best of upsampling, got {settings['ks']}")
    settings["ks"] = tuple(sorted(settings["ks"]))
    for n in (settings["strength"], *settings["strengths"]):
        sigma_of_strength(n)
    if settings["strength"] not in settings["strengths"]:
        raise ValueError(f"strengths must hold strength = {settings['strength']}, got {settings['strengths']}")
    if {"large", "suspects"} & set(settings["studies"]) and settings["large_generator"] is None:
        raise ValueError("the studies large and suspects need a large_generator, trained on more images")
    return settings


def regime(settings, generator, steps, pilot_steps):
    """What the parameters of a regime stand for. ValueError where the generator has seen other images than the first
    ones of the stratified order, which are the classifiers' real images."""
    denoiser = load_denoiser(settings[generator], settings["device"])
    whole, subset = trained_on(settings[generator])
    real = splits(whole.name, len(subset)).real
    if not torch.equal(real.source_index.sort().values, subset.source_index.sort().values):
        raise ValueError(f"{generator}: {settings[generator]} was trained on another subset of {whole.name} than the "
                         f"first {len(subset)} of its stratified order with seed 0")
    return {"generator": settings[generator], "weights": generator_hash(denoiser), "dataset": whole.name,
            "n_real": len(subset), "steps": settings[steps], "pilot_steps": settings[pilot_steps]}


def check_regime(name, of, settings, test):
    """ValueError where the steps do not hold the warm-up, or there are too few fresh or other images."""
    data, k = splits(of["dataset"], of["n_real"]), max(settings["ks"])
    held, needed = of["steps"] * 128 // of["n_real"], settings["passes"] or 3
    if held < needed:
        raise ValueError(f"{of['steps']} steps of 128 are {held} passes over the {of['n_real']} images of the {name} "
                         f"regime; the warm-up needs {needed}")
    fresh, real = (part.labels.bincount(minlength=data.real.num_classes) for part in (data.fresh, data.real))
    needs_fresh = any(arm.kind == "fresh" for study in settings["studies"] for arm in arms(study, settings))
    if needs_fresh and (fresh < (k - 1) * real).any():
        raise ValueError(f"the fresh control at k = {k} may need {k - 1} images for each of the {of['n_real']} of the "
                         f"{name} regime, class by class; there are {len(data.fresh)} (fresh=False leaves it out)")
    if "pilot" in settings["studies"] and len(data.fresh) < ceiling_images(settings, of):
        raise ValueError(f"the pilot adds {ceiling_images(settings, of)} fresh images, there are {len(data.fresh)}")
    fewest = min(len(test), len(data.validation))
    if settings["n_evaluate"] is not None and not data.real.num_classes <= settings["n_evaluate"] <= fewest:
        raise ValueError(f"n_evaluate must be in {data.real.num_classes}..{fewest}, got {settings['n_evaluate']}")


def in_order(settings):
    """(arm, seed) of each training, ("pilot", None) of pilots: study by study, seed by seed, further seeds last."""
    seeds, more = settings["seeds"], settings["k_seeds"]
    for study, own in [*((study, range(min(seeds, more) if study in MORE_SEEDS else seeds))
                         for study in settings["studies"]),
                       *((study, range(seeds, more)) for study in MORE_SEEDS if study in settings["studies"])]:
        if study == "pilot":
            yield "pilot", None
        for seed in own:
            yield from ((arm, seed) for arm in arms(study, settings))


def planned(settings, regimes):
    """(arm, seed, its cells) of each training, and (regime, None, its pilot's cells), as `in_order`."""
    for arm, seed in in_order(settings):
        if seed is not None:
            yield arm, seed, arm_cells(arm, seed, settings, regimes)
        else:
            piloted = [name for name in regimes if name == "small" or "large" in settings["studies"]]
            yield from ((name, None, pilot_cells(name, settings, regimes)) for name in piloted)


def plan(**parameters):
    """As `mode_concentration.plan`."""
    settings = completed(with_defaults(prepare, parameters))
    return plan_of_comparison(f"{EXPERIMENT} at profile {settings['profile']}", settings, set(in_order(settings)))


def cells(**parameters):
    """The cells that `run` needs, as a `synaug.sweeps.Grid`; the arguments are those of `prepare`."""
    return grid(*prepare(**parameters))


def grid(settings, regimes):
    """Every cell once, in the order of `planned`."""
    once = {}
    for _, _, needed in planned(settings, regimes):
        once |= {str((cell.function.__name__, cell.parameters)): cell for cell in needed
                 if str((cell.function.__name__, cell.parameters)) not in once}
    return Grid(GRID, once.values())


def run(**parameters):
    """Every arm, warm-up and pilot as a tidy frame; the arguments are those of `prepare`.

    x is k. Columns beside the usual ones: regime, n_real, steps, budget (steps over the regime's), optimizer,
    architecture, augment, selection, strength (denoising steps of 100; NaN unless it is one), sigma.
    Errors, shares and gains are in %. Rows of arm "warm-up" and of arms "pilot, ..." (validation only) stand beside.
    """
    start = time.perf_counter()
    settings, regimes = prepare(**parameters)
    whole = grid(settings, regimes)
    elapsed = 0.0
    for cell in tqdm(whole.cells, desc=EXPERIMENT, unit="cell", disable=not settings["progress"]):
        before = time.perf_counter()
        finished(cell.function, cell.parameters)
        elapsed += time.perf_counter() - before
    rows, seen = [], set()
    for arm, seed, needed in planned(settings, regimes):
        if seed is None:
            rows += pilot_rows(arm, needed)
        elif (arm, seed) not in seen:
            seen.add((arm, seed))
            rows += arm_rows(arm, seed, needed[-1], settings, regimes)
    rows += warm_up_rows(whole, {of["n_real"]: name for name, of in regimes.items()})
    used = {name: value for name, value in settings.items() if name != "progress"}
    used["regimes"] = regimes
    seconds = time.perf_counter() - start - elapsed + whole.total_seconds()
    return tidy(rows, provenance(used, seconds, settings["device"], regimes["small"]["weights"]),
                experiment=EXPERIMENT, dataset=settings["dataset"], profile=settings["profile"], swept="k")


if __name__ == "__main__":
    from synaug.experiments.targeted_augmentation import run  # of a module by its name, as cells' functions must be

    record_profile(run, EXPERIMENT, PROFILES, __doc__.splitlines()[0], options={"device": "cpu"})
