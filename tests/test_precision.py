"""Gradients of every kind of network in the formats that it is trained in, against float64.

They say most where the kernels are those of older processors: `.ci/run` has them run so, too.
"""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from synaug.classifiers import build_classifier, train_classifier
from synaug.classifiers import training as classifier_training
from synaug.classifiers.architectures import ARCHITECTURES
from synaug.diffusion.denoisers import new_unet
from synaug.precision import channels_last


class Strided(nn.Module):
    """1 x 1 convolutions of a stride on ``channels`` channels, on images that come in either memory format."""

    def __init__(self, channels, stride, groups, last):
        super().__init__()
        self.first, self.last = nn.Conv2d(1, channels, 3, padding=1), last
        self.strided = nn.Conv2d(channels, 6, 1, stride, groups=groups)
        self.head = nn.Linear(6, 3)

    def forward(self, images):
        x = self.first(images).relu()
        if self.last:  # as a LayerNorm over the channels leaves it
            x = x.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
        return self.head(self.strided(x).mean(dim=(2, 3)))


def assert_gradients(model, exact):
    """Those of ``exact`` in float64, of each parameter, but for what rounding becomes in a hundred layers."""
    expected = {name: p.grad for name, p in exact.named_parameters()}
    most = max(gradient.norm() for gradient in expected.values())
    for name, p in model.named_parameters():
        error = (p.grad.double() - expected[name]).norm()
        assert error <= 0.05 * expected[name].norm() + 1e-4 * most, name


def check_training(model, side, monkeypatch):
    """One step of `train_classifier` has the gradients of the network in float64, at batch size 8."""
    monkeypatch.setattr(classifier_training, "fast_precision", lambda device: torch.float32)
    images = torch.randint(0, 256, (8, 1, side, side), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    labels, exact = torch.arange(8) % 3, copy.deepcopy(model).double().train()
    train_classifier(model, images, labels, steps=1, seed=0, batch_size=8, lr=1e-6, augment="none", order=torch.arange(8)[None])
    F.cross_entropy(exact(images.double() / 127.5 - 1), labels).backward()
    assert_gradients(model, exact)


@pytest.mark.parametrize(
    ("name", "width"), [(name, width) for name, network in ARCHITECTURES.items() for width in ((None,) if network.width is None else (1, 4))]
)
def test_of_every_architecture_at_its_smallest(name, width, monkeypatch):
    side = ARCHITECTURES[name].smallest
    check_training(build_classifier(name, (1, side, side), 3, seed=0, width=width), side, monkeypatch)


@pytest.mark.parametrize(
    ("channels", "stride", "groups"),
    [*((channels, stride, 1) for channels in (1, 2, 3, 5, 6, 7, 8) for stride in (2, (1, 2), (2, 1), 3)), *((n, 2, n) for n in (2, 3, 6))],
)
@pytest.mark.parametrize("last", [False, True])
def test_of_narrow_convolutions_that_stride(channels, stride, groups, last, monkeypatch):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = Strided(channels, stride, groups, last)
    check_training(model, 8, monkeypatch)


def test_of_a_generator_at_its_smallest():
    unet = new_unet((1, 8, 8), 2, channels=(16, 32), patch=1)
    exact, generator = copy.deepcopy(unet).double(), torch.Generator().manual_seed(0)
    x, target = torch.randn(2, 6, 1, 8, 8, generator=generator, dtype=torch.float64)
    for network in (unet, exact):
        out = network(x.to(network.dtype), torch.arange(6) * 100, class_labels=torch.arange(6) % 5).sample
        (out - target.to(out.dtype)).square().mean().backward()
    assert_gradients(unet, exact)


def test_a_network_may_be_put_into_the_format_again():
    model = nn.Sequential(nn.Conv2d(4, 8, 1, 2), nn.Conv2d(8, 8, 3))
    again = channels_last(channels_last(copy.deepcopy(channels_last(model))))
    assert len(again[0]._forward_pre_hooks) == 1 and not again[1]._forward_pre_hooks
    assert again[1].weight.is_contiguous(memory_format=torch.channels_last)
