"""Few images and a small network, for tests of many kinds."""

from synaug.classifiers import build_classifier
from synaug.data import load_dataset, stratified_subset


def digits(n):
    """So many of the digits, equally many of each."""
    return stratified_subset(load_dataset("digits"), n, seed=0)


def resnet(classes=10, seed=0):
    """A narrow ResNet-8 for grey images of 8 x 8 pixels."""
    return build_classifier("resnet8", (1, 8, 8), classes, seed=seed, width=4)
