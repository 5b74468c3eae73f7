"""The measurements of a generator's quality, on a small generator of digits that was never trained."""

import numpy as np
import pytest
import torch

from synaug.chapters import generator_quality as chapter
from synaug.chapters import generator_quality_figures as figures
from synaug.chapters.generator_quality import EXPERIMENT, SAMPLES
from synaug.chapters.reading import side_by_side, signed
from synaug.chapters.tasks import fastest, real_images, real_images_of, trained, weights_of
from synaug.data import to_bytes
from synaug.generators import load_generator
from synaug.metrics import FRESH_REAL
from synaug.run.results import load_recorded, record
from synaug.statistics.contrasts import select

UNTRAINED = True
SMALL = dict(n_samples=40, steps=3, n_searched=100, n_judge=400, classifier_steps=30)


@pytest.fixture(scope="module")
def sets(chosen, get):
    return {name: get(task) for name, task in chapter.sets(chosen).items()}


def value(rows, metric, arm=SAMPLES, **where):
    (found,) = select(rows, metric=metric, arm=arm, **where).to_dict("records")
    return found


def near(chosen, sets, samples):
    found = chapter.nearest_images(
        samples, sets["reference"], sets["fresh"], chosen.generator, weights_of(chosen.generator), "pixels", chosen.searched("pixels"), "cpu"
    )
    return found, chapter.near_copies(found)


def test_sets_do_not_overlap(chosen, sets):
    images = real_images_of(chosen.generator)
    trained, fresh = (set(own.source_index.tolist()) for own in (images.trained, sets["fresh"]))
    assert len(trained | set(images.unseen.source_index.tolist())) == 1437 and not trained & fresh
    for own in sets.values():
        assert own.labels.bincount().tolist() == [4] * 10
    assert torch.equal(sets["samples"].labels, sets["reference"].labels)


def test_frame(frame):
    assert set(frame["x"][frame["metric"] == "judge_agreement"]) == {128}
    shares = frame[frame["metric"].isin(["judge_agreement", "near_copy_share", "trained_nearer_share"])]
    assert len(shares) == 2 * 11 + 2 * 2 * 2 and shares["value"].between(0, 1).all()
    measured = frame[frame["arm"] != "training"]
    assert (measured["low"] <= measured["value"]).all() and (measured["value"] <= measured["high"]).all()
    distances = frame[frame["encoder"] == "pixels"].set_index(["metric", "arm"])["value"]
    assert distances["frechet_multiple", SAMPLES] == pytest.approx(distances["frechet_distance", SAMPLES] / distances["frechet_distance", FRESH_REAL])
    by_class = select(frame, metric="judge_agreement", arm=SAMPLES).set_index("class_name")["value"]
    assert by_class["all"] == pytest.approx(by_class.drop("all").mean())
    losses = frame[frame["arm"] == "training"].set_index(["metric", "x"])["value"]
    assert losses["held_out_loss", 64] == 3 / 64 and losses["training_loss", 128] == 2 / 128 and len(losses) == 4


def test_noise_is_far_from_real_images(frame):
    """The generator was never trained: every measure must notice."""
    assert value(frame, "judge_agreement_difference", class_name="all")["high"] < 0
    assert value(frame, "frechet_multiple", encoder="pixels")["low"] > 1.5
    assert value(frame, "near_copy_share", encoder="pixels")["value"] == 0


def test_training_images_are_found_to_be_copies(chosen, sets):
    """A generator that returns its training images."""
    copies = real_images(chosen.generator, weights_of(chosen.generator), "trained", 40)
    found, rows = near(chosen, sets, copies)
    assert value(rows, "near_copy_share")["value"] == 1 and value(rows, "near_copy_share", FRESH_REAL)["value"] < 0.2
    assert value(rows, "trained_nearer_share")["value"] == 1
    assert value(rows, "trained_nearer_share_difference")["low"] > 0
    distances, index = found["trained"]["samples"]
    assert torch.equal(index, torch.arange(40)) and not distances.any()


def test_real_images_reach_the_baseline(chosen, get, sets):
    """A perfect generator: other real images of the same classes."""
    others = real_images_of(chosen.generator).unseen
    fresh = set(sets["fresh"].source_index.tolist())
    free = [[i for i in (others.labels == c).nonzero().flatten().tolist() if int(others.source_index[i]) not in fresh] for c in range(10)]
    own = others.subset([free[int(c)].pop() for c in sets["reference"].labels])
    distance = value(chapter.distances(sets["reference"], own, sets["fresh"], "pixels", "cpu"), "frechet_multiple")
    assert 0.6 < distance["value"] < 1.6
    judge = get(next(task for task in EXPERIMENT.tasks(chosen) if task.function is trained))
    agreed = value(chapter.agreements(judge, own, sets["reference"]), "judge_agreement_difference", class_name="all")
    assert agreed["low"] < 0 < agreed["high"]


def test_closest_pairs_are_sorted_and_belong_together(chosen, get, sets):
    pairs, distances = chapter.closest_pairs(chosen, get, "pixels", "reference", 6)
    assert pairs.shape == (6, 2, 1, 8, 8) and (distances.diff() >= 0).all()
    difference = (pairs[:, 0].double() - pairs[:, 1].double()).flatten(1).norm(dim=1) / 127.5
    torch.testing.assert_close(difference, distances, rtol=1e-5, atol=1e-5)
    every = torch.cdist(*(images.floats().flatten(1) for images in (sets["reference"], real_images_of(chosen.generator).trained)))
    assert distances[0] == pytest.approx(every.min().item(), rel=1e-5)


@pytest.mark.parametrize(
    "wrong, message",
    [
        (dict(n_samples=5), "two per class"),
        (dict(n_samples=361), "from 20 to 360 .two per class"),
        (dict(encoders=["pixel"]), "encoders must be"),
        (dict(solver="heune"), "solver must be one of heun"),
        (dict(classifier="resnet7"), "classifier must be one of"),
        (dict(n_judge=2000), "n_judge must be from 10 to 837"),
        (dict(n_searched=9), "n_searched and n_samples must leave 10"),
        (dict(seed=-1), "seed"),
        (dict(recipe="one_cycel"), "recipe must be one of"),
        (dict(n_searched=0), "n_searched"),
    ],
)
def test_bad_parameters_are_refused_at_once(small, wrong, message):
    with pytest.raises(ValueError, match=message):
        EXPERIMENT.settings(**{**small, **wrong})


def test_recorded_results_read_as_they_were(frame, tmp_path, monkeypatch):
    monkeypatch.setenv("SYNAUG_RESULTS", str(tmp_path))
    record(frame, "generator_quality", "smoke")
    table = figures.comparison(frame, load_recorded("generator_quality", "smoke"))
    live, stored = (table[table["run"] == run].drop(columns="run").reset_index(drop=True) for run in ("this build", "recorded"))
    assert len(live) == 7 and live.equals(stored)


def test_words_follow_the_numbers(frame):
    changed = frame.copy()
    chosen = (changed["metric"] == "judge_agreement_difference") & (changed["class_name"] == "all")
    for low, high, words in ((0.01, 0.05, "above"), (-0.05, -0.01, "below"), (-0.01, 0.02, "not told apart")):
        changed.loc[chosen, ["low", "high"]] = low, high
        row = figures.comparison(changed, metrics=["judge_agreement"]).iloc[0]
        assert row["samples are"] == words and f"[{signed(100 * low, 1)}, {signed(100 * high, 1)}]" in row["compared"]
    multiple = figures.comparison(frame, metrics=["frechet_distance"]).iloc[1]
    assert multiple["samples are"] == "above" and multiple.iloc[0] == "FD-Pixels to test images"


def test_takeaways_are_those_of_the_recorded_run(frame):
    recorded = load_recorded("generator_quality")
    found = figures.numbers(recorded)
    small = load_recorded("generator_quality", "standard", "fashion_mnist_2000")
    said = figures.takeaways(found, figures.numbers(small))

    def at(metric, **where):
        return value(recorded, metric, **where)

    agreed, real = (at("judge_agreement", class_name="all", arm=arm)["value"] for arm in (SAMPLES, FRESH_REAL))
    assert f"{100 * agreed:.1f}" in said and f"{100 * real:.1f}" in said
    difference = at("judge_agreement_difference", class_name="all")
    assert difference["low"] < 0 < difference["high"]  # "samples show the class"
    features, pixels = (at("frechet_multiple", encoder=encoder) for encoder in ("efficientnet_lite0", "pixels"))
    assert features["low"] > 1 and features["low"] > pixels["high"]  # "still differ", and pixels see little of it
    assert f"{features['value']:.2f} [{features['low']:.2f}, {features['high']:.2f}] times" in said
    assert features["n"] == pixels["n"] == 2000 and "2,000 images in each set" in said
    for encoder in ("efficientnet_lite0", "pixels"):  # "no copying was found"
        assert at("trained_nearer_share_difference", encoder=encoder)["low"] < 0
        assert at("near_copy_share_difference", encoder=encoder)["high"] < 0
    leans = {encoder: value(small, "trained_nearer_share_difference", encoder=encoder) for encoder in ("efficientnet_lite0", "pixels")}
    assert leans["efficientnet_lite0"]["low"] < 0 < leans["pixels"]["low"] and f"{100 * leans['pixels']['value']:+.1f} [" in said
    assert found[figures.EXTREME] == "Shirt" and found[figures.EXTREME_MORE].startswith("+12.0")
    table = side_by_side(figures.numbers, frame, recorded).set_index("")
    assert table.loc[figures.AGREES, "recorded"] == found[figures.AGREES] and (table["this build"] != "").all()
    assert (side_by_side(figures.numbers, frame)["recorded"] == "").all()


def test_each_generator_has_its_row():
    table = figures.generators_table(["fashion_mnist", "cifar10_5000", "fashion_mnist_2000"]).set_index("generator")
    assert table.loc["fashion_mnist", ["images seen (millions)", "held-out loss"]].tolist() == ["1.72", "0.167"]
    assert table.loc["cifar10_5000", "training images"] == "5,000 of cifar10"


def test_figures_show_what_was_measured(sets, frame):
    sheet = figures.sample_sheet(sets["samples"], sets["reference"], per_class=2)
    picture = sheet.axes[0].images[0].get_array()
    second_of_class_3 = sets["samples"].images[sets["samples"].labels == 3][1, 0].numpy()
    assert np.array_equal(picture[30:38, 10:18, 0], second_of_class_3)  # 8 pixels and a gap of 2
    assert [label.get_text() for label in sheet.axes[0].get_yticklabels()] == list("0123456789")
    assert figures.agreement(None, frame).axes[0].get_yticklabels()


@pytest.mark.parametrize("family", ["vae", "gan"])
def test_other_families_are_measured_too(family, get):
    """Their samples are from noise, of the classes of the reference."""
    name = f"fashion_mnist_2000_{family}"
    sets = chapter.sets(EXPERIMENT.settings(profile="smoke", generator=name, n_samples=20))
    samples, reference = get(sets["samples"]), get(sets["reference"])
    made = fastest(load_generator(name), "cpu").reconstruct(reference.floats(), reference.labels, 1.0, 0, source_index=reference.source_index)
    assert torch.equal(samples.labels, reference.labels) and torch.equal(samples.images, to_bytes(made.images))
