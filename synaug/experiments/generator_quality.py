"""How good the generator is: its samples against real images that it has not seen.

``python -m synaug.experiments.generator_quality --profile standard`` records the results of a profile.
"""

import time

import numpy as np
import pandas as pd
import torch

from synaug.classifiers import predict
from synaug.metrics.encoders import BUILDERS
from synaug.experiments import pieces
from synaug.experiments.command_line import record_profile
from synaug.experiments.generator_evaluation import Evaluation
from synaug.experiments.reconstruction_sweep import Sampler
from synaug.metrics import FRESH_REAL, frechet_distance
from synaug.metrics.near_copies import nearer_than
from synaug.run.parameters import resolve_profile
from synaug.statistics.proportions import newcombe_interval, wilson_interval
from synaug.run.results import provenance, tidy
from synaug.statistics import jackknife_interval
from synaug.sweeps import Cell, Grid

EXPERIMENT = "generator_quality"
SAMPLES = "samples"
#: A sample is a near-copy if it lies nearer to a training image than this share of fresh real images does.
NEAR_COPY_QUANTILE = 0.01

#: What a profile stands for where a parameter is None.
PROFILES = {
    "smoke": dict(n_samples=40, n_judge=500, classifier_steps=20, n_searched=100),
    "quick": dict(n_samples=200, n_judge=10_000, classifier_steps=200, n_searched=1000),
    "standard": dict(n_samples=2000, n_judge=None, classifier_steps=2400, n_searched=None),
    "paper": dict(n_samples=10_000, n_judge=None, classifier_steps=20_000, n_searched=None),
}


def prepare(profile=None, dataset=None, generator="fashion_mnist", n_samples=None, steps=18, solver="heun", seed=0,
            encoders=("efficientnet_lite0", "pixels"), n_searched=None, n_judge=None, classifier="resnet8",
            classifier_steps=None, recipe="one_cycle", device="cpu", progress=False):
    """The evaluation behind a run, its parameters checked and completed, before anything long starts.

    profile: "smoke", "quick", "standard" or "paper"; None is $SYNAUG_PROFILE or "quick". A parameter that is None
    takes the profile's value.
    dataset, generator: a generator's name or folder; its data set, if it should be checked.
    n_samples: samples, and as many real images in each set they are compared with.
    steps, solver, seed: of the sampler, see `synaug.diffusion.reconstruction.generate`.
    encoders: names, see `synaug.metrics.encoders`. n_searched: training images among which nearest neighbours are searched
    in features; in pixels, and for None, all are.
    n_judge, classifier, classifier_steps, recipe: what the judge is trained on (None for all unseen images) and how.
    Returns (`Evaluation`, dict of all parameters). ValueError says what was wrong and what is allowed.
    """
    given = {name: value for name, value in locals().items() if value is not None}
    profile = resolve_profile(profile)
    settings = {**PROFILES[profile], **given, "profile": profile, "encoders": tuple(encoders)}
    for name in ("n_samples", "n_judge", "classifier_steps", "n_searched", "seed"):
        value, least = settings[name], 0 if name == "seed" else 1
        if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < least):
            raise ValueError(f"{name} must be a whole number of at least {least}, got {value!r}")
    unknown = [name for name in encoders if name not in ("pixels", *BUILDERS)]
    if unknown or not encoders:
        raise ValueError(f"encoders must be some of {', '.join(('pixels', *BUILDERS))}, got {list(encoders)}")
    training = {"architecture": classifier, "steps": settings["classifier_steps"], "recipe": recipe}
    sizes = {name: settings[name] for name in ("n_samples", "n_searched", "n_judge")}
    evaluation = Evaluation(generator, Sampler(steps=steps, solver=solver), training=training, dataset=dataset, seed=seed,
                            device=device, progress=progress, **sizes)
    return evaluation, settings


def run(**parameters):
    """Every measurement of the chapter as a tidy frame; the arguments are those of `prepare`.

    Arms are "samples", "fresh real" (the floor) and, for the losses, "training". x is the number of images that the
    generator had seen in training, repetitions counted. Columns beside the usual ones: encoder; class_name ("all" for all classes);
    n, the images behind a value; searched, see `Evaluation.searched`; low and high, 95 % limits.
    """
    start = time.perf_counter()
    evaluation, settings = prepare(**parameters)
    rows = training_record(evaluation.record) + measure_agreement(evaluation)
    for encoder in settings["encoders"]:
        rows += [{**row, "encoder": encoder} for row in measure_distance(evaluation, encoder)]
        rows += [{**row, "encoder": encoder} for row in measure_near_copies(evaluation, encoder)]
    seen = evaluation.record["images_seen"]
    rows = [{"x": seen, "arm": SAMPLES, "class_name": "all", **row} for row in rows]
    seconds = time.perf_counter() - start
    return tidy(rows, provenance({k: v for k, v in settings.items() if k != "progress"}, seconds, settings["device"],
                                 evaluation.generator),
                experiment=EXPERIMENT, dataset=evaluation.dataset, profile=settings["profile"], seed=settings["seed"],
                swept="training_images")


def cells(**parameters):
    """What takes long in `run`, as a `synaug.sweeps.Grid`: the samples and the judge. Arguments: those of `prepare`."""
    evaluation, settings = prepare(**parameters)
    settings = {name: value for name, value in settings.items() if name != "progress"}
    shared = {"experiment": EXPERIMENT, "settings": settings, "generator": evaluation.generator}
    return Grid(EXPERIMENT, [Cell(pieces.draw_samples, shared), Cell(pieces.train_judge, shared)])


def training_record(record):
    """The losses that were noted while the generator was trained."""
    return [{"arm": "training", "x": point["images"], "metric": metric, "value": point[metric]}
            for point in record["curve"] for metric in ("training_loss", "held_out_loss")]


def measure_agreement(evaluation):
    """How often the judge sees the class that was asked for, or the label of a fresh real image."""
    sets = {SAMPLES: evaluation.samples, FRESH_REAL: evaluation.reference}
    correct = {arm: predict(evaluation.judge, images.images).argmax(1) == images.labels for arm, images in sets.items()}
    labels, names, rows = evaluation.reference.labels, evaluation.reference.class_names, []
    for label, name in ((None, "all"), *enumerate(names)):
        mine = torch.ones(len(labels), dtype=torch.bool) if label is None else labels == label
        counts = {arm: (int(right[mine].sum()), int(mine.sum())) for arm, right in correct.items()}
        rows += share_rows("judge_agreement", counts, class_name=name)
    return rows


def measure_distance(evaluation, encoder):
    """Fréchet distance to the reference of samples and of fresh real images, equally many, and their quotient.

    Limits: delete-a-group jackknife, each group holding as many images of each class and leaving all three sets.
    """
    reference, samples, fresh = (evaluation.encoded(name, encoder) for name in ("reference", "samples", "fresh"))
    n, classes = len(reference), evaluation.reference.num_classes
    turn = np.arange(n) // classes  # the sets are in stratified order: one image of each class a turn
    group = turn % min(10, n // classes)

    def distances(kept):
        own, floor = frechet_distance(reference[kept], samples[kept]), frechet_distance(reference[kept], fresh[kept])
        return np.array([own, floor, own / floor])

    replicates = np.array([distances(group != g) for g in np.unique(group)])
    rows = []
    for (arm, metric), value, others in zip(((SAMPLES, "frechet_distance"), (FRESH_REAL, "frechet_distance"),
                                             (SAMPLES, "frechet_multiple")), distances(slice(None)), replicates.T):
        interval = jackknife_interval(value, others)
        rows.append({"arm": arm, "metric": metric, "n": n, **limits(interval)})
    return rows


def measure_near_copies(evaluation, encoder):
    """Are samples nearer to training images than fresh real images are, and than to unseen images?

    near_copy_share: nearer to a training image than the first percentile of the reference; the floor is the share of
    other fresh real images. trained_nearer_share: nearest to a training image rather than to one of as many unseen.
    """
    to_trained = {name: evaluation.neighbours(name, encoder)[0] for name in ("samples", "fresh", "reference")}
    to_unseen = {name: evaluation.neighbours(name, encoder, "unseen")[0] for name in ("samples", "fresh")}
    arms = {SAMPLES: "samples", FRESH_REAL: "fresh"}
    near = {arm: nearer_than(to_trained[name], to_trained["reference"], NEAR_COPY_QUANTILE)
            for arm, name in arms.items()}
    nearer = {arm: to_trained[name] < to_unseen[name] for arm, name in arms.items()}
    return [row for metric, found in (("near_copy_share", near), ("trained_nearer_share", nearer))
            for row in share_rows(metric, {arm: (int(who.sum()), len(who)) for arm, who in found.items()},
                                  searched=evaluation.searched(encoder))]


def share_rows(metric, counts, **columns):
    """A proportion of each arm with its Wilson interval, and samples minus fresh real with Newcombe's."""
    rows = [{"arm": arm, "metric": metric, "n": n, **limits(wilson_interval(yes, n))}
            for arm, (yes, n) in counts.items()]
    difference = newcombe_interval(*counts[SAMPLES], *counts[FRESH_REAL])
    rows.append({"arm": SAMPLES, "metric": f"{metric}_difference", "n": difference.n, **limits(difference)})
    return [{**row, **columns} for row in rows]


def limits(interval):
    return {"value": interval.estimate, "low": interval.low, "high": interval.high}


def neighbour_distances(evaluation, encoders):
    """Distances to the nearest training image, to draw: columns encoder, arm, distance. Fresh real: the reference."""
    tables = [pd.DataFrame({"encoder": encoder, "arm": arm, "distance": evaluation.neighbours(name, encoder)[0]})
              for encoder in encoders for arm, name in ((FRESH_REAL, "reference"), (SAMPLES, "samples"))]
    return pd.concat(tables, ignore_index=True)


def closest_pairs(evaluation, encoder, name="samples", count=8):
    """The images of a set that lie nearest to a training image: (uint8 ``[count, 2, C, H, W]``, each with that
    training image; distances ``[count]``), the nearest first."""
    distances, index = evaluation.neighbours(name, encoder)
    order = distances.argsort()[:count]
    pairs = torch.stack([getattr(evaluation, name).images[order], evaluation.trained.images[index[order]]], dim=1)
    return pairs, distances[order]


if __name__ == "__main__":
    record_profile(run, EXPERIMENT, PROFILES, __doc__.splitlines()[0])
