"""The figures of the generator that knows its training images by heart, from frames of `empirical_score` (``recorded``
may be None)."""

import pandas as pd

from synaug.chapters.where_concentration_comes_from.empirical_score import ARMS, CONDITIONAL, NETWORK, OUTCOMES
from synaug.plots import Panel, lines
from synaug.statistics.contrasts import select

NAMES = dict(zip(OUTCOMES, ("near-copy of its own source", "near-copy of another training image", "near-copy of none")))
DIFFERENCES = {
    "network_to_empirical": "network to empirical denoiser",
    "network_error": "network to the clean image",
    "empirical_error": "empirical denoiser to the clean image",
}
SPLITS = {"train": "training images", "held out": "held-out images"}


def outcomes(live, recorded=None):
    """What reconstructions of training images end as, against the noise level: a panel per denoiser."""
    half = half_own_table(live if recorded is None else recorded).set_index("denoiser")["σ"]
    shown = [
        Panel(
            OUTCOMES,
            "share of reconstructions",
            {"arm": arm},
            title=arm,
            limits=(-0.03, 1.03),
            upright={} if pd.isna(half[arm]) else {"half come back": half[arm]},
        )
        for arm in ARMS
    ]
    return lines(live, recorded, shown, x="sigma", hue="metric", names=NAMES)


def half_own_table(frame):
    """The noise level from which fewer than half of the sources come back as themselves, by denoiser, with its limits;
    missing where no level was high enough."""
    rows = select(frame, metric="half_own").set_index("arm").reindex(ARMS)[["value", "low", "high"]]
    return rows.set_axis(["σ", "from", "to"], axis=1).rename_axis("denoiser").reset_index()


def differences(live, recorded=None):
    """Mean squared differences of the denoisers' estimates, per pixel, on training and on held-out images."""
    shown = [Panel(list(DIFFERENCES), "mean squared difference of a pixel", {"split": split}, title=name, limits=(0, None)) for split, name in SPLITS.items()]
    return lines(live, recorded, shown, x="sigma", hue="metric", names=DIFFERENCES)


def calibration(live, recorded=None):
    """The paired difference of the two denoisers' errors, and whether the network's estimates and its score are as
    strong as they should be, on training and on held-out images."""
    shown = [
        Panel("error_difference", "network's error minus\nthe empirical denoiser's", line=0),
        Panel("detail_slope", "share of the network's\ndetail that is there", line=1),
        Panel("score_factor", "length of the network's score,\nover the right one", line=1),
    ]
    return lines(live, recorded, shown, x="sigma", hue="split", names=SPLITS)


def centre_distances(live, recorded=None):
    """How far reconstructions are from the mean training image of their class, over its training images' mean."""
    shown = [Panel("centre_distance", "distance to the class mean,\nover that of training images", line=1)]
    return lines(live, recorded, shown, x="sigma", hue="arm", names={arm: arm for arm in (CONDITIONAL, NETWORK)})


def error_table(frame):
    """The two denoisers' errors on held-out images at every noise level, and their paired difference."""

    def at(metric, **where):
        return select(frame, metric=metric, **where).set_index("sigma").sort_index()

    tests, shares = at("error_difference", split="held out"), at("training_share")["value"]
    errors = [at(f"{name}_error", split="held out")["value"] for name in ("network", "empirical")]
    text = [f"{row.value:+.4f} [{row.low:+.4f}, {row.high:+.4f}]" for row in tests.itertuples()]
    return pd.DataFrame(
        {
            "σ": tests.index,
            "share of the training at this σ or above": shares.to_numpy(),
            "network's error": errors[0].to_numpy(),
            "empirical denoiser's error": errors[1].to_numpy(),
            "difference": text,
        }
    )
