"""Image classifiers: a small residual network for CPUs and ResNet-18 for 32 x 32 images.

Every classifier maps images, float32 ``[N, C, H, W]`` in ``[-1, 1]``, to logits ``[N, K]`` and has

- ``features(images)``: the pooled output of its last block, float32 ``[N, D]``: the "block4"
  features of ResNet-18;
- ``last_block``: the module whose output is pooled, which Grad-CAM looks at.

Training, prediction and what is read off predictions live in ``classifier_training`` and are
re-exported here.
"""

import torch
import torchvision
from torch import nn
from torch.nn import functional as F

from synaug.classifier_training import accuracy, output_entropy, predict, train_classifier

__all__ = ["Classifier", "accuracy", "build_classifier", "output_entropy", "predict", "train_classifier"]


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions and a shortcut (He et al. 2016, sec. 3.3; projection shortcut)."""

    def __init__(self, channels_in: int, channels_out: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels_out)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels_out)
        if stride == 1 and channels_in == channels_out:
            self.shortcut = nn.Identity()
        else:
            self.shortcut = nn.Sequential(
                nn.Conv2d(channels_in, channels_out, 1, stride, bias=False), nn.BatchNorm2d(channels_out)
            )

    def forward(self, x):
        out = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(out)) + self.shortcut(x))


class Classifier(nn.Module):
    """``stem`` -> ``blocks`` -> average pooling -> ``head``; ``last_block`` is the last of ``blocks``."""

    def __init__(self, stem: nn.Module, blocks: nn.Sequential, dim: int, num_classes: int):
        super().__init__()
        self.stem, self.blocks = stem, blocks
        self.head = nn.Linear(dim, num_classes)

    @property
    def last_block(self) -> nn.Module:
        return self.blocks[-1]

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """Images ``[N, C, H, W]`` in ``[-1, 1]`` -> pooled output of the last block, ``[N, D]``."""
        return self.blocks(self.stem(images)).mean(dim=(2, 3))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(images))


def _resnet8(channels: int, num_classes: int, width: int) -> Classifier:
    """The CIFAR network of He et al. 2016, sec. 4.2, with n = 1: 6n + 2 = 8 layers, three stages."""
    stem = nn.Sequential(
        nn.Conv2d(channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()
    )
    blocks = nn.Sequential(
        BasicBlock(width, width, 1), BasicBlock(width, 2 * width, 2), BasicBlock(2 * width, 4 * width, 2)
    )
    return Classifier(stem, blocks, 4 * width, num_classes)


def _resnet18(channels: int, num_classes: int, width: int) -> Classifier:
    """torchvision's ResNet-18; a 3 x 3 stem without pooling keeps 32 x 32 images from vanishing."""
    net = torchvision.models.resnet18(weights=None)
    stem = nn.Sequential(nn.Conv2d(channels, width, 3, padding=1, bias=False), net.bn1, nn.ReLU())
    blocks = nn.Sequential(net.layer1, net.layer2, net.layer3, net.layer4)
    return Classifier(stem, blocks, 8 * width, num_classes)


# name -> (builder, its width, smallest image side: the last block must see more than one pixel)
_ARCHITECTURES = {"resnet8": (_resnet8, 16, 8), "resnet18": (_resnet18, 64, 16)}


def build_classifier(
    name: str, image_shape: tuple[int, int, int], num_classes: int, seed: int, width: int | None = None
) -> Classifier:
    """An untrained classifier whose initial weights depend on ``seed`` alone.

    Parameters
    ----------
    name : "resnet8" (78,000 parameters at width 16) or "resnet18" (11.2 million).
    image_shape : ``(C, H, W)`` of the images to come.
    width : channels of the first stage of "resnet8"; default 16. "resnet18" has 64.

    Raises
    ------
    ValueError : unknown name, an image too small for the network, fewer than two classes, a width
        that the network cannot have.
    """
    if name not in _ARCHITECTURES:
        raise ValueError(f"unknown classifier {name!r}: choose one of {', '.join(_ARCHITECTURES)}")
    build, default_width, smallest = _ARCHITECTURES[name]
    if len(image_shape) != 3 or min(image_shape) < 1:
        raise ValueError(f"image_shape must be (C, H, W), got {tuple(image_shape)}")
    channels, *sides = image_shape
    if min(sides) < smallest:
        raise ValueError(f"{name} needs images of at least {smallest} x {smallest}, got {tuple(sides)}")
    if num_classes < 2:
        raise ValueError(f"num_classes must be at least 2, got {num_classes}")
    width = default_width if width is None else width
    if width < 1 or (name == "resnet18" and width != default_width):
        raise ValueError(f"{name} cannot have width {width}")
    with torch.random.fork_rng(devices=[]):
        torch.random.default_generator.manual_seed(seed)  # torch.manual_seed would touch GPUs too
        return build(channels, num_classes, width)
