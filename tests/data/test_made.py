"""Data sets that are made: merged classes with minorities of known share, one trait changed, and drawn shapes."""

import pytest
import torch

from synaug.data import ImageDataset, load_dataset
from synaug.data.merged import merge_classes, minorities, with_minorities
from synaug.data.shapes import SHAPES, colours_of
from synaug.data.traits import TRAITS


@pytest.mark.parametrize("swapped", [False, True])
def test_superclasses_have_minorities_of_the_known_shares(swapped):
    name = "fashion_mnist_minorities" + "_swapped" * swapped
    data, labels = load_dataset(name), load_dataset("fashion_mnist").labels
    assert data.name == name and len(data.source_index.unique()) == len(data) == 10_000
    for group, (majority, minority, share) in enumerate(minorities(swapped)):
        own = labels[data.source_index[data.labels == group]]
        assert own.bincount(minlength=10)[[majority, minority]].tolist() == [2000 - round(2000 * share), round(2000 * share)]
    assert load_dataset(name, "test").labels.bincount().tolist() == 5 * [2000]


def test_over_both_generators_every_class_is_a_minority_once_and_each_share_is_of_two_pairs():
    first, second = minorities(False), minorities(True)
    assert sorted(minority for _, minority, _ in first + second) == list(range(10))
    assert {frozenset(row[:2]) for row in first} == {frozenset(row[:2]) for row in second}
    assert [share for *_, share in first] == [share for *_, share in reversed(second)]


@pytest.mark.parametrize(
    "groups, n, shares, message",
    [
        ([(0, 1), (1, 2)], 4, (0.5, 0.5), "different classes"),
        ([(0, 3)], 4, (0.5,), "in 0..2"),
        ([(0, 1)], 40, (0.5,), "too few images"),
        ([(0, 1)], 4, (1.5,), "at most 1"),
    ],
)
def test_what_cannot_be_merged_is_refused(groups, n, shares, message):
    data = ImageDataset(torch.zeros(30, 1, 4, 4, dtype=torch.uint8), torch.arange(30) % 3, ("a", "b", "c"))
    with pytest.raises((ValueError, IndexError), match=message):
        merge_classes(data, groups)
        with_minorities(data, groups, shares, n)


class TestTraits:
    @pytest.fixture(scope="class")
    def whole(self):
        return {split: load_dataset("fashion_mnist", split) for split in ("train", "test")}

    @pytest.mark.parametrize("trait", TRAITS)
    def test_images_stay_what_they_were_in_all_else(self, trait, whole):
        for split, original in whole.items():
            data = load_dataset(f"fashion_mnist_{trait}", split)
            same = original.subset(data.source_index)
            assert data.name == f"fashion_mnist_{trait}" and len(data.source_index.unique()) == len(data)
            assert torch.equal(data.images, same.images) == (trait not in ("low_contrast", "textured"))
            assert (trait == "mislabelled" and split == "train" or trait in ("merged", "5_classes")) != torch.equal(data.labels, same.labels)

    def test_numbers_of_classes(self, whole):
        few, some, merged = (load_dataset(f"fashion_mnist_{trait}") for trait in ("2_classes", "5_classes", "merged"))
        assert few.class_names == whole["train"].class_names[:2] and few.labels.bincount().tolist() == 2 * [6000]
        assert all(name in both for name, both in zip(some.class_names, merged.class_names, strict=True))
        assert some.num_classes == merged.num_classes == 5 and merged.labels.bincount().tolist() == 5 * [12_000]

    def test_contrast_is_a_quarter_about_the_middle(self, whole):
        data = load_dataset("fashion_mnist_low_contrast").images[:500].float()
        original = whole["train"].images[:500].float()
        assert (data - 127.5 - (original - 127.5) / 4).abs().max() <= 0.5

    def test_texture_is_behind_and_another_for_each_image(self, whole):
        data, original = load_dataset("fashion_mnist_textured").images[:500].float(), whole["train"].images[:500].float()
        change = data - original
        assert change[original == 255].abs().max() == 0 and change[original == 0].std() == pytest.approx(40, abs=12)
        dark = change[:, 0, 0, 0][original[:, 0, 0, 0] == 0]
        assert dark.unique().numel() > 50

    def test_a_fifth_of_the_labels_is_wrong_in_training_alone(self, whole):
        wrong = load_dataset("fashion_mnist_mislabelled").labels != whole["train"].labels
        assert wrong.double().mean() == pytest.approx(0.2, abs=0.01)


def test_shapes_are_told_by_their_pixels():
    data, part, test = load_dataset("shapes"), load_dataset("shapes_held_out"), load_dataset("shapes", "test")
    assert not (colours_of(part) == part.labels).any() and len(part) == len(data) * 3 // 4
    kept = data.subset(part.source_index)
    assert torch.equal(kept.images, part.images) and torch.equal(kept.labels, part.labels)
    ink = torch.stack([(data.images[data.labels == shape].float().std(1) > 40).float().mean() for shape in range(len(SHAPES))])
    assert ink[0] > ink[1] > ink[2:].max()  # a disc has the largest area, then the square
    strongest = test.images.float().flatten(2).quantile(0.95, dim=2).argmax(1)
    assert (strongest[colours_of(test) == 2] == 2).float().mean() > 0.95  # blue
