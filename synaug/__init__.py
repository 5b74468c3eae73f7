"""When do images from a diffusion model help train a classifier, and why do they so often not?

Most programs need no more than these names; ``help(synaug.reconstruct)`` says what one does:

- real images: `load_dataset`, `load_image_folder`, `draw_splits`, `ImageDataset`;
- what a diffusion model makes of them: `load_denoiser`, `reconstruct`, `generate`;
- how near that comes to fresh real images: `encode`, `compare_with_floor`, `frechet_distance`, `prdc`;
- what a classifier learns from them: `build_classifier`, `train_classifier`;
- new images of what it learns slowly: `warm_up`, `select`, `generate_pool`, `with_generated`;
- whether one's own synthetic images are worth adding: `audit`.

They are imported at their first use, so that ``import synaug`` takes no time.

Each folder is one subject, and imports only from those above it, and from the modules that stand in no folder:
`checks`, `dependencies`, `files`, `paths`, `precision`, `provenance`, `resources` and `seeds`.

- `synaug.statistics`: intervals and contrasts over paired seeds; claims and the rules that decide them;
- `synaug.data`: data sets by name, folders of one's own images, subsets, splits, torch data sets;
- `synaug.diffusion`: noise levels, denoisers, samplers, reconstruction;
- `synaug.generators`: a VAE and a GAN beside the diffusion model, one contract for all, and their training;
- `synaug.classifiers`: networks, their training, predictions, Grad-CAM, what they learn slowly;
- `synaug.metrics`: features, Frechet distance, precision and recall, mode concentration, near-copies;
- `synaug.augmentation`: which images are chosen, what is made of them, how all are mixed;
- `synaug.theory`: problems in closed form, the two-layer network and Gaussian mixtures;
- `synaug.run`: experiments as lists of tasks, here or on a cluster, and their recorded results;
- `synaug.plots`: how results are shown;
- `synaug.auditing`: an audit of one's own synthetic images beside one's own real ones;
- `synaug.chapters`: what each chapter of the book runs and shows.

Images are float32 ``[N, C, H, W]`` in [-1, 1] wherever a model or a metric takes them, and uint8 in an `ImageDataset`.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from synaug.auditing import audit
    from synaug.augmentation.selection import select
    from synaug.augmentation.synthetic_pool import generate_pool
    from synaug.augmentation.training_sets import with_generated
    from synaug.classifiers import build_classifier, train_classifier
    from synaug.classifiers.warm_up import warm_up
    from synaug.data import ImageDataset, draw_splits, load_dataset, load_image_folder
    from synaug.diffusion.denoisers import load_denoiser
    from synaug.diffusion.reconstruction import generate, reconstruct
    from synaug.metrics import compare_with_floor, frechet_distance, prdc
    from synaug.metrics.encoders import encode

__version__ = "0.1.0"

__all__ = [
    "ImageDataset",
    "load_dataset",
    "load_image_folder",
    "draw_splits",
    "load_denoiser",
    "reconstruct",
    "generate",
    "encode",
    "compare_with_floor",
    "frechet_distance",
    "prdc",
    "build_classifier",
    "train_classifier",
    "warm_up",
    "select",
    "generate_pool",
    "with_generated",
    "audit",
]

#: Of each, the module that it is imported from.
_HOMES = {
    name: module
    for module, names in {
        "data": ("ImageDataset", "load_dataset", "load_image_folder", "draw_splits"),
        "diffusion.denoisers": ("load_denoiser",),
        "diffusion.reconstruction": ("reconstruct", "generate"),
        "metrics.encoders": ("encode",),
        "metrics": ("compare_with_floor", "frechet_distance", "prdc"),
        "classifiers": ("build_classifier", "train_classifier"),
        "classifiers.warm_up": ("warm_up",),
        "augmentation.selection": ("select",),
        "augmentation.synthetic_pool": ("generate_pool",),
        "augmentation": ("with_generated",),
        "auditing": ("audit",),
    }.items()
    for name in names
}


def __getattr__(name: str):
    if name not in _HOMES:
        raise AttributeError(f"module 'synaug' has no attribute {name!r}; its names are {', '.join(_HOMES)}")
    value = globals()[name] = getattr(import_module(f"synaug.{_HOMES[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
