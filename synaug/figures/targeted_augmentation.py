"""The figures of chapter 2. Functions take frames of `synaug.experiments.targeted_augmentation` (``recorded`` may be
None) and return a matplotlib figure. Bars as in `synaug.figures.curves.summary`, over seeds; a gain is the original
set's test error minus an arm's, of the same seed."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns

from synaug.statistics.claims import load_published
from synaug.experiments.targeted_studies import sigma_of_strength
from synaug.experiments.targeted_suspects import AT_USUAL_STEPS
from synaug.experiments.targeted_tables import SETTING, base, gains, having, select_base, setting_name, trained
from synaug.figures.curves import PUBLISHED, draw, legend_below, panels, summary

PALETTE = sns.color_palette("colorblind")
ARMS = {"upsampled": PALETTE[1], "generated": PALETTE[0], "fresh": PALETTE[2]}
NAMES = {"upsampled": "upsampled", "generated": "generated", "fresh": "fresh real images"}
NOISE_AT = 100  # where images from noise alone stand on the axis of strengths


def runs(live, recorded):
    """(name, frame, whether it is the live one) of the runs that are there."""
    return [(name, frame, frame is live) for name, frame in (("recorded", recorded), ("this build", live))
            if frame is not None]


def in_base(frame, rows):
    """Of rows of `gains`, those in the base setting."""
    return having(rows, base(frame))


def largest_k(live, recorded):
    """Of all runs, so that a row or a curve has one k; a run without it is not drawn there."""
    return max(frame["x"].max() for _, frame, _ in runs(live, recorded))


def curve(ax, rows, colour, label, live):
    """`curves.draw` against x itself."""
    draw(ax, rows.assign(sigma=rows["x"]), colour, label, live=live)


def error_against_k(live, recorded=None, metric="test_error"):
    """Test error against k, and the gain over the original, paired by seed, for copies, generated and fresh images."""
    figure, (left, right) = panels(2)
    for run, frame, is_live in runs(live, recorded):
        rows, paired = select_base(frame, metric), in_base(frame, gains(frame, metric))
        for arm, colour in ARMS.items():
            own = rows[rows["arm"].isin([arm, "original"])]
            if (own["arm"] == arm).any():
                curve(left, own.sort_values("x"), colour, f"{run}, {NAMES[arm]}", is_live)
                curve(right, paired[paired["arm"] == arm].sort_values("x"), colour, f"{run}, {NAMES[arm]}", is_live)
    optimum = load_published("nguyen2025")["optimum"]
    for ax in (left, right):
        for arm in ("upsampled", "generated"):
            ax.axvline(optimum[f"{arm}_k"], color=ARMS[arm], linestyle="--", linewidth=1, alpha=0.7, zorder=0,
                       label=f"published best k, {arm}")
        ax.set_xticks(range(1, 6), ["1\n(original)", *range(2, 6)])
        ax.set_xlabel("k, times a slow example occurs")
    right.axhline(0, color="0.3", linewidth=1)
    unit = "(%)" if metric.endswith("error") or metric == "test_error_slow" else "(nats)"
    left.set_ylabel(f"{metric.replace('_', ' ')} {unit}")
    right.set_ylabel("gain over the original set\n(points, paired by seed)")
    legend_below(figure, (left, right), 3)
    return figure


def strengths(live, recorded=None):
    """Gain at k = 2 against the denoising strength, from noise alone at the right end; upsampling as a line."""
    figure, (ax,) = panels(1, width=7.0)
    at = set()
    for run, frame, is_live in runs(live, recorded):
        rows = in_base(frame, gains(frame))
        rows = rows[rows["x"] == 2]
        made = rows[(rows["kind"] == "generated") & (rows["selection"] == "slow_learnable")]
        single = made[made["strength"].notna() & ~made["arm"].str.contains("oracle|dropped")]
        curve(ax, single.assign(x=single["strength"]).sort_values("x"), ARMS["generated"], f"{run}, from real images",
              is_live)
        noise = made[made["arm"] == "generated, from noise"]
        curve(ax, noise.assign(x=float(NOISE_AT)), PALETTE[3], f"{run}, from noise alone", is_live)
        copies = rows.loc[rows["arm"] == "upsampled", "value"].mean()
        ax.axhline(copies, color=ARMS["upsampled"], linewidth=1, linestyle=":" if is_live else "-",
                   label=f"{run}, upsampled")
        at |= set(single["strength"])
    ax.axvline(load_published("nguyen2025")["optimum"]["strength"], color=PUBLISHED, linestyle="--", linewidth=1,
               label="published best", zorder=0)
    ax.axhline(0, color="0.3", linewidth=1)
    ticks = sorted(at)
    ax.set_xlim(0, 108)
    ax.set_xticks([*ticks, NOISE_AT], [*(f"{n:g}" for n in ticks), "noise"])
    ax.set_xlabel("denoising steps of 100")
    ax.set_ylabel("gain over the original set\n(points, k = 2, paired by seed)")
    top = ax.secondary_xaxis("top")
    top.set_xticks(ticks, [f"{sigma_of_strength(n):.2g}" for n in ticks])
    top.set_xlabel("noise level σ", fontsize=10)
    legend_below(figure, [ax], 3)
    return figure


def rows_of_points(ax, groups, live, colour):
    """Horizontal intervals, one a row from the top. groups: (label, y, rows with value), value over seeds."""
    for label, y, rows in groups:
        if len(rows) == 0:
            continue
        found = summary(rows.assign(x=0.0, sigma=0.0)).iloc[0]
        ax.plot([found["low"], found["high"]], [y, y], color=colour, linewidth=1.6, linestyle=":" if live else "-")
        ax.plot(found["value"], y, "o", color=colour, markersize=6, markerfacecolor="white" if live else colour,
                label=label)


def selections(live, recorded=None):
    """Gain at k = 2 of generated images for examples chosen in five ways, beside copies and fresh real images, and how
    many images each adds."""
    names = {"generated": "slow clusters", "generated, random": "random, as many", "generated, all": "all",
             "generated, high loss": "highest loss, as many", "generated, misclassified": "misclassified",
             "upsampled": "slow clusters, upsampled", "fresh": "fresh real images for the slow",
             "fresh, all": "fresh real images for all"}
    return forest(live, recorded, names, 2, shares=True)


def suspects(live, recorded=None):
    """Gain at the largest k of generation with suspect things changed."""
    names = {"generated": "as in the other figures", **{suspect.arm: suspect.change for suspect in AT_USUAL_STEPS},
             "fresh": "fresh real images", "upsampled": "upsampled"}
    return forest(live, recorded, names, None)


def forest(live, recorded, names, k, shares=False):
    """Gains in the base setting, a row an arm. k: None for the largest of all runs. shares: with the images that arms
    add."""
    figure, ax = plt.subplots(figsize=(8.2, 0.5 * len(names) + 1.4), layout="constrained")
    labels = list(names.values())
    k = largest_k(live, recorded) if k is None else k
    for run, frame, is_live in runs(live, recorded):
        rows = in_base(frame, gains(frame))
        rows = rows[rows["x"] == k]
        lift = 0.14 if is_live else -0.14
        for i, arm in enumerate(names):
            colour = ARMS[arm.split(",")[0]]
            rows_of_points(ax, [(f"{run}", i + lift, rows[rows["arm"] == arm])], is_live, colour)
        if shares and (recorded is None or not is_live):
            added = select_base(frame, "added_share")
            added = added[added["x"] == k].groupby("arm")["value"].mean()
            labels = [f"{label}\n(+{added[arm]:.0f} %)" if arm in added else label for arm, label in names.items()]
    ax.set_yticks(range(len(names)), labels)
    ax.invert_yaxis()
    ax.axvline(0, color="0.3", linewidth=1)
    ax.set_xlabel("gain over the original set (points, paired by seed)")
    styles = {"recorded": "0.3", "this build": "white"}
    handles = [plt.Line2D([], [], color="0.3", marker="o", markerfacecolor=styles[run], linewidth=1.6,
                          linestyle=":" if is_live else "-", label=run) for run, _, is_live in runs(live, recorded)]
    figure.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.5, 0.0), ncols=2, fontsize=10)
    return figure


def settings(live, recorded=None):
    """Test error and gains of upsampling (k = 2), of generation and fresh real images (largest k) by optimizer,
    augmentation, network and regime; the published gains of two networks below."""
    frames = runs(live, recorded)
    kept = pd.concat([trained(frame)[SETTING].drop_duplicates() for _, frame, _ in frames]).drop_duplicates()
    kept = kept[kept["budget"] == 1].reset_index(drop=True)
    names = [setting_name(row) for row in kept.itertuples()]
    published = load_published("nguyen2025")["modern_networks"]
    rows = [*names, *(f"published, CIFAR-10, {name}" for name in published["columns"])]
    figure, (left, right) = plt.subplots(1, 2, figsize=(12, 0.42 * len(rows) + 1.6), sharey=True, layout="constrained")
    shapes, most = {"original": "0.35", **ARMS}, largest_k(live, recorded)
    for run, frame, is_live in frames:
        errors, paired = trained(frame), gains(frame)
        for i, setting in enumerate(kept.itertuples()):
            for j, (arm, colour) in enumerate(shapes.items()):
                k = {"original": 1, "upsampled": 2}.get(arm, most)
                y = i + 0.18 * (j - 1.5) + (0.06 if is_live else 0)
                for ax, values in ((left, errors), (right, paired)):
                    own = having(values, {"arm": arm, "x": k, **{name: getattr(setting, name) for name in SETTING}})
                    rows_of_points(ax, [(f"{run}, {arm}", y, own)], is_live, colour)
    for i in range(len(published["columns"])):
        for j, (arm, colour) in enumerate(shapes.items()):
            if arm not in published:
                continue
            value, spread = published[arm][i]
            y = len(names) + i + 0.18 * (j - 1.5)
            left.errorbar(value, y, xerr=spread, color=colour, marker="s", markersize=5, capsize=2,
                          label=f"published, {arm}", linestyle="none")
            if arm != "original":
                right.plot(published["original"][i][0] - value, y, "s", color=colour, markersize=5,
                           label=f"published, {arm}")
    left.set_yticks(range(len(rows)), rows, fontsize=9)
    left.invert_yaxis()
    right.axvline(0, color="0.3", linewidth=1)
    left.set_xlabel("test error (%)")
    right.set_xlabel("gain over the original set of the same row (points)")
    legend_below(figure, (left, right), 3)
    return figure


def budgets(live, recorded=None):
    """Gains at half, the same and double the steps."""
    (figure, (ax,)), ticks = panels(1, width=6.5), set()
    for run, frame, is_live in runs(live, recorded):
        rows = having(gains(frame), {name: value for name, value in base(frame).items() if name != "budget"})
        ticks |= set(rows["steps"])
        for arm, k in (("upsampled", 2), ("generated", rows["x"].max()), ("fresh", rows["x"].max())):
            own = rows[(rows["arm"] == arm) & (rows["x"] == k)]
            label = f"{run}, {NAMES[arm]}, k = {k:g}"
            curve(ax, own.assign(x=own["steps"]).sort_values("x"), ARMS[arm], label, is_live)
    ax.axhline(0, color="0.3", linewidth=1)
    ax.set_xscale("log")
    ax.set_xticks(sorted(ticks), [f"{tick:,}" for tick in sorted(ticks)])
    ax.minorticks_off()
    ax.set_xlabel("optimiser steps")
    ax.set_ylabel("gain over the original set\n(points, paired by seed)")
    legend_below(figure, [ax], 2)
    return figure


def image_rows(rows, class_names):
    """Images, one class a column. rows: dict of names and uint8 ``[K, C, H, W]`` or None where a row has none."""
    figure, axes = plt.subplots(len(rows), len(class_names), figsize=(1.05 * len(class_names) + 1.2, 1.08 * len(rows)),
                                squeeze=False, layout="constrained")
    for line, (name, images) in zip(axes, rows.items()):
        for ax, image in zip(line, images):
            ax.imshow(np.asarray(image).transpose(1, 2, 0).squeeze(), cmap="gray", vmin=0, vmax=255)
            ax.set_xticks([])
            ax.set_yticks([])
            ax.spines[:].set_visible(False)
        line[0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=9)
    for ax, name in zip(axes[0], class_names):
        ax.set_title(name, fontsize=8)
    return figure
