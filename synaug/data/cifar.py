"""CIFAR-10 and CIFAR-100 (Krizhevsky 2009): 50,000 train and 10,000 test images, 32x32 RGB."""

import socket
import sys
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
from torchvision.datasets import CIFAR10, CIFAR100
from torchvision.datasets.utils import extract_archive
from tqdm import tqdm

from synaug.data.cached import Arrays, load_cached
from synaug.data.images import ImageDataset
from synaug.resources import check_disk

CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

# Of the arrays' bytes, in the original order: the same whichever way they came.
CIFAR10_SHA256 = {
    "train_images": "9d5c2eddadb0deff02c14c350c0385aab7b1d5ff1edfeb4997c8dc8644960111",
    "train_labels": "2b7cd2f24487317614016b72ffd53071c3062f592f0eb300c18a770d41ae1253",
    "test_images": "177777c33ba79825320efa646ad04a94bdc3c80e4ebe3bd21724f8cdfd4b9d56",
    "test_labels": "cec8a24a1e92aa2ecaa0bbd3dbfa86bf6cd8759fbd209a832824c8cf0afca9d5",
}
#: sha256 and bytes of the archives that torchvision names.
ARCHIVES = {
    CIFAR10: ("6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce", 170_498_071),
    CIFAR100: ("85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7", 169_001_437),
}
#: Training images of each.
SIZE = 50_000
#: Seconds without an answer or a byte after which a host counts as unreachable.
TIMEOUT = 10.0


def load_cifar10(split: str) -> ImageDataset:
    """CIFAR-10; what is in the cache folder as ``cifar10.npz`` is checked against the recorded sha256, or a subset."""
    return load_cached("cifar10", split, partial(from_archive, CIFAR10, *ARCHIVES[CIFAR10]), CIFAR10_SHA256, CIFAR10_CLASSES, SIZE)


def load_cifar100(split: str) -> ImageDataset:
    """CIFAR-100 with its 100 fine labels."""
    return load_cached("cifar100", split, partial(from_archive, CIFAR100, *ARCHIVES[CIFAR100]), {}, size=SIZE)


def from_archive(kind: type[CIFAR10], sha256: str, size: int, folder: Path) -> Arrays:
    """The arrays of the archive of ``size`` bytes, downloaded into ``folder`` unless it is there.

    OSError where the disk has too little room, ConnectionError, saying what to do, where it cannot be downloaded.
    """
    from sklearn.datasets import fetch_file  # slow to import, and used here only

    if not (folder / kind.filename).exists():
        check_disk(folder, 4 * size, f"obtaining {kind.__name__}")  # the archive, unpacked, as arrays
        print(f"{kind.__name__} is downloaded once, {tqdm.format_sizeof(size, 'B')}, from {kind.url} to {folder}", file=sys.stderr)
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT)
    try:
        archive = fetch_file(kind.url, folder, kind.filename, sha256, n_retries=1)
    except OSError as error:
        raise ConnectionError(
            f"{kind.__name__} could not be obtained from {kind.url}: {error}. What you can do: put {kind.filename} "
            f"(sha256 {sha256}), or the {kind.__name__.lower()}.npz that another machine keeps in its cache folder, "
            f"into {folder} (SYNAUG_CACHE names the cache folder)"
        ) from error
    finally:
        socket.setdefaulttimeout(before)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        extract_archive(archive, scratch)
        arrays = {}
        for split in ("train", "test"):
            original = kind(scratch, train=split == "train")
            arrays[f"{split}_images"] = np.ascontiguousarray(original.data.transpose(0, 3, 1, 2))
            arrays[f"{split}_labels"] = np.array(original.targets, np.uint8)
    return arrays | {"class_names": np.array(original.classes)}
