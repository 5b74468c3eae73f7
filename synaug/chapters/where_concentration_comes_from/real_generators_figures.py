"""The figures and tables of quality levels, sampler settings and exploration terms, from frames of `real_generators`
(``recorded`` may be None). Only one run is drawn, the recorded one where there is one: metrics of pools of different
sizes have no common axis. Beside all stands what fresh real images score in the samples' place: the best that can be
asked of samples."""

import pandas as pd

from synaug.chapters.reading import said
from synaug.chapters.sampling import PLAIN
from synaug.chapters.tasks import training_record
from synaug.chapters.where_concentration_comes_from.real_generators import EXPLORATION, LEVELS, MIDDLE, NOISE, REAL_ALONE, SAMPLERS
from synaug.diffusion.samplers import network_evaluations
from synaug.metrics import FRESH_REAL
from synaug.plots import Panel, forest, image_grid, lines
from synaug.statistics.contrasts import paired, select

LABELS = {
    "outer_edge_recall": "outer-edge recall",
    "recall": "recall",
    "precision": "precision",
    "centroid_distance_ratio": "distance to class centre,\nover the reference images'",
    "accuracy": "accuracy, trained on samples",
    "accuracy_with_real": "accuracy, trained on\nreal images and samples",
}
WORDS = {metric: label.replace("\n", " ") for metric, label in LABELS.items()}  # of tables
COLUMNS = {**WORDS, "accuracy": f"{WORDS['accuracy']} (%)"}  # of tables of what they are, not of changes
SHOWN = ("outer_edge_recall", "recall", "precision", "centroid_distance_ratio", "accuracy")
EXPLORED = ("outer_edge_recall", "precision", "accuracy", "accuracy_with_real")
EQUAL = (10, 18), (5, 10)  # steps of Heun and of Euler with about as many calls of the network
LINEAR_BELOW = 0.005  # of the axis of excess losses, logarithmic above


def run_with(part, live, recorded):
    """(its name among the arguments of `lines`, frame): the recorded run where it has the part, else the live one.
    ValueError for neither."""
    for name, frame in (("recorded", recorded), ("live", live)):
        if frame is not None and (frame["part"] == part).any():
            return name, frame
    raise ValueError(f"neither run has the part {part!r}")


def baseline(frame, metric):
    """What fresh real images score in the samples' place, mean over their sets; accuracies in per cent."""
    return scale(metric) * select(frame, part="floor", arm=FRESH_REAL, metric=metric)["value"].mean()


def scale(metric):
    return 100 if metric.startswith("accuracy") else 1


def against(part, live, recorded, change, **options):
    """A panel per metric of one part of a run, whose rows ``change`` prepares, with the baseline."""
    name, frame = run_with(part, live, recorded)
    shown = [
        Panel(metric, LABELS[metric] + " (%)" * (scale(metric) > 1), scale=scale(metric), line={"fresh real images": baseline(frame, metric)})
        for metric in SHOWN
    ]
    return lines(**{"live": None, "recorded": None, name: change(select(frame, part=part))}, shown=shown, **options)


def quality_levels(live, recorded=None):
    """Metrics of each quality level against its excess of denoising loss, from noise and from the middle."""

    def change(rows):
        excess = select(rows, metric="mean_loss_excess").set_index("x")["value"]
        return rows.assign(excess=rows["x"].map(excess))

    return against(
        LEVELS,
        live,
        recorded,
        change,
        x="excess",
        hue="level",
        joined=False,
        names={NOISE: "samples from noise", MIDDLE: "reconstructions from the middle"},
        xlabel="denoising loss, minus the best's",
        xticks=(0, 0.01, 0.03, 0.1, 0.3, 1),
        xscale={"value": "symlog", "linthresh": LINEAR_BELOW},
    )


def samplers(live, recorded=None):
    """Metrics of the best generator's samples against the number of steps, a curve per sampler."""

    def change(rows):
        # Samplers with churn share a number of steps: side by side they can be told apart.
        churned = [arm for arm in rows["arm"].unique() if "churn" in arm]
        aside = {arm: 1.05 ** (2 * place + 1 - len(churned)) for place, arm in enumerate(churned)}
        return rows.assign(x=rows["x"] * rows["arm"].map(aside).fillna(1.0))

    ticks = sorted(select(run_with(SAMPLERS, live, recorded)[1], part=SAMPLERS)["x"].unique())
    return against(SAMPLERS, live, recorded, change, hue="arm", xlabel="sampling steps", xscale="log", xticks=ticks)


def gains(frame, metrics=tuple(LABELS)):
    """What each exploration term changes against plain sampling, over paired seeds: a row per metric, arm and x; of
    accuracies in points.

    Columns: those of `synaug.statistics.contrasts.paired` but for adjusted p values, which stand in verdicts only;
    group, "terms" or "real images": these in the samples' place and no samples at all.
    """
    tables = []
    for metric in metrics:
        rows = select(frame, metric=metric)
        for group, part in (("terms", EXPLORATION), ("real images", "floor")):
            own = rows[(rows["part"] == part) | (rows["arm"] == PLAIN)]
            table = paired(own, {"arm": PLAIN}, by=("arm", "x"), correct=None).drop(columns="adjusted")
            table[["estimate", "low", "high"]] *= scale(metric)
            tables.append(table.assign(metric=metric, group=group))
    return pd.concat(tables, ignore_index=True)


def beside_real(frame):
    """In words, what samples add to classifiers that are trained on as many real images: plain ones, and fresh real
    images in their place (points, 95 % t intervals over seeds); "" for one seed."""
    rows = select(frame, metric="accuracy_with_real", arm=[REAL_ALONE, PLAIN, FRESH_REAL])
    table = paired(rows, {"arm": REAL_ALONE}, correct=None).set_index("arm")
    if table["low"].isna().any():
        return ""  # of one seed
    samples, fresh = (said(table.loc[arm], scale=100) for arm in (PLAIN, FRESH_REAL))
    p = frame.attrs["provenance"]["parameters"]
    times = training_record(p["generator"])["recipe"]["subset_size"] / p["n_images"]
    return (
        f"Joined to as many real images, plain samples add {samples} points of accuracy to what the real ones alone "
        f"reach; as many fresh real images add {fresh}. There are {p['n_images']:,} real images and "
        f"{p['classifier_steps']:,} steps, and the generator was trained on {times:g} times these images."
    )


def equal_calls(frame):
    """In words, what either solver reaches with about as many calls of the network; "" where that was not run."""
    sentences = []
    for heun, euler in EQUAL:
        rows = select(frame, part=SAMPLERS, metric="accuracy")
        rows = rows[((rows["arm"] == "Euler") & (rows["x"] == euler)) | ((rows["arm"] == "Heun") & (rows["x"] == heun))]
        means = 100 * rows.groupby("arm")["value"].mean()
        calls = network_evaluations(range(heun + 1))
        for row in paired(rows, {"arm": "Euler"}, correct=None).dropna(subset="low").itertuples():  # none of one seed, or of other steps
            sentences.append(
                f"Samples from {heun} Heun steps ({calls} calls of the network) train classifiers to {means['Heun']:.1f} %, those from "
                f"{euler} Euler steps ({euler} calls) to {means['Euler']:.1f} %: a difference of {said(row, digits=1, scale=100)} points."
            )
    return " ".join(sentences)


def exploration(live, recorded=None):
    """What each exploration term changes against plain sampling, paired over seeds; hollow: the interval holds 0."""
    table = gains(run_with(EXPLORATION, live, recorded)[1], EXPLORED)
    table = table[table["arm"] != REAL_ALONE]  # measured in one panel only
    return forest(
        table.assign(label=names(table)),
        panel="metric",
        xlabel={metric: f"change of {LABELS[metric]}" + " (points)" * metric.startswith("accuracy") for metric in EXPLORED},
    )


def names(table):
    return table["arm"] + [f", {x:g}" * (group == "terms") for x, group in zip(table["x"], table["group"])]


def samples(shown):
    """Images of `real_generators.shown_samples`, a row each; down a column the same class and the same noise."""
    return image_grid(list(shown.values()), list(shown))


def gains_table(frame, metrics):
    """`gains` to read."""
    table = gains(frame, metrics)
    points = table["metric"].str.startswith("accuracy")
    text = [said(row, digits=1 if in_points else 3) for row, in_points in zip(table.itertuples(), points)]
    return pd.DataFrame(
        {
            "": names(table),
            "change of": table["metric"].map(WORDS) + points.map({True: " (points)", False: ""}),
            "against plain sampling": text,
            "seeds": table["n"],
        }
    )


def levels_table(frame):
    """One row per quality level, the best first: rank, channels, images seen in training, metrics of its one pool of
    samples; accuracy is the mean over classifiers."""
    rows = select(frame, part=LEVELS)
    excess = select(rows, metric="mean_loss_excess").set_index("x")["value"]
    rows = select(rows, level=NOISE, sigma=None)
    values = rows.assign(value=rows["value"] * rows["metric"].map(scale)).pivot_table(index="x", columns="metric", values="value")
    about = rows.drop_duplicates("x").set_index("x")
    columns = {"mean_loss": "denoising loss", **{metric: COLUMNS[metric] for metric in SHOWN}}
    table = values.reindex(columns=list(columns)).rename(columns=columns)
    table.insert(0, "channels", about["arm"])
    saved = training_record(frame.attrs["provenance"]["parameters"]["generator"])["images_seen"]
    table.insert(1, "after images", about["training_images"].fillna(saved).astype(int))
    table.insert(3, "minus the best's", excess)
    return table.rename_axis("rank").reset_index().astype({"rank": int})


def levels_trained(frame):
    """In words, how long the quality levels were trained."""
    table = levels_table(frame)
    small = table.loc[table["channels"] != "saved", "after images"]
    best = table.loc[table["channels"] == "saved", "after images"].item()
    steps = frame.attrs["provenance"]["parameters"]["steps"]
    return (
        f"The generator of the other chapters has seen {best / 1e6:.2f} million images in training, the other "
        f"{len(small)} levels {small.min() / 1e6:.2f} to {small.max() / 1e6:.2f} million. So one trained network "
        f"is compared with {len(small)} that are nearly untrained. All samples are of {steps} Heun steps."
    )


def levels_summary(frame):
    """A row per metric: at the best and at the lowest quality level, fresh real images in the samples' place, and
    Spearman's correlation with the denoising loss over all levels."""
    table = levels_table(frame)
    return pd.DataFrame(
        [
            {
                "": name,
                "best": table[name].iloc[0],
                "lowest": table[name].iloc[-1],
                "fresh real images": baseline(frame, metric),
                "rank correlation with the loss": table["minus the best's"].rank().corr(table[name].rank()),
            }
            for metric, name in ((metric, COLUMNS[metric]) for metric in SHOWN)
        ]
    )


def samplers_table(frame):
    """A row per setting of the sampler, and fresh real images in the samples' place: calls of the network, and metrics
    of the one pool of samples; accuracy is the mean over classifiers."""
    rows = select(frame, part=SAMPLERS)
    values = rows.assign(value=rows["value"] * rows["metric"].map(scale)).pivot_table(index=["arm", "x"], columns="metric", values="value")[list(SHOWN)]
    values.insert(0, "calls", [f"{network_evaluations(range(int(steps) + 1), arm.split(',')[0].lower())}" for arm, steps in values.index])
    values.index = [f"{arm}, {steps:g} steps" for arm, steps in values.index]
    values.loc["fresh real images"] = ["", *(baseline(frame, metric) for metric in SHOWN)]
    return values.rename(columns=COLUMNS).rename_axis("").reset_index()
