"""The figures, the tables and the sentences of the chapter on the generator, made from frames of
`synaug.experiments.generator_quality` (``recorded`` may be None)."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
import torch

from synaug.metrics.encoders import encoder_label
from synaug.experiments.generator_quality import NEAR_COPY_QUANTILE, SAMPLES
from synaug.figures.curves import legend_below, panels
from synaug.metrics import FRESH_REAL
from synaug.run.results import describe_runs

ARMS = dict(zip((FRESH_REAL, SAMPLES), sns.color_palette("colorblind")))
GAP = 2  # white pixels between images


def montage(images):
    """Images uint8 ``[rows, columns, C, H, W]`` as one picture ``[height, width, 3]`` with white gaps."""
    rows, columns, _, height, width = images.shape
    picture = np.full((rows * (height + GAP) - GAP, columns * (width + GAP) - GAP, 3), 255, np.uint8)
    for row in range(rows):
        for column in range(columns):
            top, left = row * (height + GAP), column * (width + GAP)
            picture[top:top + height, left:left + width] = images[row, column].permute(1, 2, 0).numpy()
    return picture


def show(ax, images, row_names=()):
    """A montage without a frame, its rows named at the left."""
    ax.imshow(montage(images), interpolation="nearest")
    height = images.shape[-2]
    ax.set_yticks([(height + GAP) * row + height / 2 for row in range(len(row_names))], row_names)
    ax.set_xticks([])
    ax.tick_params(length=0)
    ax.grid(False)
    for spine in ax.spines.values():
        spine.set_visible(False)


def sample_sheet(samples, real, per_class=10):
    """The first samples of each class, a row a class, beside as many real images: nobody chose them."""
    names = samples.class_names
    per_class = min(per_class, int(samples.labels.bincount().min()))
    figure, axes = plt.subplots(1, 2, figsize=(1.6 + 0.94 * per_class, 0.5 * len(names) + 0.4), layout="constrained")
    for ax, images, title in zip(axes, (samples, real), ("samples", "real test images")):
        rows = [images.images[images.labels == c][:per_class] for c in range(len(names))]
        show(ax, torch.stack(rows), names if ax is axes[0] else ())
        ax.set_title(title)
    return figure


def rows_of(frame, metric, arm=SAMPLES, **where):
    rows = frame[(frame["metric"] == metric) & (frame["arm"] == arm)]
    for column, wanted in where.items():
        rows = rows[rows[column] == wanted]
    return rows


def agreement(live, recorded=None):
    """The judge's agreement with the asked class, a class a line, and samples minus fresh real images."""
    figure, (left, right) = panels(2, width=4.8, height=6.2)
    names = [*[name for name in live["class_name"].unique() if name != "all"], "all"]
    runs = [("recorded", recorded, {}), ("this build", live, {"markerfacecolor": "white"})]
    runs = [run for run in runs if run[1] is not None]
    for place, (run, frame, style) in enumerate(runs):
        centre, apart = 0.36 * (place - (len(runs) - 1) / 2), 0.09
        for (arm, colour), side in zip(ARMS.items(), (-apart, apart)):
            intervals(left, rows_of(frame, "judge_agreement", arm), names, centre + side, colour, f"{arm}, {run}",
                      style)
        intervals(right, rows_of(frame, "judge_agreement_difference"), names, centre, "0.25",
                  f"{SAMPLES} minus {FRESH_REAL}, {run}", style)
    right.axvline(0, color="0.5", linewidth=1)
    left.set_xlabel("judge agrees with the class (%)")
    right.set_xlabel("difference (points)")
    for ax in (left, right):
        ax.set_yticks(range(len(names)), ["all classes" if name == "all" else name for name in names])
        ax.set_ylim(len(names) - 0.5, -0.5)
        ax.axhline(len(names) - 1.5, color="0.8", linewidth=0.8)
    right.set_yticklabels([])
    legend_below(figure, (left, right), 2)
    return figure


def intervals(ax, rows, names, offset, colour, label, style):
    """Values with their limits in per cent, one line a class."""
    rows = rows.set_index("class_name").loc[names]
    value, low, high = (100 * rows[name].to_numpy(float) for name in ("value", "low", "high"))
    ax.errorbar(value, np.arange(len(names)) + offset, xerr=[value - low, high - value], color=colour, marker="o",
                markersize=5, linestyle="none", elinewidth=1.2, capsize=2, label=label, **style)


def neighbour_distances(distances):
    """How far samples and fresh real images lie from their nearest training image; columns encoder, arm, distance."""
    encoders = distances["encoder"].unique()
    figure, axes = panels(len(encoders), width=4.8)
    for ax, encoder in zip(axes, encoders):
        table = distances[distances["encoder"] == encoder]
        for arm, colour in ARMS.items():
            sns.ecdfplot(table[table["arm"] == arm], x="distance", ax=ax, color=colour, label=arm, linewidth=2)
        limit = table.loc[table["arm"] == FRESH_REAL, "distance"].quantile(NEAR_COPY_QUANTILE)
        ax.axvline(limit, color="0.3", linestyle="--", linewidth=1.2, label="near-copies lie left of this line")
        ax.set_xlim(left=0)
        ax.set_xlabel(f"distance to the nearest training image\n(in {space(encoder)})")
        ax.set_ylabel("share of images nearer than that")
    legend_below(figure, axes, 3)
    return figure


def closest_pairs(pairs):
    """The images nearest to a training image above those training images: ``{row name: uint8 [n, 2, C, H, W]}``."""
    n, _, _, height, width = next(iter(pairs.values())).shape
    size = (1.9 + 0.75 * n, 1.75 * len(pairs) * height / width)
    figure, axes = plt.subplots(len(pairs), 1, figsize=size, squeeze=False, layout="constrained")
    for ax, (name, images) in zip(axes[:, 0], pairs.items()):
        show(ax, images.transpose(0, 1), (name, "nearest\ntraining image"))
    return figure


def training_curve(live):
    """Denoising loss against images seen in training."""
    figure, (ax,) = panels(1, width=6)
    for metric, label, colour in (("training_loss", "training images, current weights", "0.6"),
                                  ("held_out_loss", "held-out images, averaged weights", ARMS[FRESH_REAL])):
        rows = rows_of(live, metric, "training").sort_values("x")
        ax.plot(rows["x"] / 1e6, rows["value"], color=colour, label=label, marker="o" if len(rows) < 20 else None)
    ax.set_xlabel("images seen in training (millions)")
    ax.set_ylabel("denoising loss")
    ax.set_xlim(left=0)
    legend_below(figure, [ax], 2)
    return figure


#: metric -> (what a table calls it, the metric that compares samples with fresh real images, its value where equal)
MEASURES = {
    "judge_agreement": ("judge agrees with the class", "judge_agreement_difference", 0),
    "frechet_distance": ("FD-{encoder} to test images", "frechet_multiple", 1),
    "near_copy_share": ("near-copies, in {space}", "near_copy_share_difference", 0),
    "trained_nearer_share": ("nearest to a training image, in {space}", "trained_nearer_share_difference", 0),
}


def comparison(live, recorded=None, metrics=tuple(MEASURES)):
    """Samples against fresh real images over all classes, a row a measure, encoder and run: a frame of text.

    The last column says on which side the whole 95 % interval of the comparison lies.
    """
    rows = []
    for metric in metrics:
        title, against, equal = MEASURES[metric]
        for encoder in live.loc[live["metric"] == metric, "encoder"].unique():
            where = {"class_name": "all"} | ({} if pd.isna(encoder) else {"encoder": encoder})
            for run, frame in (("this build", live), ("recorded", recorded)):
                if frame is None or len(found := rows_of(frame, against, **where)) == 0:
                    continue
                compared = found.iloc[0]
                own, floor = (rows_of(frame, metric, arm, **where)["value"].item() for arm in (SAMPLES, FRESH_REAL))
                side = "above" if compared["low"] > equal else "below" if compared["high"] < equal else "not told apart"
                named = title if pd.isna(encoder) else title.format(encoder=encoder_label(encoder), space=space(encoder))
                rows.append({"": named, "run": run, "n": f"{int(compared['n']):,}", "samples": amount(own, metric),
                             "fresh real": amount(floor, metric), "compared": contrast(compared, against),
                             "samples are": side})
    return pd.DataFrame(rows)


def space(encoder):
    """The space that an encoder's distances are taken in, in words."""
    return "pixels" if encoder == "pixels" else f"{encoder_label(encoder)} features"


def amount(value, metric):
    return f"{value:.4g}" if metric == "frechet_distance" else f"{100 * value:.1f}\u00a0%"


def contrast(row, metric):
    """A comparison with its limits, in its unit."""
    value, low, high = row["value"], row["low"], row["high"]
    if metric == "frechet_multiple":
        return f"{value:.2f} times [{low:.2f}, {high:.2f}]"
    return f"{100 * value:+.1f} points [{100 * low:+.1f}, {100 * high:+.1f}]"


def describe_generator(record, trained):
    """What the generator is and what it was trained on, by its training record, as a Markdown list's first entry."""
    return (f"- *generator*: {record['parameters']:,} parameters, trained on {len(trained):,} training images of "
            f"{trained.name} ({record['images_seen']:,} images seen, {record['minutes'] / 60:.1f} hours, "
            f"{record['device']}).")


def describe(live, recorded=None):
    """What the runs behind a page are, as a Markdown list."""
    def words(frame, p):
        searched = rows_of(frame, "near_copy_share").set_index("encoder")["searched"]
        places = ", ".join(f"{int(n):,} in {space(encoder)}" for encoder, n in searched.items())
        judge = "all unseen training images" if p["n_judge"] is None else f"{p['n_judge']:,} unseen training images"
        return (f"{p['n_samples']:,} samples ({p['solver'].capitalize()}, {p['steps']} steps), as many real images in "
                f"each set; the judge ({p['classifier']}, {p['classifier_steps']:,} steps) learnt from {judge}; "
                f"neighbours are searched among {places}")

    return describe_runs(live, recorded, words)
