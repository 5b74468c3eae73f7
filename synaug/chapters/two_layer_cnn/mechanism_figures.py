"""Figures of chapter 3's last section, from frames of `mechanism`; ``recorded`` may be None."""

from synaug.chapters.reading import said
from synaug.chapters.two_layer_cnn.mechanism import ARMS, STAGES
from synaug.plots import Panel, lines
from synaug.statistics import mean_interval
from synaug.statistics.contrasts import paired, select

STAGE_AXIS = {"xlabel": "stage of the training", "xticks": {place: f"{name}\n({100 * share:.0f} %)" for place, (name, share) in enumerate(STAGES.items())}}
EARLY = 0.1  # share of the training's steps at which losses are compared early


def numbers(frame):
    """What the real network says in numbers, {name: text}: correlation with the source at the first stage, losses of
    slow images early and at the end, their paired differences from the original set's, and test error at the end."""
    p = frame.attrs["provenance"]["parameters"]
    rows = select(frame, part="premises", metric="same_source_correlation", sigma=p["sigma"], stage=p["stages"][0])
    words = {
        "train_loss_slow": ("loss of slow images", 1, 3),
        "train_loss_fast": ("loss of fast images", 1, 2),
        "test_loss": ("test loss", 1, 2),
        "test_error": ("test error", 100, 1),
    }
    found = {"correlation": said(mean_interval(rows["value"]), "-")}
    shares = select(frame, part="learning")["x"].unique()
    for when, share in (("early", min(shares, key=lambda x: abs(x - EARLY))), ("end", 1.0)):
        rows = select(frame, part="learning", x=share)
        means = select(rows, metric="train_loss_slow").groupby("arm")["value"].mean()
        found |= {f"loss of slow images, {when}, {arm}": f"{value:.3f}" for arm, value in means.items()}
        for row in paired(rows, {"arm": "original"}, ("metric", "arm"), pair=("seed", "metric"), correct=None).itertuples():
            if row.metric in words:
                name, scale, digits = words[row.metric]
                found[f"{name}, {when}, {row.arm} minus original"] = said(row, digits=digits, scale=scale)
    errors = select(frame, part="learning", metric="test_error", x=1.0).groupby("arm")["value"].mean()
    return found | {f"test error, {arm}": f"{100 * errors[arm]:.1f}" for arm in ARMS}


def staged(frame):
    """The rows of gradients, x the stage's place along the axis; of training sets, those at the largest k and at the
    noise level of the trainings."""
    if frame is None:
        return None
    p, rows = frame.attrs["provenance"]["parameters"], select(frame, part=["premises", "consequences"])
    trained = (rows["x"] == max(p["ks"])) & rows["sigma"].isin([0.0, p["sigma"]])
    rows = rows[(rows["part"] == "premises") | trained]
    return rows.assign(x=rows["stage"].map(list(STAGES).index).astype(float))


def premises(live, recorded=None):
    """What the theory takes for granted of generated images, by noise level: correlation with their sources' residuals,
    strength of their residuals, share of the features; and what it assumes as a line."""
    where = {"part": "premises", "arm": "generated"}
    panels = [
        Panel("same_source_correlation", "correlation with the source's residual", where, line=0.0),
        Panel("synthetic_strength", "strength of generated residuals,\n$s_\\gamma / s$", where, line=1.0, yscale="log"),
        Panel("feature_ratio", "generated images' mean gradient,\nmultiple of the slow images'", where, line=1.0, yscale="log"),
    ]
    live, recorded = staged(live), staged(recorded)
    levels = sorted({sigma for frame in (live, recorded) if frame is not None for sigma in frame["sigma"] if sigma})
    return lines(live, recorded, panels, hue="sigma", names={sigma: f"σ = {sigma:g}" for sigma in levels}, **STAGE_AXIS)


def consequences(live, recorded=None):
    """What the theory says of training sets at the largest k: variance over training sets and alignment with single
    examples at the original's weights, and variance of mini-batches in each network's own training."""
    at = {"part": "consequences", "arm": ["upsampled", "generated"], "weights": "original"}
    panels = [
        Panel(
            "set_variance", "variance of the gradient over training\nsets, over the original set's", at, formula="set_variance_formula", line=1.0, yscale="log"
        ),
        Panel("noise_align_own", "alignment with an example by itself and\nits copies, over the original set's", at, line=1.0, yscale="log"),
        Panel(
            "sampled_variance", "variance of mini-batch gradients in\nits own training, over the original's", at | {"weights": "own"}, line=1.0, yscale="log"
        ),
    ]
    return lines(staged(live), staged(recorded), panels, hue="arm", **STAGE_AXIS)


def learning(live, recorded=None):
    """Losses of slow and fast training images and of test images over a training on each set."""
    panels = [
        Panel("train_loss_slow", "loss of slow training images", {"part": "learning"}, yscale="log"),
        Panel("train_loss_fast", "loss of fast training images", {"part": "learning"}, yscale="log"),
        Panel("test_loss", "test loss", {"part": "learning"}),
    ]
    return lines(live, recorded, panels, hue="arm", names=dict(zip(ARMS, ARMS)), xlabel="share of the training's steps")
