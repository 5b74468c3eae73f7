import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import ConcatDataset, DataLoader, Dataset, RandomSampler, Subset, TensorDataset
from torchvision.datasets import FakeData
from torchvision.transforms import ToTensor

from synaug import resources
from synaug.augmentation import upsampled
from synaug.data import ImageDataset
from synaug.data.torch_datasets import TorchImages, from_torch


class Items(Dataset):
    def __init__(self, items):
        self.items = items

    def __len__(self):
        return len(self.items)

    def __getitem__(self, index):
        return self.items[index]


def pictures(n=5, channels=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (n, channels, 6, 4), generator=generator, dtype=torch.uint8)


class TestIn:
    @pytest.mark.parametrize("channels", [1, 3])
    def test_every_form_of_an_image_gives_the_same_bytes(self, channels):
        images = pictures(channels=channels)
        pillow = [Image.fromarray(np.ascontiguousarray(i.permute(1, 2, 0).squeeze(-1).numpy())) for i in images]
        forms = {"pillow": pillow, "bytes": images, "ToTensor": [ToTensor()(p) for p in pillow], "half": (images / 255).double()}
        for name, form in forms.items():
            data = from_torch(Items([(image, i % 3) for i, image in enumerate(form)]))
            assert torch.equal(data.images, images), name
            assert data.labels.tolist() == [0, 1, 2, 0, 1] and data.class_names == ("0", "1", "2")
        signed = from_torch(TensorDataset(images / 127.5 - 1, torch.arange(5)), value_range=(-1, 1))
        assert torch.equal(signed.images, images) and signed.labels.tolist() == list(range(5))

    def test_a_library_data_set_and_a_subset_of_it(self):
        fake = FakeData(6, (3, 8, 8), num_classes=30, transform=ToTensor())
        whole, part = (from_torch(data) for data in (fake, Subset(Subset(fake, [5, 4, 1]), [1, 2])))
        assert len(whole) == 6 and whole.source_index.tolist() == list(range(6))
        assert whole.name == part.name == "FakeData" and whole.num_classes == part.num_classes == 30
        assert torch.equal(part.images, whole.images[[4, 1]])

    @pytest.mark.parametrize(
        "field, value, names",
        [
            ("classes", ["x", "y", "z"], ("x", "y", "z")),
            ("targets", [0, 3, 1, 1, 0], tuple("0123")),
            ("targets", torch.tensor([0, 2]), tuple("012")),
            ("num_classes", 4, tuple("0123")),
            ("other", None, ("0", "1")),
        ],
    )
    def test_wrappers_keep_names_and_number_of_classes(self, field, value, names):
        items = Items([(image, i % 2) for i, image in enumerate(pictures())])
        setattr(items, field, value)
        for wrapped in (items, Subset(items, [1, 0]), ConcatDataset([Subset(items, [1]), items])):
            assert from_torch(wrapped).class_names == names
        assert from_torch(Subset(items, [1]), class_names=list("abcd")).num_classes == 4
        tensors = TensorDataset(pictures(), torch.arange(5))
        assert from_torch(Subset(tensors, [1])).num_classes == 5
        if field == "classes":
            with pytest.raises(ValueError, match="parts of different classes"):
                from_torch(ConcatDataset([items, tensors]))

    def test_images_in_memory_are_taken_as_they_are(self):
        data = from_torch(Items([(image, 0) for image in pictures()]))
        assert from_torch(data) is data
        part = from_torch(Subset(data, np.array([4, 2])))
        assert torch.equal(part.images, data.images[[4, 2]]) and part.source_index.tolist() == [4, 2]

    @pytest.mark.parametrize(
        ("item", "error", "message"),
        [
            ((torch.zeros(3, 6, 4) - 1, 0), ValueError, r"image 1 must be in \[0, 1\], got -1..-1"),
            ((torch.full((3, 6, 4), torch.nan), 0), ValueError, r"\[0, 1\]"),
            ((torch.zeros(3, 6, 4, dtype=torch.int64), 0), TypeError, "uint8 or float"),
            ((torch.zeros(6, 4), 0), ValueError, r"\[C, H, W\]"),
            ((torch.zeros(6, 4, 3), 0), ValueError, r"C = 1 or 3, got \[6, 4, 3\]"),
            ((torch.zeros(3, 6, 5), 0), ValueError, r"image 0 is \[3, 6, 4\], image 1 is \[3, 6, 5\]"),
            ((np.zeros((6, 4, 3)), 0), TypeError, "ndarray"),
            ((torch.zeros(1, 6, 4), 0), ValueError, "image 1 is .1, 6, 4.; make all grey or all RGB"),
            ((Image.fromarray(np.zeros((6, 4), np.uint16)), 0), ValueError, "image 1 has more than 8 bits"),
            ((Image.new("F", (4, 6)), 0), ValueError, "image 1 has more than 8 bits per channel .Pillow's mode F"),
            ((torch.zeros(3, 6, 4), 0.5), TypeError, "label 1"),
            ((torch.zeros(3, 6, 4), -1), TypeError, "label 1"),
            ((torch.zeros(3, 6, 4), torch.tensor([0, 1])), TypeError, "label 1"),
            (torch.zeros(3, 6, 4), TypeError, r"item 1 must be a pair"),
        ],
    )
    def test_bad_items_are_named(self, item, error, message):
        with pytest.raises(error, match=message):
            from_torch(Items([(pictures()[0], 0), item]))

    def test_bad_data_sets_are_refused(self):
        with pytest.raises(ValueError, match="empty"):
            from_torch(Items([]))
        with pytest.raises(TypeError, match="length"):
            from_torch(iter([]))
        with pytest.raises(ValueError, match="class names"):
            from_torch(Items([(pictures()[0], 4)]), class_names=["a"])
        with pytest.raises(TypeError, match=r"class_names, .* must be several texts, got \[0, 1\]"):
            from_torch(Items([(pictures()[0], 0)]), class_names=[0, 1])
        with pytest.raises(ValueError, match="black < white"):
            from_torch(Items([(pictures()[0], 4)]), value_range=(1, 0))

    def test_too_little_memory_is_told_after_the_first_item(self, monkeypatch):
        monkeypatch.setattr(resources, "free_memory", lambda device: 100)
        with pytest.raises(MemoryError, match="a data set of 5 images needs about 360B"):
            from_torch(Items([(pictures()[0], 0)] + 4 * ["never read"]))


class TestOut:
    def test_there_and_back(self):
        data = ImageDataset(pictures(), torch.arange(5), tuple("abcde"))
        back = from_torch(TorchImages(data))
        assert torch.equal(back.images, data.images) and torch.equal(back.labels, data.labels)
        assert back.class_names == data.class_names
        image, label = TorchImages(data)[3]
        assert image.dtype == torch.float32 and 0 <= image.min() <= image.max() <= 1 and label == 3

    def test_a_plain_loop_with_a_transform_takes_the_steps_it_asks_for(self):
        made = upsampled(ImageDataset(pictures(), torch.arange(5), tuple("abcde")), [1, 3], k=3)
        items = TorchImages(made.data, transform=lambda image: image.flip(2).float())
        sampler = RandomSampler(items, num_samples=4 * 7, generator=torch.Generator().manual_seed(0))
        batches = list(DataLoader(items, batch_size=4, sampler=sampler))
        assert [len(labels) for _, labels in batches] == [4] * 7
        counts = torch.cat([labels for _, labels in batches]).bincount() / 28
        assert torch.allclose(counts, torch.tensor([1, 3, 1, 3, 1]) / 9, atol=0.05)
        images, labels = batches[0]
        assert torch.equal(images[0], pictures()[labels[0]].flip(2).float())
