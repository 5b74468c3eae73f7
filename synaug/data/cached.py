"""Data sets that are obtained once and kept as arrays in the cache folder."""

import hashlib
import warnings
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock

from synaug import paths
from synaug.data.images import ImageDataset
from synaug.files import atomic_write

# {train,test}_images uint8 [N, C, H, W], {train,test}_labels uint8 [N], class_names
Arrays = dict[str, np.ndarray]


def load_cached(
    name: str, split: str, obtain: Callable[[Path], Arrays], digests: dict[str, str], class_names: tuple[str, ...] = (), size: int = 0
) -> ImageDataset:
    """One split out of ``<name>.npz`` in the cache folder, which ``obtain(cache folder)`` makes unless it is there.

    digests: the recorded sha256 of some of the arrays, checked when made and at every reading. class_names: of a file
    that holds none, as one with Keras's names does (x_train ``[N, H, W, C]``, y_train, x_test, y_test).
    size: training images of the whole. A file with fewer is a subset, which no sha256 can vouch for: a warning, and
    the name says so. Its arrays {train,test}_index, if it has them, say where its images stand in the whole.
    ValueError where the file is truncated or altered.
    """
    path = paths.cache_dir() / f"{name}.npz"
    if not path.exists():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OSError(f"{name} would be kept in {path.parent}, which cannot be made ({error.strerror}): name another folder by SYNAUG_CACHE") from error
        # Of several processes that start together, one obtains the data and the others wait for it.
        with FileLock(path.with_suffix(".lock")):
            if not path.exists():
                arrays = obtain(path.parent)
                check_arrays(arrays, digests, f"what was obtained as {name}")
                with atomic_write(path) as temporary, open(temporary, "wb") as file:
                    np.savez(file, **arrays)  # type: ignore[arg-type]  # its hints take each for allow_pickle
    images, labels = f"{split}_images", f"{split}_labels"
    with open(path, "rb") as file:
        try:
            stored = np.load(file, allow_pickle=False)  # it checks sums (CRC-32) as it reads
            if f"x_{split}" in stored:
                colour_first = np.ascontiguousarray(stored[f"x_{split}"].transpose(0, 3, 1, 2))
                arrays = {images: colour_first, labels: stored[f"y_{split}"].reshape(-1), "class_names": class_names}
            else:
                arrays = {key: stored[key] for key in (images, labels, "class_names")}
            n, index = len(stored["y_train" if "y_train" in stored else "train_labels"]), np.arange(len(arrays[images]))
            if n < size and f"{split}_index" in stored:
                index = stored[f"{split}_index"]
        except (zipfile.BadZipFile, zlib.error, EOFError, KeyError, OSError, TypeError, ValueError) as error:
            raise ValueError(f"{path} is truncated or altered ({error}): delete it to obtain it again") from error
    if n < size:
        name = f"{name} ({n:,} of {size:,})"
        warnings.warn(f"{path} holds a subset, whose content is not checked: {name}", stacklevel=3)
    else:
        check_arrays(arrays, digests, f"{path} (delete it to obtain it again)")
    numbers, places = (torch.from_numpy(values.astype(np.int64)) for values in (arrays[labels], index))
    return ImageDataset(torch.from_numpy(arrays[images]), numbers, tuple(map(str, arrays["class_names"])), places, name)


def check_arrays(arrays: Arrays, digests: dict[str, str], what: str) -> None:
    """ValueError unless every array that has a recorded sha256 has that sha256."""
    for name in arrays.keys() & digests.keys():
        if hashlib.sha256(np.ascontiguousarray(arrays[name]).data).hexdigest() != digests[name]:
            raise ValueError(f"{what} is altered: the sha256 of {name} differs from the recorded one")
