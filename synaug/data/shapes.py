"""Small pictures of one shape in one colour, drawn by a program: which combinations a generator makes can be counted."""

import numpy as np
import torch

from synaug.data.images import ImageDataset

SHAPES = ("disc", "square", "triangle", "cross")
COLOURS = {"red": (0.9, 0.2, 0.2), "green": (0.2, 0.75, 0.25), "blue": (0.25, 0.35, 0.95), "yellow": (0.9, 0.8, 0.15)}
SIDE, COMBINATIONS = 16, len(SHAPES) * len(COLOURS)
#: Images of each combination.
PER_COMBINATION = {"train": 250, "test": 100}


def load_shapes(split: str, held_out: bool = False) -> ImageDataset:
    """Images 16 x 16 RGB whose class is their shape; size, place, brightness and background vary, and there is noise.

    held_out: without the combinations of the i-th shape with the i-th colour, in the train split; the test split has all.
    """
    n, rng = COMBINATIONS * PER_COMBINATION[split], np.random.default_rng({"train": 0, "test": 1}[split])
    index = np.arange(n)
    shape, colour = index % len(SHAPES), index // len(SHAPES) % len(COLOURS)
    y, x = np.mgrid[:SIDE, :SIDE][:, None] + 0.5
    radius, cx, cy = (rng.uniform(low, high, (n, 1, 1)) for low, high in ((3, 5.5), (6, 10), (6, 10)))
    u, v = np.abs(x - cx) / radius, (y - cy) / radius
    # Distances beyond the outline, in units of the radius: 0 on it, and edges that are a pixel wide.
    beyond = np.stack(
        [
            np.hypot(u, v) - 1,
            np.maximum(u, np.abs(v)) - 0.85,
            np.maximum(2 * u - v - 1, v - 0.9) / 1.7,
            np.maximum(np.minimum(u, np.abs(v)) - 0.3, np.maximum(u, np.abs(v)) - 1),
        ]
    )[shape, index]
    inside = np.clip(0.5 - beyond * radius, 0, 1)[:, None]
    tint = np.array(list(COLOURS.values()))[colour] * rng.uniform(0.75, 1.1, (n, 1))
    ground = rng.uniform(0.0, 0.35, (n, 1, 1, 1))
    picture = inside * tint[:, :, None, None] + (1 - inside) * ground + rng.normal(0, 0.03, (n, 3, SIDE, SIDE))
    images = torch.from_numpy(np.rint(255 * picture.clip(0, 1)).astype(np.uint8))
    name = "shapes_held_out" if held_out else "shapes"
    whole = ImageDataset(images, torch.from_numpy(shape), SHAPES, torch.from_numpy(index), name)
    return whole.subset(torch.from_numpy(np.flatnonzero(shape != colour))) if held_out and split == "train" else whole


def colours_of(data: ImageDataset) -> torch.Tensor:
    """The colour of each image of `load_shapes`, int64 ``[N]``, by its source index."""
    return data.source_index // len(SHAPES) % len(COLOURS)
