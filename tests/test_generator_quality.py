"""The measurements of a generator's quality, on a small generator of digits that was never trained."""

import numpy as np
import pytest
import torch

from synaug.experiments import generator_evaluation
from synaug.experiments import generator_quality as experiment
from synaug.experiments.generator_quality import SAMPLES, prepare, run
from synaug.chapters import generator_quality_figures as figures
from synaug.metrics import FRESH_REAL
from synaug.plots import COLOURS, select
from synaug.run.results import load_recorded, record

SMALL = dict(n_samples=40, steps=3, n_searched=100, n_judge=400, classifier_steps=30)


@pytest.fixture
def evaluation(untrained_generator):
    return prepare("smoke", generator=untrained_generator, **SMALL)[0]


@pytest.fixture(scope="module")
def frame(untrained_generator):
    return run(profile="smoke", generator=untrained_generator, **SMALL)


def value(rows, metric, arm=SAMPLES, **where):
    found = [r for r in rows if r["metric"] == metric and r.get("arm") == arm
             and all(r.get(name) == wanted for name, wanted in where.items())]
    assert len(found) == 1
    return found[0]


def test_sets_do_not_overlap(evaluation):
    train_split = [set(images.source_index.tolist()) for images in
                   (evaluation.trained, evaluation.fresh, evaluation.unseen)]
    assert sum(map(len, train_split)) == len(set.union(*train_split)) == 1437
    assert not train_split[0] & set(evaluation.judged_by.source_index.tolist())
    for images in (evaluation.samples, evaluation.reference, evaluation.fresh):
        assert images.labels.bincount().tolist() == [4] * 10
    assert torch.equal(evaluation.samples.labels, evaluation.reference.labels)


def test_frame(frame):
    assert set(frame["x"][frame["metric"] == "judge_agreement"]) == {128}
    shares = frame[frame["metric"].isin(["judge_agreement", "near_copy_share", "trained_nearer_share"])]
    assert len(shares) == 2 * 11 + 2 * 2 * 2 and shares["value"].between(0, 1).all()
    measured = frame[frame["arm"] != "training"]
    assert (measured["low"] <= measured["value"]).all() and (measured["value"] <= measured["high"]).all()
    distances = frame[frame["encoder"] == "pixels"].set_index(["metric", "arm"])["value"]
    assert distances["frechet_multiple", SAMPLES] == pytest.approx(
        distances["frechet_distance", SAMPLES] / distances["frechet_distance", FRESH_REAL])
    by_class = select(frame, "judge_agreement", arm="samples").set_index("class_name")["value"]
    assert by_class["all"] == pytest.approx(by_class.drop("all").mean())


def test_training_record_is_told(frame):
    losses = frame[frame["arm"] == "training"].set_index(["metric", "x"])["value"]
    assert losses["held_out_loss", 64] == 3 / 64 and losses["training_loss", 128] == 2 / 128 and len(losses) == 4


def test_noise_is_far_from_real_images(frame):
    """The generator was never trained: every measure must notice."""
    rows = frame.to_dict("records")
    assert value(rows, "judge_agreement_difference", class_name="all")["high"] < 0
    assert value(rows, "frechet_multiple", encoder="pixels")["low"] > 1.5
    assert value(rows, "near_copy_share", encoder="pixels")["value"] == 0


def test_training_images_are_found_to_be_copies(evaluation):
    """A generator that returns its training images."""
    evaluation.samples = evaluation.trained.subset(range(40))
    rows = experiment.measure_near_copies(evaluation, "pixels")
    assert value(rows, "near_copy_share")["value"] == 1 and value(rows, "near_copy_share", FRESH_REAL)["value"] < 0.2
    assert value(rows, "trained_nearer_share")["value"] == 1
    assert value(rows, "trained_nearer_share_difference")["low"] > 0
    pairs, distances = experiment.closest_pairs(evaluation, "pixels", count=5)
    assert torch.equal(pairs[:, 0], pairs[:, 1]) and distances.tolist() == [0] * 5


def test_real_images_reach_the_floor(evaluation):
    """A perfect generator: other real images of the same classes."""
    others = evaluation.unseen
    evaluation.samples = others.subset([int((others.labels == c).nonzero()[i])
                                        for i, c in zip(np.arange(40) // 10, evaluation.reference.labels)])
    assert torch.equal(evaluation.samples.labels, evaluation.reference.labels)
    agreed = value(experiment.measure_agreement(evaluation), "judge_agreement_difference", class_name="all")
    assert agreed["low"] < 0 < agreed["high"]
    assert 0.6 < value(experiment.measure_distance(evaluation, "pixels"), "frechet_multiple")["value"] < 1.6


def test_closest_pairs_are_sorted_and_belong_together(evaluation):
    pairs, distances = experiment.closest_pairs(evaluation, "pixels", "reference", 6)
    assert pairs.shape == (6, 2, 1, 8, 8) and (distances.diff() >= 0).all()
    difference = (pairs[:, 0].double() - pairs[:, 1].double()).flatten(1).norm(dim=1) / 127.5
    torch.testing.assert_close(difference, distances, rtol=1e-5, atol=1e-5)
    every = torch.cdist(evaluation.reference.floats().flatten(1), evaluation.trained.floats().flatten(1))
    assert distances[0] == pytest.approx(every.min().item(), rel=1e-5)


def test_a_second_run_resumes(untrained_generator, frame, monkeypatch):
    def fail(*arguments, **options):
        raise AssertionError("computed again")

    monkeypatch.setattr(generator_evaluation, "generate", fail)
    monkeypatch.setattr("synaug.experiments.shared.train_classifier", fail)
    again = run(profile="smoke", generator=untrained_generator, **SMALL)
    assert again.equals(frame)
    with pytest.raises(AssertionError, match="computed again"):
        run(profile="smoke", generator=untrained_generator, **{**SMALL, "steps": 2})


@pytest.mark.parametrize("wrong, message", [
    (dict(n_samples=5), "two a class"), (dict(n_samples=361), r"between 20 \(two a class\) and 360"),
    (dict(n_samples=40.0), "whole number"),
    (dict(encoders=["pixel"]), "encoders must be some of"), (dict(encoders=[]), "encoders"),
    (dict(solver="heune"), "unknown solver"), (dict(classifier="resnet9"), "unknown classifier"),
    (dict(n_judge=2000), "n_judge must lie between 10 and 837"),
    (dict(dataset="fashion_mnist"), "was trained on digits"),
    (dict(profile="fast"), "profile is 'fast'"), (dict(seed=-1), "seed"), (dict(recipe="one_cycel"), "unknown recipe"),
])
def test_bad_parameters_are_refused_before_anything_runs(untrained_generator, wrong, message, monkeypatch):
    monkeypatch.setattr(generator_evaluation, "generate", lambda *a, **k: pytest.fail("started"))
    with pytest.raises(ValueError, match=message):
        prepare(**{"profile": "smoke", "generator": untrained_generator, **SMALL, **wrong})


def test_recorded_results_read_as_they_were(frame, tmp_path, monkeypatch):
    monkeypatch.setenv("SYNAUG_RESULTS", str(tmp_path))
    record(frame, "generator_quality", "smoke")
    recorded = load_recorded("generator_quality", "smoke")
    table = figures.comparison(frame, recorded)
    live, stored = (table[table["run"] == run].drop(columns="run").reset_index(drop=True)
                    for run in ("this build", "recorded"))
    assert len(live) == 7 and live.equals(stored)


def test_words_follow_the_numbers(frame):
    changed = frame.copy()
    chosen = (changed["metric"] == "judge_agreement_difference") & (changed["class_name"] == "all")
    for low, high, words in ((0.01, 0.05, "above"), (-0.05, -0.01, "below"), (-0.01, 0.02, "not told apart")):
        changed.loc[chosen, ["low", "high"]] = low, high
        row = figures.comparison(changed, metrics=["judge_agreement"]).iloc[0]
        assert row["samples are"] == words and f"[{100 * low:+.1f}, {100 * high:+.1f}]" in row["compared"]
    multiple = figures.comparison(frame, metrics=["frechet_distance"]).iloc[1]
    assert multiple["samples are"] == "above" and multiple.iloc[0] == "FD-Pixels to test images"


def test_figures_show_what_was_measured(evaluation, frame):
    sheet = figures.sample_sheet(evaluation.samples, evaluation.reference, per_class=2)
    picture = sheet.axes[0].images[0].get_array()
    second_of_class_3 = evaluation.samples.images[evaluation.samples.labels == 3][1, 0].numpy()
    assert np.array_equal(picture[30:38, 10:18, 0], second_of_class_3)  # 8 pixels and a gap of 2
    assert [label.get_text() for label in sheet.axes[0].get_yticklabels()] == list("0123456789")
    points = [line for line in figures.agreement(frame).axes[0].lines if line.get_marker() == "o"]
    drawn = [line.get_xdata()[0] for line in points if line.get_color() == COLOURS["samples"]]
    expected = select(frame, "judge_agreement", arm="samples").set_index("class_name").loc[[*"0123456789", "all"], "value"]
    np.testing.assert_allclose(sorted(drawn), sorted(100 * expected))
    for figure in (figures.neighbour_distances(experiment.neighbour_distances(evaluation, ["pixels"])),
                   figures.training_curve(frame),
                   figures.closest_pairs({"sample": experiment.closest_pairs(evaluation, "pixels")[0]})):
        figure.draw_without_rendering()
