"""The figures of random mixtures, from frames of `exact_score` (``recorded`` may be None). What is drawn is the
difference from the real-data baseline, fresh draws in place of reconstructions of the same mixture: 0 is what a
perfect generator scores."""

import pandas as pd

from synaug.chapters.where_concentration_comes_from.exact_score import EXACT, SOLVERS, STEPS
from synaug.metrics import FRESH_REAL
from synaug.plots import Panel, lines
from synaug.statistics import mean_interval
from synaug.statistics.contrasts import differences, select

#: Metrics by what they are measured against, and what an axis says.
SHARES = {"precision": "precision", "recall": "recall", "outer_edge_recall": "outer-edge recall"}
OF_MIXTURE = {
    "mean_log_density": "mean log-density (nats)",
    "variance_ratio": "variance within classes,\nover the mixture's",
    "occupancy_error": "distance between shares of modes",
}
MODES = {"rare_mode_ratio": "share in rare modes,\nover the mixture's", "class_agreement": "share of points of the class asked for"}
LABELS = SHARES | OF_MIXTURE | MODES
NAMES = {"source": "sources as reference", "fresh": "fresh draws as reference", "mixture": "the mixture as reference"}
#: What an arm is called, with its x.
UNITS = {
    "scaled score": "score × {:g}",
    "score noise": "score noise, level {:g}",
    "smoothed score": "score smoothed over ln σ, width {:g}",
    "guidance": "guidance, scale {:g}",
    "class-blind": "score without the class",
    "Heun": "{:g} Heun steps",
    "Euler": "{:g} Euler steps",
    EXACT: "exact score, fine grid",
}
#: Known errors of the score: what the axis says, and the x that leaves it as it is.
ERRORS = {
    "scaled score": ("factor of the score", 1),
    "score noise": ("level of the score noise", 0),
    "smoothed score": ("width of the smoothing in ln σ", 0),
    "guidance": ("scale of the guidance", 1),
}


def above_baseline(frame):
    """The frame with the baseline of the same mixture taken from ``value``; None of None."""
    return None if frame is None else differences(frame, {"arm": FRESH_REAL}, pair=("seed", "metric", "reference"))


def fine_grid(live, recorded=None):
    """The exact score on the fine grid from every level: with both references, and what the mixture says."""
    shown = [Panel(metric, f"{label},\nminus the baseline", {"arm": EXACT}, line=0) for metric, label in (SHARES | OF_MIXTURE).items()]
    figure = lines(above_baseline(live), above_baseline(recorded), shown, x="sigma", hue="reference", names=NAMES)
    return same_scale(figure, len(SHARES))


def coarse_grids(live, recorded=None):
    """The exact score on coarse grids down from noise alone, against the number of steps, a curve per solver."""

    def panel(metric, reference, **options):
        return Panel(metric, f"{LABELS[metric]},\nminus the baseline", {"reference": reference, "t_re": STEPS}, line=0, **options)

    # Few steps put points where the density all but vanishes: beyond 10 nats the axis is logarithmic.
    shown = [*(panel(metric, "fresh") for metric in SHARES), panel("mean_log_density", "mixture", yscale={"value": "symlog", "linthresh": 10})]
    ticks = sorted({x for frame in (live, recorded) if frame is not None for x in frame.loc[frame["swept"] == "steps", "x"]})
    figure = lines(
        above_baseline(live),
        above_baseline(recorded),
        shown,
        hue="arm",
        names={arm: arm for arm in SOLVERS},
        xlabel="sampling steps",
        xscale="log",
        xticks=ticks,
    )
    return same_scale(figure, len(SHARES))


def score_errors(live, recorded=None):
    """Scores with a known error, on the fine grid from noise alone: a panel per kind of error, a curve per metric."""
    shown = [
        Panel(list(SHARES), "difference from the baseline", {"arm": arm, "reference": "fresh"}, xlabel=label, line=0) for arm, (label, _) in ERRORS.items()
    ]
    return same_scale(lines(with_neutral(live), with_neutral(recorded), shown, hue="metric", names=SHARES), len(shown))


def same_scale(figure, count):
    """The figure with one vertical scale for its first panels."""
    low, high = zip(*(ax.get_ylim() for ax in figure.axes[:count]))
    for ax in figure.axes[:count]:
        ax.set_ylim(min(low), max(high))
    return figure


def with_neutral(frame):
    """`above_baseline` from noise alone, with rows of the exact score for each error's x that leaves the score as it
    is; for guidance also those of the class-blind score, which is its scale 0."""
    if frame is None:
        return None
    rows = select(above_baseline(frame), t_re=STEPS)
    stand_ins = [(EXACT, arm, x) for arm, (_, x) in ERRORS.items()] + [("class-blind", "guidance", 0)]
    return pd.concat([rows, *(select(rows, arm=source).assign(arm=arm, x=float(x)) for source, arm, x in stand_ins)])


def controls_table(frame, controls):
    """Every metric of some controls, [(arm, x)], from noise alone, minus the baseline: mean and half of its 95 % t
    interval over mixtures, as text. Controls that the run does not have are left out. ValueError for one mixture."""
    rows, found = select(above_baseline(frame), t_re=STEPS), {}
    rows = rows[(rows["reference"] == "fresh") | ~rows["metric"].isin(list(SHARES))]
    for (arm, x, metric), own in rows.groupby(["arm", "x", "metric"]):
        if (arm, x) in controls and metric in LABELS:
            interval = mean_interval(own["value"])
            text = f"{interval.estimate:+.3f} ± {interval.high - interval.estimate:.3f}"
            found.setdefault((arm, x), {})[metric] = text
    table = {UNITS[arm].format(x): found[arm, x] for arm, x in controls if (arm, x) in found}
    table = pd.DataFrame(table).T[list(LABELS)]
    return table.rename(columns=lambda metric: LABELS[metric].replace("\n", " ")).rename_axis("").reset_index()
