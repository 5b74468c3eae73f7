"""Where the fall of recall, or of accuracy, from real to fully synthetic comes from: as a sum of parts.

As published, recall is taken against the sources: it starts at 1, where they are compared with themselves. Against
fresh real data it starts at the floor and falls by less; the rest of the fall is the *metric*'s. What remains is, where
the exact score is known, the *reverse process* itself (floor minus exact score on the fine grid) and either
*discretisation* (fine minus coarse grid, exact score) or *score error* (exact minus perturbed score, fine grid). Of a
trained network these three cannot be told apart by one run: *not separated*. By runs of several grids they can, as far
as the reverse process is known to take nothing: what is lost on the finest grid is the score error. Falls are positive.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from synaug.statistics.rules import NotMeasured, contrast
from synaug.statistics.claims import load_claims, published_series
from synaug.experiments.exact_score import EXACT, SOLVERS, STEPS
from synaug.figures.exact_score import UNITS
from synaug.metrics import FRESH_REAL
from synaug.plots import INK, PALETTE, WIDTH, finish
from synaug.run.results import bare
from synaug.statistics import mean_interval

TOTAL = "whole fall"
METRIC, PROCESS, GRID, SCORE, TOGETHER = PARTS = (
    "metric", "reverse process", "discretisation", "score error", "not separated")
COLUMNS = ["what", "part", "value", "low", "high"]
PART_COLOURS = dict(zip(PARTS, [*PALETTE[:4], INK]))

#: Arms and their x that stand in for a trained generator in the mixtures: those that a run has.
STAND_INS = ((EXACT, STEPS), ("Heun", 18), ("Euler", 18), ("scaled score", 0.95), ("scaled score", 0.98),
             ("scaled score", 1.02), ("scaled score", 1.05), ("score noise", 0.2), ("smoothed score", 1),
             ("guidance", 2))
#: What falls on real images: metric, encoder, and the claim that has the paper's points.
FALLS = {"recall": ("recall", "efficientnet_lite0", "recall-falls-more"),
         "recall, in the judge's features": ("recall", "judge", None),
         "outer-edge recall": ("outer_edge_recall", "efficientnet_lite0", None),
         "test accuracy": ("test_accuracy", None, "accuracy-falls")}
#: Samplers of a trained network that are compared with its finest grid, of Heun steps; and in what.
SAMPLERS = (("Heun", 18), ("Euler", 18))
SAMPLED = {"recall": "recall", "test accuracy": "accuracy"}


def of_mixtures(frame, metric="recall", t_re=STEPS, stand_ins=STAND_INS):
    """The parts of a fall in the worlds of `synaug.experiments.exact_score`, paired over at least two worlds.

    A frame of what (the generator), part (those of `PARTS` that apply and `TOTAL`, their sum), value, low, high (95 %
    t limits).
    """
    rows = bare(frame[frame["metric"] == metric])
    rows = rows.set_index(["reference", "arm", "t_re", "x", "seed"])["value"].sort_index()
    floor, exact = rows["fresh", FRESH_REAL, 0, 0.0], rows["fresh", EXACT, t_re, float(t_re)]
    found = []
    for arm, x in stand_ins:
        if ("fresh", arm, t_re, float(x)) not in rows:
            continue
        fresh, source = (rows[reference, arm, t_re, float(x)] for reference in ("fresh", "source"))
        total = rows["source", EXACT, 0, 0.0] - source
        parts = {TOTAL: total, METRIC: total - (floor - fresh), PROCESS: floor - exact}
        if arm != EXACT:
            parts[GRID if arm in SOLVERS else SCORE] = exact - fresh
        found += [row(UNITS[arm].format(x), part, mean_interval(values)) for part, values in parts.items()]
    return pd.DataFrame(found)


def of_images(frame, t_re=STEPS):
    """The parts of the falls in a frame of `synaug.experiments.mode_concentration`: columns as of `of_mixtures`.

    Limits over images, each term at its worst, and of accuracy over seeds; a fall without limits is left out, and a
    frame that is None has none. Accuracy is always that on real test images, so that none of its fall is the metric's.
    """
    found = []
    frame = None if frame is None else bare(frame)
    for name, (metric, encoder, _) in FALLS.items() if frame is not None else ():
        def fall(reference=None, sign=1):
            where = {} if encoder is None else {"reference": reference, "encoder": encoder}
            return [{"weight": sign * w, "metric": metric, "x": float(x), **where} for w, x in ((1, 0), (-1, t_re))]

        parts = {TOTAL: fall("source"), TOGETHER: fall("fresh")}
        if encoder is not None:
            parts[METRIC] = fall("source") + fall("fresh", -1)
        found += measured(frame, name, parts, {"sources": "train"})
    return pd.DataFrame(found, columns=COLUMNS)


def of_samplers(frame):
    """The parts of the falls from fresh real images to samples in a frame of `synaug.experiments.real_generators`:
    columns, limits and None as of `of_images`. The only reference is fresh real images, so no part is the metric's."""
    if frame is None:
        return of_images(None)
    frame = bare(frame)
    heun = frame[(frame["part"] == "dials") & (frame["arm"] == "Heun")]
    floor, finest = ({"part": part, "arm": arm, "x": x} for part, arm, x in
                     (("floor", FRESH_REAL, 0.0), ("dials", "Heun", heun["x"].max())))
    found = []
    for name, metric in SAMPLED.items():
        for arm, x in SAMPLERS:
            own = {"part": "dials", "arm": arm, "x": float(x)}
            parts = {TOTAL: (floor, own), GRID: (finest, own), SCORE: (floor, finest)}
            parts = {part: [{"weight": w, "metric": metric, **end} for w, end in zip((1, -1), ends)]
                     for part, ends in parts.items()}
            found += measured(frame, f"{name}, {UNITS[arm].format(x)}", parts, {})
    return pd.DataFrame(found, columns=COLUMNS)


def measured(frame, what, parts, where):
    """Rows of the parts, {part: terms of `claim_rules.contrast`}; none where one of them has no limits."""
    try:
        return [row(what, part, contrast(frame, terms, where)) for part, terms in parts.items()]
    except NotMeasured:
        return []


def row(what, part, interval):
    value = interval.value if hasattr(interval, "value") else interval.estimate
    return {"what": what, "part": part, "value": value, "low": interval.low, "high": interval.high}


def parts_figure(mixtures, images, live=None):
    """The parts of every fall, stacked; diamonds are whole falls. Recall in the mixtures above real images, with the
    published falls, where there are any.

    live: `of_mixtures` of this build, whose whole falls stand beside those of a recorded run.
    """
    accuracy = images["what"].str.startswith("test accuracy")
    shown = [(mixtures, "fall in recall, random mixtures", 1), (images[~accuracy], "fall on real images", 1),
             (images[accuracy], "fall on real images (points)", 100)]
    shown = [(table, label, scale) for table, label, scale in shown if len(table)]
    heights = [0.34 * table["what"].nunique() + 0.6 for table, _, _ in shown]
    figure, axes = plt.subplots(len(shown), 1, figsize=(WIDTH, sum(heights)), height_ratios=heights, squeeze=False,
                                layout="constrained")
    entries = {}
    for ax, (table, label, scale) in zip(axes[:, 0], shown):
        names = list(table["what"].unique())
        for at, name in enumerate(names):
            own, ends = table[table["what"] == name].set_index("part")["value"] * scale, {1: 0.0, -1: 0.0}
            for part in (part for part in PARTS if part in own):  # those below 0 to the left
                side = 1 if own[part] >= 0 else -1
                entries[part] = ax.barh(at - 0.1, own[part], left=ends[side], height=0.5, color=PART_COLOURS[part])
                ends[side] += own[part]
            if (fall := published_fall(name)) is not None:
                entries["whole fall, published (CIFAR-10)"], = ax.plot(
                    scale * fall, at + 0.27, color=INK, marker="s", linestyle="none")
        entries["whole fall"] = totals(ax, names, table, scale, 0.27)
        if live is not None and table is mixtures:
            entries["whole fall, this build"] = totals(ax, names, live, scale, 0.4, markerfacecolor="white")
        ax.axvline(0, color=INK, linewidth=1)
        ax.set(xlabel=label, yticks=range(len(names)), yticklabels=names, ylim=(len(names) - 0.4, -0.5))
        room = 0.08 * np.ptp(ax.get_xlim())
        for bar in ax.patches:
            if abs(bar.get_width()) > room:
                ax.text(*bar.get_center(), f"{bar.get_width():.2g}", ha="center", va="center", color="white",
                        fontsize=9)
    order = [*PARTS, "whole fall", "whole fall, this build", "whole fall, published (CIFAR-10)"]
    return finish(figure, {name: entries[name] for name in order if name in entries})


def totals(ax, names, table, scale, below, **style):
    """Whole falls with their limits, at some distance below the bars of their names."""
    rows = table[table["part"] == TOTAL]
    rows = rows[rows["what"].isin(names)]
    value, low, high = (scale * rows[name].to_numpy(float) for name in ("value", "low", "high"))
    return ax.errorbar(value, [names.index(what) + below for what in rows["what"]], xerr=[value - low, high - value],
                       color=INK, marker="D", markersize=4.5, linestyle="none", elinewidth=1.2, **style)


def published_fall(name):
    """The paper's fall from t_re = 0 to 100 of one of `FALLS`, None where it has none."""
    metric, _, claim = FALLS.get(name, (None, None, None))
    if claim is None:
        return None
    points = published_series(load_claims()[claim])
    points = points[points["metric"] == metric].set_index("x")["value"]
    return float(points[0] - points[STEPS])


def parts_table(table):
    """The parts to read: a row a fall, a column a part with its interval, as text."""
    text = [f"{r.value:.3f} [{r.low:.3f}, {r.high:.3f}]" for r in table.itertuples()]
    wide = table.assign(text=text).pivot(index="what", columns="part", values="text")
    columns = [part for part in (TOTAL, *PARTS) if part in wide]
    return wide.reindex(table["what"].unique())[columns].fillna("").rename_axis(None, axis=1).reset_index(names="")


def answer(mixtures, images):
    """In words, as a Markdown list: the shares of every fall on real images, with each sampler where it was measured;
    and what each part takes in the mixtures (of discretisation and score error the least and the most, of the others
    with the exact score)."""
    names, lines = set(images["what"]), []
    for name in (name for name in FALLS if name in names):
        sampled = {sampler: f"{name}, {sampler}" for sampler in (UNITS[arm].format(x) for arm, x in SAMPLERS)}
        found = [shares(images, name)] + [f"with {sampler} and from fresh real images it {shares(images, what)}"
                                          for sampler, what in sampled.items() if what in names]
        lines.append(f"- On real images *{name}* {'; '.join(found)}.")
    for part in PARTS:
        own = mixtures[mixtures["part"] == part].sort_values("value")
        least_and_most = pd.concat([own.head(1), own.tail(1)])
        chosen = least_and_most if part in (GRID, SCORE) else own[own["what"] == UNITS[EXACT]]
        found = [f"{said(r)} ({r.what}{unresolved(r)})" for r in chosen.drop_duplicates().itertuples()]
        if found:
            lines.append(f"- In the mixtures *{part}* takes {' to '.join(found)}.")
    return "\n".join(lines)


def shares(table, what):
    """"falls by ...", and what share of it each part takes, where the fall itself can be told from 0."""
    rows = table[table["what"] == what].set_index("part")
    whole = next(rows.loc[[TOTAL]].itertuples())
    text = f"falls by {said(whole)}"
    if whole.low <= 0:
        return text + unresolved(whole)
    parts = [f"{row.value / whole.value:.0%} {row.Index}" + (" (not told from 0)" if unresolved(row) else "")
             for row in rows.reindex([part for part in PARTS if part in rows.index]).itertuples()]
    return f"{text}: {' and '.join(parts)}"


def said(row):
    return f"{row.value:.3f} [{row.low:.3f}, {row.high:.3f}]"


def unresolved(row):
    return ", not told from 0" if row.low <= 0 <= row.high else ""
