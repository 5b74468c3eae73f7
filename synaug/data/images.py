"""Labelled images in memory, and stratified subsets of them."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from synaug.files import storable


def to_floats(images: Tensor) -> Tensor:
    """Stored bytes 0..255 (uint8, any shape) as float32 in [-1, 1]: ``x / 127.5 - 1``."""
    if images.dtype != torch.uint8:
        raise TypeError(f"to_floats takes uint8 images, got {images.dtype}")
    return images.float() / 127.5 - 1


def to_bytes(images: Tensor) -> Tensor:
    """Floats in [-1, 1] (any shape) as uint8: rounded, and clamped where outside the range.

    ``to_bytes(to_floats(x))`` is ``x``. A NaN or an infinity is a ValueError.
    """
    if not images.is_floating_point():
        raise TypeError(f"to_bytes takes floating point images, got {images.dtype}")
    if not images.isfinite().all():
        raise ValueError("to_bytes: the images hold NaN or infinite values")
    return ((images + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


@storable
@dataclass(frozen=True, eq=False)
class ImageDataset(Dataset):
    """Images of one size with one label each, held in memory.

    images        uint8 ``[N, C, H, W]``, C = 1 (grey) or 3 (RGB)
    labels        int64 ``[N]``, each in ``0 .. len(class_names) - 1``
    class_names   one name a class
    source_index  int64 ``[N]``, each image's index in the full original split it was taken from;
                  left out, ``0 .. N - 1``
    name          what the data set is called in results

    ``dataset[i]`` is ``(float32 [C, H, W] in [-1, 1], int)``, so a torch ``DataLoader`` takes it
    as it is. Wrong types raise TypeError; wrong shapes or values raise ValueError.
    """

    images: Tensor
    labels: Tensor
    class_names: tuple[str, ...]
    source_index: Tensor | None = None
    name: str = "images"

    def __post_init__(self):
        if not isinstance(self.images, Tensor) or self.images.dtype != torch.uint8:
            raise TypeError(f"images must be a uint8 tensor, got {_kind(self.images)}")
        if self.images.ndim != 4 or self.images.shape[1] not in (1, 3) or 0 in self.images.shape[2:]:
            raise ValueError(f"images must be [N, C, H, W] with C = 1 or 3, got {list(self.images.shape)}")
        if isinstance(self.class_names, str) or not all(isinstance(c, str) for c in self.class_names):
            raise TypeError(f"class_names must be a tuple of strings, got {self.class_names!r}")
        object.__setattr__(self, "class_names", tuple(self.class_names))
        if self.source_index is None:
            object.__setattr__(self, "source_index", torch.arange(len(self.images)))
        for field in ("labels", "source_index"):
            values = getattr(self, field)
            if not isinstance(values, Tensor) or values.dtype != torch.int64:
                raise TypeError(f"{field} must be an int64 tensor, got {_kind(values)}")
            if values.shape != (len(self.images),):
                raise ValueError(
                    f"{field} must be [N] with N = {len(self.images)} images, got {list(values.shape)}"
                )
        if len(self.labels) and not 0 <= self.labels.min() <= self.labels.max() < self.num_classes:
            raise ValueError(
                f"labels must be in 0..{self.num_classes - 1} ({self.num_classes} class names), "
                f"got {int(self.labels.min())}..{int(self.labels.max())}"
            )

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return to_floats(self.images[index]), int(self.labels[index])

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """``(C, H, W)``"""
        return tuple(self.images.shape[1:])

    def floats(self, indices=None) -> Tensor:
        """The images (all, or those at ``indices``) as float32 ``[n, C, H, W]`` in [-1, 1]."""
        return to_floats(self.images if indices is None else self.images[self._checked(indices)])

    def subset(self, indices) -> "ImageDataset":
        """The images at ``indices`` (integers ``[n]``), in that order, with their source indices."""
        indices = self._checked(indices)
        return ImageDataset(
            self.images[indices], self.labels[indices], self.class_names, self.source_index[indices], self.name
        )

    def _checked(self, indices) -> Tensor:
        indices = torch.as_tensor(indices)
        if indices.numel() == 0:
            indices = indices.long()
        if indices.dtype == torch.bool or indices.is_floating_point() or indices.ndim != 1:
            raise TypeError(f"indices must be integers [n], got {_kind(indices)} {list(indices.shape)}")
        if len(indices) and not 0 <= indices.min() <= indices.max() < len(self):
            raise ValueError(
                f"indices must be in 0..{len(self) - 1}, got {int(indices.min())}..{int(indices.max())}"
            )
        return indices.long()

    def __repr__(self) -> str:
        return f"ImageDataset({self.name!r}, {list(self.images.shape)}, {self.num_classes} classes)"


def _kind(value) -> str:
    return str(value.dtype) if isinstance(value, Tensor) else type(value).__name__


def stratified_subset(dataset: ImageDataset, n: int, seed: int) -> ImageDataset:
    """``n`` images drawn at random, the same number of each class.

    Class counts differ by at most one as long as no class runs out of images; a class that does
    gives all it has and the others fill up. Subsets are nested: with one ``seed``, a smaller
    subset is the beginning of a larger one. Raises ValueError unless
    (number of classes present) <= n <= len(dataset).
    """
    if isinstance(n, bool) or not isinstance(n, int | np.integer):
        raise TypeError(f"n must be an integer, got {type(n).__name__}")
    present = dataset.labels.unique()
    if not len(present) <= n <= len(dataset):
        raise ValueError(
            f"a stratified subset of {dataset.name!r} has between {len(present)} images "
            f"(one a class) and {len(dataset)} (all), got n = {n}"
        )
    # RandomState, not Generator: its stream is frozen for good (NumPy's NEP 19), and the committed
    # generator's training images must stay the same images.
    shuffled = torch.from_numpy(np.random.RandomState(seed).permutation(len(dataset)))
    labels = dataset.labels[shuffled]
    turn = torch.empty(len(dataset), dtype=torch.int64)  # 0 for a class's first image, 1 for its second...
    for label in present:
        members = (labels == label).nonzero().flatten()
        turn[members] = torch.arange(len(members))
    order = shuffled[turn.argsort(stable=True)]
    return dataset.subset(order[:n])
