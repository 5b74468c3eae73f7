import numpy as np
import pytest
from scipy.stats import binom, binomtest

from synaug.statistics.proportions import newcombe_interval, subgroup_share, wilson_interval


@pytest.mark.parametrize("successes, n", [(0, 1), (0, 20), (3, 300), (81, 263), (299, 300), (20, 20)])
def test_wilson_as_scipy(successes, n):
    ours = wilson_interval(successes, n)
    theirs = binomtest(successes, n).proportion_ci(0.95, method="wilson")
    assert ours.estimate == successes / n and ours.n == n
    np.testing.assert_allclose([ours.low, ours.high], [theirs.low, theirs.high], atol=1e-12)


# Newcombe 1998, table II, method 10.
@pytest.mark.parametrize(
    "counts, low, high",
    [
        ((56, 70, 48, 80), 0.0524, 0.3339),
        ((9, 10, 3, 10), 0.1705, 0.8090),
        ((6, 7, 2, 7), 0.0582, 0.8062),
        ((5, 56, 0, 29), -0.0381, 0.1926),
        ((10, 10, 0, 20), 0.6791, 1.0),
    ],
)
def test_newcombe_as_published(counts, low, high):
    found = newcombe_interval(*counts)
    np.testing.assert_allclose([found.low, found.high], [low, high], atol=5e-5)


def test_newcombe_is_antisymmetric():
    one, other = newcombe_interval(270, 300, 45, 50), newcombe_interval(45, 50, 270, 300)
    np.testing.assert_allclose([one.estimate, one.low, one.high], [-other.estimate, -other.high, -other.low])


def test_newcombe_covers_at_its_confidence():
    """Exact coverage, summed over all outcomes of 60 and 40 trials, is near 95 % on average."""
    n, m, covered = 60, 40, []
    limits = {(a, b): newcombe_interval(a, n, b, m) for a in range(n + 1) for b in range(m + 1)}
    for p, q in [(0.9, 0.9), (0.95, 0.85), (0.5, 0.6), (0.02, 0.01)]:
        inside = [binom.pmf(a, n, p) * binom.pmf(b, m, q) for (a, b), i in limits.items() if i.low <= p - q <= i.high]
        covered.append(sum(inside))
    assert min(covered) > 0.93 and 0.94 < np.mean(covered) < 0.985


@pytest.mark.parametrize("arguments", [(-1, 5), (6, 5), (0, 0), (float("nan"), 5), (1, 5, 1.0)])
def test_bad_input_is_refused(arguments):
    with pytest.raises(ValueError):
        wilson_interval(*arguments)


# Of 1,000 images with a share: a judge that flags 95 % of the subgroup and 3 % of others, tried on 200 and 800 images.
@pytest.mark.parametrize("share", [0.005, 0.03, 0.1, 0.5])
def test_a_share_is_corrected_for_the_judges_confusions(share):
    rng, m = np.random.default_rng(0), 2000
    counts = zip(rng.binomial(1000, share * 0.95 + (1 - share) * 0.03, m), rng.binomial(200, 0.95, m), rng.binomial(800, 0.03, m))
    found = [subgroup_share(flagged, 1000, hits=hits, positives=200, false_alarms=alarms, negatives=800) for flagged, hits, alarms in counts]
    assert np.mean([one.estimate for one in found]) == pytest.approx(share, abs=0.001)
    assert 0.93 < np.mean([one.low <= share <= one.high for one in found]) <= 0.985


def test_a_perfect_judge_needs_no_correction():
    found = subgroup_share(30, 1000, hits=10**6, positives=10**6, false_alarms=0, negatives=10**6)
    wilson = wilson_interval(30, 1000)
    assert found.estimate == 0.03 and (found.low, found.high) == pytest.approx((wilson.low, wilson.high), abs=2e-3)


def test_a_judge_at_chance_says_nothing_and_a_worse_one_is_refused():
    found = subgroup_share(300, 1000, hits=33, positives=100, false_alarms=30, negatives=100)
    assert np.isnan(found.estimate) and (found.low, found.high) == (0, 1)
    with pytest.raises(ValueError, match="worse than chance: it flags 3 of 100"):
        subgroup_share(300, 1000, hits=3, positives=100, false_alarms=60, negatives=100)
    with pytest.raises(ValueError, match="n >= 1"):
        subgroup_share(300, 1000, hits=0, positives=0, false_alarms=60, negatives=100)
