"""Real images: the type that holds them, and where they come from."""

from synaug.data.folders import load_image_folder, save_image_folder
from synaug.data.images import ImageDataset, content_hash, draw_splits, same_classes, stratified_subset, to_bytes, to_floats
from synaug.data.sources import load_dataset

__all__ = [
    "ImageDataset",
    "content_hash",
    "draw_splits",
    "load_dataset",
    "load_image_folder",
    "same_classes",
    "save_image_folder",
    "stratified_subset",
    "to_bytes",
    "to_floats",
]
