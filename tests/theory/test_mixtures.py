import math

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal

from synaug.theory import mixtures
from synaug.theory.mixtures import SIGMA_DATA, GaussianMixture, random_mixture


def mixture(seed=0, k=3, d=2):
    generator = torch.Generator().manual_seed(seed)
    weights = torch.rand(k, generator=generator, dtype=torch.float64) + 0.2
    means = 2 * torch.randn(k, d, generator=generator, dtype=torch.float64)
    roots = torch.randn(k, d, d, generator=generator, dtype=torch.float64)
    return GaussianMixture(weights / weights.sum(), means, roots @ roots.mT + 0.1 * torch.eye(d, dtype=torch.float64))


def points(n, d=2, seed=1):
    return 3 * torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class TestDensity:
    @pytest.mark.parametrize("sigma", [0.0, 0.3, 5.0])
    @pytest.mark.parametrize("d", [1, 2, 5])
    def test_agrees_with_scipy(self, sigma, d):
        distribution, x = mixture(d=d), points(20, d)
        components = zip(distribution.weights.numpy(), distribution.means.numpy(), distribution.covariances.numpy())
        density = sum(weight * multivariate_normal(mean, covariance + sigma**2 * np.eye(d)).pdf(x) for weight, mean, covariance in components)
        expected = torch.as_tensor(density).reshape(-1).log()
        torch.testing.assert_close(distribution.log_density(x, sigma), expected, rtol=1e-10, atol=1e-10)

    def test_far_away_it_is_finite(self):
        assert mixture().log_density(torch.full((1, 2), 1e6, dtype=torch.float64)).isfinite().all()

    def test_noise_levels_of_their_own(self):
        distribution, x = mixture(), points(3)
        together = distribution.log_density(x, torch.tensor([0.0, 0.5, 2.0]))
        assert torch.equal(together, torch.cat([distribution.log_density(x[i : i + 1], s) for i, s in enumerate((0, 0.5, 2))]))


class TestDenoiser:
    @pytest.mark.parametrize("sigma", [0.01, 0.1, 1.0, 10.0])
    def test_tweedie(self, sigma):
        """The estimate is x + sigma² times the gradient of the log-density, here autograd's."""
        distribution, x = mixture(), points(20).requires_grad_()
        (gradient,) = torch.autograd.grad(distribution.log_density(x, sigma).sum(), x)
        torch.testing.assert_close(distribution(x, sigma), x + sigma**2 * gradient, rtol=1e-9, atol=1e-9)

    def test_is_the_posterior_mean(self):
        """By importance sampling: clean draws weighed by how likely each made x; agreement within 5 standard errors."""
        distribution, sigma = mixture(), 0.8
        clean, component = distribution.sample(200_000, torch.Generator().manual_seed(0))
        for x in points(5) / 2:
            for label in (None, 1):
                from_ = clean if label is None else clean[component == label]
                weights = (-(x - from_).square().sum(1) / (2 * sigma**2)).exp()
                estimate = (weights[:, None] * from_).sum(0) / weights.sum()
                error = ((weights[:, None] * (from_ - estimate)).square().sum(0)).sqrt() / weights.sum()
                labels = None if label is None else torch.tensor([label])
                exact = distribution(x[None], sigma, labels)[0]
                assert (error < 0.05).all()
                assert ((exact - estimate).abs() < 5 * error).all()

    def test_of_one_gaussian(self):
        mean, variance, sigma = torch.tensor([[1.0, -2.0]]), 0.25, 0.7
        distribution, x = GaussianMixture([1.0], mean, variance * torch.eye(2)[None]), points(10)
        torch.testing.assert_close(distribution(x, sigma), mean + variance / (variance + sigma**2) * (x - mean))

    def test_limits(self):
        distribution, x = mixture(), points(10)
        torch.testing.assert_close(distribution(x, 0.0), x)
        whole_mean = (distribution.weights[:, None] * distribution.means).sum(0)
        torch.testing.assert_close(distribution(x, 1e7), whole_mean.expand(10, 2), rtol=0, atol=1e-5)

    @pytest.mark.parametrize("sigma", [0.0, 0.5, 10.0])
    def test_a_class_is_the_mixture_of_its_components(self, sigma):
        single, x = mixture(k=4), points(10)
        distribution = GaussianMixture(single.weights, single.means, single.covariances, classes=[1, 0, 1, 1])
        assert distribution.num_classes == 2
        assert torch.equal(distribution(x, sigma), single(x, sigma))
        of_one = torch.tensor([0, 2, 3])
        weights = single.weights[of_one] / single.weights[of_one].sum()
        alone = GaussianMixture(weights, single.means[of_one], single.covariances[of_one])
        torch.testing.assert_close(distribution(x, sigma, torch.ones(10, dtype=torch.int64)), alone(x, sigma))
        zeros, ones = torch.zeros(10, dtype=torch.int64), torch.ones(10, dtype=torch.int64)
        torch.testing.assert_close(distribution(x, sigma, zeros), single(x, sigma, ones))

    def test_keeps_the_dtype(self):
        distribution, x = mixture(), points(10)
        assert distribution(x.float(), 1.0).dtype == torch.float32
        torch.testing.assert_close(distribution(x.float(), 1.0), distribution(x, 1.0).float())


class TestSample:
    def test_moments(self):
        """Each component's share, mean and covariance within 5 standard errors."""
        distribution, n = mixture(), 50_000
        x, component = distribution.sample(n, torch.Generator().manual_seed(0))
        assert x.shape == (n, 2) and x.dtype == torch.float64
        for k in range(3):
            mine, p = x[component == k], float(distribution.weights[k])
            assert len(mine) / n == pytest.approx(p, abs=5 * math.sqrt(p * (1 - p) / n))
            spread = distribution.covariances[k].diagonal().sqrt()
            assert ((mine.mean(0) - distribution.means[k]).abs() < 5 * spread / len(mine) ** 0.5).all()
            covariance = distribution.covariances[k]
            error = (covariance.square() + torch.outer(covariance.diagonal(), covariance.diagonal())).sqrt()
            assert ((mine.T.cov() - covariance).abs() < 5 * error / len(mine) ** 0.5).all()

    def test_is_the_generators(self):
        first, second = (mixture().sample(5, torch.Generator().manual_seed(3))[0] for _ in range(2))
        assert torch.equal(first, second)


class TestRefusals:
    eye = torch.eye(2)[None]

    @pytest.mark.parametrize(
        "weights, means, covariances, message",
        [
            ([0.5, 0.5], [[0.0, 0.0]], eye, r"must be \[K\], \[K, D\]"),
            ([1.0], [0.0, 0.0], eye, r"must be \[K\], \[K, D\]"),
            ([1.0], [[0.0, 0.0]], torch.eye(2), r"must be \[K\], \[K, D\]"),
            ([1.5], [[0.0, 0.0]], eye, "sum to 1"),
            ([1.0], [[0.0, float("nan")]], eye, "finite"),
            ([1.0], [[0.0, 0.0]], -eye, "positive definite"),
            ([1.0], [[0.0, 0.0]], torch.tensor([[[1.0, 0.5], [0.0, 1.0]]]), "symmetric"),
        ],
    )
    def test_what_is_no_mixture(self, weights, means, covariances, message):
        with pytest.raises(ValueError, match=message):
            GaussianMixture(weights, means, covariances)

    def test_classes(self):
        distribution = mixture()
        for classes in ([0, 1], [0, 2, 2], [1, 1, 2], [-1, 0, 1]):
            with pytest.raises(ValueError, match=r"classes must be \[K\] with K = 3 and hold each of 0..C-1"):
                GaussianMixture(distribution.weights, distribution.means, distribution.covariances, classes)
        with pytest.raises(TypeError, match="int64"):
            GaussianMixture(distribution.weights, distribution.means, distribution.covariances, [0.0, 1.0, 2.0])

    def test_weights_in_single_precision(self):
        distribution = GaussianMixture(torch.full((3,), 1 / 3), torch.zeros(3, 2), torch.eye(2).expand(3, 2, 2))
        assert float(distribution.weights.sum()) == pytest.approx(1, abs=1e-15)

    def test_what_are_no_points(self):
        distribution = mixture()
        # [N, 1, 2] would broadcast against the means.
        for x in (torch.zeros(4, 3), torch.zeros(2), torch.zeros(4, 1, 2), torch.zeros(4, 1, 1, 2)):
            for call in (distribution, distribution.log_density):
                with pytest.raises(ValueError, match=r"the denoiser is for images \(2,\)"):
                    call(x, 1.0)
        with pytest.raises(TypeError, match="floating point"):
            distribution(torch.zeros(4, 2, dtype=torch.int64), 1.0)
        for sigma in (-1.0, float("nan"), torch.ones(3)):
            with pytest.raises(ValueError, match="sigma must be"):
                distribution(torch.zeros(4, 2), sigma)
        for labels in (torch.tensor([0, 1, 2, 3]), torch.tensor([0, 0, 0, -1]), torch.tensor([0])):
            with pytest.raises(ValueError, match=r"labels must be (\[N\] with N = 4|in 0\.\.2)"):
                distribution(torch.zeros(4, 2), 1.0, labels)


DISTRIBUTIONS = [random_mixture(seed) for seed in range(30)]


def test_is_the_seeds():
    assert torch.equal(random_mixture(5).means, DISTRIBUTIONS[5].means)
    assert torch.equal(random_mixture(5).covariances, DISTRIBUTIONS[5].covariances)
    assert len({float(distribution.means.abs().max()) for distribution in DISTRIBUTIONS}) == 30


def test_mean_and_variance_are_as_stated():
    for distribution in DISTRIBUTIONS:
        mean = distribution.weights @ distribution.means
        torch.testing.assert_close(mean, torch.zeros_like(mean), rtol=0, atol=1e-12)
        variances = distribution.covariances.diagonal(dim1=1, dim2=2) + distribution.means.square()
        assert float((distribution.weights @ variances).mean()) == pytest.approx(SIGMA_DATA**2)


def test_every_part_lies_in_its_range_and_the_ranges_are_used():
    dimensions = [distribution.image_shape[0] for distribution in DISTRIBUTIONS]
    classes = [distribution.num_classes for distribution in DISTRIBUTIONS]
    modes = torch.cat([distribution.classes.bincount() for distribution in DISTRIBUTIONS]).tolist()
    for values, ends in ((dimensions, mixtures.DIMENSIONS), (classes, mixtures.CLASSES), (modes, mixtures.MODES_PER_CLASS)):
        assert min(values) == ends[0] and max(values) == ends[1]
    for distribution in DISTRIBUTIONS:
        of_class = torch.zeros(distribution.num_classes, dtype=torch.float64).index_add(0, distribution.classes, distribution.weights)
        assert of_class.max() <= 3.001 * of_class.min()
        for c in range(distribution.num_classes):
            within = distribution.weights[distribution.classes == c]
            assert within.max() <= 10.001 * within.min()
        spreads = distribution.eigenvalues.sqrt()
        assert spreads.max() <= 10.001 * spreads.min()


@pytest.mark.parametrize("seed", [-1, 1.5, "0", True])
def test_bad_seeds_are_refused(seed):
    with pytest.raises(ValueError, match="seed must be a whole number"):
        random_mixture(seed)
