"""The two-layer CNN theory of targeted augmentation: its theorems, and test error against k over regimes.

``python -m synaug.experiments.two_layer_cnn --profile standard`` records the results of a profile.
"""

import dataclasses
import time

import pandas as pd
import torch
from tqdm import tqdm

import synaug.theory.two_layer_cnn
from synaug.experiments import two_layer_regimes, two_layer_theorems
from synaug.experiments.command_line import record_profile
from synaug.experiments.two_layer_regimes import REFERENCE_K, Regime, measure_regime, regimes
from synaug.experiments.two_layer_theorems import (
    SAM_WORLDS,
    TOY,
    batch_variance,
    feature_learning,
    feature_order,
    noise_alignment,
    sam_suppression,
)
from synaug.run.parameters import resolve_profile
from synaug.run.results import CellCache, fingerprint, provenance, tidy
from synaug.theory.two_layer_cnn import PatchDistribution
from synaug.theory.two_layer_cnn.clusters import recovery
from synaug.theory.two_layer_cnn.distribution import READINGS
from synaug.theory.two_layer_cnn.gradient_variance import duplicate_term, excess_tolerance

EXPERIMENT = "two_layer_cnn"

#: What a cell's result depends on beside its parameters.
CODE = torch.__version__ + " " + fingerprint(synaug.theory.two_layer_cnn, two_layer_regimes, two_layer_theorems, __file__)

#: B and N of a practical training (CIFAR-10, batches of 128), for what Theorem 4.3 amounts to.
PRACTICAL = {"batch_size": 128, "n": 50_000}

#: What a profile stands for where a parameter is None.
PROFILES = {
    "smoke": dict(seeds=2, n=60, steps=150, sam_ns=(10, 100), align_n=20, ks=(2, 5), draws=50, alphas=(0.9,),
                  beta_ratios=(0.2,), noises=(0.125,), recovery_steps=50, map_beta_ds=(0.4,), map_noises=(0.125,),
                  map_ns=(40,), regime_n=80, regime_steps=100, early=40, n_test=100),
    "quick": dict(seeds=12, n=300, steps=400, sam_ns=(10, 100, 1000, 10_000), align_n=60, ks=(2, 5, 8), draws=400,
                  alphas=(0.3, 0.7, 0.9, 0.98), beta_ratios=(0.2, 0.6, 0.9, 1.0), noises=(0.125, 0.25, 0.5),
                  recovery_steps=200, map_beta_ds=(0.4, 0.6), map_noises=(0.125, 0.25), map_ns=(100,), regime_n=100,
                  regime_steps=800, early=300, n_test=500),
    "standard": dict(seeds=24, n=1000, steps=600, sam_ns=(10, 30, 100, 300, 1000, 3000, 10_000), align_n=60,
                     ks=(2, 3, 5, 8), draws=1000, alphas=(0.1, 0.3, 0.5, 0.7, 0.9, 0.98),
                     beta_ratios=(0.2, 0.4, 0.6, 0.8, 0.9, 1.0), noises=(0.0625, 0.125, 0.25, 0.5),
                     recovery_steps=200, map_beta_ds=(0.3, 0.4, 0.6), map_noises=(0.125, 0.25), map_ns=(50, 200),
                     regime_n=100, regime_steps=1000, early=300, n_test=1000),
    "paper": dict(seeds=100, n=10_000, steps=600, sam_ns=(10, 30, 100, 300, 1000, 3000, 10_000), align_n=200,
                  ks=(2, 3, 4, 5, 6, 7, 8), draws=4000, alphas=(0.1, 0.3, 0.5, 0.7, 0.9, 0.98),
                  beta_ratios=(0.2, 0.4, 0.6, 0.8, 0.9, 1.0), noises=(0.0625, 0.125, 0.25, 0.5),
                  recovery_steps=200, map_beta_ds=(0.2, 0.3, 0.4, 0.5, 0.6, 0.8), map_noises=(0.0625, 0.125, 0.25),
                  map_ns=(50, 200, 1000), regime_n=200, regime_steps=2000, early=300, n_test=5000),
}
RECORD_EVERY = 20  # of the regimes' trainings, in steps
ORDER_N = 300  # training examples, at most, where it is asked which feature comes first
PROGRESS_LEVELS = (0.1, 0.5, 1.0)  # alignments with the fast feature at which the slow one is compared


def prepare(profile=None, num_patches=3, dim=50, alpha=0.9, beta_e=1.0, beta_d=0.2, noise_std=0.125, reading="A",
            n=None, num_filters=40, init_std=0.01, lr=0.1, momentum=0.9, rhos=(0.002, 0.02), steps=None, seeds=None,
            ks=None, sam_ns=None, align_n=None, variance_n=50, variance_batch=20, variance_filters=40, draws=None,
            alphas=None, beta_ratios=None, noises=None, recovery_steps=None, regime_alpha=0.7, regime_beta_d=0.4,
            regime_n=None, regime_filters=20, regime_steps=None, early=None, map_beta_ds=None, map_noises=None,
            map_ns=None, label_noise=0.1, batch_size=20, n_test=None, progress=False):
    """All parameters of a run, checked and completed, before anything long starts.

    profile: "smoke", "quick", "standard" or "paper"; None is $SYNAUG_PROFILE or "quick". A parameter that is None
    takes the profile's value.
    num_patches .. reading: the toy world, see `PatchDistribution`. n: its training examples. num_filters, init_std:
    J and sigma_0. lr, momentum: of gradient descent, everywhere. rhos: of SAM, above 0. steps: of the toy's training.
    seeds: of everything, 0, 1, ... ks: whole numbers above 1, 2 among them. sam_ns, align_n: n in Theorems 4.1, 4.2.
    variance_n, variance_batch, variance_filters, draws: n, B, J, and data sets of a seed in Theorem 4.3.
    alphas, beta_ratios, noises, recovery_steps: where clusters of outputs are compared with the truth, and when; the
    first two also where it is asked which feature comes first.
    regime_alpha .. early: the base regime and its training; map_beta_ds, map_noises, map_ns: the map around it;
    label_noise, batch_size: of the regimes that have it. n_test: test examples.
    ValueError says what was wrong and what is allowed.
    """
    given = {name: value for name, value in locals().items() if value is not None}
    profile = resolve_profile(profile)
    settings = {**PROFILES[profile], **given, "profile": profile}
    for name in ("seeds", "n", "steps", "align_n", "variance_n", "variance_batch", "variance_filters", "draws",
                 "recovery_steps", "num_filters", "regime_n", "regime_filters", "regime_steps", "early", "batch_size",
                 "n_test"):
        least = 2 if name in ("draws", "seeds") else 1
        check_whole(name, settings[name], least)
    for name in ("rhos", "ks", "sam_ns", "alphas", "beta_ratios", "noises", "map_beta_ds", "map_noises", "map_ns"):
        settings[name] = values = tuple(settings[name])
        if not values or len(set(values)) != len(values):
            raise ValueError(f"{name} must be different values, at least one, got {values}")
    for name, least in (("ks", 2), ("sam_ns", 2), ("map_ns", 1)):
        for value in settings[name]:
            check_whole(name, value, least)
    if REFERENCE_K not in settings["ks"] or max(settings["ks"]) == REFERENCE_K:
        raise ValueError(f"ks must hold {REFERENCE_K}, what larger k are compared with, and a larger one, "
                         f"got {settings['ks']}")
    if not all(0 < rho < float("inf") for rho in settings["rhos"]):
        raise ValueError(f"rhos must be positive and finite (GD is always there), got {settings['rhos']}")
    if not 0 < lr < float("inf") or not 0 <= momentum < 1 or not 0 < init_std < float("inf"):
        raise ValueError(f"need lr > 0, 0 <= momentum < 1, init_std > 0, got {lr}, {momentum} and {init_std}")
    early, last = settings["early"], settings["regime_steps"]
    if early > last:
        raise ValueError(f"early must lie in {RECORD_EVERY}..regime_steps, got {early} with regime_steps = {last}")
    if early % RECORD_EVERY and early != last:
        raise ValueError(f"early must be a multiple of {RECORD_EVERY} or regime_steps, got {early}")
    world = toy(settings)
    for name, field in (("alphas", "alpha"), ("noises", "noise_std")):
        for value in settings[name]:
            dataclasses.replace(world, **{field: value})
    for ratio in settings["beta_ratios"]:
        dataclasses.replace(world, beta_d=ratio * world.beta_e)
    for share in {*settings["alphas"], world.alpha}:
        check_clusters(dataclasses.replace(world, alpha=share), settings)
    all_regimes(settings)
    if settings["variance_batch"] > settings["variance_n"]:
        raise ValueError(f"variance_batch must not exceed variance_n = {variance_n}, got {variance_batch}")
    return settings


def check_clusters(world, settings):
    """ValueError where a class of a training set has no fast or no slow examples to recover."""
    for seed in range(settings["seeds"]):
        data = world.sample(settings["n"], [seed])
        kinds = set(zip(data.labels.flatten().tolist(), data.has_fast.flatten().tolist()))
        if len(kinds) < 4:
            raise ValueError(f"with n = {settings['n']} and alpha = {world.alpha:g}, a class of seed {seed} lacks fast "
                             f"or slow examples: raise n, or choose an alpha nearer 1/2")


def check_whole(name, value, least):
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ValueError(f"{name} must be whole, at least {least}, got {value!r}")


def toy(settings):
    """The world of the parameters; ValueError where it cannot be."""
    names = ("num_patches", "dim", "alpha", "beta_e", "beta_d", "noise_std", "reading")
    return PatchDistribution(**{name: settings[name] for name in names})


def base_regime(settings):
    world = dataclasses.replace(toy(settings), alpha=settings["regime_alpha"], beta_d=settings["regime_beta_d"])
    return Regime(world, settings["regime_n"], settings["lr"], settings["momentum"])


def all_regimes(settings):
    """By name; see `two_layer_regimes.regimes`."""
    return regimes(base_regime(settings), settings["map_beta_ds"], settings["map_noises"], settings["map_ns"],
                   settings["label_noise"], settings["batch_size"])


def measurements(settings):
    """(part, columns to add, function, its arguments) of every measurement."""
    world, seeds = toy(settings), range(settings["seeds"])
    filters = {"num_filters": settings["num_filters"], "init_std": settings["init_std"]}
    training = {"lr": settings["lr"], "momentum": settings["momentum"]}
    found = [
        ("features", {}, feature_learning,
         {"world": world, "n": settings["n"], "rho": rho, "steps": settings["steps"], "record_every": 2,
          "progress_levels": PROGRESS_LEVELS, **filters, **training})
        for rho in (0.0, *settings["rhos"])
    ]
    found += [
        ("order", {}, feature_order,
         {"world": dataclasses.replace(world, alpha=share, beta_d=ratio * world.beta_e, reading=reading),
          "n": min(settings["n"], ORDER_N), "steps": settings["steps"], **filters, **training})
        for reading in READINGS for share in settings["alphas"] for ratio in settings["beta_ratios"]
    ]
    for where in SAM_WORLDS:  # orthogonal noise needs a dimension that grows with n: to 100 only
        found += [("sam", {}, sam_suppression,
                   {"world": world, "where": where, "n": n, "rho": min(settings["rhos"]), **filters})
                  for n in settings["sam_ns"] if n <= 100 or where == TOY]
    for name, orthogonal in (("orthogonal", True), ("toy", False)):
        part = dataclasses.replace(world, alpha=settings["regime_alpha"])
        found.append(("align", {"world": name}, noise_alignment,
                      {"world": part, "orthogonal": orthogonal, "n": settings["align_n"], "ks": settings["ks"],
                       **filters}))
    variance = {"n": settings["variance_n"], "alpha": settings["regime_alpha"], "draws": settings["draws"],
                "num_filters": settings["variance_filters"], "noise_std": settings["noise_std"]}
    for kind in ("upsampled", "generated"):
        for k in (1, *settings["ks"]):
            batch = settings["variance_batch"]
            found.append(("variance", {"swept": "k", "x": float(k)}, batch_variance,
                          {"kind": kind, "k": k, "batch_size": batch, **variance}))
        for batch in sorted({max(1, settings["variance_n"] * share // 10) for share in (1, 2, 5, 10)}):
            found.append(("variance", {"swept": "batch_size", "x": float(batch)}, batch_variance,
                          {"kind": kind, "k": max(settings["ks"]), "batch_size": batch, **variance}))
    for swept, values in (("alpha", "alphas"), ("beta_ratio", "beta_ratios"), ("noise_std", "noises")):
        found += [("recovery", {}, recovery,
                   {"swept": swept, "values": (value,), "distribution": world, "n": settings["n"],
                    "steps": settings["recovery_steps"], **filters, **training}) for value in settings[values]]
    for name, regime in all_regimes(settings).items():
        found.append(("regimes", {"regime": name}, measure_regime,
                      {"regime": regime, "ks": settings["ks"], "num_filters": settings["regime_filters"],
                       "init_std": settings["init_std"], "steps": settings["regime_steps"], "early": settings["early"],
                       "record_every": RECORD_EVERY, "n_test": settings["n_test"]}))
    return [(part, columns, function, {**arguments, "seeds": tuple(seeds)})
            for part, columns, function, arguments in found]


def run(**parameters):
    """Every measurement as a tidy frame; the arguments are those of `prepare`.

    Columns beside the usual ones: part ("features", "order", "sam", "align", "variance", "practical", "recovery",
    "regimes"), world, regime, stage and step where the part has them.
    """
    start = time.perf_counter()
    settings = prepare(**parameters)
    cache, tables, threads = CellCache(EXPERIMENT, CODE), [], torch.get_num_threads()
    torch.set_num_threads(1)  # the products are small: on several threads they take longer
    try:
        parts = tqdm(measurements(settings), disable=not settings["progress"], desc=EXPERIMENT)
        for part, columns, function, arguments in parts:
            table = cache.get_or_run({"what": part, **plain(arguments)}, lambda: function(**arguments))
            tables.append(table.assign(part=part, **columns))
    finally:
        torch.set_num_threads(threads)
    tables.append(practical(settings))
    rows = pd.concat(tables, ignore_index=True).to_dict("records")
    seconds = time.perf_counter() - start - cache.elapsed + cache.wall_seconds
    return tidy(rows, provenance({k: v for k, v in settings.items() if k != "progress"}, seconds),
                experiment=EXPERIMENT, dataset="patches", profile=settings["profile"])


def plain(arguments):
    """Arguments with dataclasses as dicts: what stands for them in a cell's key."""
    return {name: dataclasses.asdict(value) if dataclasses.is_dataclass(value) else value
            for name, value in arguments.items()}


def practical(settings):
    """What Theorem 4.3 and Corollary 4.4 amount to in a practical training, by their formulas: no measurement."""
    alpha, rows = settings["regime_alpha"], []
    for k in settings["ks"]:
        found = {"duplicate_term": duplicate_term(k, alpha, **PRACTICAL),
                 "excess_tolerance": excess_tolerance(k, alpha, **PRACTICAL)}
        rows += [{"x": float(k), "metric": metric, "value": value} for metric, value in found.items()]
    return pd.DataFrame(rows).assign(part="practical", arm="formula", swept="k", seed=0)


if __name__ == "__main__":
    record_profile(run, EXPERIMENT, PROFILES, __doc__.splitlines()[0], options={})
