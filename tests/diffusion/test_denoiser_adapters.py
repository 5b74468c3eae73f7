"""Adapters on tiny checkpoints in the formats that diffusers and EDM's code write."""

import importlib
import os
import pickle
import shutil
import sys
import textwrap
import warnings
from pathlib import Path

import huggingface_hub
import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, DDPMPipeline, DDPMScheduler, UNet2DModel
from safetensors.torch import load_file

from synaug.augmentation.synthetic_pool import generate_pool
from synaug.data import ImageDataset
from synaug.diffusion.adapters import DDPMDenoiser, load_ddpm, load_edm
from synaug.diffusion.denoisers import generator_hash, load_denoiser, weights_hash
from synaug.diffusion.perturbed import Guided
from synaug.diffusion.reconstruction import generate, reconstruct
from synaug.diffusion.samplers import sample

LABELS, WEIGHTS = torch.tensor([0, 2, 1]), "unet/diffusion_pytorch_model.safetensors"


def unet(seed=0, **config):
    """In the form of google/ddpm-cifar10-32, 32 channels wide."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        form = dict(
            sample_size=8,
            block_out_channels=(32, 32),
            layers_per_block=1,
            attention_head_dim=None,
            freq_shift=1,
            flip_sin_to_cos=False,
            downsample_padding=0,
            norm_eps=1e-6,
            down_block_types=("DownBlock2D", "AttnDownBlock2D"),
            up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        )
        return UNet2DModel(**{**form, **config}).eval()


def scheduler(kind=DDPMScheduler, **config):
    return kind(**{"clip_sample": False, **config})


def noise(seed=1, n=3):
    return torch.randn(n, 3, 8, 8, generator=torch.Generator().manual_seed(seed))


def images_of_two_classes():
    images = torch.randint(0, 256, (6, 3, 8, 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    return ImageDataset(images, torch.arange(6) % 2, ("a", "b"))


def ours(network, schedule):
    return DDPMDenoiser(network, schedule).eval().requires_grad_(False)


def sigma_of(schedule, t):
    abar = schedule.alphas_cumprod[t].double()
    return ((1 - abar) / abar).sqrt()


@pytest.fixture
def saved(tmp_path):
    DDPMPipeline(unet(), scheduler(clip_sample=True)).save_pretrained(tmp_path / "pipeline")
    return tmp_path / "pipeline"


class TestDDPM:
    @pytest.mark.parametrize("clip", [{}, {"clip_sample": True}, {"clip_sample": True, "clip_sample_range": 0.4}])
    @pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
    @torch.no_grad()
    def test_is_what_the_scheduler_predicts(self, prediction, clip):
        network, schedule = unet(), scheduler(prediction_type=prediction, **clip)
        denoiser, clipped = ours(network, schedule), False
        for t in (0, 1, 37, 500, 998, 999):
            x = noise(t)
            expected = schedule.step(network(x, t).sample, t, x, generator=torch.Generator()).pred_original_sample
            sigma = sigma_of(schedule, t)
            found = denoiser(x * (1 + sigma**2).sqrt().float(), sigma)
            # Rounding of x is multiplied by sigma on the way to x0, up to 157.
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5 * max(1, float(sigma)))
            clipped |= bool((expected.abs() == schedule.config.clip_sample_range).any())
        assert clipped == bool(clip)

    @pytest.mark.parametrize(
        "options, step",
        [
            ({"prediction_type": "epsilon"}, {}),
            ({"prediction_type": "v_prediction"}, {}),
            ({"prediction_type": "epsilon", "beta_schedule": "squaredcos_cap_v2"}, {}),
            ({"prediction_type": "v_prediction", "beta_schedule": "squaredcos_cap_v2"}, {}),
            ({"clip_sample": True}, {"use_clipped_model_output": True}),
        ],
    )
    @torch.no_grad()
    def test_euler_steps_are_ddim(self, options, step):
        """DDIM without noise is Euler's method where images have unit signal (Karras et al. 2022, section 4)."""
        network, theirs = unet(), scheduler(DDIMScheduler, **options)
        theirs.set_timesteps(10)
        x = noise()
        for t in theirs.timesteps:
            x = theirs.step(network(x, t).sample, t, x, **step).prev_sample
        sigmas = torch.stack([sigma_of(theirs, t) for t in theirs.timesteps] + [torch.tensor(0.0)])
        start = noise() * (1 + sigmas[0] ** 2).sqrt().float()
        found = sample(ours(network, theirs), start, sigmas, solver="euler")
        assert float(x.std()) > 0.1
        torch.testing.assert_close(found, x, rtol=1e-3, atol=1e-3)

    def test_steps_between_steps(self):
        schedule = scheduler()
        denoiser, abar = ours(unet(), schedule), schedule.alphas_cumprod.double().numpy()
        levels = np.log((1 - abar) / abar) / 2
        whole = denoiser.time_step(torch.tensor(np.exp(levels)))
        np.testing.assert_allclose(whole, np.arange(1000), atol=1e-3)
        sigmas = torch.logspace(-4, 2, 200, dtype=torch.float64)  # below the first step's, too
        expected = np.interp(sigmas.log(), levels, np.arange(1000))
        np.testing.assert_allclose(denoiser.time_step(sigmas), expected, atol=1e-3)

    def test_each_image_may_have_a_sigma_of_its_own(self):
        denoiser, sigma = ours(unet(), scheduler()), torch.tensor([0.005, 1.3, 77.0])
        apart = torch.cat([denoiser(noise()[i : i + 1], float(s)) for i, s in enumerate(sigma)])
        torch.testing.assert_close(denoiser(noise(), sigma), apart, rtol=1e-4, atol=1e-3)

    def test_double_precision_and_bfloat16(self):
        denoiser = ours(unet(), scheduler())
        exact = denoiser(noise(), 0.5)
        double = denoiser(noise().double(), 0.5)
        assert double.dtype == torch.float64
        torch.testing.assert_close(double.float(), exact, rtol=1e-4, atol=1e-5)
        denoiser.precision = torch.bfloat16
        rough = denoiser(noise(), 0.5)
        assert rough.dtype == torch.float32 and not torch.equal(rough, exact)
        torch.testing.assert_close(rough, exact, rtol=0, atol=0.05)
        denoiser.precision = torch.float32
        for dtype, error in ((torch.float64, 1e-5), (torch.float16, 0.01)):  # of the network
            torch.testing.assert_close(denoiser.to(dtype)(noise(), 0.5), exact, rtol=0, atol=error)

    @pytest.mark.parametrize(
        "betas",
        [
            dict(beta_start=0.0),
            dict(trained_betas=[0.0, 0.0, 0.0, 0.1, 0.0, 0.2, 0.3]),
            dict(trained_betas=[0.5]),
            dict(trained_betas=[0.0, 0.1, 0.2, 1.0]),
            dict(trained_betas=[1e-9, 1e-9, 0.1, 0.2]),
        ],
    )
    @torch.no_grad()
    def test_steps_without_noise_or_signal_are_steps_all_the_same(self, betas):
        """Each level is that of its own step: the network's answer there is the scheduler's."""
        network, schedule = unet(), scheduler(**betas)
        denoiser, abar = ours(network, schedule), schedule.alphas_cumprod.double()
        for t in ((abar > 0) & (abar < 1)).nonzero().flatten()[:10].tolist():
            sigma = sigma_of(schedule, t)
            alike = (abar == abar[t]).nonzero()  # of several steps with one level, any will do
            x, steps = noise(t), float(denoiser.time_step(sigma[None]))
            assert alike.min() - 1e-3 <= steps <= alike.max() + 1e-3
            if steps == t:
                expected = schedule.step(network(x, t).sample, t, x, generator=torch.Generator()).pred_original_sample
                found = denoiser(x * (1 + sigma**2).sqrt().float(), sigma)
                torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)

    def test_a_schedule_without_noise_is_refused(self):
        with pytest.raises(ValueError, match="no step of the schedule has both signal and noise"):
            ours(unet(), scheduler(trained_betas=[0.0, 0.0]))

    def test_above_the_last_step_it_is_not_defined(self):
        denoiser = ours(unet(), scheduler(num_train_timesteps=100))
        highest = float(denoiser.log_sigmas[-1].exp())
        denoiser(noise(), highest)
        with pytest.raises(ValueError, match=f"trained up to sigma {highest:.4g}, got 80: start lower"):
            generate(denoiser, LABELS)

    def test_a_schedule_that_ends_without_signal(self):
        denoiser = ours(unet(), scheduler(rescale_betas_zero_snr=True, prediction_type="v_prediction"))
        assert len(denoiser.log_sigmas) == 999 and denoiser(noise(), 80.0).isfinite().all()

    def test_classes(self):
        network = unet(num_class_embeds=3)
        denoiser = ours(network, scheduler())
        assert denoiser.num_classes == 3
        x, t = noise(), 500
        sigma = sigma_of(scheduler(), t)
        with torch.no_grad():
            eps = network(x / (1 + sigma**2).sqrt().float(), t, class_labels=LABELS).sample
        torch.testing.assert_close(denoiser(x, sigma, LABELS), x - sigma.float() * eps, rtol=1e-4, atol=1e-3)
        with pytest.raises(ValueError, match="no class that stands for none: pass labels"):
            denoiser(x, sigma)
        with pytest.raises(ValueError, match=r"labels must be in 0\.\.2, got 3\.\.3"):
            generate(denoiser, torch.tensor([3]))

    def test_an_embedding_of_no_class(self):
        """Networks for classifier-free guidance have it after those of the classes."""
        network, data = unet(num_class_embeds=3), images_of_two_classes()
        denoiser, plain = DDPMDenoiser(network, scheduler(), null_class=True).eval(), ours(network, scheduler())
        assert denoiser.num_classes == 2
        assert torch.equal(denoiser(noise(), 1.0), plain(noise(), 1.0, torch.full((3,), 2)))
        assert Guided(denoiser, 2.0)(noise(), 1.0, torch.tensor([0, 1, 0])).isfinite().all()
        pools = [generate_pool(denoiser, data, [1, 4], k=2, sigmas=0.5, steps=2).data.images]
        with pytest.warns(UserWarning, match="3 class embeddings, the data set has 2 classes: the last"):
            pools.append(generate_pool(plain, data, [1, 4], k=2, sigmas=0.5, steps=2).data.images)
        assert torch.equal(*pools)
        with pytest.raises(ValueError, match="4 classes, the data set has 2"):
            generate_pool(ours(unet(num_class_embeds=4), scheduler()), data, [1], k=2, sigmas=0.5, steps=2)
        with pytest.raises(ValueError, match="no class embeddings"):
            DDPMDenoiser(unet(), scheduler(), null_class=True)

    def test_a_network_for_images_of_any_size(self):
        denoiser = ours(unet(sample_size=None), scheduler())
        with pytest.raises(ValueError, match="pass image_shape"):
            generate(denoiser, LABELS, steps=2)
        made = generate(denoiser, LABELS, image_shape=(3, 12, 8), steps=2, mapping="vp")
        assert made.images.shape == (3, 3, 12, 8)

    @pytest.mark.parametrize(
        "network, schedule, message",
        [
            ({}, {"prediction_type": "flow"}, "predicts 'flow'"),
            ({}, {"thresholding": True}, "dynamic thresholding"),
            ({"out_channels": 6}, {}, "3 channels in and 6 out"),
            ({"time_embedding_type": "fourier"}, {}, "by sinusoids and classes by a table; this one has 'fourier'"),
            ({"class_embed_type": "timestep"}, {}, "'timestep'"),
        ],
    )
    def test_refuses_other_kinds(self, network, schedule, message):
        with pytest.raises(ValueError, match=message):
            DDPMDenoiser(unet(**network), scheduler(**schedule))

    def test_refuses_schedules_without_signal_and_noise(self):
        class Other:
            pass

        with pytest.raises(ValueError, match="Other has no alphas_cumprod"):
            DDPMDenoiser(unet(), Other())


class TestLoadDDPM:
    def test_knows_no_classes_and_says_so(self, saved):
        with pytest.warns(UserWarning, match="pipeline: this generator knows no classes: labels are ignored"):
            denoiser = load_ddpm(saved)
        assert denoiser.image_shape == (3, 8, 8) and not hasattr(denoiser, "num_classes")
        assert weights_hash(denoiser.unet) == weights_hash(unet())
        assert torch.equal(denoiser(noise(), 1.0, LABELS), denoiser(noise(), 1.0, None))
        assert denoiser(noise(), 1.0).abs().max() == 1  # the pipeline's scheduler clips
        assert not denoiser.training and not any(p.requires_grad for p in denoiser.parameters())

    def test_with_classes_there_is_nothing_to_say(self, tmp_path):
        DDPMPipeline(unet(num_class_embeds=3), scheduler()).save_pretrained(tmp_path)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert load_ddpm(tmp_path).num_classes == 3

    def test_reconstructs_and_makes_pools(self, saved):
        with pytest.warns(UserWarning):
            denoiser = load_ddpm(saved)
        data = images_of_two_classes()
        made = reconstruct(denoiser, data.floats(), data.labels, reverse_step=5, steps=10)
        assert made.images.isfinite().all() and made.provenance["generator"][0] == generator_hash(denoiser)
        assert torch.equal(reconstruct(denoiser, data.floats(), data.labels, reverse_step=0).images, data.floats())
        assert len(generate_pool(denoiser, data, [1, 4], k=3, sigmas=0.5, steps=2)) == 4

    def test_components_in_one_folder(self, saved, tmp_path):
        """As google/ddpm-cifar10-32 has them."""
        flat = tmp_path / "flat"
        shutil.copytree(saved, flat)
        for file in [*(flat / "unet").iterdir(), *(flat / "scheduler").iterdir()]:
            file.rename(flat / file.name)
        for folder in ("unet", "scheduler"):
            (flat / folder).rmdir()
        with pytest.warns(UserWarning):
            assert torch.equal(load_ddpm(flat)(noise(), 2.0), load_ddpm(saved)(noise(), 2.0))

    @pytest.mark.filterwarnings("ignore:.*knows no classes")
    def test_a_name_in_the_hugging_face_cache(self, saved, tmp_path, monkeypatch):
        entry = tmp_path / "cache" / "models--somebody--tiny"
        shutil.copytree(saved, entry / "snapshots" / "0123abc")
        (entry / "refs").mkdir()
        (entry / "refs" / "main").write_text("0123abc")
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        assert load_ddpm("somebody/tiny").image_shape == (3, 8, 8)
        with pytest.raises(FileNotFoundError, match="^no pipeline 'somebody/else': neither a folder") as caught:
            load_ddpm("somebody/else")
        assert "diffusers.DDPMPipeline.from_pretrained('somebody/else')" in str(caught.value)

    def test_what_is_no_pipeline(self, tmp_path):
        with pytest.raises(FileNotFoundError, match="no pipeline .*neither a folder with model_index.json"):
            load_ddpm(tmp_path)

    @pytest.mark.parametrize(
        "name, damage, message",
        [
            (WEIGHTS, lambda path: path.unlink(), "is missing; there is no file of weights"),
            (WEIGHTS, lambda path: path.write_bytes(path.read_bytes()[:9999]), "truncated or damaged"),
            ("scheduler/scheduler_config.json", lambda path: path.unlink(), "is missing"),
            ("scheduler/scheduler_config.json", lambda path: path.write_text('{"beta_schedule": "steep"}'), "steep"),
            ("model_index.json", lambda path: path.write_text("{}"), "names no unet and scheduler"),
            ("model_index.json", lambda path: path.write_text('{"unet": ["", "UNet2DModel"], "scheduler": ["", "None"]}'), "no configuration of a None"),
        ],
    )
    def test_a_damaged_file_is_named(self, saved, name, damage, message):
        damage(saved / name)
        with pytest.raises((FileNotFoundError, ValueError), match=f"{saved}.*{message}") as caught:
            load_ddpm(saved)
        assert "no pipeline" not in str(caught.value)

    @pytest.mark.filterwarnings("ignore:.*knows no classes")
    def test_older_weights_are_read_without_running_code(self, saved):
        path, expected = saved / WEIGHTS, load_ddpm(saved)(noise(), 1.0)
        torch.save(load_file(path), path.with_suffix(".bin"))
        path.unlink()
        assert torch.equal(load_ddpm(saved)(noise(), 1.0), expected)
        path.with_suffix(".bin").write_bytes(pickle.dumps({"x": Path("/")}))
        with pytest.raises(ValueError, match="diffusion_pytorch_model.bin is damaged"):
            load_ddpm(saved)

    def test_another_pipeline_is_refused(self, saved):
        (saved / "model_index.json").write_text('{"unet": ["", "UNet2DConditionModel"], "scheduler": ["", "x"]}')
        with pytest.raises(ValueError, match="has a UNet2DConditionModel, not a UNet2DModel"):
            load_ddpm(saved)

    def test_load_denoiser_says_where_to_go(self, saved):
        with pytest.raises(FileNotFoundError, match="synaug.diffusion.adapters loads diffusers' DDPM pipelines"):
            load_denoiser(saved)


NETWORKS = """
    import torch
    from torch import nn


    class Precond(nn.Module):
        def __init__(self, img_resolution, img_channels, label_dim):
            super().__init__()
            self.img_resolution, self.img_channels, self.label_dim = img_resolution, img_channels, label_dim
            self.sigma_data = 0.5
            self.model = nn.Conv2d(img_channels + 1, img_channels, 3, padding=1)
            self.map_label = nn.Linear(label_dim, img_channels, bias=False) if label_dim else None

        def forward(self, x, sigma, class_labels=None, force_fp32=False, **model_kwargs):
            sigma = sigma.reshape(-1, 1, 1, 1)
            if self.label_dim:
                if class_labels is None:
                    class_labels = torch.zeros([1, self.label_dim])
                assert class_labels.dtype == torch.float32 and class_labels.shape[1] == self.label_dim
            total = (sigma**2 + self.sigma_data**2).sqrt()
            level = (sigma.log() / 4).expand(-1, 1, *x.shape[2:])
            f = self.model(torch.cat([x / total, level], 1))
            if self.label_dim:
                f = f + self.map_label(class_labels)[:, :, None, None]
            return (self.sigma_data / total) ** 2 * x + sigma * self.sigma_data / total * f
"""


@pytest.fixture
def edm_code(tmp_path, monkeypatch):
    """A function that puts code on the path as EDM's is laid out, or takes it away again."""
    (tmp_path / "code" / "training").mkdir(parents=True)
    (tmp_path / "code" / "training" / "networks.py").write_text(textwrap.dedent(NETWORKS))

    def forget():
        for name in [name for name in sys.modules if name.split(".")[0] == "training"]:
            del sys.modules[name]

    def put(there=True):
        forget()
        importlib.invalidate_caches()
        path = [p for p in sys.path if p != str(tmp_path / "code")]
        monkeypatch.setattr(sys, "path", [str(tmp_path / "code"), *path] if there else path)

    put()
    yield put
    forget()


def edm_checkpoint(path, label_dim=3, **change):
    from training.networks import Precond

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = Precond(8, 3, label_dim)
    content = {"ema": net, "loss_fn": None, "augment_pipe": None, "dataset_kwargs": {"path": "x"}, **change}
    path.write_bytes(pickle.dumps(content))
    return net


class TestEDM:
    @pytest.fixture
    def path(self, tmp_path):
        return tmp_path / "network-snapshot-000100.pkl"

    def test_is_its_network(self, path, edm_code):
        net = edm_checkpoint(path)
        denoiser = load_edm(path, trust_pickle=True)
        assert (denoiser.image_shape, denoiser.num_classes) == ((3, 8, 8), 3)
        classes = torch.tensor([[1.0, 0, 0], [0, 0, 1], [0, 1, 0]])
        with torch.no_grad():
            for sigma in (0.002, 1.0, 80.0):
                expected = net(noise(), torch.full((3,), sigma), classes)
                assert torch.equal(denoiser(noise(), sigma, LABELS), expected)
                assert torch.equal(denoiser(noise().double(), sigma, LABELS), expected.double())
            assert torch.equal(denoiser(noise(), 1.0), net(noise(), torch.ones(3)))
            sigmas = torch.tensor([0.1, 1.0, 10.0])
            assert torch.equal(denoiser(noise(), sigmas, LABELS), net(noise(), sigmas, classes))
        assert not denoiser.training and not any(p.requires_grad for p in denoiser.parameters())

    def test_samples(self, path, edm_code):
        edm_checkpoint(path)
        denoiser = load_edm(path, trust_pickle=True)
        first, other = (generate(denoiser, torch.tensor([c, c]), steps=4).images for c in (0, 1))
        assert first.shape == (2, 3, 8, 8) and not torch.equal(first, other)
        with pytest.raises(ValueError, match=r"labels must be in 0\.\.2"):
            generate(denoiser, torch.tensor([3]))

    def test_knows_no_classes_and_says_so(self, path, edm_code):
        net = edm_checkpoint(path, label_dim=0)
        with pytest.warns(UserWarning, match="knows no classes: labels are ignored"):
            denoiser = load_edm(path, trust_pickle=True)
        assert not hasattr(denoiser, "num_classes")
        with torch.no_grad():
            assert torch.equal(denoiser(noise(), 1.0, LABELS), net(noise(), torch.ones(3)))

    @pytest.mark.parametrize("consent", [{}, {"trust_pickle": False}])
    def test_nothing_runs_without_consent(self, path, consent, tmp_path):
        class Bad:
            def __reduce__(self):
                return os.mkdir, (str(tmp_path / "it ran"),)

        path.write_bytes(pickle.dumps({"ema": Bad()}))
        with pytest.raises(PermissionError, match="a pickle: loading it runs whatever code .*trust_pickle=True"):
            load_edm(path, **consent)
        assert not (tmp_path / "it ran").exists()
        with pytest.raises(ValueError, match="is no checkpoint of EDM"):
            load_edm(path, trust_pickle=True)
        assert (tmp_path / "it ran").exists()

    def test_without_edms_code(self, path, edm_code):
        edm_checkpoint(path)
        edm_code(there=False)
        with pytest.raises(ImportError, match="code that is not here .*'training'.*NVlabs/edm.* on PYTHONPATH"):
            load_edm(path, trust_pickle=True)

    @pytest.mark.parametrize(
        "content, message",
        [
            ({"G_ema": 1}, "it holds the keys 'G_ema'"),
            ([1], "it holds list"),
            ({"ema": torch.nn.Linear(1, 1)}, "img_resolution, img_channels and label_dim: it holds the keys 'ema'"),
        ],
    )
    def test_another_content(self, path, content, message):
        path.write_bytes(pickle.dumps(content))
        with pytest.raises(ValueError, match=message):
            load_edm(path, trust_pickle=True)

    def test_damaged_or_missing(self, path):
        with pytest.raises(FileNotFoundError, match="no EDM checkpoint at"):
            load_edm(path, trust_pickle=True)
        path.write_bytes(pickle.dumps({"ema": list(range(100))})[:-20])
        with pytest.raises(ValueError, match="is no pickle, or truncated"):
            load_edm(path, trust_pickle=True)
