"""Gaussian mixtures: distributions whose log-density and exact denoiser are known at every noise level; random ones."""

import math

import torch
from numpy.typing import ArrayLike

from synaug.checks import whole
from synaug.diffusion.denoisers import check_input

#: Ranges that a random mixture is drawn from, uniformly unless said; both ends belong to a range of whole numbers.
DIMENSIONS = (2, 16)
CLASSES = (2, 5)
MODES_PER_CLASS = (1, 4)
CLASS_WEIGHTS = (0.5, 1.5)  # relative mass of a class
MODE_WEIGHTS = (0.1, 1.0)  # relative mass of a mode within its class, log-uniform: some modes are rare
MODE_SPREADS = (0.1, 1.0)  # standard deviation of a mode along each of its axes, log-uniform
CENTRE_SPREAD = 1.0  # of class centres around 0 and of a class's modes around its centre, Gaussian, each coordinate
#: Standard deviation of all coordinates together after scaling: EDM's (Karras et al. 2022, Table 1), so that EDM's
#: grid of noise levels fits.
SIGMA_DATA = 0.5


class GaussianMixture:
    """Mixture of K Gaussians in D dimensions; calling it is the exact denoiser of the denoisers' contract.

    weights: ``[K]``, positive, summing to 1. means: ``[K, D]``. covariances: ``[K, D, D]``, symmetric and positive
    definite. Everything is computed in float64 on the CPU; points are float ``[N, D]``, noise levels ``sigma`` a
    scalar or ``[N]``, not negative. classes: int64 ``[K]``, the class 0 .. C-1 of each component; by default every
    component is a class of its own. ``labels`` of the contract restrict the mixture to the components of one class
    each; None is the whole. Raises ValueError or TypeError for input of another form.
    """

    def __init__(self, weights: ArrayLike, means: ArrayLike, covariances: ArrayLike, classes: ArrayLike | None = None):
        self.weights, self.means, self.covariances = (torch.as_tensor(v, dtype=torch.float64) for v in (weights, means, covariances))
        shapes = [list(v.shape) for v in (self.weights, self.means, self.covariances)]
        if self.means.ndim != 2 or shapes != [shapes[1][:1], shapes[1], shapes[1] + shapes[1][1:]]:
            raise ValueError(f"weights, means, covariances must be [K], [K, D], [K, D, D], got {shapes}")
        if not all(v.isfinite().all() for v in (self.weights, self.means, self.covariances)):
            raise ValueError("weights, means and covariances must be finite")
        if not (self.weights > 0).all() or abs(self.weights.sum().item() - 1) > 1e-6:
            raise ValueError("weights must be positive and sum to 1")
        self.weights = self.weights / self.weights.sum()
        if not torch.allclose(self.covariances, self.covariances.mT, rtol=1e-9, atol=0):
            raise ValueError("every covariance must be symmetric")
        self.eigenvalues, self.eigenvectors = torch.linalg.eigh(self.covariances)
        if not (self.eigenvalues > 0).all():
            raise ValueError("every covariance must be positive definite")
        self.classes = torch.arange(len(self.weights)) if classes is None else torch.as_tensor(classes)
        if self.classes.dtype != torch.int64:
            raise TypeError(f"classes must be int64, got {self.classes.dtype}")
        present = self.classes.unique()
        if self.classes.shape != self.weights.shape or not torch.equal(present, torch.arange(len(present))):
            raise ValueError(f"classes must be [K] with K = {len(self.weights)} and hold each of 0..C-1, got {self.classes.tolist()}")

    @property
    def num_classes(self) -> int:
        return int(self.classes.max()) + 1

    @property
    def image_shape(self) -> tuple[int, ...]:
        """The shape of one point: (D,)."""
        return (self.means.shape[1],)

    def sample(self, n: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """Draws float64 ``[n, D]`` and their components int64 ``[n]`` (``classes[component]`` are their labels).

        generator: `torch.Generator`.
        """
        component = torch.multinomial(self.weights, n, replacement=True, generator=generator)
        z = torch.randn(n, self.means.shape[1], dtype=torch.float64, generator=generator)
        scaled = z * self.eigenvalues[component].sqrt()
        return self.means[component] + torch.einsum("nde,ne->nd", self.eigenvectors[component], scaled), component

    def _centred(self, x, sigma, labels=None):
        """Per component: x - mean in the eigenbasis ``[N, K, D]`` and the noised eigenvalues, ``[N, K, D]`` or, for one
        sigma, ``[1, K, D]``."""
        check_input(self, x, labels)
        sigma = torch.as_tensor(sigma, dtype=torch.float64)
        if sigma.ndim and sigma.shape != (len(x),) or not (sigma >= 0).all():
            raise ValueError(f"sigma must be a scalar or [N] with N = {len(x)}, and not negative")
        centred = torch.einsum("nkd,kde->nke", x[:, None].to(torch.float64) - self.means, self.eigenvectors)
        return centred, self.eigenvalues + sigma.square().view(-1, 1, 1)

    def component_log_density(self, x: torch.Tensor, sigma: float | torch.Tensor = 0.0) -> torch.Tensor:
        """ln(weight_k N(x; mean_k, cov_k + sigma² I)), ``[N, K]``."""
        return self._component_log_density(*self._centred(x, sigma))

    def _component_log_density(self, centred, variances):
        quadratic = (centred.square() / variances + variances.log() + math.log(2 * math.pi)).sum(-1)
        return self.weights.log() - quadratic / 2

    def log_density(self, x: torch.Tensor, sigma: float | torch.Tensor = 0.0) -> torch.Tensor:
        """ln p_sigma(x), ``[N]``, of the mixture convolved with N(0, sigma² I)."""
        return self.component_log_density(x, sigma).logsumexp(1)

    def __call__(self, x: torch.Tensor, sigma: float | torch.Tensor, labels: torch.Tensor | None = None) -> torch.Tensor:
        """Posterior mean of the clean point, ``[N, D]``, dtype of x.

        Component k's is mean_k + cov_k (cov_k + sigma² I)^-1 (x - mean_k); the mixture's weighs them by how likely
        each component made x.
        """
        centred, variances = self._centred(x, sigma, labels)
        log_shares = self._component_log_density(centred, variances)
        if labels is not None:
            log_shares = log_shares.masked_fill(self.classes != labels[:, None], -math.inf)
        shares = log_shares.softmax(1)
        moved = shares[:, :, None] * (centred * (self.eigenvalues / variances))  # in each component's eigenbasis
        return (shares @ self.means + moved.flatten(1) @ self.eigenvectors.mT.flatten(0, 1)).to(x.dtype)


def random_mixture(seed: int) -> GaussianMixture:
    """The mixture of a seed: a `GaussianMixture` of mean 0, its coordinates of variance ``SIGMA_DATA**2`` on average.

    Dimension, classes, modes, masses, centres and covariances are drawn from this module's ranges, the axes of each
    covariance from all rotations. A mode may overlap others of its own and of other classes. ValueError for a seed
    that is not a whole number of at least 0.
    """
    generator = torch.Generator().manual_seed(whole("seed", seed, 0))

    def integer(ends):
        return int(torch.randint(ends[0], ends[1] + 1, (1,), generator=generator))

    def between(ends, *shape):
        return ends[0] + (ends[1] - ends[0]) * torch.rand(shape, generator=generator, dtype=torch.float64)

    def log_between(ends, *shape):
        return between([math.log(end) for end in ends], *shape).exp()

    def normal(*shape):
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    d, n_classes = integer(DIMENSIONS), integer(CLASSES)
    classes = torch.cat([torch.full((integer(MODES_PER_CLASS),), c) for c in range(n_classes)])
    k = len(classes)
    weights = log_between(MODE_WEIGHTS, k)
    of_class = between(CLASS_WEIGHTS, n_classes)
    weights = weights / torch.zeros(n_classes, dtype=torch.float64).index_add(0, classes, weights)[classes]
    weights = weights * of_class[classes] / of_class.sum()
    means = CENTRE_SPREAD * (normal(n_classes, d)[classes] + normal(k, d))
    rotations = torch.linalg.qr(normal(k, d, d)).Q
    roots = rotations * log_between(MODE_SPREADS, k, d)[:, None]
    means = means - weights @ means
    second_moments = torch.einsum("k,kde->de", weights, roots @ roots.mT + means[:, :, None] * means[:, None])
    scale = SIGMA_DATA / (second_moments.trace() / d).sqrt()
    covariances = scale**2 * (roots @ roots.mT)
    return GaussianMixture(weights, scale * means, (covariances + covariances.mT) / 2, classes)
