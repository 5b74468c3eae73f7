"""Curves over a swept value, from tidy frames: what was published, the recorded run and the live one; and planes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullFormatter

from synaug.diffusion.schedules import sigma_of_reverse_step
from synaug.plots.style import BLUE, INK, T_RE, colours, finish, own_colour, panels, plain
from synaug.statistics import mean_interval
from synaug.statistics.contrasts import select
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
    #: Name: columns x, value, spread; squares. It has the colour of what stands after its last comma, as lines have.
    published: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    formula: str | None = None  # metric of theory's values, dashed in each curve's colour
    line: float | Mapping[str, float] = field(default_factory=dict)  # horizontal, in the axis' unit; or {name: value}
    upright: float | Mapping[str, float] = field(default_factory=dict)  # likewise vertical
    limits: tuple = (None, None)
    yscale: str | Mapping = "linear"
    xlabel: str | None = None  # these three: where they differ from those given to `lines`
    xscale: str | Mapping | None = None
    xticks: Sequence | Mapping | None = None


def summary(rows: pd.DataFrame, x: str = "x") -> pd.DataFrame:
    """One row per value of x: x, value (mean over seeds), low and high.

    From 5 seeds on, low and high are a 95 % t interval; for 2 to 4, the smallest and the largest value (a t interval
    would be wider than the figure); for one, the row's own limits, if any.
    """
    table = []
    for at, group in rows.groupby(x):
        values = group["value"].to_numpy(float)
        if len(values) >= MIN_SEEDS:
            interval = mean_interval(values)
            value, low, high = interval.estimate, interval.low, interval.high
        elif len(values) > 1:
            value, low, high = values.mean(), values.min(), values.max()
        else:
            value, low, high = (float(group[name].iloc[0]) if name in group else np.nan for name in ("value", "low", "high"))
        table.append({x: at, "value": value, "low": low, "high": high})
    return pd.DataFrame(table, columns=[x, "value", "low", "high"]).astype(float)


def run_style(live: bool, colour: str = INK) -> dict:
    """How a curve of the live or of a recorded run looks."""
    return {
        "color": colour,
        "marker": "o",
        "markersize": 5 if live else 4,
        "linestyle": ":" if live else "-",
        "markerfacecolor": "none" if live else colour,
        "linewidth": 0.9 if live else 1.8,
    }


def curve(ax: Axes, table: pd.DataFrame, colour: str, *, live: bool = False, joined: bool = True) -> None:
    """A table of `summary` with its bars: a recorded run is a solid line, the live one hollow points, dotted."""
    x, value, low, high = table.to_numpy(float).T
    style = run_style(live, colour)
    if joined and len(table) >= BAND_FROM:
        ax.plot(x, value, **style | {"marker": None})
        ax.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)
        return
    ax.plot(x, value, zorder=3 if live else 2, **style | ({} if joined else {"linestyle": "none"}))
    ax.errorbar(x, value, yerr=[np.clip(value - low, 0, None), np.clip(high - value, 0, None)], fmt="none", ecolor=colour, elinewidth=1, alpha=0.8)


def lines(
    live: pd.DataFrame | None,
    recorded: pd.DataFrame | None,
    shown: Sequence[Panel],
    *,
    x: str = "x",
    hue: str | None = None,
    names: Mapping | None = None,
    xlabel: str = "",
    xscale: str | Mapping = "linear",
    xticks: Sequence | Mapping | None = None,
    joined: bool = True,
) -> Figure:
    """Curves of a live and a recorded run (either may be None), one per value of a column, in one or more panels.

    shown: the panels. x: the column of the horizontal axis; "sigma" has noise levels, with reverse steps above.
    hue: the column whose values have a curve each ("metric" is one, too), None for one curve.
    names: {value of hue: its name}, in the legend's order; None for all values that there are. joined: whether points
    are. xlabel, xscale (as `scale` takes it), xticks (places, or {place: text}): of the horizontal axis.
    """
    runs = {name: frame for name, frame in (("recorded", recorded), ("this build", live)) if frame is not None}
    figure, axes = panels(len(shown))
    chosen = {(i, run): select(frame, metric=panel.metric, **panel.where) for i, panel in enumerate(shown) for run, frame in runs.items()}
    if names is None:
        names = {value: str(value) for rows in chosen.values() if hue for value in rows[hue].dropna().unique()}
    named = [name for panel in shown for given in (panel.line, panel.upright) if isinstance(given, Mapping) for name in given]
    palette = colours(names, taken=map(own_colour, named)) if hue else {None: BLUE}
    if x == "sigma":
        measured = [rows for rows in chosen.values() if len(rows)] or list(runs.values())
        levels = pd.concat(rows[["x", "sigma"]] for rows in measured)

    def colour_of(name):
        last = name.rpartition(", ")[2]
        return palette.get(last) or own_colour(last) or INK

    hues, kinds, others = {}, {}, dict[str, Any]()  # entries of the legend
    for i, (ax, panel) in enumerate(zip(axes, shown)):
        for name, points in panel.published.items():
            at = [sigma_of_reverse_step(int(level)) for level in points["x"]] if x == "sigma" else points["x"]
            others[name] = ax.errorbar(
                at,
                points["value"] * panel.scale,
                yerr=points["spread"] * panel.scale,
                color=colour_of(name),
                marker="s",
                markersize=4,
                linestyle="--",
                linewidth=1,
                zorder=1,
            )
        for run, (value, colour) in ((run, item) for run in runs for item in palette.items()):
            rows = chosen[i, run]
            rows = panel.change(rows[rows[hue] == value] if hue else rows)
            if len(rows) == 0:
                continue
            table = summary(rows, x)
            table[["value", "low", "high"]] *= panel.scale
            curve(ax, table, colour, live=run == "this build", joined=joined)
            hues |= {names[value]: Line2D([], [], color=colour, linewidth=2.5)} if hue else {}
            kinds[run] = Line2D([], [], **run_style(run == "this build", INK if hue else colour))
        for value, colour in palette.items():
            if panel.formula is None:
                break
            rows = select(live if recorded is None else recorded, metric=panel.formula, **panel.where)
            table = summary(rows[rows[hue] == value] if hue else rows, x)
            others["formula"] = Line2D([], [], color=INK, linestyle="--", linewidth=1.2)
            ax.plot(table[x], table["value"] * panel.scale, color=colour, linestyle="--", linewidth=1.2)
        for given, draw in ((panel.line, ax.axhline), (panel.upright, ax.axvline)):
            for name, at in (given if isinstance(given, Mapping) else {"": given}).items():
                drawn = draw(at, color=colour_of(name), linewidth=1, zorder=0, linestyle="-." if name else "-")
                others |= {name: drawn} if name else {}
        ax.set(ylabel=panel.label, title=plain(panel.title))
        ax.set_yscale(**scale(panel.yscale))
        ax.set_ylim(*panel.limits)
        if x == "sigma":
            noise_axis(ax, levels)
        else:
            value_axis(
                ax,
                xlabel if panel.xlabel is None else panel.xlabel,
                xscale if panel.xscale is None else panel.xscale,
                xticks if panel.xticks is None else panel.xticks,
            )
    # A kind of run is named where there are two, or where nothing else tells its curve from the others.
    return finish(figure, hues | (kinds if "this build" in kinds or (others and not hues) else {}) | others)


def scale(kind: str | Mapping) -> Mapping:
    """Arguments of ``set_xscale``: of a scale's name, or of a dict such as {"value": "symlog", "linthresh": 0.01}."""
    return {"value": kind} if isinstance(kind, str) else kind


def value_axis(ax: Axes, label: str, kind: str | Mapping, ticks: Sequence | Mapping | None) -> None:
    """The horizontal axis of a swept value; ticks: places, or {place: text}; None for matplotlib's."""
    ax.set_xscale(**scale(kind))
    if ticks is not None:
        ax.set_xticks(list(ticks), list(ticks.values()) if isinstance(ticks, Mapping) else [f"{t:g}" for t in ticks])
        ax.xaxis.set_minor_formatter(NullFormatter())
        ax.tick_params(axis="x", which="minor", length=0)
    ax.set_xlabel(label)


def noise_axis(ax: Axes, levels: pd.DataFrame) -> None:
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
    ax.set_xlabel("noise level σ")
    top.set_xticks(levels["sigma"], [f"{x:g}" for x in levels["x"]])
    top.set_xlabel(f"reverse steps {T_RE}")
    top.spines["top"].set_visible(True)
    top.grid(False)
    for axis in (ax, top):
        axis.minorticks_off()


def scatter(points: pd.DataFrame, *, x: str, y: str, hue: str | None = None, panel: str | None = None, names: Mapping | None = None) -> Figure:
    """Points of a plane, a panel per value of a column (``names``: {value: title}), coloured by another; equal axes in
    all panels."""
    values = [None] if panel is None else list(names or points[panel].unique())
    figure, axes = panels(len(values), 3.3)
    bounds = {}
    for side, column in (("xlim", x), ("ylim", y)):
        low, high = points[column].min(), points[column].max()
        margin = 0.05 * (high - low) or 1
        bounds[side] = low - margin, high + margin
    palette = colours(points[hue].unique()) if hue else {None: BLUE}
    for ax, value in zip(axes, values):
        own = points if panel is None else points[points[panel] == value]
        for name, colour in palette.items():
            rows = own[own[hue] == name] if hue else own
            ax.scatter(rows[x], rows[y], s=9, color=colour, alpha=0.75, linewidth=0)
        ax.set(title=plain((names or {}).get(value, "" if panel is None else value)), xlabel=x, ylabel=y, **bounds)
    handles = {name: Line2D([], [], color=colour, marker="o", linestyle="none") for name, colour in palette.items()}
    return finish(figure, handles if hue else {})
