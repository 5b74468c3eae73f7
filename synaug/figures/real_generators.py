"""The figures of the ladder, the dials and the exploration terms. Functions take frames of
`synaug.experiments.real_generators` (``recorded`` may be None) and return a matplotlib figure. Only one run is drawn,
the recorded one where there is one: metrics of pools of different sizes have no common axis. What fresh real images
score in the samples' place is a grey line: the floor of recall and precision, the ceiling of accuracy."""

import numpy as np
import seaborn as sns

from synaug.experiments.real_generators import MIDDLE, NOISE
from synaug.experiments.real_generators_views import gains
from synaug.figures.curves import legend_below, panels, summary
from synaug.metrics import FRESH_REAL
from synaug.plots import image_grid
from synaug.run.results import bare

LABELS = {"outer_edge_recall": "outer-edge recall", "recall": "recall", "precision": "precision",
          "centroid_distance_ratio": "distance to class centre,\nover fresh real images'",
          "covariance_logdet_ratio": "log-variance in classes,\nminus fresh real images'",
          "accuracy": "accuracy, trained on samples",
          "accuracy_with_real": "accuracy, trained on\nreal images and samples", "frechet_distance": "Fréchet distance"}
SHOWN = ("outer_edge_recall", "recall", "precision", "centroid_distance_ratio", "accuracy")
LINEAR_BELOW = 0.005  # of the axis of excess losses, logarithmic above
PALETTE = sns.color_palette("colorblind")
LEVELS = {NOISE: "from noise", MIDDLE: "from the middle"}


def first_of(live, recorded, part):
    """(frame to draw, its name): the recorded run where it has the part, else the live one. ValueError for neither."""
    for frame, name in ((recorded, "recorded"), (live, "this build")):
        if frame is not None and (frame["part"] == part).any():
            return bare(frame), name
    raise ValueError(f"neither run has the part {part!r}")


def ladder(live, recorded=None, metrics=SHOWN):
    """Each rung's metrics against its excess of denoising loss over the best; the sizes of generators have colours."""
    frame, run = first_of(live, recorded, "ladder")
    rows = frame[frame["part"] == "ladder"]
    excess = rows[rows["metric"] == "mean_loss_excess"].set_index("x")["value"]
    colours = dict(zip(rows["arm"].unique(), PALETTE))
    figure, axes = panels(len(metrics), width=3.9, height=3.5, columns=3)
    for ax, metric in zip(axes, metrics):
        for level, marker in ((NOISE, "o"), (MIDDLE, "^")):
            own = rows[(rows["metric"] == metric) & (rows["level"] == level)]
            for arm, colour in colours.items():
                table = summary(own[own["arm"] == arm])
                if table.empty:
                    continue
                name = "saved generator" if arm == "saved" else f"channels {arm}"
                _points(ax, excess.loc[table["x"]].to_numpy(), table, colour, marker, f"{name}, {LEVELS[level]}, {run}")
        floor_line(ax, frame, metric)
        ax.set_xscale("symlog", linthresh=LINEAR_BELOW)
        ticks = [tick for tick in (0, 0.01, 0.03, 0.1, 0.3, 1) if tick <= 1.1 * excess.max()]
        ax.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        ax.minorticks_off()
        ax.set_xlim(-0.001, 1.5 * max(excess.max(), LINEAR_BELOW))
        ax.set_xlabel("denoising loss, minus the best's")
        ax.set_ylabel(LABELS[metric])
    legend_below(figure, axes, 3)
    return figure


def dials(live, recorded=None, metrics=SHOWN):
    """Metrics of the best generator's samples against the number of steps, a curve a sampler."""
    frame, run = first_of(live, recorded, "dials")
    rows = frame[frame["part"] == "dials"]
    colours = dict(zip(rows["arm"].unique(), PALETTE))
    churned = [arm for arm in colours if "churn" in arm]
    # Samplers with churn share a number of steps: side by side they can be told apart.
    aside = {arm: 1.05 ** (2 * place + 1 - len(churned)) for place, arm in enumerate(churned)}
    figure, axes = panels(len(metrics), width=3.9, height=3.5, columns=3)
    for ax, metric in zip(axes, metrics):
        for arm, colour in colours.items():
            table = summary(rows[(rows["metric"] == metric) & (rows["arm"] == arm)].assign(sigma=np.nan))
            marker, x = "s" if arm in aside else "o", table["x"].to_numpy() * aside.get(arm, 1.0)
            _points(ax, x, table, colour, marker, f"{arm}, {run}", joined=True)
        floor_line(ax, frame, metric)
        ticks = sorted(rows["x"].unique())
        ax.set_xscale("log")
        ax.set_xticks(ticks, [f"{x:g}" for x in ticks])
        ax.minorticks_off()
        ax.set_xlabel("sampling steps")
        ax.set_ylabel(LABELS[metric])
    legend_below(figure, axes, 4)
    return figure


def exploration(live, recorded=None, metrics=("outer_edge_recall", "precision", "accuracy", "accuracy_with_real")):
    """What each exploration term changes against plain sampling, paired over seeds; filled: significant after Holm."""
    frame, run = first_of(live, recorded, "exploration")
    table = gains(frame, metrics)
    order = list(dict.fromkeys((row.part, row.arm, row.x) for row in table.itertuples()))
    figure, axes = panels(len(metrics), width=4.4, height=0.3 * len(order) + 1.0, columns=2)
    for ax, metric in zip(axes, metrics):
        for row in table[table["metric"] == metric].itertuples():
            place, colour = order.index((row.part, row.arm, row.x)), "0.4" if row.part == "beside" else PALETTE[0]
            sure = row.part == "beside" or row.adjusted < 0.05
            ax.errorbar(row.value, place, xerr=[[max(0, row.value - row.low)], [max(0, row.high - row.value)]], fmt="o",
                        color=colour, capsize=2.5, markerfacecolor=colour if sure else "white")
        ax.axvline(0, color="0.4", linewidth=1)
        ax.set_yticks(range(len(order)), [f"{arm}, {x:g}" if part == "terms" else arm for part, arm, x in order]
                      if ax in axes[::2] else [])
        ax.set_ylim(len(order) - 0.5, -0.5)
        ax.set_xlabel(f"change of {LABELS[metric]}")
    figure.suptitle(f"minus plain sampling, {run}", fontsize=11)
    return figure


def samples(shown):
    """Images of `real_generators_views.shown_samples`, a row each; down a column the same class and the same noise."""
    return image_grid(list(shown.values()), list(shown))


def floor_line(ax, frame, metric):
    """What fresh real images score, mean over their sets, as a line."""
    values = frame.loc[(frame["part"] == "floor") & (frame["arm"] == FRESH_REAL) & (frame["metric"] == metric), "value"]
    if len(values):
        ax.axhline(values.mean(), color="0.4", linewidth=1.2, linestyle="--", label="fresh real images")


def _points(ax, x, table, colour, marker, label, joined=False):
    """Points of a table of `curves.summary` with its limits where it has them."""
    value = table["value"].to_numpy(float)
    low, high = (np.where(table[name].isna(), value, table[name]).astype(float) for name in ("low", "high"))
    ax.errorbar(x, value, yerr=[np.clip(value - low, 0, None), np.clip(high - value, 0, None)], color=colour,
                marker=marker, linestyle="-" if joined else "none", capsize=2.5, elinewidth=1.1, label=label)
