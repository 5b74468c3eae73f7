import runpy
import sys

import pytest
import torch
from nested import same
from scipy.stats import chisquare
from small import digits, resnet
from torchvision.transforms import InterpolationMode, TrivialAugmentWide
from torchvision.transforms.autoaugment import _apply_op

from synaug.classifiers import train_classifier
from synaug.classifiers.training import augment_batch
from synaug.classifiers.trivial_augment import BINS, OPERATIONS, apply_operations, trivial_augment

TORCHVISION = TrivialAugmentWide()._augmentation_space(31)


def pictures(n, shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (n, *shape), generator=generator, dtype=torch.uint8)


def one_by_one(images, operation, strength):
    """torchvision's own operations, an image at a time."""
    names = list(OPERATIONS)
    return torch.stack([_apply_op(image, names[o], float(s), InterpolationMode.NEAREST, None) for image, o, s in zip(images, operation, strength)])


def test_space_is_torchvisions():
    assert list(OPERATIONS) == list(TORCHVISION)
    for name, (strengths, signed) in OPERATIONS.items():
        theirs, their_sign = TORCHVISION[name]
        assert signed == their_sign and torch.equal(strengths, theirs.float().expand(BINS)), name


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (3, 9, 14), (1, 2, 2)])
@pytest.mark.parametrize("name", OPERATIONS)
def test_every_operation_at_every_strength_is_torchvisions(name, shape):
    strengths, signed = OPERATIONS[name]
    strengths = torch.cat([strengths, -strengths]) if signed else strengths
    images = pictures(len(strengths), shape)
    operation = torch.full((len(strengths),), list(OPERATIONS).index(name))
    before = images.clone()
    changed = apply_operations(images, operation, strengths)
    assert torch.equal(images, before)
    assert torch.equal(changed, one_by_one(images, operation, strengths))


def test_a_mixed_batch_changes_each_image_by_its_own_operation():
    images = pictures(60, (3, 12, 12))
    images[:10] = 77  # constant images: nothing to stretch or equalise
    generator = torch.Generator().manual_seed(1)
    operation = torch.randint(14, (60,), generator=generator)
    bins = torch.randint(31, (60,), generator=generator)
    strength = torch.stack([s for s, _ in OPERATIONS.values()])[operation, bins]
    assert torch.equal(apply_operations(images, operation, strength), one_by_one(images, operation, strength))
    assert apply_operations(images[:0], operation[:0], strength[:0]).shape == (0, 3, 12, 12)


def test_draws_are_uniform_and_depend_on_the_generator_alone():
    """14,000 draws on a ramp, on which shifts along x by -7 .. 7 pixels can be told from everything else: each has the
    probability 1/14 (operation) 1/31 (strength) 1/2 (sign)."""
    image = torch.arange(64, dtype=torch.uint8).view(1, 1, 8, 8) * 3
    images = image.expand(14_000, 1, 8, 8)
    changed = trivial_augment(images, torch.Generator().manual_seed(0))
    assert torch.equal(changed, trivial_augment(images, torch.Generator().manual_seed(0)))
    shifts = {pixels: torch.zeros_like(image[0]) for pixels in range(-7, 8) if pixels}
    for pixels, shifted in shifts.items():
        if pixels > 0:
            shifted[:, :, pixels:] = image[0, :, :, :-pixels]
        else:
            shifted[:, :, :pixels] = image[0, :, :, -pixels:]
    counts = [int((changed == shifted).all(dim=(1, 2, 3)).sum()) for shifted in shifts.values()]
    # The i-th strength is trunc(32 i / 30) pixels: one of the 31 for each of 1 .. 7.
    assert chisquare([*counts, 14_000 - sum(counts)], [14_000 / 14 / 62] * 14 + [14_000 * (1 - 1 / 62)]).pvalue > 0.001


def test_the_default_dtype_of_the_process_does_not_matter():
    """Whether it is set before the module is imported, or after."""
    images, found = pictures(200, (3, 8, 8)), []
    for before, after in ((torch.float32, torch.float32), (torch.float64, torch.float64), (torch.float32, torch.float64)):
        try:
            torch.set_default_dtype(before)
            module = runpy.run_path(sys.modules[trivial_augment.__module__].__file__)
            torch.set_default_dtype(after)
            generator = torch.Generator().manual_seed(0)
            changed = module["trivial_augment"](images, generator)
            found.append((changed, augment_batch(changed, "flip", generator)))
        finally:
            torch.set_default_dtype(torch.float32)
    assert same(found[0], found[1]) and same(found[0], found[2])


def test_bytes_are_needed():
    with pytest.raises(TypeError, match="uint8 images, got torch.float32"):
        trivial_augment(torch.zeros(2, 1, 8, 8), torch.Generator())


def test_training_with_it_is_seeded_and_differs_from_training_without():
    data, weights = digits(40), []
    for augment in ("flip_trivial", "flip_trivial", "flip"):
        model = resnet()
        train_classifier(model, data.images, data.labels, steps=3, batch_size=8, seed=0, augment=augment)
        weights.append(model.head.weight)
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])
