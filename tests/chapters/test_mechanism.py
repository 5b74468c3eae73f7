"""Chapter 3's last section: what its experiment refuses, that its sets are the trained ones, its claims and figures."""

import numpy as np
import pandas as pd
import pytest
import torch

from synaug.augmentation import original
from synaug.chapters.tasks import real
from synaug.chapters.two_layer_cnn import mechanism
from synaug.chapters.two_layer_cnn import mechanism_figures as figures
from synaug.chapters.two_layer_cnn.mechanism import EXPERIMENT, RELATIVE, STAGES, Members
from synaug.classifiers import build_classifier
from synaug.classifiers.gradients import mean_gradient
from synaug.statistics.claims import load_claims, verdict_table
from synaug.statistics.contrasts import select
from synaug.theory.gradient_statistics import gradient_products

SMALL = dict(ks=[2, 5])


@pytest.fixture(scope="module")
def made(chosen, get):
    """The training images, the selection, and the pool of generated ones."""
    return get(real(chosen, "trained", chosen.n_images)), get(mechanism.selection(chosen)), get(mechanism.pool(chosen, 1.0))


@pytest.mark.parametrize(
    "parameters, message",
    [
        ({"n_images": 100}, "n_images must be a whole number of at least 128 .*got 100"),
        ({"n_images": 3000}, "n_images must be from 10 to 2000 .*, got 3000"),
        ({"n_images": 2000}, "classifier_steps must be at least 47, .* of a warm-up, got 10"),
        ({"n_evaluate": 20_000}, "n_evaluate must be from 10 to 10000"),
        ({"n_evaluate": 9}, "n_evaluate must be from 10"),
        ({"seeds": 1}, "seeds must be a whole number of at least 2 .*got 1"),
        ({"ks": [1, 2]}, "ks must be"),
        ({"stages": "soon"}, "stages must be .* early, middle, late, got 'soon'"),
        ({"sigma": 2.0}, r"sigma = 2 among them, got \(1.0,\)"),
        ({"sigmas": [1.0, -1.0]}, "sigmas must be positive"),
        ({"recipe": "slow"}, "recipe must be one of .*'slow'"),
        ({"augment": "flip_trivial"}, "augment must be one of none, flip, flip_crop, got 'flip_trivial'"),
        ({"classifier": "resnet0"}, "classifier must be one of"),
        ({"device": "cuda"}, "device must be one of cpu"),
    ],
)
def test_settings_that_could_not_be_measured_are_refused_at_once(parameters, message):
    with pytest.raises(ValueError, match=message):
        EXPERIMENT.settings("smoke", **parameters)


def test_an_absent_generator_is_an_error():
    with pytest.raises(FileNotFoundError, match="nobody"):
        EXPERIMENT.settings("smoke", generator="nobody")


def test_frame_is_complete(frame):
    assert np.isfinite(frame["value"]).all() and frame["metric"].nunique() == 20 and set(RELATIVE) < set(frame["metric"])
    assert not frame.duplicated(["part", "weights", "arm", "sigma", "stage", "step", "x", "metric", "seed"]).any()
    base = select(frame, arm="original", metric=list(RELATIVE))
    assert (base["value"] == 1).all() and base.groupby(["seed", "stage"]).size().eq(7).all()
    # Each network's batches, and the gradients of the largest k, are looked at in its own training, too.
    own = select(frame, part="consequences", weights="own", metric="set_share")
    assert set(own["arm"]) == {"upsampled", "generated"} and set(own["x"]) == {5.0}


def test_own_alignment_of_copies_is_known(frame):
    """k copies of a slow image, of N' = (alpha + k (1 - alpha)) N: k / (alpha + k (1 - alpha)) of the original's."""
    slow = select(frame, metric="slow_fraction")["value"].item()
    rows = select(frame, metric="noise_align_own", weights="original", arm="upsampled")
    np.testing.assert_allclose(rows["value"], rows["x"] / (1 - slow + rows["x"] * slow), rtol=1e-6)


@pytest.mark.parametrize("arm, k", [("original", 1), ("upsampled", 5), ("generated", 2), ("generated", 5)])
def test_weighted_members_are_the_training_set(made, arm, k):
    """The full gradient from weights of members is that of the images that are trained on."""
    data, selection, pool = made
    model = build_classifier("resnet8", data.image_shape, data.num_classes, seed=0).eval()
    members = Members(data, selection["sources"], [pool])
    products = gradient_products(model, members.images, members.labels, members.source, members.group)
    weights, size = members.weights(arm, k, 1.0)
    trained = mechanism.training_set(arm, k, data, selection, pool)
    assert size == len(trained)
    whole = mean_gradient(model, trained.data.images, trained.data.labels)
    square = (weights * products.speed(weights)).sum().item()
    assert square == pytest.approx(whole.double().square().sum().item(), rel=1e-4)


def test_settled_statistics_are_those_of_the_set(made):
    data = made[0].subset(range(128))
    model = build_classifier("resnet8", data.image_shape, data.num_classes, seed=0)
    settled = mechanism.settled(model, original(data))
    features = model.stem[0](data.floats())
    torch.testing.assert_close(settled.stem[1].running_mean, features.mean((0, 2, 3)), rtol=1e-4, atol=1e-5)
    assert not settled.training and model.training and (model.stem[1].running_mean == 0).all()


def test_every_contrast_of_every_claim_is_measured(frame):
    later = [select(frame, step=1).assign(stage=stage) for stage in STAGES if stage != "early"]
    table = verdict_table(pd.concat([frame, *(rows[rows["part"] != "learning"] for rows in later)]))
    assert list(table["id"]) == list(load_claims("mechanism"))
    # With two networks nothing is decided, for want of seeds and of nothing else.
    assert table["evidence"].str.split("; ").explode().str.match("2 paired seeds for .*, at least 5 needed").all()


@pytest.mark.parametrize("draw", [figures.premises, figures.consequences, figures.learning])
def test_figures_are_labelled(frame, draw):
    figure = draw(frame, frame)
    assert all(ax.get_xlabel() and ax.get_ylabel() and ax.has_data() for ax in figure.axes) and draw(frame).axes
    assert {"recorded", "this build"} <= {text.get_text() for text in figure.legends[0].get_texts()}
