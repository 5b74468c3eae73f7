"""Theorems 4.1 and 4.2 on targeted augmentation: SAM's factors and the alignment of gradients with noise.

The text of the paper (arXiv 2505.21574) was not available. Each docstring says whether a formula is second hand (read
in a digest or a review), reconstructed (derived here so that it gives what was read) or derived here.

Symbols: n examples, of which a share alpha has the fast feature; each slow one is in the augmented set k times, as
copies (upsampling, U) or as itself and k - 1 synthetic ones (generation, G). Patches ``[..., n, P, d]``, labels
``[..., n]``, filters W ``[..., J, d]``, J filters; inner products with every patch ``[..., J, n, P]``.
l_i = sigmoid(-y_i f(x_i; W)) are the logit terms; they are *controlled* where they may be taken as equal.
"""

import math

import torch

from synaug.theory.two_layer_cnn.distribution import READINGS
from synaug.theory.two_layer_cnn.network import gradient, logit_terms


def augmented_size(n, alpha, k):
    """N' = alpha n + k (1 - alpha) n examples (second hand); k - 1 of (1 - alpha) n are added. k real, at least 1."""
    check_k(k)
    check_alpha(alpha)
    return (alpha + k * (1 - alpha)) * n


def inner_products(vectors, patches):
    """<u_j, x_ip> ``[..., J, n, P]`` of filters or gradients u ``[..., J, d]`` with every patch."""
    return torch.einsum("...jd,...npd->...jnp", vectors, patches)


def positively_aligned(filters, patches, labels):
    """The set I_{j,+} as a mask ``[..., J, n, P]``: y_i <w_j, x_ip> > 0 (its meaning is inferred, not read)."""
    return labels[..., None, :, None] * inner_products(filters, patches) > 0


# Theorem 4.1: SAM suppresses noise learning.


def sam_feature_factor(projections, strength, term_mean, rho_t):
    """<w~_j, v> / <w_j, v> at SAM's perturbed filters w~ = w + rho_t grad (derived here).

    1 - 3 rho_t beta^3 <w_j, v> mean_i[l_i 1{i has v}], exact if the noise is orthogonal to v and no label is flipped.
    projections: <w_j, v> ``[..., J]``; strength: beta of the feature; term_mean: that mean, over all n;
    rho_t: rho / ||grad||_F. Shapes broadcast.
    """
    return 1 - 3 * rho_t * strength**3 * term_mean * projections


def sam_noise_factor(projections, labels, terms, squared_norms, n, rho_t):
    """<w~_j, xi_i> / <w_j, xi_i> for noise patches orthogonal to all other patches (derived here).

    1 - (3 rho_t / n) l_i y_i <w_j, xi_i> ||xi_i||^2, so below 1 just on I_{j,+}. projections: <w_j, xi_i>;
    terms: l_i; squared_norms: ||xi_i||^2; n: examples in the mean of the loss. Shapes broadcast.
    """
    return 1 - 3 * rho_t / n * terms * labels * projections * squared_norms


def sam_gradient_ratio(factors, term_ratio=1.0):
    """|<grad_SAM, u>| / |<grad_GD, u>| from u's SAM factor: factor^2 times l~ / l (Theorem 4.1, reconstructed).

    With controlled logits (term_ratio 1) and rho small, so that factor > -1, it is below 1 on I_{j,+}. The perturbation
    raises the loss, so mostly l~ > l, by an amount that does not shrink with n, while 1 - factor does. With its true
    logit terms the theorem therefore needs n small against ||xi||^3 / (J std(W)^3), for beta_e = 1 (derived here).
    """
    return factors**2 * term_ratio


def measured_sam_ratio(filters, patches, labels, rho):
    """|<grad_SAM, x_ip>| / |<grad_GD, x_ip>| ``[..., J, n, P]`` of the true gradients from equal filters, rho >= 0.

    All that the theorem sets aside is in it: logit terms that change, and inner products of a noise patch with other
    noise, whose sum is about sqrt(n / d) times the patch's own term, and with the features, which is still larger.
    NaN or infinite where GD's inner product is 0. Raises ValueError for a negative rho.
    """
    if not 0 <= rho < math.inf:
        raise ValueError(f"rho must be finite and not negative, got {rho}")
    gd = gradient(filters, patches, labels)
    sam = gradient(filters + perturbation_scale(gd, rho) * gd, patches, labels)
    return inner_products(sam, patches).abs() / inner_products(gd, patches).abs()


def perturbation_scale(gradients, rho):
    """rho_t = rho / ||grad||_F ``[..., 1, 1]`` for gradients ``[..., J, d]`` (SAM, Foret et al. 2021)."""
    return rho / torch.linalg.matrix_norm(gradients, keepdim=True)


def parallel_k(fast_factor, slow_factor, alpha, reading):
    """The k at which one GD step on the upsampled data is parallel to one SAM step on the original (derived here).

    In the plane of the features and with controlled logits: k = 1 + (R - 1) / (1 - alpha) in reading A, k = R in
    reading B, R = (slow_factor / fast_factor)^2 the ratio by which SAM favours the slow feature (USEFUL's theorem,
    from memory, says that such a k exists; the paper's equation (2) was not found). Each filter has a k of its own:
    no single k serves two filters with different factors, and k < 1 where SAM favours the fast feature.
    factors: `sam_feature_factor`, numbers or tensors.
    With logit terms that differ, the same formulas hold with the ratio of the true gradients for R and, for
    1 - alpha, the slow examples' share of the slow feature's gradient. Raises ValueError unless 0 <= alpha < 1.
    """
    check_alpha(alpha)
    if reading not in READINGS:
        raise ValueError(f"unknown reading {reading!r}: choose one of {', '.join(READINGS)}")
    if alpha == 1:
        raise ValueError("without slow examples (alpha = 1) there is nothing to upsample")
    ratio = (slow_factor / fast_factor) ** 2
    return ratio if reading == "B" else 1 + (ratio - 1) / (1 - alpha)


# Theorem 4.2: upsampling and generation.


def noise_align(gradients, patches, where):
    """NoiseAlign: for each filter ``[..., J]`` the mean of |<grad_{w_j}, x_ip>| over the patches in `where`.

    where: bool ``[..., J, n, P]``; the theorem's is the positively aligned noise patches of the augmented set's slow
    examples. Reconstructed: of the sums and means that fit the words, it gives the tolerance k + 1. NaN for a filter
    without such a patch.
    """
    return (inner_products(gradients, patches).abs() * where).sum((-2, -1)) / where.sum((-2, -1))


def noise_strength(filters, patches, labels):
    """l_i <w_j, x_ip>^2 ||x_ip||^2 ``[..., J, n, P]``; its mean over a set of noise patches is the theorem's A.

    n / 3 times |<grad_{w_j}, x_ip>| if x_ip is orthogonal to all other patches (derived here).
    """
    own = inner_products(filters, patches).square() * patches.square().sum(-1)[..., None, :, :]
    return own * logit_terms(filters, patches, labels)[..., None, :, None]


def noise_align_upsampled(strength, k):
    """N' / 3 times NoiseAlign of upsampling, for orthogonal noise: k A, as each patch has weight k (reconstructed)."""
    check_k(k)
    return k * strength


def noise_align_generated(strength, synthetic_strength, k, aligned_ratio=1.0):
    """N' / 3 times NoiseAlign of generation, for orthogonal noise: (A + (k - 1) A_gamma) / k (reconstructed).

    synthetic_strength: A_gamma, the mean over synthetic noise. aligned_ratio: the share of synthetic patches in
    I_{j,+} over that of real ones, r; a mean over the set is then (A + (k - 1) r A_gamma) / (1 + (k - 1) r). It is 1
    for filters that have not seen the noise, 1/2 for filters that fit all of it (derived here).
    """
    check_k(k)
    _check_positive(aligned_ratio, "aligned_ratio")
    synthetic = (k - 1) * aligned_ratio
    return (strength + synthetic * synthetic_strength) / (1 + synthetic)


def noise_tolerance(k, aligned_ratio=1.0):
    """A_gamma / A below which generation's NoiseAlign is below upsampling's: k + 1 (second hand; see noise_align).

    k + 1 / aligned_ratio in general (derived here; k + 2 for filters that fit all the real noise). It depends on the
    mean over the whole set: summed once over distinct patches, the tolerance would be 1. k > 1.
    """
    check_k(k, above=True)
    _check_positive(aligned_ratio, "aligned_ratio")
    return k + 1 / aligned_ratio


def norm_tolerance(k):
    """||gamma|| / ||xi|| below which the same holds, (k + 1)^(1/4), k > 1 (derived here).

    A is proportional to ||xi||^4 for filters that are isotropic and independent of the noise, with controlled logits.
    """
    return noise_tolerance(k) ** 0.25


def check_k(k, above=False):
    if not (k > 1 or not above and k == 1) or not k < math.inf:
        raise ValueError(f"k must be finite and {'more than' if above else 'at least'} 1, got {k}")


def check_alpha(alpha):
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha must lie in [0, 1], got {alpha}")


def _check_positive(value, name):
    if not 0 < value < math.inf:
        raise ValueError(f"{name} must be finite and positive, got {value}")
