"""The figures of the generator that knows its training images by heart. Functions take frames of
`synaug.experiments.empirical_score` (``recorded`` may be None) and return a matplotlib figure or a table of text."""

import pandas as pd
import seaborn as sns

from synaug.experiments.empirical_score import ARMS, CONDITIONAL, NETWORK, OUTCOMES, STEPS
from synaug.figures.curves import draw, legend_below, panels, select, sigma_axis
from synaug.run.results import describe_runs
from synaug.statistics import holm

NAMES = {"own_share": "near-copy of its own source", "other_share": "near-copy of another training image",
         "none_share": "near-copy of none"}
OUTCOME_COLOURS = dict(zip(OUTCOMES, sns.color_palette("colorblind")))
DIFFERENCES = {"network_to_empirical": "network to empirical denoiser", "network_error": "network to the clean image",
               "empirical_error": "empirical denoiser to the clean image"}
DIFFERENCE_COLOURS = dict(zip(DIFFERENCES, sns.color_palette("colorblind")))
SPLIT_COLOURS = dict(zip(("train", "held out"), sns.color_palette("colorblind")[2:]))
#: metric -> (what the axis says; the value that is drawn as 0, and the unit; where the line for "as it should be" is)
CALIBRATION = {"error_difference": ("network's error minus the empirical denoiser's", 0, 1, 0),
               "detail_slope": ("share of the network's detail that is there", 0, 1, 1),
               "score_factor": ("network's score too strong by (%)", 1, 100, 0)}
SMALLEST_P = 1e-9  # that a table tells apart


def describe(live, recorded=None):
    """What the runs behind a page are, as a Markdown list."""
    def words(frame, p):
        known = "all the generator's" if p["n_training"] is None else f"{p['n_training']:,} of the generator's"
        return (f"{frame['dataset'].iloc[0]}; the empirical denoiser knows {known} training images; "
                f"{p['n_sources']:,} sources reconstructed at {len(p['reverse_steps'])} levels (stride {p['stride']} on "
                f"the grid of {STEPS}), denoisers compared on {p['n_compared']:,} training and as many held-out images")

    return describe_runs(live, recorded, words)


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


def half_own_in_words(frame):
    """Markdown list: the noise level from which fewer than half of the sources come back as themselves, by denoiser."""
    lines = []
    for arm in ARMS:
        found = [f"σ = {row.value:.2f} [{row.low:.2f}, {row.high:.2f}]" for row in
                 select(frame, "half_own", arm=arm).itertuples()]
        lines.append(f"- {arm}: {found[0] if found else 'at no level that was taken'}")
    return "\n".join(lines)


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


def calibration(live, recorded=None):
    """The paired difference of the two denoisers' errors, and whether the network's estimates and its score are as
    strong as they should be: a panel each, on training and on held-out images."""
    figure, axes = panels(len(CALIBRATION))
    for ax, (metric, (label, zero, scale, ideal)) in zip(axes, CALIBRATION.items()):
        for split, colour in SPLIT_COLOURS.items():
            for run, frame in (("recorded", recorded), ("this build", live)):
                rows = select(frame, metric, split=split)
                rows = rows.assign(**{name: scale * (rows[name] - zero) for name in ("value", "low", "high")})
                images = "training images" if split == "train" else "held-out images"
                draw(ax, rows, colour, f"{run}, {images}", live=run == "this build")
        ax.axhline(ideal, color="0.4", linewidth=1)
        sigma_axis(ax, live[live["metric"] == metric])
        ax.set_ylabel(label)
    legend_below(figure, axes, 4)
    return figure


def centre_distances(live, recorded=None):
    """How far reconstructions are from the mean training image of their class, over its training images' mean."""
    figure, (ax,) = panels(1, width=6)
    for arm, colour in zip((CONDITIONAL, NETWORK), SPLIT_COLOURS.values()):
        both(ax, recorded, live, "centre_distance", colour, arm, arm=arm)
    ax.axhline(1, color="0.4", linewidth=1)
    sigma_axis(ax, live[live["metric"] == "centre_distance"])
    ax.set_ylabel("distance to the class mean,\nover that of training images")
    legend_below(figure, [ax], 2)
    return figure


def error_table(frame, split="held out"):
    """The paired test of the two denoisers' errors at every noise level, Holm-corrected over the levels, as text."""
    def at(metric, **where):
        return select(frame, metric, **where).set_index("sigma")

    tests = at("error_difference", split=split)
    means = {name: at(name, split=split)["value"] for name in ("network_error", "empirical_error")}
    shares = at("training_share")["value"]
    rows = []
    for (sigma, row), p in zip(tests.iterrows(), holm(tests["p_value"])):
        errs_less = "network" if row["value"] < 0 else "empirical denoiser"
        rows.append({"σ": f"{sigma:.3g}", "of the training at or above": f"{shares[sigma]:.2g}",
                     **{name.replace("_", " "): f"{values[sigma]:.4f}" for name, values in means.items()},
                     "difference": f"{row['value']:+.4f} [{row['low']:+.4f}, {row['high']:+.4f}]",
                     "p (Holm)": f"{p:.2g}" if p >= SMALLEST_P else f"below {SMALLEST_P:g}",
                     "errs less": errs_less if p < 0.05 else "not told apart"})
    return pd.DataFrame(rows)
