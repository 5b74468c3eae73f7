"""Image classifiers: small networks for CPUs, and torchvision's for 32 x 32 images.

Every classifier maps images, float32 ``[N, C, H, W]`` in ``[-1, 1]``, to logits ``[N, K]`` and has

- ``features(images)``: the pooled output of its last block, float32 ``[N, D]``: the "block4"
  features of ResNet-18; of a ViT, its class token;
- ``last_block``: the module whose output is pooled, which Grad-CAM looks at. A ViT has none.

The networks are in ``architectures``, training in ``training``, prediction and what is read off it in ``predictions``;
the last two are re-exported here.
"""

from collections.abc import Sequence

import torch
from torch import nn

from synaug.checks import one_of, whole
from synaug.classifiers.architectures import ARCHITECTURES, Classifier
from synaug.classifiers.predictions import accuracy, output_entropy, predict
from synaug.classifiers.training import train_classifier
from synaug.seeds import seeded

__all__ = ["Classifier", "accuracy", "build_classifier", "output_entropy", "predict", "train_classifier"]


def build_classifier(name: str, image_shape: tuple[int, int, int], num_classes: int, seed: int, width: int | None = None) -> nn.Module:
    """An untrained classifier whose initial weights depend on ``seed`` alone.

    Parameters
    ----------
    name : with millions of parameters for ten classes; for a CPU "resnet8" (0.08), "vgg5" (0.06, 0.4 times the time)
        and "vit_tiny" (0.1, 1.3 times the time); for a GPU's minutes "resnet9" (6.6); "resnet18" (11), "vgg19" (20), "densenet121" (7.0), "vit_small"
        (21), "convnext_tiny" (28), "swin_tiny" (28).
    image_shape : ``(C, H, W)`` of the images to come.
    width : channels of the first stage of "resnet8" and "vgg5" (default 16) and of the first layer of "resnet9" (64).
        The others are of one width.

    Raises
    ------
    ValueError : unknown name, an image too small for the network or of a shape that it does not take, fewer than two
        classes, a width that the network cannot have.
    """
    one_of("classifier", name, ARCHITECTURES)
    network = ARCHITECTURES[name]
    if not isinstance(image_shape, Sequence) or len(image_shape) != 3:
        raise ValueError(f"image_shape must be (C, H, W), got {image_shape!r}")
    image_shape = tuple(whole("each of image_shape", size, 1) for size in image_shape)
    if min(image_shape[1:]) < network.smallest:
        raise ValueError(f"{name} needs images of at least {network.smallest} x {network.smallest}, got {image_shape[1:]}")
    if width is not None and network.width is None:
        raise ValueError(f"{name} cannot have width {width}: it is of one width")
    options = {} if network.width is None else {"width": whole("width", network.width if width is None else width, 1, 10_000)}
    with seeded(whole("seed", seed, 0), torch.device("cpu")):
        return network.build(image_shape, whole("num_classes", num_classes, 2, 1_000_000), **options)
