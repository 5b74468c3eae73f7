"""The figures, the tables and the sentences of the chapter on the generator, made from frames of
`synaug.chapters.generator_quality` (``recorded`` may be None)."""

import pandas as pd

from synaug.chapters.generator_quality import NEAR_COPY_QUANTILE, SAMPLES
from synaug.chapters.reading import plainly, within
from synaug.chapters.tasks import training_record
from synaug.metrics import FRESH_REAL
from synaug.metrics.encoders import encoder_label
from synaug.plots import COLOURS, INK, finish, forest, image_grid, panels
from synaug.statistics.contrasts import select

TEST = "real test images"  # what frames call fresh real where they are the reference itself


def sample_sheet(samples, real, per_class=10):
    """The first samples of each class, a row per class, beside as many real images: nobody chose them."""
    per_class = min(per_class, int(samples.labels.bincount().min()))
    return image_grid(
        {title: [images.images[images.labels == c][:per_class] for c in range(samples.num_classes)] for title, images in (("samples", samples), (TEST, real))},
        samples.class_names,
    )


def agreement(live, recorded=None):
    """The judge's agreement with the asked class, a row per class, and samples minus real test images."""
    runs = {"recorded": recorded, "this build": live}
    names = {name: name for frame in runs.values() for name in select(frame, metric="judge_agreement").get("class_name", ()) if name != "all"} | {
        "all": "all classes"
    }
    rows = pd.concat(
        [select(frame, metric=["judge_agreement", "judge_agreement_difference"]).assign(run=run) for run, frame in runs.items() if frame is not None]
    )
    rows["arm"] = rows["arm"].replace(FRESH_REAL, TEST)
    rows.loc[rows["metric"] == "judge_agreement_difference", "arm"] = f"{SAMPLES} minus {TEST}"
    return forest(
        rows.rename(columns={"value": "estimate"}),
        label="class_name",
        panel="metric",
        hue="arm",
        run="run",
        names=names,
        scale=100,
        zero={"judge_agreement_difference": 0.0},
        xlabel={"judge_agreement": "judge agrees with the class (%)", "judge_agreement_difference": "difference (points)"},
    )


def neighbour_distances(distances):
    """How far samples and real test images lie from their nearest training image; columns encoder, arm, distance."""
    encoders, entries = distances["encoder"].unique(), {}
    figure, axes = panels(len(encoders))
    for ax, encoder in zip(axes, encoders):
        by_arm = distances[distances["encoder"] == encoder].groupby("arm")["distance"]
        for name, arm in ((TEST, FRESH_REAL), (SAMPLES, SAMPLES)):
            entries[name] = ax.ecdf(by_arm.get_group(arm), color=COLOURS[arm], linewidth=1.8)
        limit = by_arm.get_group(FRESH_REAL).quantile(NEAR_COPY_QUANTILE)
        entries["near-copies lie left of this line"] = ax.axvline(limit, color=INK, linestyle="--", linewidth=1.2)
        ax.set(xlim=(0, None), ylabel="share of images nearer", xlabel=f"distance to the nearest training image\n(in {space(encoder)})")
    return finish(figure, entries)


def closest_pairs(pairs):
    """The images nearest to a training image above those training images: ``{row name: uint8 [n, 2, C, H, W]}``."""
    return image_grid(
        [row for images in pairs.values() for row in images.transpose(0, 1)], [text for name in pairs for text in (name, "nearest\ntraining image")]
    )


def training_curve(frame):
    """Denoising loss against images seen in training, of a run's generator."""
    (figure, (ax,)), entries = panels(1), {}
    for metric, label, colour in (
        ("training_loss", "training images, current weights", COLOURS["train"]),
        ("held_out_loss", "held-out images, averaged weights", COLOURS["held out"]),
    ):
        rows = select(frame, metric=metric, arm="training").sort_values("x")
        (entries[label],) = ax.plot(rows["x"] / 1e6, rows["value"], color=colour, marker="o" if len(rows) < 20 else None)
    ax.set(xlabel="images seen in training (millions)", ylabel="denoising loss", xlim=(0, None))
    return finish(figure, entries)


#: metric -> (what a table calls it, the metric that compares samples with fresh real images, its value where equal)
MEASURES = {
    "judge_agreement": ("judge agrees with the class", "judge_agreement_difference", 0),
    "frechet_distance": ("FD-{encoder} to test images", "frechet_multiple", 1),
    "near_copy_share": ("near-copies, in {space}", "near_copy_share_difference", 0),
    "trained_nearer_share": ("nearest to a training image, in {space}", "trained_nearer_share_difference", 0),
}


def comparison(live, recorded=None, metrics=tuple(MEASURES)):
    """Samples against fresh real images over all classes, a row per measure, encoder and run: a frame of text.
    Either run may be None.

    The last column says on which side the whole 95 % interval of the comparison lies.
    """
    rows = []
    for metric in metrics:
        title, against, equal = MEASURES[metric]
        for encoder in select(live if recorded is None else recorded, metric=metric)["encoder"].unique():
            where = {"class_name": "all"} | ({} if pd.isna(encoder) else {"encoder": encoder})
            for run, frame in (("this build", live), ("recorded", recorded)):
                if frame is None or len(found := select(frame, metric=against, arm=SAMPLES, **where)) == 0:
                    continue
                compared = found.iloc[0]
                own, fresh = (select(frame, metric=metric, arm=arm, **where)["value"].item() for arm in (SAMPLES, FRESH_REAL))
                side = "above" if compared["low"] > equal else "below" if compared["high"] < equal else "not told apart"
                if not pd.isna(encoder):
                    title = MEASURES[metric][0].format(encoder=encoder_label(encoder), space=space(encoder))
                rows.append(
                    {
                        "": title,
                        "run": run,
                        "n": f"{int(compared['n']):,}",
                        "samples": amount(own, metric),
                        "fresh real": amount(fresh, metric),
                        "compared": contrast(compared, against),
                        "samples are": side,
                    }
                )
    return pd.DataFrame(rows)


#: Names of `numbers`.
AGREES, AGREES_REAL = "judge's agreement, samples", "judge's agreement, real test images"
AGREES_MORE, EXTREME = "difference in agreement (points)", "class of the largest difference"
EXTREME_MORE, LOSS, LOWEST = "its difference (points)", "held-out loss, last noted", "held-out loss, lowest"
IMAGES = "images in each set"


def takeaways(found, smaller):
    """The chapter in three lines of Markdown; found, smaller: `numbers` of the recorded runs of two generators."""
    features, pixels = (f"in {space(encoder)}" for encoder in ("efficientnet_lite0", "pixels"))
    nearest = "nearest to a training image"
    return "\n".join(
        (
            f"1. **Samples show the class that was asked for.** A judge agrees with {found[AGREES]} of them and with "
            f"{found[AGREES_REAL]} of real test images (difference: {found[AGREES_MORE]} points).",
            f"2. **They still differ from real images.** The Fréchet distance compares the means and covariances of two "
            f"sets. From samples to real images it is {found[f'Fréchet multiple {features}']} times that from fresh real "
            f"images ({found[IMAGES]} images in each set). This is in the features of EfficientNet-Lite0, a small ImageNet "
            f"classifier; in pixels it is {found[f'Fréchet multiple {pixels}']} times.",
            "3. **Of two generators, the one that saw fewer images leans towards them, in pixels.** The other chapters use one of 10,000 images, "
            "shown here, and one of 2,000. Among the former's training images and as many unseen ones, the nearest is a training image for "
            f"{found[f'{nearest} {features}, samples']} of samples and for {found[f'{nearest} {features}, fresh real']} of "
            f"fresh real images (difference: {found[f'{nearest} {features}, difference (points)']} points; in pixels "
            f"{found[f'{nearest} {pixels}, difference (points)']}). Samples of the latter "
            f"lie nearest to its training images more often, by {smaller[f'{nearest} {pixels}, difference (points)']} points in pixels; "
            f"in features this is not told from 0: {smaller[f'{nearest} {features}, difference (points)']}.",
        )
    )


def numbers(frame):
    """What the chapter says in numbers, {name: text}."""
    both = select(frame, metric="judge_agreement", class_name="all").set_index("arm")["value"]
    differences = select(frame, metric="judge_agreement_difference").set_index("class_name")[["value", "low", "high"]] * 100
    largest = differences.drop("all")["value"].abs().idxmax()
    held_out = select(frame, metric="held_out_loss").sort_values("x")["value"]
    found = {
        AGREES: amount(both[SAMPLES], "judge_agreement"),
        AGREES_REAL: amount(both[FRESH_REAL], "judge_agreement"),
        AGREES_MORE: within(*differences.loc["all"], 1),
        EXTREME: largest,
        EXTREME_MORE: within(*differences.loc[largest], 1),
        LOSS: f"{held_out.iloc[-1]:.4f}",
        LOWEST: f"{held_out.min():.4f}",
        IMAGES: f"{select(frame, metric='frechet_multiple')['n'].iat[0]:,.0f}",
    }
    for encoder in select(frame, metric="frechet_multiple")["encoder"].unique():
        at = f"in {space(encoder)}"
        multiple = select(frame, metric="frechet_multiple", encoder=encoder)[["value", "low", "high"]].iloc[0]
        found[f"Fréchet multiple {at}"] = within(*multiple, 2, sign="-")
        for metric, name in (("near_copy_share", "near-copies"), ("trained_nearer_share", "nearest to a training image")):
            own = select(frame, metric=metric, encoder=encoder).set_index("arm")["value"]
            found |= {f"{name} {at}, samples": amount(own[SAMPLES], metric), f"{name} {at}, fresh real": amount(own[FRESH_REAL], metric)}
        row = select(frame, metric="trained_nearer_share_difference", encoder=encoder)[["value", "low", "high"]].iloc[0] * 100
        found[f"nearest to a training image {at}, difference (points)"] = within(*row, 1)
    return found


def generators_table(names):
    """A row per trained generator: what it has seen, its size, and its loss."""
    rows = []
    for name in names:
        record = training_record(name)  # the images themselves may have to be downloaded
        rows.append(
            {
                "generator": name,
                "training images": f"{record['recipe']['subset_size']:,} of {record['recipe']['dataset']}",
                "parameters (millions)": f"{record['parameters'] / 1e6:.2f}",
                "images seen (millions)": f"{record['images_seen'] / 1e6:.2f}",
                "held-out loss": f"{record['curve'][-1]['held_out_loss']:.3f}",
            }
        )
    return pd.DataFrame(rows)


def space(encoder):
    """The space that an encoder's distances are taken in, in words."""
    return "pixels" if encoder == "pixels" else f"{encoder_label(encoder)} features"


def amount(value, metric):
    return f"{value:.4g}" if metric == "frechet_distance" else f"{100 * value:.1f}\u00a0%"


def contrast(row, metric):
    """A comparison with its limits, in its unit."""
    limits = row["value"], row["low"], row["high"]
    if metric == "frechet_multiple":
        return f"{within(*limits, sign='-')} times"
    return f"{within(*(100 * limit for limit in limits), 1)} points"


def describe_generator(record, trained):
    """What the generator is and what it was trained on, by its training record, as a Markdown list's first entry."""
    return (
        f"- *generator*: {record['parameters']:,} parameters, trained on {len(trained):,} training images of "
        f"{trained.name} ({record['images_seen']:,} images seen, {record['minutes'] / 60:.1f} hours, "
        f"{plainly(record['device'])})."
    )
