import hashlib
import io
import pickle
import shutil
import socket
import tarfile
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from full_disk import file_size_limit
from torchvision.datasets import CIFAR10, CIFAR100
from tqdm import tqdm

from synaug import paths
from synaug.data import cifar, load_dataset
from synaug.data.cached import load_cached
from synaug.files import atomic_write


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


class TestTorchvisionArchive:
    """A small archive in the layout of torchvision's, at a file:// address."""

    @pytest.fixture
    def tiny(self, tmp_path):
        batches = [tiny_images(seed) for seed in range(6)]
        names = [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]
        files = {name: pickle.dumps({"data": images.reshape(10, 3072), "labels": labels.tolist()}) for name, (images, labels) in zip(names, batches)}
        files["batches.meta"] = pickle.dumps({"label_names": list(cifar.CIFAR10_CLASSES)})
        archive = tmp_path / "tiny.tar.gz"
        with tarfile.open(archive, "w:gz") as tar:
            for name, content in files.items():
                add(tar, f"cifar-10-batches-py/{name}", content)
        md5 = {name: hashlib.md5(content).hexdigest() for name, content in files.items()}

        class Tiny(CIFAR10):
            url = archive.as_uri().replace("file://", "file://localhost")
            filename = "tiny.tar.gz"
            sha256 = hashlib.sha256(archive.read_bytes()).hexdigest()
            train_list = [[name, md5[name]] for name in names[:5]]
            test_list = [[names[5], md5[names[5]]]]
            meta = {"filename": "batches.meta", "key": "label_names", "md5": md5["batches.meta"]}

        return Tiny, batches

    def test_assembly(self, tiny, cache, capsys):
        kind, batches = tiny
        cache.mkdir()
        size = (cache.parent / "tiny.tar.gz").stat().st_size
        arrays = cifar.from_archive(kind, kind.sha256, size, cache)
        assert (arrays["train_images"] == np.concatenate([x for x, _ in batches[:5]])).all()
        assert (arrays["train_labels"] == np.concatenate([y for _, y in batches[:5]])).all()
        assert (arrays["test_images"] == batches[5][0]).all()
        assert (arrays["test_labels"] == batches[5][1]).all()
        assert tuple(arrays["class_names"]) == cifar.CIFAR10_CLASSES
        assert left(cache) == ["tiny.tar.gz"]
        told = f"Tiny is downloaded once, {tqdm.format_sizeof(size, 'B')}, from {kind.url} to {cache}\n"
        assert capsys.readouterr().err == told
        cifar.from_archive(kind, kind.sha256, size, cache)  # it is there: nothing is said
        assert capsys.readouterr().err == ""

    def test_another_archive_is_not_kept(self, tiny, cache):
        cache.mkdir()
        with pytest.raises(ConnectionError, match="Tiny could not be obtained .*SHA256 .* differs(.|\n)*SYNAUG_CACHE"):
            cifar.from_archive(tiny[0], "0" * 64, 1, cache)
        assert left(cache) == []

    def test_too_little_disk_is_told_before_the_download(self, tiny, cache, room):
        room(3999)
        with pytest.raises(OSError, match="obtaining Tiny needs about 4.00kB .* 4.00kB are free"):
            cifar.from_archive(tiny[0], tiny[0].sha256, 1000, cache)

    def test_a_disk_that_fills_leaves_nothing(self, tiny, cache):
        cache.mkdir()
        with file_size_limit(10_000), pytest.raises(ConnectionError, match="could not be obtained .*File too large"):
            cifar.from_archive(tiny[0], tiny[0].sha256, 1, cache)
        assert left(cache) == []
        shutil.copy(cache.parent / "tiny.tar.gz", cache)
        with file_size_limit(10_000), pytest.raises(OSError, match="File too large"):  # while unpacking
            cifar.from_archive(tiny[0], tiny[0].sha256, 1, cache)
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
            data = load_cached("tiny", split, obtain, digests)
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
            loads = [pool.submit(load_cached, "tiny", "train", obtain, {}) for _ in range(4)]
        assert len({load.result().images.numpy().tobytes() for load in loads}) == len(asked) == 1

    def test_what_is_not_the_recorded_content_is_not_kept(self, arrays, digests, cache):
        digests["test_labels"] = "0" * 64
        with pytest.raises(ValueError, match="what was obtained as tiny is altered: the sha256 of test_labels"):
            load_cached("tiny", "train", lambda folder: arrays, digests)
        assert left(cache) == []

    @pytest.mark.parametrize("damage", ["truncated", "one bit", "empty", "other content"])
    @pytest.mark.parametrize("recorded", [True, False])
    def test_a_damaged_cache(self, damage, recorded, arrays, digests, cache):
        digests = digests if recorded else {}
        load_cached("tiny", "train", lambda folder: arrays, digests)
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
            load_cached("tiny", "train", lambda folder: arrays, digests)

    def test_a_file_with_the_names_of_keras(self, arrays, digests, cache):
        """As other tools write CIFAR-10: the colour last, no class names."""
        cache.mkdir()
        images = {f"x_{split}": arrays[f"{split}_images"].transpose(0, 2, 3, 1) for split in ("train", "test")}
        np.savez(cache / "tiny.npz", **images, y_train=arrays["train_labels"], y_test=arrays["test_labels"][:, None])
        for split in ("train", "test"):
            data = load_cached("tiny", split, None, digests, cifar.CIFAR10_CLASSES)
            assert (data.images.numpy() == arrays[f"{split}_images"]).all() and data.images.is_contiguous()
            assert (data.labels.numpy() == arrays[f"{split}_labels"]).all()
            assert data.class_names == cifar.CIFAR10_CLASSES

    @pytest.mark.parametrize("index", [{}, {"train_index": np.arange(10) * 5, "test_index": np.arange(10) * 5 + 1}])
    def test_a_subset(self, arrays, cache, index):
        """As a join of some parts writes it, with the places of its images or without."""
        cache.mkdir()
        np.savez(cache / "cifar10.npz", **arrays, **index)
        for name, split in (("cifar10", "train"), ("cifar10 (10 of 50,000)", "train"), ("cifar10 (10 of 50,000)", "test")):
            with pytest.warns(UserWarning, match=r"a subset, whose content is not checked: cifar10 \(10 of 50,000\)"):
                data = load_dataset(name, split)
            assert data.name == "cifar10 (10 of 50,000)" and (data.images.numpy() == arrays[f"{split}_images"]).all()
            assert data.source_index.tolist() == index.get(f"{split}_index", np.arange(10)).tolist()
        with pytest.raises(ValueError, match=r"cifar10 \(20 of 50,000\) is not here, but cifar10 \(10 of 50,000\)"):
            with pytest.warns(UserWarning):
                load_dataset("cifar10 (20 of 50,000)")

    def test_a_full_disk(self, arrays, cache):
        with file_size_limit(20_000), pytest.raises(OSError, match="File too large"):
            load_cached("tiny", "train", lambda folder: arrays, {})
        assert left(cache) == []


class TestUnreachable:
    @pytest.mark.parametrize("name", ["cifar10", "cifar100"])
    def test_a_way_out_is_named(self, name, no_network, cache):
        kind = {"cifar10": CIFAR10, "cifar100": CIFAR100}[name]
        with pytest.warns(UserWarning, match="Retry"), pytest.raises(ConnectionError) as caught:
            load_dataset(name)
        for part in (kind.url, kind.filename, cifar.ARCHIVES[kind][0], f"{name}.npz", "SYNAUG_CACHE", str(cache)):
            assert part in str(caught.value)
        assert left(cache) == []

    def test_a_silent_host(self, cache, monkeypatch):
        cache.mkdir()
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        monkeypatch.setattr(cifar, "TIMEOUT", 0.2)
        with socket.create_server(("127.0.0.1", 0)) as server:  # it accepts, and says nothing
            silent = type("Silent", (), {"url": f"http://127.0.0.1:{server.getsockname()[1]}/a", "filename": "a"})
            start = time.monotonic()
            with pytest.warns(UserWarning, match="Retry"), pytest.raises(ConnectionError, match="timed out"):
                cifar.from_archive(silent, "0" * 64, 1, cache)
        assert time.monotonic() - start < 5 and socket.getdefaulttimeout() is None
        assert left(cache) == []


class TestAtomicWrite:
    def test_appears_only_when_done(self, tmp_path):
        with atomic_write(tmp_path / "new" / "file") as temporary:
            temporary.write_text("done")
            assert not (tmp_path / "new" / "file").exists()
        assert (tmp_path / "new" / "file").read_text() == "done" and left(tmp_path / "new") == ["file"]

    def test_a_failure_leaves_what_was_there(self, tmp_path):
        (tmp_path / "file").write_text("before")
        with pytest.raises(KeyboardInterrupt), atomic_write(tmp_path / "file") as temporary:
            temporary.write_text("half")
            raise KeyboardInterrupt
        assert (tmp_path / "file").read_text() == "before" and left(tmp_path) == ["file"]


REAL_CACHE = paths.cache_dir()  # before the tests are given one of their own


@pytest.mark.skipif(not (REAL_CACHE / "cifar10.npz").exists(), reason="CIFAR-10 is not in the cache")
def test_cifar10_whole(monkeypatch):
    monkeypatch.setenv("SYNAUG_CACHE", str(REAL_CACHE))
    for split, size in (("train", 50_000), ("test", 10_000)):
        data = load_dataset("cifar10", split)
        assert data.images.shape == (size, 3, 32, 32)
        assert data.labels.bincount().tolist() == [size // 10] * 10
        # The same bytes with the colour last, and the digests recorded for that order.
        if split == "test":
            last = data.images.permute(0, 2, 3, 1).contiguous().numpy()
            assert hashlib.sha256(last).hexdigest() == ("f9b1e2130bab680db56eb06d886f7f1ad0f1183907ceff4659d1735c890f5b04")
