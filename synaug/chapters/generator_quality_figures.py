"""The figures, the tables and the sentences of the chapter on the generator, made from frames of
`synaug.chapters.generator_quality` (``recorded`` may be None)."""

import pandas as pd

from synaug.chapters.generator_quality import NEAR_COPY_QUANTILE, SAMPLES
from synaug.metrics import FRESH_REAL
from synaug.metrics.encoders import encoder_label
from synaug.plots import COLOURS, INK, finish, forest, image_grid, panels, select
from synaug.run.results import describe_runs


def sample_sheet(samples, real, per_class=10):
    """The first samples of each class, a row per class, beside as many real images: nobody chose them."""
    per_class = min(per_class, int(samples.labels.bincount().min()))
    return image_grid({title: [images.images[images.labels == c][:per_class] for c in range(samples.num_classes)]
                       for title, images in (("samples", samples), ("real test images", real))}, samples.class_names)


def agreement(live, recorded=None):
    """The judge's agreement with the asked class, a row per class, and samples minus fresh real images."""
    names = {name: name for name in live["class_name"].unique() if name != "all"} | {"all": "all classes"}
    runs = {"recorded": recorded, "this build": live}
    rows = pd.concat([select(frame, ["judge_agreement", "judge_agreement_difference"]).assign(run=run)
                      for run, frame in runs.items() if frame is not None])
    rows.loc[rows["metric"] == "judge_agreement_difference", "arm"] = f"{SAMPLES} minus {FRESH_REAL}"
    return forest(rows.rename(columns={"value": "estimate"}), label="class_name", panel="metric", hue="arm", run="run",
                  names=names, scale=100, zero={"judge_agreement_difference": 0.0},
                  xlabel={"judge_agreement": "judge agrees with the class (%)",
                          "judge_agreement_difference": "difference (points)"})


def neighbour_distances(distances):
    """How far samples and fresh real images lie from their nearest training image; columns encoder, arm, distance."""
    encoders, entries = distances["encoder"].unique(), {}
    figure, axes = panels(len(encoders))
    for ax, encoder in zip(axes, encoders):
        by_arm = distances[distances["encoder"] == encoder].groupby("arm")["distance"]
        for arm in (FRESH_REAL, SAMPLES):
            entries[arm] = ax.ecdf(by_arm.get_group(arm), color=COLOURS[arm], linewidth=1.8)
        limit = by_arm.get_group(FRESH_REAL).quantile(NEAR_COPY_QUANTILE)
        entries["near-copies lie left of this line"] = ax.axvline(limit, color=INK, linestyle="--", linewidth=1.2)
        ax.set(xlim=(0, None), ylabel="share of images nearer",
               xlabel=f"distance to the nearest training image\n(in {space(encoder)})")
    return finish(figure, entries)


def closest_pairs(pairs):
    """The images nearest to a training image above those training images: ``{row name: uint8 [n, 2, C, H, W]}``."""
    return image_grid([row for images in pairs.values() for row in images.transpose(0, 1)],
                      [text for name in pairs for text in (name, "nearest\ntraining image")])


def training_curve(live):
    """Denoising loss against images seen in training."""
    (figure, (ax,)), entries = panels(1), {}
    for metric, label, colour in (("training_loss", "training images, current weights", COLOURS["train"]),
                                  ("held_out_loss", "held-out images, averaged weights", COLOURS["held out"])):
        rows = select(live, metric, arm="training").sort_values("x")
        entries[label], = ax.plot(rows["x"] / 1e6, rows["value"], color=colour, marker="o" if len(rows) < 20 else None)
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
    """Samples against fresh real images over all classes, a row a measure, encoder and run: a frame of text.

    The last column says on which side the whole 95 % interval of the comparison lies.
    """
    rows = []
    for metric in metrics:
        title, against, equal = MEASURES[metric]
        for encoder in live.loc[live["metric"] == metric, "encoder"].unique():
            where = {"class_name": "all"} | ({} if pd.isna(encoder) else {"encoder": encoder})
            for run, frame in (("this build", live), ("recorded", recorded)):
                if frame is None or len(found := select(frame, against, arm=SAMPLES, **where)) == 0:
                    continue
                compared = found.iloc[0]
                own, fresh = (select(frame, metric, arm=arm, **where)["value"].item() for arm in (SAMPLES, FRESH_REAL))
                side = "above" if compared["low"] > equal else "below" if compared["high"] < equal else "not told apart"
                if not pd.isna(encoder):
                    title = MEASURES[metric][0].format(encoder=encoder_label(encoder), space=space(encoder))
                rows.append({"": title, "run": run, "n": f"{int(compared['n']):,}", "samples": amount(own, metric),
                             "fresh real": amount(fresh, metric), "compared": contrast(compared, against),
                             "samples are": side})
    return pd.DataFrame(rows)


def space(encoder):
    """The space that an encoder's distances are taken in, in words."""
    return "pixels" if encoder == "pixels" else f"{encoder_label(encoder)} features"


def amount(value, metric):
    return f"{value:.4g}" if metric == "frechet_distance" else f"{100 * value:.1f}\u00a0%"


def contrast(row, metric):
    """A comparison with its limits, in its unit."""
    value, low, high = row["value"], row["low"], row["high"]
    if metric == "frechet_multiple":
        return f"{value:.2f} times [{low:.2f}, {high:.2f}]"
    return f"{100 * value:+.1f} points [{100 * low:+.1f}, {100 * high:+.1f}]"


def describe_generator(record, trained):
    """What the generator is and what it was trained on, by its training record, as a Markdown list's first entry."""
    return (f"- *generator*: {record['parameters']:,} parameters, trained on {len(trained):,} training images of "
            f"{trained.name} ({record['images_seen']:,} images seen, {record['minutes'] / 60:.1f} hours, "
            f"{record['device']}).")


def describe(live, recorded=None):
    """What the runs behind a page are, as a Markdown list."""
    def words(frame, p):
        searched = select(frame, "near_copy_share", arm=SAMPLES).set_index("encoder")["searched"]
        places = ", ".join(f"{int(n):,} in {space(encoder)}" for encoder, n in searched.items())
        judge = "all unseen training images" if p["n_judge"] is None else f"{p['n_judge']:,} unseen training images"
        return (f"{p['n_samples']:,} samples ({p['solver'].capitalize()}, {p['steps']} steps), as many real images in "
                f"each set; the judge ({p['classifier']}, {p['classifier_steps']:,} steps) learnt from {judge}; "
                f"neighbours are searched among {places}")

    return describe_runs(live, recorded, words)
