"""The two-layer CNN of the theory, its logistic loss and the closed-form gradient, in plain dense form.

Definition 3.2 of targeted augmentation (arXiv 2505.21574), second hand: f(x; W) = sum_j sum_p <w_j, x_p>^3, J filters,
second layer fixed to 1 (from USEFUL). Shapes: filters W ``[..., J, d]``, patches ``[..., N, P, d]``, labels +-1
``[..., N]``, example weights ``[..., N]``; leading dimensions (seeds, arms) broadcast. `training` computes the same
gradient faster; this form is for any patches, and what the fast one is tested against.
"""

from collections.abc import Sequence

import torch

from synaug.theory.two_layer_cnn.distribution import check_seeds, seeded_generator

_INITIALISATION = 1_000  # a stream of its own, far from those of samples


def initial_filters(seeds: Sequence[int], num_filters: int, dim: int, std: float = 0.01, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """W ``[S, J, d]`` from N(0, std^2) (sigma_0 of the paper; 0.01 as in USEFUL's toy, from memory).

    Depends on each seed alone, whatever the others. Raises ValueError for bad seeds, sizes or std.
    """
    if num_filters < 1 or dim < 1 or not std > 0:
        raise ValueError(f"need num_filters >= 1, dim >= 1, std > 0, got {num_filters}, {dim} and {std}")
    return torch.stack(
        [std * torch.randn(num_filters, dim, dtype=torch.float64, generator=seeded_generator(seed, _INITIALISATION)) for seed in check_seeds(seeds)]
    ).to(dtype)


def inner_products(vectors: torch.Tensor, patches: torch.Tensor) -> torch.Tensor:
    """<u_j, x_ip> ``[..., J, N, P]`` of filters or gradients u ``[..., J, d]`` with every patch."""
    return torch.einsum("...jd,...npd->...jnp", vectors, patches)


def logits(filters: torch.Tensor, patches: torch.Tensor) -> torch.Tensor:
    """f(x; W), ``[..., N]`` (Definition 3.2)."""
    return inner_products(filters, patches).pow(3).sum((-3, -1))


def logit_terms(filters: torch.Tensor, patches: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """l_i = sigmoid(-y_i f(x_i; W)), ``[..., N]``: how far example i is from learned (second hand)."""
    return torch.sigmoid(-labels * logits(filters, patches))


def gradient(filters: torch.Tensor, patches: torch.Tensor, labels: torch.Tensor, example_weights: torch.Tensor | None = None) -> torch.Tensor:
    """Gradient by W, ``[..., J, d]``, of the logistic loss, the weighted mean over examples of log(1 + exp(-y f)).

    grad_{w_j} = -3 sum_i s_i l_i y_i sum_p <w_j, x_ip>^2 x_ip, with s_i = 1/N or i's share of the weights (derived
    here).
    """
    z = inner_products(filters, patches)
    margins = labels * z.pow(3).sum((-3, -1))
    weights = torch.ones_like(labels) if example_weights is None else example_weights
    factors = -3 * shares(weights) * torch.sigmoid(-margins) * labels
    return torch.einsum("...jnp,...n,...npd->...jd", z.square(), factors, patches)


def shares(example_weights: torch.Tensor) -> torch.Tensor:
    """Weights divided by their sum, ``[..., N]``; ValueError where one is negative, infinite or NaN, or all are 0."""
    totals = example_weights.sum(-1, keepdim=True)
    if not ((example_weights >= 0).all() and (totals > 0).all() and totals.isfinite().all()):
        raise ValueError("example weights must be finite and not negative, with a positive sum")
    return example_weights / totals
