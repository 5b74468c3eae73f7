"""Chapter 1's experiment: what it refuses, and that a run measures what the claims need."""

import numpy as np
import pytest
import torch

from synaug.chapters import mode_concentration as chapter
from synaug.chapters import mode_concentration_figures as figures
from synaug.chapters.mode_concentration import EXPERIMENT
from synaug.chapters.tasks import usual_denoiser, weights_of
from synaug.data import to_bytes
from synaug.diffusion.reconstruction import reconstruct
from synaug.plots import BLUE, summary
from synaug.run.results import load_recorded
from synaug.statistics import paired_interval
from synaug.statistics.claims import verdict_table
from synaug.statistics.contrasts import select

#: Two levels only.
SMALL = dict(reverse_steps=[0, 100], encoders=["pixels", "judge"])


def of_real(frame, reference):
    """The metrics of the real images, in pixels, against one reference."""
    return select(frame, x=0, reference=reference, encoder="pixels").set_index("metric")["value"]


def accuracies(frame):
    """Test accuracy (%) by seed and level."""
    return 100 * select(frame, metric="test_accuracy").pivot(index="seed", columns="x", values="value")


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"reverse_steps": [30, 50]}, "from 0"),
        ({"reverse_steps": 50}, "from 0"),
        ({"reverse_steps": [0, 101]}, "reverse_step must be at most 100, got 101"),
        ({"mapping": "flow"}, "edm, vp"),
        ({"solver": "rk4"}, "heun, euler"),
        ({"stride": 0}, "stride"),
        ({"churn": -1.0}, "churn"),
        ({"solver": "ancestral", "churn": 5}, "churn"),
        ({"seeds": 0}, "seeds"),
        ({"classifier": "resnet7"}, "resnet8"),
        ({"classifier": "vit_tiny"}, "Grad-CAM"),
        ({"recipe": "adam"}, "paper"),
        ({"augment": "rotate"}, "flip_crop"),
        ({"encoders": ["inceptio"]}, "efficientnet_lite0"),
        ({"k": 0}, "k must be"),
        ({"k": 300}, "more than k = 300 images"),
        ({"n_compare": 3}, "n_compare and n_images must leave more"),
        ({"n_images": 100}, "14 of each of the 10 classes"),
        ({"n_compare": 139}, "some 140 images"),
        ({"n_images": 10**6}, "n_images must be from 10 to 10000"),
        ({"n_maps": 201}, "n_maps must be at most"),
    ],
)
def test_settings_that_could_not_be_measured_are_refused_at_once(wrong, message):
    with pytest.raises(ValueError, match=message):
        EXPERIMENT.settings(**{"profile": "smoke", **wrong})


def test_unknown_generator_is_named():
    with pytest.raises(FileNotFoundError, match="fashion_mnist"):
        EXPERIMENT.settings("smoke", generator="no_such_generator")


def test_sources_fresh_and_test_images_do_not_overlap(chosen, get):
    sources, fresh = get(chapter.pool(chosen, 0)), get(chapter.real(chosen, "unseen", chosen.n_sources))
    assert len(sources) == len(fresh) == chosen.n_images
    assert not set(sources.source_index.tolist()) & set(fresh.source_index.tolist())
    assert torch.equal(sources.labels.bincount(), fresh.labels.bincount())


def test_real_level_is_the_sources_themselves(frame):
    at_zero = of_real(frame, "source")
    assert at_zero["precision"] == at_zero["recall"] == 1
    assert at_zero["frechet_distance"] == pytest.approx(0, abs=1e-6)


def test_pools_are_reconstructions_in_the_order_of_the_sources(chosen, get):
    sources, pool = get(chapter.pool(chosen, 0)), get(chapter.pool(chosen, 100))
    denoiser = usual_denoiser(chosen.generator, weights_of(chosen.generator))
    made = reconstruct(denoiser, sources.floats(), sources.labels, reverse_step=100, stride=50, source_index=sources.source_index)
    assert torch.equal(pool.images, to_bytes(made.images))
    assert torch.equal(pool.labels, sources.labels) and torch.equal(pool.source_index, sources.source_index)


def test_fresh_images_are_neither_perfect_nor_nothing(frame):
    baseline = of_real(frame, "fresh")
    assert 0.5 < baseline["precision"] <= 1 and 0.5 < baseline["recall"] <= 1
    assert baseline["frechet_distance"] > 0
    assert baseline["centroid_distance_ratio"] == pytest.approx(1, abs=0.2)


def test_frame_is_complete(frame, chosen):
    assert not frame["value"].isna().any()
    assert set(frame["x"]) == {0, 100} and set(frame["sigma"]) == {0.0, 80.0}
    accuracies = frame[frame["metric"] == "test_accuracy"]
    assert len(accuracies) == 2 * chosen.seeds and accuracies["value"].between(0, 1).all()
    once = frame[~frame["metric"].isin(["test_accuracy", "cam_agreement"])]
    assert (once["low"] <= once["value"] + 1e-9).all() and (once["value"] <= once["high"] + 1e-9).all()
    assert frame.attrs["provenance"]["generator"] and frame.attrs["provenance"]["parameters"]["k"] == 5


def test_nothing_is_open_but_for_want_of_seeds_and_of_the_other_encoder(frame):
    parts = verdict_table(frame)["evidence"].str.split("; ").explode()
    measured = parts.str.contains("[", regex=False)
    assert measured.sum() >= 4
    assert parts[~measured].str.match("2 paired seeds for .*, at least 5 needed|no .* encoder efficientnet_lite0").all()


def test_plane_is_fitted_on_real_images_and_its_spread_is_over_that_of_fresh_ones(chosen, get):
    judge, sources = get(chapter.classifier(chosen, 0, 0)), get(chapter.pool(chosen, 0))
    (points,) = chapter.judge_plane(judge, sources, sources)
    np.testing.assert_allclose(points.mean(0), 0, atol=1e-5)
    assert np.cov(points.T)[0, 1] == pytest.approx(0, abs=1e-6)
    fresh = get(chapter.real(chosen, "unseen", chosen.n_sources))
    for other, near in ((sources, 1e-6), (fresh, 0.5)):
        spread = chapter.plane_spread(judge, sources, sources, other, 20)
        assert spread["value"].item() == pytest.approx(1, abs=near)


def test_shown_images_are_one_row_per_level_and_columns_of_classes(chosen, get):
    images = chapter.shown_images(chosen, get, [0, 100], per_class=2)
    assert images.shape == (2, 20, 1, 28, 28) and images.dtype == torch.uint8
    sources = get(chapter.pool(chosen, 0))
    first = [(sources.labels == c).nonzero()[0].item() for c in range(10)]
    assert torch.equal(images[0, :10], sources.images[first])


def test_summary_states_intervals_by_number_of_seeds(frame):
    rows = frame[frame["metric"] == "test_accuracy"]
    table = summary(rows)
    by_level = rows.groupby("x")["value"]
    np.testing.assert_allclose(table["low"], by_level.min())
    np.testing.assert_allclose(table["value"], by_level.mean())
    five = rows.iloc[:1].loc[np.repeat(rows.index[0], 5)].assign(value=[0.5, 0.6, 0.7, 0.8, 0.9], seed=range(5))
    one = summary(five).iloc[0]
    assert one["value"] == pytest.approx(0.7) and one["low"] == pytest.approx(0.7 - 2.776445 * 0.0707107, abs=1e-5)


@pytest.mark.parametrize("draw", [figures.distances, figures.precision_recall, figures.density_coverage, figures.concentration])
def test_distribution_figures_are_labelled(frame, draw):
    figure = draw(frame, frame, encoder="judge")
    for ax in figure.axes:
        assert ax.get_xlabel() or ax.get_ylabel()
    names = [text.get_text() for legend in figure.legends for text in legend.get_texts()]
    assert {"recorded", "this build", "fresh real images as reference"} <= set(names)


@pytest.mark.parametrize("draw", [figures.accuracies, figures.entropies, figures.plane_variance, figures.attention_agreement])
def test_training_figures_draw_every_origin(frame, draw):
    figure = draw(frame, frame)
    lines = [line for ax in figure.axes for line in ax.lines if line.get_linestyle() != "None"]
    lines = [line for line in lines if len(line.get_xdata()) >= 2]
    assert len(lines) >= 2 and all(np.isfinite(line.get_ydata(orig=False).astype(float)).all() for line in lines)


def test_falls_of_all_recorded_runs(frame):
    runs = figures.recorded_runs(frame)
    assert list(runs) == ["Fashion-MNIST", "CIFAR-10"]
    (ax, _) = figures.falls({"a": frame, **runs}).axes  # and the axis above it
    names = [text.get_text() for text in ax.figure.legends[0].get_texts()]
    assert names[: 1 + len(runs)] == ["a", *runs]
    line = next(line for line in ax.lines if line.get_color() == BLUE)  # that of the first
    accuracy = accuracies(frame)
    np.testing.assert_allclose(line.get_ydata().astype(float), [0, (accuracy[100] - accuracy[0]).mean()], atol=1e-9)


def test_falls_are_paired_by_seed(frame):
    table = figures.falls_table({"one": frame}).set_index("run")
    accuracy = accuracies(frame)
    expected = paired_interval(accuracy[100] - accuracy[0])
    change = table.loc["one", "change in points, 95 % interval"]
    assert change == f"{expected.estimate:+.2f} [{expected.low:+.2f}, {expected.high:+.2f}]".replace("-", "\u2212")
    assert table.loc["one", "trained on real images (%)"] == f"{accuracy[0].mean():.2f}"
    alone = figures.falls_table({"one": frame[frame["seed"] == 0]}).set_index("run")
    assert alone.loc["one", "change in points, 95 % interval"] == f"{(accuracy[100] - accuracy[0])[0]:+.2f}".replace("-", "\u2212")
    end = frame[(frame["reference"] == "source") & (frame["encoder"] == "pixels") & (frame["x"] == 100)]
    for metric in ("precision", "recall"):
        assert table.loc["one", f"{metric} of these"] == f"{end.set_index('metric').loc[metric, 'value']:.2f}"
    assert table.iloc[-1].tolist() == ["", "95.58", "89.85", "\u22125.73", "0.77", "0.63"]


def test_takeaways_are_those_of_the_recorded_runs(frame):
    runs = [load_recorded(EXPERIMENT.name, "standard", variant) for variant in (None, "cifar10_5000")]
    found, poor = map(figures.numbers, runs)
    said = figures.takeaways(found, poor)
    by_level, of_cifar = map(accuracies, runs)
    changes = [paired_interval(accuracy[100] - accuracy[0]) for accuracy in (by_level, of_cifar)]
    assert all(f"{change.estimate:+.2f}".replace("-", "\u2212") in said for change in changes)
    assert changes[1].high < -10 < -5.73 < changes[0].low < changes[0].high < 0 and "\u22125.73" in said

    def at(metric, level, column="value", **where):
        return select(runs[0], metric=metric, x=level, **where)[column].item()

    fresh = {"reference": "fresh", "encoder": "efficientnet_lite0"}
    for metric, name in (("recall", "recall"), ("outer_edge_recall", "outer-edge recall")):
        first, far = (at(metric, level, **fresh) for level in (0, 100))
        assert f"{first:.2f} to {far:.2f}" in said and found[figures.named(name)] == f"{first:.2f} to {far:.2f}"
    falls = [1 - at(metric, 100, **fresh) / at(metric, 0, **fresh) for metric in ("recall", "outer_edge_recall")]
    assert 0.05 < falls[0] < falls[1]  # "above all at the outer edge"
    assert at("judge_entropy", 100, "low", sources="train") > at("judge_entropy", 0, "high", sources="train")  # "rises"
    for near, far in ((0, 100), (100, 0)):  # "not resolved"
        assert at("judge_entropy", near, "low", sources="test") < at("judge_entropy", far, "high", sources="test")
    for split in ("train", "test"):
        assert f"{at('judge_entropy', 0, sources=split):.3f} to {at('judge_entropy', 100, sources=split):.3f}" in said
    for encoder, nearer, farther in (("efficientnet_lite0", 100, 0), ("judge", 0, 100)):  # "in one of two encoders"
        rows = select(runs[1], metric="centroid_distance_ratio", reference="fresh", encoder=encoder).set_index("x")
        assert rows.loc[nearer, "high"] < rows.loc[farther, "low"]
        assert f"from {rows.loc[0, 'value']:.2f} to {rows.loc[100, 'value']:.2f}" in said
        change = at("centroid_distance_ratio", 100, reference="fresh", encoder=encoder) - at("centroid_distance_ratio", 0, reference="fresh", encoder=encoder)
        assert abs(change) < 0.01  # "on Fashion-MNIST hardly"
    assert figures.lowest(runs[0], "pca_variance_ratio") == (
        "lowest at reverse step 70: 0.86 [0.84, 0.89], where untouched real images have 0.94 [0.91, 0.97]."
    )
    assert "step 70: 0.99 [0.98, 1.00]" in figures.lowest(runs[0], "centroid_distance_ratio", **fresh)
    assert by_level.mean().idxmin() == 70
    assert f"step 70: {(by_level[70] - by_level[0]).mean():+.2f} [".replace("-", "\u2212") in figures.lowest_accuracy(runs[0])
    distance = [at("frechet_distance", level, **fresh) for level in (0, 100)]
    assert f"{100 * distance[0] / distance[1]:.0f} %" == found[figures.SHARE.format("EfficientNet-Lite0 features")] == "30 %"
    assert at("covariance_logdet_ratio", 100, "high", **fresh) < 0  # "they fill less volume"
    assert figures.numbers(frame).keys() >= {"test accuracy (%)", figures.named("recall", "judge")}
