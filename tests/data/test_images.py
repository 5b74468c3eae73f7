import dataclasses
import unicodedata

import numpy as np
import pytest
import torch

from synaug.data import ImageDataset, content_hash, draw_splits, load_dataset, same_classes, stratified_subset, to_bytes, to_floats


def dataset(counts=(5, 3, 8), channels=1, seed=0):
    """Images of noise; the label order is shuffled."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    labels = labels[torch.randperm(len(labels), generator=generator)]
    images = torch.randint(0, 256, (len(labels), channels, 4, 6), generator=generator, dtype=torch.uint8)
    return ImageDataset(images, labels, tuple(f"class {c}" for c in range(len(counts))), name="noise")


class TestBytesAndFloats:
    def test_every_byte_comes_back(self):
        every = torch.arange(256, dtype=torch.uint8)
        floats = to_floats(every)
        assert floats.dtype == torch.float32
        assert floats[[0, 255]].tolist() == [-1, 1]
        assert torch.allclose(floats.diff(), torch.tensor(2 / 255), atol=1e-6)
        assert torch.equal(to_bytes(floats), every)

    def test_rounds_to_the_nearest_and_clamps(self):
        floats = torch.tensor([-1.5, -1 + 0.9 / 127.5, 1 - 0.4 / 127.5, 7.0])
        assert to_bytes(floats).tolist() == [0, 1, 255, 255]

    @pytest.mark.parametrize("value", [float("nan"), float("inf")])
    def test_refuses_what_is_no_number(self, value):
        with pytest.raises(ValueError, match="NaN or infinite"):
            to_bytes(torch.tensor([0.0, value]))

    def test_refuses_the_wrong_way_round(self):
        for wrong, named in ((torch.zeros(2), "torch.float32"), (np.zeros(2, np.uint8), "ndarray"), (None, "NoneType")):
            with pytest.raises(TypeError, match=f"uint8 images, got {named}"):
                to_floats(wrong)
        for wrong, named in ((torch.zeros(2, dtype=torch.uint8), "torch.uint8"), (np.zeros(2), "ndarray")):
            with pytest.raises(TypeError, match=f"floating point images, got {named}"):
                to_bytes(wrong)


class TestImageDataset:
    def test_items(self):
        data = dataset(channels=3)
        image, label = data[4]
        assert image.shape == data.image_shape == (3, 4, 6)
        assert image.dtype == torch.float32 and type(label) is int
        assert torch.equal(to_bytes(image), data.images[4]) and label == data.labels[4]
        assert (len(data), data.num_classes) == (16, 3)

    def test_subset_of_a_subset_keeps_the_source_index(self):
        data = dataset()
        once = data.subset([9, 2, 11, 2])
        assert once.source_index.tolist() == [9, 2, 11, 2]
        twice = once.subset(torch.tensor([2, 0]))
        assert twice.source_index.tolist() == [11, 9]
        assert torch.equal(twice.images, data.images[[11, 9]])
        assert torch.equal(twice.labels, data.labels[[11, 9]])
        assert (twice.name, twice.class_names) == (data.name, data.class_names)

    @pytest.mark.parametrize(
        "indices",
        [
            [3, 1],
            [],
            np.array([3, 1], ">i8"),
            np.arange(6)[::-2],
            np.array([1, 2], np.uint16),
            range(2, 5),
            slice(2, -3),
            slice(None, None, -5),
            [torch.tensor(4)],
            torch.tensor([7, 7], dtype=torch.int32),
        ],
    )
    def test_every_form_of_indices(self, indices):
        data = dataset()
        expected = range(len(data))[indices] if isinstance(indices, slice) else [int(i) for i in indices]
        assert data.subset(indices).source_index.tolist() == list(expected)
        assert torch.equal(data.floats(indices), data.floats()[list(expected)])

    def test_is_frozen(self):
        with pytest.raises(dataclasses.FrozenInstanceError):
            dataset().labels = None

    @pytest.mark.parametrize(
        "change, error, message",
        [
            (dict(images=torch.zeros(16, 1, 4, 4)), TypeError, "images must be a uint8 tensor, got torch.float32"),
            (dict(images=[[1]]), TypeError, "images must be a uint8 tensor, got list"),
            (dict(images=torch.zeros(16, 4, 4, dtype=torch.uint8)), ValueError, r"\[N, C, H, W\]"),
            (dict(images=torch.zeros(16, 4, 4, 2, dtype=torch.uint8)), ValueError, "C = 1 or 3"),
            (dict(labels=torch.zeros(16)), TypeError, "labels must be an int64 tensor, got torch.float32"),
            (dict(labels=torch.zeros(15, dtype=torch.int64)), ValueError, r"N = 16 images, got \[15\]"),
            (dict(labels=torch.arange(16)), ValueError, r"labels of 3 class names must be in 0..2, got 0..15"),
            (dict(labels=torch.full((16,), -1)), ValueError, "got -1..-1"),
            (dict(source_index=torch.zeros(3, dtype=torch.int64)), ValueError, "source_index must be"),
            (dict(class_names="abc"), TypeError, "several texts, got 'abc'"),
            (dict(class_names=None), TypeError, "texts, got None"),
        ],
    )
    def test_refuses_bad_fields(self, change, error, message):
        with pytest.raises(error, match=message):
            dataclasses.replace(dataset(), **change)

    @pytest.mark.parametrize(
        "indices, error",
        [
            ([16], ValueError),
            ([-1], ValueError),
            ([0.5], TypeError),
            ([True] * 16, TypeError),
            ([[1]], TypeError),
            (["1"], TypeError),
            (3, TypeError),
            (np.zeros(2, ">f8"), TypeError),
        ],
    )
    def test_refuses_bad_indices(self, indices, error):
        with pytest.raises(error, match="indices must be"):
            dataset().subset(indices)
        with pytest.raises(error, match="indices must be"):
            dataset().floats(indices)


class TestStratifiedSubset:
    @pytest.mark.parametrize("n", [3, 4, 7, 9])
    def test_counts_differ_by_at_most_one_while_no_class_runs_out(self, n):
        counts = stratified_subset(dataset((5, 3, 8)), n, seed=1).labels.bincount(minlength=3)
        assert counts.sum() == n and counts.max() - counts.min() <= 1

    @pytest.mark.parametrize("n, allowed", [(10, [[4, 3, 3], [3, 3, 4]]), (13, [[5, 3, 5]]), (15, [[5, 3, 7]]), (16, [[5, 3, 8]])])
    def test_a_class_that_runs_out_gives_all(self, n, allowed):
        assert stratified_subset(dataset((5, 3, 8)), n, seed=1).labels.bincount().tolist() in allowed

    def test_nested(self):
        whole = stratified_subset(dataset(), 16, seed=5)
        assert sorted(whole.source_index.tolist()) == list(range(16))
        for n in range(3, 16):
            assert torch.equal(stratified_subset(dataset(), n, seed=5).source_index, whole.source_index[:n])

    def test_leaves_the_global_random_state_alone(self):
        before = torch.get_rng_state()
        stratified_subset(dataset(), 8, seed=0)
        assert torch.equal(torch.get_rng_state(), before)

    def test_every_image_is_as_likely_as_any_other_of_its_class(self):
        data = dataset((10, 10))
        hits = torch.zeros(20)
        for seed in range(600):
            hits[stratified_subset(data, 4, seed).source_index] += 1
        # Each is drawn with probability 1/5: 120 times, standard deviation 9.8.
        assert (hits - 120).abs().max() < 4.5 * 9.8

    def test_a_class_without_images_is_passed_over(self):
        assert stratified_subset(dataset((4, 0, 4)), 4, seed=0).labels.bincount().tolist() == [2, 0, 2]

    def test_the_draw_is_the_same_for_good(self):
        # The generator's training images are such a subset: another draw would be another subset.
        labels = torch.arange(10).repeat(6)
        data = ImageDataset(torch.zeros(60, 1, 1, 1, dtype=torch.uint8), labels, tuple("0123456789"))
        assert stratified_subset(data, 12, seed=0).source_index.tolist() == [26, 35, 59, 28, 11, 2, 34, 40, 33, 7, 58, 22]

    @pytest.mark.parametrize("n", [0, 2, 17, -1])
    def test_refuses_a_size_that_cannot_be(self, n):
        with pytest.raises(ValueError, match=f"between 3 images .* and 16 .* got n = {n}"):
            stratified_subset(dataset(), n, seed=0)

    @pytest.mark.parametrize("n", [2.0, "3", True])
    def test_refuses_a_size_that_is_no_integer(self, n):
        with pytest.raises(TypeError, match="n must be an integer"):
            stratified_subset(dataset(), n, seed=0)

    def test_proportional_counts_are_the_shares(self):
        sizes = (400, 250, 37, 3, 2, 1)
        data = dataset(sizes)
        for n in (60, 300, 555):
            counts = stratified_subset(data, n, 0, proportional=True).labels.bincount().tolist()
            # Each is its share rounded, but for the first and the last image that each class is promised.
            assert all(abs(count - n * size / sum(sizes)) <= 2 for count, size in zip(counts, sizes))
            assert min(counts) >= 1 and all(count < size for count, size in zip(counts[:5], sizes))
        whole = stratified_subset(data, len(data), 0, proportional=True).source_index
        assert torch.equal(stratified_subset(data, 20, 0, proportional=True).source_index, whole[:20])

    def test_of_balanced_classes_both_kinds_are_the_same_images(self):
        data = load_dataset("fashion_mnist", "test")
        drawn = [stratified_subset(data, 4321, 3, proportional).source_index for proportional in (False, True)]
        assert torch.equal(*drawn)


class TestSplits:
    def test_have_equal_counts_and_share_nothing(self):
        data = dataset((9, 5, 8))
        first, second, third = draw_splits(data, 3, 1, 1, seed=0)
        assert [d.labels.bincount().tolist() for d in (first, second, third)] == [[3] * 3, [1] * 3, [1] * 3]
        assert len(torch.cat([first.source_index, second.source_index, third.source_index]).unique()) == 15
        assert not torch.equal(first.source_index, draw_splits(data, 3, 1, seed=1)[0].source_index)

    def test_refuses(self):
        with pytest.raises(ValueError, match=r"4 \+ 2 images per class are more than there are of class 1 \(5\)$"):
            draw_splits(dataset((9, 5, 8)), 4, 2, seed=0)
        for wrong in (0, 2.0, True):
            with pytest.raises(ValueError, match=f"per_class must be a whole number of at least 1, got {wrong}"):
                draw_splits(dataset(), wrong, seed=0)


class TestClasses:
    def test_are_found_by_name_whatever_their_order_and_form(self):
        names = ["cat", "Bär", "dog"]
        labels = torch.tensor([0, 1, 2, 1])
        for theirs in (names, names[::-1], [unicodedata.normalize("NFD", name) for name in ("Bär", "dog", "cat")]):
            there = same_classes(names, theirs)[labels]
            assert [unicodedata.normalize("NFC", theirs[i]) for i in there] == [names[i] for i in labels]
        decomposed = dataclasses.replace(dataset(), class_names=[unicodedata.normalize("NFD", n) for n in names])
        assert decomposed.class_names == tuple(names)

    @pytest.mark.parametrize("theirs, odd", [("ac", "'b', 'c'"), ("abc", "'c'"), ("a", "'b'"), ("aab", "'a'")])
    def test_others_are_refused(self, theirs, odd):
        with pytest.raises(ValueError, match=f"not those of the pool: 2 and {len(theirs)}, .* differ in {odd}$"):
            same_classes(("a", "b"), tuple(theirs), "the pool")

    def test_one_name_twice_cannot_be_mapped(self):
        assert same_classes(tuple("aab"), tuple("aab")).tolist() == [0, 1, 2]
        with pytest.raises(ValueError, match="differ in 'a'"):
            same_classes(tuple("aab"), tuple("aba"))


def test_the_hash_is_of_all_that_a_data_set_holds():
    data, change = dataset(), dataclasses.replace
    others = [
        dataset(seed=1),
        change(data, name="other"),
        change(data, class_names=("a", "b", "c")),
        change(data, images=data.images.view(16, 1, 6, 4)),
        change(data, labels=data.labels.flip(0)),
        change(data, source_index=data.source_index + 1),
    ]
    assert len({content_hash(d) for d in (data, *others)}) == 7
    assert content_hash(change(data, name="/somewhere/noise")) == content_hash(data) == content_hash(dataset())


def test_two_classes_of_one_name_are_refused():
    with pytest.raises(ValueError, match="a name of its own, got 'caf\u00e9' more than once"):
        ImageDataset(torch.zeros(2, 1, 8, 8, dtype=torch.uint8), torch.arange(2), ("caf\u00e9", "cafe\u0301"))
