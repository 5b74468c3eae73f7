"""How long a sweep should take on a GPU: counted work, and that the paper's sweep fits half an hour."""

import pytest
import torch
from torch import nn

from synaug.diffusion.denoisers import load_denoiser
from synaug.experiments import mode_concentration, plan, targeted_augmentation
from synaug.experiments.__main__ import main
from synaug.diffusion.recipe import RECIPES


def test_operations_are_counted():
    assert plan.operations(nn.Conv2d(3, 8, 3, padding=1), torch.zeros(1, 3, 10, 10)) == 2 * 27 * 8 * 100


def test_a_saved_generator_counts_as_its_recipe_does(monkeypatch):
    saved = plan.generator_of("fashion_mnist")
    assert load_denoiser("fashion_mnist").num_classes == saved.num_classes == 10
    monkeypatch.setenv("SYNAUG_CHECKPOINTS", "nowhere")
    assert plan.generator_of("fashion_mnist") == saved
    assert set(RECIPES[name].dataset for name in RECIPES) == set(plan.SHAPES)
    with pytest.raises(FileNotFoundError, match="no generator 'other'"):
        plan.generator_of("other")


def test_seconds():
    generator = plan.Generator(100, (3, 32, 32), 10, 2e9)
    assert plan.sampling_seconds(generator, 50_000, 199) == plan.BEGIN + 50_000 * 199 * 2e9 / plan.OPERATIONS
    assert plan.training_seconds("resnet8", (3, 32, 32), 10, 1000) == plan.BEGIN + 1000 * plan.STEP  # small
    # Torchvision's ResNet-18 with the stem for small images has 0.56 billion multiply-adds (He et al.'s has 1.8).
    large = plan.training_seconds("resnet18", (3, 32, 32), 10, 1000, batch_size=1280)
    assert large == pytest.approx(plan.BEGIN + 1000 * 3 * 1280 * 2 * 0.556e9 / plan.OPERATIONS, rel=0.02)


def test_the_sweep_of_the_paper_fits_half_an_hour(capsys, monkeypatch):
    made, table = [], plan.table
    monkeypatch.setattr(plan, "table", lambda heading, pieces: made.append(pieces) or table(heading, pieces))
    assert main(["--experiment", "mode_concentration", "--profile", "paper", "--plan"]) == 0
    lines, (pieces,) = capsys.readouterr().out.splitlines(), made
    assert "the generator cifar10 given" in lines[0] and lines[2].split()[0] == "41,000"
    settings = mode_concentration.PROFILES["paper"]
    levels = len(settings["reverse_steps"])
    assert sum(piece.number for piece in pieces) == (levels - 1) + (levels * settings["seeds"] + 1) + levels
    assert sum(piece.number * piece.seconds for piece in pieces) < 30 * 60
    assert max(piece.seconds for piece in pieces) < 10 * 60


def test_what_is_assumed_is_said_with_what_measures_it(capsys):
    main(["--experiment", "mode_concentration", "--profile", "paper", "--plan", "-p", "generator", "tiny_imagenet"])
    text = capsys.readouterr().out
    generator = plan.generator_of("tiny_imagenet")
    assert (generator.images, generator.image_shape, generator.num_classes) == (80_000, (3, 64, 64), 200)
    assert f"the generator has {plan.OPERATIONS / generator.operations:,.0f} evaluations of an image a second" in text
    assert "Assumed, not measured: 1e+14 operations" in text and "bench_reconstruction.py --generator tiny" in text


def test_the_sweep_of_k_in_pieces(capsys, monkeypatch):
    made, table = [], plan.table
    monkeypatch.setattr(plan, "table", lambda heading, pieces: made.append(pieces) or table(heading, pieces))
    assert main(["--experiment", "targeted_augmentation", "--profile", "paper", "--plan"]) == 0
    settings = targeted_augmentation.PROFILES["paper"]
    assert "the generator cifar10 given" in capsys.readouterr().out.splitlines()[0]
    steps = f"resnet18, {settings['steps']:,} steps of "
    numbers, seconds = ({p.name: getattr(p, what) for p in made[0]} for what in ("number", "seconds"))
    arms = settings["k_seeds"] * (1 + 2 * len(settings["ks"]))
    assert numbers[steps + "SGD"] == numbers[steps + "SAM"] == arms and numbers["40,000 images in 9 steps"] == 4
    assert seconds[steps + "SAM"] - plan.BEGIN == pytest.approx(2 * (seconds[steps + "SGD"] - plan.BEGIN))
