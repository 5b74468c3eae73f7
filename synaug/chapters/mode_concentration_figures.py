"""The figures of chapter 1. Functions take frames of `synaug.chapters.mode_concentration` (``recorded`` may be None)
and return a matplotlib figure."""

import numpy as np
import pandas as pd

from synaug.chapters.reading import dataset_name, interval, said, signed, within
from synaug.plots import T_RE, Panel, image_grid, lines, scatter
from synaug.run.results import experiment_of, recordings
from synaug.statistics.claims import load_claims, published_series
from synaug.statistics.contrasts import select
from synaug.statistics.frames import bare

PAPER = "published (CIFAR-10, EDM, ResNet-18)"
CENTRE = "centroid distance ratio"
#: What `numbers` follows from real images to the last level: metric, what it is called, its format, and its factor.
FOLLOWED = {
    "frechet_distance": ("Fréchet distance", ".3g", 1),
    **{name: (name, ".2f", 1) for name in ("precision", "recall", "density", "coverage")},
    "outer_edge_recall": ("outer-edge recall", ".2f", 1),
    "centroid_distance_ratio": (CENTRE, ".2f", 1),
    "covariance_logdet_ratio": ("covariance log-determinant", ".2f", 1),
    "judge_entropy": ("judge's entropy (nats)", ".3f", 1),
    "judge_accuracy": ("judge's accuracy (%)", ".1f", 100),
    "pca_variance_ratio": ("variance in the plane", ".2f", 1),
    "cam_agreement": ("agreement of maps", ".2f", 1),
}
SHARE = "Fréchet distance of real images over that of samples, {}"
NAMES = {"source": "sources as reference", "fresh": "fresh real images as reference"}
ENCODERS = {"efficientnet_lite0": "EfficientNet-Lite0 features", "judge": "the judge's features"}
ENTROPY, ACCURACY = ({split: f"judge's {what}, {split} images" for split in ("train", "test")} for what in ("entropy (nats)", "accuracy (%)"))


def named(what, encoder="efficientnet_lite0"):
    """The name in `numbers` of what is measured in an encoder's features."""
    return f"{what}, {ENCODERS.get(encoder, encoder)}"


def by_seed(frame):
    """Test accuracy (%) by seed and level."""
    return 100 * select(frame, metric="test_accuracy").pivot(index="seed", columns="x", values="value")


def changed(far, near):
    """In words, how far one accuracy by seed is from another (points); one seed has no limits."""
    change = far - near
    return said(interval(change)) if len(change) > 1 and change.any() else signed(change.mean())


def numbers(frame):
    """What the chapter says in numbers, {name: text}: from real images to the last level, against fresh real images."""
    last, accuracy = frame["x"].max(), by_seed(frame)
    found = {
        "change of test accuracy (points)": changed(accuracy[last], accuracy[0]),
        "test accuracy (%)": f"{accuracy[0].mean():.1f} to {accuracy[last].mean():.1f}",
    }
    rows = select(frame, metric=list(FOLLOWED), x=[0, last])
    rows = rows[rows["reference"] != "source"]
    by = ["metric", "encoder", "sources"]
    means = rows.groupby([*by, "x"], dropna=False, sort=False)["value"].mean().unstack("x")
    distance = means.xs("frechet_distance")
    for encoder, ends in zip(distance.index.get_level_values("encoder"), distance.to_numpy()):
        found[SHARE.format(ENCODERS.get(encoder, encoder))] = f"{100 * ends[0] / ends[-1]:.0f} %"
    for (metric, encoder, sources), (first, far) in zip(means.index, means[[0, last]].to_numpy()):
        name, form, factor = FOLLOWED[metric]
        name = named(name, encoder) if isinstance(encoder, str) else name
        ends = (f"{factor * value:{form}}".replace("-", "\u2212") for value in (first, far))
        found[name + f", {sources} images" * metric.startswith("judge_")] = " to ".join(ends)
    return found


def takeaways(found, poor):
    """The chapter in three lines of Markdown; found, poor: `numbers` of the recorded runs of the two generators."""
    paper = 100 * published_series(load_claims()["accuracy-falls"])["value"]
    return "\n".join(
        (
            f"1. **Training on synthetic images alone costs accuracy.** Test accuracy changes by "
            f"{found['change of test accuracy (points)']} points on Fashion-MNIST. With a small generator on CIFAR-10 it "
            f"changes by {poor['change of test accuracy (points)']} points; the paper has "
            f"{signed(paper.iloc[-1] - paper.iloc[0])}. These runs differ "
            f"in data, number of images and generator at once. Within Fashion-MNIST alone a better generator made the fall "
            f"smaller (see below).",
            f"2. **Samples cover less than real images do, above all at the outer edge.** From real images to samples, recall, the share of real "
            f"images that have samples around them, goes from {found[named('recall')]}. For the tenth of real images in the "
            f"sparsest regions it goes from {found[named('outer-edge recall')]} (Fashion-MNIST, against fresh real images).",
            "3. **Whether samples concentrate near the modes depends on data and features; a judge was not seen to be surer of them.** "
            "The distance to the class centre, relative to "
            f"fresh real images, goes on CIFAR-10 from {poor[named(CENTRE)]} in EfficientNet-Lite0 features, but from {poor[named(CENTRE, 'judge')]} in "
            f"the judge's. On Fashion-MNIST it goes from {found[named(CENTRE)]} and {found[named(CENTRE, 'judge')]}. "
            "The judge's output entropy should fall, as published. "
            f"On reconstructions of test images it goes from {found[ENTROPY['test']]} nats "
            f"(Fashion-MNIST; nats: natural logarithms), which is not resolved. On those of its own training images, which "
            f"it has fitted, it rises from {found[ENTROPY['train']]} nats. On CIFAR-10 it rises on test images, too, from "
            f"{poor[ENTROPY['test']]} nats.",
        )
    )


def concentrated(cifar, fashion):
    """In words, whether samples lie nearer to the centres of their classes; of `numbers` of both recorded runs."""
    return (
        f"The distance to the class centre is taken relative to fresh real images, from real images to samples. On "
        f"CIFAR-10 it goes from {cifar[named(CENTRE)]} in EfficientNet-Lite0 features. Precision, the share of "
        f"samples that fall where real images are, goes from {cifar[named('precision')]} there, and recall from "
        f"{cifar[named('recall')]}. But in the features of the judge, a classifier trained on real images, samples move "
        f"outwards, from {cifar[named(CENTRE, 'judge')]}. On Fashion-MNIST the distance goes from {fashion[named(CENTRE)]} and, in "
        f"the judge's features, from {fashion[named(CENTRE, 'judge')]}."
    )


def lowest(frame, metric, **where):
    """In words, where a metric of reconstructions is lowest, beside real images' value (95 % limits over images)."""
    rows = select(frame, metric=metric, sources="train", **where).set_index("x")
    x = rows["value"].idxmin()
    least, real = (within(*rows.loc[at, ["value", "low", "high"]], sign="-") for at in (x, 0))
    return f"lowest at reverse step {x:g}: {least}, where untouched real images have {real}."


def lowest_accuracy(frame):
    """In words, where accuracy is lowest: its change from real images there, as in `numbers`."""
    by_level = by_seed(frame)
    x = by_level.mean().idxmin()
    return f"The change is largest at reverse step {x:g}: {changed(by_level[x], by_level[0])} points."


def published(claim, name=PAPER, change=lambda points: points):
    return {name: change(published_series(load_claims()[claim]))}


def against_references(live, recorded, encoder, metrics, **options):
    """A panel per metric, {metric: what is published}, a curve per reference."""
    shown = [
        Panel(metric, f"{metric}\n({ENCODERS.get(encoder, encoder)})", {"encoder": encoder}, published=points, **options) for metric, points in metrics.items()
    ]
    return lines(live, recorded, shown, x="sigma", hue="reference", names=NAMES)


def distances(live, recorded=None, encoder="efficientnet_lite0"):
    """Fréchet distance in features' own units, and relative to its value at the last level beside the paper's FID."""

    def relative(rows):
        last = rows.loc[rows["x"] == rows["x"].max(), "value"].mean()
        return rows.assign(**{name: rows[name] / last for name in ("value", "low", "high", "spread") if name in rows})

    where, points = {"encoder": encoder}, published("frechet-saturates", change=relative)
    shown = [
        Panel("frechet_distance", f"Fréchet distance\n({ENCODERS.get(encoder, encoder)})", where, limits=(0, None)),
        Panel(
            "frechet_distance", "share of the distance\nat the last level", where | {"reference": "source"}, change=relative, published=points, limits=(0, None)
        ),
    ]
    return lines(live, recorded, shown, x="sigma", hue="reference", names=NAMES)


def precision_recall(live, recorded=None, encoder="efficientnet_lite0"):
    """Precision and recall with both references; at σ = 0 the fresh reference shows the real-data baseline."""
    return against_references(live, recorded, encoder, {"precision": published("precision-falls"), "recall": published("recall-falls-more")}, limits=(0, 1.05))


def density_coverage(live, recorded=None, encoder="efficientnet_lite0"):
    """Density and coverage, the versions of precision and recall that outliers disturb less."""
    return against_references(live, recorded, encoder, {"density": {}, "coverage": {}}, limits=(0, None))


def concentration(live, recorded=None, encoder="efficientnet_lite0"):
    """Outer-edge recall, distance to the class centroid, covariance log-determinant, against fresh real images."""
    labels = {
        "outer_edge_recall": "outer-edge recall",
        "centroid_distance_ratio": "distance to the class centroid,\nover that of real images",
        "covariance_logdet_ratio": "covariance log-determinant,\nminus that of real images\n(per dimension)",
    }
    where = {"encoder": encoder, "reference": "fresh"}
    return lines(live, recorded, [Panel(metric, label, where) for metric, label in labels.items()], x="sigma", hue="reference", names=NAMES)


def change(rows):
    """Rows of a metric with its change from level 0 of the same seed in its place."""
    real = rows[rows["x"] == 0].set_index("seed")["value"]
    return rows.assign(value=rows["value"] - rows["seed"].map(real))


#: The change of accuracy from real images, with the paper's.
CHANGE = Panel(
    "test_accuracy",
    "change from real training images\n(points, paired by seed)",
    scale=100,
    change=change,
    published=published("accuracy-falls", change=lambda points: points.assign(value=points["value"] - points["value"].iloc[0])),
)


def accuracies(live, recorded=None):
    """Accuracy on real test images of classifiers trained on reconstructions, and its change from real images."""
    own = Panel("test_accuracy", "test accuracy (%)", scale=100, published=published("accuracy-falls"))
    return lines(live, recorded, [own, CHANGE], x="sigma")


def falls(runs):
    """Change of test accuracy from real images, paired by seed, of several recorded runs, {name: frame}."""
    frame = pd.concat([bare(frame).assign(run=name) for name, frame in runs.items()])
    return lines(None, frame, [CHANGE], x="sigma", hue="run")


def entropies(live, recorded=None):
    """Output entropy and accuracy of the real-trained judge on reconstructions; the paper's entropy by itself."""
    points = {name: series for split in ("train", "test") for name, series in published(f"entropy-falls-{split}", f"published, {split}").items()}
    shown = [
        Panel((), "entropy as published", published=points, limits=(0, 3), line={"ln 10, the most that 10 classes can have": np.log(10)}),
        Panel("judge_entropy", "output entropy\nof the judge (nats)", limits=(0, None)),
        Panel("judge_accuracy", "accuracy of the judge (%)", scale=100),
    ]
    return lines(live, recorded, shown, x="sigma", hue="sources", names={split: f"of {split} images" for split in ("train", "test")})


def pca_plane(points):
    """The judge's features in the plane of real images' first two components, a panel per level."""
    names = {level: f"{T_RE} = {level}" if level else "real images" for level in sorted(points["level"].unique())}
    return scatter(points.sort_values("label"), x="first component", y="second component", hue="class_name", panel="level", names=names)


def plane_variance(live, recorded=None):
    """Within-class variance in that plane over that of fresh real images, against the noise level."""
    return lines(live, recorded, [Panel("pca_variance_ratio", "within-class variance in the plane,\nover that of fresh real images")], x="sigma")


def attention_maps(images, maps, levels):
    """Grad-CAM maps over test images: a row per image, a column per level of the classifier's training images.

    images: uint8 ``[n, C, H, W]``. maps: ``[L, n, H, W]`` in [0, 1].
    """
    return image_grid(
        [image.expand(1 + len(levels), -1, -1, -1) for image in images],
        (),
        ["image", *(f"{T_RE} = {level}" for level in levels)],
        overlay=[[None, *(level_maps[i] for level_maps in maps)] for i in range(len(images))],
    )


def attention_agreement(live, recorded=None):
    """How alike the maps are to those of another seed's classifier trained on real images."""
    return lines(live, recorded, [Panel("cam_agreement", "correlation of Grad-CAM maps with\nanother seed's, trained on real images")], x="sigma")


def recorded_runs(live: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """All recorded runs of the experiment, named by their data; by their profile, too, where that is not enough."""
    named = {}
    for profile, frame in recordings(experiment_of(live)).items():
        name = dataset_name(frame["dataset"].iloc[0])
        named[f"{name}, {profile}" if name in named else name] = frame
    return named


def falls_table(runs: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Accuracies at both ends of `recorded_runs` and the change between them, paired by seed; precision and recall at
    the far end, in the first encoder's features and with the sources as reference, where both start at 1; and the
    paper's."""
    rows, kept = [], ("precision", "recall")
    for name, frame in runs.items():
        by_level = by_seed(frame)
        real, synthetic = by_level[by_level.columns.min()], by_level[by_level.columns.max()]
        far = {"reference": "source", "encoder": frame.attrs["provenance"]["parameters"]["encoders"][0], "x": frame["x"].max()}
        rows.append(
            [
                name,
                len(by_level),
                f"{real.mean():.2f}",
                f"{synthetic.mean():.2f}",
                changed(synthetic, real),
                *(f"{select(frame, metric=metric, **far)['value'].mean():.2f}" for metric in kept),
            ]
        )
    accuracy, *others = (published_series(load_claims()[claim]).set_index("x")["value"] for claim in ("accuracy-falls", "precision-falls", "recall-falls-more"))
    first, last = 100 * accuracy.iloc[0], 100 * accuracy.iloc[-1]
    rows.append([PAPER, "", f"{first:.2f}", f"{last:.2f}", signed(last - first), *(f"{series.iloc[-1]:.2f}" for series in others)])
    return pd.DataFrame(
        rows,
        columns=[
            "run",
            "seeds",
            "trained on real images (%)",
            "on synthetic ones (%)",
            "change in points, 95 % interval",
            *(f"{metric} of these" for metric in kept),
        ],
    )
