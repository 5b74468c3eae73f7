"""TinyImageNet, from an archive of its layout that a test makes of a few images."""

import io
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from synaug.data import load_dataset

CLASSES = {"n02": "goldfish, Carassius auratus", "n01": "bullfrog, Rana catesbeiana", "n03": "brass"}


def jpeg(seed, size=(64, 64), mode="RGB"):
    """The bytes of a JPEG file."""
    shape = (*size[::-1], 3) if mode == "RGB" else size[::-1]
    pixels = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels, mode).save(file, "JPEG")
    return file.getvalue()


def layout():
    """File names and contents: three classes of four images, the first of them grey; six validation images."""
    files = {"wnids.txt": "\n".join(CLASSES) + "\n", "words.txt": "".join(f"{wnid}\t{words}\n" for wnid, words in {"n00": "entity", **CLASSES}.items())}
    for i, wnid in enumerate(CLASSES):
        for j in range(4):
            files[f"train/{wnid}/images/{wnid}_{j}.JPEG"] = jpeg(10 * i + j, mode="RGB" if i + j else "L")
        files[f"train/{wnid}/{wnid}_boxes.txt"] = ""
    annotations = ""
    for j in range(6):
        files[f"val/images/val_{j}.JPEG"] = jpeg(100 + j)
        annotations += f"val_{j}.JPEG\t{list(CLASSES)[(j + 1) % 3]}\t0\t0\t63\t63\n"
    return {**files, "val/val_annotations.txt": annotations, "test/images/test_0.JPEG": jpeg(200)}


def put(files, cache, packed):
    cache.mkdir(exist_ok=True)
    if packed:
        with zipfile.ZipFile(cache / "tiny-imagenet-200.zip", "w") as archive:
            for name, content in files.items():
                archive.writestr(f"tiny-imagenet-200/{name}", content)
        return
    for name, content in files.items():
        path = cache / "tiny-imagenet-200" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())


def pixels(content):
    return torch.from_numpy(np.array(Image.open(io.BytesIO(content)).convert("RGB"))).permute(2, 0, 1)


@pytest.mark.parametrize("packed", [True, False])
def test_images_labels_and_names(packed, cache):
    files = layout()
    put(files, cache, packed)
    train, test = load_dataset("tiny_imagenet"), load_dataset("tiny_imagenet", "test")
    assert train.class_names == test.class_names == ("goldfish", "bullfrog", "brass")
    assert train.image_shape == (3, 64, 64) and train.name == "tiny_imagenet"
    names = sorted(name for name in files if name.startswith("train/") and name.endswith("JPEG"))
    assert train.labels.tolist() == [list(CLASSES).index(name.split("/")[1]) for name in names]
    assert torch.equal(train.images, torch.stack([pixels(files[name]) for name in names]))
    assert test.labels.tolist() == [1, 2, 0, 1, 2, 0]
    assert torch.equal(test.images, torch.stack([pixels(files[f"val/images/val_{j}.JPEG"]) for j in range(6)]))


def test_it_is_read_once(cache):
    put(layout(), cache, packed=True)
    first = load_dataset("tiny_imagenet")
    (cache / "tiny-imagenet-200.zip").unlink()
    assert torch.equal(load_dataset("tiny_imagenet").images, first.images)


def test_without_it_the_error_says_what_to_do(cache):
    with pytest.raises(FileNotFoundError, match="put tiny-imagenet-200.zip .* or its folder .* into"):
        load_dataset("tiny_imagenet")


@pytest.mark.parametrize(
    "change, message",
    [
        ({"words.txt": None}, "not laid out as TinyImageNet is: .*words.txt"),
        ({"val/val_annotations.txt": "val_0.JPEG\tn99\t0\t0\t0\t0\n"}, "not laid out .*n99"),
        ({"train/n02/images/n02_3.JPEG": None}, "3 to 4 training images per class, which should be equal"),
        ({"val/images/val_5.JPEG": None}, "val_5.JPEG is missing or unreadable"),
        ({"train/n01/images/n01_0.JPEG": jpeg(0)[:700]}, "n01_0.JPEG is missing or unreadable"),
        ({"train/n01/images/n01_0.JPEG": jpeg(0, (32, 64))}, "n01_0.JPEG has 64x32 pixels"),
    ],
)
@pytest.mark.parametrize("packed", [True, False])
def test_refuses(change, message, packed, cache):
    put({name: content for name, content in {**layout(), **change}.items() if content is not None}, cache, packed)
    with pytest.raises(ValueError, match=message):
        load_dataset("tiny_imagenet")
    assert not (cache / "tiny_imagenet.npz").exists()


def test_a_truncated_archive_is_refused(cache):
    put(layout(), cache, packed=True)
    path = cache / "tiny-imagenet-200.zip"
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(ValueError, match="truncated or altered"):
        load_dataset("tiny_imagenet")
