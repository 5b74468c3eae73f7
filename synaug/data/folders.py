"""One's own images: a folder with one subfolder a class (torchvision's ``ImageFolder`` layout)."""

from pathlib import Path

import numpy as np
import torch
from PIL import ExifTags, Image, ImageOps
from torchvision.datasets.folder import IMG_EXTENSIONS
from tqdm import tqdm

from synaug.data.images import ImageDataset
from synaug.resources import check_memory

CHANNELS = {"L": 1, "RGB": 3}  # Pillow's modes that are stored as they are


def load_image_folder(path: str | Path, image_size: int | tuple[int, int] | None = None) -> ImageDataset:
    """The images of ``path/class/**/*``, classes and files in alphabetical order.

    path         its subfolders are the classes; what is hidden (its name begins with a point), and
                 files without an image extension, are passed over
    image_size   side or (height, width) in pixels to which every image is resized (bicubic with
                 antialiasing, aspect ratio not kept); None takes the images as they are

    Grey images (mode L) give C = 1, colour images (RGB) C = 3. Photographs are turned upright, as
    their EXIF entry says. Raises MemoryError where the images have no room, FileNotFoundError or
    NotADirectoryError for a bad path, and ValueError, naming files, for: no class, a class
    without an image, an unreadable image, images of other modes or of more than one mode, images
    of more than one size where ``image_size`` is None.
    """
    path = Path(path).expanduser()
    size = _checked_size(image_size)
    if not path.is_dir():
        raise (NotADirectoryError if path.exists() else FileNotFoundError)(f"{path} is not a folder")
    classes = sorted(d.name for d in path.iterdir() if d.is_dir() and not d.name.startswith("."))
    if not classes:
        raise ValueError(f"{path} has no classes: it must hold one subfolder of images a class")
    files = [_image_files(path / c) for c in classes]
    if empty := [c for c, members in zip(classes, files) if not members]:
        raise ValueError(
            f"{path}: no images in {', '.join(map(repr, empty))}; image files end in {', '.join(IMG_EXTENSIONS)}"
        )
    labels = np.repeat(np.arange(len(classes)), [len(members) for members in files])
    files = [f for members in files for f in members]

    headers = _read_each(files, lambda image, i: (image.mode, _upright_size(image)), "reading headers")
    if odd := [f"{f} is {mode}" for f, (mode, _) in zip(files, headers) if mode not in CHANNELS]:
        raise ValueError(f"images must be grey (mode L) or RGB; {odd[0]} ({len(odd)} such files): convert them first")
    mode = _the_one(files, [mode for mode, _ in headers], "mode", "convert them to one")
    if size is None:
        size = _the_one(files, [size for _, size in headers], "size", "or pass image_size to resize them")

    width, height = size
    check_memory(len(files) * CHANNELS[mode] * height * width, f"{path}: {len(files):,} images of {width}x{height}")
    images = np.empty((len(files), CHANNELS[mode], height, width), np.uint8)

    def store(image: Image.Image, i: int) -> None:
        image = ImageOps.exif_transpose(image)
        if image.size != size:
            image = image.resize(size, Image.Resampling.BICUBIC)
        images[i] = np.asarray(image).reshape(height, width, -1).transpose(2, 0, 1)

    _read_each(files, store, "reading images")
    return ImageDataset(torch.from_numpy(images), torch.from_numpy(labels), tuple(classes), name=path.resolve().name)


def _checked_size(image_size) -> tuple[int, int] | None:
    """``image_size`` as Pillow's (width, height)."""
    if image_size is None:
        return None
    sides = (image_size, image_size) if isinstance(image_size, int) else image_size
    if not isinstance(sides, tuple) or len(sides) != 2 or not all(isinstance(s, int) and s > 0 for s in sides):
        raise ValueError(f"image_size must be a positive integer or (height, width), got {image_size!r}")
    height, width = sides
    return width, height


def _image_files(folder: Path) -> list[Path]:
    return sorted(f for f in folder.rglob("*") if f.suffix.lower() in IMG_EXTENSIONS and f.is_file()
                  and not any(part.startswith(".") for part in f.relative_to(folder).parts))


def _upright_size(image: Image.Image) -> tuple[int, int]:
    """(width, height) once the image is turned as its EXIF orientation says; 5 to 8 lie on their side."""
    width, height = image.size
    return (height, width) if image.getexif().get(ExifTags.Base.Orientation, 1) >= 5 else (width, height)


def _read_each(files: list[Path], read, title: str) -> list:
    """``read(opened image, i)`` for the i-th file; ValueError naming those that cannot be read."""
    results, unreadable = [], []
    for i, file in enumerate(tqdm(files, desc=title, disable=None)):
        try:
            with Image.open(file) as image:
                results.append(read(image, i))
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            unreadable.append(f"{file} ({error})")
    if unreadable:
        raise ValueError(f"{len(unreadable)} of {len(files)} images cannot be read: {'; '.join(unreadable[:5])}")
    return results


def _the_one(files: list[Path], values: list, what: str, remedy: str):
    """The value that all files share; ValueError naming a file of each of two."""
    for file, value in zip(files, values):
        if value != values[0]:
            raise ValueError(f"images of more than one {what}: {files[0]} is {values[0]}, {file} is {value}; {remedy}")
    return values[0]
