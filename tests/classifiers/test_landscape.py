"""Sharpness against closed forms, those of logistic regression, and autograd."""

import pytest
import torch
from small import resnet
from torch import nn
from torch.nn import functional as F

from synaug.classifiers import build_classifier, landscape, train_classifier
from synaug.classifiers.gradients import per_example_gradients
from synaug.classifiers.landscape import loss_barrier, refreshed, sharpness


@pytest.fixture
def data():
    generator = torch.Generator().manual_seed(0)
    return torch.rand(60, 1, 3, 3, generator=generator) * 2 - 1, torch.arange(60) % 3


def linear(scale=1.0):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(9, 3))
    with torch.no_grad():
        model[1].weight *= scale
    return model


def test_logistic_regression_has_its_known_hessian(data):
    images, labels = data
    model = linear()
    x = torch.cat([images.flatten(1), torch.ones(60, 1)], 1).double()
    p = model(images).softmax(1).double().detach()
    blocks = torch.diag_embed(p) - p[:, :, None] * p[:, None, :]  # the Hessian in the logits, image by image
    hessian = torch.einsum("nij,nk,nl->ikjl", blocks, x, x).reshape(30, 30) / 60
    found = sharpness(model, images, labels, probes=29)
    assert found.largest_eigenvalue == pytest.approx(torch.linalg.eigvalsh(hessian)[-1].item(), rel=0.01)
    assert found.trace == pytest.approx(hessian.trace().item(), rel=0.25)
    gradients = torch.einsum("nj,nk->njk", p - F.one_hot(labels, 3), x).flatten(1)
    assert found.gradient_variance == pytest.approx(gradients.var(0, correction=0).sum().item(), rel=1e-4)
    assert found.loss == pytest.approx(F.cross_entropy(model(images), labels).item(), rel=1e-5)
    assert found == sharpness(model, images, labels, probes=29)


def test_frozen_weights_count_as_all_others_and_stay_frozen(data):
    model, frozen = linear(), linear()
    for parts in ([frozen[1].weight], frozen.parameters()):
        for part in parts:
            part.requires_grad_(False)
        assert sharpness(frozen, *data, probes=2) == sharpness(model, *data, probes=2)
        assert not frozen[1].weight.requires_grad and frozen[1].weight.grad is None


def test_gradients_of_single_images_are_bounded_in_memory(data, monkeypatch):
    """30 parameters and 100 numbers at once: three images of 60."""
    expected, seen = sharpness(linear(), *data, probes=1).gradient_variance, []
    monkeypatch.setattr(landscape, "NUMBERS_AT_ONCE", 100)
    monkeypatch.setattr(landscape, "per_example_gradients", lambda *a: seen.append(gradients := per_example_gradients(*a)) or gradients)
    assert sharpness(linear(), *data, probes=1).gradient_variance == pytest.approx(expected, rel=1e-4)
    assert {len(gradients) for gradients in seen} == {3} and len(seen) == 20


def test_filter_normalised_sharpness_does_not_depend_on_the_scale_of_what_a_norm_follows():
    images, labels = torch.rand(40, 1, 8, 8, generator=torch.Generator().manual_seed(1)) * 2 - 1, torch.arange(40) % 3
    model = build_classifier("vgg5", (1, 8, 8), 3, seed=0, width=4)
    one = sharpness(model, images, labels, probes=3)
    with torch.no_grad():
        for part in model.modules():
            if isinstance(part, nn.Conv2d):
                part.weight *= 3
    other = sharpness(model, images, labels, probes=3)
    assert other.filter_normalised == pytest.approx(one.filter_normalised, rel=0.02) and other.loss == pytest.approx(one.loss, rel=1e-3)
    assert other.trace != pytest.approx(one.trace, rel=0.2)


def test_statistics_are_those_of_the_images():
    images, labels = torch.rand(30, 1, 8, 8) * 2 - 1, torch.arange(30) % 3
    model = resnet(3)
    fresh = refreshed(model, images, labels)
    assert not fresh.training and torch.equal(model.stem[1].running_mean, torch.zeros(4))
    torch.testing.assert_close(fresh.stem[1].running_mean, model.stem[0](images).mean((0, 2, 3)))


def test_the_order_of_images_does_not_matter():
    """Images sorted by a class that shows in their brightness, and mixed, in four parts: within a per cent or so."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(1000) % 4
    shades = torch.linspace(-0.5, 0.5, 4)[labels].view(-1, 1, 1, 1)
    images = (0.3 * torch.randn(1000, 1, 8, 8, generator=generator) + shades).clamp(-1, 1)
    models = [build_classifier("vgg5", (1, 8, 8), 4, seed=seed, width=4) for seed in (0, 1)]
    trained = train_classifier(models[0], images, labels, steps=30, seed=0, augment="none").eval()
    found = []
    for order in (labels.argsort(stable=True), torch.arange(1000)):
        sharp = sharpness(trained, images[order], labels[order], probes=1)
        found.append(
            [
                sharp.loss,
                sharp.largest_eigenvalue,
                sharp.trace,
                sharp.gradient_variance,
                loss_barrier(trained, models[1], images[order], labels[order], points=3),
            ]
        )
    assert found[0] == pytest.approx(found[1], rel=0.05)


def test_the_barrier_of_a_convex_loss_is_none_and_that_of_two_networks_is_one(data):
    images, labels = data
    assert loss_barrier(linear(), linear(-4.0), images, labels) == 0
    models = [build_classifier("vgg5", (1, 8, 8), 3, seed=seed, width=4) for seed in (0, 1)]
    wide = F.interpolate(images, (8, 8))
    assert loss_barrier(models[0], models[0], wide, labels) == pytest.approx(0, abs=1e-5)
    trained = [train_classifier(m, wide, labels, steps=60, seed=0, augment="none").eval() for m in models]
    assert loss_barrier(*trained, wide, labels) > 0.01
    with pytest.raises(ValueError, match="differ in number or shape"):
        loss_barrier(models[0], build_classifier("vgg5", (1, 8, 8), 3, seed=0, width=8), wide, labels)


@pytest.mark.parametrize(
    "wrong, other, message",
    [
        (float("nan"), 1.0, "the loss of the first network on these images is nan"),
        (1.0, float("nan"), "the loss of the other network on these images is nan"),
        (1.0, 1e38, "the loss of the other network on these images is inf"),
        (-3e38, 3e38, "the loss of the first network"),
    ],
)
def test_networks_without_a_finite_loss_have_no_barrier_and_no_sharpness(data, wrong, other, message):
    with pytest.raises(ValueError, match=message):
        loss_barrier(linear(wrong), linear(other), *data)
    with pytest.raises(ValueError, match="the loss of the network on these images is"):
        sharpness(linear(float("nan")), *data)


def test_a_network_between_without_a_finite_loss_is_named(data):
    class Pole(nn.Module):
        """Finite at weights 0 and 1, not midway."""

        def __init__(self, weight):
            super().__init__()
            self.weight = nn.Parameter(torch.tensor([weight]))

        def forward(self, x):
            return x.flatten(1)[:, :3] + torch.where(self.weight == 0.5, torch.nan, 0.0)

    with pytest.raises(ValueError, match="the loss of the network 50% of the way to the other on these images is nan"):
        loss_barrier(Pole(0.0), Pole(1.0), *data)


@pytest.mark.parametrize(
    "change, message", [({"probes": 0}, "probes"), ({"radius": 0.0}, "radius"), ({"labels": torch.full((60,), 3)}, "labels must be in 0..2")]
)
def test_bad_input_is_refused(data, change, message):
    images, labels = data
    with pytest.raises(ValueError, match=message):
        sharpness(**{"model": linear(), "images": images, "labels": labels, **change})
