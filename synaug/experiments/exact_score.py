"""Where mode concentration comes from, first where everything is known: reverse processes of random mixtures.

An exact reverse process keeps the distribution. Over the same worlds this separates the four suspects: the reverse
process itself (exact score, fine grid), its discretisation (coarse grids), an error of the score (known ones around
the exact score) and the metric (sources as the reference instead of fresh draws).
``python -m synaug.experiments.exact_score --profile standard`` records the results of a profile.
"""

import time

import pandas as pd
import torch
from tqdm import tqdm

import synaug.metrics
from synaug.theory import mixtures
from synaug.diffusion import perturbed as perturbed_denoisers
from synaug.diffusion import reconstruction
from synaug.diffusion import samplers
from synaug.diffusion import schedules
from synaug.experiments import mixture_worlds
from synaug.experiments.command_line import record_profile
from synaug.experiments.mixture_worlds import measure, measure_floor, world_draws
from synaug.metrics import FRESH_REAL
from synaug.run.parameters import resolve_profile
from synaug.diffusion.perturbed import ClassBlind, Guided, ScaledScore, ScoreNoise, SmoothedOverSigma
from synaug.theory.mixtures import SIGMA_DATA
from synaug.run.results import CellCache, fingerprint, provenance, tidy
from synaug.diffusion.samplers import check_sampler, sample
from synaug.diffusion.schedules import reverse_sigmas, sigma_of_reverse_step, sigmas_from

EXPERIMENT = "exact_score"
STEPS = 100  # T, of the whole reverse grid

#: What a cell's result depends on beside its parameters.
CODE = torch.__version__ + " " + fingerprint(mixtures, perturbed_denoisers, reconstruction, samplers,
                                             schedules, synaug.metrics, mixture_worlds, __file__)

EXACT = "exact score"
#: Known errors of the score: what x is (``swept``), the parameter that lists its values, and the denoiser it makes.
PERTURBATIONS = {
    "scaled score": ("factor", "factors", lambda world, x, seed: ScaledScore(world, x)),
    "score noise": ("level", "noises", lambda world, x, seed: ScoreNoise(world, x, SIGMA_DATA, seed)),
    "smoothed score": ("width", "widths", lambda world, x, seed: SmoothedOverSigma(world, x)),
    "guidance": ("scale", "guidances", lambda world, x, seed: Guided(world, x)),
    "class-blind": ("scale", None, lambda world, x, seed: ClassBlind(world)),  # guidance of scale 0
}
#: Coarse grids: the solver, and whether there is churn.
SOLVERS = {"Heun": ("heun", False), "Euler": ("euler", False), "Heun, churn": ("heun", True),
           "Euler, churn": ("euler", True)}
SWEPT = {FRESH_REAL: "t_re", EXACT: "t_re"} | dict.fromkeys(SOLVERS, "steps") | {
    arm: swept for arm, (swept, _, _) in PERTURBATIONS.items()}

#: What a profile stands for where a parameter is None.
PROFILES = {
    "smoke": dict(worlds=2, n_points=150, reverse_steps=(0, 50, 100), stride=4, levels=(100,), grids=(5, 10),
                  factors=(0.9, 1.1), noises=(0.3,), widths=(1.0,), guidances=(2.0,)),
    "quick": dict(worlds=10, n_points=300, reverse_steps=tuple(range(0, 101, 10)), stride=1, levels=(100,),
                  grids=(5, 10, 18, 35), factors=(0.95, 1.05), noises=(0.2,), widths=(1.0,), guidances=(2.0,)),
    "standard": dict(worlds=10, n_points=1000, reverse_steps=tuple(range(101)), stride=1, levels=(50, 100),
                     grids=(5, 10, 18, 35, 100), factors=(0.9, 0.95, 0.98, 0.99, 1.01, 1.02, 1.05, 1.1),
                     noises=(0.05, 0.1, 0.2, 0.4), widths=(0.5, 1.0), guidances=(1.5, 2.0, 4.0)),
    "paper": dict(worlds=20, n_points=5000, reverse_steps=tuple(range(101)), stride=1, levels=(30, 50, 70, 100),
                  grids=(5, 10, 18, 35, 100), factors=(0.9, 0.95, 0.98, 0.99, 1.01, 1.02, 1.05, 1.1),
                  noises=(0.05, 0.1, 0.2, 0.4), widths=(0.25, 0.5, 1.0), guidances=(1.5, 2.0, 4.0)),
}


def prepare(profile=None, worlds=None, n_points=None, reverse_steps=None, stride=None, levels=None, grids=None,
            churn=10.0, factors=None, noises=None, widths=None, guidances=None, k=5, progress=False):
    """All parameters of a run, checked and completed, before anything long starts.

    profile: "smoke", "quick", "standard" or "paper"; None is $SYNAUG_PROFILE or "quick". A parameter that is None
    takes the profile's value.
    worlds: random mixtures, of seeds 0, 1, ...; n_points: sources of each, and as many fresh draws.
    reverse_steps: levels of the exact score, in 0 .. 100, of which 0 is the sources themselves.
    stride: every stride-th level of the 100-step grid is taken, with Heun, by the exact and the perturbed scores.
    levels: reverse steps, above 0, that the other arms start from. grids: their steps on coarse grids, down from that
    noise level. churn: EDM's S_churn, in the arms that have it.
    factors, noises, widths, guidances: of `synaug.diffusion.perturbed`. k: neighbours in precision and recall.
    ValueError says what was wrong and what is allowed.
    """
    given = {name: value for name, value in locals().items() if value is not None}
    profile = resolve_profile(profile)
    settings = {**PROFILES[profile], **given, "profile": profile}
    for name in ("worlds", "n_points", "k"):
        if not isinstance(settings[name], int) or isinstance(settings[name], bool) or settings[name] < 1:
            raise ValueError(f"{name} must be a whole number of at least 1, got {settings[name]!r}")
    for name in ("reverse_steps", "levels", "grids", "factors", "noises", "widths", "guidances"):
        settings[name] = values = tuple(settings[name])
        if len(set(values)) != len(values):
            raise ValueError(f"{name} must be different values, got {values}")
    for level in (*settings["reverse_steps"], *settings["levels"]):
        reverse_sigmas(level, STEPS, stride=settings["stride"])
    if 0 not in settings["reverse_steps"] or STEPS not in settings["reverse_steps"] or 0 in settings["levels"]:
        raise ValueError(f"reverse_steps must hold 0, the sources, and {STEPS}, noise alone, and levels no 0; got "
                         f"{settings['reverse_steps']} and {settings['levels']}")
    for steps in settings["grids"]:
        sigmas_from(1.0, steps)
    check_sampler("heun", churn)
    for seed in range(settings["worlds"]):
        draws = world_draws(seed, settings["n_points"], k)
        for _, values, make in PERTURBATIONS.values():
            for x in settings.get(values, ()):
                make(draws.world, x, seed)
    return settings


def run(**parameters):
    """Every measurement as a tidy frame; the arguments are those of `prepare`.

    seed: the world's. Columns beside the usual ones: t_re and sigma (where the reverse process starts), reference
    ("source" or "fresh" draws, or the "world" itself). The rows of the arm "fresh real" are the floor: fresh draws in
    place of reconstructions, the mean over several.
    """
    start = time.perf_counter()
    settings = prepare(**parameters)
    cache, tables = CellCache(EXPERIMENT, CODE), []
    cells = [(seed, cell) for seed in range(settings["worlds"]) for cell in [None, *arms(settings)]]
    for seed, cell in tqdm(cells, disable=not settings["progress"], desc=EXPERIMENT):
        size = {"seed": seed, "n_points": settings["n_points"], "k": settings["k"]}
        if cell is None:
            table = cache.get_or_run({"what": "floor", **size}, lambda: measure_floor(**size))
            about = {"arm": FRESH_REAL, "x": 0.0, "t_re": 0}
        else:
            table = cache.get_or_run({**cell, **size}, lambda: measure_arm(**cell, **size))
            about = {name: cell[name] for name in ("arm", "x", "t_re")}
        tables.append(table.assign(**about, swept=SWEPT[about["arm"]], seed=seed,
                                   sigma=sigma_of_reverse_step(about["t_re"], STEPS)))
    rows = pd.concat(tables, ignore_index=True).to_dict("records")
    seconds = time.perf_counter() - start - cache.elapsed + cache.wall_seconds
    return tidy(rows, provenance({k: v for k, v in settings.items() if k != "progress"}, seconds),
                experiment=EXPERIMENT, dataset="random mixtures", profile=settings["profile"])


def arms(settings):
    """The cells of one world: arm, x, t_re, and how the way back is taken."""
    fine = {"stride": settings["stride"], "churn": 0.0}
    cells = [{"arm": EXACT, "x": float(t), "t_re": t, **fine} for t in settings["reverse_steps"]]
    for t in settings["levels"]:
        for arm, (_, churned) in SOLVERS.items():
            churn = settings["churn"] if churned else 0.0
            cells += [{"arm": arm, "x": float(steps), "t_re": t, "stride": 1, "churn": churn}
                      for steps in settings["grids"]]
        for arm, (_, values, _) in PERTURBATIONS.items():
            cells += [{"arm": arm, "x": float(x), "t_re": t, **fine}
                      for x in settings.get(values, (0.0,))]
    return cells


def measure_arm(arm, x, t_re, stride, churn, seed, n_points, k):
    """The frame of `mixture_worlds.measure` for one arm's reconstructions of a world's sources."""
    draws = world_draws(seed, n_points, k)
    return measure(draws, reconstructions(draws, arm, x, t_re, stride, churn), draws.labels)


def reconstructions(draws, arm, x, t_re, stride=1, churn=0.0):
    """What an arm makes of a world's sources, float64 ``[N, D]``."""
    solver, denoiser, sigmas = "heun", draws.world, reverse_sigmas(t_re, STEPS, stride=stride)
    if arm in SOLVERS:
        solver, sigmas = SOLVERS[arm][0], sigmas_from(float(sigmas[0]), int(x))
    elif arm in PERTURBATIONS:
        denoiser = PERTURBATIONS[arm][2](draws.world, x, draws.seed)
    return come_back(denoiser, draws, sigmas, solver, churn, from_noise=t_re == STEPS)


@torch.inference_mode()
def come_back(denoiser, draws, sigmas, solver="heun", churn=0.0, from_noise=False):
    """A world's sources noised to sigmas[0] and brought back: `synaug.diffusion.reconstruction.reconstruct` for points, which
    have no range to be clamped to. Noise is keyed as there, so that all arms and levels of a world share it."""
    start = float(sigmas[0]) * draws.noise(0) + (0 if from_noise else draws.sources)
    return sample(denoiser, start, sigmas, draws.labels, solver=solver, churn=churn,
                  noise=lambda i: draws.noise(len(sigmas) - 1 - i))


def shown_points(seed, cells, n_points=1000, k=5):
    """Points of a two-dimensional world to draw: its fresh draws, and its sources after each of ``{panel: (arm, x)}``
    from noise alone. Columns panel, x, y, label. ValueError for a world of another dimension."""
    draws = world_draws(seed, n_points, k)
    if draws.world.image_shape != (2,):
        raise ValueError(f"world {seed} has {draws.world.image_shape[0]} dimensions, not 2")
    sets = {"fresh draws": (draws.fresh, draws.fresh_labels)}
    for panel, (arm, x) in cells.items():
        sets[panel] = reconstructions(draws, arm, x, STEPS), draws.labels
    return pd.concat([pd.DataFrame({"panel": panel, "x": points[:, 0], "y": points[:, 1], "label": labels})
                      for panel, (points, labels) in sets.items()], ignore_index=True)


def excess(frame, metric, reference="fresh", **where):
    """Rows of a metric with the world's own floor subtracted from ``value``."""
    rows = frame[(frame["metric"] == metric) & (frame["reference"] == reference)]
    floor = rows[rows["arm"] == FRESH_REAL].set_index("seed")["value"]
    rows = rows[rows["arm"] != FRESH_REAL]
    for column, wanted in where.items():
        rows = rows[rows[column] == wanted]
    return rows.assign(value=rows["value"] - rows["seed"].map(floor)).sort_values("x")


if __name__ == "__main__":
    record_profile(run, EXPERIMENT, PROFILES, __doc__.splitlines()[0], options={})
