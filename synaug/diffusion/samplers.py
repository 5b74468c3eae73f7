"""The reverse process: from noise (or a noised image) down a grid of noise levels to a clean image.

One function with a few settings. What published samplers are in them::

    solver         churn        that is
    "euler"        0            deterministic DDIM in EDM's parametrisation
    "heun"         0            EDM's deterministic sampler (Karras et al. 2022, algorithm 1)
    "heun"         S_churn > 0  EDM's stochastic sampler (algorithm 2)
    "ancestral"    0            DDPM's sampler (Ho et al. 2020, algorithm 2, with the smaller of its two variances)
                                in EDM's parametrisation; stochastic (ancestral sampling, Song et al. 2021, appendix F)
"""

import math
from collections.abc import Callable, Sequence
from typing import cast

import torch
from tqdm import tqdm

from synaug.checks import as_tensor, number, one_of
from synaug.diffusion.denoisers import Denoiser, check_input, estimate

SOLVERS = ("heun", "euler", "ancestral")


def sample(
    denoiser: Denoiser,
    x: torch.Tensor,
    sigmas: Sequence[float] | torch.Tensor,
    labels: torch.Tensor | None = None,
    *,
    solver: str = "heun",
    churn: float = 0.0,
    s_noise: float = 1.0,
    s_min: float = 0.0,
    s_max: float = math.inf,
    noise: Callable[[int], torch.Tensor] | None = None,
    progress: bool = False,
) -> torch.Tensor:
    """Bring ``x``, whose noise level is ``sigmas[0]``, down to ``sigmas[-1] = 0``.

    denoiser: ``denoiser(x, sigma, labels) -> x0`` (see `synaug.diffusion.denoisers`).
    x: float ``[N, C, H, W]`` (any shape ``[N, ...]`` for denoisers of other data).
    sigmas: ``[m + 1]`` decreasing, ending in 0; m = 0 returns x as it is.
    labels: int64 ``[N]`` or None.
    solver: "heun" (2 m - 1 network evaluations), "euler" or "ancestral" (m). An ancestral step draws from the
    posterior of the level below given the state and the estimate: from sigma to b, Euler's step to b^2 / sigma and
    noise of variance b^2 (1 - b^2 / sigma^2).
    churn, s_noise, s_min, s_max: EDM's S_churn, S_noise, S_tmin, S_tmax. As in algorithm 2, a step within
    [s_min, s_max] first raises its noise level by the factor 1 + min(churn / m, sqrt(2) - 1).
    s_noise scales the noise of ancestral steps, too.
    noise: ``noise(i) -> tensor like x``, standard normal, the fresh noise of step i; needed where churn > 0 and for
    ancestral steps. progress: show a bar of the steps.
    Returns the clean estimate, dtype of x. The state is carried in float64, as EDM does (in float32 on Apple's MPS,
    which has no other); the denoiser sees float32 (float64 if x is). Gradients are recorded as the caller's mode has
    it. Raises ValueError or TypeError before the denoiser's first call, TypeError or ValueError where its answer is no
    tensor of its input's shape, FloatingPointError where the outcome is not finite.
    """
    sigmas = as_tensor("sigmas", sigmas).to("cpu", torch.float64)
    check_sampler(solver, churn, s_noise, s_min, s_max)
    _check_sigmas(sigmas)
    check_input(denoiser, x, labels)
    if not x.isfinite().all():
        raise ValueError("x holds NaN or infinite values")
    if (churn > 0 or solver == "ancestral") and noise is None:
        raise ValueError("churn > 0, and ancestral steps, are stochastic: pass noise, a function from the step number to standard normal noise")
    steps, sigmas = len(sigmas) - 1, sigmas.tolist()
    if steps == 0:
        return x
    gamma_max = min(churn / steps, math.sqrt(2) - 1)
    seen = torch.float64 if x.dtype == torch.float64 else torch.float32
    carried = torch.float32 if x.device.type == "mps" else torch.float64

    def slope(state, sigma):
        return (state - estimate(denoiser, state.to(seen), sigma, labels).to(carried)) / sigma

    state, drawn = x.to(carried), cast(Callable[[int], torch.Tensor], noise)
    for i in tqdm(range(steps), disable=not progress, desc="reverse steps", leave=False):
        sigma, below = sigmas[i], sigmas[i + 1]
        # Raise the noise level a little (stochastic only).
        if gamma_max > 0 and s_min <= sigma <= s_max:
            raised = sigma * (1 + gamma_max)
            state = state + math.sqrt(raised**2 - sigma**2) * s_noise * drawn(i).to(state)
            sigma = raised
        # Euler step; an ancestral one goes deeper and comes back up by fresh noise.
        d = slope(state, sigma)
        down = below**2 / sigma if solver == "ancestral" else below
        following = state + (down - sigma) * d
        if down < below:
            following = following + math.sqrt(below**2 - down**2) * s_noise * drawn(i).to(state)
        # Second-order correction, except into sigma = 0 where the slope is not defined.
        if solver == "heun" and below > 0:
            following = state + (below - sigma) * (d + slope(following, below)) / 2
        state = following
    if not state.isfinite().all():
        raise FloatingPointError("the reverse process ended in NaN or infinite values: the denoiser diverged")
    return state.to(x.dtype)


def network_evaluations(sigmas: Sequence[float] | torch.Tensor, solver: str = "heun") -> int:
    """How often `sample` calls the denoiser on a grid."""
    one_of("solver", solver, SOLVERS)
    steps = len(sigmas) - 1
    return max(0, 2 * steps - 1) if solver == "heun" else steps


def check_sampler(solver: str, churn: float, s_noise: float = 1.0, s_min: float = 0.0, s_max: float = math.inf) -> None:
    """ValueError for settings of `sample` that make no sense."""
    one_of("solver", solver, SOLVERS)
    if number("churn", churn, 0) and solver == "ancestral":
        raise ValueError(f"ancestral steps draw fresh noise themselves and take no churn, got {churn}")
    number("s_noise", s_noise, 0)
    if not number("s_min", s_min) <= (math.inf if s_max == math.inf else number("s_max", s_max)):
        raise ValueError(f"s_min must be at most s_max, got {s_min} and {s_max}")


def _check_sigmas(sigmas):
    if sigmas.ndim != 1 or len(sigmas) == 0 or sigmas[-1] != 0 or not (sigmas.diff() < 0).all():
        raise ValueError("sigmas must be one decreasing sequence that ends in 0")
    if not sigmas.isfinite().all():
        raise ValueError("sigmas must be finite")
