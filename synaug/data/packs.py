"""Packs: an image data set as a few files, lossless and small, for a machine that cannot download it.

``python -m synaug.data.packs cifar10 my_pack`` makes ``my_pack/train`` and ``my_pack/test``, which
``load_dataset("my_pack")`` reads; where they lie in ``packs/cifar10`` of the cache folder, ``load_dataset("cifar10")``
does. In place of a data set's name, a folder of one's own images will do: ``photos/train/<class>/...`` and
``photos/test/<class>/...`` make the data set "photos".

A pack is a folder with ``manifest.json`` (what it holds, and the sha256 of each part and of the whole content) and its
parts, zip files. In a part, 100 images at a time are one WebP image, a column of them, beside their labels and source
indices. CIFAR-10's 60,000 images take 98 MB so (in larger sheets 100 to 102 MB, each by itself 111 MB, as PNG 131 MB),
Fashion-MNIST's 23 MB. JPEG XL would take 90 and 20 MB, but Pillow alone does not read it.
"""

import argparse
import hashlib
import io
import json
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from synaug.data.downloads import atomic_write
from synaug.data.folders import load_image_folder
from synaug.data.images import ImageDataset, content_hash
from synaug.resources import check_disk, check_memory

MANIFEST = "manifest.json"
SPLITS = ("train", "test")
PART_BYTES = 20_000_000
SHEET_IMAGES = 100
#: Pixels a side, the most that WebP has.
WEBP_SIDE = 16_383
#: Bytes that a zip file takes for a sheet beside the sheet's own: two names of 10 letters, each twice with headers.
ENTRIES = 220


def write_pack(dataset: ImageDataset, folder: str | Path, part_bytes: int = PART_BYTES, progress: bool = True) -> Path:
    """Write a data set as a pack; returns the folder. Equal data give equal files.

    folder: to be made, or empty. part_bytes: the most that a part may have.
    FileExistsError where the folder holds something, ValueError for images that WebP or a part is too small for,
    OSError where the disk may become full: all before the first image is encoded.
    """
    folder = Path(folder)
    check_empty(folder)
    channels, height, width = dataset.image_shape
    image_bytes = channels * height * width
    if max(height, width) > WEBP_SIDE:
        raise ValueError(f"images of {height}x{width} do not fit into a pack, which has {WEBP_SIDE} pixels a side")
    # Where nothing can be compressed, an image takes little more than its bytes; half a part is left for that.
    if part_bytes < (least := 2 * image_bytes + 10_000):
        raise ValueError(f"part_bytes must be at least {least} for images {dataset.image_shape}, got {part_bytes}")
    check_disk(folder, len(dataset) * (image_bytes + 16) + 10_000, f"a pack of {len(dataset):,} images, at worst,")
    a_sheet = min(SHEET_IMAGES, WEBP_SIDE // height, (part_bytes - 10_000) // 2 // image_bytes)
    sheets = torch.arange(len(dataset)).split(a_sheet) if len(dataset) else ()
    folder.mkdir(parents=True, exist_ok=True)
    parts, waiting, size = [], [], 0
    pool = ThreadPoolExecutor()  # Pillow encodes without holding Python's lock
    try:
        for sheet in tqdm(pool.map(lambda indices: _encode(dataset.subset(indices)), sheets), total=len(sheets),
                          unit="sheet", desc=f"packing {dataset.name}", disable=None if progress else True):
            sheet_bytes = sum(map(len, sheet)) + ENTRIES
            if waiting and size + sheet_bytes > part_bytes:
                parts.append(_write_part(folder, len(parts) + 1, waiting))
                waiting, size = [], 0
            waiting.append(sheet)
            size += sheet_bytes
    finally:
        pool.shutdown(cancel_futures=True)
    if waiting:
        parts.append(_write_part(folder, len(parts) + 1, waiting))
    described = {"name": dataset.name, "class_names": dataset.class_names, "images": len(dataset),
                 "image_shape": dataset.image_shape, "sha256": content_hash(dataset), "parts": parts}
    with atomic_write(folder / MANIFEST) as temporary:  # the last: a folder without it is no pack
        temporary.write_text(json.dumps(described, indent=1) + "\n")
    return folder


def read_pack(folder: str | Path) -> ImageDataset:
    """The data set of a pack, checked: what `write_pack` was given, bit for bit.

    FileNotFoundError, naming them, where the manifest or parts are missing; ValueError, naming them, where parts or
    the manifest are truncated or altered; MemoryError where the images do not fit.
    """
    folder = Path(folder)
    if not (folder / MANIFEST).is_file():
        raise FileNotFoundError(f"{folder} is no pack: it has no {MANIFEST}, which is written last")
    try:
        described = json.loads((folder / MANIFEST).read_text())
        name, classes, total = described["name"], tuple(described["class_names"]), int(described["images"])
        digest, parts = described["sha256"], {folder / part["file"]: part["sha256"] for part in described["parts"]}
        channels, height, width = described["image_shape"]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{folder / MANIFEST} is truncated or altered ({error}): bring it again") from error
    if missing := [path.name for path in parts if not path.is_file()]:
        raise FileNotFoundError(f"{folder} lacks {len(missing)} of its {len(parts)} parts: {', '.join(missing)}")
    if bad := [path.name for path, sha in parts.items() if hashlib.sha256(path.read_bytes()).hexdigest() != sha]:
        raise ValueError(f"in {folder}, {len(bad)} of {len(parts)} parts are truncated or altered (their sha256 "
                         f"differs): bring {', '.join(bad)} again")
    check_memory(total * channels * height * width, f"the {total:,} images of {folder}")
    images = np.empty((total, channels, height, width), np.uint8)
    numbers = np.empty((2, total), np.int64)
    at = 0
    try:
        for path in parts:
            for sheet, labelled in _decode(path.read_bytes(), (channels, height, width)):
                there = slice(at, at + len(sheet))
                images[there], numbers[:, there] = sheet, labelled
                at += len(sheet)
        labels, source_index = torch.from_numpy(numbers)
        dataset = ImageDataset(torch.from_numpy(images), labels.clone(), classes, source_index.clone(), name)
    except ValueError:  # parts that do not fit what the manifest says
        dataset = None
    if dataset is None or at != total or content_hash(dataset) != digest:
        raise ValueError(f"{folder / MANIFEST} is altered, or of another pack than the parts beside it: bring it again")
    return dataset


def check_empty(folder: Path) -> None:
    """FileExistsError or NotADirectoryError unless ``folder`` can be made or is empty."""
    if folder.exists() and (held := sum(1 for _ in folder.iterdir())):
        raise FileExistsError(f"{folder} holds {held} files or folders: choose one to be made, or an empty one")


def _encode(part: ImageDataset) -> tuple[bytes, bytes]:
    """One column of images as lossless WebP, and ``[labels, source indices]`` as .npy."""
    channels, height, width = part.image_shape
    column = part.images.permute(0, 2, 3, 1).reshape(-1, width, channels).numpy()
    image, numbers = io.BytesIO(), io.BytesIO()
    # Three equal channels cost nothing. Effort 50 of 100 with the slowest method: 100 is ten times slower, 1 % smaller.
    Image.fromarray(np.broadcast_to(column, (*column.shape[:2], 3))).save(image, "WEBP", lossless=True, quality=50,
                                                                          method=6)
    np.save(numbers, torch.stack([part.labels, part.source_index]).numpy())
    return image.getvalue(), numbers.getvalue()


def _write_part(folder: Path, number: int, sheets: list[tuple[bytes, bytes]]) -> dict:
    """Write the sheets as a zip file; its line in the manifest."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for i, (image, numbers) in enumerate(sheets):
            # A ZipInfo of its own has a fixed date: equal data give equal files.
            archive.writestr(zipfile.ZipInfo(f"{i:05}.webp"), image)
            archive.writestr(zipfile.ZipInfo(f"{i:05}.npy"), numbers, zipfile.ZIP_DEFLATED)
    name = f"part-{number:03}.zip"
    with atomic_write(folder / name) as temporary:
        temporary.write_bytes(content.getvalue())
    return {"file": name, "sha256": hashlib.sha256(content.getvalue()).hexdigest()}


def _decode(content: bytes, image_shape):
    """The sheets of a part, one after another: images uint8 ``[n, C, H, W]`` and ``[labels, source indices]``."""
    channels, height, width = image_shape
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        for name in archive.namelist()[::2]:
            column = np.asarray(Image.open(io.BytesIO(archive.read(name))))[..., :channels]
            numbers = np.load(io.BytesIO(archive.read(name.replace(".webp", ".npy"))), allow_pickle=False)
            yield column.reshape(-1, height, width, channels).transpose(0, 3, 1, 2), numbers


def splits_of(source: str, image_size: int | None) -> dict[str, ImageDataset]:
    """Both splits of a data set by name, or of a folder of images, resized if need be.

    ValueError where there is neither, where one would be resized that has its size, or where the two differ in classes
    or shape.
    """
    # Not above: they import this module, which would then be there twice.
    from synaug.data.sources import LOADERS, load_dataset

    folder = Path(source).expanduser().resolve()
    if source in LOADERS:
        if image_size is not None:
            raise ValueError(f"--image-size is for a folder of images; {source} has its own")
        return {split: load_dataset(source, split) for split in SPLITS}
    if missing := [split for split in SPLITS if not (folder / split).is_dir()]:
        raise ValueError(f"{source!r} is none of {', '.join(LOADERS)} and no folder with {' and '.join(missing)}, each "
                         f"of a folder of images a class")
    made = {split: replace(load_image_folder(folder / split, image_size), name=folder.name) for split in SPLITS}
    train, test = made.values()
    if (train.class_names, train.image_shape) != (test.class_names, test.image_shape):
        raise ValueError(f"{source}/train has images {train.image_shape} of {', '.join(train.class_names)}, "
                         f"{source}/test {test.image_shape} of {', '.join(test.class_names)}: they must agree")
    return made


def main(arguments=None) -> None:
    parser = argparse.ArgumentParser(prog="python -m synaug.data.packs", description="Make packs of a data set's "
                                     "splits: lossless, small, in parts, for a machine that cannot download it.")
    parser.add_argument("dataset", help="a data set's name, or a folder with train and test, each a folder of images "
                        "a class")
    parser.add_argument("folder", type=Path, help="to be made, or empty; it gets a pack for each split")
    parser.add_argument("--part-bytes", type=int, default=PART_BYTES, help="the most that a part may have (default: "
                        "%(default)s)")
    parser.add_argument("--image-size", type=int, help="of a folder of images: the side in pixels to resize them to")
    options = parser.parse_args(arguments)
    try:
        check_empty(options.folder)
        for split, data in splits_of(options.dataset, options.image_size).items():
            write_pack(data, options.folder / split, options.part_bytes)
    except (OSError, ValueError) as error:
        sys.exit(f"{parser.prog}: {error}")
    files = [file for file in options.folder.rglob("*") if file.is_file()]
    print(f"{len(files)} files, {sum(file.stat().st_size for file in files):,} bytes, in {options.folder}")


if __name__ == "__main__":
    main()
