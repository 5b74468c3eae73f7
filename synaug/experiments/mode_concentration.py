"""Chapter 1: what happens to images as more of their reverse process is the model's (Yamaguchi 2024).

``python -m synaug.experiments.mode_concentration --profile standard`` records the results of a profile.
"""

import time

import numpy as np
import pandas as pd
import torch

from synaug.metrics import encoders
from synaug import features
from synaug import metrics
from synaug import statistics
from synaug.classifiers.attention import agreement
from synaug.classifiers import output_entropy, predict
from synaug.metrics.encoders import BUILDERS, encode
from synaug.experiments import pieces, reconstruction_sweep
from synaug.experiments.command_line import record_profile
from synaug.experiments.plan import plan_of_sweep
from synaug.experiments.reconstruction_sweep import Sampler, Sweep
from synaug.metrics import compare
from synaug.run.parameters import resolve_profile, with_defaults
from synaug.run.results import CellCache, fingerprint, provenance, tidy
from synaug.diffusion.schedules import sigma_of_reverse_step
from synaug.statistics import bootstrap_interval
from synaug.sweeps import Cell, Grid

EXPERIMENT = "mode_concentration"

#: What measurements depend on beside their parameters.
CODE = reconstruction_sweep.CODE + " " + fingerprint(encoders, features, metrics, statistics, __file__)

#: Features that distances can be taken in: `synaug.metrics.encoders` by name, and the judge's.
ENCODERS = ("judge", "pixels", *BUILDERS)

#: The classifier that a CPU trains in minutes; Yamaguchi 2024 has ResNet-18 and steps of the learning rate.
SMALL = {"generator": "fashion_mnist", "classifier": "resnet8", "recipe": "one_cycle"}

#: What a profile stands for where a parameter is None.
PROFILES = {
    "smoke": dict(**SMALL, reverse_steps=(0, 50, 100), stride=50, n_images=200, n_compare=200, n_test=50, n_evaluate=200,
                  n_maps=20, seeds=2, classifier_steps=10, n_bootstrap=50),
    "quick": dict(**SMALL, reverse_steps=(0, 30, 50, 70, 100), stride=10, n_images=300, n_compare=300, n_test=100,
                  n_evaluate=1000, n_maps=100, seeds=2, classifier_steps=100, n_bootstrap=200),
    "standard": dict(**SMALL, reverse_steps=(0, 30, 50, 70, 100), stride=5, n_images=10_000, n_compare=5000, n_test=1000,
                     n_evaluate=10_000, n_maps=500, seeds=5, classifier_steps=600, n_bootstrap=1000),
    # Some 20 passes over 40,000 images by a modern, fast recipe. The paper's own, 100 epochs of it, is a variant:
    # recipe "paper", classifier_steps 31_250.
    "paper": dict(generator="cifar10", classifier="resnet18", recipe="one_cycle", augment="flip_crop",
                  reverse_steps=(0, 30, 50, 70, 100), stride=1, n_images=None, n_compare=5000, n_test=1000,
                  n_evaluate=None, n_maps=1000, seeds=3, classifier_steps=7000, n_bootstrap=1000),
}


def prepare(profile=None, dataset=None, generator=None, reverse_steps=None, steps=100, mapping="edm",
            stride=None, solver="heun", churn=0.0, n_images=None, n_compare=None, n_test=None, n_evaluate=None,
            n_maps=None, seeds=None, classifier=None, classifier_steps=None, recipe=None, augment=None,
            encoders=("efficientnet_lite0", "judge"), k=5, n_bootstrap=None, device="cpu", progress=False):
    """The sweep behind a run, its parameters checked and completed, before anything long starts.

    profile: "smoke", "quick", "standard" or "paper"; None is $SYNAUG_PROFILE or "quick". A parameter that is None
    takes the profile's value.
    generator, dataset: a generator's name or folder; its data set, if it should be checked.
    reverse_steps: levels t_re in 0 .. steps, of which 0 is the real image and must be there.
    steps, mapping, stride, solver, churn: of the reverse process, see `synaug.diffusion.reconstruction.reconstruct`.
    n_images, n_test: training and test images that are reconstructed. n_compare: how many of the training images go
    into distances, precision and recall. n_evaluate: test images scored. n_maps: Grad-CAM maps.
    seeds: how many classifiers a level, each with its own initial weights and batches, the same at every level.
    classifier, classifier_steps, recipe, augment: see `synaug.classifiers`; augment is "flip" where neither a profile
    nor the caller says otherwise. encoders: see `synaug.metrics.encoders`, and "judge".
    k: neighbours in precision, recall, density and coverage. n_bootstrap: resamples behind intervals.
    Returns (`Sweep`, dict of all parameters). ValueError says what was wrong and what is allowed.
    """
    settings = completed(locals())
    sweep = Sweep(settings["generator"], Sampler(steps, mapping, settings["stride"], solver, churn), dataset=dataset,
                  device=device, progress=progress,
                  **{name: settings[name] for name in ("n_images", "n_test", "n_evaluate", "classifier", "recipe",
                                                       "augment", "classifier_steps")})
    return sweep, settings


def completed(given):
    """The parameters of `prepare`, those that are None by the profile; ValueError where they make no sense."""
    given = {name: value for name, value in given.items() if value is not None}
    profile = resolve_profile(given.get("profile"))
    settings = {"augment": "flip", **PROFILES[profile], **given, "profile": profile}
    settings["reverse_steps"] = levels = tuple(settings["reverse_steps"])
    if 0 not in levels or sorted(set(levels)) != list(levels) or len(levels) < 2:
        raise ValueError(f"reverse_steps must be increasing whole numbers from 0, the real image, got {levels}")
    for level in levels:
        sigma_of_reverse_step(level, settings["steps"], settings["mapping"])
    for name in ("n_images", "n_compare", "n_test", "n_evaluate", "n_maps", "seeds", "classifier_steps", "n_bootstrap"):
        value = settings[name]
        if value is not None and (not isinstance(value, int) or value < 1):
            raise ValueError(f"{name} must be a whole number of at least 1, got {value!r}")
    if not isinstance(settings["k"], int) or settings["k"] < 1:
        raise ValueError(f"k must be a whole number of at least 1, got {settings['k']!r}")
    unknown = [name for name in settings["encoders"] if name not in ENCODERS]
    if unknown or not settings["encoders"]:
        raise ValueError(f"encoders must be some of {', '.join(ENCODERS)}, got {settings['encoders']}")
    return settings


def run(**parameters):
    """Every measurement of the chapter as a tidy frame; the arguments are those of `prepare`.

    Columns beside the usual ones: sigma, reference ("source" or "fresh"), encoder, sources ("train" or "test"),
    low, high (95 % limits over images where there is no repetition over seeds: see `synaug.metrics.compare`, else by
    bootstrap), k, n_reference, n_candidate.
    """
    start = time.perf_counter()
    sweep, settings = prepare(**parameters)
    cache, rows = CellCache(EXPERIMENT, CODE), []
    for cell in grid(sweep, settings).cells:
        if cell.function is measure_level:
            frame = cache.get_or_run(cell.key, lambda: measure(sweep, settings, cell.parameters["reverse_step"]))
            rows += frame.to_dict("records")
    # Cells found in the cache count with the time that they once took.
    seconds = time.perf_counter() - start - cache.elapsed + cache.wall_seconds
    return tidy(rows, provenance({k: v for k, v in settings.items() if k != "progress"}, seconds, settings["device"],
                                 sweep.generator),
                experiment=EXPERIMENT, dataset=sweep.dataset, profile=settings["profile"], arm="reconstruction",
                swept="t_re")


def cells(**parameters):
    """The cells that `run` needs, as a `synaug.sweeps.Grid`; the arguments are those of `prepare`."""
    return grid(*prepare(**parameters))


def grid(sweep, settings):
    """Pools, the judge, classifiers, and what is measured of them at each level, after what it needs."""
    settings = {name: value for name, value in settings.items() if name != "progress"}
    own = {"settings": settings, "generator": sweep.generator}
    shared = {"experiment": EXPERIMENT, **own}
    levels = settings["reverse_steps"]
    pools = {level: [Cell(pieces.make_pool, {**shared, "reverse_step": level, "split": split})
                     for split in ("train", "test")] for level in levels if level > 0}
    judge = Cell(pieces.train_judge, shared)
    classifiers = {level: [Cell(pieces.train_classifier, {**shared, "reverse_step": level, "seed": seed},
                                needs=tuple(pools.get(level, ())[:1])) for seed in range(settings["seeds"])]
                   for level in levels}
    measured = [Cell(measure_level, {**own, "reverse_step": level},
                     needs=(*pools.get(level, ()), judge, *classifiers[level], *classifiers[0])) for level in levels]
    return Grid(EXPERIMENT, [*sum(pools.values(), []), judge, *sum(classifiers.values(), []), *measured])


def plan(**parameters):
    """What `cells` should take on a GPU, piece by piece, as a text; the arguments are those of `prepare`.

    It needs neither a GPU nor data, nor the generator where it has the name of a recipe.
    """
    settings = completed(with_defaults(prepare, parameters))
    return plan_of_sweep(f"{EXPERIMENT} at profile {settings['profile']}", settings)


def measure_level(settings, generator, reverse_step):
    """`measure`, as a cell."""
    return measure(pieces.prepared(EXPERIMENT, settings, generator), settings, reverse_step)


def measure(sweep, settings, level):
    """Everything that is measured at one level, a row a value."""
    rows = [*measure_distribution(sweep, level, settings), *measure_with_judge(sweep, level, settings["n_bootstrap"]),
            *measure_classifiers(sweep, level, settings["seeds"], settings["n_maps"])]
    sigma = sigma_of_reverse_step(level, settings["steps"], settings["mapping"])
    frame = pd.DataFrame(rows).assign(x=level, sigma=sigma)
    return frame.astype({"k": "Float64"}).astype({"k": float})  # plain numbers, NaN where there are no neighbours


def measure_distribution(sweep, level, settings):
    """Distances, precision and recall, concentration: reconstructions of train images against both references."""
    n = min(settings["n_compare"], len(sweep.fresh), len(sweep.sources["train"]))
    pool, rows = sweep.pool(level).subset(range(n)), []
    for encoder in settings["encoders"]:
        by = sweep.judge if encoder == "judge" else encoder
        candidate = encode(pool.floats(), by, device=sweep.device)
        for reference, real in (("source", sweep.sources["train"]), ("fresh", sweep.fresh)):
            real = real.subset(range(n))
            features = encode(real.floats(), by, device=sweep.device)
            frame = compare(features, candidate, real.labels, pool.labels, k=settings["k"],
                            n_bootstrap=settings["n_bootstrap"], seed=0)
            rows += [{**row, "reference": reference, "encoder": encoder, "sources": "train", "seed": 0}
                     for row in frame.to_dict("records")]
    return rows


def measure_with_judge(sweep, level, n_bootstrap):
    """Output entropy (nats) and accuracy of the judge on reconstructions, and their spread in its PCA plane."""
    rows = []
    for split in ("train", "test"):
        pool = sweep.pool(level, split)
        probabilities = predict(sweep.judge, pool.images)
        correct = (probabilities.argmax(1) == pool.labels).double()
        for metric, values in (("judge_entropy", output_entropy(probabilities)), ("judge_accuracy", correct)):
            rows.append({"metric": metric, "sources": split, "seed": 0, **limits(values, n_bootstrap)})
    shares = plane_spread(sweep, level)
    rows.append({"metric": "pca_variance_ratio", "sources": "train", "seed": 0, **limits(shares, n_bootstrap)})
    return rows


def measure_classifiers(sweep, level, seeds, n_maps):
    """Test accuracy of classifiers trained on reconstructions, and whether they look where real-trained ones do.

    cam_agreement of a seed: correlation of its maps with those of the next seed's classifier trained on real images,
    so that at level 0 it is what two seeds share.
    """
    rows = []
    for seed in range(seeds):
        own = sweep.trained_classifier(level, seed, n_maps)
        measured = {"test_accuracy": own["accuracy"]}
        if seeds > 1:
            other = sweep.trained_classifier(0, (seed + 1) % seeds, n_maps)
            alike = agreement(*(torch.from_numpy(maps["maps"]).float() for maps in (own, other)))
            measured["cam_agreement"] = alike.nanmean().item()
        rows += [{"metric": metric, "value": value, "seed": seed, "sources": "train"}
                 for metric, value in measured.items()]
    return rows


def limits(values, n_bootstrap):
    """Mean and bootstrap limits of per-image values, as the columns of a row."""
    interval = bootstrap_interval(np.asarray(values, dtype=float), n_bootstrap=n_bootstrap, seed=0)
    return {"value": interval.estimate, "low": interval.low, "high": interval.high}


def plane_spread(sweep, level):
    """Each reconstruction's squared distance to the mean of its class in the plane, over the mean of the same for
    fresh real images, ``[N]``; its mean is the ratio of within-class variances.

    Fresh images, because the judge has been fitted to the sources and separates those better than any others.
    """
    def squared(dataset):
        points, labels = sweep.in_judge_plane(dataset.floats()), dataset.labels.numpy()
        distances = np.empty(len(points))
        for c in np.unique(labels):
            own = points[labels == c]
            distances[labels == c] = ((own - own.mean(0)) ** 2).sum(1)
        return distances

    return squared(sweep.pool(level)) / squared(sweep.fresh).mean()


if __name__ == "__main__":
    from synaug.experiments.mode_concentration import run  # of a module by its name, as cells' functions must be

    record_profile(run, EXPERIMENT, PROFILES, __doc__.splitlines()[0], options={"device": "cpu"})
