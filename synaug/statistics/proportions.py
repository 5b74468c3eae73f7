"""Intervals for proportions, the difference of two independent ones, and one seen through a judge who errs.

Normal intervals (estimate plus or minus 1.96 standard errors) fail near 0 and 1, where agreement rates and shares
of near-copies lie; score intervals do not.
"""

import math

from scipy.stats import binomtest, norm

from synaug.checks import number
from synaug.statistics.intervals import Interval


def wilson_interval(successes: int, n: int, confidence: float = 0.95) -> Interval:
    """A proportion, successes / n, and its score interval (Wilson 1927), always within [0, 1].

    Raises ValueError unless 0 <= successes <= n, n >= 1, both whole, and the confidence lies in (0, 1).
    """
    successes, n = number("successes", successes), number("n", n)
    if not 0 <= successes <= n or n < 1 or successes % 1 or n % 1:
        raise ValueError(f"need whole numbers, 0 <= successes <= n and n >= 1, got {successes} of {n}")
    number("confidence", confidence, above=0, below=1)
    limits = binomtest(int(successes), int(n)).proportion_ci(confidence, method="wilson")
    return Interval(successes / n, float(limits.low), float(limits.high), int(n))


def newcombe_interval(successes: int, n: int, baseline_successes: int, baseline_n: int, confidence: float = 0.95) -> Interval:
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


def subgroup_share(flagged: int, n: int, *, hits: int, positives: int, false_alarms: int, negatives: int, confidence: float = 0.95) -> Interval:
    """The share of a subgroup among n images of which a judge flagged some, corrected for the judge's confusions.

    flagged of n: what the judge takes for the subgroup. hits of positives, false_alarms of negatives: what it flags of real
    images that are of the subgroup, and of those that are not. Estimate: (p - f) / (s - f) of these three rates (Rogan &
    Gladen 1978), not cut, so that a mean over draws is unbiased: below 0 where less is flagged than false alarms would be.
    Limits: Lang & Reiczigel 2014 (Preventive Veterinary Medicine 113, 13-22, eq. 5-7), within [0, 1].
    A judge that cannot be told from chance (Newcombe's interval of s - f holds 0) says nothing: NaN, with limits 0 and 1.
    ValueError as `wilson_interval` for counts, an empty set of real images among them, and where the judge is worse than chance.
    """
    wilson_interval(flagged, n, confidence)
    better = newcombe_interval(hits, positives, false_alarms, negatives, confidence)
    if better.high < 0:
        raise ValueError(f"the judge is worse than chance: it flags {hits} of {positives} images of the subgroup and {false_alarms} of {negatives} others")
    if better.low <= 0:
        return Interval(math.nan, 0.0, 1.0, int(n))
    estimate = (flagged / n - false_alarms / negatives) / better.estimate
    z = float(norm.ppf((1 + confidence) / 2))
    p, s, f = ((k + a / 2) / (m + a) for k, m, a in ((flagged, n, z * z), (hits, positives, 2), (false_alarms, negatives, 2)))
    share = (p - f) / (s - f)
    of_hits, of_alarms = s * (1 - s) / (positives + 2), f * (1 - f) / (negatives + 2)
    middle = share + 2 * z * z * (share * of_hits - (1 - share) * of_alarms)
    half = z * math.sqrt(p * (1 - p) / (n + z * z) + share**2 * of_hits + (1 - share) ** 2 * of_alarms) / (s - f)
    return Interval(estimate, min(1.0, max(0.0, middle - half)), max(0.0, min(1.0, middle + half)), int(n))
