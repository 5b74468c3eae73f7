"""Snapping back to training images, and the network beside the empirical denoiser, on an untrained generator of
digits."""

import numpy as np
import pytest
import torch
from scipy.stats import norm, ttest_rel

from synaug.chapters.tasks import real, usual_denoiser, weights_of
from synaug.chapters.where_concentration_comes_from import empirical_score as chapter
from synaug.chapters.where_concentration_comes_from import empirical_score_figures as figures
from synaug.chapters.where_concentration_comes_from.empirical_score import (
    ARMS,
    BLIND,
    CONDITIONAL,
    EXPERIMENT,
    NETWORK,
    OUTCOMES,
    compare_denoisers,
    compared_rows,
    half_level,
    half_own,
    knowing,
)
from synaug.diffusion.perturbed import ScaledScore
from synaug.diffusion.reconstruction import per_image_noise

UNTRAINED = True
SMALL = dict(n_training=400, n_sources=40, n_compared=60, reverse_steps=(0, 30, 50, 60, 100), stride=10)


@pytest.fixture(scope="module")
def training(chosen, get):
    return get(chapter.training(chosen))


@pytest.fixture(scope="module")
def compared(chosen, get):
    return {split: get(task) for split, task in chapter.compared(chosen).items()}


def of(frame, metric, arm=CONDITIONAL, split="train"):
    rows = frame[(frame["metric"] == metric) & (frame["arm"] == arm) & (frame["split"] == split)]
    return rows.set_index("x")["value"]


def test_sets_are_what_they_are_called(chosen, get, training, compared):
    trained = set(training.source_index.tolist())
    sources = get(chapter.outcome(chosen, BLIND, 0).needs[1])
    assert len(trained) == 400 and len(sources) == 40 and set(sources.source_index.tolist()) <= trained
    assert set(compared["train"].source_index.tolist()) <= trained
    for others in (get(real(chosen, "unseen", 400)), compared["held out"]):
        assert not trained & set(others.source_index.tolist())


class TestOutcomes:
    def test_every_reconstruction_has_one(self, frame):
        for arm in ARMS:
            np.testing.assert_allclose(sum(of(frame, metric, arm) for metric in OUTCOMES), 1)
            assert of(frame, "own_share", arm)[0] == 1

    def test_the_empirical_denoiser_always_ends_on_training_images(self, frame):
        for arm in (CONDITIONAL, BLIND):
            assert (of(frame, "none_share", arm) == 0).all()
            assert of(frame, "own_share", arm)[30] == 1
            assert of(frame, "own_share", arm)[100] < 0.1 < 0.9 < of(frame, "other_share", arm)[100]

    def test_an_untrained_network_does_not(self, frame):
        assert of(frame, "none_share", NETWORK)[100] == 1

    def test_half_level(self, frame):
        assert half_level([1, 0.75, 0.25, 0], [0, 1, 4, 16]) == pytest.approx(2)
        assert half_level([1, 0], [0, 3]) == pytest.approx(1.5)
        assert half_level([1, 1, 0.5], [0, 1, 4]) == pytest.approx(4)
        assert half_level([1, 0.9, 0.6], [0, 1, 4]) is None and half_level([0.2, 0.1], [0, 1]) is None
        shares = [{"own_share": torch.arange(40) < n} for n in (40, 30, 0)]
        (row,) = half_own(*shares, sigmas=[0.0, 1.0, 4.0]).itertuples()
        assert row.low <= row.value <= row.high and row.value == pytest.approx(4 ** (1 / 3)) and row.n == 40
        assert half_own(*shares[:1] * 3, sigmas=[0.0, 1.0, 4.0]).empty
        assert set(frame["arm"][frame["metric"] == "half_own"]) >= {CONDITIONAL, BLIND}


class TestDifferences:
    def test_agree_with_the_formulas(self, chosen, training, compared):
        sigma, images = 1.3, compared["train"]
        network = usual_denoiser(chosen.generator, weights_of(chosen.generator))
        found = compare_denoisers(network, training, images, sigma, 0, known=True)
        noisy = images.floats() + sigma * per_image_noise(images.floats().shape, 0, images.source_index)
        # In its own order, dense.
        known = training.floats().flatten(1).double()
        apart = torch.cdist(noisy.flatten(1).double(), known).square()
        apart[images.labels[:, None] != training.labels] = torch.inf
        weights = (-apart / (2 * sigma**2)).softmax(1)
        error = (weights @ known - images.floats().flatten(1)).square().mean(1)
        np.testing.assert_allclose(found["empirical_error"], error, rtol=1e-4, atol=1e-8)
        own = weights[images.source_index[:, None] == training.source_index]
        np.testing.assert_allclose(found["own_weight"], own, rtol=1e-4, atol=1e-8)
        with torch.inference_mode():
            estimate = network(noisy, sigma, images.labels)
        difference = (estimate.flatten(1) - weights @ known).square().mean(1)
        np.testing.assert_allclose(found["network_to_empirical"], difference, rtol=2e-2)  # bfloat16 where it is fast

    def test_the_empirical_denoiser_is_best_on_its_own_images_only(self, frame):
        """It has the least possible error there; on held-out images a mere copy of a training image errs more."""
        assert (of(frame, "empirical_error") < of(frame, "network_error")).all()
        assert of(frame, "empirical_error")[30] < 1e-6 < 0.01 < of(frame, "empirical_error", split="held out")[30]
        weights = of(frame, "own_weight")
        assert (weights.diff().dropna() < 0).all() and weights[30] > 0.999 and weights[100] < 0.05

    def test_a_network_that_knows_the_images_by_heart_differs_nowhere(self, training, compared):
        for split, images in compared.items():
            found = compare_denoisers(knowing(training), training, images, 0.9, 0, split == "train")
            assert (found["network_to_empirical"] == 0).all()

    def test_the_errors_are_compared_image_by_image(self, chosen, frame, training, compared):
        network = usual_denoiser(chosen.generator, weights_of(chosen.generator))
        sigma = chapter.sigma_of_reverse_step(50, 100)
        found = compare_denoisers(network, training, compared["held out"], sigma, 0, known=False)
        expected = ttest_rel(found["network_error"], found["empirical_error"])
        rows = frame[(frame["metric"] == "error_difference") & (frame["split"] == "held out")].set_index("x")
        assert rows.loc[50, "p_value"] == pytest.approx(expected.pvalue)
        assert tuple(rows.loc[50, ["low", "high"]]) == pytest.approx(tuple(expected.confidence_interval(0.95)))
        assert frame[frame["metric"] != "error_difference"]["p_value"].isna().all()


class TestCalibration:
    """Of other denoisers in place of the network, on training images noised to 1.3."""

    @pytest.fixture
    def rows(self, training, compared):
        return lambda denoiser: compared_rows(compare_denoisers(denoiser, training, compared["train"], 1.3, 0, True)).set_index("metric")

    def test_the_optimal_denoiser_is_calibrated_on_its_own_images(self, training, rows):
        """On all its training images, of which 60 are looked at: the intervals hold 1."""
        found = rows(knowing(training)).loc[["score_factor", "detail_slope"]]
        assert (found["low"] < 1).all() and (1 < found["high"]).all() and (found["high"] - found["low"] < 0.6).all()

    @pytest.mark.parametrize("factor", [0.9, 1.05])
    def test_a_score_too_strong_by_a_factor_is_found_so(self, training, rows, factor):
        exact = rows(knowing(training)).loc["score_factor", "value"]
        scaled = rows(ScaledScore(knowing(training), factor)).loc["score_factor", "value"]
        assert scaled == pytest.approx(factor * exact, rel=1e-4)

    def test_details_drawn_too_strongly_have_a_slope_below_one(self, training, rows):
        means, empirical = chapter.class_means(training)[0], knowing(training)

        def exaggerated(x, sigma, labels):
            return means[labels] + 1.25 * (empirical(x, sigma, labels) - means[labels])

        exact, strong = (rows(denoiser).loc["detail_slope", "value"] for denoiser in (empirical, exaggerated))
        assert strong == pytest.approx(exact / 1.25, rel=1e-4)


def test_distance_to_the_class_mean(frame, training):
    """Of the sources it is that of their class; the exact process keeps it: of 40 reconstructions, each a training
    image, the interval (about +-0.06 wide) holds 1."""
    found = chapter.outcomes(training, training, torch.ones(5), CONDITIONAL, 0, 10, 0)["centre_distance"]
    for c in range(10):
        assert found[training.labels == c].mean() == pytest.approx(1, abs=1e-5)
    rows = frame[frame["metric"] == "centre_distance"].set_index(["arm", "x"])
    row = rows.loc[CONDITIONAL, 100]
    assert row["low"] < 1 < row["high"] and row["high"] - row["low"] < 0.2 and BLIND not in rows.index.levels[0]


def test_training_shares_are_those_of_the_log_normal(chosen, frame):
    sigma_data = usual_denoiser(chosen.generator, weights_of(chosen.generator)).sigma_data
    for row in frame[frame["metric"] == "training_share"].itertuples():
        assert row.value == pytest.approx(norm.sf(np.log(row.sigma / sigma_data * 0.5), -1.2, 1.2), abs=0.002)


@pytest.mark.parametrize(
    "wrong, message",
    [
        (dict(n_training=601), "n_training must be from 10 to 600"),
        (dict(n_sources=401), "n_sources must be from 10 to 400"),
        (dict(n_sources=1), "n_sources must be a whole"),
        (dict(seed=-1), "seed"),
        (dict(reverse_steps=(30, 50)), "from 0"),
        (dict(reverse_steps=(0, 101)), "at most 100"),
        (dict(reverse_steps=0), "from 0"),
        (dict(stride=0), "stride"),
    ],
)
def test_bad_parameters_are_refused_at_once(small, wrong, message):
    with pytest.raises(ValueError, match=message):
        EXPERIMENT.settings(**{**small, **wrong})


def test_figures_and_tables(frame):
    def drawn(ax):
        return [line.get_xydata()[:, 1].tolist() for line in ax.lines]

    figure = figures.outcomes(frame, frame)
    assert of(frame, "own_share").tolist() in drawn(figure.axes[0])
    assert of(frame, "network_to_empirical", split="held out").tolist() in drawn(figures.differences(frame).axes[1])
    assert of(frame, "score_factor").tolist() in drawn(figures.calibration(frame).axes[2])
    assert of(frame, "centre_distance").tolist() in drawn(figures.centre_distances(frame, frame).axes[0])
    table = figures.half_own_table(frame).set_index("denoiser")
    assert table.loc[BLIND, "σ"] == of(frame, "half_own", BLIND)[0] and list(table.index) == list(ARMS)
    assert figures.half_own_table(frame[frame["metric"] != "half_own"])["σ"].isna().all()
    rows = frame[(frame["metric"] == "error_difference") & (frame["split"] == "held out")].sort_values("x")
    expected = [f"{row.value:+.4f} [{row.low:+.4f}, {row.high:+.4f}]" for row in rows.itertuples()]
    assert figures.error_table(frame)["difference"].tolist() == expected
