"""Exploration terms: nothing at strength zero, what their formulas say at others, more spread where they aim at it."""

from functools import partial

import pytest
import torch

from synaug.data import load_dataset, stratified_subset
from synaug.diffusion.denoisers import new_denoiser
from synaug.diffusion.exploration import AnnealedClass, Autoguided, GuidedInterval, MinorityGuided, ParticleGuided, repulsion
from synaug.diffusion.perturbed import ClassBlind, Guided, ScaledScore
from synaug.diffusion.reconstruction import generate
from synaug.diffusion.samplers import sample
from synaug.diffusion.schedules import edm_sigmas
from synaug.theory.mixtures import GaussianMixture, random_mixture

DISTRIBUTION = random_mixture(3)
GAUSSIAN = GaussianMixture([1.0], [[0.0]], [[[1.0]]])
N = 60
LABELS = torch.arange(N) % DISTRIBUTION.num_classes
LEVELS = torch.linspace(0.01, 30, N, dtype=torch.float64)


@pytest.fixture(scope="module")
def network():
    """An untrained one: its weights are random, so its answer depends on the class."""
    denoiser = new_denoiser(stratified_subset(load_dataset("digits"), 100, 0), channels=(16, 32))
    return denoiser.eval().requires_grad_(False)


def points(seed=0, n=N):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, *DISTRIBUTION.image_shape, generator=generator, dtype=torch.float64)


def images(n=20, seed=0):
    return torch.randn(n, 1, 8, 8, generator=torch.Generator().manual_seed(seed)), torch.arange(n) % 10


def terms(denoiser, strength):
    """Each term around a denoiser, by strength from 0."""
    weak = ClassBlind(denoiser)
    found = [
        GuidedInterval(denoiser, 1 + strength, 0.5, 20),
        Autoguided(denoiser, weak, 1 + strength),
        ParticleGuided(denoiser, strength),
        MinorityGuided(denoiser, strength),
    ]
    return found + ([AnnealedClass(denoiser, strength)] if hasattr(denoiser, "unet") else [])


def draws(denoiser, n=400, steps=18, seed=0):
    """Samples of `DISTRIBUTION`, the same start whatever the denoiser, and their classes."""
    labels = torch.arange(n) % DISTRIBUTION.num_classes
    return sample(denoiser, 80 * points(seed, n), edm_sigmas(steps), labels), labels


def spread(x, labels):
    """Mean squared distance to the mean of the class."""
    return sum((x[labels == c] - x[labels == c].mean(0)).square().sum() for c in labels.unique()) / len(x)


class TestContract:
    @pytest.mark.parametrize("sigma", [0.3, 5.0, LEVELS])
    @pytest.mark.parametrize("labels", [LABELS, None])
    def test_strength_zero_is_the_denoiser(self, sigma, labels):
        for term in terms(DISTRIBUTION, 0.0):
            assert torch.equal(term(points(), sigma, labels), DISTRIBUTION(points(), sigma, labels)), type(term).__name__

    def test_strength_zero_is_the_network(self, network):
        x, labels = images()
        for sigma in (0.1, 3.0, 50.0):
            for term in terms(network, 0.0):
                assert torch.equal(term(x, sigma, labels), network(x, sigma, labels)), type(term).__name__

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_shape_and_number_format_are_kept(self, dtype):
        for term in terms(DISTRIBUTION, 0.3):
            for labels in (LABELS, None):
                clean = term(points().to(dtype), LEVELS, labels)
                assert clean.shape == points().shape and clean.dtype == dtype and clean.isfinite().all()
            assert term.image_shape == DISTRIBUTION.image_shape and term.num_classes == DISTRIBUTION.num_classes

    def test_each_does_something(self, network):
        x, labels = images()
        for term in terms(network, 0.3):
            assert not torch.allclose(term(x, 3.0, labels), network(x, 3.0, labels), atol=1e-4), type(term).__name__

    def test_the_same_seed_repeats_the_images(self, network):
        labels = images()[1]
        for kind in (AnnealedClass, MinorityGuided):
            make = partial(kind, network, 0.5)
            first, again, other = (generate(make(seed=seed), labels, steps=4).images for seed in (1, 1, 2))
            assert torch.equal(first, again) and not torch.allclose(first, other, atol=1e-3)

    @pytest.mark.parametrize(
        "make, said",
        [
            (lambda: GuidedInterval(DISTRIBUTION, -0.1, 0, 1), "scale must be a finite number of at least 0, got -0.1"),
            (lambda: GuidedInterval(DISTRIBUTION, 2, 1, 1), "high must be a finite number of more than 1, got 1"),
            (lambda: GuidedInterval(DISTRIBUTION, 2, -1, 1), "low must be a finite number of at least 0, got -1"),
            (lambda: Autoguided(DISTRIBUTION, DISTRIBUTION, float("nan")), "scale must be a finite number of at least 0, got nan"),
            (lambda: Autoguided(DISTRIBUTION, GAUSSIAN, 2), r"weak denoiser is for images \(1,\)"),
            (lambda: ParticleGuided(DISTRIBUTION, float("inf")), "strength must be a finite number of at least 0, got inf"),
            (lambda: MinorityGuided(DISTRIBUTION, -1), "strength must be a finite number of at least 0, got -1"),
        ],
    )
    def test_bad_values_are_refused(self, make, said):
        with pytest.raises(ValueError, match=said):
            make()

    @pytest.mark.parametrize("kind", [lambda d: d, lambda d: MinorityGuided(d, 0.0)])
    def test_a_denoiser_that_says_no_shape_goes_with_any(self, kind):
        def plain(x, sigma, labels=None):
            return x / (1 + sigma**2)

        for strong, weak in ((DISTRIBUTION, kind(plain)), (kind(plain), DISTRIBUTION)):
            torch.testing.assert_close(Autoguided(strong, weak, 1.0)(points(), 1.0, LABELS), strong(points(), 1.0, LABELS))

    def test_denoisers_of_another_kind_are_refused(self):
        with pytest.raises(TypeError, match="GaussianMixture has none"):
            AnnealedClass(DISTRIBUTION, 0.5)
        with pytest.raises(TypeError, match="must be callable, got str"):
            Autoguided(DISTRIBUTION, "weak", 2)


class TestAnnealedClass:
    def seen(self, network, term, sigma, n=2000):
        """The embeddings that the network sees, and those of the classes."""
        rows, labels = [], torch.arange(n) % 10
        handle = network.unet.class_embedding.register_forward_hook(lambda module, given, out: rows.append(out))
        try:
            term(torch.zeros(n, 1, 8, 8), sigma, labels)
        finally:
            handle.remove()
        return rows[0], network.unet.class_embedding.weight[labels]

    @pytest.mark.parametrize("sigma, gamma", [(0.9, 1.0), (1.0, 1.0), (20.0, 0.0), (80.0, 0.0), (((1 + 20 ** (1 / 7)) / 2) ** 7, 0.5)])
    def test_embedding_is_annealed_and_rescaled(self, network, sigma, gamma):
        """Correlation with the class: sqrt(gamma) over the root of gamma + s² (1 - gamma), as embeddings and noise
        have variance 1 (to 10 %); its standard error over 2,000 images of 64 coordinates is 0.003."""
        rows, y = self.seen(network, AnnealedClass(network, 0.7), sigma)
        torch.testing.assert_close(rows.mean(1), y.mean(1), rtol=0, atol=1e-5)
        torch.testing.assert_close(rows.std(1), y.std(1), rtol=1e-4, atol=0)
        variance = y.var(1).mean()
        expected = (gamma * variance / (gamma * variance + 0.49 * (1 - gamma))) ** 0.5
        found = torch.stack([torch.corrcoef(torch.stack(pair))[0, 1] for pair in zip(rows, y)]).mean()
        assert found.item() == pytest.approx(expected.item(), abs=0.02)
        assert torch.equal(rows, y) == (gamma == 1)

    def test_levels_of_each_image(self, network):
        x, labels = images(4)
        clean = AnnealedClass(network, 0.7)(x, torch.tensor([0.5, 1.0, 5.0, 40.0]), labels)
        plain = network(x, torch.tensor([0.5, 1.0, 5.0, 40.0]), labels)
        torch.testing.assert_close(clean[:2], plain[:2])
        assert not torch.allclose(clean[2:], plain[2:], atol=1e-4)


class TestGuidedInterval:
    def test_is_guidance_inside_and_nothing_outside(self):
        term, x = GuidedInterval(DISTRIBUTION, 2.5, 0.3, 3.0), points()
        for sigma in (0.31, 1.0, 3.0):
            none, own = DISTRIBUTION(x, sigma, None), DISTRIBUTION(x, sigma, LABELS)
            torch.testing.assert_close(term(x, sigma, LABELS), none + 2.5 * (own - none))
        for sigma in (0.1, 0.3, 3.01, 50.0):
            assert torch.equal(term(x, sigma, LABELS), DISTRIBUTION(x, sigma, LABELS))
        expected = torch.where(((0.3 < LEVELS) & (LEVELS <= 3))[:, None], Guided(DISTRIBUTION, 2.5)(x, LEVELS, LABELS), DISTRIBUTION(x, LEVELS, LABELS))
        torch.testing.assert_close(term(x, LEVELS, LABELS), expected)


class TestAutoguided:
    def test_of_two_gaussians(self):
        """Denoisers of N(0, v) and N(0, u) shrink x by v / (v + sigma²) and u / (u + sigma²)."""
        v, u, sigma, scale = 0.5, 2.0, 1.3, 3.0
        strong, weak = (GaussianMixture([1.0], [[0.0]], [[[variance]]]) for variance in (v, u))
        x = torch.linspace(-3, 3, 7, dtype=torch.float64)[:, None]
        factor = u / (u + sigma**2) + scale * (v / (v + sigma**2) - u / (u + sigma**2))
        torch.testing.assert_close(Autoguided(strong, weak, scale)(x, sigma), factor * x)

    def test_undoes_a_known_error(self):
        """The weak one's error is twice the strong one's: scale 2 leaves none."""
        strong, weak = ScaledScore(DISTRIBUTION, 0.95), ScaledScore(DISTRIBUTION, 0.9)
        torch.testing.assert_close(Autoguided(strong, weak, 2.0)(points(), 1.0, LABELS), DISTRIBUTION(points(), 1.0, LABELS))


class TestParticleGuided:
    def test_repulsion_is_the_gradient_of_the_potential(self):
        x = points(5, 9).requires_grad_()
        squares = (x[:, None] - x[None]).square().sum(2)
        off_diagonal = ~torch.eye(9, dtype=torch.bool)
        h = (squares[off_diagonal].sort().values[::2].median() / torch.tensor(9.0, dtype=torch.float64).log()).item()
        (-0.5 * (-squares / h).exp()[off_diagonal].sum()).backward()
        torch.testing.assert_close(repulsion(x.detach()), x.grad)
        torch.testing.assert_close(x.grad.sum(0), torch.zeros_like(x[0]), rtol=0, atol=1e-12)  # no net force

    def test_two_points(self):
        """Distance a: h = a² / ln 2, so k = 1/2, and each is pushed by 2 / h * k * a = ln 2 / a."""
        pushed = repulsion(torch.tensor([[0.0, 0.0], [3.0, 4.0]], dtype=torch.float64))
        expected = torch.log(torch.tensor(2.0, dtype=torch.float64)) / 5 * torch.tensor([0.6, 0.8], dtype=torch.float64)
        torch.testing.assert_close(pushed, torch.stack([-expected, expected]))

    @pytest.mark.parametrize("x", [points(0, 1), torch.ones(4, 2)])
    def test_no_force_without_a_direction(self, x):
        assert torch.equal(repulsion(x), torch.zeros_like(x))

    def test_only_images_of_the_same_class_repel_each_other(self):
        x, term = points(), ParticleGuided(DISTRIBUTION, 0.1)
        own = LABELS == 1
        torch.testing.assert_close(term(x, 1.0, LABELS)[own], term(x[own], 1.0, LABELS[own]))
        assert not torch.allclose(term(x, 1.0, LABELS), term(x, 1.0, None) - DISTRIBUTION(x, 1.0) + DISTRIBUTION(x, 1.0, LABELS))

    def test_spreads_a_batch(self):
        """Same starting noise; spread grows with the strength."""
        found = [spread(*draws(ParticleGuided(DISTRIBUTION, strength) if strength else DISTRIBUTION)).item() for strength in (0, 0.003, 0.01, 0.03)]
        assert found == sorted(found) and found[-1] > 1.05 * found[0]


class TestMinorityGuided:
    def test_mean_of_the_term_on_a_gaussian(self):
        """N(0, v): D(y) = c y with c = v / (v + sigma²); the term's mean is (1 - c) x0 = sigma² / (v + sigma²) x0,
        minus sigma² times the score of N(0, v + sigma²) at x0. 20,000 draws; tolerance 5 standard errors."""
        v, sigma, strength, n = 0.5, 0.8, 0.3, 20_000
        gaussian = GaussianMixture([1.0], [[0.0]], [[[v]]])
        c = v / (v + sigma**2)
        x = torch.full((n, 1), 1.7, dtype=torch.float64)
        added = MinorityGuided(gaussian, strength, seed=4)(x, sigma) - c * x
        error = strength * c * sigma / n**0.5
        assert added.mean().item() == pytest.approx(strength * (1 - c) * c * 1.7, abs=5 * error)
        assert added.std().item() == pytest.approx(strength * c * sigma, rel=0.05)

    def test_is_the_gradient_of_the_score_with_the_round_trip_held_fixed(self):
        x, sigma = points(), 0.7
        noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(3), dtype=x.dtype)
        clean = DISTRIBUTION(x, sigma, LABELS).requires_grad_()
        back = DISTRIBUTION(clean.detach() + sigma * noise, sigma, LABELS)
        (0.5 * (clean - back).square().sum()).backward()
        torch.testing.assert_close(MinorityGuided(DISTRIBUTION, 0.4, seed=3)(x, sigma, LABELS), clean.detach() + 0.4 * clean.grad)

    def test_goes_to_lower_density(self):
        """The same starting noise; mean log-density, paired, falls by more than 5 standard errors."""
        plain, minority = (DISTRIBUTION.log_density(draws(d)[0]) for d in (DISTRIBUTION, MinorityGuided(DISTRIBUTION, 0.1)))
        change = minority - plain
        assert change.mean() < -5 * change.std() / len(change) ** 0.5
