"""A class-conditional variational autoencoder with a calibrated likelihood, and its training.

The decoder's variance is the mean squared error of the batch, its optimum, so that nothing weighs reconstruction
against the prior (the optimal sigma-VAE of Rybkin et al. 2021). What is sampled from is not the prior but mixtures of
Gaussians fitted to each class's latent vectors (ex-post density estimation, Ghosh et al. 2020).
"""

import copy
import math
from collections.abc import Callable
from typing import Any

import torch
from threadpoolctl import threadpool_limits
from torch import Tensor

from synaug.checks import one_of
from synaug.data import ImageDataset, to_floats
from synaug.diffusion.trainer import Trainer
from synaug.generators.latent import LatentGenerator

#: Components of a class's mixture, at most; the images per component and latent dimension that it takes to have
#: several; latent vectors that are drawn of each image to fit them to.
COMPONENTS, IMAGES_PER_DIMENSION, DRAWS = 4, 10, 2
DENSITIES = ("mixture", "normal")


class VAE(LatentGenerator):
    """Reconstruction: z = m + sqrt(1 - s²) (z_post - m) + s (drawn - m), with z_post the mean of the posterior and m that
    of the density that is drawn from. So at every strength latent vectors have the mean and covariance of those of
    images, as far as the density has, but for (1 - s²) times the posterior's own variance, which is small.

    What may be set, beside what `LatentGenerator` takes:
    density: what is drawn from: "mixture", the class's mixture, or "normal", the prior, of which m is 0.
    decoder_noise: whether images get the noise of the decoder's distribution, of standard deviation ``sigma``; without
    it they are its means, which are smoother than images and so closer together.
    """

    family, outputs = "vae", 2
    sigma: Tensor
    shares: Tensor
    means: Tensor
    factors: Tensor

    def __init__(self, *given: Any, **named: Any):
        super().__init__(*given, **named)
        self.density, self.decoder_noise = "mixture", False
        k, d = (self.num_classes, COMPONENTS), self.latent
        self.register_buffer("sigma", torch.ones(1))
        self.register_buffer("shares", torch.eye(COMPONENTS)[0].repeat(self.num_classes, 1))
        self.register_buffer("means", torch.zeros(*k, d))
        self.register_buffer("factors", torch.eye(d).repeat(*k, 1, 1))  # lower triangular, of the covariances

    def posterior(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and logarithm of the variance of q(z | image, class), each ``[N, latent]``."""
        mean, log_variance = self.encoded(images, labels).chunk(2, 1)
        return mean, log_variance.clamp(-20, 20)

    def forward(self, images: Tensor, labels: Tensor, noise: Tensor) -> Tensor:
        """The negative evidence bound of each image in nats per pixel and channel, ``[N]``.

        images: float ``[N, C, H, W]``. labels: int64 ``[N]``, 0 .. 2K-1. noise: standard normal ``[N, latent]``. The
        likelihood's variance is the mean squared error of these images, its optimum.
        """
        mean, log_variance = self.posterior(images, labels)
        z = mean + (log_variance / 2).exp() * noise
        error = (self.decoded(z, labels) - images).square().mean()
        divergence = (mean.square() + log_variance.exp() - 1 - log_variance).sum(1) / 2
        return (2 * math.pi * math.e * error).log() / 2 + divergence / math.prod(self.image_shape)

    @torch.no_grad()
    def fit(self, images: Tensor, labels: Tensor, seed: int = 0) -> None:
        """Measure ``sigma`` and fit the mixtures on images, uint8 ``[N, C, H, W]``, and their classes, int64 ``[N]``.

        Of 1, 2 or 4 components the number with the best BIC; more than one only where there are 10 images to each of
        them and each latent dimension. A class without images keeps the prior.
        """
        from sklearn.mixture import GaussianMixture

        generator, drawn, errors = torch.Generator().manual_seed(seed), [], []
        for x, y in zip(images.split(500), labels.split(500)):
            mean, log_variance = self.posterior(to_floats(x), y)
            noise = torch.randn(DRAWS, *mean.shape, generator=generator).to(mean)
            drawn.append(mean + (log_variance / 2).exp() * noise)
            errors.append((self.decoded(drawn[-1][0], y) - to_floats(x)).square().flatten(1).mean(1))
        self.sigma.fill_(torch.cat(errors).mean().sqrt())
        z, labels = torch.cat(drawn, 1).cpu(), labels.cpu()
        for label, count in enumerate(labels.bincount(minlength=self.num_classes).tolist()):
            if not count:
                continue
            sizes = [k for k in (1, 2, COMPONENTS) if k == 1 or count >= IMAGES_PER_DIMENSION * self.latent * k]
            own = z[:, labels == label].flatten(0, 1).double().numpy()
            with threadpool_limits(1, user_api="blas"):  # small products, see `fit_linear`
                best = min((GaussianMixture(k, reg_covar=1e-4, random_state=seed).fit(own) for k in sizes), key=lambda mixture: mixture.bic(own))
            k = best.n_components
            self.shares[label] = 0
            self.shares[label, :k] = torch.from_numpy(best.weights_)
            self.means[label, :k] = torch.from_numpy(best.means_).to(self.means)
            self.factors[label, :k] = torch.linalg.cholesky(torch.from_numpy(best.covariances_)).to(self.factors)

    @property
    def centres(self) -> Tensor:
        """The mean of each class's mixture, ``[K, latent]``."""
        return (self.shares[..., None] * self.means).sum(1)

    def departure(self) -> Tensor:
        """How far each class's latent vectors are from the prior, in nats, ``[K]``.

        The Kullback-Leibler divergence to N(0, 1) of the Gaussian that has the mean and covariance of its mixture: what
        samples from the prior would be wrong by, which is why they are drawn from mixtures instead (``density``).
        """
        each = self.factors @ self.factors.mT + self.means[..., None] * self.means[..., None, :]
        m = self.centres
        covariance = (self.shares[..., None, None] * each).sum(1) - m[..., None] * m[:, None]
        trace = covariance.diagonal(dim1=1, dim2=2).sum(1)
        return (trace + m.square().sum(1) - self.latent - torch.logdet(covariance)) / 2

    def settings(self) -> dict:
        one_of("density", self.density, DENSITIES)
        return {"density": self.density, "decoder_noise": bool(self.decoder_noise)}

    def encode(self, images: Tensor, labels: Tensor) -> Tensor:
        return self.posterior(images, labels)[0]

    def draw(self, labels: Tensor, noise: Callable[..., Tensor]) -> Tensor:
        drawn = noise(0, self.latent + 1)
        z, uniform = drawn[:, :-1], torch.special.ndtr(drawn[:, -1:])
        if self.density == "normal":
            return z
        reached = self.shares[labels].cumsum(1)
        component = (uniform > reached / reached[:, -1:]).sum(1)
        return self.means[labels, component] + (self.factors[labels, component] @ z[..., None])[..., 0]

    def between(self, z: Tensor, drawn: Tensor, labels: Tensor, strength: float) -> Tensor:
        m = self.centres[labels] if self.density == "mixture" else 0.0
        return m + math.sqrt(1 - strength**2) * (z - m) + strength * (drawn - m)

    def render(self, z: Tensor, labels: Tensor, noise: Callable[..., Tensor]) -> Tensor:
        images = self.decoded(z, labels)
        return images + self.sigma * noise(1, *self.image_shape) if self.decoder_noise else images


class VAETrainer(Trainer):
    """A run of VAE training; see `Trainer`. The loss is that of `VAE.forward`."""

    def new_model(self, subset: ImageDataset) -> VAE:
        return VAE(subset.image_shape, subset.class_names, self.recipe.channels, self.recipe.latent, self.recipe.seed)

    def draw(self, images: Tensor, generator: torch.Generator) -> tuple[Tensor, ...]:
        return (torch.randn(len(images), self.recipe.latent, generator=generator, device=generator.device),)

    def losses(self, model: Any, images: Tensor, labels: Tensor, *drawn: Tensor) -> Tensor:
        return model(images, labels, *drawn)

    def finished(self) -> VAE:
        model = copy.deepcopy(self.model)
        model.fit(self.images, self.labels, self.recipe.seed)
        return model
