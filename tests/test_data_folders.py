import numpy as np
import pytest
import torch
from PIL import ExifTags, Image
from torchvision.datasets import ImageFolder

from synaug import resources
from synaug.data import load_image_folder


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
    (folder / "cat" / "notes.txt").write_text("not an image")
    return folder


def test_agrees_with_torchvision(pets):
    data = load_image_folder(pets)
    original = ImageFolder(pets)
    assert data.class_names == ("cat", "dog") == tuple(original.classes)
    assert (data.name, data.image_shape, len(data)) == ("pets", (3, 4, 6), 4)
    assert data.source_index.tolist() == [0, 1, 2, 3]
    theirs = {np.asarray(image).transpose(2, 0, 1).tobytes(): label for image, label in original}
    assert theirs == {image.numpy().tobytes(): int(label) for image, label in zip(data.images, data.labels)}


def test_what_is_hidden_is_passed_over(pets):
    (pets / ".thumbnails").mkdir()
    save(pets / "cat" / ".ipynb_checkpoints" / "a-checkpoint.png")
    (pets / "cat" / "._z.png").write_bytes(b"what a Mac leaves beside a file")
    data = load_image_folder(pets)
    assert data.class_names == ("cat", "dog") and len(data) == 4


@pytest.mark.parametrize("orientation", range(1, 9))
def test_photographs_are_turned_upright(tmp_path, orientation):
    upright = np.random.default_rng(0).integers(0, 256, (4, 6, 3), np.uint8)
    stored = {1: upright, 2: upright[:, ::-1], 3: upright[::-1, ::-1], 4: upright[::-1], 5: upright.swapaxes(0, 1),
              6: np.rot90(upright), 7: np.rot90(upright, 2).swapaxes(0, 1), 8: np.rot90(upright, -1)}[orientation]
    image, exif = Image.fromarray(np.ascontiguousarray(stored)), Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    (tmp_path / "a").mkdir()
    image.save(tmp_path / "a" / "0.png", exif=exif)
    data = load_image_folder(tmp_path)
    assert data.image_shape == (3, 4, 6)
    assert (data.images[0].numpy() == upright.transpose(2, 0, 1)).all()


def test_too_little_memory_is_told_before_the_images_are_read(pets, monkeypatch):
    monkeypatch.setattr(resources, "free_memory", lambda device: 100)
    with pytest.raises(MemoryError, match="4 images of 6x4 needs about 288 bytes"):
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


def test_resizing_keeps_a_constant_image_constant(tmp_path):
    (tmp_path / "a").mkdir()
    Image.new("RGB", (32, 20), (10, 100, 200)).save(tmp_path / "a" / "0.png")
    data = load_image_folder(tmp_path, image_size=8)
    assert (data.images[0] == torch.tensor([10, 100, 200])[:, None, None]).all()


def test_mixed_sizes_name_a_file_of_each(pets):
    save(pets / "dog" / "c.png", size=(5, 4))
    with pytest.raises(ValueError, match=r"more than one size: .*a\.bmp is \(6, 4\), .*c\.png is \(5, 4\).*image_size"):
        load_image_folder(pets)


def test_mixed_modes_name_a_file_of_each(pets):
    save(pets / "dog" / "c.png", mode="L")
    with pytest.raises(ValueError, match=r"more than one mode: .*a\.bmp is RGB, .*c\.png is L"):
        load_image_folder(pets, image_size=4)


def test_other_modes_are_refused(pets):
    save(pets / "dog" / "c.png", mode="RGBA")
    with pytest.raises(ValueError, match=r"grey \(mode L\) or RGB; .*c\.png is RGBA \(1 such"):
        load_image_folder(pets)


def test_empty_classes_are_named(pets):
    (pets / "bird").mkdir()
    (pets / "fish").mkdir()
    (pets / "fish" / "a.txt").write_text("")
    with pytest.raises(ValueError, match="no images in 'bird', 'fish'; image files end in .jpg"):
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
    with pytest.raises(ValueError, match="has no classes: it must hold one subfolder"):
        load_image_folder(tmp_path)


def test_bad_paths(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere is not a folder"):
        load_image_folder(tmp_path / "nowhere")
    save(tmp_path / "0.png")
    with pytest.raises(NotADirectoryError, match="0.png is not a folder"):
        load_image_folder(tmp_path / "0.png")


@pytest.mark.parametrize("size", [0, -3, 2.5, (4,), (4, 0), "8", (1, 2, 3)])
def test_bad_image_sizes(pets, size):
    with pytest.raises(ValueError, match="image_size must be a positive integer or"):
        load_image_folder(pets, image_size=size)
