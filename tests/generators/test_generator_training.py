import json
import math
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import warnings
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from nested import same
from tqdm import tqdm

from synaug import resources
from synaug.__main__ import main
from synaug.data import ImageDataset, content_hash, load_dataset, save_image_folder, stratified_subset, to_floats
from synaug.diffusion import trainer as generator_trainer
from synaug.diffusion.denoisers import generator_hash, load_denoiser, weights_hash
from synaug.diffusion.recipe import RECIPES, Recipe, batch_of, command, learning_rate
from synaug.diffusion.reconstruction import generate
from synaug.diffusion.trainer import Trainer
from synaug.generators import training as generator_training
from synaug.generators.training import snapshot_folder, train, trained_on

pytestmark = pytest.mark.filterwarnings("ignore:of some classes few images are left")

# All but 137 of the training images, so that the held-out loss is quick.
TINY = Recipe(dataset="digits", subset_size=1300, channels=(32,), batch_size=20, warmup=5, decay_from=20, seed=3)


def run(folder, steps, recipe=TINY, **options):
    return train(recipe, folder, images=steps * recipe.batch_size, progress=False, **options)


def signals_at(step, *numbers):
    """A training step after which, at one step, signals come."""
    own = generator_trainer.Trainer.__dict__["train_step"]

    def stepped(trainer):
        loss = own(trainer)
        for number in numbers if trainer.step == step else ():
            signal.raise_signal(number)
        return loss

    return stepped


def state_of(folder):
    state = torch.load(folder / "training_state.pt", weights_only=True)
    del state["seconds"], state["curve"]
    return state


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run of 24 steps and its folder."""
    folder = tmp_path_factory.mktemp("runs") / "digits"
    return run(folder, 24), folder


class TestRecipe:
    def test_learning_rate(self):
        recipe = replace(TINY, learning_rate=0.1, warmup=10, decay_from=40)
        rates = {0: 0.01, 4: 0.05, 9: 0.1, 25: 0.1, 39: 0.1, 159: 0.05, 3999: 0.01}
        for step, rate in rates.items():
            assert learning_rate(recipe, step) == pytest.approx(rate)

    @pytest.mark.parametrize(
        "wrong",
        [
            {"batch_size": 0},
            {"learning_rate": -1e-3},
            {"learning_rate": float("nan")},
            {"warmup": 0},
            {"decay_from": 0},
            {"ema_power": 0},
            {"flip": 1.1},
            {"drop_label": -0.1},
            {"seed": -1},
            {"seed": 2**32},
            {"batch_size": 2.5},
            {"layers": True},
            {"subset_seed": -1},
            {"strata": "none"},
        ],
    )
    def test_refuses(self, wrong):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            replace(TINY, **wrong)

    def test_command_gives_the_recipe_again(self, tmp_path, monkeypatch):
        recipe = replace(
            TINY, channels=(32, 64), flip=0.0, learning_rate=5e-4, patch=1, attention=(8, 4), dropout=0.1, dataset="my phötos/'new'", strata="equal"
        )
        words = shlex.split(command(recipe, "my run", 7))
        assert words[:4] == ["python", "-m", "synaug", "train-generator"]
        read, folder, options = self.taken(words[4:], monkeypatch)
        assert read == recipe and options["images"] == 140 and str(folder) == "my run"
        assert command(Recipe(), "x", 10) == "python -m synaug train-generator --folder x --images 1280"

    @staticmethod
    def taken(words, monkeypatch):
        """The recipe, the folder and the other options that the command passes on."""
        taken = []
        monkeypatch.setattr(generator_training, "train", lambda *given, **options: taken.append((*given, options)) or SimpleNamespace(rank=1))
        assert main(["train-generator", *words]) == 0
        return taken[0]

    def test_a_named_recipe_is_changed_by_other_options(self, monkeypatch):
        words = ["--folder", "x", "--recipe", "cifar10"]
        assert self.taken(words, monkeypatch)[0] == RECIPES["cifar10"]
        changed = self.taken([*words, "--dataset", "cifar100", "--attention", "--dropout", "0.2"], monkeypatch)[0]
        assert changed == replace(RECIPES["cifar10"], dataset="cifar100", attention=(), dropout=0.2)

    @pytest.mark.parametrize(
        "words, message",
        [
            (["--recipe", "cifar"], "invalid choice: 'cifar'"),
            (["--dropout", "much"], "invalid float value: 'much'"),
            (["--attention", "16", "x"], "invalid int value: 'x'"),
            (["--patches", "1"], "unrecognized arguments"),
            (["--folder", ""], "must be the path of a folder, got nothing"),
        ],
    )
    def test_options_that_are_refused(self, words, message, capsys):
        with pytest.raises(SystemExit):
            main(["train-generator", "--folder", "x", *words])
        assert message in capsys.readouterr().err

    @pytest.mark.parametrize(
        "words, message",
        [
            (["--dataset", "emnist"], "unknown data set 'emnist'"),
            (["--device", "nonsense"], "there is no device nonsense"),
            (["--device", "meta"], "there is no device meta here"),
            (["--images", "nan"], "images must be positive"),
            (["--subset-size", "1.5"], "subset_size must be a number of images, a share below 1 or"),
            (["--folder", "file"], "file cannot be a folder: .*file is a file"),
            (["--folder", "file/x/y"], "file/x/y cannot be a folder: .*file is a file"),
            (["--subset-size", "4000"], "subset_size is 4,000, and digits has 1,437 images: give fewer"),
            (["--flip", "nan"], "flip must be a finite number of at least 0 and at most 1"),
            (["--snapshots", "1e9"], "snapshots must be whole numbers in"),
            (["--snapshots", "0.5"], "snapshots must be whole"),
            (["--batch-size", "1000000000"], "a batch of 1,000,000,000 images needs about"),
            (["--patch", "0"], "patch must be a whole number"),
            (["--learning-rate", "1e30", "--warmup", "1"], "the training loss is .* lower the learning rate"),
        ],
    )
    def test_errors_are_sentences(self, words, message, tmp_path, monkeypatch, capsys):
        monkeypatch.chdir(tmp_path)
        (tmp_path / "file").touch()
        given = "--folder run --dataset digits --subset-size 600 --channels 32 --images 2e4".split()
        assert main(["train-generator", *given, *words]) == 1
        assert re.search(f"^train-generator: .*{message}", capsys.readouterr().err, re.MULTILINE)
        assert (tmp_path / "file").read_bytes() == b"" and not (tmp_path / "run" / "unet").exists()

    @pytest.mark.parametrize("size, number", [("all", 30), (1.0, 30), ("1.0", 30), (0.8, 24), ("0.5", 15), ("7", 7), (2e1, 20), (0.01, 1)])
    def test_subset_sizes(self, size, number):
        data = ImageDataset(torch.zeros(30, 1, 8, 8, dtype=torch.uint8), torch.zeros(30, dtype=torch.int64), ("a",))
        assert Recipe(subset_size=size).of(data).subset_size == len(Recipe(subset_size=size).subset(data)) == number
        for wrong in (0, -0.1, 1.5, "some", True, None, math.inf):
            with pytest.raises(ValueError, match="subset_size must be a number of images, a share below 1 or"):
                Recipe(subset_size=wrong)

    def test_lists_are_tuples(self):
        assert Recipe(channels=[64, 128], attention=[14]) == Recipe(attention=(14,))


class TestBatches:
    images = torch.arange(12.0).view(12, 1, 1, 1) * torch.tensor([1.0, -1.0])  # image i is (i, -i): mirrored, (-i, i)
    labels = torch.arange(12) % 4

    def stream(self, steps, **changes):
        recipe = replace(TINY, **{"batch_size": 5, "flip": 0.0, "drop_label": 0.0, **changes})
        batches = [batch_of(recipe, self.images, self.labels, 4, step) for step in range(steps)]
        return torch.cat([b[0] for b in batches]), torch.cat([b[1] for b in batches])

    def test_epochs_are_permutations(self):
        x, y = self.stream(12)  # 60 images: 5 epochs of 12, cut across batches of 5
        index = x[:, 0, 0, 0].long()
        assert torch.equal(y, self.labels[index])
        epochs = index.view(5, 12)
        assert (epochs.sort(dim=1).values == torch.arange(12)).all()
        assert len({tuple(e.tolist()) for e in epochs}) == 5

    def test_batches_larger_than_the_data(self):
        x, _ = self.stream(2, batch_size=30)
        assert (x[:, 0, 0, 0].view(5, 12).sort(dim=1).values == torch.arange(12)).all()

    def test_mirrored_images_have_labels_of_their_own(self):
        x, y = self.stream(400, flip=0.25)
        index, mirrored = x.abs()[:, 0, 0, 0].long(), x[:, 0, 0, 0] < 0
        known = index > 0  # image 0 is its own mirror image
        assert torch.equal(y[known], (self.labels[index] + 4 * mirrored)[known])
        assert float((y >= 4).double().mean()) == pytest.approx(0.25, abs=5 * math.sqrt(0.25 * 0.75 / 2000))

    def test_some_labels_are_dropped(self):
        _, y = self.stream(400, drop_label=0.1)
        assert float((y == 8).double().mean()) == pytest.approx(0.1, abs=5 * math.sqrt(0.1 * 0.9 / 2000))

    def test_a_step_is_a_function_of_seed_and_step(self):
        for step in (0, 7):
            a, b = (batch_of(TINY, self.images, self.labels, 4, step) for _ in range(2))
            assert torch.equal(a[0], b[0]) and torch.equal(a[1], b[1])
            assert torch.equal(torch.randn(3, generator=a[2]), torch.randn(3, generator=b[2]))
        own, other = (batch_of(replace(TINY, seed=seed, flip=0.0), self.images, self.labels, 4, 0) for seed in (3, 4))
        assert not torch.equal(own[0], other[0])
        assert not torch.equal(*(torch.randn(3, generator=batch[2]) for batch in (own, other)))


class TestTraining:
    def test_the_loss_falls(self, finished):
        trainer, _ = finished
        untrained = Trainer(TINY, "unused").held_out_loss()
        assert trainer.curve[-1]["held_out_loss"] < 0.8 * untrained
        assert [point["step"] for point in trainer.curve] == [24]

    def test_errors_weighted_alike_are_mean_squares_of_the_clean_image(self):
        alike, usual = (Trainer(replace(TINY, weighting=weighting), "unused") for weighting in ("error", "edm"))
        x, y, generator = batch_of(TINY, alike.images, alike.labels, 10, 0)
        sigma, noise = alike.draw(x, generator)
        x = to_floats(x)
        with torch.no_grad():
            mine, edm = (trainer.losses(trainer.model, x, y, sigma, noise) for trainer in (alike, usual))
            error = (alike.model(x + sigma.view(-1, 1, 1, 1) * noise, sigma, y) - x).square().mean((1, 2, 3))
        torch.testing.assert_close(mine, error, rtol=1e-4, atol=1e-6)
        assert (edm / mine).std() > 1

    def test_a_cut_run_goes_on_as_if_it_had_not_been(self, finished, tmp_path):
        _, folder = finished
        for steps in (1, 13, 24):
            run(tmp_path, steps)
        assert same(state_of(tmp_path), state_of(folder))
        curves = [json.loads((place / "training_record.json").read_text())["curve"] for place in (tmp_path, folder)]
        assert same(*([{**point, "minutes": 0} for point in curve] for curve in curves))
        assert generator_hash(load_denoiser(tmp_path)) == generator_hash(load_denoiser(folder))

    def test_a_cut_run_with_dropout_goes_on_too(self, tmp_path):
        recipe = replace(TINY, dropout=0.5, channels=(32, 32), attention=(2,))
        before = torch.get_rng_state()
        whole = run(tmp_path / "whole", 4, recipe)
        assert torch.equal(torch.get_rng_state(), before)
        torch.manual_seed(5)  # the state of the process plays no part
        for steps in (2, 4):
            run(tmp_path / "cut", steps, recipe)
        assert same(state_of(tmp_path / "cut"), state_of(tmp_path / "whole"))
        without = run(tmp_path / "without", 4, replace(recipe, dropout=0.0))
        assert weights_hash(without.model) != weights_hash(whole.model)

    def test_a_run_from_before_recipes_had_all_their_fields_goes_on(self, finished, tmp_path):
        run(tmp_path, 13)
        state = torch.load(tmp_path / "training_state.pt", weights_only=True)
        for name in ("patch", "attention", "dropout", "strata"):
            del state["recipe"][name]
        del state["recent"]
        torch.save(state, tmp_path / "training_state.pt")
        run(tmp_path, 24)
        one, other = (state_of(folder) | {"recent": None} for folder in (tmp_path, finished[1]))
        assert same(one, other)

    def test_cifar100_has_the_recipe_of_cifar10(self):
        assert RECIPES["cifar100"] == replace(RECIPES["cifar10"], dataset="cifar100")

    @pytest.mark.parametrize("name", [n for n, r in RECIPES.items() if r.family == "diffusion" and n != "cifar100"])
    def test_each_named_recipe_makes_a_generator_that_samples(self, name, tmp_path):
        """All but narrower and of fewer images, two steps in two pieces."""
        recipe = RECIPES[name]
        shape = {"fashion_mnist": (1, 28, 28), "tiny_imagenet": (3, 64, 64)}.get(recipe.dataset, (3, 32, 32))
        images = torch.randint(0, 256, (30, *shape), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
        data = ImageDataset(images, torch.arange(30) % 3, tuple("abc"))
        save_image_folder(data, tmp_path / "noise" / "train")
        narrow = recipe.channels[0] // (32 if name == "cifar10_edm" else 16)
        recipe = replace(
            recipe, dataset=str(tmp_path / "noise"), subset_size=0.8, batch_size=4, channels=tuple(16 * -(-width // narrow // 16) for width in recipe.channels)
        )
        for steps in (1, 2):
            trainer = run(tmp_path / "run", steps, recipe)
        saved = load_denoiser(tmp_path / "run")
        assert trainer.step == 2 and saved.image_shape == shape and saved.patch == recipe.patch
        assert len(trained_on(tmp_path / "run")[1]) == 24
        sampled = generate(saved, torch.arange(2), steps=2).images
        assert sampled.shape == (2, *shape) and sampled.isfinite().all() and sampled.std() > 0.1
        trainer.model.precision = torch.float32
        with trainer.averaged(), torch.no_grad():
            expected = trainer.model(data.floats()[:4], 0.5, data.labels[:4])
        torch.testing.assert_close(saved(data.floats()[:4], 0.5, data.labels[:4]), expected, rtol=0, atol=5e-3)

    @pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
    def test_on_a_gpu(self, tmp_path):
        recipe = replace(TINY, dropout=0.1)
        whole = run(tmp_path / "whole", 24, recipe, device="cuda")
        assert whole.images.is_cuda
        for steps in (13, 24):
            run(tmp_path / "cut", steps, recipe, device="cuda")
        for name in ("training_loss", "held_out_loss"):
            on_cpu = run(tmp_path / "cpu", 24, recipe).curve[-1][name]
            assert whole.curve[-1][name] == pytest.approx(on_cpu, rel=0.2)  # other noise
        cut, uncut = (state_of(tmp_path / name) for name in ("cut", "whole"))
        for name, value in uncut["denoiser"].items():
            torch.testing.assert_close(cut["denoiser"][name], value, rtol=1e-2, atol=1e-3)

    def test_a_finished_run_stays_as_it_is(self, finished):
        trainer, folder = finished
        before = state_of(folder)
        again = run(folder, 24)
        assert again.step == 24 and again.curve == trainer.curve
        assert same(state_of(folder), before)

    def test_the_average(self, finished, tmp_path):
        """The saved weights are the exponential average with shares 1 - (1 + t)^-power, t counted from 0."""
        trainer, average = Trainer(TINY, tmp_path), None
        for t in range(4):
            trainer.train_step()
            weights = [p.detach().clone() for p in trainer.model.parameters()]
            share = 1 - (1 + t) ** -TINY.ema_power
            average = weights if average is None else [share * a + (1 - share) * w for a, w in zip(average, weights)]
        with trainer.averaged():
            for ours, theirs in zip(trainer.model.parameters(), average, strict=True):
                torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)
        assert all(map(torch.equal, trainer.model.parameters(), weights))

    def test_compiled_steps_are_the_same_steps(self, finished, tmp_path):
        plain, folder = finished
        trainer = run(tmp_path, 24, compile=True)
        for name in ("training_loss", "held_out_loss"):
            assert trainer.curve[-1][name] == pytest.approx(plain.curve[-1][name], rel=0.02)
        assert trainer.record("")["compiled"] and not plain.record("")["compiled"]
        assert trainer.record("")["command"].endswith(" --compile")

    def test_divergence_is_an_error(self, tmp_path):
        trainer = Trainer(TINY, tmp_path)
        with torch.no_grad():
            next(trainer.model.parameters()).fill_(float("nan"))
        with pytest.raises(FloatingPointError, match="training loss is nan at step 0: lower the learning rate"):
            trainer.train_step()
        with pytest.raises(FloatingPointError):
            trainer.save()
        assert not any(tmp_path.iterdir())


class TestFiles:
    def test_record(self, finished):
        trainer, folder = finished
        record = json.loads((folder / "training_record.json").read_text())
        assert record["weights"] == generator_hash(load_denoiser(folder))
        assert (record["steps"], record["images_seen"], record["processes"]) == (24, 480, 1)
        assert Recipe(**{**record["recipe"], "channels": tuple(record["recipe"]["channels"])}) == TINY
        assert record["command"] == command(TINY, "digits", 24)
        assert record["curve"] == trainer.curve and record["minutes"] >= 0
        assert record["parameters"] == sum(p.numel() for p in trainer.model.parameters())

    def test_snapshots_are_the_generators_of_shorter_runs(self, tmp_path):
        run(tmp_path / "long", 4, snapshots=(2 * TINY.batch_size, 4 * TINY.batch_size))
        short = run(tmp_path / "short", 2)
        kept = snapshot_folder(tmp_path / "long", 2 * TINY.batch_size)
        assert generator_hash(load_denoiser(kept)) == generator_hash(load_denoiser(tmp_path / "short"))
        record = json.loads((kept / "training_record.json").read_text())
        assert record["steps"] == short.step == 2 and record["weights"] == generator_hash(load_denoiser(kept))
        last = load_denoiser(snapshot_folder(tmp_path / "long", 4 * TINY.batch_size))
        assert generator_hash(last) == generator_hash(load_denoiser(tmp_path / "long"))
        with pytest.raises(ValueError, match=r"snapshots must be whole numbers in 1..20, the images to train on, got \[21\]"):
            run(tmp_path / "none", 1, snapshots=(21,))
        with pytest.raises(ValueError, match="long has seen 80 images, and kept no generator of 20"):
            run(tmp_path / "long", 5, snapshots=(20, 40, 100))
        assert run(tmp_path / "long", 5, snapshots=(40, 100)).step == 5
        assert not (tmp_path / "none").exists()

    def test_trained_on(self, finished):
        whole, subset = trained_on(finished[1])
        expected = stratified_subset(load_dataset("digits"), 1300, 0, proportional=True)
        assert whole.name == "digits" and torch.equal(subset.source_index, expected.source_index)

    @pytest.mark.parametrize("text", ["", "[]", "{}", '{"recipe": 3}', '{"recipe": {"colour": 1}}'])
    def test_a_damaged_record_is_named(self, text, finished, tmp_path):
        shutil.copy(finished[1] / "denoiser.json", tmp_path)
        (tmp_path / "training_record.json").write_text(text)
        with pytest.raises(ValueError, match=r"training_record\.json is damaged"):
            trained_on(tmp_path)

    def test_held_out_images_were_not_trained_on(self, finished):
        trainer, folder = finished
        assert not set(trainer.held_out.source_index.tolist()) & set(trained_on(folder)[1].source_index.tolist())

    def test_with_nothing_held_out_there_is_no_held_out_loss(self, tmp_path):
        everything = replace(TINY, subset_size="all")
        with pytest.warns(UserWarning, match="few images are left that the generator does not see"):
            assert run(tmp_path, 1, everything).curve[0]["held_out_loss"] is None

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_a_signal_to_stop_keeps_what_was_trained(self, tmp_path, monkeypatch, number):
        """It is heeded between two steps, and then does what it does at other times."""
        monkeypatch.setattr(generator_trainer.Trainer, "train_step", signals_at(2, number))
        at_other_times = signal.signal(number, signal.default_int_handler)  # a process in the background may ignore it
        try:
            with pytest.raises(KeyboardInterrupt):
                run(tmp_path, 5)
            assert signal.getsignal(number) is signal.default_int_handler and state_of(tmp_path)["step"] == 2
            monkeypatch.setattr(generator_trainer.Trainer, "train_step", signals_at(3, number, number))
            with pytest.raises(KeyboardInterrupt):  # the second at once
                run(tmp_path, 5)
            assert state_of(tmp_path)["step"] == 2
        finally:
            signal.signal(number, at_other_times)

    def test_a_save_that_is_cut_leaves_the_last_one(self, tmp_path, monkeypatch):
        """A run killed while it writes its state, its weights or its record goes on from what is whole."""
        whole, tmp_path = tmp_path / "whole", tmp_path / "cut"
        run(whole, 4)
        run(tmp_path, 2)
        write, replace_ = torch.save, os.replace

        def half_written(state, path):
            write(state, path)
            path.write_bytes(path.read_bytes()[:1000])
            raise KeyboardInterrupt

        monkeypatch.setattr(torch, "save", half_written)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path, 3)
        monkeypatch.undo()
        assert state_of(tmp_path)["step"] == 2
        load_denoiser(tmp_path)

        def cut_at_the_weights(source, target):
            if str(target).endswith(".safetensors"):
                raise KeyboardInterrupt
            replace_(source, target)

        monkeypatch.setattr(os, "replace", cut_at_the_weights)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path, 3)
        monkeypatch.undo()
        assert state_of(tmp_path)["step"] == 3
        load_denoiser(tmp_path)
        run(tmp_path, 4)
        assert same(state_of(tmp_path), state_of(whole))
        assert not list(tmp_path.rglob("*.tmp"))

    def test_saves_as_it_goes(self, tmp_path, monkeypatch):
        saves = []
        monkeypatch.setattr(generator_trainer.Trainer, "save", lambda self: saves.append(self.step))
        run(tmp_path / "often", 3, save_every=0)
        assert saves == [1, 2, 3, 3]
        saves.clear()
        run(tmp_path / "seldom", 3, save_every=1000)
        assert saves == [3]


class TestOwnImages:
    """Folders of images per class, of which dogs are fewer."""

    RECIPE = replace(TINY, subset_size=0.75, batch_size=4)

    @pytest.fixture
    def photos(self, tmp_path):
        """Two classes of 8x8 images in two splits."""
        generator = torch.Generator().manual_seed(0)
        for split, count in (("train", 24), ("test", 8)):
            images = torch.randint(0, 256, (count, 1, 8, 8), generator=generator, dtype=torch.uint8)
            labels = (torch.arange(count) % 3 == 0).long()
            save_image_folder(ImageDataset(images, labels, ("cat", "dog")), tmp_path / "photos" / split)
        return tmp_path / "photos"

    def test_train_a_generator_that_knows_them(self, photos, tmp_path, monkeypatch):
        """By a path from here, which holds from anywhere, of each class its share."""
        monkeypatch.chdir(tmp_path)
        run(tmp_path / "run", 2, replace(self.RECIPE, dataset="photos"))
        monkeypatch.chdir("/")
        whole, subset = trained_on(tmp_path / "run")
        assert whole.name == str(photos) and whole.class_names == ("cat", "dog")
        assert subset.labels.bincount().tolist() == [12, 6] and len(load_dataset(whole.name, "test")) == 8
        record = json.loads((tmp_path / "run" / "training_record.json").read_text())
        assert record["images_sha256"] == content_hash(subset) and record["recipe"]["subset_size"] == 18

    def test_their_folder_is_not_written_to(self, photos):
        before = sorted(photos.rglob("*"))
        for folder in (photos / "train", photos / "train" / "cat" / ".." / "new", photos):
            with pytest.raises(ValueError, match="lies in the folder of images, .*photos, .*choose one outside"):
                run(folder, 1, replace(self.RECIPE, dataset=str(photos)))
        assert sorted(photos.rglob("*")) == before

    def test_may_be_moved_but_not_changed(self, photos, tmp_path):
        recipe = replace(self.RECIPE, dataset=str(photos))
        run(tmp_path / "run", 1, recipe)
        moved = shutil.move(photos, tmp_path / "elsewhere" / "photos")
        with pytest.raises(ValueError, match="run was trained on .*photos, which is not here: unknown data set"):
            trained_on(tmp_path / "run")
        recipe = replace(recipe, dataset=str(moved))
        assert run(tmp_path / "run", 2, recipe).step == 2 and len(trained_on(tmp_path / "run")[1]) == 18
        for file in (tmp_path / "elsewhere" / "photos" / "train" / "dog").iterdir():
            shutil.copy(next((tmp_path / "elsewhere" / "photos" / "train" / "cat").iterdir()), file)
        with pytest.raises(ValueError, match="holds a run with other images, of .*photos"):
            run(tmp_path / "run", 3, recipe)
        with pytest.raises(ValueError, match="run was trained on other images than .*photos has here"):
            trained_on(tmp_path / "run")

    def test_classes_with_too_little_left_to_measure_are_told_at_the_start(self, photos, tmp_path):
        equal, everything = {"subset_size": 18, "strata": "equal"}, {"subset_size": "all"}
        for subset, told in ((equal, "6 of cat, 0 of dog"), (everything, "0 of cat, 0 of dog")):
            with pytest.warns(UserWarning, match=rf"few images are left .*\({told}.* 14 of each"):
                Trainer(replace(self.RECIPE, dataset=str(photos), **subset), tmp_path / "run")
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            Trainer(replace(TINY, subset_size=0.8), tmp_path / "run")

    def test_losses_and_the_time_to_come_are_shown_at_once(self, photos, tmp_path, capsys, monkeypatch):
        clock = iter(range(10**6))
        monkeypatch.setattr(generator_training.time, "monotonic", lambda: 2 * next(clock))  # each look takes 2 s
        train(replace(self.RECIPE, dataset=str(photos)), tmp_path / "run", images=4 * 5000, minutes=1)
        told = capsys.readouterr().err
        assert "loss=" in told and re.search(r"4,99\d steps are left, of 2 s each on .*: about 2.8 hours", told)


class TestLimits:
    def test_time_is_kept(self, tmp_path):
        trainer = run(tmp_path, 10**6, minutes=1 / 60)
        assert 1 <= trainer.step < 10**6
        assert 1 <= trainer.seconds < 20
        assert load_denoiser(tmp_path).image_shape == (1, 8, 8)

    def test_too_little_room_is_refused_before_training(self, finished, tmp_path, monkeypatch, room):
        trainer, folder = finished
        size = sum(p.numel() for p in trainer.model.parameters())
        room(20 * size)
        assert sum(f.stat().st_size for f in folder.rglob("*") if f.is_file()) < 20 * size  # with files' headers
        Trainer(TINY, folder)  # a second state fits beside the first
        words = f"training a generator of {size:,} parameters needs about"
        with pytest.raises(OSError, match=f"{words} {tqdm.format_sizeof(36 * size, 'B')} in .*/new, where"):
            run(tmp_path / "new", 1)
        monkeypatch.setattr(resources, "free_memory", lambda device: 19 * size)
        with pytest.raises(MemoryError, match=f"{words} {tqdm.format_sizeof(20 * size, 'B')} of memory on cpu"):
            run(folder, 25)
        assert not (tmp_path / "new").exists()

    @pytest.mark.parametrize(
        "damage", [lambda b: b[:-1000], lambda b: b"", lambda b: b"x" * 99, lambda b: b[:300_000] + bytes(x ^ 255 for x in b[300_000:304_000]) + b[304_000:]]
    )
    def test_a_damaged_state_is_named(self, finished, damage, tmp_path):
        shutil.copytree(finished[1], tmp_path / "run")
        path = tmp_path / "run" / "training_state.pt"
        path.write_bytes(damage(path.read_bytes()))
        before = path.read_bytes()
        with pytest.raises(ValueError, match=r"training_state\.pt is damaged .*choose another folder"):
            run(tmp_path / "run", 25)
        assert path.read_bytes() == before

    @pytest.mark.parametrize(
        "change",
        [
            lambda state: {},
            lambda state: [],
            lambda state: {**state, "recipe": None},
            lambda state: {**state, "recipe": {"x": 1}},
            *(
                lambda state, name=name, value=value: {**state, name: value}
                for name, value in (
                    ("step", -1),
                    ("step", "x"),
                    ("seconds", None),
                    ("curve", None),
                    ("curve", [3]),
                    ("denoiser", {}),
                    ("denoiser", None),
                    ("optimizer", {}),
                    ("ema", {}),
                    ("recent", "x"),
                )
            ),
            lambda state: {**state, "ema": {**state["ema"], "shadow_params": state["ema"]["shadow_params"][:-1]}},
        ],
    )
    def test_a_state_of_other_content_is_named_too(self, finished, change, tmp_path):
        shutil.copytree(finished[1], tmp_path / "run")
        path = tmp_path / "run" / "training_state.pt"
        torch.save(change(torch.load(path, weights_only=True)), path)
        with pytest.raises(ValueError, match=r"training_state\.pt is damaged .*choose another folder"):
            run(tmp_path / "run", 25)

    def test_another_recipe_is_refused(self, finished):
        _, folder = finished
        before = state_of(folder)
        with pytest.raises(ValueError, match="holds a run with another flip, seed: choose another folder"):
            run(folder, 25, replace(TINY, seed=9, flip=0.0))
        assert same(state_of(folder), before)

    def test_a_generator_without_its_state_is_not_overwritten(self, finished, tmp_path):
        finished[0].model.save(tmp_path)
        before = generator_hash(load_denoiser(tmp_path))
        with pytest.raises(ValueError, match="holds a generator but no training_state.pt"):
            run(tmp_path, 1)
        assert generator_hash(load_denoiser(tmp_path)) == before

    @pytest.mark.parametrize(
        "wrong, message",
        [
            ({"patch": 3}, "multiples of 3"),
            ({"attention": (5,)}, "attention must be some of 4"),
            ({"dropout": 1.0}, "dropout must be a finite number of at least 0 and less than 1"),
            ({"channels": (24,)}, "channels must be multiples of 16"),
            ({"channels": (16, 3_200_000)}, "of at most 4096"),
            ({"layers": 10**6}, "layers at most 64"),
        ],
    )
    def test_networks_that_cannot_be_are_refused(self, wrong, message, tmp_path):
        with pytest.raises(ValueError, match=message):
            run(tmp_path / "new", 1, replace(TINY, **wrong))
        assert not (tmp_path / "new").exists()

    @pytest.mark.parametrize("wrong", [{"images": 0}, {"images": float("nan")}, {"minutes": -1}, {"save_every": -1}])
    def test_refuses(self, wrong, tmp_path):
        with pytest.raises(ValueError, match="images must be positive"):
            train(TINY, tmp_path / "new", **{"images": 20, "progress": False, **wrong})
        assert not (tmp_path / "new").exists()


class TestSeveralProcesses:
    TORCHRUN = ["torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    ACCELERATE = ["accelerate.commands.launch", "--multi_gpu", "--num_processes=2"]

    @staticmethod
    def launched(launcher, folder, steps):
        """A run of two processes of one thread each."""
        launch = ["-m", *launcher, *shlex.split(command(TINY, folder, steps))[1:]]
        done = subprocess.run([sys.executable, *launch, "--device", "cpu"], capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
        assert done.returncode == 0, done.stderr

    def test_agree_with_one_and_go_on(self, tmp_path):
        """Two processes split each batch and average the gradients: the same run but for rounding. Whichever command
        starts them, and cut or not, they end with the same bits."""
        self.launched(self.TORCHRUN, tmp_path / "two", 6)
        for steps in (2, 6):
            self.launched(self.ACCELERATE, tmp_path / "cut", steps)
        assert same(state_of(tmp_path / "cut"), state_of(tmp_path / "two"))
        one = run(tmp_path / "one", 6)
        record = json.loads((tmp_path / "two" / "training_record.json").read_text())
        assert (record["processes"], record["images_seen"]) == (2, 120)
        assert record["curve"][0]["held_out_loss"] == pytest.approx(one.curve[0]["held_out_loss"], rel=0.01)
        start = Trainer(TINY, "unused").model
        two, one = (load_denoiser(tmp_path / name) for name in ("two", "one"))
        weights = [torch.cat([p.detach().flatten() for p in d.parameters()]) for d in (start, one, two)]
        # Rounding in bfloat16 leaves 0.02; with half of each batch missing it would be 0.7.
        assert (weights[2] - weights[1]).norm() < 0.1 * (weights[1] - weights[0]).norm()

    def test_must_share_a_batch_equally(self, monkeypatch, tmp_path):
        monkeypatch.setattr(generator_trainer, "process_rank", lambda device: (0, 3))
        with pytest.raises(ValueError, match="3 processes cannot share batches of 20 equally"):
            Trainer(TINY, tmp_path)
