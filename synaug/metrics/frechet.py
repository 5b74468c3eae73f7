"""Frechet distance between Gaussians fitted to two sets of features."""

import numpy as np
import scipy.linalg
from scipy.linalg import blas, lapack

from synaug.metrics.inputs import as_feature_pair

CHUNK = 4096  # rows converted to float64 at a time: bounds the memory beyond the covariances


def frechet_distance(real, fake) -> float:
    """|mu_r - mu_f|^2 + tr(S_r + S_f - 2 (S_r S_f)^(1/2)) between features ``[N, D]`` and ``[M, D]``.

    The squared 2-Wasserstein distance of the fitted Gaussians (Dowson & Landau 1982; as FID in Heusel
    et al. 2017, eq. 6), covariances with N - 1 and M - 1 in the denominator. It is an FID only on
    Inception-v3 features: on EfficientNet-Lite0 it is FD-EfficientNetLite0, and the two are never
    compared. Never negative up to rounding; rises with a finite-sample bias of order D / N, so
    compare only at equal sizes and read it against the value for fresh real data.

    Everything is float64, with no matrix square root and no complex numbers. For two regular
    covariances the trace is the sum of the square roots of the eigenvalues of S_r S_f, a symmetric
    problem after a Cholesky factorisation. Otherwise, with S = F F^T for each, it is the sum of the singular
    values of F_r^T F_f; F holds the centred rows when N <= D and the eigenvectors outside the null
    space when N > D. A singular covariance is therefore treated as it is: pytorch-fid adds 1e-6 to the
    diagonals when its square root fails, and is then off by up to about 2e-6 D.

    Raises TypeError or ValueError for anything but two finite floating sets, N, M >= 2, of equal D.
    """
    real, fake = as_feature_pair(real, fake)
    real, fake = (features.cpu().numpy() for features in (real, fake))
    mean_r, mean_f = (features.mean(axis=0, dtype=np.float64) for features in (real, fake))
    if min(len(real), len(fake)) > real.shape[1]:
        return distance_of_moments(mean_r, _covariance(real, mean_r), mean_f, _covariance(fake, mean_f))
    return _distance_of_factors(mean_r, _factor(real, mean_r), mean_f, _factor(fake, mean_f))


def distance_of_moments(
    mean_r: np.ndarray, covariance_r: np.ndarray, mean_f: np.ndarray, covariance_f: np.ndarray
) -> float:
    """The Frechet distance of two Gaussians: float64 means ``[D]`` and covariances ``[D, D]``.

    With S_f = L L^T, the eigenvalues of S_r S_f are those of the symmetric L^T S_r L.
    """
    lower, failed = lapack.dpotrf(covariance_f, lower=1)
    if not failed and np.square(np.diag(lower)).min() > _threshold(covariance_f):
        half = blas.dtrmm(1.0, lower, covariance_r, side=1, lower=1)  # triangular: half a product's work
        eigenvalues = np.linalg.eigvalsh(blas.dtrmm(1.0, lower, half, trans_a=1, lower=1))
        if eigenvalues[0] > len(eigenvalues) * np.finfo(np.float64).eps * eigenvalues[-1]:
            traces = np.trace(covariance_r) + np.trace(covariance_f)
            return float(np.square(mean_r - mean_f).sum() + traces - 2 * np.sqrt(eigenvalues).sum())
    # Singular, or nearly: square roots of rounding errors would add up, so the null spaces go first.
    return _distance_of_factors(mean_r, _regular_factor(covariance_r), mean_f, _regular_factor(covariance_f))


def _distance_of_factors(mean_r, factor_r: np.ndarray, mean_f, factor_f: np.ndarray) -> float:
    cross = factor_r.T @ factor_f
    gram = cross @ cross.T if cross.shape[0] <= cross.shape[1] else cross.T @ cross
    trace_sqrt = np.sqrt(np.maximum(np.linalg.eigvalsh(gram), 0.0)).sum()
    traces = np.square(factor_r).sum() + np.square(factor_f).sum()
    return float(np.square(mean_r - mean_f).sum() + traces - 2 * trace_sqrt)


def _covariance(features: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Covariance ``[D, D]`` of features ``[N, D]``, by chunks of rows."""
    covariance = np.zeros((len(mean), len(mean)))
    for start in range(0, len(features), CHUNK):
        centred = features[start : start + CHUNK] - mean
        covariance += centred.T @ centred
    return covariance / (len(features) - 1)


def _threshold(covariance: np.ndarray) -> float:
    """Variances below this are rounding."""
    return len(covariance) * np.finfo(np.float64).eps * np.diag(covariance).max()


def _factor(features: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """F ``[D, r]`` with F F^T = S: the centred rows, or what ``_regular_factor`` gives when N > D."""
    n, dim = features.shape
    if n > dim:
        return _regular_factor(_covariance(features, mean))
    return (features - mean).T / np.sqrt(n - 1)


def _regular_factor(covariance: np.ndarray) -> np.ndarray:
    """F ``[D, r]``, r = rank(S): the scaled eigenvectors outside the null space."""
    values, vectors = scipy.linalg.eigh(covariance)
    keep = values > _threshold(covariance)
    return vectors[:, keep] * np.sqrt(values[keep])
