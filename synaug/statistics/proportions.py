"""Intervals for proportions, and for the difference of two independent ones.

Normal intervals (estimate plus or minus 1.96 standard errors) fail near 0 and 1, where agreement rates and shares
of near-copies lie; score intervals do not.
"""

import math

from scipy.stats import norm

from synaug.statistics.intervals import Interval


def wilson_interval(successes, n, confidence=0.95):
    """A proportion, successes / n, and its score interval (Wilson 1927), always within [0, 1].

    Raises ValueError unless 0 <= successes <= n, n >= 1, and the confidence lies in (0, 1).
    """
    if not 0 <= successes <= n or n < 1:
        raise ValueError(f"need 0 <= successes <= n and n >= 1, got {successes} of {n}")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie strictly between 0 and 1, got {confidence}")
    z, share = norm.ppf((1 + confidence) / 2), successes / n
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    # At 0 and n the limit equals the estimate, up to rounding.
    return Interval(share, min(share, max(0.0, centre - half)), max(share, min(1.0, centre + half)), int(n))


def newcombe_interval(successes, n, baseline_successes, baseline_n, confidence=0.95):
    """successes / n minus baseline_successes / baseline_n, two independent proportions, and its interval.

    Newcombe 1998 (Statistics in Medicine 17, 873-890), method 10: the Wilson intervals of both, combined.
    ``n`` of the result is the smaller of the two. Raises as `wilson_interval`.
    """
    one = wilson_interval(successes, n, confidence)
    other = wilson_interval(baseline_successes, baseline_n, confidence)
    difference = one.estimate - other.estimate
    low = difference - math.hypot(one.estimate - one.low, other.high - other.estimate)
    high = difference + math.hypot(one.high - one.estimate, other.estimate - other.low)
    return Interval(difference, low, high, min(one.n, other.n))
