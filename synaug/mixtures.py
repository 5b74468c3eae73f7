"""Gaussian mixtures: a world where log-density, score and the exact denoiser are known at every noise level."""

import math

import torch


class GaussianMixture:
    """Mixture of K Gaussians in D dimensions; calling it is the exact denoiser of the denoisers' contract.

    weights: ``[K]``, positive, summing to 1. means: ``[K, D]``. covariances: ``[K, D, D]``, positive definite.
    Everything is float64. ``labels`` of the contract restrict the mixture to one component each; None is the whole.
    """

    def __init__(self, weights, means, covariances):
        self.weights, self.means, self.covariances = (
            torch.as_tensor(v, dtype=torch.float64) for v in (weights, means, covariances))
        k, d = self.means.shape
        if self.weights.shape != (k,) or self.covariances.shape != (k, d, d):
            raise ValueError(f"weights, means, covariances must be [K], [K, D], [K, D, D], got "
                             f"{[list(v.shape) for v in (self.weights, self.means, self.covariances)]}")
        if not (self.weights > 0).all() or abs(self.weights.sum().item() - 1) > 1e-9:
            raise ValueError("weights must be positive and sum to 1")
        self.eigenvalues, self.eigenvectors = torch.linalg.eigh(self.covariances)
        if not (self.eigenvalues > 0).all():
            raise ValueError("every covariance must be positive definite")

    @property
    def num_classes(self):
        return len(self.weights)

    def sample(self, n, generator):
        """Draws ``[n, D]`` and their components ``[n]``."""
        component = torch.multinomial(self.weights, n, replacement=True, generator=generator)
        z = torch.randn(n, self.means.shape[1], dtype=torch.float64, generator=generator)
        scaled = z * self.eigenvalues[component].sqrt()
        return self.means[component] + torch.einsum("nde,ne->nd", self.eigenvectors[component], scaled), component

    def _centred(self, x, sigma):
        """Per component: x - mean in the eigenbasis ``[N, K, D]`` and the noised eigenvalues ``[N, K, D]``."""
        sigma = torch.as_tensor(sigma, dtype=torch.float64).expand(len(x))
        centred = torch.einsum("nkd,kde->nke", x[:, None].to(torch.float64) - self.means, self.eigenvectors)
        return centred, self.eigenvalues + sigma.square().view(-1, 1, 1)

    def component_log_density(self, x, sigma=0.0):
        """ln(weight_k N(x; mean_k, cov_k + sigma² I)), ``[N, K]``."""
        centred, variances = self._centred(x, sigma)
        quadratic = (centred.square() / variances + variances.log() + math.log(2 * math.pi)).sum(-1)
        return self.weights.log() - quadratic / 2

    def log_density(self, x, sigma=0.0):
        """ln p_sigma(x), ``[N]``, of the mixture convolved with N(0, sigma² I)."""
        return self.component_log_density(x, sigma).logsumexp(1)

    def __call__(self, x, sigma, labels=None):
        """Posterior mean of the clean point, ``[N, D]``: x + sigma² score (Tweedie's formula)."""
        centred, variances = self._centred(x, sigma)
        means = self.means + torch.einsum("nke,kde->nkd", centred * self.eigenvalues / variances, self.eigenvectors)
        if labels is not None:
            return means[torch.arange(len(x)), labels].to(x.dtype)
        share = self.component_log_density(x, sigma).softmax(1)
        return torch.einsum("nk,nkd->nd", share, means).to(x.dtype)

    def score(self, x, sigma):
        """Gradient of ln p_sigma at x, ``[N, D]``."""
        sigma = torch.as_tensor(sigma, dtype=torch.float64)
        return (self(x.to(torch.float64), sigma) - x) / sigma.view(-1, *[1] * (sigma.ndim > 0)).square()
