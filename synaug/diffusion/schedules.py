"""Noise levels of the reverse process, and the mapping between a reverse step and its noise level.

A schedule is a float64 tensor of decreasing noise levels sigma that ends in 0. The paper counts reverse steps
``t_re`` on a grid of T = 100: 0 is the real image, T is fully synthetic. It does not say which noise level a step
has on the EDM that it samples from; both readings are here (`MAPPINGS`), and sigma is the primary axis everywhere.
"""

import math

import torch

from synaug.checks import number, one_of, whole

#: EDM's sampling defaults (Karras et al. 2022, Table 1 and appendix D.1).
SIGMA_MIN, SIGMA_MAX, RHO = 0.002, 80.0, 7.0
#: DDPM's linear variance schedule (Ho et al. 2020, section 4), for its 1,000 steps.
BETA_MIN, BETA_MAX, DDPM_STEPS = 1e-4, 0.02, 1000


def edm_sigmas(steps: int = 100, sigma_min: float = SIGMA_MIN, sigma_max: float = SIGMA_MAX, rho: float = RHO) -> torch.Tensor:
    """EDM's grid ``[steps + 1]``, ending in 0 (Karras et al. 2022, eq. 5)."""
    whole("steps", steps, 1, at_most=1_000_000)
    number("sigma_min", sigma_min, above=0)
    number("sigma_max", sigma_max, above=sigma_min)
    number("rho", rho, above=0)
    i = torch.arange(steps, dtype=torch.float64) / max(steps - 1, 1)
    sigmas = (sigma_max ** (1 / rho) + i * (sigma_min ** (1 / rho) - sigma_max ** (1 / rho))) ** rho
    return torch.cat([sigmas, sigmas.new_zeros(1)])


def vp_sigmas(steps: int = 100) -> torch.Tensor:
    """DDPM's linear-beta grid as noise levels ``[steps + 1]``, ending in 0.

    sigma = sqrt((1 - abar) / abar) of the 1,000-step schedule's abar at every (1000 / steps)-th step: what is left
    of the noise when the image is scaled back to unit signal. steps: at most 1,000.
    """
    whole("steps", steps, 1, DDPM_STEPS)
    abar = torch.cumprod(1 - torch.linspace(BETA_MIN, BETA_MAX, DDPM_STEPS, dtype=torch.float64), 0)
    at = (torch.arange(steps, 0, -1, dtype=torch.float64) * DDPM_STEPS / steps).round().long() - 1
    sigmas = ((1 - abar[at]) / abar[at]).sqrt()
    return torch.cat([sigmas, sigmas.new_zeros(1)])


#: How a reverse step becomes a noise level.
MAPPINGS = {"edm": edm_sigmas, "vp": vp_sigmas}


def sigma_of_reverse_step(reverse_step: int, steps: int = 100, mapping: str = "edm") -> float:
    """Noise level of a reverse step in 0 .. steps: 0 at step 0, the grid's highest at step ``steps``."""
    return float(reverse_sigmas(reverse_step, steps, mapping)[0])


def reverse_sigmas(reverse_step: int, steps: int = 100, mapping: str = "edm", stride: int = 1) -> torch.Tensor:
    """The levels from a reverse step down to 0: every ``stride``-th of the grid, and always its lowest.

    ``[m + 1]`` with m the number of sampling steps; ``[0.]`` at reverse step 0.
    stride > 1 is for small budgets: it keeps the starting level and so the meaning of ``reverse_step``.
    """
    whole("reverse_step", reverse_step, 0, whole("steps", steps, 1))
    whole("stride", stride, 1)
    one_of("mapping", mapping, MAPPINGS)
    levels = MAPPINGS[mapping](steps)[steps - reverse_step :]
    if reverse_step == 0:
        return levels
    kept = list(range(0, reverse_step, stride))
    if kept[-1] != reverse_step - 1:
        kept.append(reverse_step - 1)
    return levels[kept + [reverse_step]]


def sigmas_from(sigma: float, steps: int, sigma_min: float = SIGMA_MIN, rho: float = RHO) -> torch.Tensor:
    """A grid of ``steps`` sampling steps that starts at ``sigma`` itself: EDM's formula with sigma_max = sigma.

    ``[steps + 1]``; ``[0.]`` for sigma 0.
    """
    whole("steps", steps, 1)
    if number("sigma", sigma, 0) == 0:
        return torch.zeros(1, dtype=torch.float64)
    return edm_sigmas(steps, min(sigma_min, sigma / 2), sigma, rho)


def sigma_of_strength(n: float) -> float:
    """The noise level of n of 100 denoising steps: tan(pi n / 200).

    The published recipe noises an image to step n of a cosine schedule of 100 steps (second hand). That schedule has
    alpha_bar = cos²(pi n / 200) (Nichol & Dhariwal 2021, without their offset of 0.008), and
    sigma = sqrt((1 - alpha_bar) / alpha_bar) for images in [-1, 1] (derived here). ValueError unless 0 < n < 100.
    """
    return round(math.tan(math.pi * number("a strength", n, above=0, below=100) / 200), 6)
