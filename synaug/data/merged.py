"""Classes merged into superclasses in which one is a minority of known share: rare events whose oracle label is known."""

from collections.abc import Sequence

import torch

from synaug.checks import number, of_kind
from synaug.data.images import HINT, ImageDataset, stratified_subset

#: Pairs of Fashion-MNIST's classes that classifiers hardly mistake for each other, and their minorities' shares.
PAIRS = ((0, 5), (1, 2), (3, 7), (4, 8), (6, 9))
SHARES = (0.1, 0.05, 0.03, 0.01, 0.005)
PER_SUPERCLASS = 2000  # training images


def merge_classes(data: ImageDataset, groups: Sequence[Sequence[int]]) -> ImageDataset:
    """The images whose class is in one of the groups, which are the new classes, called "a or b"; source indices stay.

    ``merge_classes(photos, [(0, 3), (1, 2)])``. ValueError for a class that is none, or is in two groups.
    """
    of_kind("data", data, ImageDataset, HINT)
    members = [label for group in groups for label in group]
    if len(set(members)) < len(members) or not all(0 <= label < data.num_classes for label in members):
        raise ValueError(f"groups must hold different classes, each in 0..{data.num_classes - 1}, got {groups}")
    group_of = torch.full((data.num_classes,), -1)
    for i, group in enumerate(groups):
        group_of[list(group)] = i
    kept = data.subset((group_of[data.labels] >= 0).nonzero().flatten())
    names = tuple(" or ".join(data.class_names[label] for label in group) for group in groups)
    return ImageDataset(kept.images, group_of[kept.labels], names, kept.source_index, data.name)


def with_minorities(data: ImageDataset, pairs: Sequence[Sequence[int]], shares: Sequence[float], n: int) -> ImageDataset:
    """`merge_classes` with n images of each pair (majority, minority), of which the share is of the minority, to the
    nearest; more of a class contains less of it. ValueError where a class has too few images."""
    counts = {}
    for (majority, minority), share in zip(pairs, shares, strict=True):
        rare = round(number("each of shares", share, 0, 1) * n)
        counts |= {majority: n - rare, minority: rare}
    order = stratified_subset(data, len(data), 0)
    places = [(order.labels == label).nonzero().flatten() for label in counts]
    if short := [f"{data.class_names[label]} ({len(own)})" for own, (label, k) in zip(places, counts.items()) if len(own) < k]:
        raise ValueError(f"too few images for {n} of a pair: {', '.join(short)}")
    drawn = torch.cat([own[:k] for own, k in zip(places, counts.values())]).sort().values
    return merge_classes(order.subset(drawn), pairs)


def minorities(swapped: bool) -> list[tuple[int, int, float]]:
    """(majority, minority, its share) of each superclass of Fashion-MNIST; swapped: with the roles and shares turned round,
    so that over both the share is not tied to a class."""
    pairs = [(b, a) if swapped else (a, b) for a, b in PAIRS]
    return [(*pair, share) for pair, share in zip(pairs, SHARES[::-1] if swapped else SHARES)]


def load_minorities(whole: ImageDataset, split: str, swapped: bool) -> ImageDataset:
    """Fashion-MNIST as `minorities` says: 10,000 training images, and all of the test images, merged."""
    roles = minorities(swapped)
    if split == "train":
        return with_minorities(whole, [(a, b) for a, b, _ in roles], [share for *_, share in roles], PER_SUPERCLASS)
    return merge_classes(whole, [(a, b) for a, b, _ in roles])
