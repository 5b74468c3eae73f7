"""Real images: the type that holds them, and where they come from."""

from synaug.data.folders import load_image_folder
from synaug.data.images import ImageDataset, stratified_subset, to_bytes, to_floats
from synaug.data.sources import load_dataset

__all__ = [
    "ImageDataset",
    "load_dataset",
    "load_image_folder",
    "stratified_subset",
    "to_bytes",
    "to_floats",
]
