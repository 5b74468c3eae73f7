"""Curves over a swept value, from tidy frames: what was published, the recorded run and the live one; and planes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from matplotlib.lines import Line2D
from matplotlib.ticker import NullFormatter

from synaug.diffusion.schedules import sigma_of_reverse_step
from synaug.plots.style import BLUE, INK, T_RE, colours, finish, panels, plain
from synaug.statistics import mean_interval
from synaug.statistics.frames import bare
from synaug.statistics.rules import MIN_SEEDS

LINEAR_BELOW = 0.05  # noise levels below which the axis is linear, so that the real image, sigma = 0, is on it
BAND_FROM = 25  # values of x from which a curve is a line in a band, without points


@dataclass
class Panel:
    """One panel of `lines`: which rows of the frames it shows, and how its axes read."""

    metric: str | Sequence[str]
    label: str  # of the y axis
    where: Mapping = field(default_factory=dict)  # further columns: a value, or a list of those allowed
    title: str = ""
    scale: float = 1.0  # of values and limits
    change: Callable = lambda rows: rows  # rows of one curve, before its summary
    #: Name: columns x, value, spread; squares. A name that ends in ", " and a value of hue has its colour; so do lines.
    published: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    formula: str | None = None  # metric of theory's values, dashed in each curve's colour
    line: float | Mapping[str, float] = field(default_factory=dict)  # horizontal, in the axis' unit; or {name: value}
    upright: float | Mapping[str, float] = field(default_factory=dict)  # likewise vertical
    limits: tuple = (None, None)
    yscale: str = "linear"
    xlabel: str | None = None  # these three: where they differ from those given to `lines`
    xscale: str | None = None
    xticks: Sequence | Mapping | None = None


def select(frame, metric, **where):
    """Rows of a frame by metric and other columns, each a value or a list of those allowed; none of None."""
    if frame is None:
        return pd.DataFrame(columns=["x", "sigma", "metric", "value", "low", "high", "seed"])
    rows = bare(frame)
    for column, wanted in {"metric": metric, **where}.items():
        rows = rows[rows[column].isin([wanted] if np.isscalar(wanted) else list(wanted))]
    return rows


def summary(rows, x="x"):
    """One row per value of x: x, value (mean over seeds), low and high.

    From 5 seeds on, low and high are a 95 % t interval; for 2 to 4, the smallest and the largest value (a t interval
    would be wider than the figure); for one, the row's own limits, if any.
    """
    table = []
    for at, group in bare(rows).groupby(x):
        values = group["value"].to_numpy(float)
        if len(values) >= MIN_SEEDS:
            interval = mean_interval(values)
            value, low, high = interval.estimate, interval.low, interval.high
        elif len(values) > 1:
            value, low, high = values.mean(), values.min(), values.max()
        else:
            value, low, high = (float(group[name].iloc[0]) if name in group else np.nan
                                for name in ("value", "low", "high"))
        table.append({x: at, "value": value, "low": low, "high": high})
    return pd.DataFrame(table, columns=[x, "value", "low", "high"]).astype(float)


def curve(ax, table, colour, *, live=False, joined=True, marker="o"):
    """A table of `summary` with its bars: a recorded run is a solid line, the live one hollow points, dotted."""
    x, value, low, high = table.to_numpy(float).T
    style = dict(color=colour, zorder=3 if live else 2, linewidth=0.9 if live else 1.8,
                 linestyle=(":" if live else "-") if joined else "none")
    if len(table) >= BAND_FROM:
        ax.plot(x, value, **style)
        ax.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)
        return
    ax.plot(x, value, marker=marker, markersize=5 if live else 4, markerfacecolor="white" if live else colour, **style)
    ax.errorbar(x, value, yerr=[np.clip(value - low, 0, None), np.clip(high - value, 0, None)], fmt="none",
                ecolor=colour, elinewidth=1, alpha=0.8)


def lines(live, recorded, shown, *, x="x", hue=None, names=None, xlabel="", xscale="linear", xticks=None, joined=True):
    """Curves of a live and a recorded run (either may be None), one per value of a column, in one or more panels.

    shown: the panels. x: the column of the horizontal axis; "sigma" has the noise level's axis with reverse steps above.
    hue: the column whose values have a curve each ("metric" is one, too), None for one curve.
    names: {value of hue: its name}, in the legend's order; None for all values that there are. xlabel, xscale ("linear",
    "log" or "symlog") and xticks (places, or {place: text}): of the horizontal axis. joined: whether points are.
    """
    runs = {name: frame for name, frame in (("recorded", recorded), ("this build", live)) if frame is not None}
    figure, axes = panels(len(shown))
    chosen = {(i, run): select(frame, panel.metric, **panel.where) for i, panel in enumerate(shown)
              for run, frame in runs.items()}
    if names is None:
        names = {value: str(value) for rows in chosen.values() for value in (rows[hue].unique() if hue else ())}
    palette = colours(names) if hue else {None: BLUE}
    if x == "sigma":
        levels = pd.concat(rows[["x", "sigma"]] for rows in chosen.values() if len(rows))
    hues, kinds, others = {}, {}, {}  # entries of the legend
    for i, (ax, panel) in enumerate(zip(axes, shown)):
        for name, points in panel.published.items():
            at = [sigma_of_reverse_step(int(level)) for level in points["x"]] if x == "sigma" else points["x"]
            colour = palette.get(name.rpartition(", ")[2], INK)
            others[name] = ax.errorbar(at, points["value"] * panel.scale, yerr=points["spread"] * panel.scale,
                                       color=colour, marker="s", markersize=4, linestyle="--", linewidth=1, zorder=1)
        for run, (value, colour) in ((run, item) for run in runs for item in palette.items()):
            rows = chosen[i, run]
            rows = panel.change(rows[rows[hue] == value] if hue else rows)
            if len(rows) == 0:
                continue
            table = summary(rows, x)
            table[["value", "low", "high"]] *= panel.scale
            curve(ax, table, colour, live=run == "this build", joined=joined)
            hues |= {names[value]: Line2D([], [], color=colour, linewidth=2.5)} if hue else {}
            kinds[run] = run_handle(run, INK if hue else colour)
        for value, colour in palette.items() if panel.formula else ():
            rows = select(live if recorded is None else recorded, panel.formula, **panel.where)
            table = summary(rows[rows[hue] == value] if hue else rows, x)
            others["formula"] = Line2D([], [], color=INK, linestyle="--", linewidth=1.2)
            ax.plot(table[x], table["value"] * panel.scale, color=colour, linestyle="--", linewidth=1.2)
        for given, draw in ((panel.line, ax.axhline), (panel.upright, ax.axvline)):
            for place, (name, at) in enumerate((given if isinstance(given, Mapping) else {"": given}).items()):
                drawn = draw(at, color=palette.get(name.rpartition(", ")[2], INK), linewidth=1, zorder=0,
                             linestyle=("-", "-.")[bool(name)])
                others |= {name: drawn} if name else {}
        ax.set(ylabel=panel.label, title=plain(panel.title), yscale=panel.yscale)
        ax.set_ylim(*panel.limits)
        if x == "sigma":
            noise_axis(ax, levels)
        else:
            value_axis(ax, *(own if own is not None else shared for own, shared in (
                (panel.xlabel, xlabel), (panel.xscale, xscale), (panel.xticks, xticks))))
    return finish(figure, hues | kinds | others)


def run_handle(run, colour=INK):
    """How a run looks in a legend."""
    live = run == "this build"
    return Line2D([], [], color=colour, marker="o", markersize=5 if live else 4, linestyle=":" if live else "-",
                  markerfacecolor="white" if live else colour, linewidth=0.9 if live else 1.8)


def value_axis(ax, label, scale, ticks):
    """The horizontal axis of a swept value; ticks: places, or {place: text}; None for matplotlib's."""
    ax.set_xscale(scale)
    if ticks is not None:
        ax.set_xticks(list(ticks), list(ticks.values()) if isinstance(ticks, Mapping) else [f"{t:g}" for t in ticks])
        ax.xaxis.set_minor_formatter(NullFormatter())
        ax.tick_params(axis="x", which="minor", length=0)
    ax.set_xlabel(label)


def noise_axis(ax, levels):
    """Noise level as the axis, 0, the real image, at its left end; above it reverse steps. levels: columns x, sigma."""
    levels = levels.drop_duplicates().sort_values("sigma")
    if len(levels) > 15:
        levels = levels[levels["x"] % 10 == 0]
    highest = max(levels["sigma"].max(), ax.dataLim.x1 if np.isfinite(ax.dataLim.x1) else 0)
    top = ax.twiny()
    for axis in (ax, top):
        axis.set_xscale("symlog", linthresh=LINEAR_BELOW, linscale=0.6)
        axis.set_xlim(-0.008, 1.4 * highest)
    ticks = [tick for tick in (0, 0.1, 1, 10, 100, 1000) if tick <= 1.4 * highest]
    ax.set_xticks(ticks, ["0\n(real)" if tick == 0 else f"{tick:g}" for tick in ticks])
    ax.set_xlabel("noise level σ reached before coming back")
    top.set_xticks(levels["sigma"], [f"{x:g}" for x in levels["x"]])
    top.set_xlabel(f"reverse steps {T_RE}")
    top.spines["top"].set_visible(True)
    top.grid(False)
    for axis in (ax, top):
        axis.minorticks_off()


def scatter(points, *, x, y, hue=None, panel=None, names=None, height=3.3, limits=None):
    """Points of a plane, a panel per value of a column (``names``: {value: title}), coloured by another; equal axes in
    all panels. limits: share of the points left out at each end, None for none."""
    values = [None] if panel is None else list(names or points[panel].unique())
    figure, axes = panels(len(values), height)
    margin = limits or 0
    bounds = {name: points[column].quantile([margin, 1 - margin]) for name, column in (("xlim", x), ("ylim", y))}
    bounds = {name: (low - 0.05 * (high - low), high + 0.05 * (high - low)) for name, (low, high) in bounds.items()}
    palette = colours(points[hue].unique()) if hue else {None: BLUE}
    for ax, value in zip(axes, values):
        own = points if panel is None else points[points[panel] == value]
        for name, colour in palette.items():
            rows = own[own[hue] == name] if hue else own
            ax.scatter(rows[x], rows[y], s=9, color=colour, alpha=0.75, linewidth=0)
        ax.set(title=plain((names or {}).get(value, "" if panel is None else value)), xlabel=x, ylabel=y, **bounds)
    handles = {name: Line2D([], [], color=colour, marker="o", linestyle="none") for name, colour in palette.items()}
    return finish(figure, handles if hue else {})
