"""Targeted augmentation's theory as something to run: patch data, the two-layer CNN, its training, its theorems."""

from synaug.theory.two_layer_cnn.arms import Arm, TrainingSets, training_sets
from synaug.theory.two_layer_cnn.distribution import PatchData, PatchDistribution
from synaug.theory.two_layer_cnn.network import initial_filters
from synaug.theory.two_layer_cnn.training import Training, train
from synaug.theory.two_layer_cnn.trajectories import METRICS

__all__ = ["METRICS", "Arm", "PatchData", "PatchDistribution", "Training", "TrainingSets", "initial_filters", "train", "training_sets"]
