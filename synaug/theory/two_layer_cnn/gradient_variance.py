"""Theorem 4.3 and Corollary 4.4 on targeted augmentation: the variance of mini-batch gradients.

Sources and symbols as in `theory`; B = batch_size, N' the size of the augmented set, per_example the variance of one
example's gradient, taken as equal for all. Variances are over the draw of the data as well as of the batch.
"""

import math

import torch

from synaug.checks import number
from synaug.theory.two_layer_cnn.network import gradient, initial_filters
from synaug.theory.two_layer_cnn.theory import augmented_size

DIM = 12  # of the Monte Carlo check; the formulas do not depend on it


def duplicate_term(k: float, alpha: float, batch_size: int, n: int) -> float:
    """What copies add to the variance of a mini-batch gradient, relative to per_example / B, that of k = 1.

    (B/n) k (k - 1) (1 - alpha) / (alpha + k (1 - alpha))^2 (second hand); for batches without replacement it is exact
    with (B - 1) / (N' - 1) in the place of B / N' (derived here). Times per_example / B it is the same for every B: it
    belongs to the full gradient's variance over data sets, and a fixed data set's batches, drawn with replacement, have
    none of it. Raises ValueError unless 1 <= batch_size <= N'.
    """
    size = augmented_size(n, alpha, k)
    _check_batch(batch_size, size)
    return k * (k - 1) * (1 - alpha) * n / size * batch_size / size


def excess_tolerance(k: float, alpha: float, batch_size: int, n: int) -> float:
    """excess / per_example below which generation's variance is below upsampling's (Corollary 4.4, k > 1).

    excess: by how much a synthetic example's variance exceeds a real one's. (B/n) k / (alpha + k (1 - alpha)), derived
    here from the two variances: upsampling's, see above, and generation's, (per_example + pi excess) / B
    (reconstructed), with pi the share of synthetic examples, (k - 1) (1 - alpha) / (alpha + k (1 - alpha)). The
    corollary itself (second hand) says that generation then converges faster. Raises ValueError as `duplicate_term`.
    """
    number("k", k, above=1)
    size = augmented_size(n, alpha, k)
    _check_batch(batch_size, size)
    return batch_size * k / size


def minibatch_gradients(filters: torch.Tensor, patches: torch.Tensor, labels: torch.Tensor, batch_size: int, generator: torch.Generator) -> torch.Tensor:
    """The gradient ``[R, J, d]`` on one batch from each of R data sets, drawn without replacement.

    filters ``[J, d]``; patches ``[R, M, P, d]``; labels ``[R, M]``; 1 <= batch_size <= M; generator: torch.Generator.
    """
    _check_batch(batch_size, labels.shape[1])
    picks = torch.rand(labels.shape, generator=generator).argsort(1)[:, :batch_size]
    rows = torch.arange(len(labels))[:, None]
    return gradient(filters, patches[rows, picks], labels[rows, picks])


def relative_variance(
    kind: str, n: int, alpha: float, k: int, batch_size: int, draws: int, seed: int = 0, num_filters: int = 40, noise_std: float = 0.125, scale: float = 1.0
) -> tuple[float, float]:
    """Variance of a batch's gradient outside the features' plane, relative to one example's over B, and its standard
    error: Monte Carlo over as many data sets and batches as ``draws``. Arguments as `augmented_draws`.

    Derived here: with filters so small that every logit term is 1/2, one example's variance is
    (9/4) sum_j E[<w_j, xi>^4 ||xi||^2], alike for fast and slow examples; in m coordinates the mean is
    std^6 (3 m + 12) |w_j|^4.
    """
    generator = torch.Generator().manual_seed(seed)
    filters = initial_filters([seed], num_filters, DIM, 1e-3, torch.float64)[0]
    patches, labels = augmented_draws(kind, n, alpha, k, draws, noise_std, generator, scale)
    gradients = minibatch_gradients(filters, patches, labels, batch_size, generator)[..., 2:]
    one = 2.25 * noise_std**6 * (3 * (DIM - 2) + 12) * filters[:, 2:].square().sum(1).square().sum().item()
    variance, error = total_variance(gradients)
    return variance * batch_size / one, error * batch_size / one


def augmented_draws(
    kind: str, n: int, alpha: float, k: int, draws: int, noise_std: float, generator: torch.Generator, scale: float = 1.0
) -> tuple[torch.Tensor, torch.Tensor]:
    """Sets of a kind ("upsampled" or "generated") in reading B, P = 2: patches ``[R, N', 2, d]``, labels ``[R, N']``.

    Each set has its own noise, the synthetic one ``scale`` times as strong. Exactly round(alpha n) examples are fast;
    the noise is orthogonal to the features, the first two axes, of strengths 1 and 0.2, which do not enter the variance
    outside their plane.
    """
    fast = round(alpha * n)
    source = torch.cat([torch.arange(n), torch.arange(fast, n).repeat(k - 1)])
    labels = (2 * torch.randint(0, 2, (draws, n), generator=generator) - 1).double()[:, source]
    distinct = n if kind == "upsampled" else len(source)
    noise = noise_std * torch.randn(draws, distinct, DIM, dtype=torch.float64, generator=generator)
    noise[..., :2] = 0
    noise[:, n:] *= scale
    features = torch.zeros(len(source), DIM, dtype=torch.float64)
    features[source < fast, 0], features[source >= fast, 1] = 1.0, 0.2
    return torch.stack([labels[..., None] * features, noise[:, source] if kind == "upsampled" else noise], 2), labels


def total_variance(gradients: torch.Tensor) -> tuple[float, float]:
    """Trace of the covariance of R independent draws ``[R, ...]``, R >= 2, and its standard error (for large R)."""
    if len(gradients) < 2:
        raise ValueError(f"a variance needs at least two draws, got {len(gradients)}")
    r = len(gradients)
    squares = (gradients - gradients.mean(0)).flatten(1).square().sum(1) * r / (r - 1)
    return squares.mean().item(), squares.std().item() / math.sqrt(r)


def _check_batch(batch_size, size):
    if not 1 <= batch_size <= size:
        raise ValueError(f"batch_size must lie in 1..{size:g}, the number of examples, got {batch_size}")
