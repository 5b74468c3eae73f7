"""How well measures predict outcomes of families that are left out."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import LeaveOneGroupOut, cross_val_predict

from synaug.statistics.prediction import left_out_predictions, noise_ceiling, rank_correlation, rank_correlations

RNG = np.random.default_rng(0)
X, GROUPS = RNG.normal(size=30), np.repeat(list("abcde"), 6)
Y = 2 * X + RNG.normal(size=30)


def test_predictions_are_those_of_scikit_learn():
    other = cross_val_predict(LinearRegression(), X[:, None], Y, groups=GROUPS, cv=LeaveOneGroupOut())
    np.testing.assert_allclose(left_out_predictions(X, Y, GROUPS), other)


def test_a_family_has_no_part_in_what_is_said_of_it():
    shifted = Y + 100 * (GROUPS == "c")
    same = GROUPS == "c"
    np.testing.assert_allclose(left_out_predictions(X, Y, GROUPS)[same], left_out_predictions(X, shifted, GROUPS)[same])
    np.testing.assert_allclose(left_out_predictions(np.ones(30), Y, GROUPS)[same], Y[~same].mean())


def test_correlations_and_what_they_have_over_the_reference():
    found = rank_correlations({"good": Y + RNG.normal(size=30) / 4, "bad": RNG.normal(size=30)}, Y, "bad").set_index("predictor")
    assert found.loc["good", "low"] > 0.5 and found.loc["good", "over_low"] > 0
    assert found.loc["bad", ["over", "over_low", "over_high"]].tolist() == [0, 0, 0]
    assert found.loc["bad", "low"] < 0 < found.loc["bad", "high"]
    assert rank_correlation(X, Y) == pytest.approx(spearmanr(X, Y).statistic) and rank_correlation(np.ones(30), Y) == 0


def test_sets_of_one_family_count_as_one_where_families_are_resampled():
    one, other = RNG.normal(size=(2, 12))
    thrice, groups = np.repeat([one, other], 3, axis=1), np.repeat(np.arange(12), 3)
    numbers = ["value", "low", "high", "over", "over_low", "over_high"]
    twelve = rank_correlations({"a": one, "b": -one}, other, "b")[numbers]
    found = rank_correlations({"a": thrice[0], "b": -thrice[0]}, thrice[1], "b", groups=groups)[numbers]
    np.testing.assert_allclose(found, twelve)
    alone = rank_correlations({"a": thrice[0], "b": -thrice[0]}, thrice[1], "b")[numbers]
    assert alone["high"][0] - alone["low"][0] < 0.8 * (found["high"][0] - found["low"][0])


def test_the_ceiling_is_what_the_truth_itself_would_have():
    truth = RNG.normal(size=400)
    seen = truth[:, None] + 1.5 * RNG.normal(size=(400, 6))
    assert noise_ceiling(seen) == pytest.approx(rank_correlation(truth, seen.mean(1)), abs=0.05)
    assert noise_ceiling(RNG.normal(size=(400, 6))) < 0.4 and noise_ceiling(np.tile(truth[:, None], 4)) == pytest.approx(1)


@pytest.mark.parametrize("seeds", [4, 5, 7])
def test_the_ceiling_holds_for_odd_numbers_of_seeds(seeds):
    """Halves of two of five seeds, say, are scaled to five, not to four: 0.71 by the noise given here, not 0.67."""
    rng = np.random.default_rng(1)
    truth = rng.normal(size=4000)
    seen = truth[:, None] + 2.15 * rng.normal(size=(4000, seeds))
    assert noise_ceiling(seen, n_splits=50) == pytest.approx(rank_correlation(truth, seen.mean(1)), abs=0.02)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: left_out_predictions(X[:4], Y[:4], list("aabb")), "at least 3 groups are needed to leave one out, got a, b"),
        (lambda: left_out_predictions(X, Y, [*GROUPS[:-1], None]), "every set needs a group, set 29 has none"),
        (lambda: left_out_predictions(X, Y, [*GROUPS[:-1], np.nan]), "set 29 has none"),
        (lambda: left_out_predictions(X, Y, [np.nan, *np.repeat([1.0, 2, 3], 10)[1:]]), "set 0 has none"),
        (lambda: left_out_predictions(X, Y, pd.Series(GROUPS).where(GROUPS != "b")), "set 6 has none"),
        (lambda: left_out_predictions(X, Y[:4], GROUPS), "there must be as many of each"),
        (lambda: left_out_predictions([*X[:-1], np.nan], Y, GROUPS), "measures must be finite"),
        (lambda: rank_correlations({"a": Y}, Y, "b"), "no prediction 'b'; there are a"),
        (lambda: rank_correlations({"a": Y[:3]}, Y[:3], "a"), "at least 4 entries"),
        (lambda: rank_correlations({"a": Y}, Y, "a", groups=["x"]), "30 outcomes and 1 groups"),
        (lambda: rank_correlations({"a": Y}, Y, "a", n_bootstrap=0), "n_bootstrap must be a whole number of at least 1, got 0"),
        (lambda: noise_ceiling(RNG.normal(size=(9, 4)), n_splits=0), "n_splits must be a whole number of at least 1, got 0"),
        (lambda: noise_ceiling(RNG.normal(size=(9, 3))), "of at least four seeds"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
