"""Exploration terms: denoisers that push samples apart, or towards rare ones, around a denoiser of the same contract.

Every sampler takes them unchanged, and at strength zero each is the denoiser that it wraps. Noise inflation needs no
term: it is ``s_noise`` above 1 with ``churn`` in `synaug.diffusion.samplers.sample`; plain guidance is
`synaug.diffusion.perturbed.Guided`. Published formulas are second hand, translated from scores to clean estimates by
Tweedie's formula: adding g to the score adds sigma² g to the estimate.

Some terms look at a whole batch or draw noise of their own: an image then depends on its batch, and on how often the
term was called before, not on its own seed alone. A new term with the same seed repeats the same run.
"""

import math

import torch
from torch import nn
from torch.func import functional_call

from synaug.checks import number
from synaug.diffusion.denoisers import Denoiser, EDMDenoiser, estimate
from synaug.diffusion.perturbed import Guided, Wrapped
from synaug.diffusion.schedules import RHO


class AnnealedClass(Wrapped):
    """CADS (Sadat et al. 2024, section 4): the class embedding y drowns in noise at first and emerges on the way down.

    What the network sees is y' = sqrt(gamma) y + scale sqrt(1 - gamma) n, n standard normal and new at each call,
    brought back to the mean and standard deviation of y over its coordinates (their mixing factor 1). gamma is 1 up
    to the noise level ``low``, 0 from ``high`` on, linear in the time between.
    Adapted: time is EDM's, sigma^(1/7) (Karras et al. 2022, eq. 5), and the two levels are given as such; scale 0 is
    the network as it is, also where gamma is 0 and their formula 0 / 0.

    scale: their s. seed: of the noise.
    """

    denoiser: EDMDenoiser

    def __init__(self, denoiser: EDMDenoiser, scale: float, low: float = 1.0, high: float = 20.0, seed: int = 0):
        super().__init__(denoiser)
        if not isinstance(getattr(getattr(denoiser, "unet", None), "class_embedding", None), nn.Embedding):
            raise TypeError(f"annealing the class needs a denoiser with an embedding of it, unet.class_embedding; {type(denoiser).__name__} has none")
        self.scale, (self.low, self.high) = number("scale", scale, 0), _interval(low, high)
        self.seed, self.generator = seed, torch.Generator().manual_seed(seed)

    def __call__(self, x: torch.Tensor, sigma: float | torch.Tensor, labels: torch.Tensor | None = None) -> torch.Tensor:
        if labels is None or self.scale == 0:
            return estimate(self.denoiser, x, sigma, labels)
        time, low, high = (torch.as_tensor(v, dtype=x.dtype, device=x.device) ** (1 / RHO) for v in (sigma, self.low, self.high))
        gamma = ((high - time) / (high - low)).clamp(0, 1).expand(len(x))[:, None]
        y = self.denoiser.unet.class_embedding.weight[labels]
        noise = torch.randn(y.shape, generator=self.generator).to(y)
        noised = gamma.sqrt().to(y) * y + self.scale * (1 - gamma).sqrt().to(y) * noise
        back = (noised - noised.mean(1, keepdim=True)) / noised.std(1, keepdim=True)
        rows = torch.where(gamma == 1, y, back * y.std(1, keepdim=True) + y.mean(1, keepdim=True))
        # A table of embeddings with one row per image: image i is of "class" i.
        return functional_call(self.denoiser, {"unet.class_embedding.weight": rows}, (x, sigma, torch.arange(len(x), device=x.device)))


class GuidedInterval(Guided):
    """Classifier-free guidance within an interval of noise levels, low < sigma <= high (Kynkäänniemi et al. 2024,
    section 3); outside it, the scale is 1 and the pass without the class is saved.

    Their best interval on ImageNet-512 is 0.28 to 2.9 for data of standard deviation 0.5.
    """

    def __init__(self, denoiser: Denoiser, scale: float, low: float, high: float):
        super().__init__(denoiser, scale)
        self.low, self.high = _interval(low, high)

    def __call__(self, x: torch.Tensor, sigma: float | torch.Tensor, labels: torch.Tensor | None = None) -> torch.Tensor:
        if labels is None or self.scale == 1:
            return estimate(self.denoiser, x, sigma, labels)
        levels = torch.as_tensor(sigma, dtype=x.dtype, device=x.device).expand(len(x))
        within = (self.low < levels) & (levels <= self.high)
        if not within.any():
            return estimate(self.denoiser, x, sigma, labels)
        guided = super().__call__(x, sigma, labels)
        if within.all():
            return guided
        within = within.view(-1, *[1] * (x.ndim - 1))
        return torch.where(within, guided, estimate(self.denoiser, x, sigma, labels))


class Autoguided(Wrapped):
    """Autoguidance (Karras et al. 2024, section 3): ``weak + scale (denoiser - weak)``.

    weak: a denoiser of the same data that errs alike but more: smaller, or trained for a shorter time. scale: their
    w; 1 is no guidance, above 1 goes away from what the weak one does worse.
    """

    def __init__(self, denoiser: Denoiser, weak: Denoiser, scale: float):
        super().__init__(denoiser)
        self.weak, shape = weak, Wrapped(weak).image_shape
        if None not in (shape, self.image_shape) and tuple(shape) != tuple(self.image_shape):
            raise ValueError(f"the weak denoiser is for images {shape}, the other for {self.image_shape}")
        self.scale = number("scale", scale, 0)

    def __call__(self, x: torch.Tensor, sigma: float | torch.Tensor, labels: torch.Tensor | None = None) -> torch.Tensor:
        clean = estimate(self.denoiser, x, sigma, labels)
        if self.scale == 1:
            return clean
        weak = estimate(self.weak, x, sigma, labels)
        return weak + self.scale * (clean - weak)


class ParticleGuided(Wrapped):
    """Particle guidance (Corso et al. 2024, section 3): the noisy images of a batch repel each other.

    A fixed potential log Phi = -alpha / 2 sum over pairs i != j of k(x_i, x_j), k(x, x') = exp(-|x - x'|² / h),
    h = (median distance)² / ln n, adds its gradient to the score (`repulsion`).
    Adapted: only images of one class repel each other; alpha = strength times the number of coordinates, because
    the log-density that it stands against grows with them; it is the same at all noise levels.
    """

    def __init__(self, denoiser: Denoiser, strength: float):
        super().__init__(denoiser)
        self.strength = number("strength", strength, 0)

    def __call__(self, x: torch.Tensor, sigma: float | torch.Tensor, labels: torch.Tensor | None = None) -> torch.Tensor:
        clean = estimate(self.denoiser, x, sigma, labels)
        if self.strength == 0:
            return clean
        points, push = x.flatten(1), torch.zeros_like(x.flatten(1))
        for group in [slice(None)] if labels is None else [labels == c for c in labels.unique()]:
            push[group] = repulsion(points[group])
        levels = torch.as_tensor(sigma, dtype=x.dtype, device=x.device).expand(len(x))[:, None]
        return clean + (self.strength * points.shape[1] * levels.square() * push).view_as(x)


def repulsion(points: torch.Tensor) -> torch.Tensor:
    """Gradient ``[n, D]`` of -1/2 sum over i != j of exp(-|x_i - x_j|² / h) at points ``[n, D]``, in closed form
    (derived here): 2 / h sum over j of k_ij (x_i - x_j), with h held fixed at its value for these points.

    0 for a single point, and where points coincide so that h is 0.
    """
    n = len(points)
    if n < 2:
        return torch.zeros_like(points)
    squares = torch.cdist(points, points, compute_mode="donot_use_mm_for_euclid_dist").square()
    rows, columns = torch.triu_indices(n, n, offset=1)
    h = squares[rows, columns].median().item() / math.log(n)
    if h == 0:
        return torch.zeros_like(points)
    kernel = (-squares / h).exp() - torch.eye(n, dtype=points.dtype, device=points.device)
    return 2 / h * (kernel.sum(1, keepdim=True) * points - kernel @ points)


class MinorityGuided(Wrapped):
    """Self-guided minority sampling (Um & Ye 2024; the score is Um et al. 2024, section 3): away from what survives
    a round trip.

    Minority score of a clean estimate x0: |x0 - D(x0 + sigma n, sigma)|² / 2, large where noising x0 again and
    denoising it does not lead back. ``strength`` times its gradient is added to x0.
    Adapted: the score is taken at the current noise level, in pixels (not LPIPS), of one draw n a call, and its
    gradient with respect to x0 holds D fixed, which spares two passes back through the network. Averaged over n it
    is -sigma² times the score of the noised data (derived here): the term descends the log-density at x0, as the
    low-density sampling of Sehwag et al. (2022) does by a classifier's features.
    """

    def __init__(self, denoiser: Denoiser, strength: float, seed: int = 0):
        super().__init__(denoiser)
        self.strength = number("strength", strength, 0)
        self.seed, self.generator = seed, torch.Generator().manual_seed(seed)

    def __call__(self, x: torch.Tensor, sigma: float | torch.Tensor, labels: torch.Tensor | None = None) -> torch.Tensor:
        clean = estimate(self.denoiser, x, sigma, labels)
        if self.strength == 0:
            return clean
        noise = torch.randn(x.shape, generator=self.generator, dtype=x.dtype).to(x.device)
        levels = torch.as_tensor(sigma, dtype=x.dtype, device=x.device).expand(len(x)).view(-1, *[1] * (x.ndim - 1))
        return clean + self.strength * (clean - estimate(self.denoiser, clean + levels * noise, sigma, labels))


def _interval(low, high):
    """Both as floats; ValueError unless 0 <= low < high, both finite."""
    low = number("low", low, 0)
    return low, number("high", high, above=low)
