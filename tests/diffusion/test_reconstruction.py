import math
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.stats import kstest

from synaug.diffusion import reconstruction
from synaug.diffusion.perturbed import Guided, ScaledScore
from synaug.diffusion.reconstruction import generate, per_image_noise, reconstruct
from synaug.diffusion.schedules import reverse_sigmas, sigma_of_reverse_step

SHAPE, CLASSES, SPREAD = (1, 4, 6), 3, 0.2


class ClassMeans:
    """The exact denoiser of images whose pixels are N(-0.4, 0, 0.4 by class, SPREAD²). Remembers its calls."""

    image_shape, num_classes = SHAPE, CLASSES

    def __init__(self):
        self.means, self.calls = torch.tensor([-0.4, 0.0, 0.4]), []

    def __call__(self, x, sigma, labels):
        self.calls.append((x, sigma, labels))
        mean = self.means[labels].view(-1, 1, 1, 1)
        return mean + SPREAD**2 / (SPREAD**2 + sigma**2) * (x - mean)


def images(n=7, seed=0):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % CLASSES
    means = torch.tensor([-0.4, 0.0, 0.4])[labels].view(-1, 1, 1, 1)
    return (means + SPREAD * torch.randn(n, *SHAPE, generator=generator)).clamp(-1, 1), labels


class TestNoise:
    def test_depends_on_seed_index_and_stream_alone(self):
        index = torch.tensor([5, 0, 900_000, 7])
        whole = per_image_noise((4, *SHAPE), 3, index, stream=2)
        for place in ([0], [3, 1], [2, 0, 1, 3]):
            assert torch.equal(per_image_noise((len(place), *SHAPE), 3, index[place], stream=2), whole[place])

    def test_no_two_streams_are_alike(self):
        draws = [
            per_image_noise((2, 64), seed, torch.tensor([i, i + 1]), stream).flatten()
            for seed in (0, 1, 2**64 - 1)
            for i in (0, 2, 2**62)
            for stream in (0, 1, 100)
        ]
        correlations = torch.corrcoef(torch.stack(draws)) - torch.eye(len(draws))
        assert correlations.abs().max() < 6 / 128**0.5

    def test_is_standard_normal(self):
        noise = per_image_noise((500, *SHAPE), 0, torch.arange(500))
        assert noise.dtype == torch.float32
        assert kstest(noise.flatten().numpy(), "norm").pvalue > 0.01
        # And over images at one pixel, where a poor choice of keys would show.
        assert kstest(noise[:, 0, 0, 0].numpy(), "norm").pvalue > 0.01

    def test_stays_what_it_was(self):
        """Recorded results depend on it; a NumPy that changed its normals would show here."""
        noise = per_image_noise((1, 3), 1, torch.tensor([2]), stream=3)
        assert noise[0].tolist() == pytest.approx([-1.2031482, -0.2057420, 0.5045525], abs=1e-6)


class TestEnds:
    @pytest.mark.parametrize("level", [{"reverse_step": 0}, {"sigma": 0.0}])
    def test_step_0_is_the_identity(self, level):
        denoiser, (x, y) = ClassMeans(), images()
        done = reconstruct(denoiser, x, y, churn=5.0, **level)
        assert torch.equal(done.images, x) and done.images.data_ptr() != x.data_ptr()
        assert torch.equal(done.labels, y) and denoiser.calls == []

    @pytest.mark.parametrize("settings", [{}, {"solver": "euler", "stride": 7}, {"churn": 10.0}, {"mapping": "vp"}])
    def test_the_last_step_does_not_depend_on_the_source(self, settings):
        (x, y), (other, _) = images(seed=0), images(seed=1)
        for step in (20, 19):
            a, b = (reconstruct(ClassMeans(), v, y, reverse_step=step, steps=20, **settings) for v in (x, other))
            assert torch.equal(a.images, b.images) == (step == 20)
            assert (a.provenance["from_noise"] == (step == 20)).all()

    def test_from_noise_can_be_asked_for_or_not(self):
        (x, y), (other, _) = images(seed=0), images(seed=1)
        for level in ({"reverse_step": 5}, {"sigma": 1.0}):
            a, b = (reconstruct(ClassMeans(), v, y, steps=20, from_noise=True, **level).images for v in (x, other))
            assert torch.equal(a, b)
        a, b = (reconstruct(ClassMeans(), v, y, steps=20, reverse_step=20, from_noise=False).images for v in (x, other))
        assert not torch.equal(a, b)

    def test_generate_is_the_last_step(self):
        x, y = images()
        made = generate(ClassMeans(), y, steps=10, seed=4)
        assert torch.equal(made.images, reconstruct(ClassMeans(), x, y, reverse_step=10, steps=10, seed=4).images)
        assert made.images.shape == x.shape and torch.equal(made.labels, y)


class TestBetween:
    @pytest.mark.parametrize("mapping, error", [("edm", 1e-3), ("vp", 0.02)])  # the VP grid's lowest level is 0.03
    def test_closed_form(self, mapping, error):
        """The flow of a Gaussian shrinks the distance from the mean by a known factor; 50 Heun steps find it."""
        x, y = images()
        done = reconstruct(ClassMeans(), x, y, reverse_step=50, mapping=mapping, seed=3)
        sigma, mean = sigma_of_reverse_step(50, mapping=mapping), torch.tensor([-0.4, 0.0, 0.4])[y].view(-1, 1, 1, 1)
        noised = x + sigma * per_image_noise(x.shape, 3, torch.arange(len(x)))
        exact = mean + (noised - mean) * SPREAD / math.sqrt(SPREAD**2 + sigma**2)
        torch.testing.assert_close(done.images, exact.clamp(-1, 1), rtol=0, atol=error)

    def test_sigma_starts_there(self):
        denoiser, (x, y) = ClassMeans(), images()
        done = reconstruct(denoiser, x, y, sigma=1.7, steps=9)
        assert denoiser.calls[0][1] == pytest.approx(1.7) and len(denoiser.calls) == 17
        assert done.provenance["sigma"].to_numpy() == pytest.approx(1.7)

    def test_is_in_range_float32_and_trainable(self):
        x, y = images()
        made = reconstruct(lambda x, sigma, labels: 5 * torch.ones_like(x), x, y, reverse_step=30)
        assert made.images.dtype == torch.float32 and made.images.max() == 1
        weight = torch.ones(1, requires_grad=True)
        (weight * made.images).sum().backward()  # what came out of inference mode could not do this
        assert weight.grad is not None

    def test_other_floats_are_taken_as_float32(self):
        x, y = images()
        expected = reconstruct(ClassMeans(), x.bfloat16().float(), y, reverse_step=40).images
        assert torch.equal(reconstruct(ClassMeans(), x.bfloat16(), y, reverse_step=40).images, expected)
        double = reconstruct(ClassMeans(), x.double().requires_grad_(), y, reverse_step=40).images
        assert torch.equal(double, reconstruct(ClassMeans(), x, y, reverse_step=40).images)


class TestRandomness:
    @pytest.mark.parametrize("settings", [{}, {"churn": 10.0}, {"churn": 10.0, "solver": "euler", "stride": 5}])
    @pytest.mark.parametrize("level", [{"reverse_step": 60}, {"reverse_step": 100}, {"sigma": 3.0}])
    def test_batches_and_order_do_not_matter(self, settings, level):
        x, y = images()
        index, order = torch.tensor([40, 2, 77, 8, 5, 0, 6]), torch.tensor([3, 6, 0])
        if "sigma" in level:
            settings = {**settings, "steps": 20, "stride": 1}  # a level of no grid
        whole = reconstruct(ClassMeans(), x, y, source_index=index, seed=2, **level, **settings)
        for size in (1, 3, 7, 1000):
            again = reconstruct(ClassMeans(), x, y, source_index=index, seed=2, batch_size=size, **level, **settings)
            assert torch.equal(again.images, whole.images)
        part = reconstruct(ClassMeans(), x[order], y[order], source_index=index[order], seed=2, **level, **settings)
        assert torch.equal(part.images, whole.images[order])
        assert part.provenance["source_index"].tolist() == index[order].tolist()

    def test_seeds_differ(self):
        x, y = images()
        made = [reconstruct(ClassMeans(), x, y, reverse_step=50, seed=s).images for s in (0, 1, 2**64 - 1, np.int64(0))]
        assert torch.equal(made[0], made[3])
        assert not torch.equal(made[0], made[1]) and not torch.equal(made[0], made[2])

    def test_levels_share_their_noise(self):
        x, y = images()
        noises = []
        step = {"reverse_step": 70}
        for level in ({"reverse_step": 20}, step, {**step, "mapping": "vp"}, {"sigma": 1.0}):
            denoiser = ClassMeans()
            done = reconstruct(denoiser, x, y, seed=9, **level)
            noises.append((denoiser.calls[0][0] - x) / done.provenance["sigma"][0])
        for noise in noises[1:]:
            torch.testing.assert_close(noise, noises[0], rtol=0, atol=1e-5)

    @pytest.mark.parametrize("stride", [1, 10])
    def test_levels_share_their_fresh_noise(self, monkeypatch, stride):
        """With churn, what is added at a level is the same whether the run started there or above."""
        x, y = images()

        def added(reverse_step):
            """The noise asked for at each level of the grid, as (level, stream)."""
            streams = []
            kept = per_image_noise
            monkeypatch.setattr(reconstruction, "per_image_noise", lambda *a: streams.append(a[3]) or kept(*a))
            reconstruct(ClassMeans(), x, y, reverse_step=reverse_step, stride=stride, churn=10.0, from_noise=False)
            monkeypatch.undo()
            assert streams[0] == 0  # the forward noise
            return dict(zip(reverse_sigmas(reverse_step, stride=stride)[:-1].tolist(), streams[1:], strict=True))

        low, high = added(40), added(100)
        assert low.items() <= high.items()
        assert len(set(high.values())) == len(high) and 0 not in high.values()

    @pytest.mark.parametrize("stride", [1, 10])
    def test_churn_is_that_of_the_whole_grid(self, stride):
        """A level is raised by as much whether the run started there or above."""
        x, y = images()
        seen = {}
        for reverse_step in (40, 100):
            denoiser = ClassMeans()
            reconstruct(denoiser, x, y, reverse_step=reverse_step, stride=stride, churn=4.0, solver="euler")
            seen[reverse_step] = [call[1] for call in denoiser.calls]
        assert seen[40] == pytest.approx(seen[100][-len(seen[40]) :], rel=1e-12)
        grid_steps = len(reverse_sigmas(100, stride=stride)) - 1
        assert seen[100][0] == pytest.approx(80 * (1 + 4.0 / grid_steps))

    def test_no_churn_adds_no_noise(self, monkeypatch):
        x, y = images()
        streams, kept = [], per_image_noise
        monkeypatch.setattr(reconstruction, "per_image_noise", lambda *a: streams.append(a[3]) or kept(*a))
        done = reconstruct(ClassMeans(), x, y, reverse_step=50, churn=0.0)
        assert streams == [0]
        assert torch.equal(done.images, reconstruct(ClassMeans(), x, y, reverse_step=50).images)

    def test_the_process_keeps_its_random_state(self):
        x, y = images()
        torch.manual_seed(0)
        np.random.seed(0)
        before = torch.get_rng_state(), np.random.get_state()[1].tolist()
        reconstruct(ClassMeans(), x, y, reverse_step=50, churn=3.0)
        assert torch.equal(torch.get_rng_state(), before[0]) and np.random.get_state()[1].tolist() == before[1]


class TestProvenance:
    def test_columns(self):
        x, y = images()
        index, denoiser = torch.tensor([40, 2, 77, 8, 5, 0, 6]), ClassMeans()
        done = reconstruct(
            denoiser, x, y, reverse_step=40, steps=50, mapping="vp", stride=2, solver="euler", churn=1.5, s_noise=1.01, seed=6, source_index=index
        )
        frame = done.provenance
        assert frame["source_index"].tolist() == index.tolist() and frame["label"].tolist() == y.tolist()
        constant = {
            "sigma": sigma_of_reverse_step(40, 50, "vp"),
            "reverse_step": 40,
            "steps": 50,
            "mapping": "vp",
            "stride": 2,
            "solver": "euler",
            "churn": 1.5,
            "s_noise": 1.01,
            "from_noise": False,
            "seed": 6,
            "generator": "unknown",
            "precision": "float32",
        }
        assert set(frame) == {"source_index", "label", *constant}
        for name, value in constant.items():
            assert frame[name].tolist() == [value] * len(x)

    def test_a_level_given_as_sigma_has_no_reverse_step(self):
        frame = reconstruct(ClassMeans(), *images(), sigma=1.0, steps=5).provenance
        assert frame["reverse_step"].isna().all() and frame["mapping"].isna().all()

    def test_no_images(self):
        denoiser, (x, y) = ClassMeans(), images(0)
        for level in ({"reverse_step": 0}, {"reverse_step": 50}, {"sigma": 1.0}):
            done = reconstruct(denoiser, x, y, **level)
            assert done.images.shape == (0, *SHAPE) and done.labels.shape == (0,)
            assert len(done.provenance) == 0 and "sigma" in done.provenance
        assert denoiser.calls == []


class TestRefusals:
    """Before the denoiser is called."""

    def refuse(self, message, x=None, y=None, error=ValueError, **arguments):
        denoiser, (good, labels) = ClassMeans(), images()
        arguments = {"reverse_step": 50, **arguments}
        with pytest.raises(error, match=message):
            reconstruct(denoiser, good if x is None else x, labels if y is None else y, **arguments)
        assert denoiser.calls == []

    @pytest.mark.parametrize(
        "x, error, message",
        [
            (torch.zeros(7, *SHAPE, dtype=torch.uint8), TypeError, "floating point tensor, got torch.uint8"),
            (np.zeros((7, *SHAPE), np.float32), TypeError, "floating point tensor, got ndarray"),
            (torch.full((7, *SHAPE), 1.1), ValueError, r"in \[-1, 1\], got 1.1..1.1"),
            (torch.full((7, *SHAPE), 255.0), ValueError, r"in \[-1, 1\]"),
            (torch.full((7, *SHAPE), float("nan")), ValueError, "NaN or infinite"),
            (torch.full((7, *SHAPE), float("-inf")), ValueError, "NaN or infinite"),
            (torch.zeros(7, 1, 6, 4), ValueError, r"denoiser is for images \(1, 4, 6\), got \(1, 6, 4\)"),
            (torch.zeros(7, 3, 4, 6), ValueError, r"denoiser is for images"),
            (torch.zeros(1, 4, 6), ValueError, r"denoiser is for images"),
        ],
    )
    def test_images(self, x, error, message):
        self.refuse(message, x, error=error)

    def test_images_of_no_shape_at_all(self):
        with pytest.raises(ValueError, match=r"images must be \[N, C, H, W\], got \[7, 5\]"):
            reconstruct(lambda x, sigma, labels: x, torch.zeros(7, 5), images()[1], reverse_step=50)

    @pytest.mark.parametrize(
        "y, error, message",
        [
            (torch.zeros(6, dtype=torch.int64), ValueError, r"\[N\] with N = 7 images, got \[6\]"),
            (torch.zeros(7, 1, dtype=torch.int64), ValueError, r"\[N\] with N = 7"),
            (torch.zeros(7), TypeError, "labels must be an int64 tensor, got torch.float32"),
            (torch.zeros(7, dtype=torch.int32), TypeError, "labels must be an int64 tensor"),
            (torch.full((7,), 3), ValueError, r"labels must be in 0\.\.2, got 3\.\.3"),
            (torch.full((7,), -1), ValueError, r"labels must be in 0\.\.2"),
        ],
    )
    def test_labels(self, y, error, message):
        self.refuse(message, y=y, error=error)

    @pytest.mark.parametrize(
        "arguments, message",
        [
            ({"reverse_step": 101}, "reverse_step must be at most 100, got 101"),
            ({"reverse_step": -1}, "reverse_step must be a whole number of at least 0"),
            ({"reverse_step": 21, "steps": 20}, "reverse_step must be at most 20"),
            ({"steps": 0}, "steps must be"),
            ({"stride": 0}, "stride must be"),
            ({"mapping": "ve"}, "unknown mapping 've'"),
            ({"sigma": 1.0}, "either reverse_step or sigma"),
            ({"reverse_step": None}, "either reverse_step or sigma"),
            ({"reverse_step": None, "sigma": -1.0}, "sigma must be a finite number of at least 0, got -1.0"),
            ({"reverse_step": None, "sigma": float("nan")}, "sigma must be a finite number of at least 0, got nan"),
            ({"reverse_step": None, "sigma": 1.0, "steps": 0}, "steps must be"),
            ({"reverse_step": None, "sigma": 1.0, "stride": 2}, "which sigma does not have: leave it out, got 2"),
            ({"reverse_step": 0, "from_noise": True}, "noise level above 0"),
            ({"solver": "huen"}, "unknown solver"),
            ({"reverse_step": 0, "solver": "huen"}, "unknown solver"),
            ({"churn": -1.0}, "churn must be a finite number of at least 0, got -1.0"),
            ({"churn": 1.0, "solver": "ancestral"}, "take no churn"),
            ({"s_noise": float("nan")}, "s_noise must be a finite number of at least 0, got nan"),
            ({"batch_size": 0}, "batch_size must be"),
            ({"seed": -1}, "seed must be a whole number of at least 0, got -1"),
            ({"seed": 2**64}, "seed must be at most 18446744073709551615"),
            ({"source_index": torch.arange(6)}, r"source_index must be \[N\] with N = 7, got \[6\]"),
            ({"source_index": torch.arange(7) - 1}, "source_index must not be negative"),
        ],
    )
    def test_arguments(self, arguments, message):
        self.refuse(message, **arguments)

    @pytest.mark.parametrize("answer", [lambda x: (x,), lambda x: SimpleNamespace(sample=x), lambda x: x.numpy()])
    @pytest.mark.parametrize("wrap", [lambda d: d, lambda d: ScaledScore(d, 1.1), lambda d: Guided(d, 2.0)])
    def test_a_denoiser_that_answers_no_tensor(self, answer, wrap):
        denoiser, said = wrap(lambda x, sigma, labels: answer(x)), "must return the clean images, a tensor; this one"
        for call in (lambda: reconstruct(denoiser, *images(), sigma=1.0), lambda: generate(denoiser, images()[1], image_shape=SHAPE)):
            with pytest.raises(TypeError, match=said):
                call()

    def test_images_in_the_unit_range_are_warned_of(self):
        x, y = images()
        with pytest.warns(UserWarning, match=r"all lie in \[0, 1\]"):
            reconstruct(ClassMeans(), (x + 1) / 2, y, reverse_step=5)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            reconstruct(ClassMeans(), x, y, reverse_step=5)
            generate(ClassMeans(), y, steps=2)

    def test_an_index_that_is_none(self):
        self.refuse("source_index must be int64", source_index=torch.zeros(7), error=TypeError)

    def test_generate_needs_a_shape(self):
        with pytest.raises(ValueError, match="pass image_shape"):
            generate(lambda x, sigma, labels: x, torch.tensor([0]))
        made = generate(lambda x, sigma, labels: 0 * x, torch.tensor([0]), image_shape=(3, 2, 2), steps=2)
        assert torch.equal(made.images, torch.zeros(1, 3, 2, 2))
