"""Known errors around exact denoisers: what each does, checked where a closed form says it."""

import math

import pytest
import torch

from synaug.diffusion.denoisers import denoising_loss, generator_hash
from synaug.diffusion.perturbed import ClassBlind, Guided, ScaledScore, ScoreNoise, SmoothedOverSigma
from synaug.diffusion.reconstruction import reconstruct
from synaug.diffusion.samplers import sample
from synaug.diffusion.schedules import sigmas_from
from synaug.theory.mixtures import SIGMA_DATA, GaussianMixture, random_mixture

DISTRIBUTION = random_mixture(3)
LABELS = torch.arange(50) % DISTRIBUTION.num_classes


def points(n=50, d=DISTRIBUTION.image_shape[0], seed=0):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def wrappers(denoiser=DISTRIBUTION):
    """One of each kind and strength, all different."""
    return [
        ScaledScore(denoiser, 1.05),
        ScaledScore(denoiser, 1.06),
        ScoreNoise(denoiser, 0.1, SIGMA_DATA, 0),
        ScoreNoise(denoiser, 0.1, SIGMA_DATA, 1),
        ScoreNoise(denoiser, 0.2, SIGMA_DATA, 0),
        ScoreNoise(denoiser, 0.1, SIGMA_DATA, 0, length=1.0),
        SmoothedOverSigma(denoiser, 0.5),
        SmoothedOverSigma(denoiser, 1.0),
        ClassBlind(denoiser),
        Guided(denoiser, 2.0),
        Guided(denoiser, 3.0),
    ]


class TestContract:
    @pytest.mark.parametrize("wrapper", wrappers(), ids=lambda w: type(w).__name__)
    def test_is_kept(self, wrapper):
        assert wrapper.image_shape == DISTRIBUTION.image_shape and wrapper.num_classes == DISTRIBUTION.num_classes
        for x in (points(), points().float()):
            for labels in (None, LABELS):
                together = wrapper(x, torch.linspace(0.01, 80, 50), labels)
                assert together.shape == x.shape and together.dtype == x.dtype and together.isfinite().all()
        one_by_one = [wrapper(x[None], s, label[None]) for x, s, label in zip(points(), torch.linspace(0.01, 80, 50), LABELS)]
        torch.testing.assert_close(torch.cat(one_by_one), wrapper(points(), torch.linspace(0.01, 80, 50), LABELS))

    def test_images_can_be_reconstructed(self):
        def flat(x, sigma, labels=None):
            return x / (1 + torch.as_tensor(sigma) ** 2)

        flat.image_shape, flat.num_classes = (1, 4, 4), 3
        images, labels = torch.zeros(4, 1, 4, 4), torch.tensor([0, 1, 2, 0])
        for wrapper in wrappers(flat):
            done = reconstruct(wrapper, images, labels, reverse_step=5, steps=10)
            assert done.images.shape == images.shape and done.provenance["precision"].eq("float32").all()
            with pytest.raises(ValueError, match=r"labels must be in 0\.\.2"):
                reconstruct(wrapper, images, labels + 1, reverse_step=5, steps=10)

    def test_hashes_differ(self):
        others = [
            DISTRIBUTION,
            *wrappers(),
            *wrappers(random_mixture(4)),
            ScaledScore(ClassBlind(DISTRIBUTION), 1.05),
            ClassBlind(ScaledScore(DISTRIBUTION, 1.05)),
        ]
        assert len({generator_hash(other) for other in others}) == len(others)
        assert [generator_hash(w) for w in wrappers()] == [generator_hash(w) for w in wrappers()]

    def test_hash_of_a_wrapped_network_is_of_its_weights(self):
        first, second = (torch.nn.Linear(2, 2).eval() for _ in range(2))
        assert generator_hash(ClassBlind(first)) != generator_hash(ClassBlind(second))
        second.load_state_dict(first.state_dict())
        assert generator_hash(ClassBlind(first)) == generator_hash(ClassBlind(second))


class TestScaledScore:
    def test_scales_the_score(self):
        x, sigma = points(), 0.7
        score = (ScaledScore(DISTRIBUTION, 1.05)(x, sigma) - x) / sigma**2
        torch.testing.assert_close(score, 1.05 * (DISTRIBUTION(x, sigma) - x) / sigma**2)

    @pytest.mark.parametrize("factor", [0.9, 0.99, 1.05])
    @pytest.mark.parametrize("start", [0.5, 5.0, 80.0])
    def test_variance_that_a_gaussian_ends_with(self, factor, start):
        """The closed form of the docstring; 400 Heun steps leave less than 0.1 % of discretisation."""
        v = 0.25
        gaussian = GaussianMixture([1.0], [[0.0]], [[[v]]])
        x = math.sqrt(v + start**2) * torch.ones(1, 1, dtype=torch.float64)
        end = sample(ScaledScore(gaussian, factor), x, sigmas_from(start, 400))
        assert end.item() ** 2 == pytest.approx(v * (v / (v + start**2)) ** (factor - 1), rel=1e-3)


class TestScoreNoise:
    @pytest.mark.parametrize("sigma", [0.05, 0.5, 5.0])
    def test_adds_its_square_to_the_denoising_loss(self, sigma):
        """EDM's weighted loss of an exact denoiser grows by level²: mean over 400 seeds within 5 standard errors."""
        level, distribution = 0.3, GaussianMixture([1.0], torch.zeros(1, 4), SIGMA_DATA**2 * torch.eye(4)[None])
        added = []
        for seed in range(400):
            generator = torch.Generator().manual_seed(seed)
            images, noise = (torch.randn(20, 4, generator=generator) for _ in range(2))
            images, noise = (part.view(20, 4, 1, 1) for part in (SIGMA_DATA * images, noise))
            losses = []
            for denoiser in (distribution, ScoreNoise(distribution, level, SIGMA_DATA, seed)):
                flat = _Flat(denoiser)
                losses.append(denoising_loss(flat, images, None, torch.full((20,), sigma), noise).mean())
            added.append(losses[1] - losses[0])
        added = torch.stack(added)
        assert added.mean().item() == pytest.approx(level**2, abs=5 * (added.std() / 20).item())
        assert (added.std() / 20).item() < 0.1 * level**2

    def error(self, x, sigma, **options):
        return ScoreNoise(DISTRIBUTION, 1.0, SIGMA_DATA, 0, **options)(x, sigma) - DISTRIBUTION(x, sigma)

    def test_is_fixed_and_smooth(self):
        x, sigma = points(400), 0.5
        here = self.error(x, sigma)
        assert torch.equal(here, self.error(x, sigma))
        size = here.square().mean().sqrt()
        for there in (self.error(x + 1e-3, sigma), self.error(x, sigma * 1.001)):
            assert (there - here).square().mean().sqrt() < 0.02 * size
        for there in (self.error(x.flip(0) + 5, sigma), self.error(x, sigma * 1000) / 1000):
            assert (there - here).square().mean().sqrt() > 0.5 * size

    def test_length(self):
        """Errors a distance of one length apart correlate by exp(-1/2); 4,000 pairs, 16 coordinates each."""
        step, errors = 0.3, []
        distribution = GaussianMixture([1.0], torch.zeros(1, 16), torch.eye(16)[None])
        for seed in range(40):
            noisy = ScoreNoise(distribution, 1.0, 1.0, seed, length=step)
            x = points(100, 16, seed)
            scaled = math.sqrt(2) * step  # sigma = sigma_data = 1: x / sqrt(2) is what the field sees
            errors.append(torch.stack([noisy(at, 1.0) - distribution(at, 1.0) for at in (x, x + scaled)]))
        errors = torch.cat(errors, dim=1).flatten(1)
        assert torch.corrcoef(errors)[0, 1].item() == pytest.approx(math.exp(-0.5), abs=0.03)


class _Flat:
    """Points as images ``[N, D, 1, 1]``, for the loss of images."""

    sigma_data = SIGMA_DATA

    def __init__(self, denoiser):
        self.denoiser = denoiser

    def __call__(self, x, sigma, labels):
        return self.denoiser(x.flatten(1), sigma, labels).view_as(x)


class TestSmoothedOverSigma:
    @pytest.mark.parametrize("sigma", [0.05, 0.5, 5.0])
    def test_is_the_average_over_levels(self, sigma):
        """Of a Gaussian, against a fine sum over ln sigma."""
        gaussian, x, width = GaussianMixture([1.0], [[0.3]], [[[0.25]]]), points(5, 1), 0.7
        at = torch.linspace(-6, 6, 2001, dtype=torch.float64)
        shares = (-at.square() / 2).exp()
        every = torch.stack([gaussian(x, sigma * (width * u).exp()) for u in at])
        expected = torch.einsum("u,und->nd", shares / shares.sum(), every)
        torch.testing.assert_close(SmoothedOverSigma(gaussian, width)(x, sigma), expected, rtol=0, atol=5e-3)
        assert (gaussian(x, sigma) - expected).abs().max() > (2e-2 if sigma != 0.5 else 0)

    def test_width_zero_is_none(self):
        torch.testing.assert_close(SmoothedOverSigma(DISTRIBUTION, 0)(points(), 0.5, LABELS), DISTRIBUTION(points(), 0.5, LABELS))

    def test_where_the_data_are_thin_the_averaged_score_would_be_over_scaled(self):
        """The docstring's reason, on a point mass: the average score is exp(2 width²) times the score, the average
        estimate exact."""
        mass, x, sigma, width = GaussianMixture([1.0], [[0.0]], [[[1e-12]]]), points(3, 1), 0.5, 0.4
        assert SmoothedOverSigma(mass, width)(x, sigma).abs().max() < 1e-9
        draws = sigma * (width * points(10**6, 1)[:, 0]).exp()
        assert (sigma**2 / draws**2).mean().item() == pytest.approx(math.exp(2 * width**2), rel=0.01)


class TestClasses:
    def test_blind(self):
        assert torch.equal(ClassBlind(DISTRIBUTION)(points(), 0.5, LABELS), DISTRIBUTION(points(), 0.5))

    def test_guided(self):
        none, given = DISTRIBUTION(points(), 0.5), DISTRIBUTION(points(), 0.5, LABELS)
        for scale, expected in ((0, none), (1, given), (3, given + 2 * (given - none))):
            torch.testing.assert_close(Guided(DISTRIBUTION, scale)(points(), 0.5, LABELS), expected)
        assert torch.equal(Guided(DISTRIBUTION, 3)(points(), 0.5), none)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: ScaledScore(DISTRIBUTION, 0), "factor must be a finite number of more than 0"),
        (lambda: ScaledScore(DISTRIBUTION, math.nan), "factor"),
        (lambda: ScoreNoise(DISTRIBUTION, -0.1, 0.5, 0), "level must be a finite number of at least 0"),
        (lambda: ScoreNoise(DISTRIBUTION, 0.1, 0.0, 0), "sigma_data"),
        (lambda: ScoreNoise(DISTRIBUTION, 0.1, 0.5, 0, length=0), "length"),
        (lambda: ScoreNoise(lambda x, sigma, labels: x, 0.1, 0.5, 0), "image_shape"),
        (lambda: SmoothedOverSigma(DISTRIBUTION, math.inf), "width"),
        (lambda: Guided(DISTRIBUTION, -1), "scale must be a finite number of at least 0"),
    ],
)
def test_bad_settings_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_what_is_no_denoiser_is_refused():
    with pytest.raises(TypeError, match="must be callable, got Tensor"):
        ScaledScore(torch.zeros(3), 1.1)
