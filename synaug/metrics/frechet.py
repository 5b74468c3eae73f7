"""Frechet distance between Gaussians fitted to two sets of features."""

import numpy as np
import scipy.linalg

from synaug.metrics.inputs import as_feature_pair

CHUNK = 4096  # rows converted to float64 at a time: bounds the memory beyond the covariances


def frechet_distance(real, fake) -> float:
    """|mu_r - mu_f|^2 + tr(S_r + S_f - 2 (S_r S_f)^(1/2)) between features ``[N, D]`` and ``[M, D]``.

    The squared 2-Wasserstein distance of the fitted Gaussians (Dowson & Landau 1982; as FID in Heusel
    et al. 2017, eq. 6), covariances with N - 1 and M - 1 in the denominator. It is an FID only on
    Inception-v3 features: on EfficientNet-Lite0 it is FD-EfficientNetLite0, and the two are never
    compared. Never negative up to rounding; rises with a finite-sample bias of order D / N, so
    compare only at equal sizes and read it against the value for fresh real data.

    Everything is float64. With S = F F^T for each set, tr (S_r S_f)^(1/2) is the sum of the singular
    values of F_r^T F_f, taken from the eigenvalues of the smaller of its two Gram matrices: no matrix
    square root, no complex numbers. F is the Cholesky factor when N > D, the centred rows when
    N <= D, and an eigenvector factor without the null space when the covariance is singular. A
    singular covariance is therefore treated as it is: pytorch-fid adds 1e-6 to the diagonals when its
    square root fails and is then off by up to about 2e-6 D.

    Raises TypeError or ValueError for anything but two finite floating sets, N, M >= 2, of equal D.
    """
    real, fake = as_feature_pair(real, fake)
    mean_r, factor_r = _gaussian(real.cpu().numpy())
    mean_f, factor_f = _gaussian(fake.cpu().numpy())
    cross = factor_r.T @ factor_f
    gram = cross @ cross.T if cross.shape[0] <= cross.shape[1] else cross.T @ cross
    eigenvalues = np.linalg.eigvalsh(gram)
    trace_sqrt = np.sqrt(np.maximum(eigenvalues, 0.0)).sum()
    traces = np.square(factor_r).sum() + np.square(factor_f).sum()
    return float(np.square(mean_r - mean_f).sum() + traces - 2 * trace_sqrt)


def _gaussian(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean ``[D]`` and a factor F ``[D, r]`` of the covariance, F F^T = S, of features ``[N, D]``."""
    n, dim = features.shape
    mean = features.mean(axis=0, dtype=np.float64)
    if n <= dim:
        return mean, (features - mean).T / np.sqrt(n - 1)
    covariance = np.zeros((dim, dim))
    for start in range(0, n, CHUNK):
        centred = features[start : start + CHUNK] - mean
        covariance += centred.T @ centred
    return mean, _factor(covariance / (n - 1))


def _factor(covariance: np.ndarray) -> np.ndarray:
    """F ``[D, r]`` with F F^T = S: Cholesky, or r = rank(S) scaled eigenvectors where S is singular."""
    threshold = len(covariance) * np.finfo(np.float64).eps
    try:
        lower = np.linalg.cholesky(covariance)
        if np.square(np.diag(lower)).min() > threshold * np.diag(covariance).max():
            return lower
    except np.linalg.LinAlgError:
        pass
    values, vectors = scipy.linalg.eigh(covariance)
    keep = values > threshold * max(values[-1], 0.0)
    return vectors[:, keep] * np.sqrt(values[keep])
