"""The empirical denoiser against dense formulas, a mixture of narrow Gaussians and its limits."""

import math
import weakref

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from synaug.diffusion import empirical as empirical_denoiser
from synaug.diffusion.empirical import EmpiricalDenoiser
from synaug.diffusion.reconstruction import reconstruct
from synaug.diffusion.samplers import sample
from synaug.diffusion.schedules import sigmas_from
from synaug.theory.mixtures import GaussianMixture

SHAPE = (1, 2, 3)


def normal(*shape, seed=0, dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.fixture
def images():
    return normal(60, *SHAPE).tanh()


@pytest.fixture
def labels():
    return (normal(60, seed=1) > 0).long() + torch.arange(60) % 2  # three classes, not in order


def dense(images, x, sigma, labels=None, image_labels=None):
    """The estimate by the formula as it stands, all distances at once."""
    sigma = torch.as_tensor(sigma, dtype=torch.float64).expand(len(x))[:, None]
    exponents = -(torch.cdist(x.flatten(1), images.flatten(1)) / sigma).square() / 2
    if labels is not None:
        exponents = exponents.masked_fill(labels[:, None] != image_labels, -math.inf)
    return (exponents.softmax(1) @ images.flatten(1)).view_as(x)


class TestAgainstDense:
    @pytest.mark.parametrize("sigma", [0.01, 0.5, 20.0, torch.linspace(0.01, 3, 40)])
    @pytest.mark.parametrize("conditional", [False, True])
    @pytest.mark.parametrize("numbers_at_once, images_at_once", [(10**6, 1024), (7 * 60, 16), (1, 50)])
    def test_in_one_block_and_in_many(self, images, labels, sigma, conditional, numbers_at_once, images_at_once, monkeypatch):
        monkeypatch.setattr(empirical_denoiser, "NUMBERS_AT_ONCE", numbers_at_once)
        monkeypatch.setattr(empirical_denoiser, "IMAGES_AT_ONCE", images_at_once)
        x, asked = 2 * normal(40, *SHAPE, seed=2), torch.arange(40) % 3 if conditional else None
        denoiser = EmpiricalDenoiser(images, labels)
        expected = dense(images, x, sigma, asked, labels)
        torch.testing.assert_close(denoiser(x, sigma, asked), expected, rtol=1e-9, atol=1e-9)

    def test_posterior(self, images, labels):
        x, sigma = images + 0.7 * normal(60, *SHAPE, seed=2), 0.7
        shares = (-torch.cdist(x.flatten(1), images.flatten(1)).square() / (2 * sigma**2)).softmax(1)
        torch.testing.assert_close(EmpiricalDenoiser(images).posterior(x, sigma, images), shares.diagonal())
        same = labels[:, None] == labels
        shares = shares * same / (shares * same).sum(1, keepdim=True)
        denoiser = EmpiricalDenoiser(images, labels)
        torch.testing.assert_close(denoiser.posterior(x, sigma, images, labels), shares.diagonal())

    def test_single_precision_stays(self, images):
        x = normal(5, *SHAPE, seed=2)
        single = EmpiricalDenoiser(images.float())(x.float(), 0.5)
        assert single.dtype == torch.float32
        torch.testing.assert_close(single.double(), EmpiricalDenoiser(images)(x, 0.5), rtol=1e-5, atol=1e-6)


def test_is_the_limit_of_narrow_gaussians():
    centres, width = normal(8, 3), 1e-5
    distribution = GaussianMixture(torch.full((8,), 1 / 8), centres, width**2 * torch.eye(3).expand(8, 3, 3), torch.arange(8) % 2)
    denoiser, x = EmpiricalDenoiser(centres, torch.arange(8) % 2), normal(20, 3, seed=1)
    for labels in (None, torch.arange(20) % 2):
        torch.testing.assert_close(denoiser(x, 0.4, labels), distribution(x, 0.4, labels), rtol=0, atol=1e-7)


class TestLimits:
    @pytest.mark.parametrize("sigma", [1e-100, 1e-30, 1e-8, 1e-3])
    def test_little_noise_gives_the_nearest_image(self, images, sigma):
        x = images + 1e-3 * normal(60, *SHAPE, seed=2)
        denoiser = EmpiricalDenoiser(images)
        assert torch.equal(denoiser(x, sigma), images)
        for at in (x, images):
            torch.testing.assert_close(denoiser.posterior(at, sigma, images), torch.ones(60, dtype=torch.float64))

    @pytest.mark.parametrize("sigma", [1e6, 1e30, 1e100])
    def test_much_noise_gives_the_mean_of_the_class(self, images, labels, sigma):
        x, asked = sigma * normal(6, *SHAPE, seed=2), torch.arange(6) % 3
        denoiser = EmpiricalDenoiser(images, labels)
        means = torch.stack([images[labels == c].mean(0) for c in range(3)])
        torch.testing.assert_close(denoiser(x, sigma, asked), means[asked], rtol=0, atol=1e-5)
        torch.testing.assert_close(denoiser(x, sigma), images.mean(0).expand(6, *SHAPE), rtol=0, atol=1e-5)

    def test_copies_share_their_weight(self, images):
        twice = EmpiricalDenoiser(torch.cat([images, images]))
        torch.testing.assert_close(twice.posterior(images, 1e-3, images), torch.full((60,), 0.5, dtype=torch.float64))

    def test_no_points(self, images, labels):
        nothing = torch.zeros(0, *SHAPE)
        assert EmpiricalDenoiser(images, labels)(nothing, 1.0, torch.zeros(0, dtype=torch.int64)).shape == nothing.shape


class TestReconstruction:
    def test_of_two_images(self):
        """The deterministic process ends at the nearer of two images d apart: after noise sigma that is the own one
        with chance Phi(d / (2 sigma)) (derived here). n = 4,000: 4 standard errors are at most 0.03."""
        pair, n, sigma = torch.tensor([[[[-0.5]]], [[[0.5]]]]), 4000, 0.8
        sources = pair.repeat(n // 2, 1, 1, 1)
        denoiser = EmpiricalDenoiser(pair, torch.zeros(2, dtype=torch.int64))
        back = reconstruct(denoiser, sources, torch.zeros(n, dtype=torch.int64), sigma=sigma, steps=60)
        assert (back.images.abs() - 0.5).abs().max() < 1e-5
        own = ((back.images > 0) == (sources > 0)).double().mean().item()
        assert own == pytest.approx(0.5 * (1 + math.erf(1 / (2 * sigma) / math.sqrt(2))), abs=0.03)

    def test_ends_on_training_images_and_keeps_the_class(self, images, labels):
        x = 80 * normal(30, *SHAPE, seed=3)
        asked = torch.arange(30) % 3
        ends = sample(EmpiricalDenoiser(images, labels), x, sigmas_from(80.0, 40), asked)
        apart, nearest = torch.cdist(ends.flatten(1), images.flatten(1)).min(1)
        assert apart.max() < 1e-6 and torch.equal(labels[nearest], asked)
        assert len(nearest.unique()) > 10


class Live(TorchDispatchMode):
    """Most bytes that tensors made by operations, but for views of those given, hold at any one time."""

    def __init__(self, *given):
        super().__init__()
        self.given, self.made, self.bytes = {tensor.untyped_storage().data_ptr() for tensor in given}, (), 0

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        result = function(*arguments, **(options or {}))
        new = [weakref.ref(tensor) for tensor in (result if isinstance(result, tuple) else (result,)) if isinstance(tensor, torch.Tensor)]
        self.made = [made for made in (*self.made, *new) if made() is not None]
        held = [made().untyped_storage() for made in self.made]
        sizes = {storage.data_ptr(): storage.nbytes() for storage in held}
        self.bytes = max(self.bytes, sum(size for at, size in sizes.items() if at not in self.given))
        return result


@pytest.mark.parametrize("n_images, n_points, d", [(200, 600, 200), (25, 100, 2000), (10, 10, 20_000), (600, 600, 20)])
def test_memory_in_all_is_three_of_the_largest_arrays(n_images, n_points, d, monkeypatch):
    """100 MB where the largest has 32, for images of many and of few numbers; the same estimates as at once."""
    images, x = (normal(n, d, dtype=torch.float32) for n in (n_images, n_points))
    denoiser, own = EmpiricalDenoiser(images), images[torch.arange(n_points) % n_images]
    calls = [lambda: denoiser(x, 20.0), lambda: denoiser.posterior(x, 20.0, own)]
    expected = [call() for call in calls]
    monkeypatch.setattr(empirical_denoiser, "NUMBERS_AT_ONCE", 50_000)
    for call, at_once in zip(calls, expected):
        with Live(images, x, own) as live:
            found = call()
        torch.testing.assert_close(found, at_once)
        assert 8 * 45_000 < live.bytes <= 3.25 * 8 * 50_000 + found.nbytes  # places and levels of points, which are small, beside three


class TestRefusals:
    def test_training_images(self, images, labels):
        for wrong, message in ((images[:0], "at least one"), (images / 0, "finite")):
            with pytest.raises(ValueError, match=message):
                EmpiricalDenoiser(wrong)
        with pytest.raises(TypeError, match="floating point"):
            EmpiricalDenoiser(torch.zeros(3, 2, dtype=torch.uint8))
        for wrong in (labels + 1, 2 * labels, labels - 1):
            with pytest.raises(ValueError, match=r"each of 0\.\.C-1"):
                EmpiricalDenoiser(images, wrong)
        with pytest.raises(ValueError, match=r"labels must be \[N\]"):
            EmpiricalDenoiser(images, labels[:5])

    def test_points(self, images, labels):
        denoiser, x = EmpiricalDenoiser(images, labels), images[:4]
        for sigma in (0.0, -1.0, 1e-101, math.nan, math.inf, torch.ones(3)):
            for call in (denoiser, lambda *a: denoiser.posterior(*a, x)):
                with pytest.raises(ValueError, match="sigma must be"):
                    call(x, sigma)
        with pytest.raises(ValueError, match="the denoiser is for images"):
            denoiser(x.flatten(1), 1.0)
        with pytest.raises(ValueError, match=r"labels must be in 0\.\.2"):
            denoiser(x, 1.0, torch.full((4,), 3))
        with pytest.raises(ValueError, match="the training images have none"):
            EmpiricalDenoiser(images)(x, 1.0, labels[:4])
        with pytest.raises(ValueError, match="an image of its own"):
            denoiser.posterior(x, 1.0, images)
