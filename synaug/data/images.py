"""Labelled images in memory, their subsets and splits, and what makes two of them the same."""

import hashlib
import json
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from synaug.checks import as_tensor, in_range, kind_of, of_kind, texts, whole
from synaug.files import storable

#: Places in a data set: whole numbers ``[n]``, or a slice.
Indices = Tensor | np.ndarray | Sequence[int] | slice


def to_floats(images: Tensor) -> Tensor:
    """Stored bytes 0..255 (uint8, any shape) as float32 in [-1, 1]: ``x / 127.5 - 1``. TypeError for anything else."""
    if not isinstance(images, Tensor) or images.dtype != torch.uint8:
        raise TypeError(f"to_floats takes a tensor of uint8 images, got {kind_of(images)}")
    return images.float() / 127.5 - 1


def to_bytes(images: Tensor) -> Tensor:
    """Floats in [-1, 1] (any shape) as uint8: rounded, and clamped where outside the range.

    ``to_bytes(to_floats(x))`` is ``x``. A NaN or an infinity is a ValueError.
    """
    if not isinstance(images, Tensor) or not images.is_floating_point():
        raise TypeError(f"to_bytes takes a tensor of floating point images, got {kind_of(images)}")
    if not images.isfinite().all():
        raise ValueError("to_bytes: the images hold NaN or infinite values")
    return ((images + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


#: What to do with data sets of other classes.
HINT = "; synaug.data.torch_datasets.from_torch makes one of any torch data set"


@storable
@dataclass(frozen=True, eq=False)
class ImageDataset(Dataset):
    """Images of one size with one label each, held in memory.

    images        uint8 ``[N, C, H, W]``, C = 1 (grey) or 3 (RGB)
    labels        int64 ``[N]``, each in ``0 .. len(class_names) - 1``
    class_names   one name per class, each in Unicode's composed form (NFC)
    source_index  int64 ``[N]``, each image's index in the full original split it was taken from;
                  left out, ``0 .. N - 1``
    name          what the data set is called in results; for one of `load_dataset`, what that loads it by

    ``dataset[i]`` is ``(float32 [C, H, W] in [-1, 1], int)``, so a torch ``DataLoader`` takes it
    as it is. Wrong types raise TypeError; wrong shapes or values raise ValueError.
    """

    images: Tensor
    labels: Tensor
    class_names: tuple[str, ...]
    source_index: Tensor = None  # type: ignore[assignment]  # 0 .. N - 1 from __post_init__
    name: str = "images"

    def __post_init__(self):
        if not isinstance(self.images, Tensor) or self.images.dtype != torch.uint8:
            raise TypeError(f"images must be a uint8 tensor, got {kind_of(self.images)}")
        if self.images.ndim != 4 or self.images.shape[1] not in (1, 3) or 0 in self.images.shape[2:]:
            raise ValueError(f"images must be [N, C, H, W] with C = 1 or 3, got {list(self.images.shape)}")
        names = tuple(unicodedata.normalize("NFC", name) for name in texts("class_names", self.class_names))
        object.__setattr__(self, "class_names", names)
        if len(set(self.class_names)) < len(self.class_names):
            double = next(c for c in self.class_names if self.class_names.count(c) > 1)
            raise ValueError(f"every class must have a name of its own, got {double!r} more than once")
        if self.source_index is None:
            object.__setattr__(self, "source_index", torch.arange(len(self.images)))
        for field in ("labels", "source_index"):
            values = getattr(self, field)
            if not isinstance(values, Tensor) or values.dtype != torch.int64:
                raise TypeError(f"{field} must be an int64 tensor, got {kind_of(values)}")
            if values.shape != (len(self.images),):
                raise ValueError(f"{field} must be [N] with N = {len(self.images)} images, got {list(values.shape)}")
        in_range(f"labels of {self.num_classes} class names", self.labels, self.num_classes)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        if not hasattr(index, "__index__"):
            raise TypeError(f"the index of an image is a whole number, got {index!r}; subset takes several")
        return to_floats(self.images[index]), int(self.labels[index])

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """``(C, H, W)``"""
        channels, height, width = self.images.shape[1:]
        return channels, height, width

    def floats(self, indices: Indices | None = None) -> Tensor:
        """The images (all, or those at ``indices``) as float32 ``[n, C, H, W]`` in [-1, 1]."""
        return to_floats(self.images if indices is None else self.images[self._checked(indices)])

    def subset(self, indices: Indices) -> "ImageDataset":
        """The images at ``indices`` (integers ``[n]``, or a slice), in that order, with their source indices."""
        indices = self._checked(indices)
        return ImageDataset(self.images[indices], self.labels[indices], self.class_names, self.source_index[indices], self.name)

    def _checked(self, indices) -> Tensor:
        if isinstance(indices, slice):
            indices = range(len(self))[indices]
        indices = as_tensor("indices", indices)
        indices = indices if indices.numel() else indices.long()  # an empty list is of no type yet
        if indices.dtype == torch.bool or indices.is_floating_point() or indices.is_complex() or indices.ndim != 1:
            raise TypeError(f"indices must be integers [n], got {kind_of(indices)} {list(indices.shape)}")
        indices = indices.long()
        in_range("indices", indices, len(self))
        return indices

    def __repr__(self) -> str:
        return f"ImageDataset({self.name!r}, {list(self.images.shape)}, {self.num_classes} classes)"


def stratified_subset(dataset: ImageDataset, n: int, seed: int, proportional: bool = False) -> ImageDataset:
    """``n`` images drawn at random, of each class the same number or, on request, the same share.

    Equal counts differ by at most one as long as no class runs out of images; a class that does gives all it has and
    the others fill up. Proportional ones are rounded shares (Webster's method), but each class gives one image at
    least, and its last one only after all other classes have done so. For classes of one size the two are the same
    images. Subsets are nested: with one ``seed``, a smaller subset is the beginning of a larger one. Raises
    ValueError unless (number of classes present) <= n <= len(dataset).
    """
    of_kind("dataset", dataset, ImageDataset, HINT)
    if isinstance(n, bool) or not isinstance(n, int | np.integer):
        raise TypeError(f"n must be an integer, got {type(n).__name__}")
    seed, present = whole("seed", seed, 0, 2**32 - 1), dataset.labels.unique()
    if not len(present) <= n <= len(dataset):
        raise ValueError(f"a stratified subset of {dataset.name!r} has between {len(present)} images (one per class) and {len(dataset)} (all), got n = {n}")
    # RandomState, not Generator: its stream is frozen for good (NumPy's NEP 19), and the committed
    # generator's training images must stay the same images.
    shuffled = torch.from_numpy(np.random.RandomState(seed).permutation(len(dataset)))
    labels = dataset.labels[shuffled]
    turn = torch.empty(len(dataset), dtype=torch.float64)  # 0 for a class's first image, 1 for its second...
    for label in present:
        members = (labels == label).nonzero().flatten()
        turns = torch.arange(len(members), dtype=torch.float64)
        if proportional:
            turns = (turns + 0.5) / len(members)
            turns[-1], turns[0] = 1, 0
        turn[members] = turns
    order = shuffled[turn.argsort(stable=True)]
    return dataset.subset(order[:n])


def draw_splits(dataset: ImageDataset, *per_class: int, seed: int) -> tuple[ImageDataset, ...]:
    """Splits that share no image, the first with ``per_class[0]`` images of each class, and so on.

    ``train, test = draw_splits(photos, 80, 20, seed=0)``. ValueError, naming them, where classes have too few images.
    """
    of_kind("dataset", dataset, ImageDataset, HINT)
    per_class = [whole("per_class", count, 1) for count in per_class]
    counts = dataset.labels.bincount(minlength=dataset.num_classes).tolist()
    if short := [f"{name} ({n})" for name, n in zip(dataset.class_names, counts) if n < sum(per_class)]:
        raise ValueError(f"{' + '.join(map(str, per_class))} images per class are more than there are of {', '.join(short)}")
    drawn = stratified_subset(dataset, sum(per_class) * dataset.num_classes, seed)
    ends = np.cumsum(per_class) * dataset.num_classes
    return tuple(drawn.subset(slice(end - n * dataset.num_classes, end)) for n, end in zip(per_class, ends.tolist()))


def folder_name(name: str) -> str:
    """The folder of a class: slashes, which none can have, become "_"; composed and decomposed letters (NFC, NFD) are one."""
    return unicodedata.normalize("NFC", name.replace("/", "_").replace("\\", "_"))


def same_classes(ours: Sequence[str], theirs: Sequence[str], what: str = "the generator") -> Tensor:
    """The label in ``theirs`` of each class of ``ours``, int64 ``[K]``: ``same_classes(a, b)[labels]`` are b's labels.

    The names must be the same, in any order, as `folder_name` has them. ValueError, naming the differences, otherwise.
    what: whose ``theirs`` are, for that error.
    """
    ours, theirs = ([folder_name(name) for name in texts("class names", names)] for names in (ours, theirs))
    if ours == theirs:
        return torch.arange(len(ours))
    if len(set(ours)) < len(ours) or sorted(ours) != sorted(theirs):
        odd = [name for names, others in ((ours, theirs), (theirs, ours)) for name in names if names.count(name) != others.count(name) or names.count(name) > 1]
        raise ValueError(
            f"the classes of the images are not those of {what}: {len(ours)} and {len(theirs)}, which differ in {', '.join(map(repr, dict.fromkeys(odd)))}"
        )
    return torch.tensor([theirs.index(name) for name in ours])


def content_hash(dataset: ImageDataset) -> str:
    """The sha256, in hex, of all that a data set holds; a folder counts by its own name, wherever it lies."""
    of_kind("dataset", dataset, ImageDataset, HINT)
    about = [Path(dataset.name).name, dataset.class_names, list(dataset.images.shape)]
    digest = hashlib.sha256(json.dumps(about).encode())
    for values in (dataset.images, dataset.labels, dataset.source_index):
        digest.update(values.contiguous().numpy().data)
    return digest.hexdigest()
