"""Training sets with generated images: which examples are chosen, what is made of them, how all are mixed."""

from synaug.augmentation.mixed_batches import MixedBatches
from synaug.augmentation.training_sets import TrainingSet, mixture, of_classes, original, upsampled, with_generated, with_real, with_synthetic

__all__ = ["MixedBatches", "TrainingSet", "mixture", "of_classes", "original", "upsampled", "with_generated", "with_real", "with_synthetic"]
