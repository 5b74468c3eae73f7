"""Frechet distance between Gaussians fitted to two sets of features."""

import numpy as np
import scipy.linalg
from scipy.linalg import lapack

from synaug.metrics.inputs import Features, as_feature_pair

CHUNK = 4096  # rows converted to float64 at a time: bounds the memory beyond the covariances


def frechet_distance(real: Features, fake: Features) -> float:
    """|mu_r - mu_f|^2 + tr(S_r + S_f - 2 (S_r S_f)^(1/2)) between features ``[N, D]`` and ``[M, D]``.

    The squared 2-Wasserstein distance of the fitted Gaussians (Dowson & Landau 1982; as FID in Heusel
    et al. 2017, eq. 6), covariances with N - 1 and M - 1 in the denominator. It is an FID only on
    Inception-v3 features: on EfficientNet-Lite0 it is FD-EfficientNetLite0, and the two are never
    compared. Never negative up to rounding; rises with a finite-sample bias of order D / N, so
    compare only at equal sizes and read it against the value for fresh real data.

    Everything is float64, with no matrix square root and no complex numbers. With S = F F^T for each, F of full
    column rank, the trace of the root is the sum of the singular values of F_r^T F_f. F holds the centred rows when
    N <= D, else the Cholesky factor, or the eigenvectors outside the null space. A singular covariance is therefore
    treated as it is: pytorch-fid adds 1e-6 to the diagonals when its square root fails, and is then off by up to
    about 2e-6 D.

    Raises TypeError or ValueError for anything but two finite floating sets, N, M >= 2, of equal D.
    """
    real, fake = as_feature_pair(real, fake)
    real, fake = (features.cpu().numpy() for features in (real, fake))
    mean_r, mean_f = (features.mean(axis=0, dtype=np.float64) for features in (real, fake))
    return _distance(mean_r, _factor(real, mean_r), mean_f, _factor(fake, mean_f))


def _distance(mean_r, factor_r: np.ndarray, mean_f, factor_f: np.ndarray) -> float:
    cross = factor_r.T @ factor_f
    gram = cross @ cross.T if cross.shape[0] <= cross.shape[1] else cross.T @ cross
    trace_sqrt = np.sqrt(np.maximum(np.linalg.eigvalsh(gram), 0.0)).sum()
    traces = np.square(factor_r).sum() + np.square(factor_f).sum()
    return float(np.square(mean_r - mean_f).sum() + traces - 2 * trace_sqrt)


def _factor(features: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """F ``[D, r]`` with F F^T the covariance of features ``[N, D]``, which is summed by chunks of rows when N > D."""
    n, dim = features.shape
    if n <= dim:
        return (features - mean).T / np.sqrt(n - 1)
    covariance = np.zeros((dim, dim))
    for start in range(0, n, CHUNK):
        centred = features[start : start + CHUNK] - mean
        covariance += centred.T @ centred
    return _root(covariance / (n - 1))


def _root(covariance: np.ndarray) -> np.ndarray:
    """F ``[D, r]`` with F F^T = S, r = rank(S): square roots of rounding errors would add up, so null spaces go."""
    rounding = len(covariance) * np.finfo(np.float64).eps * np.diag(covariance).max()
    lower, failed = lapack.dpotrf(covariance, lower=1)
    if not failed and np.square(np.diag(lower)).min() > rounding:
        return lower
    values, vectors = scipy.linalg.eigh(covariance)
    keep = values > rounding
    return vectors[:, keep] * np.sqrt(values[keep])
