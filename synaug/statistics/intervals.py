"""Intervals and multiplicity for comparisons over paired seeds.

Two arms that share a seed (same initialisation, same batch order) differ by one number per seed;
the functions here take those differences, ``[n]``, one entry per seed. All are two-sided unless said.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import stats

from synaug.checks import number, whole


@dataclass(frozen=True)
class Interval:
    """An estimate with its confidence limits, from ``n`` values."""

    estimate: float
    low: float
    high: float
    n: int

    @property
    def columns(self) -> dict[str, float]:
        """Estimate and limits as the columns of a frame of results."""
        return {"value": self.estimate, "low": self.low, "high": self.high}


@dataclass(frozen=True)
class PairedInterval(Interval):
    """Also the p-value of the paired t-test of "no difference"."""

    p_value: float


def _values(values: Collection[float], name: str, at_least: int) -> np.ndarray:
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name} must be numbers, got {type(values).__name__} ({error})") from error
    if array.ndim != 1 or len(array) < at_least:
        raise ValueError(f"{name} must be one-dimensional with at least {at_least} entries, got shape {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} must be finite, got {array[~np.isfinite(array)][0]}")
    return array


def mean_interval(values: Collection[float], confidence: float = 0.95) -> Interval:
    """The mean of ``values [n]``, n >= 2, and Student's t interval for it (n - 1 degrees of freedom).

    Identical values give an interval of width zero.
    Raises ValueError for fewer than two values, a value that is not finite, or a confidence outside (0, 1).
    """
    mean, error, n = _mean_and_error(values)
    number("confidence", confidence, above=0, below=1)
    half = stats.t.ppf((1 + confidence) / 2, n - 1) * error
    return Interval(mean, float(mean - half), float(mean + half), n)


def _mean_and_error(values: Collection[float]) -> tuple[float, float, int]:
    """The mean, its standard error (exactly 0 for identical values), and how many there are."""
    values = _values(values, "values", 2)
    spread = values.std(ddof=1) if np.ptp(values) > 0 else 0.0
    return float(values.mean()), float(spread / np.sqrt(len(values))), len(values)


def paired_interval(differences: Collection[float], confidence: float = 0.95) -> PairedInterval:
    """Mean difference over paired seeds with its t interval and the p-value of "no difference".

    ``differences [n]``: arm minus baseline, one per seed, n >= 2; in the unit of the metric.
    Differences that are all equal give width zero and a p-value of 0 (or 1 when they are all 0).
    Raises ValueError as ``mean_interval``.
    """
    interval = mean_interval(differences, confidence)
    mean, error, n = _mean_and_error(differences)
    p_value = 2 * float(stats.t.sf(abs(mean) / error, n - 1)) if error else float(mean == 0)
    return PairedInterval(mean, interval.low, interval.high, n, min(1.0, p_value))


def draws_interval(draws: Sequence[Collection[float]], confidence: float = 0.95, n_bootstrap: int = 2000, seed: int = 0) -> PairedInterval:
    """The mean over draws of their means, where a draw (of data, of a generator) has several values, such as seeds.

    The interval is the wider, on either side, of Student's t over the means of draws (n - 1 degrees of freedom, n draws)
    and a percentile bootstrap that resamples draws, then values within each (Davison & Hinkley 1997, sec. 3.8). The
    p-value is that of the t-test over the means. Raises ValueError as ``mean_interval``, for an empty draw, and for
    n_bootstrap < 1.
    """
    n_bootstrap = whole("n_bootstrap", n_bootstrap, 1)
    given = [_values(values, "values of a draw", 1) for values in draws]
    over_means, times = paired_interval([values.mean() for values in given], confidence), len(given) * n_bootstrap

    def places(rng):
        return (rng.integers(len(values), size=(times, len(values))) for values in given)

    # The stream has numbers for all draws before it says which is drawn, so that it is read twice: this keeps the limits
    # of results that are recorded, and no more than one draw's numbers at a time.
    rng = np.random.default_rng(seed)
    for _ in places(rng):
        pass
    which, means = rng.integers(len(given), size=times), np.empty(times)
    for i, (values, chosen) in enumerate(zip(given, places(np.random.default_rng(seed)))):
        means[which == i] = values[chosen[which == i]].mean(1)
    low, high = np.quantile(means.reshape(n_bootstrap, len(given)).mean(1), [(1 - confidence) / 2, (1 + confidence) / 2])
    return replace(over_means, low=min(over_means.low, float(low)), high=max(over_means.high, float(high)))


def detectable(means: Collection[float], margin: float, confidence: float = 0.95, power: float = 0.8) -> tuple[float, int]:
    """What draws whose means are these ``[n]`` could have seen, and how many would decide.

    First, the effect that t-tests of as many draws with this spread find with about that power: (t_confidence +
    t_power) standard errors. Then the least number of draws at which the t interval around the same mean would leave out
    0 or lie within ``margin`` > 0. Raises ValueError as ``mean_interval``, and for a power outside (0, 1).
    """
    mean, error, n = _mean_and_error(means)
    number("margin", margin, above=0)
    for name, share in (("confidence", confidence), ("power", power)):
        number(name, share, above=0, below=1)
    quantiles = [(1 + confidence) / 2, power]
    spread, wanted = error * np.sqrt(n), max(abs(mean), margin - abs(mean))

    def decides(draws: int) -> bool:
        return stats.t.ppf(quantiles[0], draws - 1.0) * spread / np.sqrt(float(draws)) < wanted

    too_few, enough = 1, 2  # intervals shrink with the number of draws: it is doubled, then what lies between is halved
    while not decides(enough):
        too_few, enough = enough, 2 * enough
    while enough - too_few > 1:
        middle = (too_few + enough) // 2
        too_few, enough = (too_few, middle) if decides(middle) else (middle, enough)
    return float(stats.t.ppf(quantiles, n - 1).sum() * error), enough


def ratio_interval(numerators: Collection[float], denominators: Collection[float], confidence: float = 0.95) -> Interval:
    """The ratio of two means over the same items, mean of ``numerators [n]`` over mean of ``denominators [n]``.

    Interval by linearisation (delta method; Cochran 1977, sec. 6.3): Student's t of the residuals numerator - ratio x
    denominator, in units of the mean denominator, which must lie well away from 0.
    Raises ValueError as ``mean_interval``, for unequal lengths, and for a mean denominator of 0.
    """
    above, below = _values(numerators, "numerators", 2), _values(denominators, "denominators", 2)
    if len(above) != len(below):
        raise ValueError(f"numerators and denominators must be as many, got {len(above)} and {len(below)}")
    if below.mean() == 0:
        raise ValueError("the mean of the denominators must not be 0")
    ratio = above.mean() / below.mean()
    residual = mean_interval((above - ratio * below) / below.mean(), confidence)
    return Interval(float(ratio), float(ratio + residual.low), float(ratio + residual.high), residual.n)


def bootstrap_interval(
    values: Collection[float], statistic: Callable[..., np.ndarray] = np.mean, confidence: float = 0.95, n_bootstrap: int = 2000, seed: int = 0
) -> Interval:
    """Percentile bootstrap (Efron & Tibshirani 1993, ch. 13) of a statistic of independent ``values [n]``.

    ``statistic(array, axis=...)`` reduces one axis, as ``np.mean`` and ``np.median`` do. Percentile
    limits are too narrow for a handful of values: use ``mean_interval`` for means over few seeds.
    They are also wrong for statistics that are biased at finite n (distances between distributions):
    use ``jackknife_interval`` for those.
    Raises ValueError for fewer than two values, values that are not finite, n_bootstrap < 1, or a
    confidence outside (0, 1).
    """
    values = _values(values, "values", 2)
    number("confidence", confidence, above=0, below=1)
    n_bootstrap, seed = whole("n_bootstrap", n_bootstrap, 1, 100_000_000), whole("seed", seed, 0)
    rng, n = np.random.default_rng(seed), len(values)
    replicates = np.empty(n_bootstrap)
    chunk = max(1, 2_000_000 // n)  # bounds the resampled array to 16 MB
    for start in range(0, n_bootstrap, chunk):
        stop = min(start + chunk, n_bootstrap)
        replicates[start:stop] = statistic(values[rng.integers(n, size=(stop - start, n))], axis=1)
    low, high = np.quantile(replicates, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(statistic(values, axis=0)), float(low), float(high), n)


def jackknife_interval(estimate: float, replicates: Collection[float], confidence: float = 0.95) -> Interval:
    """Interval for ``estimate`` from its delete-a-group jackknife replicates.

    ``replicates [G]``: the statistic with group g left out, over G >= 2 random groups of (nearly)
    equal size. Standard error sqrt((G - 1) / G * sum (replicate - mean)^2), Student's t with G - 1
    degrees of freedom (Kott 2001, J. Official Statistics 17). Smooth statistics only.
    Raises ValueError for fewer than two replicates or values that are not finite.
    """
    replicates = _values(replicates, "replicates", 2)
    number("confidence", confidence, above=0, below=1)
    groups = len(replicates)
    standard_error = np.sqrt((groups - 1) / groups * np.square(replicates - replicates.mean()).sum())
    half = stats.t.ppf((1 + confidence) / 2, groups - 1) * standard_error
    return Interval(float(estimate), float(estimate - half), float(estimate + half), groups)


def pseudo_values(statistic: Callable[[np.ndarray], float], rows: np.ndarray) -> np.ndarray:
    """Of each of the rows ``[n, ...]``: n times the statistic of all less n - 1 times that without it, ``[n]``.

    Tukey's jackknife (Efron & Tibshirani 1993, eq. 11.11): `mean_interval` of these is an interval of the statistic, such
    as a ratio of means or a correlation, so that it is paired with other values of the same rows (seeds). Smooth
    statistics only. ValueError for fewer than three rows, and where the statistic is not finite.
    """
    rows, n = np.asarray(rows), len(rows)
    if n < 3:
        raise ValueError(f"pseudo-values need at least three rows, got {n}")
    return _values([n * statistic(rows) - (n - 1) * statistic(np.delete(rows, i, 0)) for i in range(n)], "pseudo-values", 3)


def holm(p_values: Collection[float]) -> np.ndarray:
    """Holm's step-down adjusted p-values, ``[m]`` in the given order (Holm 1979).

    Rejecting where an adjusted value is below alpha keeps the chance of any false rejection among
    the m tests below alpha, whatever their dependence.
    Raises ValueError for an empty list or a p-value outside [0, 1].
    """
    p_values = _values(p_values, "p_values", 1)
    if ((p_values < 0) | (p_values > 1)).any():
        raise ValueError(f"p_values must lie in [0, 1], got {p_values.min()} to {p_values.max()}")
    m, order = len(p_values), np.argsort(p_values, kind="stable")
    steps = np.maximum.accumulate((m - np.arange(m)) * p_values[order])
    adjusted = np.empty(m)
    adjusted[order] = np.minimum(steps, 1.0)
    return adjusted
