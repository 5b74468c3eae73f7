"""Last layers fitted anew, against the condition of their optimum."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.mixture import GaussianMixture
from threadpoolctl import threadpool_info, threadpool_limits
from torch import nn
from torch.nn import functional as F

from synaug.classifiers import build_classifier, predict
from synaug.classifiers.last_layer import fit_linear, refit_last_layer
from synaug.generators import VAE


def some(classes, n=90):
    generator = torch.Generator().manual_seed(0)
    return torch.rand(n, 1, 8, 8, generator=generator) * 2 - 1, torch.arange(n) % classes


@pytest.mark.parametrize("name, classes", [("resnet8", 3), ("vit_tiny", 3), ("resnet8", 2)])
def test_the_new_layer_is_optimal_and_all_else_stays(name, classes):
    images, labels = some(classes)
    model = build_classifier(name, (1, 8, 8), classes, seed=0).eval()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    fitted = refit_last_layer(model, images, labels, strength=0.01)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert {key for key, value in fitted.state_dict().items() if not torch.equal(value, before[key])} == {"head.weight", "head.bias"}
    loss = F.cross_entropy(fitted(images), labels) + 0.005 * fitted.head.weight.square().sum()
    for gradient in torch.autograd.grad(loss, [fitted.head.weight, fitted.head.bias]):
        assert gradient.abs().max() < 1e-4


def test_a_head_of_noise_is_repaired():
    images, labels = some(2, 200)
    images[labels == 1] += 0.5
    images = images.clamp(-1, 1)
    model = build_classifier("vgg5", (1, 8, 8), 2, seed=0).eval()
    right = (predict(refit_last_layer(model, images, labels), images).argmax(1) == labels).double().mean()
    assert right > 0.95


@pytest.mark.parametrize(
    "change, message",
    [
        ({"labels": torch.zeros(90, dtype=torch.int64)}, "none of class 1"),
        ({"strength": 0.0}, "strength must be a finite number of more than 0"),
        ({"model": nn.Sequential(nn.Flatten(), nn.Linear(64, 3), nn.ReLU())}, "not what its last linear layer gives"),
        ({"model": nn.Sequential(nn.Conv2d(1, 3, 8), nn.Flatten())}, "no linear layer"),
    ],
)
def test_what_cannot_be_refitted_is_said(change, message):
    images, labels = some(3)
    with pytest.raises(ValueError, match=message):
        refit_last_layer(**{"model": build_classifier("resnet8", (1, 8, 8), 3, seed=0), "images": images, "labels": labels, **change})


@pytest.mark.parametrize(
    "estimator, fit",
    [
        (LogisticRegression, lambda: fit_linear(np.eye(6), np.arange(6) % 2, 0.1)),
        (GaussianMixture, lambda: VAE((1, 8, 8), ("a", "b"), (16,), 2, seed=0).fit(torch.zeros(20, 1, 8, 8, dtype=torch.uint8), some(2, 20)[1])),
    ],
)
def test_fits_of_many_small_products_share_none_among_threads(monkeypatch, estimator, fit):
    """With two threads of BLAS beside torch's, an audit took eight times as long as with one."""
    fitted, seen = estimator.fit, []

    def watched(self, *data):
        seen.append({pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"})
        return fitted(self, *data)

    monkeypatch.setattr(estimator, "fit", watched)
    with threadpool_limits(2, user_api="blas"):
        fit()
    assert seen and all(threads == {1} for threads in seen)
