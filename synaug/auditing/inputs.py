"""What an audit compares: real images to learn from, real images held out, and synthetic ones, of one shape and the
same classes."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Dataset

from synaug.data import ImageDataset, load_image_folder, stratified_subset
from synaug.data.folders import image_kinds, list_images
from synaug.data.images import folder_name
from synaug.data.torch_datasets import from_torch

#: Side in pixels beyond which folders of images are reduced: thousands of them fit into memory, and encoders see less.
LARGEST = 64
#: Real images that a class needs where a third is held out of them.
LEAST = 3
#: What must not be the same.
PAIRS = ("real", "synthetic"), ("held-out", "synthetic"), ("real", "held-out")

Images = str | Path | ImageDataset | Dataset


@dataclass(frozen=True, eq=False)
class Sets:
    """train, held, synthetic: with the same ``class_names``, those that occur in all. notes: what was done to get there.
    missing: classes of the real images of which there is no synthetic one. names: of "train", "held" and "synthetic", what
    each image is called: its file, or its place in the data set that was given; left out, its place in the set itself.
    """

    train: ImageDataset
    held: ImageDataset
    synthetic: ImageDataset
    notes: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    names: Mapping[str, np.ndarray] = field(default_factory=dict)

    def names_of(self, role: str) -> list[str]:
        """A name per image of "train", "held" or "synthetic", as text, in their order."""
        return list(map(str, self.names[role] if role in self.names else range(len(getattr(self, role)))))


def gather(
    real: Images,
    synthetic: Images | None,
    held_out: Images | None = None,
    *,
    image_size: int | tuple[int, int] | None = None,
    mode: str | None = None,
    unreadable: str = "refuse",
    seed: int = 0,
    cache: bool = True,
    progress: bool = False,
) -> Sets:
    """The sets of an audit; for arguments and errors see `synaug.auditing.audit`. Where synthetic is None, half of the
    real images that are not held out stands in for it."""
    given = {"real": real, "synthetic": synthetic, "held-out": held_out}
    given = {role: images for role, images in given.items() if images is not None}
    if (image_size or mode) and not any(isinstance(images, str | Path) for images in given.values()):
        raise ValueError("image_size and mode are of folders of images, and none is given")
    folders = {role: Path(images).expanduser() for role, images in given.items() if isinstance(images, str | Path)}
    for one, other in PAIRS:
        if one in folders and other in folders and folders[one].resolve() == folders[other].resolve():
            raise ValueError(f"the {one} and the {other} images are one folder, {folders[one]}")
    empty = {role: "skip" if role == "synthetic" else "refuse" for role in folders}  # a class of which none was made is missing
    listed = {role: list_images(folder, empty[role]) for role, folder in folders.items()}
    loaded = {role: from_torch(images, progress=progress) for role, images in given.items() if not isinstance(images, str | Path)}
    if folders:
        loaded = {role: replace(data, class_names=tuple(map(folder_name, data.class_names))) for role, data in loaded.items()}
    _common({role: list(listed[role]) if role in folders else _present(loaded[role]) for role in given})
    notes = []
    files = {role: [f for members in classes.values() for f in members] for role, classes in listed.items()}
    if loaded:
        channels, height, width = next(iter(loaded.values())).image_shape
        image_size, mode = image_size or (height, width), mode or {1: "L", 3: "RGB"}[channels]
    elif image_size is None or mode is None:
        kinds = {role: [kind for kind in image_kinds(members) if kind] for role, members in files.items()}
        modes = sorted({kind[0] for found in kinds.values() for kind in found})
        sizes = Counter(kind[1] for role in sorted(kinds, key="real".__ne__) for kind in kinds[role])
        if mode is None:
            mode = "L" if modes == ["L"] else "RGB"
            notes += [f"images of modes {', '.join(modes)} were taken as {mode}"] if len(modes) > 1 else []
        if image_size is None:
            image_size = _usual_size([kind[1] for kind in kinds["real"]])
            if set(sizes) - {image_size}:
                told = ", ".join(f"{n} of {h} x {w}" for (h, w), n in sizes.most_common(3))
                told += ", ..." * (len(sizes) > 3)
                notes.append(f"images of {len(sizes)} size{'s' * (len(sizes) > 1)} ({told}) were resized to {image_size[0]} x {image_size[1]} (height x width)")
    for role, folder in folders.items():
        loaded[role] = load_image_folder(folder, image_size, mode=mode, unreadable=unreadable, empty=empty[role], cache=cache)
        if skipped := len(files[role]) - len(loaded[role]):
            notes.append(f"{skipped} {role} {'images that cannot be read were' if skipped > 1 else 'image that cannot be read was'} skipped")
    shapes = {role: loaded[role].image_shape for role in given}
    if len(set(shapes.values())) > 1:
        raise ValueError(
            f"images of more than one shape (C, H, W): {', '.join(f'{r} {s}' for r, s in shapes.items())}; bring them to one, or give folders, which are"
        )
    present = {role: _present(loaded[role]) for role in given}
    classes = _common(present)
    # Not the source index of a data set, which says where its images once came from: copies share one.
    names = {role: np.array(list(map(str, files[role])))[loaded[role].source_index] if role in folders else np.arange(len(loaded[role])) for role in given}
    for role in given:
        counts = Counter(loaded[role].class_names[label] for label in loaded[role].labels.tolist())
        if beyond := sorted(set(counts) - set(classes)):
            notes.append(f"{sum(counts[name] for name in beyond)} {role} images of classes that not all sets have are left out: {', '.join(beyond)}")
        loaded[role], kept = _of_classes(loaded[role], classes)
        names[role] = names[role][kept]
    hashed = {role: hashes(loaded[role]) for role in given}
    for one, other in PAIRS:
        if {one, other} <= set(given) and sorted(hashed[one]) == sorted(hashed[other]):
            raise ValueError(f"the {other} images are the {one} ones, pixel by pixel")
    repeated = ""
    if held_out is None:  # of equal images one could be held out and the other learned from
        first = torch.from_numpy(np.sort(np.unique(hashed["real"], return_index=True)[1]))
        if repeats := len(hashed["real"]) - len(first):
            repeat, are = ("repeats", "is") if repeats == 1 else ("repeat", "are")
            repeated = f"{repeats:,} of the {len(hashed['real']):,} real images {repeat} another one and {are} left out"
            classes_of = Counter(image for image, _ in {*zip(hashed["real"], loaded["real"].labels.tolist())})
            if several := sum(n > 1 for n in classes_of.values()):
                are = "is" if several == 1 else "are"
                repeated += f"; {several:,} {are} in more than one class, and {are} kept in one"
            notes.append(repeated)
            loaded["real"], names["real"] = loaded["real"].subset(first), names["real"][first]
    everything = loaded["real"]
    counts, least = everything.labels.bincount(minlength=len(classes)).tolist(), LEAST if held_out is None else LEAST - 1
    if few := [f"{name} ({n})" for name, n in zip(classes, counts) if n < least]:
        why = ", of which a third is held out" * (held_out is None)
        raise ValueError(f"classes with fewer than {least} real images{why}: {', '.join(few)}{repeated and f' ({repeated})'}")
    if held_out is None:
        of_held, of_train = _split(everything, round(len(everything) / 3), seed)
        train, held = everything.subset(of_train), everything.subset(of_held)
        names["real"], names["held-out"] = names["real"][of_train], names["real"][of_held]
        notes.append(f"{len(held):,} of the {len(everything):,} real images, of each class the same share, are held out")
    else:
        train, held = everything, loaded["held-out"]
    if synthetic is None:
        learned, made = halves(train, seed)
        train, loaded["synthetic"] = train.subset(learned), train.subset(made)
        names["real"], names["synthetic"] = names["real"][learned], names["real"][made]
    missing = tuple(name for name in present["real"] if name not in present.get("synthetic", present["real"]))
    return Sets(train, held, loaded["synthetic"], tuple(notes), missing, {"train": names["real"], "held": names["held-out"], "synthetic": names["synthetic"]})


def _usual_size(sizes: list[tuple[int, int]]) -> tuple[int, int]:
    """(height, width) that images are brought to: that of half of them or more, else the medians; beyond `LARGEST`, a square of it."""
    if not sizes:
        return LARGEST, LARGEST
    size, number = Counter(sizes).most_common(1)[0]
    height, width = size if 2 * number >= len(sizes) else (int(side) for side in np.median(sizes, axis=0))
    return (height, width) if max(height, width) <= LARGEST else (LARGEST, LARGEST)


def halves(data: ImageDataset, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The places, int64, of two halves, each with half of the images of each class."""
    return _split(data, max(len(data.labels.unique()), len(data) // 2), seed)


def hashes(data: ImageDataset) -> list[int]:
    """A number for each image that is the same for equal images."""
    return [hash(image.tobytes()) for image in data.images.numpy()]


def _split(data: ImageDataset, n: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The places, int64, of n images, of each class the same share, and, ascending, those of all others."""
    # By place, as several images may share a source index.
    first = stratified_subset(replace(data, source_index=torch.arange(len(data))), n, seed, proportional=True).source_index
    others = torch.ones(len(data), dtype=torch.bool)
    others[first] = False
    return first, others.nonzero().flatten()


def _present(data: ImageDataset) -> list[str]:
    return [data.class_names[label] for label in data.labels.unique().tolist()]


def _common(names: dict[str, list[str]]) -> list[str]:
    """The classes that all have, in the order of the real images'; ValueError unless there are two."""
    common = [name for name in names["real"] if all(name in others for others in names.values())]
    if len(common) < 2:
        held = "; ".join(f"{role}: {', '.join(map(repr, own[:6]))}{', ...' * (len(own) > 6)}" for role, own in names.items())
        raise ValueError(
            f"an audit needs two classes that the {' and the '.join(names)} images share, by their names; "
            f"they share {repr(common[0]) if common else 'none'} ({held})"
        )
    return common


def _of_classes(data: ImageDataset, classes: list[str]) -> tuple[ImageDataset, torch.Tensor]:
    """The images of these classes, labelled by their places in the list, and their places in the data."""
    place = torch.tensor([classes.index(name) if name in classes else -1 for name in data.class_names])
    at = (place[data.labels] >= 0).nonzero().flatten()
    kept = data.subset(at)
    return ImageDataset(kept.images, place[kept.labels], tuple(classes), kept.source_index, kept.name), at
