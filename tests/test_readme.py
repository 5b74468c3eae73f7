"""The Python of the README runs."""

import ast
import re

import pytest
import torch
from torch.nn import functional as F
from torch.utils.data import TensorDataset
from torchvision.transforms import v2

from synaug.classifiers import build_classifier
from synaug.data import load_dataset, stratified_subset
from synaug.diffusion.denoisers import new_denoiser
from synaug.paths import ROOT


def python(title):
    """The Python under a heading of the README."""
    (section,) = re.findall(rf"^## {title}\n(.*?)(?=^## )", (ROOT / "README.md").read_text(), re.DOTALL | re.MULTILINE)
    (code,) = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    return code


def test_ten_lines_of_synaug(capsys):
    """On 40 images in place of 200, to be quick."""
    code = python("Ten lines of `synaug`")
    assert code.count("200") == 1
    exec(code.replace("200", "40"), {})
    distance, metrics = re.fullmatch(r"(\S+) (\{.*\})\n", capsys.readouterr().out).groups()
    assert float(distance) > 0 and set(ast.literal_eval(metrics)) >= {"precision", "recall", "density", "coverage"}


@pytest.mark.filterwarnings("ignore:the training error had not flattened")
def test_targeted_augmentation_in_ten_lines(tmp_path, monkeypatch):
    """A torch data set of 8 x 8 digits, a generator of them that was never trained, three real optimiser steps."""
    monkeypatch.setenv("SYNAUG_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    digits = stratified_subset(load_dataset("digits"), 100, seed=0)
    new_denoiser(digits, channels=(32,)).save("my_generator")
    network = build_classifier("vgg5", digits.image_shape, 10, seed=1)
    before = network.head.weight.detach().clone()
    optimizer, seen = torch.optim.SGD(network.parameters(), 0.1), []

    def my_training_step(images, labels):
        optimizer.zero_grad()
        F.cross_entropy(network(images), labels).backward()
        optimizer.step()
        seen.append(images)

    names = {"my_dataset": TensorDataset(digits.images.float() / 255, digits.labels), "my_steps": 3,
             "my_transform": v2.ToDtype(torch.float32, scale=True), "my_training_step": my_training_step}
    code = python("Targeted augmentation in ten lines")
    assert sum(bool(line) and "import" not in line for line in code.splitlines()) <= 10
    exec(code, names)

    assert torch.equal(names["real"].images, digits.images)
    assert 0 < len(names["slow"]) < 100 and len(names["items"]) == 100 + 4 * len(names["slow"])
    assert [len(images) for images in seen] == [128] * 3 and seen[0].dtype == torch.float32
    assert (network.head.weight - before).abs().max() > 1e-3
