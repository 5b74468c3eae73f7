"""Denoisers with a known error: each wraps a denoiser, keeps its contract and changes its score in one way.

The score is ``(denoiser(x, sigma, labels) - x) / sigma²`` (Tweedie's formula). Around an exact denoiser each wrapper
has one kind of error, as large as asked for; they may be nested.
"""

import math

import numpy as np
import torch

from synaug.checks import number
from synaug.diffusion.denoisers import Denoiser, estimate


def _inner(name, default=None):
    """A property that is that of the denoiser within, as far as it has one."""
    return property(lambda self: getattr(self.denoiser, name, default))


class Wrapped:
    """A denoiser around another one, with that one's image shape, classes and number format."""

    image_shape, num_classes, class_names = _inner("image_shape"), _inner("num_classes"), _inner("class_names")
    precision = _inner("precision", torch.float32)

    def __init__(self, denoiser: Denoiser):
        if not callable(denoiser):
            raise TypeError(f"a denoiser must be callable, got {type(denoiser).__name__}")
        self.denoiser = denoiser


class ScaledScore(Wrapped):
    """The score times ``factor``, above 0: over-scaled above 1, under-scaled below.

    A single Gaussian of variance v, brought down from sigma_0 without discretisation, ends with variance
    v (v / (v + sigma_0²))^(factor - 1) (derived here: the probability-flow equation is linear). The same relative
    error thus weighs more, the higher the process starts.
    """

    def __init__(self, denoiser: Denoiser, factor: float):
        super().__init__(denoiser)
        self.factor = number("factor", factor, above=0)

    def __call__(self, x: torch.Tensor, sigma: float | torch.Tensor, labels: torch.Tensor | None = None) -> torch.Tensor:
        return x + self.factor * (estimate(self.denoiser, x, sigma, labels) - x)


class ScoreNoise(Wrapped):
    """Adds one fixed, smooth, random error to the score.

    A trained network errs in the same way whenever it sees the same input, and alike for inputs that are alike. So
    the error is a function of x and sigma, drawn once from ``seed``: approximately a Gaussian process with a squared
    exponential covariance (random Fourier features, Rahimi & Recht 2007). Noise drawn anew at each call would be no
    model of it: it averages out over the steps, the more of them the better.

    level: root mean square error of what the network inside EDM's preconditioning predicts, whose target has
    variance 1. ``level²`` is what the error adds to EDM's weighted denoising loss at every sigma (Karras et al. 2022,
    Table 1: the error of the denoiser is c_out times as large).
    sigma_data: standard deviation of the clean data. length: distance, root mean square over coordinates of the
    scaled input x / sqrt(sigma² + sigma_data²), over which errors are alike; a factor of e in sigma counts as a
    distance of 1 length. The denoiser must have an image_shape. Labels do not change the error.
    """

    FEATURES = 128

    def __init__(self, denoiser: Denoiser, level: float, sigma_data: float, seed: int, length: float = 0.5):
        super().__init__(denoiser)
        if self.image_shape is None:
            raise ValueError("score noise needs a denoiser that says its image_shape")
        self.level = number("level", level, 0)
        self.sigma_data = number("sigma_data", sigma_data, above=0)
        self.length = number("length", length, above=0)
        generator, d = torch.Generator().manual_seed(seed), math.prod(self.image_shape)
        self.frequencies = torch.randn(d, self.FEATURES, generator=generator) / (length * math.sqrt(d))
        self.frequencies_of_level = torch.randn(self.FEATURES, generator=generator)
        self.phases = 2 * math.pi * torch.rand(self.FEATURES, generator=generator)
        amplitudes = torch.randn(self.FEATURES, d, generator=generator)
        # A cosine of random phase has variance 1/2: each coordinate of the error has variance 1.
        self.amplitudes = math.sqrt(2) * amplitudes / amplitudes.norm(dim=0)

    def __call__(self, x: torch.Tensor, sigma: float | torch.Tensor, labels: torch.Tensor | None = None) -> torch.Tensor:
        clean = estimate(self.denoiser, x, sigma, labels)
        sigma = torch.as_tensor(sigma, dtype=x.dtype, device=x.device).expand(len(x))[:, None]
        whole = (sigma.square() + self.sigma_data**2).sqrt()
        angles = (x.flatten(1) / whole) @ self.frequencies.to(x) + sigma.log() * self.frequencies_of_level.to(x)
        error = (angles + self.phases.to(x)).cos() @ self.amplitudes.to(x)
        c_out = sigma * self.sigma_data / whole
        return clean + (self.level * c_out * error).view_as(clean)


class SmoothedOverSigma(Wrapped):
    """The estimate averaged over noise levels around its own: ln sigma + N(0, width²), by Gauss-Hermite quadrature.

    What a network that tells noise levels apart only to within a factor e^width would predict. The average is that
    of the clean estimate, which a network predicts, not of the score: the score's would be dominated by the lowest
    of the levels and, where the data are thin, only over-scaled, by exp(2 width²). Costs 5 calls of the denoiser.
    """

    NODES = 5

    def __init__(self, denoiser: Denoiser, width: float):
        super().__init__(denoiser)
        self.width = number("width", width, 0)

    def __call__(self, x: torch.Tensor, sigma: float | torch.Tensor, labels: torch.Tensor | None = None) -> torch.Tensor:
        nodes, weights = np.polynomial.hermite_e.hermegauss(self.NODES)
        shares = weights / weights.sum()
        return sum(share * estimate(self.denoiser, x, sigma * math.exp(self.width * node), labels) for node, share in zip(nodes.tolist(), shares.tolist()))


class ClassBlind(Wrapped):
    """Ignores the labels: the score of all classes together."""

    def __call__(self, x: torch.Tensor, sigma: float | torch.Tensor, labels: torch.Tensor | None = None) -> torch.Tensor:
        return estimate(self.denoiser, x, sigma, None)


class Guided(Wrapped):
    """Classifier-free guidance (Ho & Salimans 2022, eq. 6): ``none + scale (with class - none)``.

    scale: their 1 + w; 1 is no guidance, 0 ignores the class. Without labels there is nothing to guide to.
    """

    def __init__(self, denoiser: Denoiser, scale: float):
        super().__init__(denoiser)
        self.scale = number("scale", scale, 0)

    def __call__(self, x: torch.Tensor, sigma: float | torch.Tensor, labels: torch.Tensor | None = None) -> torch.Tensor:
        unguided = estimate(self.denoiser, x, sigma, None)
        if labels is None:
            return unguided
        return unguided + self.scale * (estimate(self.denoiser, x, sigma, labels) - unguided)
