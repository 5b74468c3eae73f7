"""Fashion-MNIST with one thing changed: data sets that tell which trait of images a generator suffers from."""

from dataclasses import replace

import torch
from torch.nn.functional import interpolate

from synaug.data.images import ImageDataset
from synaug.data.merged import PAIRS, merge_classes

#: Contrast that is left, the share of wrong labels, and the standard deviation of the texture, in bytes.
CONTRAST, WRONG_LABELS, TEXTURE = 0.25, 0.2, 48


def low_contrast(data: ImageDataset) -> ImageDataset:
    """Every pixel moved towards the middle of the range, to a quarter of the contrast."""
    images = (127.5 + CONTRAST * (data.images.float() - 127.5)).round().to(torch.uint8)
    return replace(data, images=images)


def textured(data: ImageDataset, seed: int) -> ImageDataset:
    """A smooth random texture behind every image, another for each, where the image is dark."""
    n, _, h, w = data.images.shape
    coarse = torch.randn(n, 1, h // 4, w // 4, generator=torch.Generator().manual_seed(seed))
    texture = (100 + TEXTURE * interpolate(coarse, (h, w), mode="bicubic")).clamp(0, 255)
    images = data.images.float()
    return replace(data, images=(images + (1 - images / 255) * texture).round().clamp(0, 255).to(torch.uint8))


def mislabelled(data: ImageDataset, seed: int) -> ImageDataset:
    """A fifth of the labels drawn anew among the other classes."""
    generator = torch.Generator().manual_seed(seed)
    wrong = torch.rand(len(data), generator=generator) < WRONG_LABELS
    by = torch.randint(1, data.num_classes, (len(data),), generator=generator)
    return replace(data, labels=torch.where(wrong, (data.labels + by) % data.num_classes, data.labels))


#: By what is appended to the name: (train split or not, data set) -> data set.
TRAITS = {
    "2_classes": lambda data, train: merge_classes(data, [(0,), (1,)]),
    "5_classes": lambda data, train: merge_classes(data, [(label,) for label, _ in PAIRS]),  # of each merged class one
    "merged": lambda data, train: merge_classes(data, PAIRS),
    "low_contrast": lambda data, train: low_contrast(data),
    "textured": lambda data, train: textured(data, int(train)),
    "mislabelled": lambda data, train: mislabelled(data, 0) if train else data,
}
