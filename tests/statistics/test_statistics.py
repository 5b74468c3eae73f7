import tracemalloc

import numpy as np
import pytest
from scipy import stats

from synaug.statistics import bootstrap_interval, holm, jackknife_interval, mean_interval, paired_interval, ratio_interval
from synaug.statistics.intervals import detectable, draws_interval

DIFFERENCES = np.array([0.4, -0.1, 0.7, 0.9, 0.3, 0.5])


def test_mean_interval_is_that_of_scipy():
    interval = mean_interval(DIFFERENCES, 0.9)
    expected = stats.t.interval(0.9, 5, DIFFERENCES.mean(), stats.sem(DIFFERENCES))
    assert (interval.low, interval.high) == pytest.approx(expected, rel=1e-12)
    assert (interval.estimate, interval.n) == (pytest.approx(0.45), 6)


def test_paired_interval_is_the_paired_t_test():
    baseline = np.linspace(0, 1, 6)
    expected = stats.ttest_rel(baseline + DIFFERENCES, baseline)
    found = paired_interval(DIFFERENCES)
    assert found.p_value == pytest.approx(expected.pvalue, rel=1e-10)
    limits = expected.confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((limits.low, limits.high), rel=1e-10)


def test_differences_without_spread():
    assert paired_interval([0.0, 0.0]).p_value == 1.0
    found = paired_interval([0.5, 0.5, 0.5])
    assert (found.low, found.high, found.p_value) == (0.5, 0.5, 0.0)


def test_ratio_interval_covers_the_ratio_of_means():
    """800 data sets of 100 pairs: the share that misses a true ratio of 2.5 has a standard error of 0.8 points."""
    rng = np.random.default_rng(0)
    missed = 0
    for _ in range(800):
        below = rng.gamma(4, 0.5, 100)
        found = ratio_interval(2.5 * below + below * rng.normal(size=100), below)
        assert found.low < found.estimate < found.high
        missed += not found.low <= 2.5 <= found.high
    assert 0.03 < missed / 800 < 0.08
    assert found.n == 100
    exact = ratio_interval([1.0, 3.0, 2.0], [0.5, 1.5, 1.0])
    assert (exact.estimate, exact.low, exact.high) == pytest.approx((2, 2, 2))


@pytest.mark.parametrize("below, message", [([1.0, 2.0], "as many, got 3 and 2"), ([1.0, -1.0, 0.0], "must not be 0")])
def test_ratios_that_make_no_sense_are_refused(below, message):
    with pytest.raises(ValueError, match=message):
        ratio_interval([1.0, 2.0, 3.0], below)


def test_holm_by_hand_and_order():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    p = np.random.default_rng(0).uniform(size=8) ** 3
    adjusted, shuffle = holm(p), np.random.default_rng(1).permutation(8)
    assert holm(p[shuffle]) == pytest.approx(adjusted[shuffle])
    assert (adjusted >= p).all() and (adjusted <= np.minimum(1, 8 * p) + 1e-15).all()


def test_holm_rejects_as_the_step_down_procedure():
    p, alpha = np.array([0.001, 0.012, 0.02, 0.03, 0.2]), 0.05
    rejected = []
    for step, value in enumerate(np.sort(p)):  # stop at the first that fails
        if value > alpha / (len(p) - step):
            break
        rejected.append(value)
    assert p[holm(p) <= alpha] == pytest.approx(rejected)


def test_bootstrap_agrees_with_scipy_and_repeats():
    values = np.random.default_rng(3).exponential(size=80)
    found = bootstrap_interval(values, n_bootstrap=4000, seed=1)
    expected = stats.bootstrap((values,), np.mean, n_resamples=4000, method="percentile", rng=2).confidence_interval
    width = expected.high - expected.low
    assert found.low == pytest.approx(expected.low, abs=0.05 * width)
    assert found.high == pytest.approx(expected.high, abs=0.05 * width)
    assert found == bootstrap_interval(values, n_bootstrap=4000, seed=1)
    assert found != bootstrap_interval(values, n_bootstrap=4000, seed=2)
    median = bootstrap_interval(values, np.median, n_bootstrap=500)
    assert median.estimate == np.median(values) and median.low < median.estimate < median.high


def test_an_interval_over_draws_takes_draws_as_the_unit():
    """It covers where the draws differ, which the interval over all values does not."""
    one = draws_interval([[value] for value in DIFFERENCES])
    expected = paired_interval(DIFFERENCES)
    assert one.low <= expected.low and one.high >= expected.high and one.p_value == expected.p_value and one.n == 6
    rng = np.random.default_rng(0)
    runs = [rng.normal(1, 1, (6, 1)) + rng.normal(0, 0.5, (6, 5)) for _ in range(200)]
    covered = np.mean([found.low < 1 < found.high for found in (draws_interval(run, n_bootstrap=200) for run in runs)])
    pooled = np.mean([found.low < 1 < found.high for found in (mean_interval(run.ravel()) for run in runs)])
    assert 0.91 < covered < 0.99 and pooled < 0.8
    many = draws_interval([[0.0, 100.0]] * 3)  # no spread between draws, and much within: the bootstrap decides
    assert many.low < 20 and many.high > 80 and many.p_value == 0


def test_limits_over_draws_are_those_of_all_draws_resampled_in_the_memory_of_one():
    """All draws resampled at once, of which one each is taken: 100 draws take 160 MB that way."""
    draws = [np.random.default_rng(i).normal(0, 30, 2 + i % 4) for i in range(6)]
    rng = np.random.default_rng(3)
    resampled = np.stack([draw[rng.integers(len(draw), size=(6 * 500, len(draw)))].mean(1) for draw in draws])
    means = resampled[rng.integers(6, size=6 * 500), np.arange(6 * 500)].reshape(500, 6).mean(1)
    found, t = draws_interval(draws, n_bootstrap=500, seed=3), paired_interval([draw.mean() for draw in draws])
    assert (found.low, found.high) == (min(t.low, np.quantile(means, 0.025)), max(t.high, np.quantile(means, 0.975)))
    tracemalloc.start()
    draws_interval(np.random.default_rng(0).normal(size=(100, 3)))
    assert tracemalloc.get_traced_memory()[1] < 30e6
    tracemalloc.stop()


def test_what_draws_could_have_seen_and_how_many_would_decide():
    means = DIFFERENCES - DIFFERENCES.mean() + 0.1
    seen, needed = detectable(means, margin=0.3)
    rng, sem = np.random.default_rng(0), stats.sem(means)
    runs = rng.normal(seen, sem * 6**0.5, (4000, 6))
    found = (stats.ttest_1samp(runs, 0, axis=1).pvalue < 0.05).mean()
    assert found == pytest.approx(0.8, abs=0.03)
    half = {n: stats.t.ppf(0.975, n - 1) * means.std(ddof=1) / n**0.5 for n in (needed - 1, needed)}
    assert 0.1 + half[needed] < 0.3 <= 0.1 + half[needed - 1]
    assert detectable(means + 2, margin=0.3)[1] == 3  # two draws: 12.7 standard errors


def test_the_number_that_would_decide_is_the_least():
    """As by counting up, where that ends; and where millions are needed."""
    rng, most = np.random.default_rng(0), 0
    for _ in range(60):
        means = rng.normal(rng.normal(), 1, rng.integers(2, 8))
        margin, confidence = rng.choice([0.2, 0.5, 2.0]), rng.choice([0.5, 0.95, 0.999])
        needed, mean, spread = 2, abs(means.mean()), means.std(ddof=1)
        while stats.t.ppf((1 + confidence) / 2, needed - 1) * spread / needed**0.5 >= max(mean, margin - mean):
            needed += 1
        assert detectable(means, margin, confidence)[1] == needed
        most = max(most, needed)
    assert most > 100
    _, needed = detectable([1, -1, 0.5, -0.5], margin=0.001)
    assert needed == 3_201_219
    half = [stats.t.ppf(0.975, n - 1) * (2.5 / 3 / n) ** 0.5 for n in (needed - 1, needed)]
    assert half[1] < 0.001 <= half[0]
    assert detectable([1, -1, 0.5, -0.5], margin=1e-9)[1] == pytest.approx(2.5 / 3 * (stats.norm.ppf(0.975) / 1e-9) ** 2)


def test_jackknife_of_a_mean_with_groups_of_one_is_the_t_interval():
    left_out = [np.delete(DIFFERENCES, i).mean() for i in range(6)]
    found, expected = jackknife_interval(DIFFERENCES.mean(), left_out), mean_interval(DIFFERENCES)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), rel=1e-10)


@pytest.mark.parametrize(
    "call",
    [
        lambda: mean_interval([1.0]),
        lambda: mean_interval([1.0, np.nan]),
        lambda: mean_interval([[1.0, 2.0]]),
        lambda: mean_interval([1.0, 2.0], confidence=1.0),
        lambda: bootstrap_interval([1.0, 2.0], n_bootstrap=0),
        lambda: jackknife_interval(0.0, [1.0]),
        lambda: draws_interval([[1.0], []]),
        lambda: draws_interval([[1.0, 2.0]]),
        lambda: draws_interval([[1.0], [2.0]], n_bootstrap=0),
        lambda: detectable([1.0, 2.0], margin=0.0),
        lambda: detectable([1.0, 2.0], margin=np.nan),
        *(
            lambda wrong=wrong, name=name: detectable([1.0, 2.0], margin=1.0, **{name: wrong})
            for wrong in (0.0, 1.0, 1.5, -0.5, np.nan)
            for name in ("confidence", "power")
        ),
        lambda: holm([]),
        lambda: holm([0.5, 1.2]),
    ],
)
def test_bad_input_is_refused(call):
    with pytest.raises(ValueError):
        call()
