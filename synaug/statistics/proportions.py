"""Intervals for proportions, and for the difference of two independent ones.

Normal intervals (estimate plus or minus 1.96 standard errors) fail near 0 and 1, where agreement rates and shares
of near-copies lie; score intervals do not.
"""

import math

from scipy.stats import binomtest

from synaug.checks import number
from synaug.statistics.intervals import Interval, check_fraction


def wilson_interval(successes: int, n: int, confidence: float = 0.95) -> Interval:
    """A proportion, successes / n, and its score interval (Wilson 1927), always within [0, 1].

    Raises ValueError unless 0 <= successes <= n, n >= 1, both whole, and the confidence lies in (0, 1).
    """
    successes, n = number("successes", successes), number("n", n)
    if not 0 <= successes <= n or n < 1 or successes % 1 or n % 1:
        raise ValueError(f"need whole numbers, 0 <= successes <= n and n >= 1, got {successes} of {n}")
    check_fraction(confidence, "confidence")
    limits = binomtest(int(successes), int(n)).proportion_ci(confidence, method="wilson")
    return Interval(successes / n, float(limits.low), float(limits.high), int(n))


def newcombe_interval(successes: int, n: int, baseline_successes: int, baseline_n: int,
                      confidence: float = 0.95) -> Interval:
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
