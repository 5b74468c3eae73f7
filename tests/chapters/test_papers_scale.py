"""The plan at the papers' scale, tiny: its rehearsal, a run that is cut again and again, a subset of CIFAR-10."""

import json
import os
import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from synaug.__main__ import main
from synaug.chapters.papers_scale import CLASSIFIER, FAST, TINY, WHOLE, full_size, run, steps, train_generator
from synaug.chapters.tasks import splits
from synaug.classifiers import build_classifier, train_classifier
from synaug.data import load_dataset, stratified_subset
from synaug.diffusion.denoisers import UNKNOWN, generator_hash, load_denoiser
from synaug.diffusion.reconstruction import generate
from synaug.diffusion.trainer import STATE, Trainer
from synaug.paths import ROOT
from synaug.run import sweep
from synaug.run.results import load_recorded
from synaug.statistics.contrasts import select

pytestmark = pytest.mark.filterwarnings("ignore:the training error had not flattened")
NAMES = "targeted_augmentation", "mode_concentration"


def placed(monkeypatch, folder):
    for name in ("CACHE", "RESULTS", "CHECKPOINTS"):
        monkeypatch.setenv(f"SYNAUG_{name}", str(folder / name))


def frames(variant):
    """What is recorded, but for what was timed."""
    found = [load_recorded(name, "paper", variant) for name in NAMES]
    return [frame[~frame["metric"].str.contains("seconds")].reset_index(drop=True) for frame in found]


def test_rehearsal(capsys):
    before = dict(os.environ)
    assert main(["record", "--profile", "paper", "--minutes", "7", "--dry-run"]) == 0
    told = capsys.readouterr().out
    for part in ("generator   ", "4,320,000 passes", "11 trainings of 781 x 512 images", "all is recorded", *(f"{name}, 2 seeds: " for name in NAMES)):
        assert part in told
    assert dict(os.environ) == before
    assert all(len(steps(dataset)) == 5 for dataset in WHOLE)


def test_the_page_says_what_the_recorded_run_took():
    """By the generator's record, and by the frame."""
    text = (ROOT / "book" / "papers-scale.md").read_text()
    record = json.loads((ROOT / "data" / "checkpoints" / "cifar10_fast" / "training_record.json").read_text())
    frame = load_recorded("targeted_augmentation", "paper", "fast_cifar10")
    assert f"{record['steps']:,} steps in {record['minutes']} minutes and saw {record['images_seen']:,} images" in text
    assert f"Each classifier took {select(frame, metric='training_seconds')['value'].mean():.1f} seconds" in text
    assert frame.attrs["provenance"]["generator"] == generator_hash(load_denoiser("cifar10_fast"))
    assert frame.attrs["provenance"]["device"] == record["device"] == "NVIDIA H200"


def test_a_run_that_was_cut_again_and_again_is_one_that_was_not(tmp_path, monkeypatch):
    done = []

    def go():
        told = []
        assert run("digits", 60, 1, "cpu", told.append, size=TINY) == (True, True)
        return frames("fast_digits"), "\n".join(told)

    def cut_before(owner, name, count):
        """The call of that number is interrupted, once."""
        whole = getattr(owner, name)

        def cutting(*given, **options):
            done.append(name)
            if done.count(name) == count:
                monkeypatch.setattr(owner, name, whole)
                raise KeyboardInterrupt
            return whole(*given, **options)

        monkeypatch.setattr(owner, name, cutting)

    placed(monkeypatch, tmp_path / "uncut")
    uncut, told = go()
    assert "16 images seen" in told and not (tmp_path / "uncut/CHECKPOINTS/digits_fast" / STATE).exists()
    placed(monkeypatch, tmp_path / "cut")
    for owner, name, count in ((Trainer, "train_step", 2), (sweep, "call", 9), (sweep, "call", 40), (sweep, "call", 50)):
        cut_before(owner, name, count)
        with pytest.raises(KeyboardInterrupt):
            go()
    for one, other in zip(uncut, go()[0], strict=True):
        pd.testing.assert_frame_equal(one, other)
        assert set(one["seed"]) == {0, 1} and one.attrs["provenance"]["parameters"]["seeds"] == 2
    monkeypatch.setattr(sweep, "call", None)
    assert go()[1] == ""  # nothing is left to do, and the generator stays as it is

    # A further seed is asked for, and fails: what is recorded is that of two.
    monkeypatch.setattr(sweep, "call", lambda *given: 1 / 0)
    told = []
    assert run("digits", 60, 1, "cpu", told.append, size=replace(TINY, seeds=3)) == (False, False)
    assert "division by zero" in "\n".join(told)
    for one, other in zip(uncut, frames("fast_digits"), strict=True):
        pd.testing.assert_frame_equal(one, other)

    added = select(uncut[0], metric="added").pivot(index="seed", columns=["arm", "x"], values="value")
    assert set(added) == {
        ("original", 1),
        *((arm, k) for arm in ("upsampled", "generated") for k in (2, 3)),
        *((arm, 2) for arm in ("generated, from noise", "generated, random", "upsampled, few", "generated, few", "fresh, few")),
    }
    few = added[["upsampled, few", "generated, few", "fresh, few"]]
    assert (few.nunique(axis=1) == 1).all() and (few.iloc[:, 0] <= added["upsampled", 2]).all()


@pytest.mark.parametrize(
    "dataset, side, name", [("cifar10", 32, "cifar10 (407 of 50,000)"), ("cifar100", 32, "cifar100 (407 of 50,000)"), ("tiny_imagenet", 64, "tiny_imagenet")]
)
def test_a_subset_says_so_and_other_data_sets_differ_by_their_name(dataset, side, name, tmp_path, monkeypatch):
    """Of unequal classes, as a join of some parts has them. The generator and the classifier are of the plan's kind."""
    placed(monkeypatch, tmp_path)
    path, rng, arrays = tmp_path / "CACHE" / f"{dataset}.npz", np.random.default_rng(0), {"class_names": np.array(list("abcdefghij"))}
    for split, n in (("train", 400), ("test", 50)):
        arrays[f"{split}_labels"] = np.r_[np.arange(n) % 10, np.zeros(7, int)].astype(np.uint8)
        arrays[f"{split}_images"] = rng.integers(0, 256, (n + 7, 3, side, side), np.uint8)
    path.parent.mkdir()
    np.savez(path, **arrays)
    small = {"channels": (32, 32), "attention": (), "batch_size": 2}
    size = replace(TINY, recipe={**full_size(dataset, 407).recipe, **small}, images=2)
    with warnings.catch_warnings(record=True) as warned:
        train_generator(size, tmp_path / "a", 1, "cpu", print)
        parts = splits(str(tmp_path / "a"))
    told = any(f"holds a subset, whose content is not checked: {name}" in str(one.message) for one in warned)
    assert told == ("(" in name) and {part.name for part in parts.values()} == {name}
    assert {part: len(images) for part, images in parts.items()} == {"real": 326, "fresh": 54, "validation": 27, "test": 57}
    model = build_classifier(CLASSIFIER, parts["real"].image_shape, 10, seed=0, width=8)
    real = parts["real"].subset(range(4))
    train_classifier(model, real.images, real.labels, steps=2, batch_size=4, seed=0, recipe=FAST, augment="flip_crop")


@pytest.mark.parametrize(
    "words, message",
    [
        ([], "name an experiment, or --profile paper"),
        (["--profile", "paper", "--share", "2"], "above 0 and at most 1, got 2"),
        (["--profile", "paper", "-p", "seeds", "2"], "without -p"),
        (["--profile", "paper", "--dataset", "digits"], "invalid choice"),
        (["mode_concentration", "--dry-run"], "are for --profile paper without an experiment"),
    ],
)
def test_bad_options_are_refused(words, message, capsys):
    with pytest.raises(SystemExit):
        main(["record", *words])
    assert message in capsys.readouterr().err


def test_a_compiled_generator_makes_the_same_images(untrained_generator):
    """What it is traced to runs eagerly: the trainer's tests compile kernels, too."""
    asked = stratified_subset(load_dataset("digits"), 20, 0)
    plain, compiled = (load_denoiser(untrained_generator) for _ in range(2))
    compiled.unet.compile(backend="aot_eager")
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in plain.unet.parameters():  # as drawn, a network answers 0
            parameter.add_(0.02 * torch.randn(parameter.shape, generator=generator))
        compiled.load_state_dict(plain.state_dict())
    plain.precision = compiled.precision = torch.float32
    assert generator_hash(plain) == generator_hash(compiled) != UNKNOWN  # so that its pools are kept, too
    made = [generate(denoiser, asked.labels, seed=0, steps=2).images for denoiser in (plain, compiled)]
    assert made[0].std() > 0.01 and (made[0] - made[1]).abs().max() < 1e-3
    assert compiled.unet._compiled_call_impl is not None and plain.unet._compiled_call_impl is None
