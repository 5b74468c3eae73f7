"""What a training set is made of: the original, upsampled, with generated images, mixed; and the order it is seen in.

Sets of any size are trained on for the same number of optimiser steps: ``TrainingSet.batches`` gives exactly as many
batches as asked for, whatever the size.

    alpha N examples are fast, (1 - alpha) N are slow; with k - 1 copies of the slow ones: alpha N + k (1 - alpha) N.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from synaug.augmentation.mixed_batches import ORDERS as MIXED
from synaug.augmentation.mixed_batches import mixed_order, share_schedule
from synaug.augmentation.synthetic_pool import SyntheticPool, as_places
from synaug.checks import number, of_kind, one_of, whole
from synaug.classifiers.training import RECIPES, batch_order, check_recipe, train_classifier
from synaug.data import ImageDataset, stratified_subset
from synaug.data.images import HINT, Indices
from synaug.resources import check_memory

ORDERS = ("shuffled", *MIXED)


@dataclass(frozen=True, eq=False)
class TrainingSet:
    """data: all images. synthetic: bool ``[N]``, which of them are generated.

    order: "shuffled", passes over all images, or one of those of `share_schedule`, where each kind has its own passes.
    share: of a training's images that are generated, in these; None: as in the set.
    """

    data: ImageDataset
    synthetic: Tensor
    order: str = "shuffled"
    share: float | None = None

    def __post_init__(self):
        one_of("order", self.order, ORDERS)
        of_kind("data", self.data, ImageDataset, HINT)
        of_kind("synthetic", self.synthetic, Tensor)
        if self.synthetic.dtype != torch.bool or self.synthetic.shape != (len(self.data),):
            raise ValueError(f"synthetic must be bool [{len(self.data)}], got {self.synthetic.dtype} {list(self.synthetic.shape)}")
        if self.order == "shuffled" and self.share is not None:
            raise ValueError("order 'shuffled' has the share of the set: give another order with a share")
        if self.order != "shuffled":
            if self.synthetic.all() == self.synthetic.any():
                raise ValueError(f"order {self.order!r} needs both real and generated images")
            share_schedule(self.order, self._share, 2)

    def __len__(self) -> int:
        return len(self.data)

    @property
    def _share(self) -> float:
        return int(self.synthetic.sum()) / len(self) if self.share is None else self.share

    def batches(self, steps: int, seed: int, batch_size: int = 128) -> Tensor:
        """The images of each optimiser step, int64 ``[steps, batch_size]``: shuffled passes, see `batch_order` and
        `mixed_order`."""
        steps, batch_size, seed = whole("steps", steps, 1), whole("batch_size", batch_size, 1), whole("seed", seed, 0)
        if self.order == "shuffled":
            return batch_order(len(self), batch_size, steps, seed)
        real, synthetic = (kind.nonzero().flatten() for kind in (~self.synthetic, self.synthetic))
        shares = share_schedule(self.order, self._share, steps)
        return torch.cat([real, synthetic])[mixed_order(len(real), len(synthetic), shares, batch_size, seed)]

    def train(self, model: nn.Module, *, steps: int, seed: int, batch_size: int | None = None, recipe: str = "one_cycle", **options) -> nn.Module:
        """`synaug.classifiers.train_classifier` on these images in this order; the same steps for every set."""
        check_recipe(recipe)
        batch_size = RECIPES[recipe]["batch_size"] if batch_size is None else batch_size
        return train_classifier(
            model,
            self.data.images,
            self.data.labels,
            steps=steps,
            seed=seed,
            batch_size=batch_size,
            recipe=recipe,
            order=self.batches(steps, seed, batch_size),
            **options,
        )


def original(data: ImageDataset) -> TrainingSet:
    """The data set as it is."""
    return TrainingSet(data, torch.zeros(len(data), dtype=torch.bool))


def upsampled(data: ImageDataset, sources: Indices, k: int) -> TrainingSet:
    """The data set, and k - 1 further times its images at ``sources``. k = 1 is the original."""
    of_kind("data", data, ImageDataset, HINT)
    places, k = as_places(sources), whole("k", k, 1)
    check_memory(2 * k * len(places) * data.images[:1].numel(), f"{k:,} times each of {len(places):,} images")
    return original(_joined(data, data.subset(places.repeat(k - 1))))


def with_generated(data: ImageDataset, pool: SyntheticPool, *, sources: Indices | None = None, k: int | None = None, order: str = "shuffled") -> TrainingSet:
    """A training set: the images, and the synthetic ones that a pool has of ``sources``, k - 1 of each.

    data: what `generate_pool` made the pool of; ValueError where it is another. sources: int64 places in it; by default all
    that the pool has images of, and k what it was made with. order: of batches, see `TrainingSet`. Of an unfiltered
    pool, image by image the counterpart of ``upsampled(data, sources, k)``: where that repeats a
    source, this has a generated image of it, so runs on the two are paired. k = 1 is the original.
    """
    of_kind("data", data, ImageDataset, HINT)
    of_kind("pool", pool, SyntheticPool, "; with_synthetic takes other images")
    added = pool.take(sources, k)
    if len(added.sources) and added.sources[-1] >= len(data):
        raise ValueError(f"the pool was made of another data set: it has a source at {int(added.sources[-1])}, the data set has {len(data)} images")
    same = data.source_index[added.provenance["source"].to_numpy(copy=True)]
    if not torch.equal(same, added.data.source_index):
        raise ValueError("the pool was made of another data set: its source indices are not those of this one")
    joined = _joined(data, added.data)
    return TrainingSet(joined, torch.arange(len(joined)) >= len(data), order)


def with_synthetic(
    data: ImageDataset, synthetic: ImageDataset, n: int | None = None, *, order: str = "shuffled", share: float | None = None, seed: int = 0
) -> TrainingSet:
    """The data set, and n (default all) images of another one, such as a folder of synthetic images, of each class in
    proportion. Their classes are mapped by name; ValueError where the data set lacks one, or there are fewer than n.
    order, share: see `TrainingSet`; a training that sees half of each: order "mixed", share 0.5."""
    joined = _joined(data, synthetic if n is None else stratified_subset(synthetic, n, seed, proportional=True))
    return TrainingSet(joined, torch.arange(len(joined)) >= len(data), order, share)


def with_real(data: ImageDataset, fresh: ImageDataset) -> TrainingSet:
    """The data set and further real images, perhaps of some of its classes, mapped by name: the control that says what
    more data could gain at most. ValueError where the data set lacks a class."""
    return original(_joined(data, fresh))


def of_classes(fresh: ImageDataset, labels: Tensor) -> ImageDataset:
    """Different images of ``fresh`` with exactly these labels, int64 ``[n]``; ValueError where it has too few."""
    places = torch.empty_like(labels)
    for label in labels.unique():
        own, wanted = (fresh.labels == label).nonzero().flatten(), labels == label
        if wanted.sum() > len(own):
            raise ValueError(f"{int(wanted.sum())} fresh images of class {int(label)} are needed, there are {len(own)}")
        places[wanted] = own[: wanted.sum()]
    return fresh.subset(places)


def mixture(data: ImageDataset, generated: ImageDataset, *, synthetic_share: float, seed: int = 0) -> TrainingSet:
    """As many images as are real, the share ``synthetic_share`` of them generated, to the nearest.

    Which, is drawn without replacement; with one seed, more of a kind contains less of it. Real images are taken from
    the front of the seed's permutation and generated ones from the back, so that of as many images, generated source
    by source, those are used whose sources are not. ``synthetic_share`` 0 is the original. ValueError where there are
    not enough generated images.
    """
    for name, images in (("data", data), ("generated", generated)):
        of_kind(name, images, ImageDataset, HINT)
    seed, count = whole("seed", seed, 0), round(number("synthetic_share", synthetic_share, 0, 1) * len(data))
    if count > len(generated):
        raise ValueError(f"the mixture needs {count} generated images, there are {len(generated)}")
    real, fake = (torch.randperm(len(images), generator=torch.Generator().manual_seed(seed)) for images in (data, generated))
    real, fake = real[: len(data) - count], fake[len(generated) - count :]
    joined = _joined(data.subset(real.sort().values), generated.subset(fake.sort().values))
    return TrainingSet(joined, torch.arange(len(data)) >= len(real))


def _joined(first: ImageDataset, second: ImageDataset) -> ImageDataset:
    for images in (first, second):
        of_kind("each part of a training set", images, ImageDataset, HINT)
    if first.image_shape != second.image_shape:
        raise ValueError(f"images {first.image_shape} and {second.image_shape} cannot be one training set")
    place = {name: label for label, name in enumerate(first.class_names)}
    if odd := [name for name in second.class_names if name not in place]:
        raise ValueError(
            f"images cannot be added to those of a data set that lacks their classes, {', '.join(map(repr, odd))}; "
            f"it has {', '.join(map(repr, first.class_names))}"
        )
    labels = torch.tensor([place[name] for name in second.class_names], dtype=torch.int64)[second.labels]
    return ImageDataset(
        torch.cat([first.images, second.images]),
        torch.cat([first.labels, labels]),
        first.class_names,
        torch.cat([first.source_index, second.source_index]),
        first.name,
    )
