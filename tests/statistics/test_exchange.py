"""What added images are worth, against curves whose inverse is known."""

import numpy as np
import pytest

from synaug.statistics.exchange import exchange_rate

NUMBERS = np.array([300.0, 1000.0, 3000.0])
CURVES = {
    "linear": (lambda m: 0.001 * np.asarray(m), 1e-12),
    "power": (lambda m: np.asarray(m) ** 0.7 / 100, 0.02),
    "logarithm": (lambda m: np.log1p(np.asarray(m) / 950), 0.03),
}


def pairs(values, spread=0.0, n=10, seed=0):
    values = np.asarray(values, float)[..., None]
    return values + spread * np.random.default_rng(seed).normal(size=(*values.shape[:-1], n))


@pytest.mark.parametrize("curve", CURVES)
@pytest.mark.parametrize("added, rate", [(1000, 1.0), (1000, 2.5), (3000, 5.0), (9000, 4.0), (9000, 9.0), (900, 3.0)])
def test_images_worth_a_share_of_a_reference_image_have_its_inverse_as_rate(curve, added, rate):
    f, tolerance = CURVES[curve]
    found = exchange_rate(added, pairs(f(added / rate)), NUMBERS, pairs(f(NUMBERS)), n_bootstrap=20)
    assert found.estimate == pytest.approx(rate, rel=tolerance) and found.low == pytest.approx(found.high)
    assert found.bound == added / 3000 and found.n == 10


def test_the_interval_covers_as_often_as_it_says():
    f, spread, held = CURVES["linear"][0], 0.3, 0
    for seed in range(100):
        noise = pairs(np.zeros(4), spread, seed=seed) + pairs(0.0, 0.3, seed=1000 + seed)  # what a pair's gains share
        found = exchange_rate(3000, f(1000) + noise[3], NUMBERS, f(NUMBERS)[:, None] + noise[:3], n_bootstrap=200)
        held += found.low <= 3 <= found.high
    assert 0.9 <= held / 100 <= 1


def test_beyond_the_ruler_and_no_gain_are_said():
    f = CURVES["linear"][0]
    above = exchange_rate(3000, pairs(9.0, 0.1), NUMBERS, pairs(f(NUMBERS), 0.1))
    assert (above.estimate, above.low, above.high) == (1, 1, 1) and str(above) == "at most 1 (beyond the ruler; up to 1)"
    below = exchange_rate(3000, pairs(-0.5, 0.1), NUMBERS, pairs(f(NUMBERS), 0.1))
    assert below.estimate == below.low == below.high == np.inf and str(below) == "no rate, as nothing is gained"
    at_the_end = exchange_rate(3000, pairs(2.5, 0.9), NUMBERS, pairs(f(NUMBERS), 0.1))
    assert at_the_end.low == 1 < at_the_end.estimate and "[≤1, " in str(at_the_end)
    perhaps = exchange_rate(3000, pairs(0.2, 0.5), NUMBERS, pairs(f(NUMBERS), 0.1))
    assert 0 < perhaps.estimate < perhaps.high == np.inf and str(perhaps).endswith(", ∞]")


def test_dips_of_the_ruler_that_are_noise_are_levelled():
    ruler = pairs([1.0, 0.95, 3.0], 0.3)
    assert 1000 / 1000 <= exchange_rate(1000, pairs(0.9), NUMBERS, ruler).estimate < 1000 / 300 * 1.5


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"reference_gains": pairs([0, 0, 0.01], 0.5)}, r"the ruler is flat: 3000 reference images gain .*not told from 0"),
        ({"reference_gains": pairs([1, 3, 2], 0.1)}, "not monotone: 3000 reference images gain less than 1000"),
        ({"reference_gains": pairs([1, 2], 0.1)}, r"reference_gains \[m, n\], got \[10\], \[3\] and \[2, 10\]"),
        ({"gains": [1.0, 2.0]}, "n >= 3"),
        ({"gains": pairs(np.nan)}, "finite"),
        ({"added": 0}, "added must be positive"),
        ({"reference_added": [300, 300, 3000]}, "increasing"),
        ({"confidence": 1}, "confidence must be a finite number of more than 0 and less than 1"),
        ({"n_bootstrap": 0}, "n_bootstrap must be a whole number of at least 1, got 0"),
    ],
)
def test_rulers_and_gains_that_say_nothing_are_refused(wrong, message):
    right = {"added": 3000, "gains": pairs(1.0, 0.1), "reference_added": NUMBERS, "reference_gains": pairs([1, 2, 3], 0.1)}
    with pytest.raises(ValueError, match=message):
        exchange_rate(**{**right, **wrong})
