import pytest
import torch
from diffusers import DDIMScheduler, EDMEulerScheduler

from synaug.diffusion.schedules import MAPPINGS, edm_sigmas, reverse_sigmas, sigma_of_reverse_step, sigmas_from, vp_sigmas


class TestGrids:
    @pytest.mark.parametrize("steps", [1, 2, 18, 100])
    def test_edm_agrees_with_diffusers(self, steps):
        scheduler = EDMEulerScheduler()
        scheduler.set_timesteps(steps)
        assert edm_sigmas(steps).dtype == torch.float64
        torch.testing.assert_close(edm_sigmas(steps).float(), scheduler.sigmas, rtol=1e-6, atol=0)

    @pytest.mark.parametrize("steps", [1, 10, 100, 1000])
    def test_vp_is_the_noise_to_signal_ratio_of_ddpm(self, steps):
        scheduler = DDIMScheduler(beta_start=1e-4, beta_end=0.02, timestep_spacing="trailing")
        scheduler.set_timesteps(steps)
        abar = scheduler.alphas_cumprod.double()[scheduler.timesteps]
        torch.testing.assert_close(vp_sigmas(steps)[:-1], ((1 - abar) / abar).sqrt(), rtol=2e-4, atol=0)

    @pytest.mark.parametrize("mapping", ["edm", "vp"])
    @pytest.mark.parametrize("steps", [1, 7, 100])
    def test_decreases_to_zero(self, mapping, steps):
        sigmas = reverse_sigmas(steps, steps, mapping)
        assert sigmas.shape == (steps + 1,) and sigmas[-1] == 0
        assert (sigmas.diff() < 0).all()

    def test_edm_grid_is_even_in_the_seventh_root(self):
        roots = edm_sigmas(50, 0.01, 20.0, rho=7)[:-1] ** (1 / 7)
        torch.testing.assert_close(roots.diff(), roots.diff().mean().expand(49))
        torch.testing.assert_close(roots[[0, -1]] ** 7, torch.tensor([20.0, 0.01], dtype=torch.float64))

    def test_refuses(self):
        for steps in (0, -1, 2.0, True, "10"):
            with pytest.raises(ValueError, match="steps must be a whole number"):
                edm_sigmas(steps)
        with pytest.raises(ValueError, match="steps must be at most 1000, got 1001"):
            vp_sigmas(1001)
        with pytest.raises(ValueError, match="unknown mapping 'edn': choose one of edm, vp"):
            reverse_sigmas(10, mapping="edn")
        for wrong in [(0.0, 80.0, 7.0), (80.0, 0.002, 7.0), (0.002, float("inf"), 7.0), (0.002, 80.0, 0.0), (float("nan"), 80.0, 7.0)]:
            with pytest.raises(ValueError, match="must be a finite number"):
                edm_sigmas(10, *wrong)


class TestReverseSteps:
    @pytest.mark.parametrize("mapping", ["edm", "vp"])
    def test_a_reverse_step_is_the_end_of_the_whole_grid(self, mapping):
        for reverse_step in (0, 1, 37, 100):
            levels = reverse_sigmas(reverse_step, mapping=mapping)
            assert torch.equal(levels, MAPPINGS[mapping]()[100 - reverse_step :])
            assert levels[0] == sigma_of_reverse_step(reverse_step, mapping=mapping)

    @pytest.mark.parametrize("stride", [2, 5, 7, 1000])
    def test_stride_keeps_the_start_and_the_lowest_level(self, stride):
        for reverse_step in (1, 2, 50, 100):
            whole, kept = reverse_sigmas(reverse_step), reverse_sigmas(reverse_step, stride=stride)
            assert torch.equal(kept[[0, -2, -1]], whole[[0, -2, -1]])
            assert set(kept.tolist()) <= set(whole.tolist())
            assert set(whole[:-1:stride].tolist()) <= set(kept.tolist())
        assert reverse_sigmas(0, stride=stride).tolist() == [0]

    @pytest.mark.parametrize("reverse_step", [-1, 101, 50.0, "50", None, True, float("nan")])
    def test_refuses_what_is_no_step_of_the_grid(self, reverse_step):
        for call in (sigma_of_reverse_step, reverse_sigmas):
            with pytest.raises(ValueError, match="reverse_step must be (a whole number of at least 0|at most 100), got"):
                call(reverse_step)

    @pytest.mark.parametrize("stride", [0, -1, 1.5, True])
    def test_refuses_a_stride(self, stride):
        with pytest.raises(ValueError, match="stride must be a whole number"):
            reverse_sigmas(50, stride=stride)


class TestSigmasFrom:
    @pytest.mark.parametrize("sigma", [80.0, 1.0, 0.002, 1e-6])
    def test_starts_there(self, sigma):
        levels = sigmas_from(sigma, 12)
        assert levels.shape == (13,) and levels[-1] == 0 and (levels.diff() < 0).all()
        assert float(levels[0]) == pytest.approx(sigma, rel=1e-12)

    def test_is_edm_grid_with_another_top(self):
        assert torch.equal(sigmas_from(5.0, 20), edm_sigmas(20, sigma_max=5.0))

    def test_zero_is_no_step(self):
        assert sigmas_from(0.0, 20).tolist() == [0]

    @pytest.mark.parametrize("sigma", [-1.0, float("nan"), float("inf"), "1", None, True, [1.0]])
    def test_refuses(self, sigma):
        with pytest.raises(ValueError, match="sigma must be a finite number of at least 0"):
            sigmas_from(sigma, 20)
        with pytest.raises(ValueError, match="steps must be"):
            sigmas_from(0.0, 0)
