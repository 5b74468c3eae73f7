"""One's own images: a folder with one subfolder per class (torchvision's ``ImageFolder`` layout), read and written."""

import os
import shutil
import time
import unicodedata
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import torch
from PIL import ExifTags, Image, ImageOps
from torchvision.datasets.folder import IMG_EXTENSIONS
from tqdm import tqdm

from synaug import paths
from synaug.checks import of_kind, one_of, whole
from synaug.data.images import ImageDataset, folder_name
from synaug.dependencies import code_of
from synaug.files import content_key, find, keep
from synaug.provenance import versions
from synaug.resources import check_disk, check_memory

#: Seconds of decoding from which on its result is kept in the cache folder, until a file changes.
SLOW = 5.0
CHANNELS = {"L": 1, "RGB": 3}  # Pillow's modes that are stored as they are
SPLITS = {"train", "training", "test", "testing", "val", "valid", "validation"}
#: Where what is not yet written whole lies, in its folder.
UNFINISHED = ".unfinished"
#: What systems and programs leave in folders; so is what begins with a point.
LITTER = {"__macosx", "__pycache__", "@eadir", "lost+found", "$recycle.bin", "system volume information", "thumbs.db", "desktop.ini"}


def load_image_folder(
    path: str | Path,
    image_size: int | tuple[int, int] | None = None,
    *,
    mode: str | None = None,
    crop: bool = False,
    unreadable: str = "refuse",
    empty: str = "refuse",
    cache: bool = True,
) -> ImageDataset:
    """The images of ``path/class/**/*``, classes and files in alphabetical order.

    path: its subfolders are the classes; what is hidden or a system's own is passed over, and so, with a warning that
    counts them, are files without an image's extension. Links are followed as long as they stay in ``path``.
    image_size: side or (height, width) in pixels to which every image is resized (bicubic with antialiasing); None
    takes the images as they are. crop: whether what is resized is first cut to that aspect ratio about its centre,
    instead of being squashed. mode: "RGB" or "L" (grey) to convert every image to, transparent parts to white; None
    takes what is of one of these. unreadable: "refuse" images that cannot be read, or "skip" them with a warning that
    names them; either way ``source_index`` counts the files of `list_images`. empty: "refuse" or "skip" folders of classes
    without an image. cache: whether what takes more than some
    seconds to read is kept in the cache folder, until a file changes.

    Grey images give C = 1, colour images C = 3. Photographs are turned upright, as their EXIF entry says. Raises
    MemoryError where the images have no room, FileNotFoundError or NotADirectoryError for a bad path, and ValueError,
    naming files, for: no class, a class without an image, images or folders that cannot be read, images of other modes
    or of more than one mode where ``mode`` is None, of more than one size where ``image_size`` is None.
    """
    path = Path(path).expanduser()
    size = _checked_size(image_size)
    if mode not in (None, *CHANNELS):
        raise ValueError(f'mode must be "RGB", "L" or None, got {mode!r}')
    if crop and size is None:
        raise ValueError("crop needs an image_size to cut to")
    one_of("value of unreadable,", unreadable, ("refuse", "skip"))
    classes = list_images(path, empty)
    labels = np.repeat(np.arange(len(classes)), [len(members) for members in classes.values()])
    files = [f for members in classes.values() for f in members]
    stats = [(f, f.stat()) for f in files if f.is_file()]
    about = [[str(f.absolute()), of.st_size, of.st_mtime_ns, of.st_ctime_ns] for f, of in stats]
    decoded = paths.cache_dir() / "folders" / content_key(code_of(load_image_folder), versions(), about, size, mode, crop)
    if cache and (known := find(decoded)) is not None:
        return known
    start = time.monotonic()

    skip = unreadable == "skip"
    headers = _read_each(files, _kind_and_decode if skip else _kind, "reading headers", skip)
    places = [i for i, found in enumerate(headers) if found]
    files, labels, headers = [files[i] for i in places], labels[places], [headers[i] for i in places]
    deep = [f"{f} is {found}" for f, (found, _) in zip(files, headers) if found[0] in "IF"]
    if deep:  # Pillow would clip what is above 255
        raise ValueError(f"images must have 8 bits per channel; {deep[0]} ({len(deep)} such files): scale them first")
    remedy = "load_image_folder takes {}, and save_image_folder keeps that"
    if mode is None:
        convert = remedy.format('mode="RGB" or "L", to convert them')
        mode = _the_one(files, [found for found, _ in headers], "mode", convert)
        if mode not in CHANNELS:
            raise ValueError(f"images must be grey (mode L) or RGB, these are {mode}: {convert}")
    if size is None:
        size = _the_one(files, [size for _, size in headers], "size (height, width)", remedy.format("image_size, to resize them"))

    height, width = size
    check_memory(len(files) * CHANNELS[mode] * height * width, f"{path}: {len(files):,} images of {height}x{width}")
    images = np.empty((len(files), CHANNELS[mode], height, width), np.uint8)

    def store(image: Image.Image, i: int) -> None:
        image = ImageOps.exif_transpose(image)
        if image.mode != mode and image.has_transparency_data:
            image = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
        if image.mode != mode:
            image = image.convert("RGB").convert(mode)
        if image.size != (width, height):
            resize = ImageOps.fit if crop else Image.Image.resize
            image = resize(image, (width, height), Image.Resampling.BICUBIC)
        images[i] = np.asarray(image).reshape(height, width, -1).transpose(2, 0, 1)

    _read_each(files, store, "reading images")
    dataset = ImageDataset(torch.from_numpy(images), torch.from_numpy(labels), tuple(classes), torch.tensor(places), name=path.resolve().name)
    if cache and time.monotonic() - start > SLOW and len(places) == len(about):
        keep(decoded, dataset)
    return dataset


def save_image_folder(dataset: ImageDataset, folder: str | Path) -> Path:
    """Write a data set as ``folder/class/000123.png``, lossless, which `load_image_folder` reads; returns the folder.

    folder: to be made, or empty. A class's folder is its `folder_name`; one without images gets none. All is written, or
    nothing. FileExistsError where the folder holds something, ValueError for class names that no folder can have or whose
    folders are one, OSError where the disk is too small.
    """
    of_kind("dataset", dataset, ImageDataset)
    folder = Path(folder).expanduser()
    shutil.rmtree(scratch := folder / UNFINISHED, ignore_errors=True)
    if folder.exists() and (held := len(list(folder.iterdir()))):
        raise FileExistsError(f"{folder} holds {held} files or folders: choose one to be made, or an empty one")
    places = [folder_name(name) for name in dataset.class_names]
    if bad := [name for name, place in zip(dataset.class_names, places) if _is_litter(place) or not place.strip() or "\0" in place or places.count(place) > 1]:
        raise ValueError(f"class names that cannot be folders of their own: {', '.join(map(repr, bad))}")
    check_disk(folder, dataset.images.numel() + 500 * len(dataset), f"writing {len(dataset):,} images")
    try:
        for label in dataset.labels.unique().tolist():
            (scratch / places[label]).mkdir(parents=True)
        for i, (image, label) in enumerate(zip(dataset.images.numpy(), dataset.labels.tolist())):
            pixels = image[0] if len(image) == 1 else image.transpose(1, 2, 0)
            Image.fromarray(np.ascontiguousarray(pixels)).save(scratch / places[label] / f"{i:06}.png")
        for place in list(scratch.iterdir()):
            place.rename(folder / place.name)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return folder


def list_images(path: str | Path, empty: str = "refuse") -> dict[str, list[Path]]:
    """The image files of each class, in the order in which `load_image_folder` numbers them; its errors and warning."""
    one_of("value of empty,", empty, ("refuse", "skip"))
    path = Path(path).expanduser()
    classes = find_classes(path)
    passed_over = Counter(f"{_ending(f)} beside the classes" for f in _listed(path) if not f.is_dir() and not _is_litter(f.name))
    files = {name: _image_files(folder, path, passed_over) for name, folder in classes.items()}
    kinds = ", ".join(f"{number} {kind}" for kind, number in passed_over.most_common(6))
    without = [name for name, members in files.items() if not members]
    if without and (empty == "refuse" or len(without) == len(files)):
        raise ValueError(
            f"{path}: no images in {', '.join(map(repr, without))}; image files end in "
            f"{', '.join(IMG_EXTENSIONS)}" + (f"; passed over: {kinds}" if kinds else "")
        )
    if passed_over:
        warnings.warn(
            f"{path}: {passed_over.total()} files were passed over ({kinds}); images lie in a class's folder and end in {', '.join(IMG_EXTENSIONS)}",
            stacklevel=3,
        )
    return {name: members for name, members in files.items() if members}


def image_kinds(files: list[Path]) -> list[tuple | None]:
    """(mode, (height, width)) of each image file, upright; None for one that cannot be read, which is not said here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _read_each(files, _kind, "reading headers", skip=True)


def find_classes(path: Path) -> dict[str, Path]:
    """The folder of each class of a folder of images, in the order of the labels. Errors: see `load_image_folder`."""
    if not path.is_dir():
        raise (NotADirectoryError if path.exists() else FileNotFoundError)(f"{path} is not a folder")
    folders = [f for f in _listed(path) if f.is_dir() and not _is_litter(f.name)]
    classes = {unicodedata.normalize("NFC", f.name): f for f in folders}
    if not classes:
        raise ValueError(f"{path} has no classes: it must hold one subfolder of images per class")
    if len(classes) < len(folders):
        raise ValueError(f"{path} has two folders of one name, in composed and decomposed letters: make them one")
    if splits := find_splits(path):
        first = min(splits.values(), key=lambda split: not split.name.lower().startswith("train"))
        raise ValueError(f"{path} holds {', '.join(splits)}: splits, not classes. Name one of them, such as {first} (load_dataset takes the whole)")
    if deeper := [f for f in folders if find_splits(f)]:
        raise ValueError(f"{deeper[0]} holds {', '.join(find_splits(deeper[0]))}: splits, not images of one class")
    return dict(sorted(classes.items()))


def find_splits(path: Path) -> dict[str, Path]:
    """The subfolders that are splits, such as train and Test (here "test"); none where it holds the classes itself."""
    folders = [f for f in _listed(path) if f.is_dir() and not _is_litter(f.name)]
    splits = {f.name.lower(): f for f in folders if f.name.lower() in SPLITS and not any(member.suffix.lower() in IMG_EXTENSIONS for member in _listed(f))}
    return splits if len(splits) > 1 or len(splits) == len(folders) else {}


def first_kind(path: Path, image_size: tuple[int, int] | None = None, mode: str | None = None, crop: bool = False) -> tuple:
    """(mode, (height, width)) of a folder's first image, once it is converted as `load_image_folder` would."""
    files = (_image_files(folder, path, Counter()) for folder in find_classes(path).values())
    found = _read_each(next(filter(None, files), [])[:1], _kind, "")
    return tuple(given or there for given, there in zip((mode, _checked_size(image_size)), *found))


def _is_litter(name: str) -> bool:
    return name.startswith(".") or name.lower() in LITTER


def _listed(folder: Path) -> list[Path]:
    try:
        found = sorted(folder.iterdir())
    except OSError as error:
        raise ValueError(f"{folder} cannot be read ({error.strerror})") from error
    links = [file for file in found if file.is_symlink() and not file.exists() and not _is_litter(file.name)]
    if broken := [file for file in links if file.suffix.lower() not in IMG_EXTENSIONS]:  # an image's is one that cannot be read
        raise ValueError(f"{broken[0]} is a link to what is not there, {os.path.realpath(broken[0])}: bring that, or remove the link")
    return found


def _image_files(folder: Path, top: Path, passed_over: Counter, above: tuple[str, ...] = ()) -> list[Path]:
    """The image files below a folder, sorted; others are counted by their ending."""
    found, real, tree = [], os.path.realpath(folder), os.path.realpath(top)
    _refuse_leaving(folder, tree)
    if real in (tree, *above):
        raise ValueError(f"{folder} is a link to a folder that it lies in")
    for file in _listed(folder):
        if _is_litter(file.name):
            continue
        if file.is_dir():
            found += _image_files(file, top, passed_over, (*above, real))
        elif file.suffix.lower() in IMG_EXTENSIONS and (file.is_file() or file.is_symlink()):  # a broken link is named
            _refuse_leaving(file, tree)
            found.append(file)
        else:
            passed_over[_ending(file)] += 1
    return sorted(found)


def _ending(file: Path) -> str:
    return file.suffix.lower() or "without an ending"


def _refuse_leaving(place: Path, tree: str) -> None:
    if not Path(os.path.realpath(place)).is_relative_to(tree):
        raise ValueError(f"{place} is a link out of the folder of images, to {os.path.realpath(place)}: copy what it leads to")


def _checked_size(image_size) -> tuple[int, int] | None:
    """``image_size`` as (height, width)."""
    if image_size is None:
        return None
    sides = image_size if isinstance(image_size, (tuple, list)) else (image_size, image_size)
    try:
        height, width = (whole("image_size", side, 1) for side in sides)
    except ValueError:  # not two, or not whole
        raise ValueError(f"image_size must be a positive integer or (height, width), got {image_size!r}") from None
    return height, width


def _kind(image: Image.Image, i: int) -> tuple:
    """Mode, and (height, width) once the image is turned as its EXIF orientation says; 5 to 8 lie on their side."""
    width, height = image.size
    return image.mode, ((width, height) if image.getexif().get(ExifTags.Base.Orientation) in (5, 6, 7, 8) else (height, width))


def _kind_and_decode(image: Image.Image, i: int) -> tuple:
    image.load()
    return _kind(image, i)


def _read_each(files: list[Path], read, title: str, skip: bool = False) -> list:
    """``read(opened image, i)`` for the i-th file. What cannot be read is a ValueError that names it, or, where it is
    skipped and not all that there is, a warning and None."""
    results, unreadable = [], []
    for i, file in enumerate(tqdm(files, desc=title, disable=None, delay=1)):
        try:
            with Image.open(file) as image:
                results.append(read(image, i))
        except Exception as error:  # a damaged file shows in many ways
            unreadable.append(f"{file} ({error})")
            results.append(None)
    if unreadable:
        told = f"{len(unreadable)} of {len(files)} images cannot be read: {'; '.join(unreadable[:5])}"
        if not skip or len(unreadable) == len(files):
            raise ValueError(told)
        warnings.warn(f"{told}; they are skipped", stacklevel=3)
    return results


def _the_one(files: list[Path], values: list, what: str, remedy: str):
    """The value that all files share; ValueError naming a file of each of two."""
    for file, value in zip(files, values):
        if value != values[0]:
            raise ValueError(f"images of more than one {what}: {files[0]} is {values[0]}, {file} is {value}; {remedy}")
    return values[0]
