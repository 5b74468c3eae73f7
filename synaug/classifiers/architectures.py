"""The networks behind `synaug.classifiers.build_classifier`, all for images of about 32 x 32 pixels.

Each builder takes ``(C, H, W)`` and the number of classes (and a width, where the network has one). torchvision's
networks keep torchvision's layers and initial weights but for what their builders say: first layers that leave small
images their pixels, and no dropout or stochastic depth.
"""

import math
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torchvision import models


class Classifier(nn.Module):
    """``stem`` -> ``blocks`` -> average pooling -> ``head``; ``last_block`` is the last of ``blocks``."""

    def __init__(self, stem: nn.Module, blocks: nn.Sequential, head: nn.Module):
        super().__init__()
        self.stem, self.blocks, self.head = stem, blocks, head

    @property
    def last_block(self) -> nn.Module:
        return self.blocks[-1]

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """Images ``[N, C, H, W]`` in ``[-1, 1]`` -> pooled output of the last block, ``[N, D]``."""
        return self.blocks(self.stem(images)).mean(dim=(2, 3))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(images))


class TokenClassifier(nn.Module):
    """A vision transformer (Dosovitskiy et al. 2021) around torchvision's, without ``last_block``.

    Only the class token of its last block reaches the head: the gradients of a logit in the others, by which Grad-CAM
    weighs them, are all zero.
    """

    def __init__(self, trunk: models.VisionTransformer):
        super().__init__()
        self.trunk, self.head = trunk, trunk.heads.head
        trunk.heads = nn.Identity()

    def extra_repr(self) -> str:
        # Neither the layers nor the weights tell, and what is kept of a network goes by those.
        return f"heads={self.trunk.encoder.layers[0].self_attention.num_heads}"

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """Images ``[N, C, H, W]`` in ``[-1, 1]`` -> the class token after the last block and its norm, ``[N, D]``."""
        # For so few tokens in bfloat16 on a CPU, PyTorch's fused attention more than doubles the time of a step.
        with sdpa_kernel(SDPBackend.MATH) if images.device.type == "cpu" else nullcontext():
            return self.trunk(images)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(images))


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions and a shortcut (He et al. 2016, sec. 3.3; projection shortcut)."""

    def __init__(self, channels_in: int, channels_out: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels_out)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels_out)
        if stride == 1 and channels_in == channels_out:
            self.shortcut: nn.Module = nn.Identity()
        else:
            self.shortcut = nn.Sequential(nn.Conv2d(channels_in, channels_out, 1, stride, bias=False), nn.BatchNorm2d(channels_out))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(out)) + self.shortcut(x))


def _conv_bn_relu(channels_in: int, channels_out: int) -> nn.Sequential:
    convolution = nn.Conv2d(channels_in, channels_out, 3, padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(channels_out), nn.ReLU())


def _resnet8(shape, num_classes: int, width: int) -> Classifier:
    """The CIFAR network of He et al. 2016, sec. 4.2, with n = 1: 6n + 2 = 8 layers, three stages."""
    stem = _conv_bn_relu(shape[0], width)
    blocks = nn.Sequential(BasicBlock(width, width, 1), BasicBlock(width, 2 * width, 2), BasicBlock(2 * width, 4 * width, 2))
    return Classifier(stem, blocks, nn.Linear(4 * width, num_classes))


class AddedBlock(nn.Module):
    """Two convolutions whose output is added to what they were given."""

    def __init__(self, channels: int):
        super().__init__()
        self.layers = nn.Sequential(_conv_bn_relu(channels, channels), _conv_bn_relu(channels, channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.layers(x)


def _resnet9(shape, num_classes: int, width: int) -> Classifier:
    """A network for fast training, as David Page's ResNet-9 ("How to train your ResNet", 2018): three stages that
    double the channels and halve the sides, the first and the last with a block that is added; average pooling here."""

    def stage(channels, *more):
        return nn.Sequential(_conv_bn_relu(channels // 2, channels), nn.MaxPool2d(2), *more)

    blocks = nn.Sequential(stage(2 * width, AddedBlock(2 * width)), stage(4 * width), stage(8 * width, AddedBlock(8 * width)))
    return Classifier(_conv_bn_relu(shape[0], width), blocks, nn.Linear(8 * width, num_classes))


def _vgg5(shape, num_classes: int, width: int) -> Classifier:
    """The first three stages of configuration A of Simonyan & Zisserman 2015 (table 1) at a quarter of its width, with
    batch norm; average pooling and one linear layer in place of the rest."""
    blocks = nn.Sequential(
        nn.Sequential(nn.MaxPool2d(2), _conv_bn_relu(width, 2 * width)),
        nn.Sequential(nn.MaxPool2d(2), _conv_bn_relu(2 * width, 4 * width), _conv_bn_relu(4 * width, 4 * width)),
    )
    return Classifier(_conv_bn_relu(shape[0], width), blocks, nn.Linear(4 * width, num_classes))


def _vision_transformer(name: str, shape, num_classes: int, *, dim: int, depth: int, heads: int, mlp: int):
    """torchvision's ViT with patches of 4 x 4 pixels of C channels."""
    channels, height, width = shape
    if height != width or height % 4:
        raise ValueError(f"{name} needs square images with sides that are multiples of 4, got {height} x {width}")
    trunk = models.VisionTransformer(height, 4, depth, heads, dim, mlp, num_classes=num_classes)
    trunk.conv_proj = nn.Conv2d(channels, dim, 4, 4)
    nn.init.trunc_normal_(trunk.conv_proj.weight, std=math.sqrt(1 / (channels * 4 * 4)))  # as torchvision has it
    nn.init.zeros_(trunk.conv_proj.bias)
    return TokenClassifier(trunk)


def _vit_tiny(shape, num_classes: int) -> TokenClassifier:
    """Three blocks of 64 channels: far smaller than the ViT-Ti of the literature (12 blocks of 192)."""
    return _vision_transformer("vit_tiny", shape, num_classes, dim=64, depth=3, heads=2, mlp=128)


def _vit_small(shape, num_classes: int) -> TokenClassifier:
    """ViT-S (Touvron et al. 2021, DeiT, table 1: 12 blocks of 384 channels, 6 heads), with patch 4 in place of 16."""
    return _vision_transformer("vit_small", shape, num_classes, dim=384, depth=12, heads=6, mlp=1536)


def _resnet18(shape, num_classes: int) -> Classifier:
    """torchvision's ResNet-18; a 3 x 3 stem without pooling keeps 32 x 32 images from vanishing."""
    net = models.resnet18(weights=None)
    stem = nn.Sequential(nn.Conv2d(shape[0], 64, 3, padding=1, bias=False), net.bn1, nn.ReLU())
    blocks = nn.Sequential(net.layer1, net.layer2, net.layer3, net.layer4)
    return Classifier(stem, blocks, nn.Linear(512, num_classes))


def _vgg19(shape, num_classes: int) -> Classifier:
    """torchvision's VGG19-BN; its last max pooling is left out, which keeps 2 of 32 pixels, and average pooling and one
    linear layer take the place of the three that would read 7 x 7 pixels."""
    layers = list(models.vgg.make_layers(models.vgg.cfgs["E"], batch_norm=True))[:-1]
    layers[0] = nn.Conv2d(shape[0], 64, 3, padding=1)
    for layer in layers:
        if isinstance(layer, nn.Conv2d) and layer.bias is not None:
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")  # as torchvision has it
            nn.init.zeros_(layer.bias)
    starts = [i for i, layer in enumerate(layers) if isinstance(layer, nn.MaxPool2d)]
    stages = [nn.Sequential(*layers[start:end]) for start, end in zip(starts, [*starts[1:], None])]
    return Classifier(nn.Sequential(*layers[: starts[0]]), nn.Sequential(*stages), nn.Linear(512, num_classes))


def _densenet121(shape, num_classes: int) -> Classifier:
    """torchvision's DenseNet121; a 3 x 3 stem without pooling, as in the CIFAR networks of Huang et al. 2017."""
    net = models.densenet121(weights=None, num_classes=num_classes)
    part = net.features
    first = nn.Conv2d(shape[0], 64, 3, padding=1, bias=False)
    nn.init.kaiming_normal_(first.weight)  # as torchvision has it
    blocks = nn.Sequential(
        part.denseblock1,
        nn.Sequential(part.transition1, part.denseblock2),
        nn.Sequential(part.transition2, part.denseblock3),
        nn.Sequential(part.transition3, part.denseblock4, part.norm5, nn.ReLU()),
    )
    return Classifier(nn.Sequential(first, part.norm0, part.relu0), blocks, net.classifier)


def _convnext_tiny(shape, num_classes: int) -> Classifier:
    """torchvision's ConvNeXt-T with a 2 x 2 stem of stride 2 in place of 4, without stochastic depth."""
    net = models.convnext_tiny(weights=None, num_classes=num_classes, stochastic_depth_prob=0.0)
    stem = net.features[0]
    stem[0] = nn.Conv2d(shape[0], 96, 2, 2)
    nn.init.trunc_normal_(stem[0].weight, std=0.02)  # as torchvision has it
    nn.init.zeros_(stem[0].bias)
    stages = net.features
    blocks = nn.Sequential(stages[1], *(nn.Sequential(stages[i], stages[i + 1]) for i in (2, 4, 6)))
    # torchvision's norm takes [N, C, 1, 1] only.
    return Classifier(stem, blocks, nn.Sequential(nn.LayerNorm(768, eps=1e-6), net.classifier[2]))


def _swin_tiny(shape, num_classes: int) -> Classifier:
    """torchvision's Swin-T with patches of 2 in place of 4 pixels and windows of 4 in place of 7 patches, without
    stochastic depth."""
    net = models.SwinTransformer([2, 2], 96, [2, 2, 6, 2], [3, 6, 12, 24], [4, 4], stochastic_depth_prob=0.0, num_classes=num_classes)
    net.features[0][0] = nn.Conv2d(shape[0], 96, 2, 2)
    stages = net.features
    blocks = nn.Sequential(
        stages[1], nn.Sequential(stages[2], stages[3]), nn.Sequential(stages[4], stages[5]), nn.Sequential(stages[6], stages[7], net.norm, net.permute)
    )
    return Classifier(stages[0], blocks, net.head)


@dataclass(frozen=True)
class Architecture:
    """smallest: the smallest image side, at which the last block still sees more than one pixel.

    width: the default number of channels of the first stage; None where it cannot be chosen.
    """

    build: Callable[..., nn.Module]
    smallest: int
    width: int | None = None


ARCHITECTURES = {
    "resnet8": Architecture(_resnet8, 8, width=16),
    "vgg5": Architecture(_vgg5, 8, width=16),
    "resnet9": Architecture(_resnet9, 16, width=64),
    "vit_tiny": Architecture(_vit_tiny, 8),
    "resnet18": Architecture(_resnet18, 16),
    "vgg19": Architecture(_vgg19, 32),
    "densenet121": Architecture(_densenet121, 16),
    "vit_small": Architecture(_vit_small, 8),
    "convnext_tiny": Architecture(_convnext_tiny, 32),
    "swin_tiny": Architecture(_swin_tiny, 18),
}
