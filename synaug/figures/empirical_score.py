"""The figures of the generator that knows its training images by heart. Functions take frames of
`synaug.experiments.empirical_score` (``recorded`` may be None) and return a matplotlib figure."""

import seaborn as sns

from synaug.experiments.empirical_score import ARMS, OUTCOMES
from synaug.figures.curves import draw, legend_below, panels, select, sigma_axis

NAMES = {"own_share": "near-copy of its own source", "other_share": "near-copy of another training image",
         "none_share": "near-copy of none"}
OUTCOME_COLOURS = dict(zip(OUTCOMES, sns.color_palette("colorblind")))
DIFFERENCES = {"network_to_empirical": "network to empirical denoiser", "network_error": "network to the clean image",
               "empirical_error": "empirical denoiser to the clean image"}
DIFFERENCE_COLOURS = dict(zip(DIFFERENCES, sns.color_palette("colorblind")))


def both(ax, recorded, live, metric, colour, name, **where):
    draw(ax, select(recorded, metric, **where), colour, f"recorded, {name}")
    draw(ax, select(live, metric, **where), colour, f"this build, {name}", live=True)


def outcomes(live, recorded=None):
    """What reconstructions of training images end as, against the noise level: a panel a denoiser."""
    figure, axes = panels(len(ARMS), width=4.4)
    for ax, arm in zip(axes, ARMS):
        for metric, colour in OUTCOME_COLOURS.items():
            both(ax, recorded, live, metric, colour, NAMES[metric], arm=arm)
        half = select(live if recorded is None else recorded, "half_own", arm=arm)
        if len(half):
            ax.axvline(half["value"].item(), color="0.4", linestyle="--", linewidth=1)
        sigma_axis(ax, live[live["metric"].isin(OUTCOMES)])
        ax.set_title(arm)
        ax.set_ylabel("share of reconstructions" if ax is axes[0] else "")
        ax.set_ylim(-0.03, 1.03)
    legend_below(figure, axes, 3)
    return figure


def differences(live, recorded=None):
    """Mean squared differences of the denoisers' estimates, per pixel, on training and on held-out images."""
    figure, axes = panels(2)
    for ax, split in zip(axes, ("train", "held out")):
        for metric, colour in DIFFERENCE_COLOURS.items():
            both(ax, recorded, live, metric, colour, DIFFERENCES[metric], split=split)
        sigma_axis(ax, live[live["metric"] == "network_error"])
        ax.set_title("training images" if split == "train" else "held-out images")
        ax.set_ylabel("mean squared difference of a pixel")
        ax.set_ylim(bottom=0)
    legend_below(figure, axes, 3)
    return figure
