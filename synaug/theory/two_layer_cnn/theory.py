"""Theorems 4.1 and 4.2 on targeted augmentation: the alignment of gradients with noise, under SAM and by training set.

The text of the paper (arXiv 2505.21574) was not available. Each docstring says whether a formula is second hand (read
in a digest or a review), reconstructed (derived here so that it gives what was read) or derived here.

Symbols: n examples, of which a share alpha has the fast feature; each slow one is in the augmented set k times, as
copies (upsampling, U) or as itself and k - 1 synthetic ones (generation, G). Patches ``[..., n, P, d]``, labels
``[..., n]``, filters W ``[..., J, d]``, J filters; inner products with every patch ``[..., J, n, P]``.
l_i = sigmoid(-y_i f(x_i; W)) are the logit terms; they are *controlled* where they may be taken as equal.
"""

import torch

from synaug.checks import number
from synaug.theory.two_layer_cnn.arms import TrainingSets
from synaug.theory.two_layer_cnn.distribution import NOISE
from synaug.theory.two_layer_cnn.network import gradient, inner_products, logit_terms


def augmented_size(n: int, alpha: float, k: float) -> float:
    """N' = alpha n + k (1 - alpha) n examples (second hand); k - 1 of (1 - alpha) n are added. k real, at least 1."""
    number("k", k, 1)
    number("alpha", alpha, 0, 1)
    return (alpha + k * (1 - alpha)) * n


def positively_aligned(filters: torch.Tensor, patches: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The set I_{j,+} as a mask ``[..., J, n, P]``: y_i <w_j, x_ip> > 0 (its meaning is inferred, not read)."""
    return labels[..., None, :, None] * inner_products(filters, patches) > 0


# Theorem 4.1: SAM suppresses noise learning.


def measured_sam_ratio(filters: torch.Tensor, patches: torch.Tensor, labels: torch.Tensor, rho: float) -> torch.Tensor:
    """|<grad_SAM, x_ip>| / |<grad_GD, x_ip>| ``[..., J, n, P]`` of the true gradients from equal filters, rho >= 0.

    All that the theorem sets aside is in it: logit terms that change, and inner products of a noise patch with other
    noise, whose sum is about sqrt(n / d) times the patch's own term, and with the features, which is still larger.
    NaN or infinite where GD's inner product is 0. Raises ValueError for a negative rho.
    """
    number("rho", rho, 0)
    gd = gradient(filters, patches, labels)
    sam = gradient(filters + perturbation_scale(gd, rho) * gd, patches, labels)
    return inner_products(sam, patches).abs() / inner_products(gd, patches).abs()


def perturbation_scale(gradients: torch.Tensor, rho: float) -> torch.Tensor:
    """rho_t = rho / ||grad||_F ``[..., 1, 1]`` for gradients ``[..., J, d]`` (SAM, Foret et al. 2021)."""
    return rho / torch.linalg.matrix_norm(gradients, keepdim=True)


# Theorem 4.2: upsampling and generation.


def noise_align(gradients: torch.Tensor, patches: torch.Tensor, where: torch.Tensor) -> torch.Tensor:
    """NoiseAlign: for each filter ``[..., J]`` the mean of |<grad_{w_j}, x_ip>| over the patches in `where`.

    where: bool ``[..., J, n, P]``; the theorem's is the positively aligned noise patches of the augmented set's slow
    examples. Reconstructed: of the sums and means that fit the words, it gives the tolerance k + 1. NaN for a filter
    without such a patch.
    """
    return (inner_products(gradients, patches).abs() * where).sum((-2, -1)) / where.sum((-2, -1))


def noise_strength(filters: torch.Tensor, patches: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """l_i <w_j, x_ip>^2 ||x_ip||^2 ``[..., J, n, P]``; its mean over a set of noise patches is the theorem's A.

    n / 3 times |<grad_{w_j}, x_ip>| if x_ip is orthogonal to all other patches (derived here).
    """
    own = inner_products(filters, patches).square() * patches.square().sum(-1)[..., None, :, :]
    return own * logit_terms(filters, patches, labels)[..., None, :, None]


def noise_tolerance(k: float) -> float:
    """A_gamma / A below which generation's NoiseAlign is below upsampling's: k + 1, for k > 1 (second hand).

    For filters that fit all of the real noise and half of the synthetic one, k + 2 (derived here). It depends on the
    mean over the whole set (see `noise_align`): summed once over distinct patches, the tolerance would be 1.
    """
    number("k", k, above=1)
    return k + 1


def arm_noise_align(sets: TrainingSets, arm: int, filters: torch.Tensor, scale: float = 1.0) -> tuple[float, float]:
    """NoiseAlign of one arm (a number) of `TrainingSets` of one seed, the mean over filters ``[J, d]``: of the mean
    over patches, and of the sum over distinct ones. scale: of the synthetic noise."""
    patches, where = _slow_noise(sets, arm, filters, scale)
    means = noise_align(gradient(filters, patches, sets.pool.labels[0], sets.weights[0, arm]), patches, where)
    return means.nanmean().item(), (means.nan_to_num() * where.sum((-2, -1))).mean().item()


def measured_tolerance(sets: TrainingSets, upsampled: int, generated: int, filters: torch.Tensor) -> float:
    """A_gamma / A where the generated arm's NoiseAlign is the upsampled one's (arms by number), by bisection."""
    limit, (low, high) = arm_noise_align(sets, upsampled, filters)[0], (0.1, 5.0)
    for _ in range(25):
        middle = (low + high) / 2
        below = arm_noise_align(sets, generated, filters, middle)[0] < limit
        low, high = (middle, high) if below else (low, middle)
    patches, where = _slow_noise(sets, generated, filters, low)
    strength, synthetic = noise_strength(filters, patches, sets.pool.labels[0]), (sets.part > 0)[:, None]
    return (strength[where & synthetic].mean() / strength[where & ~synthetic].mean()).item()


def _slow_noise(sets, arm, filters, scale):
    """The patches, synthetic noise scaled, and as a mask the positively aligned noise patches of slow examples."""
    pool, noise = sets.pool, sets.pool.roles[0] == NOISE
    patches = torch.where(((sets.part > 0)[:, None] & noise)[..., None], scale * pool.patches[0], pool.patches[0])
    slow = (sets.weights[0, arm] > 0) & ~pool.has_fast[0]
    return patches, positively_aligned(filters, patches, pool.labels[0]) & (slow[:, None] & noise)
