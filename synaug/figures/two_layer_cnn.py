"""The figures of chapter 3. Functions take frames of `synaug.experiments.two_layer_cnn` (``recorded`` may be None) and
return a matplotlib figure. Curves and bars as in `synaug.figures.curves.summary`, over seeds."""

import matplotlib.pyplot as plt
import seaborn as sns
from matplotlib.ticker import NullFormatter

from synaug.experiments.two_layer_regimes import STAGES, against_reference
from synaug.experiments.two_layer_theorems import SAM_WORLDS
from synaug.figures.curves import draw, legend_below, panels, select

PALETTE = sns.color_palette("colorblind")
ARMS = {"upsampled": PALETTE[1], "generated": PALETTE[0], "original": "0.35"}
STAGE_NAMES = {"early": "early", "final": "at the end", "best": "at each arm's best step"}
METRIC_NAMES = {"feature_fast": "fast feature, max ⟨w, v_e⟩", "feature_slow": "slow feature, max ⟨w, v_d⟩",
                "noise_slow": "noise of slow examples,\nmean max y⟨w, ξ⟩"}
RECOVERY_NAMES = {"alpha": "share of fast examples α", "beta_ratio": "strength ratio β_d / β_e",
                  "noise_std": "noise per coordinate"}


def curve(ax, rows, colour, label, live=False, scale=1.0):
    """`curves.draw` against x itself."""
    draw(ax, rows.assign(sigma=rows["x"]), colour, label, live=live, scale=scale)


def runs(recorded, live):
    """(what a run is called, its frame, whether it is the live one) of those that are there."""
    return [(name, frame, name == "this build") for name, frame in (("recorded", recorded), ("this build", live))
            if frame is not None]


def band(ax, rows, colour, label, live):
    """A trajectory: the mean over seeds and the range between the smallest and the largest seed."""
    table = rows.groupby("x")["value"].agg(["mean", "min", "max"])
    ax.plot(table.index, table["mean"], color=colour, linewidth=1.2 if live else 2, label=label,
            linestyle=":" if live else "-")
    ax.fill_between(table.index, table["min"], table["max"], color=colour, alpha=0.12, linewidth=0)


def feature_learning(live, recorded=None):
    """Alignment with both features and with the noise of slow examples against steps, under GD and SAM."""
    figure, axes = panels(3, width=4.2)
    arms = live.loc[live["part"] == "features", "arm"].unique()
    for ax, (metric, name) in zip(axes, METRIC_NAMES.items()):
        for run, frame, is_live in runs(recorded, live):
            for arm, colour in zip(arms, PALETTE):
                rows = select(frame, metric, part="features", arm=arm)
                if len(rows):
                    band(ax, rows, colour, f"{run}, {arm}", is_live)
        ax.set_xlabel("step")
        ax.set_ylabel(name)
        ax.set_yscale("log")
        ax.yaxis.set_minor_formatter(NullFormatter())
    legend_below(figure, axes, 3)
    return figure


def feature_order(live, recorded=None):
    """Share of seeds in which the fast feature is learned first, against the ratio of the features' speeds."""
    figure, (ax,) = panels(1, width=5.5)
    for run, frame, is_live in runs(recorded, live):
        shares = select(frame, "fast_first", part="order").groupby("x")["value"].mean()
        ax.plot(shares.index, shares, "o", color=PALETTE[0], label=run, markersize=8 if is_live else 5,
                markerfacecolor="white" if is_live else PALETTE[0], zorder=2 if is_live else 3)
    ax.axvline(1, color="0.4", linewidth=1)
    ax.set_xscale("log")
    ax.set_xlabel("speed ratio α β_e³ / (q β_d³)")
    ax.set_ylabel("share of seeds that learn\nthe fast feature first")
    ax.set_ylim(-0.05, 1.05)
    legend_below(figure, [ax], 2)
    return figure


def sam_suppression(live, recorded=None):
    """Theorem 4.1: share of positively aligned noise patches that SAM suppresses, and the median ratio, against n."""
    figure, axes = panels(2)
    labels = {"suppressed_share": "share of positively aligned noise\npatches that SAM suppresses",
              "sam_ratio": "median of SAM's alignment over GD's"}
    for ax, (metric, label) in zip(axes, labels.items()):
        for run, frame, is_live in runs(recorded, live):
            for where, colour in zip(SAM_WORLDS, PALETTE):
                curve(ax, select(frame, metric, part="sam", arm=where), colour, f"{run}, {where}", is_live)
        ax.axhline(0.5 if metric == "suppressed_share" else 1, color="0.4", linewidth=1)
        ax.set_xscale("log")
        ax.set_xlabel("training examples N")
        ax.set_ylabel(label)
    axes[0].set_ylim(-0.05, 1.05)
    legend_below(figure, axes, 2)
    return figure


def noise_alignment(live, recorded=None, world="orthogonal"):
    """Theorem 4.2: NoiseAlign against k as a mean and as a sum, and the tolerance with its formula."""
    figure, axes = panels(3, width=4.2)
    for ax, metric in zip(axes, ("noise_align", "noise_align_sum")):
        for run, frame, is_live in runs(recorded, live):
            for kind, colour in ARMS.items():
                if kind != "original":
                    rows = select(frame, metric, part="align", world=world, arm=kind)
                    curve(ax, rows, colour, f"{run}, {kind}", is_live)
        ax.axhline(1, color="0.4", linewidth=1)
    axes[0].set_ylabel("NoiseAlign, mean over patches,\nover that of the original set")
    axes[1].set_ylabel("NoiseAlign, sum over distinct\npatches, over the original's")
    for run, frame, is_live in runs(recorded, live):
        curve(axes[2], select(frame, "tolerance", part="align", world=world), PALETTE[2], f"{run}, tolerance", is_live)
    formula = select(live, "tolerance_formula", part="align", world=world).drop_duplicates("x")
    axes[2].plot(formula["x"], formula["value"], color="0.3", linestyle="--", label="k + 1 (second hand)")
    axes[2].set_ylabel("strength of synthetic noise, A_γ / A,\nwhere both arms are equal")
    for ax in axes:
        k_axis(ax, live)
    legend_below(figure, axes, 3)
    return figure


def k_axis(ax, frame):
    ax.set_xticks([1, *sorted(frame[frame["part"] == "practical"]["x"].unique())])
    ax.set_xlabel("k, times a slow example occurs")


def batch_variance(live, recorded=None):
    """Theorem 4.3: variance of mini-batch gradients against k, and what copies add to it against the batch size."""
    figure, axes = panels(2)
    for ax, swept, metric in zip(axes, ("k", "batch_size"), ("variance", "variance_extra")):
        for kind, colour in list(ARMS.items())[:2]:
            for run, frame, is_live in runs(recorded, live):
                rows = select(frame, metric, part="variance", swept=swept, arm=kind)
                curve(ax, rows, colour, f"{run}, {kind}", is_live)
            formula = select(live, f"{metric}_formula", part="variance", swept=swept, arm=kind).drop_duplicates("x")
            ax.plot(formula["x"], formula["value"], color=colour, linestyle="--", linewidth=1,
                    label=f"formula, {kind}")
    k_axis(axes[0], live)
    axes[0].set_ylabel("variance of a batch's gradient,\nover one example's / B")
    axes[1].set_xlabel("batch size B")
    axes[1].set_ylabel("variance beyond one example's / B,\nover one example's")
    legend_below(figure, axes, 3)
    return figure


def regime_map(live, recorded=None, metric="test_error", stage="final"):
    """Test error against k for the three arms in every regime of the map: the recorded ones if there are, else live.

    stage: one of `STAGES`.
    """
    frame = live if recorded is None else recorded
    rows = select(frame, metric, part="regimes", stage=stage)
    names = ["base", *sorted(name for name in rows["regime"].unique() if name.startswith("β_d"))]
    columns = min(4, len(names))
    height = -(-len(names) // columns)
    figure, axes = plt.subplots(height, columns, figsize=(3.4 * columns, 3.1 * height), squeeze=False,
                                layout="constrained", sharex=True)
    for ax in axes.flat[len(names):]:
        ax.set_axis_off()
    for ax, name in zip(axes.flat, names):
        own, live_rows = rows[rows["regime"] == name], select(live, metric, part="regimes", stage=stage, regime=name)
        three_arms(ax, own, "this build" if recorded is None else "recorded", recorded is None)
        if recorded is not None:
            three_arms(ax, live_rows, "this build", True)
        ax.set_title(name, fontsize=10)
        k_axis(ax, frame)
        ax.set_ylabel("test error (%)")
    legend_below(figure, axes, 3)
    return figure


def three_arms(ax, rows, run, is_live):
    """Test error in % against k of each arm; the original's as a line across."""
    original = rows[rows["arm"] == "original"]
    for kind, colour in list(ARMS.items())[:2]:
        own = rows[rows["arm"].isin([kind, "original"])].sort_values("x")
        curve(ax, own, colour, f"{run}, {kind}", is_live, scale=100)
    if len(original):
        ax.axhline(100 * original["value"].mean(), color=ARMS["original"], linewidth=1,
                   linestyle=":" if is_live else "-", label=f"{run}, original")


def stages(live, recorded=None, regime="base"):
    """Test error against k of one regime, looked at early, at the end, and at each arm's best step."""
    figure, axes = panels(3, width=4.2)
    for ax, stage in zip(axes, STAGES):
        for run, frame, is_live in runs(recorded, live):
            three_arms(ax, select(frame, "test_error", part="regimes", regime=regime, stage=stage), run, is_live)
        ax.set_title(STAGE_NAMES[stage], fontsize=11)
        k_axis(ax, live)
        ax.set_ylabel("test error (%)")
        ax.set_ylim(bottom=0)
    legend_below(figure, axes, 3)
    return figure


def degradation(live, recorded=None):
    """Test error of upsampling at the largest k minus at k = 2, in every regime and at every stage, with intervals; of
    the recorded run if there is one. Filled: the difference survives Holm's correction over regimes, stages and k."""
    table = against_reference(live if recorded is None else recorded)
    figure, axes = plt.subplots(1, len(STAGES), figsize=(12.5, 0.36 * max(4, table["regime"].nunique()) + 1.2),
                                sharey=True, layout="constrained")
    table = table[table["k"] == table["k"].max()]
    names = list(table["regime"].unique())[::-1]
    for ax, stage in zip(axes, STAGES):
        for row in table[table["stage"] == stage].itertuples():
            colour = {"worse": PALETTE[3], "better": PALETTE[2], "not resolved": "0.45"}[row.found]
            y = names.index(row.regime)
            ax.plot([100 * row.low, 100 * row.high], [y, y], color=colour, linewidth=1.6)
            ax.plot(100 * row.value, y, "o", color=colour,
                    markerfacecolor="white" if row.found == "not resolved" else colour)
        ax.axvline(0, color="0.3", linewidth=1)
        ax.set_title(STAGE_NAMES[stage], fontsize=11)
        ax.set_xlabel(f"error at k = {table['k'].max():g} minus k = 2\n(points; right: upsampling degrades)")
    axes[0].set_yticks(range(len(names)), names)
    return figure


def recovery(live, recorded=None):
    """Adjusted Rand index and separability of clusters of outputs against alpha, beta ratio and noise."""
    figure, axes = panels(3, width=4.2)
    names = {"adjusted_rand_index": "adjusted Rand index", "separability": "separability"}
    for ax, (swept, label) in zip(axes, RECOVERY_NAMES.items()):
        for run, frame, is_live in runs(recorded, live):
            for (metric, name), colour in zip(names.items(), PALETTE):
                curve(ax, select(frame, metric, part="recovery", swept=swept), colour, f"{run}, {name}", is_live)
        ax.set_xlabel(label)
        ax.set_ylabel("agreement with the truth")
        ax.set_ylim(-0.1, 1.05)
    axes[2].set_xscale("log")
    ticks = sorted(select(live, "separability", part="recovery", swept="noise_std")["x"].unique())
    axes[2].set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes[2].xaxis.set_minor_formatter(NullFormatter())
    legend_below(figure, axes, 2)
    return figure
