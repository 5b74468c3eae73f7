import json
import re
import subprocess
import sys
from collections import namedtuple

import numpy as np
import pytest
import torch
from PIL import Image

from synaug import resources
from synaug.data import ImageDataset, load_dataset
from synaug.data.packs import content_hash, main, read_pack, write_pack


def dataset(n=30, channels=3, height=9, width=7, seed=0):
    """Noise: nothing can be compressed. Labels, source indices and names are anything that is allowed."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (n, channels, height, width), generator=generator, dtype=torch.uint8)
    return ImageDataset(images, torch.randint(0, 3, (n,), generator=generator), ("a/b", "é", ""),
                        torch.randint(0, 2**62, (n,), generator=generator), name="my images")


def same(one, other):
    tensors = [(getattr(one, name), getattr(other, name)) for name in ("images", "labels", "source_index")]
    return all(torch.equal(a, b) for a, b in tensors) and (one.class_names, one.name) == (other.class_names, other.name)


def packed(folder, data, **options):
    return write_pack(data, folder, progress=False, **options)


def sizes(folder):
    return [path.stat().st_size for path in sorted(folder.glob("part-*.zip"))]


@pytest.fixture
def three(tmp_path):
    """A pack of three parts."""
    folder = packed(tmp_path / "pack", dataset(130), part_bytes=13_000)
    assert len(sizes(folder)) == 3
    return folder


class TestRoundTrip:
    @pytest.mark.parametrize("shape", [(1, 1, 1), (3, 1, 1), (1, 28, 28), (3, 9, 7), (1, 2, 300), (3, 300, 2)])
    @pytest.mark.parametrize("n", [1, 101, 0])
    def test_of_any_shape(self, n, shape, tmp_path):
        data = dataset(n, *shape)
        back = read_pack(packed(tmp_path, data))
        assert same(back, data) and len(sizes(tmp_path)) == (n > 0)

    @pytest.mark.parametrize("name", ["digits", "fashion_mnist"])
    def test_of_a_data_set(self, name, tmp_path):
        data = load_dataset(name, "test").subset(range(300))
        assert same(read_pack(packed(tmp_path, data)), data)
        # Real images are small: fewer bytes than as PNG (404 each of Fashion-MNIST).
        assert name == "digits" or sum(sizes(tmp_path)) < 400 * 300

    @pytest.mark.parametrize("value", [0, 255])
    def test_of_extremes(self, value, tmp_path):
        images = torch.full((3, 3, 5, 5), value, dtype=torch.uint8)
        images[1, 0] = 255 - value  # one channel only
        data = ImageDataset(images, torch.zeros(3, dtype=torch.int64), ("x",))
        assert same(read_pack(packed(tmp_path, data)), data)

    def test_images_higher_than_a_sheet_can_hold_many_of(self, tmp_path):
        data = dataset(5, 1, 9000, 2)
        assert same(read_pack(packed(tmp_path, data)), data)

    @pytest.mark.parametrize("part_bytes", [10_400, 15_000, 60_000])
    def test_parts_keep_their_limit(self, part_bytes, tmp_path):
        """Of noise, which takes more than its bytes."""
        data = dataset(400)
        found = sizes(packed(tmp_path, data, part_bytes=part_bytes))
        assert max(found) <= part_bytes and sum(found) > data.images.numel()
        assert part_bytes < 15_000 or len(found) < 1.5 * sum(found) / part_bytes + 2  # they are filled
        assert same(read_pack(tmp_path), data)

    def test_equal_data_give_equal_files(self, tmp_path):
        files = [{f.name: f.read_bytes() for f in packed(tmp_path / name, dataset()).iterdir()} for name in "ab"]
        assert files[0] == files[1]
        assert {f.name for f in (tmp_path / "a").iterdir()} == {"manifest.json", "part-001.zip"}

    def test_the_hash_is_of_all_that_a_data_set_holds(self):
        data = dataset()
        assert content_hash(data) == content_hash(dataset())
        assert len({content_hash(d) for d in (
            data, dataset(seed=1), ImageDataset(data.images, data.labels, data.class_names, None, data.name),
            ImageDataset(data.images, data.labels, data.class_names, data.source_index, "other"),
            ImageDataset(data.images, data.labels, ("a", "b", "c"), data.source_index, data.name),
            ImageDataset(data.images.view(30, 3, 7, 9), data.labels, data.class_names, data.source_index, data.name),
            ImageDataset(data.images, data.labels.flip(0), data.class_names, data.source_index, data.name))}) == 7


class TestDamage:
    def test_missing_parts_are_named(self, three):
        for number in (1, 3):
            (three / f"part-00{number}.zip").unlink()
        with pytest.raises(FileNotFoundError, match=r"lacks 2 of its 3 parts: part-001\.zip, part-003\.zip$"):
            read_pack(three)

    @pytest.mark.parametrize("damage", [lambda b: b[:-1], lambda b: b"", lambda b: b[:50] + b"?" + b[51:]])
    def test_bad_parts_are_named(self, three, damage):
        path = three / "part-002.zip"
        path.write_bytes(damage(path.read_bytes()))
        with pytest.raises(ValueError, match=r"1 of 3 parts are truncated or altered .*: bring part-002\.zip again"):
            read_pack(three)

    def test_a_pack_that_was_cut(self, three):
        (three / "manifest.json").unlink()
        with pytest.raises(FileNotFoundError, match="is no pack: it has no manifest.json"):
            read_pack(three)

    @pytest.mark.parametrize("change", [{"images": 129}, {"images": 131}, {"class_names": ["a", "b"]}, {"parts": []},
                                        {"class_names": ["a", "b", "c"]}, {"name": "other"}, {"sha256": "0"},
                                        {"image_shape": [1, 9, 7]}, {"image_shape": [3, 7, 9]},
                                        {"image_shape": [3, 9, 8]}])
    def test_an_altered_manifest(self, three, change):
        described = json.loads((three / "manifest.json").read_text())
        (three / "manifest.json").write_text(json.dumps({**described, **change}))
        with pytest.raises(ValueError, match="manifest.json is altered, or of another pack"):
            read_pack(three)

    def test_a_truncated_manifest(self, three):
        text = (three / "manifest.json").read_text()
        for broken in (text[:-100], "{}", "[]", text.replace('"sha256"', '"sha"')):
            (three / "manifest.json").write_text(broken)
            with pytest.raises(ValueError, match="manifest.json is truncated or altered .*bring it again"):
                read_pack(three)


class TestRefusals:
    def test_folder_that_is_not_empty(self, three, tmp_path):
        before = {f.name: f.read_bytes() for f in three.iterdir()}
        with pytest.raises(FileExistsError, match="holds 4 files or folders: choose one to be made, or an empty one"):
            packed(three, dataset())
        assert {f.name: f.read_bytes() for f in three.iterdir()} == before
        (tmp_path / "file").touch()
        with pytest.raises(NotADirectoryError):
            packed(tmp_path / "file", dataset())

    def test_parts_too_small_for_an_image(self, tmp_path):
        with pytest.raises(ValueError, match=r"part_bytes must be at least 10378 for images \(3, 9, 7\), got 10377"):
            packed(tmp_path / "new", dataset(), part_bytes=10_377)
        assert not (tmp_path / "new").exists()

    def test_images_too_large_for_the_format(self, tmp_path):
        with pytest.raises(ValueError, match="images of 1x16384 do not fit into a pack, which has 16383 pixels a side"):
            packed(tmp_path / "new", dataset(1, 1, 1, 16_384))

    def test_too_little_disk(self, tmp_path, monkeypatch):
        monkeypatch.setattr(resources.shutil, "disk_usage", lambda path: namedtuple("Usage", "free")(12_345))
        with pytest.raises(OSError, match="a pack of 30 images, at worst, needs about 16.1 kB in .* 12.3 kB are free"):
            packed(tmp_path / "new", dataset())
        assert not (tmp_path / "new").exists()

    def test_too_little_memory(self, three, monkeypatch):
        monkeypatch.setattr(resources, "free_memory", lambda device: 1000)
        with pytest.raises(MemoryError, match="the 130 images of .* needs about 24.6 kB of memory on cpu"):
            read_pack(three)


class TestCommand:
    def test_makes_packs_that_load_dataset_reads(self, tmp_path):
        arguments = ["digits", str(tmp_path / "digits"), "--part-bytes", "30000"]
        done = subprocess.run([sys.executable, "-m", "synaug.data.packs", *arguments], capture_output=True, text=True)
        assert done.returncode == 0 and "Warning" not in done.stderr, done.stderr
        assert re.match(r"\d+ files, [\d,]+ bytes, in ", done.stdout)
        for split in ("train", "test"):
            assert same(load_dataset(str(tmp_path / "digits"), split), load_dataset("digits", split))
        assert len(sizes(tmp_path / "digits" / "train")) > 1

    @pytest.mark.parametrize("arguments, message", [
        (["mnist", "new"], "'mnist' is none of fashion_mnist, .* and no folder with train and test, each of a folder"),
        (["digits", "full"], "full holds 1 files or folders"),
        (["digits", "new", "--part-bytes", "9"], "part_bytes must be at least"),
        (["digits", "new", "--image-size", "9"], "--image-size is for a folder of images; digits has its own"),
        (["photos", "new"], r"train has images \(1, 9, 9\) of a, b, photos/test \(3, 9, 9\) of a, b: they must agree"),
    ])
    def test_refusals_are_one_line(self, arguments, message, tmp_path, monkeypatch, capsys):
        monkeypatch.chdir(tmp_path)
        (tmp_path / "full").mkdir()
        (tmp_path / "full" / "something").touch()
        for place in ("train/a", "train/b", "test/a", "test/b"):
            (folder := tmp_path / "photos" / place).mkdir(parents=True)
            Image.new("L" if "train" in place else "RGB", (9, 9)).save(folder / "0.png")
        with pytest.raises(SystemExit) as stopped:
            main(arguments)
        assert re.search(message, capsys.readouterr().err + str(stopped.value))
        assert not (tmp_path / "new").exists()


class TestWithoutNetwork:
    """CIFAR-100 has no recorded sums, so that a small data set can stand for it."""

    @pytest.fixture
    def cache(self, monkeypatch, tmp_path):
        monkeypatch.setenv("SYNAUG_CACHE", str(tmp_path))
        for variable in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
            monkeypatch.setenv(variable, "http://127.0.0.1:1")
        return tmp_path

    @staticmethod
    def small(seed, source_index=None):
        data = dataset(seed=seed)
        return ImageDataset(data.images, data.labels, data.class_names, source_index, "cifar100")

    def test_packs_in_the_cache_are_found_by_name(self, cache):
        made = {split: self.small(seed) for seed, split in enumerate(("train", "test"))}
        with pytest.raises(ConnectionError, match=f"make a pack .* put it here as {cache}/packs/cifar100"):
            load_dataset("cifar100")
        for split, data in made.items():
            packed(cache / "packs" / "cifar100" / split, data)
        for split, data in made.items():
            assert same(load_dataset("cifar100", split), data)

    def test_of_a_part_of_the_data_set_are_refused(self, cache):
        for split in ("train", "test"):
            packed(cache / "packs" / "cifar100" / split, self.small(0, torch.arange(30) + 1))
        with pytest.raises(ValueError, match="holds a part of its split only"):
            load_dataset("cifar100")

    def test_another_content_is_no_cifar10(self, cache):
        for split in ("train", "test"):
            packed(cache / "packs" / "cifar10" / split, self.small(0))
        with pytest.raises(ValueError, match="what was obtained as cifar10 is altered"):
            load_dataset("cifar10")


def test_no_loss_can_hide_in_the_comparison():
    """`same` sees one bit."""
    data, other = dataset(), dataset()
    other.images[3, 1, 4, 2] ^= 1
    assert not same(data, other) and np.count_nonzero(data.images != other.images) == 1
