"""What chapter 6 shows: where the gap comes from, what changes it, rare events and unseen combinations, and what follows."""

from dataclasses import replace

import pandas as pd

from synaug.chapters.reading import drawn_forest, interval, network_name, said, told_each, values, verdict_of, well_sampled
from synaug.chapters.what_is_left_out.causes import CHANGES
from synaug.chapters.what_is_left_out.rare_events import DATASETS, TREATMENTS, shown
from synaug.data.merged import SHARES
from synaug.plots import Panel, image_grid, lines
from synaug.statistics.contrasts import select

ARMS = {
    "synthetic": "synthetic images",
    "spread": "synthetic, resampled to the real density",
    "concentrated": "fresh real, resampled to the synthetic density",
    "control": "fresh real, as few as the weights are worth",
    "as many distinct": "fresh real, as many distinct",
}
SHARPNESS = {
    "log_largest_eigenvalue": "log of the largest eigenvalue",
    "log_trace": "log of the trace",
    "filter_normalised": "rise of the loss, filter-normalised",
    "log_gradient_variance": "log of the gradients' variance",
}
POINTS = "change of test error (points)"
#: Cycles per pixel from which on structure counts as fine: a period of five pixels.
FINE = 0.2


def networks(frame):
    return {name: network_name(name) for name in frame.attrs["provenance"]["parameters"]["architectures"]}


def size(frame):
    return float(frame.attrs["provenance"]["parameters"]["n_real"])


def mismatch(frame):
    """Test error over that of the original real images, trained on each set alone."""

    def error(arm):
        return values(frame, study="mismatch", metric="test_error", arm=arm)

    return drawn_forest([({"label": arm}, interval(error(arm), error("original"))) for arm in ARMS], names=ARMS, xlabel=f"{POINTS}, over real images")


def head(frame):
    """What training on synthetic images costs, by network, and what is left of it with a new last layer."""
    rows, names = [], {"test_error": "as trained", "real": "last layer on real training images", "fresh": "last layer on fresh real images"}
    for name, title in networks(frame).items():
        of = {"study": "bias", "architecture": name, "x": size(frame)}
        base = values(frame, **of, metric="test_error", arm="original")
        rows.append(({"label": "test_error", "group": title}, interval(values(frame, **of, metric="test_error", arm="synthetic"), base)))
        rows += [
            ({"label": refit, "group": title}, interval(values(frame, **of, metric="refit_error", refit=refit, arm="synthetic"), base))
            for refit in ("real", "fresh")
        ]
    return drawn_forest(rows, group="group", names=names, xlabel=f"{POINTS}, over training on real images")


def changes(frame):
    """Error on changed test images, over that of networks trained on fewer real images, at equal error on unchanged ones."""
    rows = []
    for name, title in networks(frame).items():
        of = {"study": "bias", "metric": "changed_error", "architecture": name}
        for change in CHANGES:
            pair = (values(frame, **of, change=change, arm=arm, x=size(frame)) for arm in ("synthetic", "original, matched to synthetic"))
            rows.append(({"label": change, "group": f"{title}, synthetic images"}, interval(*pair)))
    return drawn_forest(rows, group="group", names={name: name for name in CHANGES if name != "none"}, xlabel=f"{POINTS}, at equal accuracy")


def spectrum(live, recorded=None):
    """Power of real and of synthetic images against frequency."""
    return lines(
        live, recorded, [Panel("log_power", "log10 of power")], hue="arm", names={"original": "real", "synthetic": "from noise"}, xlabel="cycles per pixel"
    )


def landscape(frame):
    """Each measure of sharpness with images added, minus that of training on real images alone at equal loss on these."""
    rows = []
    for metric, title in SHARPNESS.items():
        for arm in ("added", "fresh added"):
            own = values(frame, study="landscape", metric=metric, arm=arm, optimizer="sgd")
            rows.append(({"label": arm, "panel": title}, interval(own, values(frame, study="landscape", metric=metric, arm=f"original, matched to {arm}"))))
    names = {"added": "synthetic images added", "fresh added": "fresh real images added"}
    return drawn_forest(rows, panel="panel", names=names, xlabel="over real images alone")


def landscape_table(frame):
    """What each training ends at, a mean over seeds."""
    rows = select(frame, study="landscape", metric=["test_error", "log_loss", *SHARPNESS, "barrier"])
    keys = ["arm", "optimizer", "steps"]
    return (
        rows.pivot_table(index=keys, columns="metric", values="value", sort=False)
        .round(4)  # a barrier that is none comes out near 1e-19
        .rename_axis(columns=None)
        .reset_index()
        .rename(columns=lambda name: SHARPNESS.get(name, name.replace("_", " ")))
    )


def shares(live, recorded=None):
    """Made over true share of minorities against the true share, corrected for the judge's confusions, and as it says."""
    panels = [
        Panel(metric, "made over true share", title=title, line=1.0) for metric, title in (("share_ratio", "corrected"), ("raw_ratio", "as the judge says"))
    ]
    return lines(
        live,
        recorded,
        panels,
        hue="arm",
        names={"first": "first generator", "swapped": "roles swapped"},
        xscale="log",
        xticks={share: f"{100 * share:g} %" for share in SHARES},
        xlabel="true share",
    )


def treatments(frame):
    """Test error on minorities with images added, less that without."""
    rows = [
        (
            {"label": name, "group": "first generator" if arm == "first" else "roles swapped"},
            interval(*(values(frame, metric="rare_error", arm=arm, treatment=treatment) for treatment in (name, "original"))),
        )
        for arm in DATASETS
        for name in TREATMENTS
    ]
    return drawn_forest(rows, group="group", names={name: name for name in TREATMENTS}, xlabel="change of test error on minorities (points)")


def rare_pictures(settings, get):
    """Rare training images, and the samples that the judge calls rare most surely, of the first generator: a saved one,
    but at profile smoke."""
    if settings.profile != "smoke":
        settings = replace(well_sampled(settings, "sampling_steps"), generators=settings.generators or tuple(DATASETS.values()))
    rows = shown(settings, "first", get)
    return image_grid({"real": rows["real"], "made": rows["made"]}, [f"{100 * share:g} %" for share in SHARES])


def composition(frame):
    """Test error on the combinations that were held out, and on the others, over that of real images without them."""
    names = {
        "real and synthetic": "real and synthetic images",
        "synthetic": "synthetic images alone",
        "real and oracle": "real images and those of a generator that has seen all",
        "real of all": "real images of all combinations",
    }
    titles = {"missing_error": "held-out combinations", "seen_error": "the others"}
    rows = [
        ({"label": arm, "panel": title}, interval(values(frame, metric=metric, arm=arm), values(frame, metric=metric, arm="real")))
        for metric, title in titles.items()
        for arm in names
    ]
    return drawn_forest(rows, panel="panel", names=names, xlabel=POINTS)


def found(causes, rare, made):
    """{name: interval or None} of what the chapter says in numbers. causes, rare, made: frames of the three experiments."""
    p = causes.attrs["provenance"]["parameters"]
    first, steps = p["architectures"][0], p["steps"]

    def error(study, arm, **more):
        return values(causes, **{"study": study, "arm": arm, "metric": "test_error", "architecture": first, "x": size(causes), **more})

    changed = {"study": "bias", "metric": "changed_error", "architecture": first, "x": size(causes)}
    refitted = {"study": "bias", "metric": "head_share"}
    rarely = {name: values(rare, metric="rare_error", treatment=name) for name in ("original", *TREATMENTS)}
    return {
        "gap": interval(error("mismatch", "synthetic"), error("mismatch", "original")),
        "share that density explains": interval(values(causes, study="mismatch", metric="explained_share", arm="concentrated")),
        "share that density explains, over as many distinct": interval(values(causes, study="mismatch", metric="explained_share", arm="over as many distinct")),
        "concentrated over real": interval(error("mismatch", "concentrated"), error("mismatch", "original")),
        "share that resampling recovers": interval(values(causes, study="mismatch", metric="recovered_share")),
        "share that a new last layer recovers": interval(values(causes, **refitted, architecture=first, refit="real")),
        "share that a new last layer recovers, fresh images": interval(values(causes, **refitted, architecture=first, refit="fresh")),
        **{
            f"share that a new last layer recovers, {title}": interval(values(causes, **refitted, architecture=name, refit="real"))
            for name, title in networks(causes).items()
            if name != first
        },
        **{
            f"{change} at equal accuracy": interval(
                *(values(causes, **changed, change=change, arm=arm) for arm in ("synthetic", "original, matched to synthetic"))
            )
            for change in ("noise", "high-pass", "blur")
        },
        **{
            f"{what} at equal loss{name}": interval(
                *(values(causes, study="landscape", metric=metric, optimizer="sgd", arm=one) for one in (arm, f"original, matched to {arm}"))
            )
            for what, metric in (("sharpness", "filter_normalised"), ("log of the eigenvalue", "log_largest_eigenvalue"))
            for arm, name in (("added", ""), ("fresh added", ", fresh images"))
        },
        "log of the eigenvalue at equal steps": interval(
            *(values(causes, study="landscape", metric="log_largest_eigenvalue", optimizer="sgd", steps=steps, arm=one) for one in ("added", "original"))
        ),
        "rank correlation of sharpness with error": interval(values(causes, study="landscape", metric="rank_correlation", of="filter_normalised")),
        **{f"made over true share at {100 * share:g} %": interval(values(rare, metric="share_ratio", x=share)) for share in sorted(SHARES)},
        **{
            f"made over true share at {100 * share:g} %, {name}": interval(values(rare, metric="share_ratio", x=share, arm=arm))
            for share in (min(SHARES), max(SHARES))
            for arm, name in (("first", "first generator"), ("swapped", "roles swapped"))
        },
        **{f"the judge says, at {100 * share:g} %": interval(values(rare, metric="raw_ratio", x=share)) for share in sorted(SHARES)},
        "slope": interval(values(rare, metric="slope")),
        **{f"gain on minorities, {name}": interval(rarely["original"], rarely[name]) for name in TREATMENTS},
        "reconstructed over repeated": interval(rarely["upsampled"], rarely["reconstructed"]),
        "made over true share of unseen combinations": interval(values(made, metric="missing_ratio", arm="held out")),
        "the same, by a generator that has seen all": interval(values(made, metric="missing_ratio", arm="all")),
        **{
            name: interval(*(values(made, metric="missing_error", arm=arm) for arm in ("real", other)))
            for name, other in (("gain on unseen combinations", "real and synthetic"), ("gain on unseen combinations, oracle", "real and oracle"))
        },
        "error of synthetic images alone on seen combinations": interval(values(made, metric="seen_error", arm="synthetic")),
    }


def numbers(causes, rare, made):
    """What the chapter says in numbers, {name: text}."""
    texts = {
        name: said(one, "-" if any(word in name for word in ("share", "generator", "error of", "judge")) else "+")
        for name, one in found(causes, rare, made).items()
    }
    others = [f"{texts[f'share that a new last layer recovers, {title}']} ({title})" for title in list(networks(causes).values())[1:]]
    return {**texts, "share that a new last layer recovers, other networks": " and ".join(others) or "not measured", **power(causes)}


def power(frame):
    """Power of synthetic images over that of real ones, {name: least to most}, of coarse and of fine structure."""
    rows = select(frame, study="bias", metric="log_power")
    by = rows.pivot_table(index="x", columns="arm", values="value")
    ratio = 10 ** (by["synthetic"] - by["original"]) if len(rows) else pd.Series(dtype=float)
    return {
        f"power of {name} structure": f"{some.min():.2f} to {some.max():.2f}" if len(some) else "not measured"
        for name, some in (("coarse", ratio[ratio.index < FINE]), ("fine", ratio[ratio.index > FINE]))
    }


def takeaways(shown, recorded):
    """The chapter in three lines of Markdown, of the recorded runs among those shown; of the others, that they are not recorded.
    Both: frames of the three experiments, recorded ones None where there is none."""
    texts, known = numbers(*shown), found(*shown)
    parts = [known[f"share that {what}"] for what in ("density explains, over as many distinct", "a new last layer recovers")]
    repeats, learned = known["reconstructed over repeated"], known["gain on unseen combinations"]
    head = (
        ""
        if texts["share that a new last layer recovers"] == "not measured"
        else f" A last layer fitted to real images recovers {texts['share that a new last layer recovers']} of it; the rest is in the features."
    )
    curved = texts["sharpness at equal loss"]
    flat = (
        ""
        if curved == "not measured"
        else (
            f" At equal loss, synthetic images added to real ones change the sharpness of the loss by {curved}, "
            f"and fresh real ones by {texts['sharpness at equal loss, fresh images']}."
        )
    )
    lines = [
        (
            "Why they train worse.",
            all(part and part.high < 0.5 for part in parts)
            and "With ResNet-8, neither the density of synthetic images nor the last layer explains half of the gap.",
            f"Synthetic images alone cost {texts['gap']} points. Real images resampled to the synthetic density lose "
            f"{texts['share that density explains, over as many distinct']} of this gap, beyond what repeating images alone costs (exploratory).{head}{flat}",
        ),
        (
            "Rare events.",
            repeats and f"Reconstructing rare images gains {verdict_of(repeats, 'more', 'less', 'as much', 'no more for certain')} than repeating them.",
            "What four more of each rare image gain on minorities: "
            f"repeats {texts['gain on minorities, upsampled']} points, reconstructions "
            f"{texts['gain on minorities, reconstructed']}, fresh ones {texts['gain on minorities, fresh']}. "
            "How often minorities are made, over how often they are seen, by their share of the training images: "
            + ", ".join(f"{texts[f'made over true share at {100 * share:g} %']} at {100 * share:g} %" for share in sorted(SHARES))
            + f". These are corrected for the judge's errors, but their intervals leave out how uncertain those errors are. "
            f"Without the correction, the ratio at 1 % is {texts['the judge says, at 1 %']}.",
        ),
        (
            "Unseen combinations.",
            learned and f"Training on generated images of unseen combinations {'helps' if learned.low > 0 else 'was not shown to help'} with them.",
            f"A generator that has not seen them makes them {texts['made over true share of unseen combinations']} times as often as they occur among "
            f"real images, one that has seen them {texts['the same, by a generator that has seen all']} times. Adding "
            "images of the first changes accuracy on them by "
            f"{texts['gain on unseen combinations']} points, of the second by {texts['gain on unseen combinations, oracle']}.",
        ),
    ]
    return told_each(lines, recorded)


def what_to_do(shown, recorded):
    """A decision table: the question, what was measured (95 % limits), what to do. shown, recorded: as of `takeaways`."""
    p, (causes, rare, made) = found(*shown), recorded

    def row(run, question, name, above, below, zero=0.0, unless=None):
        """unless: what must be on the same side."""
        if run is None:
            return question, "", "not recorded yet"
        both = [p[each] for each in (name, unless or name)]
        if None in both:
            return question, f"{name}: {said(both[0])}", "not measured"
        advice = above if all(one.low > zero for one in both) else below if all(one.high < zero for one in both) else "open: look at your own"
        return question, f"{name}: {said(both[0])}" + f"; {unless}: {said(both[1])}" * bool(unless), advice

    return pd.DataFrame(
        [
            row(causes, "Resample synthetic images to the density of real ones?", "share that resampling recovers", "Yes.", "No."),
            row(
                causes,
                "Fit the last layer to real images at the end?",
                "share that a new last layer recovers",
                "Yes: it repairs most.",
                "With ResNet-8 it repairs less than half: mix real images in.",
                0.5,
            ),
            row(causes, "Rely on them where images are noisy?", "noise at equal accuracy", "Not without noise in training.", "Yes."),
            row(causes, "Prefer the training that ends in the flatter minimum?", "rank correlation of sharpness with error", "Yes.", "No."),
            *(
                row(
                    rare,
                    f"Rely on samples of what is {100 * share:g} % of your images?",
                    f"made over true share at {100 * share:g} %",
                    "Yes: they are as frequent or more.",
                    "No: collect them.",
                    1.0,
                    f"the judge says, at {100 * share:g} %",
                )
                for share in SHARES[-2:]
            ),
            row(rare, "Reconstruct rare images, or repeat them?", "reconstructed over repeated", "Reconstruct.", "Repeat."),
            row(made, "Rely on combinations that nobody photographed?", "gain on unseen combinations", "Yes.", "No."),
        ],
        columns=["your question", "measured", "what to do"],
    )
