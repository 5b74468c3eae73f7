import os
import struct
import tempfile
import unicodedata
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.datasets import ImageFolder

from synaug import resources
from synaug.data import ImageDataset, folders, load_image_folder, save_image_folder


def save(path, size=(6, 4), mode="RGB", seed=0):
    """An image of noise, ``size`` = (width, height)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = (size[1], size[0]) + ((3,) if mode == "RGB" else (4,) if mode == "RGBA" else ())
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, np.uint8)).convert(mode).save(path)


@pytest.fixture
def pets(tmp_path):
    folder = tmp_path / "pets"
    for i, name in enumerate(["dog/b.png", "cat/z.png", "cat/more/a.bmp", "dog/a.PNG"]):
        save(folder / name, seed=i)
    return folder


def test_agrees_with_torchvision(pets):
    data = load_image_folder(pets)
    original = ImageFolder(pets)
    assert data.class_names == ("cat", "dog") == tuple(original.classes)
    assert (data.name, data.image_shape, len(data)) == ("pets", (3, 4, 6), 4)
    assert data.source_index.tolist() == [0, 1, 2, 3]
    theirs = {np.asarray(image).transpose(2, 0, 1).tobytes(): label for image, label in original}
    assert theirs == {image.numpy().tobytes(): int(label) for image, label in zip(data.images, data.labels)}


def test_what_is_hidden_or_a_systems_own_is_passed_over(pets):
    for litter in (".thumbnails/a.png", "cat/.ipynb_checkpoints/a.png", "__MACOSX/dog/b.png", "dog/@eaDir/a.png"):
        save(pets / litter)
    (pets / "cat" / "._z.png").write_bytes(b"what a Mac leaves beside a file")
    (pets / "dog" / "Thumbs.db").touch()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data = load_image_folder(pets)
    assert data.class_names == ("cat", "dog") and len(data) == 4


def test_other_files_are_counted_once(pets):
    for name in ("cat/a.gif", "cat/more/b.GIF", "dog/c.jfif", "dog/README", "stray.png"):
        (pets / name).touch()
    with pytest.warns(UserWarning, match=r"pets: 5 files were passed over \(2 .gif,") as told:
        assert len(load_image_folder(pets)) == 4
    assert len(told) == 1
    for kind in (".jfif", "without an ending", ".png beside the classes"):
        assert f"1 {kind}" in str(told[0].message)


class TestLinks:
    def test_inside_the_folder_are_followed(self, pets):
        (pets / "dog" / "linked").symlink_to(pets / "cat" / "more")
        (pets / "dog" / "z.png").symlink_to("b.png")
        (pets / "wolf").symlink_to(pets / "dog")
        data = load_image_folder(pets)
        assert data.class_names == ("cat", "dog", "wolf")
        assert data.labels.bincount().tolist() == [2, 4, 4]

    @pytest.mark.parametrize("link", ["cat/out", "bird", "cat/a.png"])
    def test_that_leave_it_are_refused(self, pets, link, tmp_path):
        save(tmp_path / "elsewhere" / "0.png")
        (pets / link).symlink_to(tmp_path / "elsewhere" / ("0.png" if link.endswith("png") else ""))
        with pytest.raises(ValueError, match=f"{link} is a link out of the folder of images, to .*elsewhere"):
            load_image_folder(pets)

    def test_that_lead_nowhere_or_in_circles_are_named(self, pets):
        (pets / "cat" / "gone.png").symlink_to("nothing.png")
        with pytest.raises(ValueError, match=r"1 of 5 images cannot be read: .*gone\.png"):
            load_image_folder(pets)
        (pets / "cat" / "more" / "again").symlink_to(pets / "cat")
        with pytest.raises(ValueError, match="again is a link to a folder that it lies in"):
            load_image_folder(pets)
        (pets / "cat" / "more" / "again").unlink()
        (pets / "cat" / "up").symlink_to(pets)
        with pytest.raises(ValueError, match="cat/up is a link to a folder that it lies in"):
            load_image_folder(pets)
        (pets / "cat" / "up").unlink()
        (pets / "bird").symlink_to(pets / "unmounted")
        with pytest.raises(ValueError, match="bird is a link to what is not there, .*unmounted"):
            load_image_folder(pets)

    def test_a_folder_that_cannot_be_read_is_named(self):
        with tempfile.TemporaryDirectory() as top:
            Path(top).chmod(0o755)
            save(Path(top) / "cat" / "0.png")
            (Path(top) / "cat" / "closed").mkdir(mode=0)
            user = os.geteuid()
            try:
                if user == 0:  # who may read everything
                    os.seteuid(65534)
                with pytest.raises(ValueError, match=r"cat/closed cannot be read \(Permission denied\)"):
                    load_image_folder(top)
            finally:
                os.seteuid(user)


@pytest.mark.parametrize("layout", [("train/cat", "test/cat"), ("Train/cat", "val/cat"), ("train/cat", "test/cat", "more"), ("train/cat",)])
def test_a_folder_one_level_too_high_is_told(tmp_path, layout):
    for name in layout:
        save(tmp_path / name / "0.png")
    with pytest.raises(ValueError, match="splits, not classes. Name one of them, such as .*/[tT]rain "):
        load_image_folder(tmp_path)


def test_splits_within_a_class_are_no_images_of_it(tmp_path):
    for name in ("photos/train/a/0.png", "photos/Testing/a/0.png"):
        save(tmp_path / name)
    with pytest.raises(ValueError, match="photos holds (train, testing|testing, train): splits"):
        load_image_folder(tmp_path)


def test_a_class_may_be_called_train(tmp_path):
    for name in ("train/0.png", "plane/0.png"):
        save(tmp_path / name)
    assert load_image_folder(tmp_path).class_names == ("plane", "train")


def test_class_names_are_composed(tmp_path):
    names = ["Bär", "Bus"]
    for name in names:
        save(tmp_path / unicodedata.normalize("NFD", name) / "0.png")
    assert load_image_folder(tmp_path).class_names == ("Bus", "Bär")
    save(tmp_path / "Bär" / "0.png")
    if len(list(tmp_path.iterdir())) == 3:  # not where the file system has one form only
        with pytest.raises(ValueError, match="two folders of one name"):
            load_image_folder(tmp_path)


@pytest.mark.parametrize("orientation", [*range(1, 9), 0, 9, 255, 65535, "6", "upright"])
def test_photographs_are_turned_upright(tmp_path, orientation):
    upright = np.random.default_rng(0).integers(0, 256, (4, 6, 3), np.uint8)
    stored = {
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.swapaxes(0, 1),
        6: np.rot90(upright),
        7: np.rot90(upright, 2).swapaxes(0, 1),
        8: np.rot90(upright, -1),
    }
    stored = stored.get(orientation, upright)
    # The one entry of an EXIF block: tag, type (2 is text, 3 a short), number of values, values or where they are.
    text = isinstance(orientation, str)
    value = orientation.encode().ljust(8, b"\0") if text else struct.pack("<H6x", orientation)
    entry = struct.pack("<HHHII", 1, 0x0112, 2 if text else 3, 8 if text else 1, 26 if text else orientation)
    (tmp_path / "a").mkdir()
    Image.fromarray(np.ascontiguousarray(stored)).save(tmp_path / "a" / "0.png", exif=b"Exif\0\0II*\0" + struct.pack("<I", 8) + entry + bytes(4) + value)
    data = load_image_folder(tmp_path)
    assert data.image_shape == (3, 4, 6)
    assert (data.images[0].numpy() == upright.transpose(2, 0, 1)).all()


def test_too_little_memory_is_told_before_the_images_are_read(pets, monkeypatch):
    monkeypatch.setattr(resources, "free_memory", lambda device: 100)
    with pytest.raises(MemoryError, match="4 images of 4x6 needs about 288B"):
        load_image_folder(pets)


def test_what_was_slow_to_decode_is_kept_until_a_file_changes(pets, tmp_path, monkeypatch):
    monkeypatch.setenv("SYNAUG_CACHE", str(tmp_path / "cache"))
    load_image_folder(pets)
    assert not (tmp_path / "cache").exists()
    monkeypatch.setattr(folders, "SLOW", 0)
    data = load_image_folder(pets)
    monkeypatch.setattr(folders.Image, "open", None)
    again = load_image_folder(pets)
    assert torch.equal(again.images, data.images) and torch.equal(again.labels, data.labels)
    assert (again.class_names, again.name) == (data.class_names, data.name)
    for change in (lambda: load_image_folder(pets, image_size=3), lambda: (pets / "dog" / "b.png").touch()):
        with pytest.raises(ValueError, match="4 of 4 images cannot be read"):  # it opens them again
            change()
            load_image_folder(pets)


def test_grey_images_have_one_channel(tmp_path):
    save(tmp_path / "a" / "0.png", mode="L")
    data = load_image_folder(str(tmp_path))
    assert data.image_shape == (1, 4, 6)
    assert torch.equal(data.images[0, 0], torch.from_numpy(np.array(Image.open(tmp_path / "a" / "0.png"))))


@pytest.mark.parametrize("ending", ["png", "jpg", "jpeg", "webp", "bmp", "tiff", "ppm"])
def test_formats(tmp_path, ending):
    save(tmp_path / "a" / f"0.{ending}")
    stored = np.asarray(Image.open(tmp_path / "a" / f"0.{ending}")).transpose(2, 0, 1)
    assert (load_image_folder(tmp_path).images[0].numpy() == stored).all()


def test_resizing_takes_mixed_sizes(tmp_path):
    save(tmp_path / "a" / "0.png", size=(8, 4))
    save(tmp_path / "b" / "0.png", size=(5, 9))
    save(tmp_path / "b" / "1.png", size=(7, 3))
    assert load_image_folder(tmp_path, image_size=6).image_shape == (3, 6, 6)
    data = load_image_folder(tmp_path, image_size=(3, 7))
    assert data.image_shape == (3, 3, 7)
    assert (data.images[2].numpy() == np.asarray(Image.open(tmp_path / "b" / "1.png")).transpose(2, 0, 1)).all()


def test_mixed_sizes_name_a_file_of_each(pets):
    save(pets / "dog" / "c.png", size=(5, 4))
    named = r"size \(height, width\): .*a\.bmp is \(4, 6\), .*c\.png is \(4, 5\).*image_size"
    with pytest.raises(ValueError, match=named):
        load_image_folder(pets)


def test_mixed_modes_name_a_file_of_each(pets):
    save(pets / "dog" / "c.png", mode="L")
    with pytest.raises(ValueError, match=r"more than one mode: .*a\.bmp is RGB, .*c\.png is L"):
        load_image_folder(pets, image_size=4)


def test_other_modes_are_refused(tmp_path):
    save(tmp_path / "a" / "c.png", mode="RGBA")
    with pytest.raises(ValueError, match=r"grey \(mode L\) or RGB, these are RGBA: load_image_folder takes mode="):
        load_image_folder(tmp_path)


@pytest.mark.parametrize("mode, channels", [("RGB", 3), ("L", 1)])
def test_modes_are_converted_on_request(pets, mode, channels):
    opened = Image.open(pets / "cat" / "z.png")
    for name, kind in (("l.png", "L"), ("m.png", "P"), ("n.png", "1"), ("o.tiff", "CMYK"), ("p.png", "LA")):
        opened.convert(kind).save(pets / "dog" / name)
    data = load_image_folder(pets, mode=mode)
    assert data.image_shape == (channels, 4, 6) and len(data) == 9
    grey = np.asarray(opened.convert("L"))
    assert (data.images[4].numpy() == grey).all()  # a, b, l, m, ...: the grey one, in every channel
    Image.new("RGBA", (6, 4), (9, 9, 9, 0)).save(pets / "dog" / "q.png")
    assert (load_image_folder(pets, mode=mode).images[-1] == 255).all()


@pytest.mark.parametrize("mode", [None, "L"])
def test_more_than_eight_bits_are_refused(pets, mode):
    Image.fromarray(np.zeros((4, 6), np.uint16)).save(pets / "dog" / "deep.png")
    with pytest.raises(ValueError, match=r"8 bits per channel; .*deep\.png is I;16 \(1 such"):
        load_image_folder(pets, mode=mode)


@pytest.mark.parametrize("size", [(20, 10), (10, 20)])
def test_crops_keep_the_centre_and_the_aspect_ratio(tmp_path, size):
    """Of an image of three bands along its longer side, of a quarter, a half and a quarter, the middle one is left."""
    image = Image.new("RGB", size, "red")
    width, height = size
    box = (5, 0, 15, 10) if width > height else (0, 5, 10, 15)
    image.paste("blue", box)
    (tmp_path / "a").mkdir()
    image.save(tmp_path / "a" / "0.png")
    cropped, squashed = (load_image_folder(tmp_path, image_size=10, crop=crop).images[0] for crop in (True, False))
    assert (cropped == torch.tensor([0, 0, 255])[:, None, None]).all() and squashed[0].max() > 200
    with pytest.raises(ValueError, match="crop needs an image_size"):
        load_image_folder(tmp_path, crop=True)


def test_empty_classes_are_named(pets):
    (pets / "bird").mkdir()
    (pets / "fish").mkdir()
    (pets / "fish" / "a.jfif").write_text("")
    with pytest.raises(ValueError, match="no images in 'bird', 'fish'; image files end in .jpg.*passed over: 1 .jfif"):
        load_image_folder(pets)


def test_unreadable_files_are_named(pets):
    (pets / "dog" / "not.png").write_bytes(b"not an image")
    (pets / "dog" / "empty.jpg").write_bytes(b"")
    with pytest.raises(ValueError, match=r"2 of 6 images cannot be read: .*empty\.jpg .*; .*not\.png"):
        load_image_folder(pets)


@pytest.mark.parametrize("ending", ["png", "jpg", "webp"])
def test_truncated_files_are_named(pets, ending):
    cut = pets / "dog" / f"cut.{ending}"
    save(cut, size=(60, 40))
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
    with pytest.raises(ValueError, match=rf"1 of 5 images cannot be read: .*cut\.{ending}"):
        load_image_folder(pets, image_size=8)


def test_no_classes(tmp_path):
    save(tmp_path / "0.png")
    with pytest.raises(ValueError, match="has no classes: it must hold one subfolder of images per class"):
        load_image_folder(tmp_path)


def test_bad_paths(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere is not a folder"):
        load_image_folder(tmp_path / "nowhere")
    save(tmp_path / "0.png")
    with pytest.raises(NotADirectoryError, match="0.png is not a folder"):
        load_image_folder(tmp_path / "0.png")


@pytest.mark.parametrize("size", [0, -3, 2.5, (4,), (4, 0), "8", (1, 2, 3), True, (8, True)])
def test_bad_image_sizes(pets, size):
    with pytest.raises(ValueError, match="image_size must be a positive integer or"):
        load_image_folder(pets, image_size=size)


def test_bad_modes(pets):
    with pytest.raises(ValueError, match='mode must be "RGB", "L" or None, got \'RGBA\''):
        load_image_folder(pets, mode="RGBA")


class TestSaving:
    @staticmethod
    def data(channels=3, names=("zebra", "a/b", "Bär")):
        images = torch.randint(0, 256, (12, channels, 5, 7), generator=torch.Generator().manual_seed(0))
        return ImageDataset(images.to(torch.uint8), torch.arange(12) % 3, names)

    @pytest.mark.parametrize("channels", [1, 3])
    def test_there_and_back(self, tmp_path, channels):
        data = self.data(channels)
        back = load_image_folder(save_image_folder(data, tmp_path / "new" / "pool"))
        assert back.class_names == ("Bär", "a_b", "zebra")
        for label, name in enumerate(("zebra", "a_b", "Bär")):
            theirs = back.images[back.labels == back.class_names.index(name)]
            assert torch.equal(theirs, data.images[data.labels == label])

    def test_refuses(self, tmp_path, room):
        for names in (("a", "", "b"), ("a", "b", ".."), ("a/b", "a_b", "c"), ("__MACOSX", "a", "b")):
            with pytest.raises(ValueError, match="class names that cannot be folders of their own"):
                save_image_folder(self.data(names=names), tmp_path / "new")
        room(1000)
        with pytest.raises(OSError, match="writing 12 images needs about 7.[0-9]+kB"):
            save_image_folder(self.data(), tmp_path / "new")
        assert not (tmp_path / "new").exists()
        (tmp_path / "something").touch()
        with pytest.raises(FileExistsError, match="holds 1 files or folders"):
            save_image_folder(self.data(), tmp_path)
        with pytest.raises(TypeError, match="dataset must be of the class ImageDataset, got Tensor"):
            save_image_folder(torch.zeros(2, 1, 4, 4), tmp_path / "new")

    def test_writes_all_or_nothing(self, tmp_path, monkeypatch):
        with pytest.raises(OSError, match="File name too long"):
            save_image_folder(self.data(names=("a", "b", "c" * 300)), tmp_path / "new")
        assert not list((tmp_path / "new").iterdir())
        calls = iter((None, None, KeyboardInterrupt))
        write = Image.Image.save

        def cut(image, path):
            write(image, path)
            if stop := next(calls):
                raise stop

        monkeypatch.setattr(Image.Image, "save", cut)
        with pytest.raises(KeyboardInterrupt):
            save_image_folder(self.data(), tmp_path / "new")
        assert not list((tmp_path / "new").iterdir())
        monkeypatch.undo()
        (tmp_path / "new" / folders.UNFINISHED / "a").mkdir(parents=True)  # of a process that was killed
        assert len(load_image_folder(save_image_folder(self.data(), tmp_path / "new"))) == 12
        assert sorted(place.name for place in (tmp_path / "new").iterdir()) == ["Bär", "a_b", "zebra"]
