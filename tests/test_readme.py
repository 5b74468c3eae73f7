"""The programs that a reader would copy run: the examples, two of which the README shows; the page on own images."""

import re
import runpy
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel
from PIL import Image

from synaug.__main__ import main
from synaug.classifiers.training import RECIPES
from synaug.data import load_dataset
from synaug.paths import ROOT

EXAMPLES = ROOT / "examples"


def blocks(page, language):
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / page).read_text("utf-8"), re.DOTALL)


def run(code, smaller):
    """The code's names after it ran, with numbers that make it quick, each of which must occur in it."""
    for number, small in smaller.items():
        assert number in code
        code = code.replace(number, small)
    names = {}
    exec(code, names)
    return names


def test_the_readme_shows_two_of_the_examples():
    assert blocks("README.md", "python") == [(EXAMPLES / name).read_text() for name in ("compare_with_fresh_images.py", "targeted_augmentation.py")]


def test_comparing_with_fresh_images(capsys):
    code = (EXAMPLES / "compare_with_fresh_images.py").read_text()
    names = run(code, {"20, 20, 20": "4, 4, 4"})
    shown = capsys.readouterr().out
    assert shown.count("fresh real") == shown.count("reconstructions") == 6 and "recall" in shown
    used = [names[part].source_index for part in ("sources", "reference", "fresh")]
    assert len(torch.cat(used).unique()) == 120


@pytest.mark.filterwarnings("ignore:the training error had not flattened")
def test_targeted_augmentation(capsys):
    code = (EXAMPLES / "targeted_augmentation.py").read_text()
    names = run(code, {"300": "60", "steps=200": "steps=20", "k=3": "k=3, steps=4"})
    real, slow, pool = (len(names[name]) for name in ("real", "slow", "pool"))
    assert real == 60 and 0 < slow < 60 and pool == 2 * slow and len(names["items"]) == 60 + pool
    assert f"60 real images, {slow} of them slow, {pool} generated" in capsys.readouterr().out


def test_an_experiment_of_ones_own(capsys, monkeypatch):
    monkeypatch.setenv("SYNAUG_PROFILE", "smoke")
    monkeypatch.syspath_prepend(EXAMPLES)
    runpy.run_path(str(EXAMPLES / "own_experiment.py"), run_name="__main__")
    header, row = capsys.readouterr().out.splitlines()
    assert header.split() == ["x", "estimate", "low", "high", "p_value", "adjusted", "n"] and row.split()[-1] == "2"


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """Real images as photographs are found: 340 of three classes of unequal size, in colour and grey, of many sizes,
    one deeper in its folder, with files that are none."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SYNAUG_CACHE", str(tmp_path / "cache"))
    draw, data = np.random.default_rng(0), load_dataset("fashion_mnist")
    for name, label, n in (("Ankle boots", 9, 60), ("dresses", 3, 90), ("Hüte & Taschen", 8, 190)):
        (tmp_path / "photos" / name / "more").mkdir(parents=True)
        for i, pixels in enumerate(data.images[data.labels == label][:n, 0].numpy()):
            image = Image.fromarray(pixels).resize(tuple(draw.integers(24, 60, 2)))
            image = image.convert("RGB") if i % 3 else image
            image.save(tmp_path / "photos" / name / ("more" if i == 7 else ".") / f"{i}.{'png' if i % 2 else 'jpg'}")
    (tmp_path / "photos" / "dresses" / "notes.txt").write_text("mine")


def test_the_page_on_own_images_knows_the_usual_weight_decay():
    usual, page = RECIPES["one_cycle"]["weight_decay"], (ROOT / "book" / "your-own-images.md").read_text("utf-8")
    assert f"The usual weight decay of `train` is {usual:g}." in page and f'"weight_decay": {10 * usual:g}}}' in page


def test_the_page_on_own_images_knows_what_so_many_images_tell():
    """Half of a 95 % interval of the difference of two accuracies, where one image in ten is right in one arm only."""
    few, many = (f"{100 * 1.96 * (0.1 / n) ** 0.5:.1f}" for n in (200, 2000))
    assert f"200 judging images tell gains above {few} points from 0 at best, and 2,000 those above {many}." in (
        ROOT / "book" / "your-own-images.md"
    ).read_text("utf-8")


@pytest.mark.filterwarnings("ignore:.*files were passed over")
def test_your_own_images(photos, capsys):
    """The page from top to bottom, but for the time that training takes."""
    page = "book/your-own-images.md"
    (command,) = [line for block in blocks(page, "bash") for line in block.splitlines() if "train-generator" in line]
    folder, pretrained, *rest = blocks(page, "python")
    small = {"block_out_channels": (8,), "layers_per_block": 1, "norm_num_groups": 4}
    network = UNet2DModel(32, **small, down_block_types=("DownBlock2D",), up_block_types=("UpBlock2D",), num_class_embeds=3)
    DDPMPipeline(network, DDPMScheduler()).save_pretrained("my_pipeline")
    names = run(folder + pretrained, {})
    assert names["made"].shape == names["near"].shape == (8, 3, 32, 32)
    assert names["test"].labels.bincount().tolist() == [20, 20, 20] and len(names["train"]) == 280
    assert names["photos"].image_shape == (3, 32, 32)
    words = shlex.split(command)
    assert words[:3] == ["python", "-m", "synaug"]
    assert main([*words[3:], "--images", "64", "--channels", "32"]) == 0
    code = "import synaug\n" + "".join(rest)
    names = run(code, {"num_classes, (800, 1600)": "num_classes, (12, 13)", "range(5)": "range(2)", "k=4, from": "k=4, steps=3, from"})
    out = capsys.readouterr().out
    assert out.count("fresh real") == 6 and "nearly copies" in out and out.count("gain in accuracy ") == 8 and out.count(" steps, accuracy ") == 8
    parts = names["real"]
    assert len(parts.trained) + len(parts.unseen) == 280 and len(parts.unseen) == len(names["made"]) == 56
    (audit,) = [line for block in blocks(page, "bash") for line in block.splitlines() if " audit " in line]
    assert main([*shlex.split(audit)[3:], "--encoder", "pixels", "--quiet"]) in (0, 1)
    assert "To do" in capsys.readouterr().out and Path("audit.html").is_file() and Path("drop.txt").is_file()
