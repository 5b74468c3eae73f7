"""Where mode concentration comes from, on real images: the score's error, the sampler, and terms that explore.

Three parts, over pools of equally many samples of Fashion-MNIST: a ladder of generators from bad to good; the dials of
the sampler of the best; exploration terms, judged by classifiers trained on their samples and by outer-edge recall.
``python -m synaug.experiments --experiment real_generators --profile standard --minutes 60`` records it in pieces.
"""

import time

import pandas as pd
from tqdm import tqdm

from synaug.diffusion.denoisers import load_denoiser, new_denoiser
from synaug.metrics.encoders import BUILDERS
from synaug.experiments.command_line import record_profile
from synaug.experiments.generator_ladder import recipe_of, saved, train_rungs
from synaug.experiments.generator_pools import AUTOGUIDANCE, explorer, pool
from synaug.experiments.real_generators_cells import EXPERIMENT, measure_losses, measure_pool, real_sets
from synaug.experiments.real_generators_rows import loss_ranks, loss_tables, rung_of
from synaug.experiments.shared import check_training, real_images
from synaug.metrics import FRESH_REAL
from synaug.run.parameters import resolve_profile
from synaug.run.results import CellCache, provenance, tidy
from synaug.diffusion.schedules import sigma_of_reverse_step
from synaug.sweeps import Cell, Grid

PARTS = ("ladder", "dials", "exploration")
#: Arms beside the terms: samples as they are, and no samples at all.
PLAIN, REAL_ALONE = "plain", "real alone"
NOISE, MIDDLE = "noise", "middle"  # where the way back starts

#: Strengths of the exploration terms, fixed before any was measured; the last is the one that claims are about.
STRENGTHS = {"noise inflation": (1.02, 1.05), "CADS": (0.5, 1.0), "guidance interval": (2.0,), AUTOGUIDANCE: (2.0,),
             "particle guidance": (0.003, 0.01), "minority guidance": (0.1,)}
#: Sampler dials: (solver, steps, churn, s_noise).
DETERMINISTIC = tuple((solver, steps, 0.0, 1.0) for solver in ("heun", "euler") for steps in (5, 10, 18, 40))
STOCHASTIC = (("heun", 18, 4.0, 1.0), ("heun", 18, 20.0, 1.0), ("heun", 18, 20.0, 1.02), ("euler", 18, 20.0, 1.0))

#: What a profile stands for where a parameter is None.
PROFILES = {
    "smoke": dict(parts=("dials", "exploration"), n_images=150, n_losses=20, n_evaluate=100, seeds=1,
                  classifier_steps=3, steps=2, encoder="pixels", sizes=(), snapshots=(), batch_size=32, n_bootstrap=10,
                  dials=(("heun", 2, 0.0, 1.0),), strengths={"CADS": (1.0,)}),
    "quick": dict(parts=("dials", "exploration"), n_images=150, n_losses=200, n_evaluate=1000, seeds=1,
                  classifier_steps=50, steps=5, encoder="efficientnet_lite0", sizes=(), snapshots=(), batch_size=128,
                  n_bootstrap=200, dials=(("heun", 5, 0.0, 1.0), ("euler", 10, 0.0, 1.0)),
                  strengths={"CADS": (1.0,), "particle guidance": (0.01,)}),
    "standard": dict(parts=PARTS, n_images=800, n_losses=500, n_evaluate=4000, seeds=5, classifier_steps=250, steps=10,
                     encoder="efficientnet_lite0", sizes=((64, 128), (32, 64), (16, 32)),
                     snapshots=(32_000, 64_000, 128_000), batch_size=128, n_bootstrap=1000,
                     dials=(*DETERMINISTIC, *STOCHASTIC), strengths=STRENGTHS),
    "paper": dict(parts=PARTS, n_images=4000, n_losses=5000, n_evaluate=10_000, seeds=10, classifier_steps=5000,
                  steps=18, encoder="efficientnet_lite0", sizes=((64, 128), (32, 64), (16, 32)),
                  snapshots=(32_000, 128_000, 512_000, 2_048_000), batch_size=128, n_bootstrap=1000,
                  dials=(*DETERMINISTIC, *STOCHASTIC), strengths=STRENGTHS),
}


def prepare(profile=None, generator="fashion_mnist", parts=None, n_images=None, n_losses=None, n_evaluate=None,
            seeds=None, classifier="resnet8", recipe="one_cycle", classifier_batch=64, classifier_steps=None,
            steps=None, encoder=None, sizes=None, snapshots=None, batch_size=None, middle=50,
            loss_sigmas=(0.1, 0.3, 1.0, 3.0, 10.0), dials=None, strengths=None, k=5, n_bootstrap=None, device="cpu",
            progress=False):
    """All parameters of a run, checked and completed, before anything long starts.

    profile: "smoke", "quick", "standard" or "paper"; None is $SYNAUG_PROFILE or "quick". A parameter that is None
    takes the profile's value.
    generator: name or folder of the best generator; the ladder's rungs are trained by its recipe, on its images.
    parts: some of "ladder", "dials", "exploration", in the order in which they are to be run.
    n_images: samples of each pool, and real images of each set; n_losses: held-out images in denoising losses;
    n_evaluate: test images scored. seeds: classifiers a pool; in exploration, where each has a pool of its own, also
    pools. classifier, recipe, classifier_batch, classifier_steps: how they are trained. steps: Heun steps of a pool.
    encoder: of the features, see `synaug.metrics.encoders`. sizes, snapshots, batch_size: channels of the ladder's generators,
    numbers of images after which each is looked at, and their batches. middle: the reverse step, of 100, that the
    ladder's reconstructions start from. loss_sigmas: noise levels of denoising losses.
    dials: (solver, steps, churn, s_noise) of each pool, see `synaug.diffusion.samplers`. strengths: {exploration term: its
    strengths}; autoguidance needs sizes and snapshots, of which the smallest is its weak denoiser, with or without the
    ladder's part. k: neighbours. n_bootstrap: resamples behind intervals.
    Returns a dict. ValueError says what was wrong and what is allowed.
    """
    given = {name: value for name, value in locals().items() if value is not None}
    profile = resolve_profile(profile)
    settings = {**PROFILES[profile], **given, "profile": profile}
    for name in ("parts", "sizes", "snapshots", "loss_sigmas", "dials"):
        settings[name] = tuple(tuple(v) if isinstance(v, list) else v for v in settings[name])
    settings["strengths"] = {name: tuple(values) for name, values in settings["strengths"].items()}
    parts = settings["parts"]
    if not parts or len(set(parts)) != len(parts) or not set(parts) <= set(PARTS):
        raise ValueError(f"parts must be some of {', '.join(PARTS)}, each once, got {parts}")
    for name in ("n_images", "n_losses", "n_evaluate", "seeds", "classifier_batch", "classifier_steps", "steps",
                 "batch_size", "n_bootstrap", "k"):
        value, least = settings[name], 2 if name == "classifier_batch" else 1
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise ValueError(f"{name} must be a whole number of at least {least}, got {value!r}")
    if settings["encoder"] not in ("pixels", *BUILDERS):
        raise ValueError(f"encoder must be one of {', '.join(('pixels', *BUILDERS))}, got {settings['encoder']!r}")
    if not settings["loss_sigmas"] or min(settings["loss_sigmas"]) <= 0:
        raise ValueError(f"loss_sigmas must be positive, at least one, got {settings['loss_sigmas']}")
    real = real_images(generator)
    needed = {"trained": settings["n_images"], "test": settings["n_evaluate"],
              "unseen": max(settings["n_losses"], settings["n_images"] * (settings["seeds"] + 1))}
    for name, n in needed.items():
        if len(getattr(real, name)) < n:
            raise ValueError(f"{n} {name} images are needed, {real.test.name} has {len(getattr(real, name))}: lower "
                             f"n_images, n_losses, n_evaluate or seeds")
    if settings["n_images"] < 15 * real.test.num_classes:
        raise ValueError(f"n_images must be at least 15 a class, {15 * real.test.num_classes}, for covariances in 10 "
                         f"directions, got {settings['n_images']}")
    check_training(real.test, architecture=classifier, steps=settings["classifier_steps"], recipe=recipe)
    if not isinstance(middle, int) or not 0 < middle < 100:
        raise ValueError(f"middle must be a reverse step in 1..99, got {middle!r}")
    laddered = "ladder" in parts or AUTOGUIDANCE in settings["strengths"] and "exploration" in parts
    if laddered and not (settings["sizes"] and settings["snapshots"]):
        raise ValueError("the ladder, and autoguidance, need sizes and snapshots to train")
    if any(not isinstance(images, int) or images < 1 for images in settings["snapshots"]):
        raise ValueError(f"snapshots must be whole numbers of images, at least 1, got {settings['snapshots']}")
    for size in settings["sizes"]:
        new_denoiser(real.test.subset(range(2)), channels=size)
    layout(settings)
    denoiser = load_denoiser(generator)
    for term, strengths in settings["strengths"].items():
        for strength in strengths:
            explorer(denoiser, term, strength, weak=denoiser)
    return settings


def world_of(settings, best):
    """The parameters that all measurements share. best: the saved generator, and so its training images."""
    names = ("n_images", "n_evaluate", "classifier", "recipe", "classifier_batch", "classifier_steps", "encoder", "k",
             "n_bootstrap", "device")
    return {**best, **{name: settings[name] for name in names}}


def trainings(settings):
    """A cell for each size of the ladder, the largest first."""
    return {size: Cell(train_rungs, {"recipe": recipe_of(settings["generator"], channels=size,
                                                         batch_size=settings["batch_size"]),
                                     "snapshots": settings["snapshots"]}) for size in settings["sizes"]}


def layout(settings):
    """(columns of its rows, cell) of everything that is measured, the parts in their order."""
    best, steps, every = saved(settings["generator"]), settings["steps"], range(settings["seeds"])
    trained, world = trainings(settings), world_of(settings, best)

    def measured(drawn, seeds, with_real=False, needs=()):
        parameters = {"world": world, "pool": drawn, "seeds": list(seeds), "with_real": with_real}
        return Cell(measure_pool, parameters, needs=tuple(needs))

    def rung(size, images):
        return {**trained[size].parameters, "images": images}

    floor = [({"part": "floor", "arm": arm, "swept": "none", "x": 0.0, "level": NOISE},
              measured({"real": kind, "seed": seed}, [seed], with_real=True))
             for arm, kind in ((FRESH_REAL, "fresh"), (REAL_ALONE, "none")) for seed in every]
    found = {"ladder": [], "dials": [], "exploration": []}
    for size, cell in trained.items():
        found["ladder"].append(({"part": "training"}, cell))
    rungs = [(size, images, rung(size, images), (cell,)) for size, cell in trained.items()
             for images in settings["snapshots"]]
    for size, images, generator, needs in [("saved", None, best, ()), *rungs]:
        about = {"part": "ladder", "arm": str(size), "training_images": images, "swept": "loss_rank"}
        losses = {"generator": generator, "images_of": best, "n": settings["n_losses"],
                  "sigmas": settings["loss_sigmas"], "device": settings["device"]}
        found["ladder"].append(({**about, "level": NOISE}, Cell(measure_losses, losses, needs=needs)))
        for level, sigma in ((NOISE, None), (MIDDLE, sigma_of_reverse_step(settings["middle"], 100))):
            drawn = pool(generator, steps, sigma=sigma)
            found["ladder"].append(({**about, "level": level}, measured(drawn, every, needs=needs)))
    for solver, solver_steps, churn, s_noise in settings["dials"]:
        about = {"part": "dials", "arm": dial_name(solver, churn, s_noise), "swept": "steps", "x": float(solver_steps),
                 "level": NOISE}
        found["dials"].append((about, measured(pool(best, solver_steps, solver, churn, s_noise), every)))
    for seed in every:
        for term, strengths in {PLAIN: (0.0,), **settings["strengths"]}.items():
            weak, needs = None, ()
            if term == AUTOGUIDANCE and "exploration" in settings["parts"]:
                smallest = min(trained)
                weak, needs = rung(smallest, min(settings["snapshots"])), (trained[smallest],)
            for strength in strengths if "exploration" in settings["parts"] else ():
                drawn = pool(best, steps, seed=seed) if term == PLAIN else pool(
                    best, steps, term=term, strength=strength, weak=weak, seed=seed)
                about = {"part": "exploration", "arm": term, "swept": "strength", "x": float(strength), "level": NOISE}
                found["exploration"].append((about, measured(drawn, [seed], with_real=True, needs=needs)))
    return floor + [entry for part in settings["parts"] for entry in found[part]]


def dial_name(solver, churn, s_noise):
    """How a setting of the sampler's dials is called, its number of steps apart."""
    name = solver.capitalize() + (f", churn {churn:g}" if churn else "")
    return name + (f", S_noise {s_noise:g}" if s_noise != 1 else "")


def cells(**parameters):
    """The cells that `run` needs, as a `synaug.sweeps.Grid`; the arguments are those of `prepare`."""
    settings, unique = prepare(**parameters), {}
    for _, cell in layout(settings):
        for each in (*cell.needs, cell):
            unique.setdefault(str(each), each)
    return Grid(EXPERIMENT, unique.values())


def run(**parameters):
    """Every measurement as a tidy frame; the arguments are those of `prepare`.

    Columns beside the usual ones: part ("floor" and the parts), level (from "noise" or the "middle" noise level),
    training_images (of a rung; missing for the saved generator), sigma (of denoising losses), low and high (95 %
    limits over images, of pools). seed: of the pool in exploration and floor, else of the classifier alone.
    In the ladder x is the rank of the rung's mean denoising loss, 1 for the best. Metrics: those of
    `synaug.metrics.compare` against fresh real images, accuracy (of classifiers trained on the pool alone),
    accuracy_with_real (on as many of the generator's training images and the pool), denoising_loss and loss_excess
    (minus the best rung's) at each sigma, mean_loss.
    """
    start = time.perf_counter()
    settings = prepare(**parameters)
    caches, measured, losses = {}, [], []
    for about, cell in tqdm(layout(settings), disable=not settings["progress"], desc=EXPERIMENT):
        for each in (*cell.needs, cell):
            cache = caches.setdefault(each.code, CellCache(EXPERIMENT, each.code))
            result = cache.get_or_run(each.key, lambda: each.function(**each.parameters))
        if cell.function is measure_losses:
            losses.append((about, result["losses"]))
        elif cell.function is measure_pool:
            measured.append((about, result))
    measured += loss_tables(losses, settings["loss_sigmas"])
    ranks = loss_ranks(losses)
    tables = [table.assign(**{"x": ranks.get(rung_of(about)), **about}) for about, table in measured]
    rows = pd.concat(tables, ignore_index=True).to_dict("records")
    wall = sum(cache.wall_seconds - cache.elapsed for cache in caches.values()) + time.perf_counter() - start
    origin = provenance({k: v for k, v in settings.items() if k != "progress"}, wall, settings["device"],
                        saved(settings["generator"])["weights"])
    test = real_sets(settings["generator"], settings["n_images"], settings["n_evaluate"])[2]
    return tidy(rows, origin, experiment=EXPERIMENT, dataset=test.name, profile=settings["profile"])


if __name__ == "__main__":
    from synaug.experiments.real_generators import run  # of a module by its name, as cells' functions must be

    record_profile(run, EXPERIMENT, PROFILES, __doc__.splitlines()[0])
