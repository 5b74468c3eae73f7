"""The figures of chapter 1. Every function takes frames of `synaug.experiments.mode_concentration` (``recorded`` may
be None) and returns a matplotlib figure."""

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns

from synaug.statistics.claims import load_claims, published_series
from synaug.figures.curves import (COLOURS, draw, draw_published, legend_below, panels, select, sigma_axis, summary)

PAPER = "published (CIFAR-10, EDM, ResNet-18)"
NAMES = {"source": "sources as reference", "fresh": "fresh real images as reference"}


def published(claim):
    return published_series(load_claims()[claim])


def both(ax, recorded, live, metric, colour, name, scale=1.0, **where):
    """The recorded and the live curve of one selection."""
    draw(ax, select(recorded, metric, **where), colour, f"recorded, {name}", scale=scale)
    draw(ax, select(live, metric, **where), colour, f"this build, {name}", live=True, scale=scale)


def one_curve(live, recorded, metric, name, label):
    """A single panel of one metric."""
    figure, (ax,) = panels(1, width=5.5)
    both(ax, recorded, live, metric, COLOURS["train"], name)
    sigma_axis(ax, live, recorded)
    ax.set_ylabel(label)
    legend_below(figure, [ax], 2)
    return figure


def distances(live, recorded=None, encoder="efficientnet_lite0"):
    """Fréchet distance in features' own units, and relative to its value at the last level beside the paper's FID."""
    figure, (left, right) = panels(2)
    for reference, name in NAMES.items():
        both(left, recorded, live, "frechet_distance", COLOURS[reference], name, encoder=encoder, reference=reference)
    points = published("frechet-saturates")
    draw_published(right, points, PAPER, scale=1 / points["value"].max())
    for frame, is_live in ((recorded, False), (live, True)):
        rows = select(frame, "frechet_distance", encoder=encoder, reference="source")
        if len(rows):
            last = float(summary(rows)["value"].iloc[-1])
            draw(right, rows, COLOURS["source"], f"{'this build' if is_live else 'recorded'}, {NAMES['source']}",
                 live=is_live, scale=1 / last)
    left.set_ylabel(f"Fréchet distance\n({encoder_name(encoder)})")
    right.set_ylabel("share of the distance\nat the last level")
    for ax in (left, right):
        sigma_axis(ax, live, recorded)
        ax.set_ylim(bottom=0)
    legend_below(figure, (left, right), 2)
    return figure


def precision_recall(live, recorded=None, encoder="efficientnet_lite0"):
    """Precision and recall with both references; at σ = 0 the fresh reference shows the floor."""
    figure, axes = panels(2)
    for ax, metric, claim in zip(axes, ("precision", "recall"), ("precision-falls", "recall-falls-more")):
        draw_published(ax, published(claim), PAPER)
        for reference, name in NAMES.items():
            both(ax, recorded, live, metric, COLOURS[reference], name, encoder=encoder, reference=reference)
        sigma_axis(ax, live, recorded)
        ax.set_ylabel(f"{metric}\n({encoder_name(encoder)})")
        ax.set_ylim(0, 1.05)
    legend_below(figure, axes, 2)
    return figure


def density_coverage(live, recorded=None, encoder="efficientnet_lite0"):
    """Density and coverage, the versions of precision and recall that outliers disturb less."""
    figure, axes = panels(2)
    for ax, metric in zip(axes, ("density", "coverage")):
        for reference, name in NAMES.items():
            both(ax, recorded, live, metric, COLOURS[reference], name, encoder=encoder, reference=reference)
        sigma_axis(ax, live, recorded)
        ax.set_ylabel(f"{metric}\n({encoder_name(encoder)})")
        ax.set_ylim(bottom=0)
    legend_below(figure, axes, 2)
    return figure


def concentration(live, recorded=None, encoder="efficientnet_lite0"):
    """Outer-edge recall, distance to the class centroid, covariance log-determinant, against fresh real images."""
    figure, axes = panels(3, width=4.2)
    titles = {"outer_edge_recall": "outer-edge recall", "centroid_distance_ratio": "distance to the class centroid,\n"
              "over that of real images", "covariance_logdet_ratio": "covariance log-determinant,\nminus that of "
              "real images (a dimension)"}
    for ax, (metric, title) in zip(axes, titles.items()):
        both(ax, recorded, live, metric, COLOURS["fresh"], NAMES["fresh"], encoder=encoder, reference="fresh")
        sigma_axis(ax, live, recorded)
        ax.set_ylabel(title)
    legend_below(figure, axes, 2)
    return figure


def accuracies(live, recorded=None):
    """Accuracy on real test images of classifiers trained on reconstructions, and its change from real images."""
    figure, (left, right) = panels(2)
    points = published("accuracy-falls")
    draw_published(left, points, PAPER, scale=100)
    draw_published(right, points.assign(value=points["value"] - points["value"].iloc[0]), PAPER, scale=100)
    both(left, recorded, live, "test_accuracy", COLOURS["train"], "mean over seeds", scale=100)
    for frame, is_live in ((recorded, False), (live, True)):
        rows = select(frame, "test_accuracy")
        if len(rows):
            draw(right, change(rows), COLOURS["train"], f"{'this build' if is_live else 'recorded'}, mean over seeds",
                 live=is_live, scale=100)
    left.set_ylabel("test accuracy (%)")
    right.set_ylabel("change from real training images\n(points, paired by seed)")
    for ax in (left, right):
        sigma_axis(ax, live, recorded)
    legend_below(figure, (left, right), 3)
    return figure


def falls(runs):
    """Change of test accuracy from real images, paired by seed, of several runs; runs: frames by name."""
    figure, (ax,) = panels(1, width=6.5)
    points = published("accuracy-falls")
    draw_published(ax, points.assign(value=points["value"] - points["value"].iloc[0]), PAPER, scale=100)
    for (name, frame), colour in zip(runs.items(), sns.color_palette("colorblind", len(runs))):
        draw(ax, change(select(frame, "test_accuracy")), colour, name, scale=100)
    ax.set_ylabel("change from real training images\n(points, paired by seed)")
    sigma_axis(ax, *runs.values())
    legend_below(figure, [ax], 1)
    return figure


def change(rows):
    """Rows of a metric with its change from level 0 of the same seed in its place."""
    real = rows[rows["x"] == 0].set_index("seed")["value"]
    return rows.assign(value=rows["value"] - rows["seed"].map(real))


def entropies(live, recorded=None):
    """Output entropy and accuracy of the real-trained judge on reconstructions; the paper's entropy in its own panel."""
    figure, axes = panels(3, width=4.2)
    names = {"train": "of train images", "test": "of test images"}
    for split, name in names.items():
        draw_published(axes[0], published(f"entropy-falls-{split}"), f"published, {name}", colour=COLOURS[split])
        both(axes[1], recorded, live, "judge_entropy", COLOURS[split], name, sources=split)
        both(axes[2], recorded, live, "judge_accuracy", COLOURS[split], name, scale=100, sources=split)
    axes[0].axhline(np.log(10), color="0.2", linewidth=1, linestyle="-.", label="ln 10, the most that 10 classes can have")
    axes[0].set_ylabel("entropy as published")
    axes[1].set_ylabel("output entropy of the judge (nats)")
    axes[2].set_ylabel("accuracy of the judge (%)")
    for ax in axes:
        sigma_axis(ax, live, recorded)
    axes[0].set_ylim(0, 3)
    axes[1].set_ylim(bottom=0)
    legend_below(figure, axes, 3)
    return figure


def pca_plane(points):
    """The judge's features in the plane of real images' first two components, a panel a level."""
    levels = list(points["level"].unique())
    classes = points.sort_values("label")["class_name"].unique()
    figure, axes = plt.subplots(1, len(levels), figsize=(4 * len(levels), 4), sharex=True, sharey=True,
                                squeeze=False, layout="constrained")
    for ax, level in zip(axes[0], levels):
        sns.scatterplot(points[points["level"] == level], x="pc1", y="pc2", hue="class_name", hue_order=classes, ax=ax, s=14, alpha=0.8,
                        linewidth=0, palette="tab10", legend=level == levels[0])
        ax.set_title("real images" if level == 0 else f"t_re = {level}")
        ax.set_xlabel("first component")
        ax.set_ylabel("second component")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    axes[0, 0].get_legend().remove()
    figure.legend(handles, labels, loc="upper center", bbox_to_anchor=(0.5, 0.0), ncols=5, markerscale=2)
    return figure


def plane_variance(live, recorded=None):
    """Within-class variance in that plane over that of fresh real images, against the noise level."""
    return one_curve(live, recorded, "pca_variance_ratio", "of train images", "within-class variance in the plane,\nover that of fresh real images")


def attention_maps(images, maps, levels):
    """Grad-CAM maps over test images: a row an image, a column a level of the classifier's training images.

    images: uint8 ``[n, C, H, W]``. maps: ``[L, n, H, W]`` in [0, 1].
    """
    n = len(images)
    figure, axes = plt.subplots(n, len(levels) + 1, figsize=(1.35 * (len(levels) + 1), 1.4 * n), layout="constrained")
    for row, image in enumerate(images):
        picture = image.permute(1, 2, 0).numpy()
        axes[row, 0].imshow(picture, cmap="gray")
        for column, level_maps in enumerate(maps, start=1):
            axes[row, column].imshow(picture, cmap="gray")
            axes[row, column].imshow(level_maps[row], cmap="inferno", alpha=0.6, vmin=0, vmax=1)
    for ax, title in zip(axes[0], ["image", *(f"t_re = {level}" for level in levels)]):
        ax.set_title(title, fontsize=10)
    for ax in axes.flat:
        ax.set_axis_off()
    return figure


def attention_agreement(live, recorded=None):
    """How alike the maps are to those of another seed's classifier trained on real images."""
    return one_curve(live, recorded, "cam_agreement", "mean over seeds", "correlation of Grad-CAM maps with\nanother seed's, trained on real images")


def encoder_name(encoder):
    return {"efficientnet_lite0": "EfficientNet-Lite0 features", "judge": "the judge's features",
            "pixels": "pixels"}.get(encoder, encoder)
