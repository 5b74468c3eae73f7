"""Last layers fitted anew, against the condition of their optimum."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from synaug.classifiers import build_classifier, predict
from synaug.classifiers.last_layer import refit_last_layer


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


@pytest.mark.parametrize("change, message", [
    ({"labels": torch.zeros(90, dtype=torch.int64)}, "none of class 1"), ({"strength": 0.0}, "strength must be positive"),
    ({"model": nn.Sequential(nn.Flatten(), nn.Linear(64, 3), nn.ReLU())}, "not what its last linear layer gives"),
    ({"model": nn.Sequential(nn.Conv2d(1, 3, 8), nn.Flatten())}, "no linear layer")])
def test_what_cannot_be_refitted_is_said(change, message):
    images, labels = some(3)
    with pytest.raises(ValueError, match=message):
        refit_last_layer(**{"model": build_classifier("resnet8", (1, 8, 8), 3, seed=0), "images": images, "labels": labels, **change})
