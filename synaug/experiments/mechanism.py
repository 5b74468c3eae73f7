"""Chapter 3, last section: is the mechanism of the two-layer theory visible in the network of chapter 2?

``python -m synaug.experiments --experiment mechanism --profile standard --minutes 60`` records in pieces.

The slow images are selected once, by a network of its own. The gradients that each training set would give (the
original one, slow images upsampled, slow images joined by generated ones) are compared at the same weights, those that
the original set has led to; how fast losses fall is compared over a training on each set, paired by seed.
"""

import math
import time

import pandas as pd
from tqdm import tqdm

from synaug.classifiers.training import AUGMENTATIONS
from synaug.diffusion.denoisers import generator_hash, load_denoiser
from synaug.experiments.command_line import record_profile
from synaug.experiments.mechanism_cells import (CODE, NAME, generate_copies, measure_gradients, select_slow,
                                                train_network)
from synaug.experiments.shared import check_training, digest, real_images, some
from synaug.run.parameters import resolve_profile
from synaug.run.results import CellCache, provenance, tidy
from synaug.diffusion.schedules import sigmas_from
from synaug.sweeps import Cell, Grid

EXPERIMENT = NAME

#: What each metric is.
METRICS = {
    "same_source_correlation": "correlation of the residuals of a slow image and its generated version",
    "synthetic_strength": "mean |residual|^2 of generated images over that of slow ones, A_gamma / A",
    "feature_ratio": "how much of the slow images' mean gradient generated ones supply, class by class",
    "loss": "mean cross-entropy of fast, slow and generated images",
    "slow_fraction": "share of the real images that are slow", "warm_up_passes": "passes before they were selected",
    "set_share": "set_variance as a share of a mini-batch gradient's whole variance",
    "set_variance_formula": "set_variance by Theorem 4.3, with the measured correlation for generated images",
    "own_share": "share of the speed of slow images that their residuals and their own copies' cause",
    "train_loss_slow": "mean cross-entropy of slow real images, each once",
    "train_loss_fast": "the same of fast ones",
    "test_loss": "mean cross-entropy of test images",
    "test_error": "share of test images that are misclassified",
}
#: Those that are given over the original set's, at the same stage of its own training.
RELATIVE = {
    "batch_variance": "variance of a mini-batch's gradient given the training set",
    "sampled_variance": "the same from real batches of training (batch statistics, augmentation)",
    "set_variance": "variance of the whole set's gradient over training sets",
    "noise_align": "mean |<gradient, residual>| of the slow subset's images",
    "noise_align_own": "the part of it that the image and its own copies cause",
    "speed_slow": "mean <gradient, gradient of the example> of slow real images",
    "speed_fast": "the same of fast ones",
}

#: When gradients are looked at, as shares of the training's steps.
STAGES = {"early": 0.1, "middle": 0.4, "late": 1.0}
#: When losses are recorded, likewise.
RECORDED = (0.05, 0.1, 0.2, 0.4, 0.7, 1.0)

BATCH_SIZE = 128

#: What a profile stands for where a parameter is None.
PROFILES = {
    "smoke": dict(generator="fashion_mnist_2000", n_images=130, classifier_steps=10, ks=(2,), sigmas=(1.0,),
                  sampler_steps=1, seeds=2, n_evaluate=50, sampled_batches=2, stages=("early",)),
    "quick": dict(generator="fashion_mnist_2000", n_images=150, classifier_steps=60, ks=(2, 5), sigmas=(1.0, 80.0),
                  sampler_steps=4, seeds=2, n_evaluate=500, sampled_batches=3, stages=("early", "late")),
    "standard": dict(generator="fashion_mnist_2000", n_images=None, classifier_steps=800, ks=(2, 5),
                     sigmas=(1.0, 3.0, 80.0), sampler_steps=9, seeds=5, n_evaluate=2000, sampled_batches=25,
                     stages=tuple(STAGES)),
    "paper": dict(generator="fashion_mnist", n_images=None, classifier_steps=4000, ks=(2, 5),
                  sigmas=(0.3, 1.0, 3.0, 80.0), sampler_steps=18, seeds=10, n_evaluate=None, sampled_batches=100,
                  stages=tuple(STAGES)),
}


def prepare(profile=None, generator=None, n_images=None, classifier="resnet8", classifier_steps=None,
            recipe="one_cycle", augment="flip", ks=None, sigma=1.0, sigmas=None, sampler_steps=None, seeds=None,
            selection_seed=100, n_evaluate=None, sampled_batches=None, stages=None, progress=False):
    """All parameters of a run, checked and completed, before anything long starts.

    profile: "smoke", "quick", "standard" or "paper"; None is $SYNAUG_PROFILE or "quick". A parameter that is None
    takes the profile's value.
    generator: name or folder of a checkpoint, whose training record says which images it was trained on; the first
    n_images of those (None for all) are the original training set.
    classifier, classifier_steps, recipe, augment: see `synaug.classifiers`; batches of 128.
    ks: times a slow image occurs, whole numbers above 1; trainings take the largest.
    sigma: noise level that slow images are taken to, where copies are generated for the trainings; 1 is the published
    50 of 100 steps, see `targeted_studies.sigma_of_strength`. sigmas: levels whose copies' gradients are measured,
    sigma among them; 80 is from noise alone but for 1 part in 80. sampler_steps: Heun steps from any of them.
    seeds: networks, 0, 1, ... selection_seed: of the network that selects the slow images.
    n_evaluate: test images, None for all. sampled_batches: mini-batches behind "sampled_variance".
    stages: some of `STAGES`, when gradients are measured.
    ValueError says what was wrong and what is allowed; FileNotFoundError where there is no such generator.
    """
    given = {name: value for name, value in locals().items() if value is not None}
    profile = resolve_profile(profile)
    settings = {**PROFILES[profile], **given, "profile": profile}
    for name, least in (("n_images", BATCH_SIZE), ("classifier_steps", 10), ("sampler_steps", 1), ("seeds", 2),
                        ("selection_seed", 0), ("n_evaluate", 1), ("sampled_batches", 2)):
        check_whole(name, settings[name], least, name in ("n_images", "n_evaluate"))
    for name in ("ks", "sigmas", "stages"):
        settings[name] = values = tuple(settings[name])
        if not values or len(set(values)) != len(values):
            raise ValueError(f"{name} must be different values, at least one, got {values}")
    for k in settings["ks"]:
        check_whole("ks", k, 2)
    if unknown := sorted(set(settings["stages"]) - set(STAGES)):
        raise ValueError(f"stages must be some of {', '.join(STAGES)}, got {', '.join(unknown)}")
    if sigma not in settings["sigmas"]:
        raise ValueError(f"sigmas must hold sigma = {sigma:g}, got {settings['sigmas']}")
    for level in settings["sigmas"]:
        if not 0 < level < math.inf:
            raise ValueError(f"sigmas must be positive and finite, got {level}")
        sigmas_from(float(level), settings["sampler_steps"])
    if augment not in AUGMENTATIONS or augment.endswith("trivial"):
        allowed = ", ".join(name for name in AUGMENTATIONS if not name.endswith("trivial"))
        raise ValueError(f"augment must be one of {allowed}, got {augment!r}")
    real = real_images(settings["generator"])
    data = some(real.trained, settings["n_images"])
    if settings["classifier_steps"] * BATCH_SIZE < 3 * len(data):
        raise ValueError(f"the warm-up needs three passes over {len(data)} images, classifier_steps = "
                         f"{settings['classifier_steps']} of {BATCH_SIZE} are fewer")
    if settings["n_evaluate"] is not None and settings["n_evaluate"] > len(real.test):
        raise ValueError(f"n_evaluate must be at most {len(real.test)}, got {settings['n_evaluate']}")
    check_training(data, architecture=classifier, steps=settings["classifier_steps"], recipe=recipe)
    return settings


def check_whole(name, value, least, or_none=False):
    if value is None and or_none:
        return
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ValueError(f"{name} must be whole, at least {least}, got {value!r}")


def run(**parameters):
    """Every measurement as a tidy frame; the arguments are those of `prepare`.

    Columns beside the usual ones: part ("selection", "learning", "premises", "consequences"), weights (whose the
    gradients are: "original", those that the original set has led to, or "own"), sigma (of generated images, else 0),
    step, stage (of `STAGES`, "" at other steps). swept: "k"; "sigma"; "progress", the share of the training's steps.
    Metrics: see `METRICS` and `RELATIVE`.
    """
    start = time.perf_counter()
    settings = prepare(**parameters)
    cache, tables = CellCache(EXPERIMENT, CODE), []
    for cell in tqdm(grid(settings).cells, disable=not settings["progress"], desc=EXPERIMENT):
        result = cache.get_or_run(cell.key, lambda: cell.function(**cell.parameters))
        tables.append(table(cell, result, settings))
    rows = relative(pd.concat(tables, ignore_index=True)).to_dict("records")
    seconds = time.perf_counter() - start - cache.elapsed + cache.wall_seconds
    origin = provenance({name: value for name, value in settings.items() if name != "progress"}, seconds,
                        generator=generator_hash(load_denoiser(settings["generator"])))
    return tidy(rows, origin, experiment=EXPERIMENT, dataset=real_images(settings["generator"]).test.name,
                profile=settings["profile"])


def cells(**parameters):
    """The cells that `run` needs, as a `synaug.sweeps.Grid`; the arguments are those of `prepare`."""
    return grid(prepare(**parameters))


def grid(settings):
    """The selection, pools of copies, trainings, and gradients at each stage of those on the original set."""
    data = some(real_images(settings["generator"]).trained, settings["n_images"])
    images = {"generator": settings["generator"], "n": settings["n_images"], "digest": digest(data)}
    training = {"classifier": settings["classifier"], "steps": settings["classifier_steps"],
                "recipe": settings["recipe"], "augment": settings["augment"], "batch_size": BATCH_SIZE}
    selection = Cell(select_slow, {"images": images, "training": training, "seed": settings["selection_seed"]})
    weights, most, sigma = generator_hash(load_denoiser(settings["generator"])), max(settings["ks"]), settings["sigma"]
    # Where nothing is trained on the copies, those of the smallest k do.
    pools = {float(level): Cell(generate_copies, {"selection": selection.parameters, "weights": weights,
                                                  "sigma": float(level), "steps": settings["sampler_steps"],
                                                  "k": most if level == sigma else min(settings["ks"])}, (selection,))
             for level in settings["sigmas"]}
    sets = {"original": [("original", 1, 0.0)], "upsampled": [("upsampled", k, 0.0) for k in settings["ks"]],
            "generated": [("generated", k, level) for level, pool in pools.items() for k in settings["ks"]
                          if k <= pool.parameters["k"]]}
    trainings, gradients, stages = [], [], stage_names(settings)
    for seed in range(settings["seeds"]):
        for arm, needed in (("original", {}), ("upsampled", {}), ("generated", {sigma: pools[sigma]})):
            pool = pools[sigma].parameters if needed else None
            network = Cell(train_network, {
                "selection": selection.parameters, "training": training, "seed": seed, "arm": arm,
                "k": 1 if arm == "original" else most, "pool": pool, "recorded": steps_at(settings, RECORDED),
                "kept": list(stages), "n_evaluate": settings["n_evaluate"]},
                (selection, *needed.values()))
            trainings.append(network)
            looked_at = sum(sets.values(), []) if arm == "original" else [(arm, most, sigma if needed else 0.0)]
            used = pools if arm == "original" else needed
            gradients += [Cell(measure_gradients, {
                "network": network.parameters, "step": step, "sets": looked_at,
                "pools": [pool.parameters for pool in used.values()],
                "sampled_batches": settings["sampled_batches"]}, (network, *used.values()))
                for step in stages]
    return Grid(EXPERIMENT, [selection, *pools.values(), *trainings, *gradients])


def stage_names(settings, stages=None):
    """Stages by their steps; by default those at which gradients are measured."""
    return {steps_at(settings, [STAGES[name]])[0]: name for name in stages or settings["stages"]}


def steps_at(settings, shares):
    """Shares of the training's steps as steps, ascending, each once."""
    return sorted({max(1, round(share * settings["classifier_steps"])) for share in shares})


def table(cell, result, settings):
    """What a cell has found, as rows of the frame; pools have none."""
    own = cell.parameters
    if cell.function is measure_gradients:
        # What is measured in training is of each network's own weights; all else of the original set's is so, too.
        original = own["network"]["arm"] == "original"
        weights = "own" if not original else result["metric"].map({"sampled_variance": "own"}).fillna("original")
        return result.assign(seed=own["network"]["seed"], step=own["step"], stage=stage_names(settings)[own["step"]],
                             weights=weights)
    if cell.function is train_network:
        found = result["losses"]
        sigma = settings["sigma"] if own["arm"] == "generated" else 0.0
        return found.assign(part="learning", arm=own["arm"], swept="progress", x=found["x"] / own["training"]["steps"],
                            step=found["x"], stage=found["x"].map(stage_names(settings, STAGES)).fillna(""),
                            seed=own["seed"], sigma=sigma, weights="own")
    if cell.function is select_slow:
        found = {"slow_fraction": result["fraction"], "warm_up_passes": result["passes"]}
        return pd.DataFrame({"metric": found.keys(), "value": found.values()}).assign(
            part="selection", arm="original", swept="k", x=1.0, seed=own["seed"], sigma=0.0, step=0, stage="",
            weights="own")
    return pd.DataFrame()


def relative(frame):
    """The frame with the metrics of `RELATIVE` over the original set's of the same seed and stage."""
    keys = ["seed", "stage", "metric"]
    base = frame[frame["metric"].isin(RELATIVE) & (frame["arm"] == "original")]
    over = frame.merge(base[[*keys, "value"]].rename(columns={"value": "base"}), on=keys, how="left")["base"]
    return frame.assign(value=frame["value"] / over.fillna(1.0).to_numpy())


if __name__ == "__main__":
    from synaug.experiments.mechanism import run  # of a module by its name, as cells' functions must be

    record_profile(run, EXPERIMENT, PROFILES, __doc__.splitlines()[0], options={})
