import math

import pytest
import torch
from diffusers import DDIMScheduler, EDMEulerScheduler, HeunDiscreteScheduler
from scipy.stats import kstest, norm

from synaug.diffusion.samplers import network_evaluations, sample
from synaug.diffusion.schedules import edm_sigmas, vp_sigmas
from synaug.theory.mixtures import GaussianMixture

MEAN, SPREAD = 0.3, 0.5


def gaussian(x, sigma, labels=None):
    """The exact denoiser of N(MEAN, SPREAD²) in each coordinate."""
    return MEAN + SPREAD**2 / (SPREAD**2 + sigma**2) * (x - MEAN)


def crooked(x, sigma, labels=None):
    """A denoiser that no closed form helps with."""
    return torch.tanh(x / (1 + sigma)) + 0.1 * torch.sin(3 * x)


class Counted:
    """A denoiser that knows how often it was called, and with what."""

    def __init__(self, denoiser=gaussian):
        self.denoiser, self.calls = denoiser, []

    def __call__(self, x, sigma, labels):
        self.calls.append((x, sigma, labels))
        return self.denoiser(x, sigma, labels)


def start(sigma, shape=(4, 1, 2, 3), dtype=torch.float64, seed=0):
    return sigma * torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def fresh_noise(shape, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return lambda i: torch.randn(shape, generator=generator, dtype=dtype)


class TestGaussian:
    """The denoiser of a Gaussian is affine, so a solver's outcome is a closed form."""

    @staticmethod
    def rate(sigma):
        return sigma / (SPREAD**2 + sigma**2)

    def factor(self, sigma, below):
        """What one of Heun's steps multiplies the distance from the mean by; the last, to 0, is Euler's."""
        h, a = below - sigma, self.rate(sigma)
        return 1 + h * a if below == 0 else 1 + h / 2 * (a + self.rate(below) * (1 + h * a))

    @pytest.mark.parametrize("churn", [3.0, 1e6])  # the second beyond the largest share, sqrt(2) - 1
    def test_churn(self, churn):
        sigmas, s_noise, s_min, s_max = edm_sigmas(12), 1.01, 0.05, 50.0
        x = start(80.0)
        distance, noise = x - MEAN, fresh_noise(x.shape)
        for sigma, below in zip(sigmas[:-1].tolist(), sigmas[1:].tolist()):
            if s_min <= sigma <= s_max:
                raised = sigma * (1 + min(churn / 12, 2**0.5 - 1))
                distance = distance + s_noise * (raised**2 - sigma**2) ** 0.5 * noise(0)
                sigma = raised
            distance = distance * self.factor(sigma, below)
        got = sample(gaussian, x, sigmas, solver="heun", churn=churn, s_noise=s_noise, s_min=s_min, s_max=s_max, noise=fresh_noise(x.shape))
        torch.testing.assert_close(got, MEAN + distance, rtol=1e-12, atol=1e-12)


class TestAgainstDiffusers:
    def test_heun(self):
        scheduler = HeunDiscreteScheduler(beta_start=1e-4, beta_end=0.02, timestep_spacing="trailing", prediction_type="sample")
        scheduler.set_timesteps(25)
        scheduler.sigmas = scheduler.sigmas.double()  # it works in the precision of its sigmas
        ours = torch.cat([scheduler.sigmas[:1], scheduler.sigmas[1:-1:2], scheduler.sigmas[-1:]])
        torch.testing.assert_close(ours, vp_sigmas(25), rtol=2e-4, atol=0)
        x = start(float(ours[0]))
        theirs = x
        for i, t in enumerate(scheduler.timesteps):
            level = scheduler.sigmas[i + (i % 2)]  # the second evaluation of a step is at the level below
            theirs = scheduler.step(crooked(theirs, float(level)), t, theirs).prev_sample
        torch.testing.assert_close(sample(crooked, x, ours), theirs, rtol=1e-11, atol=1e-11)

    @pytest.mark.parametrize("solver, eta", [("euler", 0.0), ("ancestral", 1.0)])
    def test_euler_is_ddim_and_ancestral_ddpm(self, solver, eta):
        """With eta = 1 DDIM's scheduler takes DDPM's steps of the smaller variance."""
        scheduler = DDIMScheduler(
            beta_start=1e-4, beta_end=0.02, timestep_spacing="trailing", clip_sample=False, prediction_type="sample", set_alpha_to_one=True
        )
        scheduler.set_timesteps(20)
        scheduler.alphas_cumprod = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64), 0)
        sigmas = vp_sigmas(20)
        x = start(float(sigmas[0]))
        noise = fresh_noise(x.shape, 6)
        theirs = x / (1 + sigmas[0] ** 2).sqrt()  # DDPM scales the image down as noise comes in
        for t, sigma in zip(scheduler.timesteps, sigmas.tolist()):
            x0 = crooked(theirs * math.sqrt(1 + sigma**2), sigma)
            theirs = scheduler.step(x0, t, theirs, eta=eta, variance_noise=noise(0)).prev_sample
        got = sample(crooked, x, sigmas, solver=solver, noise=fresh_noise(x.shape, 6))
        torch.testing.assert_close(got, theirs, rtol=1e-11, atol=1e-11)

    @pytest.mark.parametrize("churn", [0.0, 4.0, 40.0])
    def test_edm_euler(self, churn):
        """diffusers' scheduler works in float32; the fresh noise is drawn by the same generator."""
        scheduler, s_noise, s_min, s_max = EDMEulerScheduler(), 1.003, 0.05, 50.0
        scheduler.set_timesteps(20)
        x = start(80.0, dtype=torch.float32)
        theirs, generator = x, torch.Generator().manual_seed(5)
        for sigma, t in zip(scheduler.sigmas.tolist(), scheduler.timesteps):
            scheduler.scale_model_input(theirs, t)
            # The scheduler raises the noise level itself, after the network was called: look ahead for it.
            raised, seen = sigma, theirs
            if churn and s_min <= sigma <= s_max:
                raised = sigma * (1 + min(churn / 20, 2**0.5 - 1))
                ahead = torch.Generator()
                ahead.set_state(generator.get_state())
                seen = theirs + s_noise * (raised**2 - sigma**2) ** 0.5 * torch.randn(x.shape, generator=ahead)
            x0 = crooked(seen, raised)
            theirs = scheduler.step(
                x0, t, theirs, s_churn=churn, s_tmin=s_min, s_tmax=s_max, s_noise=s_noise, generator=generator, pred_original_sample=x0
            ).prev_sample
        got = sample(
            crooked, x, edm_sigmas(20), solver="euler", churn=churn, s_noise=s_noise, s_min=s_min, s_max=s_max, noise=fresh_noise(x.shape, 5, torch.float32)
        )
        torch.testing.assert_close(got, theirs, rtol=2e-5, atol=2e-5)


class TestMarginal:
    """An exact reverse process leaves the distribution as it was, from any level, with and without churn."""

    DISTRIBUTION = GaussianMixture(
        [0.5, 0.3, 0.2], [[-2.0, 0.0], [1.0, 1.5], [1.5, -1.5]], torch.tensor([[[0.3, 0.1], [0.1, 0.2]], [[0.1, 0.0], [0.0, 0.4]], [[0.2, -0.1], [-0.1, 0.2]]])
    )
    N, LEVEL = 4000, 1.0

    def reversed_draws(self, denoiser, solver, churn):
        clean, _ = self.DISTRIBUTION.sample(self.N, torch.Generator().manual_seed(0))
        x = clean + start(self.LEVEL, clean.shape, seed=1)
        steps = 24 if solver == "heun" else 200  # Euler's own error would show on a coarse grid
        back = sample(denoiser, x, edm_sigmas(steps, sigma_max=self.LEVEL), solver=solver, churn=churn, noise=fresh_noise(x.shape, 2))
        assert float((back - clean).norm(dim=1).median()) > 0.1  # they are not the points that we came from
        return back

    def p_values(self, x):
        """Of the mean log-density (how concentrated), and of Kolmogorov-Smirnov tests of 4 projections (where).

        With n = 4,000 a mean log-density that is off by 0.073 has p = 1e-5, as has a distance of 0.039 between the
        distribution functions of a projection.
        """
        expected = self.DISTRIBUTION.log_density(self.DISTRIBUTION.sample(200_000, torch.Generator().manual_seed(3))[0])
        got = self.DISTRIBUTION.log_density(x)
        z = float((got.mean() - expected.mean()) / (expected.std() * (1 / self.N + 1 / 200_000) ** 0.5))
        found = [2 * norm.sf(abs(z))]
        for angle in torch.linspace(0, math.pi, 5, dtype=torch.float64)[:-1]:
            u = torch.stack([angle.cos(), angle.sin()])
            centres, spreads = (self.DISTRIBUTION.means @ u).numpy(), (u @ self.DISTRIBUTION.covariances @ u).sqrt().numpy()
            weights = self.DISTRIBUTION.weights.numpy()
            cdf = lambda t: (weights * norm.cdf((t[:, None] - centres) / spreads)).sum(1)
            found.append(kstest((x @ u).numpy(), cdf).pvalue)
        return found

    @pytest.mark.parametrize("solver, churn", [("heun", 0.0), ("heun", 5.0), ("euler", 0.0), ("euler", 5.0), ("ancestral", 0.0)])
    def test_is_preserved(self, solver, churn):
        assert min(self.p_values(self.reversed_draws(self.DISTRIBUTION, solver, churn))) > 0.01

    @pytest.mark.parametrize("churn", [0.0, 5.0])
    def test_notices_a_score_a_tenth_too_strong(self, churn):
        def strong(x, sigma, labels=None):
            return x + 1.1 * (self.DISTRIBUTION(x, sigma) - x)

        assert min(self.p_values(self.reversed_draws(strong, "heun", churn))) < 1e-5

    def test_notices_a_score_of_a_distribution_beside(self):
        beside = GaussianMixture(self.DISTRIBUTION.weights, self.DISTRIBUTION.means + 0.2, self.DISTRIBUTION.covariances)
        assert min(self.p_values(self.reversed_draws(beside, "heun", 0.0))[1:]) < 1e-5


class TestBehaviour:
    @pytest.mark.parametrize("solver", ["euler", "heun", "ancestral"])
    @pytest.mark.parametrize("steps", [1, 2, 18])
    def test_network_evaluations(self, solver, steps):
        denoiser, sigmas, x = Counted(), edm_sigmas(steps), start(80.0)
        sample(denoiser, x, sigmas, solver=solver, noise=fresh_noise(x.shape))
        expected = 2 * steps - 1 if solver == "heun" else steps
        assert len(denoiser.calls) == network_evaluations(sigmas, solver) == expected

    def test_no_step_is_the_identity(self):
        denoiser, x = Counted(), start(1.0)
        assert torch.equal(sample(denoiser, x, [0.0]), x)
        assert denoiser.calls == [] and network_evaluations([0.0]) == network_evaluations([0.0], "euler") == 0

    def test_no_churn_is_deterministic(self):
        x, sigmas = start(80.0), edm_sigmas(10)
        asked = []
        got = sample(crooked, x, sigmas, churn=0.0, noise=lambda i: asked.append(i))
        assert torch.equal(got, sample(crooked, x, sigmas)) and asked == []
        outside = sample(crooked, x, sigmas, churn=5.0, s_min=100.0, noise=lambda i: asked.append(i))
        assert torch.equal(got, outside) and asked == []

    @pytest.mark.parametrize("dtype, seen", [(torch.float64, torch.float64), (torch.float32, torch.float32), (torch.bfloat16, torch.float32)])
    def test_dtypes(self, dtype, seen):
        denoiser, x = Counted(), start(80.0, dtype=dtype)
        assert sample(denoiser, x, edm_sigmas(5)).dtype == dtype
        assert {call[0].dtype for call in denoiser.calls} == {seen}

    def test_leaves_its_input_alone(self):
        x, sigmas = start(80.0), edm_sigmas(5)
        kept = x.clone()
        sample(gaussian, x, sigmas, churn=5.0, noise=fresh_noise(x.shape))
        assert torch.equal(x, kept) and torch.equal(sigmas, edm_sigmas(5))

    def test_labels_are_passed_on(self):
        denoiser, labels = Counted(), torch.tensor([3, 1, 0, 2])
        sample(denoiser, start(80.0), edm_sigmas(3), labels)
        assert all(call[2] is labels for call in denoiser.calls)

    def test_no_images(self):
        assert sample(gaussian, torch.zeros(0, 1, 4, 4), edm_sigmas(3)).shape == (0, 1, 4, 4)


class TestRefusals:
    """Before the denoiser is called."""

    def refuse(self, message, x=None, sigmas=edm_sigmas(4), labels=None, error=ValueError, denoiser=gaussian, **settings):  # noqa: B008
        counted = Counted(denoiser)
        for name in ("image_shape", "num_classes"):
            if hasattr(denoiser, name):
                setattr(counted, name, getattr(denoiser, name))
        with pytest.raises(error, match=message):
            sample(counted, start(80.0) if x is None else x, sigmas, labels, **settings)
        assert counted.calls == []

    def test_settings(self):
        self.refuse("unknown solver 'huen': choose one of heun, euler, ancestral", solver="huen")
        for wrong in (-1.0, float("nan"), float("inf"), "1", None):
            self.refuse("churn must be a finite number of at least 0", churn=wrong, noise=fresh_noise((4, 1, 2, 3)))
            self.refuse("s_noise must be a finite number of at least 0", s_noise=wrong)
        self.refuse("churn > 0, and ancestral steps, are stochastic", churn=1.0)
        self.refuse("churn > 0, and ancestral steps, are stochastic", solver="ancestral")
        self.refuse("ancestral steps .* take no churn, got 1.0", solver="ancestral", churn=1.0, noise=lambda i: 0)
        self.refuse("s_min must be at most s_max", s_min=2.0, s_max=1.0)
        self.refuse("s_min must be a finite number, got nan", s_min=float("nan"))
        with pytest.raises(ValueError, match="unknown solver"):
            network_evaluations([1.0, 0.0], "rk4")

    @pytest.mark.parametrize(
        "sigmas", [[], [1.0], [1.0, 0.5], [0.5, 1.0, 0.0], [1.0, 1.0, 0.0], [[1.0, 0.0]], [1.0, 0.0, -1.0], [float("nan"), 0.0], [1.0, float("nan"), 0.0]]
    )
    def test_grids(self, sigmas):
        self.refuse("one decreasing sequence that ends in 0", sigmas=sigmas)

    def test_an_endless_level(self):
        self.refuse("sigmas must be finite", sigmas=[float("inf"), 0.0])

    def test_states(self):
        self.refuse("floating point tensor, got torch.int64", torch.zeros(4, 2, dtype=torch.int64), error=TypeError)
        self.refuse("floating point tensor, got list", [[0.0]], error=TypeError)
        for value in (float("nan"), float("inf")):
            self.refuse("NaN or infinite", torch.full((4, 2), value))

    def test_labels(self):
        self.refuse("int64 tensor, got torch.int32", labels=torch.zeros(4, dtype=torch.int32), error=TypeError)
        self.refuse("int64 tensor, got list", labels=[0, 0, 0, 0], error=TypeError)
        self.refuse(r"\[N\] with N = 4", labels=torch.zeros(3, dtype=torch.int64))

    def test_what_the_denoiser_is_not_for(self):
        distribution = TestMarginal.DISTRIBUTION
        self.refuse(r"denoiser is for images \(2,\), got \(3,\)", torch.zeros(4, 3), denoiser=distribution)
        for label in (-1, 3):
            self.refuse(r"labels must be in 0\.\.2", torch.zeros(1, 2), labels=torch.tensor([label]), denoiser=distribution)

    def test_a_denoiser_of_another_shape_or_without_limits(self):
        with pytest.raises(ValueError, match=r"turned \[4, 1, 2, 3\] into \[4, 2, 3\]"):
            sample(lambda x, sigma, labels: x[:, 0], start(80.0), edm_sigmas(3))
        with pytest.raises(FloatingPointError, match="diverged"):
            sample(lambda x, sigma, labels: x * float("inf"), start(80.0), edm_sigmas(3))
