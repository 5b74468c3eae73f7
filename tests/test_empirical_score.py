"""Snapping back to training images, and the network beside the empirical denoiser, on an untrained generator of
digits."""

import copy
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import norm, ttest_rel

from synaug.diffusion.empirical import EmpiricalDenoiser
from synaug.experiments import empirical_score as experiment
from synaug.experiments.empirical_score import ARMS, BLIND, CONDITIONAL, NETWORK, OUTCOMES, prepare, run
from synaug.experiments.empirical_score_rows import calibration_rows, half_level, half_own_rows
from synaug.figures import empirical_score as figures
from synaug.diffusion.perturbed import ScaledScore
from synaug.statistics import holm

SMALL = dict(n_training=400, n_sources=40, n_compared=60, reverse_steps=(0, 30, 50, 60, 100), stride=10)


@pytest.fixture(scope="module")
def memory(untrained_generator):
    return prepare("smoke", generator=untrained_generator, **SMALL)[0]


@pytest.fixture(scope="module")
def frame(untrained_generator):
    return run(profile="smoke", generator=untrained_generator, **SMALL)


def of(frame, metric, arm=CONDITIONAL, split="train"):
    rows = frame[(frame["metric"] == metric) & (frame["arm"] == arm) & (frame["split"] == split)]
    return rows.set_index("x")["value"]


def test_sets_are_what_they_are_called(memory):
    trained = set(memory.training.source_index.tolist())
    assert len(trained) == 400 and set(memory.sources.source_index.tolist()) <= trained
    assert set(memory.compared["train"].source_index.tolist()) <= trained
    for others in (memory.fresh, memory.compared["held out"]):
        assert not trained & set(others.source_index.tolist())


class TestOutcomes:
    def test_every_reconstruction_has_one(self, memory, frame):
        for arm in ARMS:
            total = sum(of(frame, metric, arm) for metric in OUTCOMES)
            np.testing.assert_allclose(total, 1)
            assert of(frame, "own_share", arm)[0] == 1

    def test_the_empirical_denoiser_always_ends_on_training_images(self, frame):
        for arm in (CONDITIONAL, BLIND):
            assert (of(frame, "none_share", arm) == 0).all()
            assert of(frame, "own_share", arm)[30] == 1
            assert of(frame, "own_share", arm)[100] < 0.1 < 0.9 < of(frame, "other_share", arm)[100]

    def test_an_untrained_network_does_not(self, frame):
        assert of(frame, "none_share", NETWORK)[100] == 1

    def test_half_level(self):
        assert half_level([1, 0.75, 0.25, 0], [0, 1, 4, 16]) == pytest.approx(2)
        assert half_level([1, 0], [0, 3]) == pytest.approx(1.5)
        assert half_level([1, 1, 0.5], [0, 1, 4]) == pytest.approx(4)
        assert half_level([1, 0.9, 0.6], [0, 1, 4]) is None and half_level([0.2, 0.1], [0, 1]) is None

    def test_half_own_rows(self, frame):
        own = np.array([[1] * 40, [1] * 30 + [0] * 10, [0] * 40], dtype=bool)
        (row,) = half_own_rows("some", own, [0.0, 1.0, 4.0])
        assert row["low"] <= row["value"] <= row["high"] and row["value"] == pytest.approx(4 ** (1 / 3))
        assert half_own_rows("some", np.ones((3, 40), bool), [0.0, 1.0, 4.0]) == []
        assert set(frame["arm"][frame["metric"] == "half_own"]) >= {CONDITIONAL, BLIND}


class TestDifferences:
    def test_agree_with_the_formulas(self, memory):
        sigma, images = 1.3, memory.compared["train"]
        found = memory.differences("train", sigma, seed=0)
        noise = experiment.per_image_noise(images.floats().shape, 0, images.source_index)
        noisy = images.floats() + sigma * noise
        # In its own order, dense.
        apart = torch.cdist(noisy.flatten(1).double(), memory.training.floats().flatten(1).double()).square()
        apart[images.labels[:, None] != memory.training.labels] = torch.inf
        weights = (-apart / (2 * sigma**2)).softmax(1)
        estimate = weights @ memory.training.floats().flatten(1).double()
        error = (estimate - images.floats().flatten(1)).square().mean(1)
        np.testing.assert_allclose(found["empirical_error"], error, rtol=1e-4, atol=1e-8)
        own = weights[images.source_index[:, None] == memory.training.source_index]
        np.testing.assert_allclose(found["own_weight"], own, rtol=1e-4, atol=1e-8)
        with torch.inference_mode():
            network = memory.network(noisy, sigma, images.labels)
        difference = (network.flatten(1) - estimate).square().mean(1)
        np.testing.assert_allclose(found["network_to_empirical"], difference, rtol=2e-2)  # bfloat16 where it is fast

    def test_the_empirical_denoiser_is_best_on_its_own_images_only(self, frame):
        """It has the least possible error there; on held-out images a mere copy of a training image errs more."""
        assert (of(frame, "empirical_error") < of(frame, "network_error")).all()
        assert of(frame, "empirical_error")[30] < 1e-6 < 0.01 < of(frame, "empirical_error", split="held out")[30]
        weights = of(frame, "own_weight")
        assert (weights.diff().dropna() < 0).all() and weights[30] > 0.999 and weights[100] < 0.05

    def test_a_network_that_knows_the_images_by_heart_differs_nowhere(self, untrained_generator):
        memory = prepare("smoke", generator=untrained_generator, **SMALL)[0]
        memory.network = EmpiricalDenoiser(memory.training.floats(), memory.training.labels)
        memory.network.precision = torch.float32
        for split in memory.compared:
            assert (memory.differences(split, 0.9, 0)["network_to_empirical"] == 0).all()


    def test_the_errors_are_compared_image_by_image(self, memory, frame):
        found = memory.differences("held out", experiment.sigma_of_reverse_step(50, 100), seed=0)
        expected = ttest_rel(found["network_error"], found["empirical_error"])
        rows = frame[(frame["metric"] == "error_difference") & (frame["split"] == "held out")].set_index("x")
        row = rows.loc[50]
        assert row["p_value"] == pytest.approx(expected.pvalue)
        assert (row["low"], row["high"]) == pytest.approx(tuple(expected.confidence_interval(0.95)))
        assert frame[frame["metric"] != "error_difference"]["p_value"].isna().all()


class TestCalibration:
    @pytest.fixture
    def rows(self, memory):
        """Calibration of another denoiser in place of the network, on training images noised to 1.3."""
        def measured(denoiser):
            other = copy.copy(memory)
            other.network = lambda *arguments: denoiser(*arguments)
            other.network.precision = torch.float32
            other.cache = SimpleNamespace(get_or_run=lambda params, run: run())
            return {row["metric"]: row for row in calibration_rows(other.differences("train", 1.3, 0))}

        memory.generator  # its hash cannot be taken of a function
        return measured

    def test_the_optimal_denoiser_is_calibrated_on_its_own_images(self, memory, rows):
        """On all its training images, of which 60 are looked at: the intervals hold 1."""
        for row in rows(memory.empirical).values():
            assert row["low"] < 1 < row["high"] and row["high"] - row["low"] < 0.6

    @pytest.mark.parametrize("factor", [0.9, 1.05])
    def test_a_score_too_strong_by_a_factor_is_found_so(self, memory, rows, factor):
        exact = rows(memory.empirical)["score_factor"]["value"]
        scaled = rows(ScaledScore(memory.empirical, factor))["score_factor"]["value"]
        assert scaled == pytest.approx(factor * exact, rel=1e-4)

    def test_details_drawn_too_strongly_have_a_slope_below_one(self, memory, rows):
        means = memory.centres[0]

        def exaggerated(x, sigma, labels):
            return means[labels] + 1.25 * (memory.empirical(x, sigma, labels) - means[labels])

        exact, strong = (rows(network)["detail_slope"]["value"]
                         for network in (memory.empirical, exaggerated))
        assert strong == pytest.approx(exact / 1.25, rel=1e-4)


class TestCentreDistance:
    def test_of_the_sources_it_is_that_of_their_class(self, memory):
        everyone = copy.copy(memory)
        everyone.sources = memory.training
        distances = everyone.outcomes(CONDITIONAL, 0, 10, 0)["centre_distance"]
        for c in range(10):
            assert distances[memory.training.labels == c].mean() == pytest.approx(1, abs=1e-5)

    def test_the_exact_process_keeps_it(self, frame):
        """Of 40 reconstructions, each a training image: the interval (about +-0.06 wide) holds 1."""
        row = frame[(frame["metric"] == "centre_distance") & (frame["arm"] == CONDITIONAL)].set_index("x").loc[100]
        assert row["low"] < 1 < row["high"] and row["high"] - row["low"] < 0.2
        assert BLIND not in set(frame["arm"][frame["metric"] == "centre_distance"])


def test_training_shares_are_those_of_the_log_normal(memory, frame):
    shares = frame[frame["metric"] == "training_share"].set_index("x")
    for x, row in shares.iterrows():
        expected = norm.sf(np.log(row["sigma"] / memory.network.sigma_data * 0.5), -1.2, 1.2)
        assert row["value"] == pytest.approx(expected, abs=0.002)


def test_a_second_run_resumes(untrained_generator, frame, monkeypatch):
    monkeypatch.setattr(experiment, "reconstruct", lambda *a, **k: pytest.fail("computed again"))
    monkeypatch.setattr(EmpiricalDenoiser, "__call__", lambda *a, **k: pytest.fail("computed again"))
    assert run(profile="smoke", generator=untrained_generator, **SMALL).equals(frame)


@pytest.mark.parametrize("wrong, message", [
    (dict(n_training=601), "stratified subset"), (dict(n_sources=401), "stratified subset"),
    (dict(n_sources=1), "n_sources must be a whole number of at least 2"), (dict(n_compared=2.5), "n_compared"),
    (dict(seed=-1), "seed"), (dict(reverse_steps=(30, 50)), "from 0"), (dict(reverse_steps=(0, 101)), r"0\.\.100"),
    (dict(stride=0), "stride"), (dict(dataset="fashion_mnist"), "was trained on digits"),
    (dict(profile="fast"), "profile is 'fast'"),
])
def test_bad_parameters_are_refused_before_anything_runs(untrained_generator, wrong, message, monkeypatch):
    monkeypatch.setattr(experiment, "reconstruct", lambda *a, **k: pytest.fail("started"))
    with pytest.raises(ValueError, match=message):
        prepare(**{"profile": "smoke", "generator": untrained_generator, **SMALL, **wrong})


def test_figures(frame):
    figure = figures.outcomes(frame, frame)
    line = next(line for line in figure.axes[0].lines if "own source" in str(line.get_label()))
    np.testing.assert_allclose(line.get_ydata(), of(frame, "own_share"))
    line = figures.differences(frame).axes[1].lines[0]
    np.testing.assert_allclose(line.get_ydata(), of(frame, "network_to_empirical", split="held out"))
    score = figures.calibration(frame).axes[2].lines[0]
    np.testing.assert_allclose(score.get_ydata(), 100 * (of(frame, "score_factor") - 1))
    line = figures.centre_distances(frame).axes[0].lines[0]
    np.testing.assert_allclose(line.get_ydata(), of(frame, "centre_distance"))
    for drawn in (figure, figures.outcomes(frame), figures.differences(frame, frame),
                  figures.calibration(frame, frame), figures.centre_distances(frame, frame)):
        drawn.draw_without_rendering()
        assert all(ax.get_xlabel() for ax in drawn.axes)


def test_where_half_come_back_in_words():
    row = {"metric": "half_own", "arm": BLIND, "x": 0, "sigma": 2.5, "value": 2.5, "low": 2.25, "high": 2.75}
    assert figures.half_own_in_words(pd.DataFrame([row])).splitlines() == [
        f"- {CONDITIONAL}: at no level that was taken", f"- {BLIND}: σ = 2.50 [2.25, 2.75]",
        f"- {NETWORK}: at no level that was taken"]


def test_error_table_says_who_errs_less(frame):
    table = figures.error_table(frame)
    rows = frame[(frame["metric"] == "error_difference") & (frame["split"] == "held out")].sort_values("x")
    adjusted = holm(rows["p_value"])
    assert table["p (Holm)"].tolist() == [f"{p:.2g}" if p >= 1e-9 else "below 1e-09" for p in adjusted]
    expected = ["not told apart" if p >= 0.05 else "network" if value < 0 else "empirical denoiser"
                for p, value in zip(adjusted, rows["value"])]
    assert table["errs less"].tolist() == expected and len(set(expected)) > 1
