"""TrivialAugment for whole batches: each image gets one random operation at a random strength.

Müller & Hutter 2021, the "Wide" space, as torchvision's ``TrivialAugmentWide`` has it for one image at a time. Images
of a batch that drew the same operation are changed together, each by its own strength.
"""

from functools import partial

import torch
from torch.nn import functional as F
from torchvision.transforms.functional import autocontrast, rgb_to_grayscale
from torchvision.transforms.v2.functional import equalize  # the older one goes image by image

#: The operations, in torchvision's order: the strengths that each draws from, and whether the sign is drawn too.
BINS = 31
_line = partial(torch.linspace, steps=BINS, dtype=torch.float32)  # whatever the process's default is
OPERATIONS = {
    "Identity": (_line(0, 0), False),
    "ShearX": (_line(0.0, 0.99), True),
    "ShearY": (_line(0.0, 0.99), True),
    "TranslateX": (_line(0.0, 32.0), True),  # pixels, whatever the image's side
    "TranslateY": (_line(0.0, 32.0), True),
    "Rotate": (_line(0.0, 135.0), True),  # degrees
    "Brightness": (_line(0.0, 0.99), True),
    "Color": (_line(0.0, 0.99), True),
    "Contrast": (_line(0.0, 0.99), True),
    "Sharpness": (_line(0.0, 0.99), True),
    "Posterize": (8 - _line(0, 6).round(), False),  # bits that are kept
    "Solarize": (_line(255.0, 0.0), False),
    "AutoContrast": (_line(0, 0), False),
    "Equalize": (_line(0, 0), False),
}
_NAMES = tuple(OPERATIONS)
_STRENGTHS = torch.stack([strengths for strengths, _ in OPERATIONS.values()])
_SIGNED = torch.tensor([signed for _, signed in OPERATIONS.values()])
_GEOMETRIC = ("ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate")


def trivial_augment(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """A new batch, uint8 ``[N, C, H, W]`` with C = 1 or 3 like ``images``, one random operation per image.

    What moves in from outside is black; grey images ignore "Color". The generator is a CPU one on every
    device, so that a run on a GPU sees the same augmentation. Raises TypeError for other than uint8 images.
    """
    n = len(images)
    operation = torch.randint(len(_NAMES), (n,), generator=generator)
    strength = _STRENGTHS[operation, torch.randint(BINS, (n,), generator=generator)]
    flipped = (torch.rand(n, generator=generator, dtype=torch.float32) < 0.5) & _SIGNED[operation]
    return apply_operations(images, operation, torch.where(flipped, -strength, strength))


def apply_operations(images: torch.Tensor, operation: torch.Tensor, strength: torch.Tensor) -> torch.Tensor:
    """``images`` (see `trivial_augment`), each changed by its ``operation`` (int64 ``[N]``, on the CPU, the
    place in ``OPERATIONS``) at its ``strength`` (float32 ``[N]``, on the CPU, signed). TypeError unless they are uint8."""
    if images.dtype != torch.uint8:
        raise TypeError(f"TrivialAugment takes uint8 images, got {images.dtype}")
    # Sorted by operation on the CPU: a GPU need not be waited for.
    order = operation.argsort(stable=True)
    counts = operation.bincount(minlength=len(_NAMES)).tolist()
    place = order.to(images.device)
    parts = images[place].split(counts)
    strengths = strength[order].split(counts)
    changed = [_changed(name, *part) if len(part[0]) else part[0] for name, *part in zip(_NAMES, parts, strengths)]
    result = torch.empty_like(images)
    result[place] = torch.cat(changed)
    return result


def _changed(name: str, images: torch.Tensor, strength: torch.Tensor) -> torch.Tensor:
    """Images that all drew the operation ``name``."""
    if name in _GEOMETRIC:
        return _moved(images, _inverse_matrices(name, strength, *images.shape[2:]))
    each = strength.view(-1, 1, 1, 1).to(images.device)
    if name == "Brightness":
        return _blended(images, images.new_zeros(()), each)
    if name == "Color":
        return images if images.shape[1] == 1 else _blended(images, rgb_to_grayscale(images), each)
    if name == "Contrast":
        return _blended(images, rgb_to_grayscale(images).float().mean(dim=(1, 2, 3), keepdim=True), each)
    if name == "Sharpness":
        return images if min(images.shape[2:]) < 3 else _blended(images, _blurred(images), each)
    if name == "Posterize":
        return images & (256 - 2 ** (8 - each)).to(torch.uint8)
    if name == "Solarize":
        return torch.where(images >= each, 255 - images, images)
    if name == "AutoContrast":
        return autocontrast(images)
    if name == "Equalize":
        return equalize(images)
    return images


def _blended(images: torch.Tensor, others: torch.Tensor, strength: torch.Tensor) -> torch.Tensor:
    """Images taken towards the others where the strength is negative, away from them where it is positive."""
    return ((1 + strength) * images - strength * others).clamp(0, 255).to(torch.uint8)


def _blurred(images: torch.Tensor) -> torch.Tensor:
    """A 3 x 3 mean that counts the centre five times; the border stays (Pillow's "smooth")."""
    channels = images.shape[1]
    kernel = torch.ones(channels, 1, 3, 3, dtype=torch.float32, device=images.device)
    kernel[:, :, 1, 1] = 5
    result = images.clone()
    result[:, :, 1:-1, 1:-1] = F.conv2d(images.float(), kernel / 13, groups=channels).round().to(torch.uint8)
    return result


def _inverse_matrices(name: str, strength: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """From a pixel of the result to where it comes from, both relative to the centre, float32 ``[N, 2, 3]``.

    Shears leave the upper left corner where it is, as Pillow does.
    """
    matrices = torch.eye(2, 3, dtype=torch.float64).repeat(len(strength), 1, 1)
    strength = strength.double()
    if name == "ShearX":
        matrices[:, 0, 1], matrices[:, 0, 2] = strength, strength * height / 2
    elif name == "ShearY":
        matrices[:, 1, 0], matrices[:, 1, 2] = strength, strength * width / 2
    elif name == "TranslateX":
        matrices[:, 0, 2] = -strength.trunc()
    elif name == "TranslateY":
        matrices[:, 1, 2] = -strength.trunc()
    else:
        cos, sin = strength.deg2rad().cos(), strength.deg2rad().sin()
        matrices[:, 0, 0], matrices[:, 0, 1] = cos, -sin
        matrices[:, 1, 0], matrices[:, 1, 1] = sin, cos
    return matrices.float()


def _moved(images: torch.Tensor, matrices: torch.Tensor) -> torch.Tensor:
    """Images resampled by their nearest pixels, black outside."""
    n, _, height, width = images.shape
    y, x = (torch.arange(side, dtype=torch.float32, device=images.device) - (side - 1) / 2 for side in (height, width))
    pixels = torch.stack([x.repeat(height), y.repeat_interleave(width), torch.ones_like(x).repeat(height)], 1)
    # grid_sample's coordinates go from -1 to 1.
    scale = torch.tensor([[width / 2], [height / 2]], dtype=torch.float32)
    grid = pixels @ (matrices / scale).to(images.device).transpose(1, 2)  # [N, H W, 2]
    moved = F.grid_sample(images.float(), grid.view(n, height, width, 2), "nearest", align_corners=False)
    return moved.to(torch.uint8)
