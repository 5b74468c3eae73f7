from dataclasses import replace

import pandas as pd
import pytest
import torch
from small import resnet

from synaug.augmentation import TrainingSet, mixture, original, upsampled, with_generated, with_real, with_synthetic
from synaug.augmentation.synthetic_pool import SyntheticPool
from synaug.classifiers import train_classifier
from synaug.classifiers.training import batch_order
from synaug.data import ImageDataset, load_dataset

CLASSES = ("a", "b", "c")


def images(n, first=0, source=None):
    """Image i is filled with the value first + i, so that it can be told where one came from."""
    values = (first + torch.arange(n)).to(torch.uint8).view(-1, 1, 1, 1)
    return ImageDataset(values.expand(-1, 1, 8, 8).contiguous(), torch.arange(n) % 3, CLASSES, source, "toy")


def toy_pool(data, sources, k):
    """The copies of place p are filled with 100 + 10 * copy + (position of p among the sources)."""
    sources = torch.tensor(sources)
    copies = torch.arange(1, k).repeat_interleave(len(sources))
    position = torch.arange(len(sources)).repeat(k - 1)
    values = (100 + 10 * copies + position).to(torch.uint8).view(-1, 1, 1, 1).expand(-1, 1, 8, 8).contiguous()
    part = data.subset(sources)
    pool = ImageDataset(values, part.labels.repeat(k - 1), CLASSES, part.source_index.repeat(k - 1))
    provenance = pd.DataFrame({"source": sources.repeat(k - 1).numpy(), "copy": copies.numpy()})
    return SyntheticPool(pool, provenance, sources, k)


def values(training_set):
    return training_set.data.images[:, 0, 0, 0].tolist()


@pytest.fixture
def data():
    return images(10, source=torch.arange(10) + 1000)


SLOW = [1, 4, 8]


class TestSets:
    def test_k_1_is_the_original_bit_for_bit(self, data):
        for made in (upsampled(data, SLOW, 1), with_generated(data, toy_pool(data, SLOW, 4), k=1), original(data)):
            assert torch.equal(made.data.images, data.images) and torch.equal(made.data.labels, data.labels)
            assert torch.equal(made.data.source_index, data.source_index) and not made.synthetic.any()

    @pytest.mark.parametrize("k", [1, 2, 3, 5])
    def test_sizes_and_labels(self, data, k):
        """alpha N + k (1 - alpha) N with alpha = 0.7."""
        for made in (upsampled(data, SLOW, k), with_generated(data, toy_pool(data, SLOW, 5), k=k)):
            assert len(made) == 7 + 3 * k
            # A label follows from the place, and the source index names the place.
            assert torch.equal(made.data.labels, (made.data.source_index - 1000) % 3)
            counts = (made.data.source_index - 1000).bincount()
            assert counts.tolist() == [k if place in SLOW else 1 for place in range(10)]

    def test_upsampling_repeats_and_generation_takes_the_pool(self, data):
        assert values(upsampled(data, [8, 1, 4], 3)) == [*range(10), 1, 4, 8, 1, 4, 8]
        made = with_generated(data, toy_pool(data, SLOW, 5), k=3)
        assert values(made) == [*range(10), 110, 111, 112, 120, 121, 122]
        assert made.synthetic.tolist() == [False] * 10 + [True] * 6

    def test_the_two_are_paired_image_by_image(self, data):
        pool = toy_pool(data, SLOW, 5)
        for sources in (SLOW, [8, 4]):
            a, b = upsampled(data, sources, 4), with_generated(data, pool, sources=sources, k=4)
            assert torch.equal(a.data.source_index, b.data.source_index)
            assert torch.equal(a.batches(20, 3, 4), b.batches(20, 3, 4))

    def test_k_5_contains_k_2(self, data):
        pool = toy_pool(data, SLOW, 5)
        small, large = (with_generated(data, pool, k=k).data.images for k in (2, 5))
        assert torch.equal(large[: len(small)], small)

    def test_a_filtered_pool_adds_what_is_left(self, data):
        pool = toy_pool(data, SLOW, 3).keep(torch.tensor([True, False, True, False, False, False]))
        assert values(with_generated(data, pool)) == [*range(10), 110, 112]

    def test_fresh_real_images_are_real(self, data):
        made = with_real(data, images(4, first=50))
        assert values(made) == [*range(10), 50, 51, 52, 53] and not made.synthetic.any()

    @pytest.mark.parametrize("k", [0, 1.5])
    def test_bad_k_is_refused(self, data, k):
        with pytest.raises(ValueError, match="at least 1"):
            upsampled(data, SLOW, k)
        with pytest.raises(ValueError, match="k must be (a whole number of at least 1|at most 3), got"):
            with_generated(data, toy_pool(data, SLOW, 3), k=k)

    def test_sources_once_each_and_in_range(self, data):
        with pytest.raises(ValueError, match="once each"):
            upsampled(data, [1, 1], 2)
        with pytest.raises(ValueError, match=r"0\.\.9"):
            upsampled(data, [10], 2)

    def test_a_pool_of_another_data_set_is_refused(self, data):
        pool = toy_pool(data, SLOW, 2)
        with pytest.raises(ValueError, match="another data set"):
            with_generated(images(10), pool)
        with pytest.raises(ValueError, match="another data set"):
            with_generated(data.subset(range(5)), pool)

    def test_other_shapes_are_refused(self, data):
        other = ImageDataset(torch.zeros(2, 3, 8, 8, dtype=torch.uint8), torch.zeros(2, dtype=torch.int64), CLASSES)
        with pytest.raises(ValueError, match="cannot be one training set"):
            with_real(data, other)

    def test_classes_go_by_their_names(self, data):
        other = ImageDataset(data.images, data.labels, ("b", "c", "a"))
        joined = with_real(data, other)
        assert torch.equal(joined.data.labels[10:], (data.labels + 1) % 3) and joined.data.class_names == CLASSES
        with pytest.raises(ValueError, match="lacks their classes, 'd'; it has 'a', 'b', 'c'"):
            with_real(data, ImageDataset(data.images, data.labels, ("a", "b", "d")))

    def test_what_is_added_may_be_of_some_classes_only(self, data):
        some = ImageDataset(data.images[:4], torch.tensor([0, 1, 1, 0]), ("c", "a"))
        pool = toy_pool(data, [2, 5], 3)
        of_c = ImageDataset(pool.data.images, torch.zeros(4, dtype=torch.int64), ("c",), pool.data.source_index)
        for made, expected in (
            (with_real(data, some), [2, 0, 0, 2]),
            (with_synthetic(data, some), [2, 0, 0, 2]),
            (with_generated(data, SyntheticPool(of_c, pool.provenance, pool.sources, 3)), [2] * 4),
        ):
            assert made.data.labels[10:].tolist() == expected and made.data.class_names == CLASSES
        with pytest.raises(ValueError, match="lacks their classes, 'b', 'c'; it has 'a'"):  # not the other way round
            with_synthetic(ImageDataset(data.images, data.labels * 0, ("a",)), data)


class TestMixtures:
    def test_ratio_and_size_are_exact(self, data):
        generated = images(30, first=100)
        for share in (0.0, 0.3, 0.48, 1.0):
            made = mixture(data, generated, synthetic_share=share)
            assert len(made) == 10 and int(made.synthetic.sum()) == round(share * 10)
            assert [v >= 100 for v in values(made)] == made.synthetic.tolist()
            assert len(set(values(made))) == 10  # drawn without replacement
            assert torch.equal(made.data.labels[~made.synthetic], made.data.images[~made.synthetic][:, 0, 0, 0] % 3)

    def test_no_generated_images_at_full_size_is_the_original(self, data):
        made = mixture(data, images(5, first=100), synthetic_share=0.0)
        assert torch.equal(made.data.images, data.images) and torch.equal(made.data.labels, data.labels)

    def test_generated_images_are_those_whose_sources_are_left_out(self, data):
        made = mixture(data, images(10, first=100), synthetic_share=0.4)
        assert sorted(v % 100 for v in values(made)) == list(range(10))

    def test_draws_are_nested_and_seeded(self, data):
        generated = images(30, first=100)
        small, large = (set(values(mixture(data, generated, synthetic_share=s, seed=1))) for s in (0.3, 0.8))
        assert {v for v in small if v >= 100} < {v for v in large if v >= 100}
        assert {v for v in large if v < 100} < {v for v in small if v < 100}
        assert small != set(values(mixture(data, generated, synthetic_share=0.3, seed=2)))

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"synthetic_share": 1.2}, "synthetic_share must be a finite number of at least 0 and at most 1, got 1.2"),
            ({"synthetic_share": 0.9}, "9 generated images, there are 5"),
        ],
    )
    def test_bad_mixtures_are_refused(self, data, options, message):
        with pytest.raises(ValueError, match=message):
            mixture(data, images(5, first=100), **options)

    @pytest.mark.parametrize(
        ("share", "order", "message"), [(0.0, "real_first", "both real and generated"), (0.5, "sorted", "shuffled, mixed, synthetic_first")]
    )
    def test_orders_that_they_cannot_have_are_refused(self, data, share, order, message):
        with pytest.raises(ValueError, match=message):
            replace(mixture(data, images(5, first=100), synthetic_share=share), order=order)


class TestOrder:
    @pytest.mark.parametrize("order", ["real_first", "synthetic_first"])
    def test_each_kind_has_its_steps_and_every_image_its_share(self, data, order):
        made = with_synthetic(data.subset(range(9)), images(3, first=100), order=order)
        batches = made.batches(8, seed=0, batch_size=6)
        synthetic = made.synthetic[batches]
        assert batches.shape == (8, 6) and (synthetic.all(1) ^ (~synthetic).all(1)).all()
        kinds = synthetic[:, 0].tolist()
        assert kinds == ([False] * 6 + [True] * 2 if order == "real_first" else [True] * 2 + [False] * 6)
        assert batches.flatten().bincount().tolist() == [4] * 12  # 48 draws of 12 images

    def test_both_kinds_have_a_step(self, data):
        made = replace(mixture(data, images(30, first=100), synthetic_share=0.1), order="real_first")
        assert made.synthetic[made.batches(3, 0, 4)].all(1).tolist() == [False, False, True]
        with pytest.raises(ValueError, match="at least 2 steps"):
            made.batches(1, 0, 4)

    def test_shuffled_is_the_order_of_training(self, data):
        made = upsampled(data, SLOW, 3)
        assert torch.equal(made.batches(7, 5, 4), batch_order(16, 4, 7, seed=5))


class TestTraining:
    def test_is_that_of_the_classifier(self, data):
        made, weights = upsampled(data, SLOW, 2), []
        for train in (made.train, lambda m, **o: train_classifier(m, made.data.images, made.data.labels, **o)):
            model = resnet(3)
            weights.append(train(model, steps=4, seed=1, batch_size=4).head.weight)
        assert torch.equal(*weights)

    def test_images_come_in_the_order_asked_for(self, data):
        made, seen = with_generated(data, toy_pool(data, SLOW, 2), order="synthetic_first"), []
        model = resnet(3)
        made.train(model, steps=6, seed=1, batch_size=4, augment="none", observe=lambda step, index, logits: seen.append(index))
        assert torch.equal(torch.stack(seen), made.batches(6, 1, 4))
        assert made.synthetic[torch.stack(seen)].all(1).tolist() == [True] + [False] * 5

    def test_bad_steps_are_refused(self, data):
        with pytest.raises(ValueError, match="steps must be a whole number of at least 1, got 0"):
            original(data).train(resnet(3), steps=0, seed=0)


@pytest.mark.parametrize("synthetic", [torch.zeros(9, dtype=torch.bool), torch.zeros(10)])
def test_bad_sets_are_refused(data, synthetic):
    with pytest.raises(ValueError, match=r"bool \[10\]"):
        TrainingSet(data, synthetic)


def test_synthetic_images_of_a_folder_are_added_by_class_name():
    digits = load_dataset("digits")
    real, other = digits.subset(range(100)), digits.subset(range(100, 300))
    turned = ImageDataset(other.images, 9 - other.labels, digits.class_names[::-1], other.source_index, "synthetic")
    for n, size in ((None, 300), (50, 150)):
        made = with_synthetic(real, turned, n)
        assert len(made) == size and made.synthetic.tolist() == [False] * 100 + [True] * (size - 100)
        label_of = dict(zip(other.source_index.tolist(), other.labels.tolist()))
        assert [label_of[i] for i in made.data.source_index[100:].tolist()] == made.data.labels[100:].tolist()
    with pytest.raises(ValueError, match="a stratified subset"):
        with_synthetic(real, turned, 500)
