"""The figures of chapter 3's last section. Functions take frames of `synaug.experiments.mechanism` (``recorded`` may be
None) and return a matplotlib figure. Curves and bars as in `synaug.figures.curves.summary`, over seeds."""

from synaug.experiments.mechanism import STAGES
from synaug.figures.curves import legend_below, panels, select
from synaug.figures.two_layer_cnn import ARMS, PALETTE, curve, runs

LEVELS = PALETTE[2:]  # of noise; the first two are the arms'


def stage_axis(ax):
    """Stages of training along the axis, by how much of it is done."""
    ax.set_xticks(range(len(STAGES)), [f"{name}\n({share:.0%})" for name, share in STAGES.items()])
    ax.set_xlim(-0.3, len(STAGES) - 0.7)
    ax.set_xlabel("stage of the training")


def by_stage(rows):
    """Rows with the stage's place along the axis as x."""
    return rows[rows["stage"] != ""].assign(x=lambda frame: frame["stage"].map(list(STAGES).index))


def premises(live, recorded=None):
    """What the theory takes for granted of generated images, by noise level: correlation with their sources' residuals,
    strength of their residuals, share of the features."""
    figure, axes = panels(3, width=4.2)
    labels = {"same_source_correlation": "correlation with the source's residual",
              "synthetic_strength": "strength of generated residuals,\nA_γ / A",
              "feature_ratio": "share of the slow images' mean\ngradient that generated ones supply"}
    assumed = {"same_source_correlation": 0, "synthetic_strength": 1, "feature_ratio": 1}
    for ax, (metric, label) in zip(axes, labels.items()):
        for run, frame, is_live in runs(recorded, live):
            rows = by_stage(select(frame, metric, part="premises", arm="generated"))
            for (sigma, own), colour in zip(rows.groupby("sigma"), LEVELS):
                curve(ax, own, colour, f"{run}, σ = {sigma:g}", is_live)
        ax.axhline(assumed[metric], color="0.4", linewidth=1)
        if metric != "same_source_correlation":
            ax.set_yscale("log")
        ax.set_ylabel(label)
        stage_axis(ax)
    legend_below(figure, axes, 3)
    return figure


def consequences(live, recorded=None):
    """What the theory says of training sets at the largest k: variance over training sets and alignment with single
    examples at the original's weights, and variance of mini-batches in each network's own training."""
    figure, axes = panels(3, width=4.2)
    labels = {"set_variance": ("variance of the gradient over training\nsets, over the original set's", "original"),
              "noise_align_own": ("alignment with an example by itself and\nits copies, over the original set's",
                                  "original"),
              "sampled_variance": ("variance of mini-batch gradients in\nits own training, over the original's", "own")}
    for ax, (metric, (label, weights)) in zip(axes, labels.items()):
        for run, frame, is_live in runs(recorded, live):
            for arm in ("upsampled", "generated"):
                curve(ax, trained(frame, metric, arm, weights), ARMS[arm], f"{run}, {arm}", is_live)
        if metric == "set_variance":
            frame = live if recorded is None else recorded
            for arm in ("upsampled", "generated"):
                formula = trained(frame, "set_variance_formula", arm, weights).groupby("x")["value"].mean()
                ax.plot(formula.index, formula, color=ARMS[arm], linestyle="--", linewidth=1, label=f"formula, {arm}")
        ax.axhline(1, color="0.4", linewidth=1)
        ax.set_yscale("log")
        ax.set_ylabel(label)
        stage_axis(ax)
    legend_below(figure, axes, 3)
    return figure


def trained(frame, metric, arm, weights):
    """Rows of an arm's training set, the one that is trained on, by stage."""
    settings = frame.attrs["provenance"]["parameters"]
    return by_stage(select(frame, metric, part="consequences", arm=arm, weights=weights, x=float(max(settings["ks"])),
                           sigma=float(settings["sigma"]) if arm == "generated" else 0.0))


def learning(live, recorded=None):
    """Losses of slow and fast training images and of test images over a training on each set."""
    figure, axes = panels(3, width=4.2)
    labels = {"train_loss_slow": "loss of slow training images", "train_loss_fast": "loss of fast training images",
              "test_loss": "test loss"}
    for ax, (metric, label) in zip(axes, labels.items()):
        for run, frame, is_live in runs(recorded, live):
            for arm, colour in ARMS.items():
                curve(ax, select(frame, metric, part="learning", arm=arm), colour, f"{run}, {arm}", is_live)
        if metric != "test_loss":
            ax.set_yscale("log")
        ax.set_xlabel("share of the training's steps")
        ax.set_ylabel(label)
    legend_below(figure, axes, 3)
    return figure
