"""Curves over a reconstruction sweep: what was published, the largest recorded run and the live run on one axis."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns

from synaug.statistics.rules import MIN_SEEDS
from synaug.run.results import bare
from synaug.diffusion.schedules import sigma_of_reverse_step
from synaug.statistics import mean_interval

#: Below this noise level the axis is linear, so that the real image, sigma = 0, has a place on it.
LINEAR_BELOW = 0.05
#: Where the published curves end: t_re = 100 on EDM's grid.
HIGHEST_PUBLISHED = 80.0
COLOURS = dict(zip(("source", "fresh", "train", "test"), sns.color_palette("colorblind", 4)))
PUBLISHED = "0.45"


def theme():
    """The book's look: white ground, readable type, a palette that colour-blind readers can tell apart."""
    sns.set_theme(context="notebook", style="ticks", palette="colorblind",
                  rc={"figure.dpi": 110, "savefig.dpi": 150, "axes.spines.top": False, "axes.spines.right": False,
                      "axes.grid": True, "grid.alpha": 0.3, "legend.frameon": False, "font.size": 11,
                      "axes.labelsize": 10.5, "xtick.labelsize": 10, "ytick.labelsize": 10})


def sigma_axis(ax, *frames):
    """Noise level on the axis (0, the real image, at its left end), the frames' reverse steps t_re above it."""
    levels = pd.concat([frame[["x", "sigma"]] for frame in frames if frame is not None]).drop_duplicates()
    levels = levels.sort_values("sigma")
    highest = levels["sigma"].max()
    ticks = [value for value in (0, 0.1, 1, 10, 100) if value <= 1.3 * highest]
    ax.set_xscale("symlog", linthresh=LINEAR_BELOW, linscale=0.6)
    ax.set_xticks(ticks, ["0\n(real)" if value == 0 else f"{value:g}" for value in ticks])
    ax.minorticks_off()
    ax.set_xlim(-0.008, 1.4 * max(highest, HIGHEST_PUBLISHED))
    ax.set_xlabel("noise level σ reached before coming back")
    top = ax.twiny()
    top.set_xscale("symlog", linthresh=LINEAR_BELOW, linscale=0.6)
    top.set_xlim(ax.get_xlim())
    top.set_xticks(levels["sigma"], [f"{x:g}" for x in levels["x"]])
    top.minorticks_off()
    top.set_xlabel("reverse steps t_re", fontsize=10)
    top.tick_params(labelsize=9)
    top.grid(False)
    top.spines["top"].set_visible(True)


def select(frame, metric, **where):
    """Rows of a metric; None or an absent frame gives no rows."""
    if frame is None:
        return pd.DataFrame(columns=["x", "sigma", "value", "low", "high", "seed"])
    rows = bare(frame)
    rows = rows[rows["metric"] == metric]
    for column, wanted in where.items():
        rows = rows[rows[column] == wanted]
    return rows.sort_values("x")


def summary(rows):
    """One row a level: sigma, value (mean over seeds), low and high.

    From 5 seeds on, low and high are a 95 % t interval; for 2 to 4, the smallest and the largest value (a t interval
    would be wider than the figure); for one, the row's own bootstrap limits.
    """
    rows, table = bare(rows), []
    for x, group in rows.groupby("x"):
        values = group["value"].to_numpy(float)
        if len(group) >= MIN_SEEDS:
            interval = mean_interval(values)
            value, low, high = interval.estimate, interval.low, interval.high
        elif len(group) > 1:
            value, low, high = values.mean(), values.min(), values.max()
        else:
            value, low, high = (float(group[name].iloc[0]) for name in ("value", "low", "high"))
        table.append({"x": x, "sigma": float(group["sigma"].iloc[0]), "value": value, "low": low, "high": high})
    return pd.DataFrame(table)


def draw(ax, rows, colour, label, *, live=False, scale=1.0):
    """One curve with 95 % intervals: a recorded run is a solid line, a live one hollow points and a thin line."""
    if len(rows) == 0:
        return
    table = summary(rows)
    values = table["value"] * scale
    style = dict(marker="o", markersize=6, markerfacecolor="white", linewidth=0.8, linestyle=":") if live else dict(
        marker="o", markersize=5, linewidth=2)
    ax.plot(table["sigma"], values, color=colour, label=label, zorder=3 if live else 2, **style)
    below, above = (values - table["low"] * scale).clip(lower=0), (table["high"] * scale - values).clip(lower=0)
    ax.errorbar(table["sigma"], values, yerr=np.stack([below, above]), fmt="none", ecolor=colour, elinewidth=1.2,
                capsize=2.5, alpha=0.8)


def draw_published(ax, points, label, *, scale=1.0, colour=PUBLISHED):
    """The paper's own points (columns x, value, spread), squares; the spread as printed there."""
    sigmas = [sigma_of_reverse_step(int(x)) for x in points["x"]]
    ax.errorbar(sigmas, points["value"] * scale, yerr=points["spread"] * scale, color=colour, marker="s",
                markersize=5, linestyle="--", linewidth=1.2, label=label, zorder=1, capsize=2.5)


def legend_below(figure, axes, columns=3):
    """One legend for all panels, off the data."""
    entries = {}
    for ax in np.ravel(axes):
        entries.update(dict(zip(*reversed(ax.get_legend_handles_labels()))))
    figure.legend(entries.values(), entries.keys(), loc="upper center", bbox_to_anchor=(0.5, 0.0), ncols=columns,
                  fontsize=10)


def panels(n, width=4.7, height=4.0, columns=None):
    """n axes in a row, or in rows of some ``columns``: a figure that is wider than the page is printed too small."""
    columns = columns or n
    rows = -(-n // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(width * columns, height * rows), squeeze=False,
                                layout="constrained")
    for ax in axes.flat[n:]:
        ax.remove()
    return figure, axes.flat[:n]
