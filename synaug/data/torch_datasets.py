"""From any torch ``Dataset`` of (image, label) to images in memory, and back to a ``Dataset`` for one's own loop."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import ConcatDataset, Dataset, Subset, TensorDataset
from tqdm import tqdm

from synaug.checks import number, of_kind, texts
from synaug.data.images import HINT, ImageDataset
from synaug.resources import check_memory


def from_torch(
    dataset: Dataset,
    *,
    value_range: tuple[float, float] = (0.0, 1.0),
    class_names: Sequence[str] | None = None,
    name: str | None = None,
    progress: bool = False,
) -> ImageDataset:
    """The items of a ``Dataset``, each read once, as an `ImageDataset`.

    dataset: has a length; ``dataset[i]`` is (image, label), the image one of Pillow's (grey or RGB; others of 8 bits
    per channel become RGB), uint8 ``[C, H, W]``, or float ``[C, H, W]`` in ``value_range``, which is rounded to 256
    levels; all of one shape, C = 1 or 3. The label: a whole number from 0. An `ImageDataset` and a ``Subset`` of one
    are taken as they are.
    value_range: what black and white are in float images: (0, 1) is torchvision's ``ToTensor``.
    class_names: default ``dataset.classes``, else "0", "1", ... for as many as it says that it has, or holds; those of
    a ``Subset`` are the whole data set's, those of a ``ConcatDataset`` must be the same in all of its parts.
    A random transform is frozen at what it draws here: leave it to training.
    TypeError or ValueError, naming the item, for anything else; MemoryError, after the first item, where all of them
    have no room.
    """
    if isinstance(dataset, ImageDataset):
        return dataset
    whole = dataset
    while isinstance(whole, Subset):
        whole = whole.dataset
    if isinstance(dataset, Subset) and isinstance(whole, ImageDataset):
        return from_torch(dataset.dataset).subset(dataset.indices)
    if not isinstance(value_range, (tuple, list)) or len(value_range) != 2:
        raise ValueError(f"value_range must be (black, white), got {value_range!r}")
    low, high = (number("each of value_range", value) for value in value_range)
    if not low < high:
        raise ValueError(f"value_range must be (black, white) with black < white, got {value_range}")
    if not hasattr(dataset, "__len__") or not hasattr(dataset, "__getitem__") or isinstance(dataset, Mapping):
        raise TypeError(f"the data set must have a length and items, got {type(dataset).__name__}")
    if len(dataset) == 0:
        raise ValueError("the data set is empty")
    class_names = _classes(dataset) if class_names is None else class_names
    if class_names is not None:
        class_names = texts("class_names, the names of the labels 0, 1, ...,", class_names)
    images, labels = torch.empty(0), torch.empty(len(dataset), dtype=torch.int64)
    for i in tqdm(range(len(dataset)), desc="reading images", disable=not progress):
        item = dataset[i]
        if not isinstance(item, (tuple, list)) or len(item) != 2:
            raise TypeError(f"item {i} must be a pair (image, label), got {type(item).__name__}")
        image = _bytes(item[0], low, high, f"image {i}")
        if i == 0:
            check_memory(len(dataset) * image.numel(), f"a data set of {len(dataset):,} images")
            images = torch.empty(len(dataset), *image.shape, dtype=torch.uint8)
        if image.shape != images.shape[1:]:
            remedy = "resize them to one" if len(image) == images.shape[1] else "make all grey or all RGB"
            raise ValueError(f"images of more than one shape: image 0 is {list(images.shape[1:])}, image {i} is {list(image.shape)}; {remedy}")
        images[i], labels[i] = image, _label(item[1], i)
    if class_names is None:
        class_names = tuple(str(c) for c in range(int(labels.max()) + 1))
    return ImageDataset(images, labels, class_names, name=name or type(whole).__name__)


class TorchImages(Dataset):
    """An `ImageDataset` as the items that one's own training loop takes: (``transform(image)``, label).

    transform: of the uint8 tensor ``[C, H, W]``, such as torchvision's v2 transforms; by default to float32 in [0, 1].
    """

    def __init__(self, data: ImageDataset, transform: Callable[[Tensor], object] | None = None):
        of_kind("data", data, ImageDataset, HINT)
        self.data, self.transform, self.classes = data, transform, list(data.class_names)

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int):
        image = self.data.images[index]
        return image.float() / 255 if self.transform is None else self.transform(image), int(self.data.labels[index])


def _classes(dataset: Dataset) -> tuple | None:
    """The names of a data set's classes; None where it neither has any nor says how many classes there are."""
    if isinstance(dataset, Subset):
        return _classes(dataset.dataset)
    if isinstance(dataset, ConcatDataset):
        first, *others = map(_classes, dataset.datasets)
        if any(other != first for other in others):
            raise ValueError("parts of different classes; where one list of class_names fits them all, give it")
        return first
    names = dataset.class_names if isinstance(dataset, ImageDataset) else getattr(dataset, "classes", None)
    if names is None:
        labels = np.asarray(dataset.tensors[1] if isinstance(dataset, TensorDataset) else getattr(dataset, "targets", ()))
        known = labels.size and labels.dtype.kind in "iu"
        names = map(str, range(labels.max() + 1 if known else getattr(dataset, "num_classes", 0)))
    return tuple(names) or None


def _bytes(image, low: float, high: float, what: str) -> Tensor:
    """An image as uint8 ``[C, H, W]``."""
    if isinstance(image, Image.Image):
        if image.mode[0] in "IF":  # Pillow would clip what is above 255
            raise ValueError(f"{what} has more than 8 bits per channel (Pillow's mode {image.mode}): scale it to 8 bits first")
        array = np.array(image if image.mode in ("L", "RGB") else image.convert("RGB"))
        image = torch.from_numpy(array).reshape(*array.shape[:2], -1).permute(2, 0, 1)
    if not isinstance(image, Tensor):
        raise TypeError(f"{what} must be a tensor or one of Pillow's, got {type(image).__name__}; torchvision's ToTensor converts arrays")
    if image.ndim != 3 or image.shape[0] not in (1, 3):
        raise ValueError(f"{what} must be [C, H, W] with C = 1 or 3, got {list(image.shape)}")
    if image.dtype == torch.uint8:
        return image
    if not image.is_floating_point():
        raise TypeError(f"{what} must be uint8 or float, got {image.dtype}")
    slack = 1e-4 * (high - low)
    if not bool(((image >= low - slack) & (image <= high + slack)).all()):  # also False for NaN
        raise ValueError(
            f"{what} must be in [{low:g}, {high:g}], got {image.min():.4g}..{image.max():.4g}; leave out "
            f"a normalisation, or say what black and white are by value_range"
        )
    return ((image.double() - low) * (255 / (high - low))).round().clamp(0, 255).to(torch.uint8)


def _label(label, i: int) -> int:
    value = label.item() if hasattr(label, "item") and getattr(label, "ndim", 0) == 0 else label
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise TypeError(f"label {i} must be a whole number from 0, got {label!r}")
    return value
