"""Snapping back to training images, and the network beside the empirical denoiser, on an untrained generator of
digits."""

import json
from dataclasses import asdict

import numpy as np
import pytest
import torch

from synaug.data import load_dataset, stratified_subset
from synaug.denoisers import new_denoiser
from synaug.empirical_denoiser import EmpiricalDenoiser
from synaug.experiments import empirical_score as experiment
from synaug.experiments.empirical_score import (ARMS, BLIND, CONDITIONAL, NETWORK, OUTCOMES, half_level, half_own_rows,
                                                prepare, run)
from synaug.figures import empirical_score as figures
from synaug.generator_recipe import Recipe
from synaug.generator_trainer import RECORD

SMALL = dict(n_training=400, n_sources=40, n_compared=60, reverse_steps=(0, 30, 50, 60, 100), stride=10)


@pytest.fixture(scope="module")
def generator(tmp_path_factory):
    """A checkpoint whose record says that 600 digits are its training images; its weights are as drawn."""
    folder = tmp_path_factory.mktemp("generator")
    recipe = Recipe(dataset="digits", subset_size=600)
    images = stratified_subset(load_dataset("digits"), recipe.subset_size, recipe.subset_seed)
    new_denoiser(images, channels=(32, 32)).save(folder)
    (folder / RECORD).write_text(json.dumps({"recipe": asdict(recipe), "images_seen": 0}))
    return str(folder)


@pytest.fixture(scope="module")
def memory(generator):
    return prepare("smoke", generator=generator, **SMALL)[0]


@pytest.fixture(scope="module")
def frame(generator):
    return run(profile="smoke", generator=generator, **SMALL)


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
        found = memory.squared_differences("train", sigma, seed=0)
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

    def test_a_network_that_knows_the_images_by_heart_differs_nowhere(self, generator):
        memory = prepare("smoke", generator=generator, **SMALL)[0]
        memory.network = EmpiricalDenoiser(memory.training.floats(), memory.training.labels)
        memory.network.precision = torch.float32
        for split in memory.compared:
            assert (memory.squared_differences(split, 0.9, 0)["network_to_empirical"] == 0).all()


def test_a_second_run_resumes(generator, frame, monkeypatch):
    monkeypatch.setattr(experiment, "reconstruct", lambda *a, **k: pytest.fail("computed again"))
    monkeypatch.setattr(EmpiricalDenoiser, "__call__", lambda *a, **k: pytest.fail("computed again"))
    assert run(profile="smoke", generator=generator, **SMALL).equals(frame)


@pytest.mark.parametrize("wrong, message", [
    (dict(n_training=601), "stratified subset"), (dict(n_sources=401), "stratified subset"),
    (dict(n_sources=1), "n_sources must be a whole number of at least 2"), (dict(n_compared=2.5), "n_compared"),
    (dict(seed=-1), "seed"), (dict(reverse_steps=(30, 50)), "from 0"), (dict(reverse_steps=(0, 101)), r"0\.\.100"),
    (dict(stride=0), "stride"), (dict(dataset="fashion_mnist"), "was trained on digits"),
    (dict(profile="fast"), "profile is 'fast'"),
])
def test_bad_parameters_are_refused_before_anything_runs(generator, wrong, message, monkeypatch):
    monkeypatch.setattr(experiment, "reconstruct", lambda *a, **k: pytest.fail("started"))
    with pytest.raises(ValueError, match=message):
        prepare(**{"profile": "smoke", "generator": generator, **SMALL, **wrong})


def test_figures(frame):
    figure = figures.outcomes(frame, frame)
    line = next(line for line in figure.axes[0].lines if "own source" in str(line.get_label()))
    np.testing.assert_allclose(line.get_ydata(), of(frame, "own_share"))
    line = figures.differences(frame).axes[1].lines[0]
    np.testing.assert_allclose(line.get_ydata(), of(frame, "network_to_empirical", split="held out"))
    for drawn in (figure, figures.outcomes(frame), figures.differences(frame, frame)):
        drawn.draw_without_rendering()
        assert all(ax.get_xlabel() for ax in drawn.axes)
