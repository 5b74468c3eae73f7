"""Images in rows and columns, with names."""

from collections.abc import Mapping, Sequence
from textwrap import fill

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from synaug.plots.style import WIDTH, finish, plain

GAP = 2  # transparent pixels between images
LARGEST = 1.1  # inches of an image


def montage(rows: Sequence, overlay: Sequence | None = None) -> np.ndarray:
    """Rows of images as one picture, uint8 ``[height, width, 4]``, transparent between images and where a row is None.

    rows: uint8 ``[K, C, H, W]`` each, C 1 or 3. overlay: for each image of each row a map ``[H, W]`` in [0, 1], or
    None, that is laid over it (0.6 of matplotlib's "inferno"). TypeError for images that are not uint8.
    """
    rows = [None if row is None else np.asarray(row) for row in rows]
    for row in rows:
        if row is not None and row.dtype != np.uint8:
            raise TypeError(f"images must be uint8, not {row.dtype}; synaug.data.to_bytes makes them of floats in [-1, 1]")
    count, _, height, width = max((row for row in rows if row is not None), key=len).shape
    picture = np.zeros((len(rows) * (height + GAP) - GAP, count * (width + GAP) - GAP, 4), np.uint8)
    for i, row in enumerate(rows):
        for j, image in enumerate(() if row is None else row):
            tile = np.broadcast_to(image.transpose(1, 2, 0), (height, width, 3))
            if overlay is not None and overlay[i][j] is not None:
                tile = 0.4 * tile + 0.6 * 255 * plt.get_cmap("inferno")(np.asarray(overlay[i][j], float))[..., :3]
            top, left = i * (height + GAP), j * (width + GAP)
            picture[top : top + height, left : left + width] = np.dstack([tile, np.full((height, width), 255)])
    return picture


def image_grid(images: Sequence | Mapping[str, Sequence], row_names: Sequence = (), column_names: Sequence = (), *, overlay: Sequence | None = None) -> Figure:
    """A figure of images, their rows named at the left and their columns above.

    images: rows as `montage` takes them, or {title: rows} for blocks side by side; overlay: likewise, of one block.
    TypeError for images that are not uint8.
    """
    row_names, column_names = ([_broken(str(name)) for name in names] for names in (row_names, column_names))
    blocks = images if isinstance(images, Mapping) else {"": images}
    pictures = [montage(rows, overlay) for rows in blocks.values()]
    sample = next(np.asarray(row) for rows in blocks.values() for row in rows if row is not None)
    height, width = sample.shape[-2:]
    across, down = sum(p.shape[1] for p in pictures) / (width + GAP), pictures[0].shape[0] / (height + GAP)
    names, high = _room(row_names)
    names += 0.15 * len(pictures)
    size = min(LARGEST, (WIDTH - names) / across)  # inches of an image's width
    wide, above = _room(column_names)
    if slanted := wide > size:
        above = 0.71 * (wide + above)
        size = min(LARGEST, (WIDTH - names - above) / across)
        names += above
    above += 0.05 + 0.25 * any(blocks)
    figure, axes = plt.subplots(
        1,
        len(pictures),
        squeeze=False,
        layout="constrained",
        width_ratios=[p.shape[1] for p in pictures],
        figsize=(names + size * across, max(size * height / width, high) * down + above),
    )
    for ax, title, picture in zip(axes[0], blocks, pictures):
        ax.imshow(picture, interpolation="nearest")
        for axis, named, step in ((ax.yaxis, row_names if ax is axes[0, 0] else (), height), (ax.xaxis, column_names, width)):
            axis.set_ticks([(step + GAP) * i + step / 2 - 0.5 for i in range(len(named))], list(map(plain, named)))
        ax.xaxis.tick_top()
        if slanted:
            plt.setp(ax.get_xticklabels(), rotation=45, ha="left", rotation_mode="anchor")
        ax.tick_params(length=0)
        ax.grid(False)
        ax.spines[:].set_visible(False)
        ax.set_title(plain(title))
    return finish(figure)


def _broken(name: str) -> str:
    """A name in lines of 24 characters, two at most of each of its own: folders' names may be ten times as long."""
    return "\n".join(fill(line, 24, max_lines=2, placeholder="...") for line in name.split("\n"))


def _room(names: Sequence[str]) -> tuple[float, float]:
    """The inches that the widest and the highest of some names take."""
    lines = [name.split("\n") for name in names]
    return (0.08 * max((len(line) for name in lines for line in name), default=0), 0.19 * max(map(len, lines), default=0))
