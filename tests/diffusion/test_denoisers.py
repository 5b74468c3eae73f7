import copy
import json
import math
import os
from functools import partial

import numpy as np
import pytest
import torch
from diffusers import UNet2DModel
from safetensors.torch import load_file, save_file
from torch import nn

from synaug.data import ImageDataset
from synaug.diffusion import denoisers
from synaug.diffusion.denoisers import (
    UNKNOWN,
    EDMDenoiser,
    checkpoint_folder,
    denoising_loss,
    generator_hash,
    load_denoiser,
    log_normal_sigmas,
    new_denoiser,
    new_unet,
    weights_hash,
)
from synaug.diffusion.exploration import MinorityGuided
from synaug.diffusion.perturbed import Guided
from synaug.diffusion.recipe import RECIPES
from synaug.diffusion.reconstruction import generate, reconstruct
from synaug.theory.mixtures import GaussianMixture

SHAPES = {"fashion_mnist": ((1, 28, 28), 10), "cifar10": ((3, 32, 32), 10), "cifar100": ((3, 32, 32), 100), "tiny_imagenet": ((3, 64, 64), 200)}


def dataset(n=12, channels=1, height=8, width=8, classes=2):
    images = torch.randint(0, 256, (n, channels, height, width), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    return ImageDataset(images, torch.arange(n) % classes, tuple(f"class {c}" for c in range(classes)))


@pytest.fixture(scope="module")
def tiny():
    return new_denoiser(dataset(), channels=(32,)).eval().requires_grad_(False)


WEIGHTS, POINTER = "unet/diffusion_pytorch_model.safetensors", b"version https://git-lfs.github.com/spec/v1"


def xor(path, at, n):
    content = bytearray(path.read_bytes())
    content[at : at + n] = bytes(byte ^ 255 for byte in content[at : at + n])
    path.write_bytes(content)


def edit(path, **change):
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))


def state(n=3, sigma=1.0, seed=1):
    return sigma * torch.randn(n, 1, 8, 8, generator=torch.Generator().manual_seed(seed))


class TestNewDenoiser:
    @pytest.mark.parametrize("channels, size", [((32,), (8, 6)), ((16, 32), (8, 12))])
    @pytest.mark.parametrize("colours", [1, 3])
    def test_takes_and_gives_images(self, channels, size, colours):
        made = new_denoiser(dataset(channels=colours, height=size[0], width=size[1], classes=3), channels=channels)
        x = torch.zeros(2, colours, *size)
        assert made(x, 1.0, torch.tensor([0, 2])).shape == x.shape
        assert (made.image_shape, made.num_classes) == ((colours, *size), 3)

    def test_seed_decides_the_weights_alone(self):
        torch.manual_seed(0)
        before = torch.get_rng_state()
        a, b, other = (weights_hash(new_denoiser(dataset(), channels=(32,), seed=seed)) for seed in (0, 0, 1))
        assert a == b != other
        assert torch.equal(torch.get_rng_state(), before)

    def test_sigma_data_is_the_images_standard_deviation(self, tiny):
        assert tiny.sigma_data == pytest.approx(float(np.std(dataset().images.numpy() / 127.5 - 1)), rel=1e-3)

    @pytest.mark.parametrize("size, options", [((7, 8), {}), ((8, 10), {"channels": (32, 32)}), ((8, 8), {"patch": 3}), ((8, 8), {"channels": (32,) * 4})])
    def test_refuses_sizes(self, size, options):
        with pytest.raises(ValueError, match="height and width must be multiples of"):
            new_denoiser(dataset(height=size[0], width=size[1]), **{"channels": (32,), **options})

    @pytest.mark.parametrize("channels", [(24,), (16,), (32, 40), (0,), (-32,)])
    def test_refuses_widths(self, channels):
        with pytest.raises(ValueError, match="multiples of 16, the last a multiple of 32"):
            new_denoiser(dataset(), channels=channels)

    def test_attention_is_where_it_is_asked_for(self):
        made = new_denoiser(dataset(height=16, width=8), channels=(16, 32, 64), patch=1, attention=(4, 8), dropout=0.3)
        levels = [hasattr(block, "attentions") for block in made.unet.down_blocks]
        assert levels == [False, True, True] == [hasattr(block, "attentions") for block in made.unet.up_blocks][::-1]
        assert {m.p for m in made.unet.modules() if isinstance(m, torch.nn.Dropout)} >= {0.3}
        x, labels = torch.zeros(2, 1, 16, 8), torch.tensor([0, 1])
        with torch.no_grad():
            assert made(x, 1.0, labels).shape == x.shape
            assert not torch.equal(made(x, 1.0, labels), made(x, 1.0, labels))  # new draws
            made.eval()
            assert torch.equal(made(x, 1.0, labels), made(x, 1.0, labels))

    @pytest.mark.parametrize(
        "wrong, message",
        [
            ({"attention": (3,)}, r"some of 8, 4, the heights .* got \(3,\)"),
            ({"attention": (8,)}, r"channels are multiples of 32; got \(8,\) with channels \(16, 32\)"),
            ({"network": "mlp"}, "unknown network .mlp.: choose one of unet, dit"),
            ({"network": "dit"}, "one width in channels"),
            ({"network": "dit", "channels": (32,), "patch": 8}, "multiple of 16"),
            ({"dropout": 1.0}, "dropout must be a finite number of at least 0 and less than 1, got 1.0"),
            ({"dropout": -0.1}, "got -0.1"),
        ],
    )
    def test_refuses_what_the_network_cannot_have(self, wrong, message):
        with pytest.raises(ValueError, match=message):
            new_denoiser(dataset(), **{"channels": (16, 32), "patch": 1, **wrong})

    def test_a_transformer_in_the_networks_place(self, tmp_path):
        made = new_denoiser(dataset(classes=3), channels=(32,), layers=2, patch=1, network="dit", seed=4).train()
        x, labels = torch.randn(6, 1, 8, 8, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 2] * 2)
        assert type(made.unet).__name__ == "DiTTransformer2DModel" and len(made.unet.transformer_blocks) == 2
        with torch.no_grad():
            for weights in made.parameters():  # as drawn, its blocks let nothing through
                weights.add_(0.05 * torch.randn(weights.shape, generator=torch.Generator().manual_seed(1)))
            answers = [made(x, 1.0, labels) for _ in range(20)]
            assert all(torch.equal(answers[0], one) for one in answers)  # no class is dropped, in training neither
            assert not torch.equal(answers[0], made(x, 1.0, labels.flip(0)))
            made.eval().save(tmp_path)
            back = load_denoiser(tmp_path)
            torch.testing.assert_close(back(x, 1.0, labels), made(x, 1.0, labels), rtol=0, atol=5e-3)
            assert back.unet.config.num_embeds_ada_norm == 7 and generator_hash(back) != "unknown"

    @pytest.mark.parametrize("name, millions", [("fashion_mnist", 2.6), ("cifar10", 6.5), ("cifar10_edm", 59), ("cifar100", 6.5), ("tiny_imagenet", 6.6)])
    def test_sizes_of_the_named_recipes(self, name, millions):
        recipe = RECIPES[name]
        with torch.device("meta"):
            made = new_unet(
                *SHAPES[recipe.dataset], channels=recipe.channels, layers=recipe.layers, patch=recipe.patch, attention=recipe.attention, dropout=recipe.dropout
            )
        parameters = sum(p.numel() for p in made.parameters())
        assert parameters / 1e6 == pytest.approx(millions, abs=0.1)
        assert name == "cifar10_edm" or 2 * parameters < 14e6 - 100_000  # of a file in half precision

    @pytest.mark.parametrize("options", [{"channels": ()}, {"layers": 0}, {"patch": 0}])
    def test_refuses_nothing(self, options):
        with pytest.raises(ValueError, match="at least one"):
            new_denoiser(dataset(), **options)

    def test_refuses_images_that_are_all_the_same(self):
        flat = ImageDataset(torch.full((4, 1, 8, 8), 7, dtype=torch.uint8), torch.arange(4) % 2, ("a", "b"))
        with pytest.raises(ValueError, match="sigma_data must be positive"):
            new_denoiser(flat, channels=(32,))


class TestPreconditioning:
    def test_is_edm(self, tiny):
        """D = c_skip x + c_out F(c_in x; c_noise), Karras et al. 2022, eq. 7, Table 1; c_noise 1,000 times theirs."""
        x, sigma, labels = state(), torch.tensor([0.01, 0.7, 40.0]), torch.tensor([0, 1, 0])
        s, d = sigma.view(-1, 1, 1, 1), tiny.sigma_data
        blocks = (x / (s**2 + d**2).sqrt()).view(3, 4, 2, 4, 2).permute(0, 2, 4, 1, 3).reshape(3, 4, 4, 4)
        out = tiny.unet(blocks, 1000 * sigma.log() / 4, class_labels=labels).sample
        out = out.view(3, 2, 2, 4, 4).permute(0, 3, 1, 4, 2).reshape(3, 1, 8, 8)
        expected = d**2 / (s**2 + d**2) * x + s * d / (s**2 + d**2).sqrt() * out
        torch.testing.assert_close(tiny(x, sigma, labels), expected, rtol=1e-5, atol=1e-5)

    def test_without_noise_it_is_the_identity(self, tiny):
        torch.testing.assert_close(tiny(state(), 1e-6, None), state(), rtol=0, atol=1e-5)

    def test_sigma_of_each_image(self, tiny):
        x, sigma, labels = state(), torch.tensor([0.1, 1.0, 10.0]), torch.tensor([0, 1, 1])
        apart = torch.cat([tiny(x[i : i + 1], float(s), labels[i : i + 1]) for i, s in enumerate(sigma)])
        torch.testing.assert_close(tiny(x, sigma, labels), apart, rtol=1e-4, atol=1e-5)

    def test_no_labels_is_the_class_of_none(self, tiny):
        none = torch.full((3,), 2 * tiny.num_classes)
        assert torch.equal(tiny(state(), 1.0, None), tiny(state(), 1.0, none))
        assert not torch.equal(tiny(state(), 1.0, None), tiny(state(), 1.0, torch.zeros(3, dtype=torch.int64)))

    def test_double_precision_is_kept_outside_the_network(self, tiny):
        out = tiny(state().double(), 1.0, None)
        assert out.dtype == torch.float64
        torch.testing.assert_close(out.float(), tiny(state(), 1.0, None), rtol=1e-5, atol=1e-6)

    @pytest.mark.parametrize("dtype, error", [(torch.float16, 5e-3), (torch.bfloat16, 0.05), (torch.float64, 1e-5)])
    def test_networks_of_other_formats(self, tiny, dtype, error):
        other = copy.deepcopy(tiny).to(dtype)
        for x in (state(), state().double(), state().half()):
            made = other(x, 0.7, None)
            assert made.dtype == x.dtype
            allowed = 5e-3 if x.dtype == torch.float16 else 0
            torch.testing.assert_close(made.float(), tiny(x.float(), 0.7, None), rtol=0, atol=max(error, allowed))

    def test_bfloat16_is_close(self, tiny):
        exact = tiny(state(), 1.0, None)
        tiny.precision = torch.bfloat16
        try:
            rough = tiny(state(), 1.0, None)
        finally:
            tiny.precision = torch.float32
        assert rough.dtype == torch.float32 and not torch.equal(rough, exact)
        torch.testing.assert_close(rough, exact, rtol=0, atol=0.1)

    def test_on_a_processor_large_layers_are_not_in_channels_last_order(self):
        """Where group normalisation takes more than ten times as long in bfloat16."""
        denoiser, seen = new_denoiser(dataset(channels=3, height=16, width=16), channels=(32, 32), patch=1), []
        for layer in denoiser.unet.modules():
            if isinstance(layer, (torch.nn.Conv2d, torch.nn.GroupNorm)):
                layer.register_forward_hook(lambda layer, given, made: seen.append((made.shape[-1], made.is_contiguous())))
        images = torch.randn(2, 3, 16, 16).contiguous(memory_format=torch.channels_last)
        denoiser(images, 1.0, torch.tensor([0, 1]))
        large = [contiguous for size, contiguous in seen if size == 16]
        assert len(large) > 10 and all(large)

    def test_refuses_a_network_of_another_form(self, tiny):
        arguments = {"sigma_data": 0.5, "image_shape": (1, 8, 8)}
        with pytest.raises(ValueError, match=r"images \(1, 8, 8\) unshuffled by 4 need 16"):
            EDMDenoiser(tiny.unet, class_names=("a", "b"), patch=4, **arguments)
        with pytest.raises(ValueError, match="5 class embeddings; 3 classes need 7"):
            EDMDenoiser(tiny.unet, class_names=("a", "b", "c"), **arguments)


class TestCheckpoints:
    def test_comes_back_within_half_precision(self, tiny, tmp_path):
        tiny.save(tmp_path / "new" / "run")
        back = load_denoiser(tmp_path / "new" / "run")
        for attribute in ("sigma_data", "class_names", "image_shape", "patch"):
            assert getattr(back, attribute) == getattr(tiny, attribute)
        for name, value in tiny.state_dict().items():
            assert torch.equal(back.state_dict()[name], value.half().float())
        torch.testing.assert_close(back(state(), 1.0, None), tiny(state(), 1.0, None), rtol=0, atol=5e-3)
        assert not back.training and not any(p.requires_grad for p in back.parameters())

    def test_is_in_diffusers_own_format(self, tiny, tmp_path):
        tiny.save(tmp_path)
        assert sorted(str(f.relative_to(tmp_path)) for f in tmp_path.rglob("*") if f.is_file()) == [
            "denoiser.json",
            "unet/config.json",
            "unet/diffusion_pytorch_model.safetensors",
        ]
        weights = load_file(tmp_path / "unet" / "diffusion_pytorch_model.safetensors")
        assert {w.dtype for w in weights.values()} == {torch.float16}
        theirs = UNet2DModel.from_pretrained(tmp_path / "unet", low_cpu_mem_usage=False)
        assert sum(p.numel() for p in theirs.parameters()) == sum(w.numel() for w in weights.values())

    def test_shards(self, tiny, tmp_path, capfd):
        """Small files that together are the checkpoint of one file, for this package and for diffusers alone."""
        tiny.save(tmp_path / "one")
        tiny.save(tmp_path / "many", shard_bytes=100_000)
        files = list((tmp_path / "many" / "unet").glob("*.safetensors"))
        assert len(files) == 4 and max(file.stat().st_size for file in files) < 105_000
        assert weights_hash(load_denoiser(tmp_path / "many")) == weights_hash(load_denoiser(tmp_path / "one"))
        theirs = UNet2DModel.from_pretrained(tmp_path / "many" / "unet", low_cpu_mem_usage=False)
        assert weights_hash(theirs) == weights_hash(load_denoiser(tmp_path / "one").unet)
        capfd.readouterr()
        load_denoiser(tmp_path / "many")
        assert capfd.readouterr().err == ""  # no progress bar in a rendered page

    def test_a_missing_shard_is_an_error(self, tiny, tmp_path):
        tiny.save(tmp_path, shard_bytes=100_000)
        next(tmp_path.glob("unet/*-00003-of-00004.safetensors")).unlink()
        with pytest.raises(FileNotFoundError, match="-00003-of-00004.safetensors"):
            load_denoiser(tmp_path)

    def test_default_shards_stay_below_15_million_bytes(self, tmp_path):
        large = new_denoiser(dataset(), channels=(352,), seed=3)
        large.save(tmp_path)
        sizes = [file.stat().st_size for file in tmp_path.glob("unet/*.safetensors")]
        assert len(sizes) > 1 and max(sizes) < 15_000_000
        assert weights_hash(load_denoiser(tmp_path)) == weights_hash(large.half())

    @pytest.mark.parametrize("first, second", [(10**6, 10**6), (10**6, 10**5), (10**5, 10**6), (10**5, 10**5)])
    def test_a_save_that_is_cut_anywhere_mixes_no_shards(self, tiny, tmp_path, monkeypatch, first, second):
        """From one file to many and back: after each move or removal, the last save or the new one is what loads."""
        other = new_denoiser(dataset(), channels=(32,), seed=1)
        whole = {weights_hash(copy.deepcopy(d).half()) for d in (tiny, other)}
        replace, unlink, seen = os.replace, type(tmp_path).unlink, []

        def looked(do):
            def then_look(*arguments, **options):
                do(*arguments, **options)
                seen.append(weights_hash(load_denoiser(tmp_path)))

            return then_look

        tiny.save(tmp_path, shard_bytes=first)
        monkeypatch.setattr(denoisers.os, "replace", looked(replace))
        monkeypatch.setattr(type(tmp_path), "unlink", looked(unlink))
        other.save(tmp_path, shard_bytes=second)
        assert len(seen) >= (3 if first == second == 10**6 else 4) and set(seen) == whole and seen == sorted(seen, key=seen.index)  # old, then new
        assert len(list(tmp_path.glob("unet/*"))) == (2 if second == 10**6 else 6)

    def test_saving_changes_nothing_else(self, tiny, tmp_path):
        torch.manual_seed(0)
        before, weights = torch.get_rng_state(), weights_hash(tiny)
        tiny.save(tmp_path)
        assert torch.equal(torch.get_rng_state(), before) and weights_hash(tiny) == weights
        assert tiny.unet.dtype == torch.float32

    def test_a_cut_save_is_not_in_the_way_of_the_next(self, tiny, tmp_path, monkeypatch):
        """Cut after the first of three new files (configuration, weights, description) was moved into place."""
        tiny.save(tmp_path)
        other, done, replace = new_denoiser(dataset(), channels=(32,), seed=1), [], os.replace

        def cut(source, target):
            if done:
                raise KeyboardInterrupt
            done.append(target)
            replace(source, target)

        monkeypatch.setattr(denoisers.os, "replace", cut)
        with pytest.raises(KeyboardInterrupt):
            other.save(tmp_path)
        monkeypatch.undo()
        assert weights_hash(load_denoiser(tmp_path)) == weights_hash(copy.deepcopy(tiny).half())
        other.save(tmp_path)
        assert weights_hash(load_denoiser(tmp_path)) == weights_hash(copy.deepcopy(other).half())
        assert not (tmp_path / "saving.tmp").exists()

    def test_by_name(self, tiny, tmp_path, monkeypatch):
        monkeypatch.setenv("SYNAUG_CHECKPOINTS", str(tmp_path))
        tiny.save(tmp_path / "mine")
        tiny.save(tmp_path / "another")
        assert checkpoint_folder("mine") == tmp_path / "mine"
        assert weights_hash(load_denoiser("mine")) == weights_hash(load_denoiser(tmp_path / "another"))
        (tmp_path / "empty").mkdir()
        for name in ("mime", "empty", tmp_path / "nowhere"):
            with pytest.raises(FileNotFoundError, match=r"no generator .*\['another', 'mine'\]"):
                load_denoiser(name)

    @pytest.mark.parametrize(
        "name, damage, message",
        [
            (WEIGHTS, lambda path: path.write_bytes(path.read_bytes()[:-100]), "truncated or damaged"),
            (WEIGHTS, lambda path: path.write_bytes(path.read_bytes()[:5]), "truncated or damaged"),
            (WEIGHTS, lambda path: path.write_bytes(POINTER), "pointer of Git LFS"),
            (
                WEIGHTS,
                lambda path: path.rename(path.with_name("diffusion_pytorch_model.fp16.safetensors")),
                "is missing; there is diffusion_pytorch_model.fp16.safetensors",
            ),
            (WEIGHTS, lambda path: path.rename(path.with_suffix(".bin")), "is missing"),
            (WEIGHTS, lambda path: path.unlink(), "no file of weights"),
            (WEIGHTS, lambda path: save_file({"conv_in.bias": torch.zeros(32)}, path), "missing keys"),
            (WEIGHTS, lambda path: xor(path, 20_000, 4000), "is damaged, or not what training_record.json is about"),
            ("unet/config.json", lambda path: path.write_text("{"), "no JSON"),
            ("unet/config.json", lambda path: path.write_text("[1]"), "holds a list"),
            ("unet/config.json", lambda path: path.unlink(), "is missing"),
            ("unet/config.json", lambda path: edit(path, block_out_channels=[64]), "damaged|does not hold"),
            ("denoiser.json", lambda path: path.write_bytes(b"\xff\x00"), "no JSON"),
            ("denoiser.json", lambda path: path.write_bytes(POINTER), "pointer of Git LFS"),
            ("denoiser.json", lambda path: edit(path, patch=None), "is damaged"),
            ("denoiser.json", lambda path: edit(path, sigma_data="much"), "is damaged"),
            ("denoiser.json", lambda path: edit(path, sigma_data=0.4), "sigma_data is 0.4"),
            ("denoiser.json", lambda path: edit(path, sigma_data=float("inf")), "is damaged"),
            ("denoiser.json", lambda path: edit(path, class_names="ab"), "class_names must be several texts, got 'ab'"),
            ("denoiser.json", lambda path: edit(path, image_shape=[1, 12, 8]), "images of 8x8"),
            ("denoiser.json", lambda path: edit(path, image_shape=[]), "is damaged"),
            ("denoiser.json", lambda path: edit(path, colour=1), "unexpected keyword argument 'colour'"),
            ("training_record.json", lambda path: path.write_text('{"weights": "01'), "no JSON"),
        ],
    )
    def test_a_damaged_file_is_named(self, tiny, tmp_path, name, damage, message):
        record = {"weights": tiny.save(tmp_path), "sigma_data": tiny.sigma_data}
        (tmp_path / "training_record.json").write_text(json.dumps(record))
        assert generator_hash(load_denoiser(tmp_path)) == record["weights"]
        damage(tmp_path / name)
        with pytest.raises((ValueError, FileNotFoundError), match=f"(?s){tmp_path}.*({message})") as caught:
            load_denoiser(tmp_path)
        assert name.rpartition("/")[2] in str(caught.value)

    def test_description_is_plain(self, tiny, tmp_path):
        tiny.save(tmp_path)
        described = json.loads((tmp_path / "denoiser.json").read_text())
        assert described == {"sigma_data": tiny.sigma_data, "class_names": ["class 0", "class 1"], "image_shape": [1, 8, 8], "patch": 2}


class Small(EDMDenoiser):
    """With the same weights, another denoiser."""

    def forward(self, x, sigma, labels=None):
        return 0 * x


class TestHash:
    def test_of_a_recorded_checkpoint_is_its_weights(self):
        denoiser = load_denoiser("fashion_mnist")
        record = json.loads((checkpoint_folder("fashion_mnist") / "training_record.json").read_text())
        assert generator_hash(denoiser) == weights_hash(denoiser) == record["weights"]
        denoiser.precision = torch.bfloat16  # which has a column of its own
        assert generator_hash(copy.deepcopy(denoiser)) == record["weights"]

    @pytest.mark.parametrize(
        "change",
        [
            lambda d: d.unet.conv_in.weight.add_(1e-3),
            lambda d: setattr(d, "sigma_data", 0.6),
            lambda d: d.half(),
            lambda d: setattr(d, "k", 3),
            lambda d: d.unet.register_buffer("b", torch.ones(1), persistent=False),
            lambda d: setattr(d.unet.conv_act, "inplace", True),
        ],
    )
    @torch.no_grad()
    def test_any_data_that_it_holds_makes_another_one(self, tiny, change):
        same, changed, loaded = copy.deepcopy(tiny), copy.deepcopy(tiny), load_denoiser("fashion_mnist")
        before = generator_hash(loaded)
        change(changed), change(loaded)
        assert generator_hash(same) == generator_hash(tiny) not in (generator_hash(changed), UNKNOWN)
        assert len({generator_hash(tiny), generator_hash(changed), before, generator_hash(loaded), UNKNOWN}) == 5

    @pytest.mark.parametrize(
        "change",
        [
            lambda d: setattr(d, "__class__", Small),
            lambda d: setattr(d, "forward", partial(d.forward, labels=None)),
            lambda d: d.unet.register_forward_hook(lambda *a: None),
            lambda d: setattr(d, "scale", lambda x: 2 * x),
            lambda d: setattr(d.unet, "conv_act", nn.Dropout(0.5)),
            lambda d: d.train(),
            lambda d: setattr(d, "itself", d),
        ],
    )
    def test_code_that_may_be_any_is_unknown(self, tiny, change):
        changed = copy.deepcopy(tiny)
        change(changed)
        assert generator_hash(changed) == UNKNOWN

    def test_a_class_whose_code_was_replaced_is_unknown(self, tiny, monkeypatch):
        monkeypatch.setattr(EDMDenoiser, "forward", Small.forward)
        assert generator_hash(tiny) == UNKNOWN

    def test_of_other_callables(self, tiny):
        eye = torch.eye(2)[None]
        hashes = [generator_hash(GaussianMixture([1.0], [[0.0, mean]], eye)) for mean in (0.0, 0.0, 1.0)]
        assert hashes[0] == hashes[1] != hashes[2] and UNKNOWN not in hashes  # not of where they lie in memory
        for call in (
            lambda x, sigma, labels: x,
            tiny.forward,
            partial(tiny, labels=None),
            Guided(lambda *a: a[0], 2.0),
            MinorityGuided(tiny, 1.0),
            TestLoss.Silent(),
        ):  # the fifth counts its draws
            assert generator_hash(call) == UNKNOWN


class TestLoss:
    class Silent:
        """Preconditioning around a network that answers 0."""

        sigma_data = 0.7

        def __call__(self, x, sigma, labels):
            return self.sigma_data**2 / (sigma.view(-1, 1, 1, 1) ** 2 + self.sigma_data**2) * x

    @pytest.mark.parametrize("sigma", [0.01, 0.7, 50.0])
    def test_of_a_silent_network_is_one(self, sigma):
        generator = torch.Generator().manual_seed(0)
        images, noise = (scale * torch.randn(400, 1, 8, 8, generator=generator) for scale in (0.7, 1.0))
        loss = denoising_loss(self.Silent(), images, None, torch.full((400,), sigma), noise)
        assert loss.shape == (400,)
        assert float(loss.mean()) == pytest.approx(1, abs=5 * math.sqrt(2 / (400 * 64)))

    def test_noise_levels(self):
        """ln sigma is N(p_mean + ln(sigma_data / 0.5), p_std²); at sigma_data = 0.5 that is EDM's N(-1.2, 1.2²)."""
        for sigma_data, centre in ((0.5, -1.2), (1.0, -1.2 + math.log(2))):
            logs = log_normal_sigmas(20_000, sigma_data, torch.Generator().manual_seed(0)).log()
            assert float(logs.mean()) == pytest.approx(centre, abs=5 * 1.2 / 20_000**0.5)
            assert float(logs.std()) == pytest.approx(1.2, abs=5 * 1.2 / 40_000**0.5)


class TestInSamplers:
    def test_reconstructs(self, tiny):
        data = dataset()
        whole = reconstruct(tiny, data.floats(), data.labels, reverse_step=5, steps=10)
        assert whole.images.isfinite().all() and whole.provenance["generator"][0] == generator_hash(tiny)
        part = reconstruct(tiny, data.floats([7, 2]), data.labels[[7, 2]], reverse_step=5, steps=10, source_index=torch.tensor([7, 2]))
        torch.testing.assert_close(part.images, whole.images[[7, 2]], rtol=0, atol=1e-4)

    def test_generates(self, tiny):
        assert generate(tiny, torch.tensor([0, 1]), steps=3).images.shape == (2, 1, 8, 8)
        with pytest.raises(ValueError, match=r"labels must be in 0\.\.1, got 4\.\.4"):
            generate(tiny, torch.tensor([4]))  # the network has such an embedding; it is no class

    def test_without_labels(self, tiny):
        data, none = dataset(), torch.full((12,), 4)
        made = reconstruct(tiny, data.floats(), None, sigma=1.0, steps=3)
        told = reconstruct(lambda x, sigma, labels: tiny(x, sigma, none), data.floats(), data.labels, sigma=1.0, steps=3)
        assert torch.equal(made.images, told.images) and made.labels is None and made.provenance["label"].isna().all()
        assert torch.equal(generate(tiny, None, n=3, steps=3).images, generate(tiny, source_index=torch.arange(3), steps=3).images)
        with pytest.raises(ValueError, match="without labels, n must say how many images"):
            generate(tiny, None)
        assert len(generate(tiny, []).images) == len(generate(tiny, None, n=0).images) == 0
        for labels, n, said in ((1, None, "got the number 1"), ([0, 1], 3, "N = 3 images"), (None, -1, "n must be")):
            with pytest.raises(ValueError, match=said):
                generate(tiny, labels, n=n)
