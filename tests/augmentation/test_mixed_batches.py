"""Batches with a share of synthetic images, counted; and their use in a loop of one's own."""

import random
from fractions import Fraction
from itertools import accumulate
from math import ceil, floor

import pytest
import torch
from torch.utils.data import ConcatDataset, DataLoader, Subset, TensorDataset

from synaug.augmentation import MixedBatches, with_synthetic
from synaug.augmentation.mixed_batches import ORDERS, mixed_order, share_schedule
from synaug.data import ImageDataset
from synaug.data.torch_datasets import TorchImages


def images(n, value, classes=("a", "b")):
    return ImageDataset(torch.full((n, 1, 8, 8), value, dtype=torch.uint8), torch.arange(n) % 2, classes)


REAL, SYNTHETIC = TorchImages(images(30, 0)), TorchImages(images(50, 255))


@pytest.mark.parametrize("share", [0.0, 0.1, 1 / 3, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("order", ORDERS)
def test_the_share_is_the_one_asked_for(order, share):
    if order.endswith("first") and share in (0, 1):
        with pytest.raises(ValueError, match="needs both real and generated images"):
            MixedBatches(REAL, SYNTHETIC, steps=20, share=share, order=order)
        return
    batches = torch.tensor(list(MixedBatches(REAL, SYNTHETIC, steps=20, share=share, order=order, batch_size=7, seed=1)))
    assert batches.shape == (20, 7)
    synthetic = (batches >= 30).sum(1).double() / 7
    assert abs(synthetic.mean() - share) <= (0.5 / 20 if order.endswith("first") else 0.51 / 140)
    if order == "mixed":
        assert (synthetic - share).abs().max() < 1 / 7
    elif order == "falling":
        assert (synthetic.diff() <= 1 / 7 + 1e-9).all() and synthetic[:5].mean() >= synthetic[-5:].mean()
    else:
        assert set(synthetic.tolist()) == {0, 1} and synthetic[0] == (order == "synthetic_first") != synthetic[-1]
    for first, n in ((0, 30), (30, 50)):  # shuffled passes: none is taken a second time more often than others a first
        counts = (batches[(batches >= first) & (batches < first + n)] - first).bincount(minlength=n)
        assert counts.max() - counts.min() <= 1


def test_falling_goes_from_nine_tenths_to_one():
    assert share_schedule("falling", 0.5, 3).tolist() == pytest.approx([0.9, 0.5, 0.1])


def test_a_schedule_of_ones_own_and_seeds():
    own = [0.0, 1.0, 0.25, 0.25]
    batches = MixedBatches(REAL, SYNTHETIC, steps=4, share=own, batch_size=8)
    assert [sum(place >= 30 for place in batch) for batch in batches] == [0, 8, 2, 2]
    assert list(batches) == list(batches) and len(batches) == 4
    assert list(batches) != list(MixedBatches(REAL, SYNTHETIC, steps=4, share=own, batch_size=8, seed=1))


def test_any_schedule_is_kept_to_the_nearest_image():
    """Halves of one go up."""
    rng, steps = random.Random(0), 12
    for _ in range(400):
        parts = rng.choice([1, 2, 3, 4, 6, 7, 10, 16])
        shares = [Fraction(rng.choice([0, parts, rng.randint(0, parts)]), parts) for _ in range(steps)]
        size = rng.randint(1, 9)
        places = mixed_order(30, 50, torch.tensor([float(share) for share in shares], dtype=torch.float64), size, 0)
        found = (places >= 30).sum(1).tolist()
        wanted = [share * size for share in shares]
        assert [floor(total + Fraction(1, 2)) for total in accumulate(wanted)] == list(accumulate(found)), (shares, size)
        assert all(floor(exact) <= count <= ceil(exact) for count, exact in zip(found, wanted)), (shares, size)


@pytest.mark.parametrize("order", ORDERS)
def test_sets_of_one_size_are_shuffled_apart(order):
    """Of one synthetic image per source, batches hold few sources beside their own copies."""
    made = with_synthetic(images(500, 0), images(500, 255), order=order, share=0.5)
    batches = made.batches(20, 5, 64)
    distinct = [len(set(batch)) for batch in (batches % 500).tolist()]
    both = ((batches >= 500).sum(1) % 64 > 0).tolist()
    assert min([n for n, mixed in zip(distinct, both) if mixed], default=64) > 48
    real, synthetic = batches[batches < 500], batches[batches >= 500] - 500
    assert (real[:500] != synthetic[:500]).double().mean() > 0.9


def test_in_a_loop_of_ones_own():
    batches = MixedBatches(REAL, SYNTHETIC, steps=6, share=0.25, batch_size=8)
    shares = [pixels.mean().item() for pixels, labels in DataLoader(ConcatDataset([REAL, SYNTHETIC]), batch_sampler=batches)]
    assert shares == pytest.approx([0.25] * 6)


@pytest.mark.parametrize("order", ORDERS)
def test_training_sets_have_the_same_batches(order):
    made = with_synthetic(REAL.data, SYNTHETIC.data, order=order, share=0.25)
    batches = list(MixedBatches(REAL, SYNTHETIC, steps=9, share=0.25, order=order, batch_size=8, seed=3))
    assert made.batches(9, 3, 8).tolist() == batches


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"share": 1.5}, "share must be a finite number of at least 0 and at most 1, got 1.5"),
        ({"share": -0.1}, "share must be a finite number of at least 0 and at most 1, got -0.1"),
        ({"order": "random"}, "choose one of mixed, synthetic"),
        ({"share": [0.5, 2]}, r"2 numbers in 0\.\.1"),
        ({"share": [0.5]}, "one per step"),
        ({"share": [0, 1], "order": "falling"}, "takes no order"),
        ({"synthetic": TorchImages(images(5, 0, ("b", "a")))}, "classes a, b, the synthetic ones b, a"),
        ({"synthetic": Subset(TorchImages(images(5, 0, ("a", "c"))), [0, 1])}, "the synthetic ones a, c: labels must mean the same"),
        ({"synthetic": TensorDataset(torch.zeros(0, 1))}, "no synthetic images"),
        ({"real": TensorDataset(torch.zeros(0, 1))}, "no real"),
        ({"steps": 0}, "steps must be"),
        ({"batch_size": 0.5}, "batch_size must be"),
        ({"steps": 1, "order": "real_first"}, "at least 2 steps"),
    ],
)
def test_what_cannot_be_mixed_is_refused_before_the_first_batch(wrong, message):
    with pytest.raises(ValueError, match=message):
        MixedBatches(**{"real": REAL, "synthetic": SYNTHETIC, "steps": 2, **wrong})


@pytest.mark.parametrize(
    "options, message",
    [
        ({"share": 0.5}, "'shuffled' has the share of the set"),
        ({"share": 2, "order": "mixed"}, "share must be a finite number of at least 0 and at most 1, got 2"),
        ({"order": "mixed", "n": 60}, "and 50 .all., got n = 60"),
    ],
)
def test_training_sets_refuse_it_too(options, message):
    with pytest.raises(ValueError, match=message):
        with_synthetic(REAL.data, SYNTHETIC.data, **options)
