"""The figures of the exact-score control. Functions take frames of `synaug.experiments.exact_score` (``recorded`` may
be None) and return a matplotlib figure. Curves are differences from the floor, fresh draws in place of
reconstructions, paired over worlds: 0 is what a perfect generator scores."""

import numpy as np
import pandas as pd
import seaborn as sns

from synaug.experiments.exact_score import EXACT, SOLVERS, STEPS, excess
from synaug.figures.curves import COLOURS, draw, legend_below, panels, sigma_axis
from synaug.metrics import FRESH_REAL
from synaug.run.results import bare, describe_runs
from synaug.statistics import mean_interval

#: How a metric is drawn: metric, what it is measured against, what the axis says.
SHARES = {"precision": "fresh", "recall": "fresh", "outer_edge_recall": "fresh"}
OF_WORLD = {"mean_log_density": "world", "variance_ratio": "world", "occupancy_error": "world"}
MODES = {"rare_mode_ratio": "world", "class_agreement": "world"}
LABELS = {"precision": "precision", "recall": "recall", "outer_edge_recall": "outer-edge recall",
          "mean_log_density": "mean log-density (nats)", "variance_ratio": "variance within classes,\nover the world's",
          "occupancy_error": "distance between shares of modes",
          "rare_mode_ratio": "share in rare modes,\nover the world's",
          "class_agreement": "share of points of the class asked for"}
NAMES = {"source": "sources as reference", "fresh": "fresh draws as reference"}
METRIC_COLOURS = dict(zip(LABELS, sns.color_palette("colorblind", len(LABELS))))
SOLVER_COLOURS = dict(zip(SOLVERS, sns.color_palette("colorblind")[:4]))
#: Reverse steps that are marked on the axis, and that are drawn of a frame that has them all.
MARKED, DRAWN_EVERY = (0, 30, 50, 70, 100), 5
#: What an arm's x is called beside its value.
UNITS = {"scaled score": "score × {:g}", "score noise": "score noise, level {:g}",
         "smoothed score": "score smoothed over ln σ, width {:g}", "guidance": "guidance, scale {:g}",
         "class-blind": "score without the class", "Heun": "{:g} Heun steps", "Euler": "{:g} Euler steps",
         EXACT: "exact score, fine grid"}


def describe(live, recorded=None):
    """What the runs behind a page are, as a Markdown list."""
    return describe_runs(live, recorded, lambda frame, p: (
        f"{p['worlds']} random mixtures, {p['n_points']:,} points of each in every set (k = {p['k']}); the exact score "
        f"from {len(p['reverse_steps'])} levels (stride {p['stride']} on the grid of {STEPS})"))


def both(ax, recorded, live, metric, reference, colour, name, axis=None, **where):
    """The recorded and the live curve of one arm's difference from the floor, against sigma or the column ``axis``."""
    for frame, run in ((recorded, "recorded"), (live, "this build")):
        if frame is not None:
            rows = excess(bare(frame), metric, reference, **where)
            rows = rows.assign(sigma=rows[axis]) if axis else rows[rows["x"] % DRAWN_EVERY == 0]
            draw(ax, rows, colour, f"{run}, {name}", live=run == "this build")


def fine_grid(live, recorded=None):
    """The exact score on the fine grid from every level: precision, recall, outer-edge recall with both references,
    and what the world itself says of them."""
    figure, axes = panels(6, width=3.9, columns=3)
    for ax, metric in zip(axes, SHARES):
        for reference, name in NAMES.items():
            both(ax, recorded, live, metric, reference, COLOURS[reference], name, arm=EXACT)
    for ax, (metric, reference) in zip(axes[3:], OF_WORLD.items()):
        both(ax, recorded, live, metric, reference, COLOURS["train"], "the world itself as reference", arm=EXACT)
    marked = live[(live["arm"] == EXACT) & live["x"].isin(MARKED)]
    for ax, metric in zip(axes, (*SHARES, *OF_WORLD)):
        ax.axhline(0, color="0.4", linewidth=1)
        sigma_axis(ax, marked)
        ax.set_ylabel(f"{LABELS[metric]},\nminus the floor")
    legend_below(figure, axes, 3)
    return figure


def coarse_grids(live, recorded=None, t_re=STEPS):
    """The exact score on coarse grids down from one level, against the number of steps, a curve a solver."""
    figure, axes = panels(4, width=4.7, height=3.5, columns=2)
    wanted = {"precision": "fresh", "recall": "fresh", "outer_edge_recall": "fresh", "mean_log_density": "world"}
    for ax, (metric, reference) in zip(axes, wanted.items()):
        for arm, colour in SOLVER_COLOURS.items():
            both(ax, recorded, live, metric, reference, colour, arm, axis="x", arm=arm, t_re=t_re)
        ax.axhline(0, color="0.4", linewidth=1)
        ticks = sorted({x for frame in (live, recorded) if frame is not None
                        for x in frame.loc[frame["swept"] == "steps", "x"]})
        ax.set_xscale("log")
        ax.set_xticks(ticks, [f"{x:g}" for x in ticks])
        ax.minorticks_off()
        ax.set_xlabel("sampling steps")
        ax.set_ylabel(f"{LABELS[metric]},\nminus the floor")
    # Few steps put points where the density all but vanishes: beyond 10 nats the axis is logarithmic.
    axes[3].set_yscale("symlog", linthresh=10)
    legend_below(figure, axes, 4)
    return figure


def score_errors(live, recorded=None, metrics=SHARES, t_re=STEPS):
    """Scores with a known error, on the fine grid from one level: a panel a kind of error, a curve a metric."""
    axis_labels = {"scaled score": "factor of the score", "score noise": "level of the score noise",
                   "smoothed score": "width of the smoothing in ln σ", "guidance": "scale of the guidance"}
    neutral = {"scaled score": 1, "score noise": 0, "smoothed score": 0, "guidance": 1}
    figure, axes = panels(len(axis_labels), width=4.7, height=3.5, columns=2)
    for ax, (arm, label) in zip(axes, axis_labels.items()):
        for metric, reference in metrics.items():
            runs = [with_neutral(frame, arm, neutral[arm], t_re) for frame in (recorded, live)]
            both(ax, *runs, metric, reference, METRIC_COLOURS[metric], LABELS[metric].replace("\n", " "), axis="x",
                 arm=arm, t_re=t_re)
        ax.axhline(0, color="0.4", linewidth=1)
        ax.set_xlabel(label)
        ax.locator_params(axis="x", nbins=5)
        ax.set_ylabel("difference from the floor" if ax in axes[::2] else "")
    legend_below(figure, axes, 3)
    return figure


def controls_table(frame, controls, t_re=STEPS):
    """Every metric of some controls, [(arm, x)], minus the floor: mean and half of its 95 % t interval over worlds, as
    text. Controls that the run does not have are left out. ValueError for fewer than two worlds."""
    rows = bare(frame)
    rows = rows[(rows["arm"] == FRESH_REAL) | (rows["t_re"] == t_re)]
    found = {}
    for metric, reference in (SHARES | OF_WORLD | MODES).items():
        values = excess(rows, metric, reference).groupby(["arm", "x"])["value"]
        for arm, x in controls:
            if (arm, float(x)) in values.groups:
                interval = mean_interval(values.get_group((arm, float(x))))
                text = f"{interval.estimate:+.3f} ± {interval.high - interval.estimate:.3f}"
                found.setdefault(UNITS[arm].format(x), {})[LABELS[metric].replace("\n", " ")] = text
    return pd.DataFrame(found).T.rename_axis("").reset_index()


def with_neutral(frame, arm, x, t_re):
    """The frame with rows of the exact score for an arm's x that leaves the score as it is; for guidance also those
    of the class-blind score, which is its scale 0."""
    if frame is None:
        return None
    frame = bare(frame)
    at = frame[frame["t_re"] == t_re]
    stand_ins = [(EXACT, x)] + ([("class-blind", 0)] if arm == "guidance" else [])
    added = [at[at["arm"] == source].assign(arm=arm, x=float(value)) for source, value in stand_ins]
    return pd.concat([frame, *added])


def point_clouds(points):
    """Draws of a two-dimensional world and its reconstructions, a panel each: columns panel, x, y, label."""
    names = list(points["panel"].unique())
    figure, axes = panels(len(names), width=3.4, height=3.0, columns=3)
    for ax, name in zip(axes, names):
        own = points[points["panel"] == name]
        sns.scatterplot(own, x="x", y="y", hue="label", palette="colorblind", s=6, linewidth=0, alpha=0.7, ax=ax,
                        legend=False)
        ax.set_title(name, fontsize=11)
        ax.set_xlim(points["x"].quantile(0.001) - 0.3, points["x"].quantile(0.999) + 0.3)
        ax.set_ylim(points["y"].quantile(0.001) - 0.3, points["y"].quantile(0.999) + 0.3)
        ax.set_aspect("equal")
        ax.set_xlabel("")
        ax.set_ylabel("")
    return figure
