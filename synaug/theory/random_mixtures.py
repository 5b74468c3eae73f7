"""Random Gaussian mixtures with classes: worlds to average a closed-form experiment over."""

import math

import torch

from synaug.theory.mixtures import GaussianMixture

#: Ranges that a world is drawn from, uniformly unless said; both ends belong to a range of whole numbers.
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


def random_mixture(seed):
    """The world of a seed: a `GaussianMixture` of mean 0, its coordinates of variance `SIGMA_DATA`² on average.

    Dimension, classes, modes, masses, centres and covariances are drawn from this module's ranges, the axes of each
    covariance from all rotations. A mode may overlap others of its own and of other classes. ValueError for a seed
    that is not a whole number of at least 0.
    """
    if not isinstance(seed, int) or isinstance(seed, bool) or seed < 0:
        raise ValueError(f"seed must be a whole number of at least 0, got {seed!r}")
    generator = torch.Generator().manual_seed(seed)

    def whole(ends):
        return int(torch.randint(ends[0], ends[1] + 1, (1,), generator=generator))

    def between(ends, *shape):
        return ends[0] + (ends[1] - ends[0]) * torch.rand(shape, generator=generator, dtype=torch.float64)

    def log_between(ends, *shape):
        return between([math.log(end) for end in ends], *shape).exp()

    def normal(*shape):
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    d, n_classes = whole(DIMENSIONS), whole(CLASSES)
    classes = torch.cat([torch.full((whole(MODES_PER_CLASS),), c) for c in range(n_classes)])
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
