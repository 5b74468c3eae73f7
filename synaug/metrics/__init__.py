"""What a generated set keeps of the real distribution, measured on features.

``real`` and ``fake`` (or reference and candidate) are named arguments in this order everywhere:
floating ``[N, D]`` and ``[M, D]``. Read every value against the real-data baseline, fresh
real data of the same size.
"""

from synaug.metrics.comparison import FRESH_REAL, compare, compare_with_floor
from synaug.metrics.concentration import centroid_distance_ratio, covariance_logdet_ratio
from synaug.metrics.frechet import frechet_distance
from synaug.metrics.near_copies import nearer_than, nearest
from synaug.metrics.neighbours import prdc
from synaug.metrics.two_sample import density_ratio_weights, effective_sample_size, two_sample_auc

__all__ = [
    "FRESH_REAL",
    "centroid_distance_ratio",
    "compare",
    "compare_with_floor",
    "covariance_logdet_ratio",
    "density_ratio_weights",
    "effective_sample_size",
    "frechet_distance",
    "nearer_than",
    "nearest",
    "prdc",
    "two_sample_auc",
]
