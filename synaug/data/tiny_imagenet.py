"""TinyImageNet: 100,000 train and 10,000 test images of 200 classes, 64x64 RGB, from an archive that the user brings.

Its terms allow no copies to be published, so nothing here downloads it.
"""

import io
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from synaug import paths
from synaug.data.cached import Arrays, load_cached
from synaug.data.images import ImageDataset
from synaug.resources import check_disk, check_memory

ARCHIVE = "tiny-imagenet-200"
SIDE = 64


def load_tiny_imagenet(split: str) -> ImageDataset:
    """TinyImageNet from ``tiny-imagenet-200.zip``, or its folder, in the cache folder.

    The test split is its validation images: those called test have no labels. Grey images count as RGB. Classes are
    in the order of ``wnids.txt`` and named by their first name; images of a class in the order of their file names.
    """
    return load_cached("tiny_imagenet", split, from_archive, {})


def from_archive(folder: Path) -> Arrays:
    """The arrays of the archive or its folder in ``folder``; FileNotFoundError where neither is, ValueError where
    files are missing, unreadable or of another size than 64x64."""
    unpacked, packed = folder / ARCHIVE, folder / f"{ARCHIVE}.zip"
    if unpacked.is_dir():
        names = [path.relative_to(unpacked).as_posix() for path in unpacked.rglob("*.*")]
        return arrays_of(unpacked, names, lambda name: (unpacked / name).read_bytes())
    if not packed.is_file():
        raise FileNotFoundError(
            f"TinyImageNet is not there, and its terms do not let it come along: put {packed.name} "
            f"(cs231n.stanford.edu has it) or its folder {ARCHIVE} into {paths.cache_dir()} "
            f"(SYNAUG_CACHE names the cache folder)"
        )
    try:
        with zipfile.ZipFile(packed) as archive:
            names = [name.removeprefix(f"{ARCHIVE}/") for name in archive.namelist()]
            return arrays_of(packed, names, lambda name: archive.read(f"{ARCHIVE}/{name}"))
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise ValueError(f"{packed} is truncated or altered ({error}): bring it again") from error


def arrays_of(place: Path, names: list[str], read: Callable[[str], bytes]) -> Arrays:
    """The arrays of all images. names: of the files; read: gives a file's bytes."""

    def lines(name):
        return [line.split("\t") for line in read(name).decode().splitlines() if line.strip()]

    try:
        classes = [line[0] for line in lines("wnids.txt")]
        words = {line[0]: line[1].split(",")[0] for line in lines("words.txt")}
        label_of = {wnid: label for label, wnid in enumerate(classes)}
        test = [(f"val/images/{line[0]}", label_of[line[1]]) for line in lines("val/val_annotations.txt")]
        first = [words[wnid] for wnid in classes]
        class_names = np.array([n if first.count(n) == 1 else f"{n} ({w})" for n, w in zip(first, classes)])
    except (OSError, KeyError, IndexError) as error:
        raise ValueError(f"{place} is not laid out as TinyImageNet is: {error}") from error
    images = sorted(name for name in names if name.startswith("train/") and name.endswith(".JPEG"))
    train = [(name, label_of[name.split("/")[1]]) for name in images if name.split("/")[1] in label_of]
    counts = np.bincount([label for _, label in train], minlength=len(classes))
    if len(set(counts)) != 1 or not counts[0]:
        raise ValueError(f"{place} has {counts.min()} to {counts.max()} training images per class, which should be equal: some are missing")
    size = (len(train) + len(test)) * 3 * SIDE**2
    check_memory(2 * size, f"reading {place.name}")
    check_disk(paths.cache_dir(), size, f"reading {place.name}")
    arrays = {"class_names": class_names}
    for split, files in (("train", train), ("test", test)):
        arrays[f"{split}_images"] = np.stack([decoded(read, name) for name, _ in tqdm(files, desc=f"reading {split} images", delay=2, leave=False)])
        arrays[f"{split}_labels"] = np.array([label for _, label in files], np.uint8)
    return arrays


def decoded(read: Callable[[str], bytes], name: str) -> np.ndarray:
    """uint8 ``[3, 64, 64]``."""
    try:
        image = Image.open(io.BytesIO(read(name))).convert("RGB")
    except (OSError, KeyError, SyntaxError) as error:
        raise ValueError(f"{name} is missing or unreadable: {error}") from error
    if image.size != (SIDE, SIDE):
        raise ValueError(f"{name} has {image.height}x{image.width} pixels; TinyImageNet's images have {SIDE}x{SIDE}")
    return np.asarray(image).transpose(2, 0, 1)
