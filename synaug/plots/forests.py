"""Estimates with their intervals, one row per contrast."""

from collections.abc import Mapping
from textwrap import fill

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from synaug.plots.lines import run_style
from synaug.plots.style import BLUE, INK, WIDTH, colours, finish, own_colour, plain


def forest(
    rows: pd.DataFrame,
    *,
    label: str = "label",
    group: str | None = None,
    panel: str | None = None,
    hue: str | None = None,
    run: str | None = None,
    names: Mapping | None = None,
    xlabel: str | Mapping = "",
    scale: float = 1.0,
    zero: float | Mapping | None = 0.0,
) -> Figure:
    """One row per label, its estimates and intervals side by side below each other where it has several.

    rows: a frame with the columns estimate, low and high (NaN for none). A point is hollow where the interval holds
    ``zero``. label: the column that a row is for; names: {value: what is written}, in the
    order to show; None for all in their own. The other columns, where given: group, whose values head groups of rows;
    panel, a panel per value (a data set, a metric), two side by side; hue, which has the colour in place of label; run, which says
    "recorded", "this build" (dotted) or "published" (squares).
    xlabel: one for all panels, or {value of panel: label}, in the order to show. scale: of all numbers. zero: where the
    vertical line is; None for none, or {value of panel: place}.
    """
    rows = rows.dropna(subset="estimate")
    names = {value: str(value) for value in rows[label].unique()} if names is None else names
    rows = rows[rows[label].isin(list(names))]
    places, heads = {}, {}
    for head in rows[group].unique() if group else [None]:
        if group:
            heads[len(places) + len(heads)] = head
        for value in names:
            if not group or ((rows[group] == head) & (rows[label] == value)).any():
                places[head, value] = len(places) + len(heads)
    columns, at = ([name for name in both if name] for both in ((hue, run), (group, label, panel)))
    sides = {}  # of each row of a panel, what stands in it
    for row in rows.to_dict("records"):
        sides.setdefault(tuple(row[name] for name in at), {})[tuple(row[name] for name in columns)] = None
    most = max(map(len, sides.values()), default=1)
    apart = min(0.22, 0.8 / most)
    palette = colours(rows[hue].unique(), distinct=False) if hue else {value: own_colour(value, name) for value, name in names.items()}
    shown = [None] if panel is None else list(xlabel if isinstance(xlabel, Mapping) else rows[panel].unique())
    count = len(places) + len(heads)
    across = min(len(shown), 2)
    down = -(-len(shown) // across)
    row_height = max(0.27, 0.1 * most + 0.1, 0.16 * max(text.count("\n") + 1 for text in map(wrapped, names.values())))
    figure, axes = plt.subplots(down, across, figsize=(WIDTH, down * (row_height * count + 0.75)), squeeze=False, sharey=True, layout="constrained")
    entries, kinds = {}, {}
    for ax, value in zip(axes.flat, shown):
        own, upright = rows if panel is None else rows[rows[panel] == value], zero.get(value) if isinstance(zero, Mapping) else zero
        for row in own.to_dict("records"):
            beside = list(sides[tuple(row[name] for name in at)])
            side = beside.index(tuple(row[name] for name in columns)) - (len(beside) - 1) / 2
            y = places[row[group] if group else None, row[label]] + apart * side
            kind, colour = row[run] if run else "", palette[row[hue or label]] or own_colour(row[group] if group else "") or BLUE
            sure = upright is None or not row["low"] <= upright <= row["high"]
            ax.plot([scale * row["low"], scale * row["high"]], [y, y], color=colour, linewidth=1.6, linestyle=":" if kind == "this build" else "-")
            ax.plot(
                scale * row["estimate"],
                y,
                "s" if kind == "published" else "o",
                color=colour,
                markersize=5,
                markerfacecolor=colour if sure and kind != "this build" else "none",
            )
            if hue and hue != label:
                entries[row[hue]] = Line2D([], [], color=colour, linewidth=2.5)
            if run:
                square = {"marker": "s", "linestyle": "none"} if kind == "published" else {}
                kinds[kind] = Line2D([], [], **run_style(kind == "this build") | square)
            if not sure:
                line = "the line" if isinstance(zero, Mapping) else f"{upright:.3g}".replace("-", "\u2212")
                kinds[f"interval holds {line}"] = Line2D([], [], color=INK, marker="o", markerfacecolor="none", markersize=5, linestyle="none")
        if upright is not None:
            ax.axvline(upright, color=INK, linewidth=1)
        several = panel is not None and not isinstance(xlabel, Mapping)
        ax.set(xlabel=xlabel[value] if isinstance(xlabel, Mapping) else xlabel, title=plain(value) if several else "")
        ax.tick_params(axis="y", length=0)
        ax.grid(False, axis="y")
    for ax in axes.flat[len(shown) :]:
        ax.remove()
    first = axes[0, 0]
    ticks = {**{at: wrapped(names[value]) for (_, value), at in places.items()}, **{at: plain(head) for at, head in heads.items()}}
    first.set_yticks(list(ticks), list(ticks.values()))
    first.set_ylim(count - 0.5, -0.5)
    for ax in axes[:, 0]:
        for tick, at in zip(ax.get_yticklabels(), ticks):
            tick.set_fontweight("bold" if at in heads else "normal")
    return finish(figure, entries | kinds)


def wrapped(name: str) -> str:
    return plain(fill(name, 34))
