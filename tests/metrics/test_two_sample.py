"""The two-sample AUC and density ratios, against scikit-learn and densities that are known."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold

from synaug.metrics import density_ratio_weights, effective_sample_size, two_sample_auc
from synaug.metrics.two_sample import auc_interval

RNG = np.random.default_rng(0)
REAL, FAKE = RNG.normal(size=(3000, 5)), RNG.normal(size=(2000, 5)) + [0.8, 0, 0, 0, 0]


def test_the_area_is_that_of_scikit_learn():
    low, high = RNG.normal(size=200).round(1), RNG.normal(1, 1, size=300).round(1)
    found = auc_interval(low, high)
    assert found.estimate == pytest.approx(roc_auc_score(np.repeat([0, 1], [200, 300]), np.concatenate([low, high])), abs=1e-12)
    areas = [auc_interval(RNG.normal(size=200), RNG.normal(1, 1, size=300)).estimate for _ in range(300)]
    assert (found.high - found.low) / 3.92 == pytest.approx(np.std(areas), rel=0.2)


def test_the_auc_is_that_of_scikit_learn_on_the_half_that_was_left_out():
    both, which = np.concatenate([REAL, FAKE]), np.repeat([0, 1], [3000, 2000])
    x = (both - both.mean(0)) / both.std(0)
    fitted, left = next(StratifiedKFold(2, shuffle=True, random_state=0).split(x, which))
    model = LogisticRegression(C=1 / 2500, class_weight="balanced").fit(x[fitted], which[fitted])
    expected = roc_auc_score(which[left], model.decision_function(x[left]))
    assert two_sample_auc(REAL, FAKE).estimate == pytest.approx(expected, abs=1e-6)
    assert two_sample_auc(100 * REAL + 7, 100 * FAKE + 7).estimate == pytest.approx(two_sample_auc(REAL, FAKE).estimate, abs=1e-3)


def test_intervals_hold_a_half_as_often_as_they_say():
    rng = np.random.default_rng(0)
    found = [two_sample_auc(*rng.normal(size=(2, 60, 8)), seed) for seed in range(200)]
    inside = np.mean([one.low <= 0.5 <= one.high for one in found])
    assert 0.9 <= inside <= 0.99 and np.mean([one.estimate for one in found]) == pytest.approx(0.5, abs=0.02)


def test_sets_that_were_matched_by_class_are_not_told_apart():
    """With classes that lie apart, halves of unequal classes would say that the sets differ, the other way round."""
    rng, centres = np.random.default_rng(1), 4 * np.eye(12)
    labels = np.repeat(np.arange(12), 4)
    found = [two_sample_auc(*(centres[labels] + rng.normal(size=(2, 48, 12))), seed, classes=(labels, labels)).estimate for seed in range(150)]
    assert np.mean(found) == pytest.approx(0.5, abs=0.025)


def test_columns_of_any_scale_count():
    columns = [np.concatenate([part, 1e7 * RNG.normal(size=(len(part), 1)), np.full((len(part), 1), 1e9)], 1) for part in (REAL[:, :1], FAKE[:, :1])]
    assert two_sample_auc(*columns).estimate == pytest.approx(two_sample_auc(REAL[:, :1], FAKE[:, :1]).estimate, abs=0.01)


def test_weights_have_the_known_ratio_and_move_the_real_set_to_the_fake_one():
    weights = density_ratio_weights(REAL, FAKE)
    truth = np.exp(0.8 * REAL[:, 0] - 0.32)  # of two Gaussians whose means differ by 0.8
    assert np.corrcoef(weights.log().numpy(), np.log(truth))[0, 1] > 0.95 and weights.mean() == pytest.approx(1)
    assert float((weights * torch.from_numpy(REAL[:, 0])).mean()) == pytest.approx(FAKE[:, 0].mean(), abs=0.15)
    assert effective_sample_size(weights) == pytest.approx(effective_sample_size(torch.from_numpy(truth)), rel=0.15)


def test_with_squares_a_wide_set_becomes_a_narrow_one():
    wide, narrow = RNG.normal(size=(3000, 2)), 0.6 * RNG.normal(size=(3000, 2))
    weights = density_ratio_weights(*(np.concatenate([x, x**2], 1) for x in (wide, narrow)))
    assert (weights[:, None] * torch.from_numpy(wide) ** 2).mean(0).sqrt().numpy() == pytest.approx(0.6, abs=0.05)


def test_sets_that_are_told_apart_have_an_interval_and_no_ratio():
    apart = FAKE + [50, 0, 0, 0, 0]
    found = two_sample_auc(REAL, apart)
    assert (found.estimate, found.high) == (1, 1) and found.low == pytest.approx(0.025 ** (1 / 1000))
    with pytest.raises(ValueError, match="do not overlap"):
        density_ratio_weights(REAL, apart)


def test_equal_weights_are_worth_all_and_one_is_worth_one():
    assert effective_sample_size(torch.ones(7)) == pytest.approx(7)
    assert effective_sample_size(torch.tensor([0.0, 3.0])) == 1
    assert effective_sample_size(torch.tensor([200, 200], dtype=torch.uint8)) == effective_sample_size(torch.full((2,), 1e30)) == 2
    for wrong in (torch.zeros(3), torch.tensor([1.0, torch.inf]), torch.tensor([1.0, torch.nan])):
        with pytest.raises(ValueError, match="finite, not negative, and not all 0"):
            effective_sample_size(wrong)


def test_classes_must_be_of_the_rows():
    with pytest.raises(ValueError, match="of 3000 and 2000 rows, got 3000 and 3"):
        two_sample_auc(REAL, FAKE, classes=(np.zeros(3000, int), np.zeros(3, int)))


@pytest.mark.parametrize(
    "wrong, message",
    [({"strength": 0}, "strength must be a finite number of more than 0"), ({"folds": 1}, "folds"), ({"fake": REAL[:, :3]}, "differ in dimension")],
)
def test_bad_input_is_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        density_ratio_weights(**{"real": REAL, "fake": FAKE, **wrong})
