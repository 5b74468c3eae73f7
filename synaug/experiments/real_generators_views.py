"""What a page shows of a run of `synaug.experiments.real_generators` beside its frame: words, and tables of changes."""

import numpy as np
import pandas as pd

from synaug.statistics.rules import MIN_SEEDS
from synaug.experiments.generator_ladder import saved
from synaug.experiments.generator_pools import AUTOGUIDANCE, draw, pool
from synaug.experiments.real_generators import EXPERIMENT, NOISE, PLAIN, REAL_ALONE, STRENGTHS
from synaug.experiments.shared import real_images, some
from synaug.metrics import FRESH_REAL
from synaug.run.results import bare, describe_runs, recorded_run
from synaug.statistics import holm, paired_interval

#: What exploration terms are judged by.
JUDGED = ("outer_edge_recall", "recall", "precision", "accuracy", "accuracy_with_real")
#: What the table of the ladder shows: metric -> its column.
LADDER_COLUMNS = {"mean_loss": "denoising loss", "mean_loss_excess": "minus the best's",
                  "outer_edge_recall": "outer-edge recall", "recall": "recall", "precision": "precision",
                  "centroid_distance_ratio": "distance to class centre", "accuracy": "accuracy"}


def describe(live, recorded=None):
    """What the runs behind a page are, as a Markdown list."""
    def words(frame, p):
        rungs = f"generators of {len(p['sizes'])} sizes at {len(p['snapshots'])} moments; "
        ladder = rungs if "ladder" in p["parts"] else ""
        return (f"{frame['dataset'].iloc[0]}; {ladder}{p['n_images']:,} samples a pool, {p['steps']} Heun steps unless "
                f"said; {p['seeds']} classifiers a pool ({p['classifier']}, {p['classifier_steps']:,} steps of "
                f"{p['classifier_batch']}), scored on {p['n_evaluate']:,} test images; features {p['encoder']}, "
                f"k = {p['k']}")

    return describe_runs(live, recorded, words)


def added_run(live):
    """The recorded run of what was added to profile "standard" once its results were known: the ancestral sampler, and
    autoguidance by a better weak generator. None without one of the live frame's generator."""
    return recorded_run(live, "standard", variant="added")


def weak_in_words(frame):
    """Autoguidance's weak generator of a run, in words."""
    p = frame.attrs["provenance"]["parameters"]
    return f"channels {'–'.join(map(str, min(map(tuple, p['sizes']))))}, after {min(p['snapshots']):,} images"


def shown_samples(settings, per_class=2):
    """{what: uint8 ``[n, C, H, W]``}: real images, and samples of their classes from the same noise, plain and with
    each exploration term at its last strength. Autoguidance is left out: its weak denoiser would have to be trained.

    settings: what `real_generators.prepare` returns. n: ``per_class`` images of each class, in columns of classes.
    """
    best, steps = saved(settings["generator"]), settings["steps"]
    trained = real_images(settings["generator"]).trained
    sources = some(trained, per_class * trained.num_classes)
    sources = sources.subset(sources.labels.argsort(stable=True))
    strengths = {term: values[-1] for term, values in STRENGTHS.items() if term != AUTOGUIDANCE}
    drawn = {PLAIN: pool(best, steps)} | {f"{term}, {strength:g}": pool(best, steps, term=term, strength=strength)
                                          for term, strength in strengths.items()}
    return {"real": sources.images} | {name: draw(EXPERIMENT, described, sources, settings["device"]).images
                                       for name, described in drawn.items()}


def ladder_values(frame, level=NOISE):
    """One row a rung, the best first: rank, arm, training_images (missing for the saved generator), each metric's mean
    over seeds, mean_loss_excess."""
    rows = bare(frame[frame["part"] == "ladder"])
    excess = rows[rows["metric"] == "mean_loss_excess"].set_index("x")["value"]
    measured = rows[(rows["level"] == level) & rows["sigma"].isna() & (rows["metric"] != "mean_loss_excess")]
    values = measured.pivot_table(index="x", columns="metric", values="value")
    names = rows.drop_duplicates("x").set_index("x")[["arm", "training_images"]]
    return names.join(values).assign(mean_loss_excess=excess).sort_index().rename_axis("rank").reset_index()


def ladder_table(frame, level=NOISE):
    """`ladder_values` as text to read; a dash is what was not measured."""
    table = ladder_values(frame, level)
    images = table["training_images"].map(lambda n: "its whole training" if np.isnan(n) else f"{n:,.0f}")
    shown = {name: table[metric].map(lambda v: "–" if np.isnan(v) else f"{v:.3f}")
             for metric, name in LADDER_COLUMNS.items() if metric in table}
    return pd.DataFrame({"rank": table["rank"].map("{:g}".format), "channels": table["arm"],
                         "after images": images, **shown})


def gains(frame, metrics=JUDGED):
    """What each exploration term changes against plain sampling, paired over seeds: a row an arm, strength and metric.

    Columns arm, x, metric, value, low, high (95 % t interval), p_value, adjusted (Holm over all arms and strengths of
    the metric), n. Fresh real images in the samples' place stand beside the terms (adjusted missing), and so do, for
    accuracy_with_real, no samples at all. From 2 to 4 seeds low and high are the smallest and largest difference, and
    there is no test.
    """
    frame, rows = bare(frame), []
    explored = frame[frame["part"] == "exploration"]
    beside = frame[(frame["part"] == "floor") & frame["arm"].isin([FRESH_REAL, REAL_ALONE])]
    for metric in metrics:
        plain = _by_seed(explored[explored["arm"] == PLAIN], metric)
        found = []
        for part, table in (("terms", explored[explored["arm"] != PLAIN]), ("beside", beside)):
            for (arm, x), own in table.groupby(["arm", "x"], sort=False):
                differences = (_by_seed(own, metric) - plain).dropna()
                if len(differences):
                    found.append({"part": part, "arm": arm, "x": x, "metric": metric, **_change(differences)})
        tested = [row for row in found if row["part"] == "terms" and np.isfinite(row["p_value"])]
        for row, adjusted in zip(tested, holm([row["p_value"] for row in tested]) if tested else ()):
            row["adjusted"] = adjusted
        rows += found
    columns = ["part", "arm", "x", "metric", "value", "low", "high", "p_value", "adjusted", "n"]
    return pd.DataFrame(rows, columns=columns)


def _by_seed(rows, metric):
    return rows[rows["metric"] == metric].set_index("seed")["value"]


def _change(differences):
    n, mean = len(differences), differences.mean()
    if n >= MIN_SEEDS:
        interval = paired_interval(differences)
        return {"value": mean, "low": interval.low, "high": interval.high, "p_value": interval.p_value, "n": n}
    return {"value": mean, "low": differences.min(), "high": differences.max(), "p_value": np.nan, "n": n}


def gains_in_words(frame, metric="accuracy", level=0.05):
    """One sentence: which exploration terms, if any, raise or lower a metric against plain sampling after Holm."""
    table = gains(frame, (metric,))
    terms = table[table["part"] == "terms"]
    if terms["adjusted"].isna().all():
        return f"Fewer than {MIN_SEEDS} seeds: nothing can be said about {_name(metric)}."
    said = []
    for verb, sign in (("raise", 1), ("lower", -1)):
        sure = terms[(terms["adjusted"] < level) & (sign * terms["value"] > 0)]
        named = ", ".join(f"{row.arm} ({row.x:g}: {_change_in_words(row)})"
                          for row in sure.itertuples())
        said.append(f"{named or 'none'} {verb}{'' if len(sure) > 1 else 's'} it")
    return (f"{_name(metric).capitalize()} against plain sampling, {int(terms['n'].max())} paired seeds, "
            f"Holm over {len(terms)} comparisons: {said[0]}; {said[1]}.")


def what_there_is_to_gain(frame, metric="accuracy"):
    """One sentence: the best of the exploration terms beside fresh real images in the samples' place."""
    table = gains(frame, (metric,))
    terms, real = table[table["part"] == "terms"], table[table["arm"] == FRESH_REAL]
    if terms.empty or real.empty:
        return f"What there is to gain in {_name(metric)} was not measured."
    best = next(terms.sort_values("value", ascending=False).itertuples())
    bound = f"{_change_in_words(best)} at the best setting, {best.arm} at {best.x:g}"
    return (f"{_name(metric).capitalize()}: fresh real images in the samples' place change it by "
            f"{_change_in_words(next(real.itertuples()))}; the terms by {bound}.")


def ladder_in_words(frame, metrics=("outer_edge_recall", "recall", "precision", "centroid_distance_ratio", "accuracy")):
    """Markdown list: each metric of the best and the worst rung, and Spearman's correlation with the denoising loss
    over all rungs. Empty for a run without a ladder."""
    if not (frame["part"] == "ladder").any():
        return ""
    table = ladder_values(frame)
    lines = []
    for metric in metrics:
        first, last = table[metric].iloc[[0, -1]]
        correlation = table[["mean_loss_excess", metric]].corr("spearman").iloc[0, 1]
        lines.append(f"- {_name(metric)}: {first:.3f} at the best rung, {last:.3f} at the worst; rank correlation with "
                     f"the denoising loss {correlation:+.2f} over {len(table)} rungs")
    return "\n".join(lines)


def dials_in_words(frame, metrics=("outer_edge_recall", "recall", "accuracy")):
    """Markdown list: of each metric the best and the worst setting of the sampler, beside fresh real images. Empty for
    a run without dials."""
    dials = frame[frame["part"] == "dials"]
    floor = frame[(frame["part"] == "floor") & (frame["arm"] == FRESH_REAL)]
    lines = []
    for metric in metrics if len(dials) else ():
        means = dials[dials["metric"] == metric].groupby(["arm", "x"])["value"].mean().sort_values()
        best, worst = (f"{value:.3f} ({arm}, {steps:g} steps)" for (arm, steps), value in means.iloc[[-1, 0]].items())
        real = floor.loc[floor["metric"] == metric, "value"].mean()
        lines.append(f"- {_name(metric)}: from {worst} to {best}, over {len(means)} settings; fresh real images "
                     f"{real:.3f}")
    return "\n".join(lines)


def _name(metric):
    return metric.replace("outer_edge", "outer-edge").replace("centroid_distance_ratio", "distance to class centre") \
        .replace("_", " ")


def _change_in_words(row):
    return f"{row.value:+.3f} [{row.low:+.3f}, {row.high:+.3f}]"
