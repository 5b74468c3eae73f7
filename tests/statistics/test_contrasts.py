import numpy as np
import pandas as pd
import pytest
from scipy import stats

from synaug.statistics import holm
from synaug.statistics.contrasts import differences, paired, select


def table(arms=("original", "copies", "generated"), seeds=6, **columns):
    rng = np.random.default_rng(0)
    rows = [
        {"arm": arm, "seed": seed, "metric": metric, "value": rng.normal(20 - 2 * place, 1), **columns}
        for place, arm in enumerate(arms)
        for seed in range(seeds)
        for metric in ("test_error", "seconds")
    ]
    return pd.DataFrame(rows)


def by_seed(frame, arm, metric="test_error"):
    return frame[(frame["arm"] == arm) & (frame["metric"] == metric)].set_index("seed")["value"]


FRAME = pd.DataFrame({"arm": ["a", "b", None, "c"], "x": [1.0, np.nan, 2.0, 1.0], "n": pd.array([1, 2, None, 1], "Int64"), "yes": [True, False, True, False]})


@pytest.mark.parametrize(
    "where, rows",
    [
        ({}, [0, 1, 2, 3]),
        ({"arm": "a"}, [0]),
        ({"arm": ["a", "c"], "x": 1}, [0, 3]),
        ({"arm": ("a", None)}, [0, 2]),
        ({"x": None}, [1]),
        ({"x": np.nan, "arm": "b"}, [1]),
        ({"x": np.array([2, np.nan])}, [1, 2]),
        ({"x": [1, "a"]}, [0, 3]),
        ({"n": pd.NA}, [2]),
        ({"n": 1, "yes": False}, [3]),
        ({"n": range(3)}, [0, 1, 3]),
        ({"arm": []}, []),
        ({"arm": "nobody"}, []),
        ({"x": "a"}, []),
    ],
)
def test_rows_are_selected_by_value(where, rows):
    FRAME.attrs["provenance"] = {"parameters": 1}
    found = select(FRAME, **where)
    assert found.index.tolist() == rows and found.attrs == {} and FRAME.attrs
    assert found.dtypes.equals(FRAME.dtypes)


def test_selection_of_nothing_and_by_an_unknown_column():
    assert select(None, metric="recall", level=1)["value"].empty
    with pytest.raises(ValueError, match="no column 'arms'; the closest is 'arm'"):
        select(FRAME, arms="a")


@pytest.mark.parametrize("confidence", [0.95, 0.9])
def test_contrasts_are_paired_t_tests_with_holm(confidence):
    frame = table().sample(frac=1, random_state=0)
    found = paired(frame, {"arm": "original"}, metric="test_error", confidence=confidence).set_index("arm")
    assert sorted(found.index) == ["copies", "generated"]
    for arm, row in found.iterrows():
        test = stats.ttest_rel(by_seed(frame, arm).sort_index(), by_seed(frame, "original").sort_index())
        expected = (*test.confidence_interval(confidence), test.pvalue, 6)
        assert (row["low"], row["high"], row["p_value"], row["n"]) == pytest.approx(expected, rel=1e-9)
    assert found["adjusted"].to_numpy() == pytest.approx(holm(found["p_value"]))
    turned = paired(frame, {"arm": "original"}, "arm", "test_error", "seed", sign=-1, correct=None).set_index("arm")
    assert turned["estimate"].to_numpy() == pytest.approx(-found["estimate"].to_numpy())
    assert turned["adjusted"].isna().all()


def test_pairs_need_both_sides():
    frame = table()
    absent = {("copies", seed) for seed in range(1, 6)} | {("original", 5)}
    frame = frame[[pair not in absent for pair in zip(frame["arm"], frame["seed"])]]
    found = paired(frame, {"arm": "original"}, metric="test_error").set_index("arm")
    assert found["n"].to_dict() == {"copies": 1, "generated": 5}
    only = by_seed(frame, "copies")[0] - by_seed(frame, "original")[0]
    assert found.loc["copies", "estimate"] == pytest.approx(only)
    assert found.loc["copies", ["low", "high", "p_value", "adjusted"]].isna().all()
    assert found.loc["generated", "adjusted"] == found.loc["generated", "p_value"]
    for nothing in (paired(None, {"arm": "original"}), paired(frame, {"arm": "nobody"}, metric="test_error")):
        assert nothing.empty and "adjusted" in nothing


def test_pairs_may_share_settings_that_are_missing():
    """Each setting has its own baseline; the swept value is no part of a pair."""
    small, large = table(regime="small", x=1.0), table(regime=None, x=1.0)
    frame = pd.concat([small, large.assign(value=large["value"] + 7)], ignore_index=True)
    frame.loc[frame["arm"] == "original", "x"] = np.nan
    found = paired(frame, {"arm": "original"}, ["regime", "arm", "x"], "test_error", pair=("regime", "seed"))
    alone = paired(small, {"arm": "original"}, ["arm", "x"], "test_error")
    assert len(found) == 4 and found["estimate"].to_numpy() == pytest.approx(np.tile(alone["estimate"], 2))
    with pytest.raises(ValueError, match="baseline.*several rows with the same seed; columns that differ: regime"):
        paired(frame, {"arm": "original"}, ["regime", "arm"], "test_error")


def test_what_cannot_be_paired_is_refused():
    frame = table()
    with pytest.raises(ValueError, match="columns that differ: metric"):
        paired(frame, {"arm": "original"})
    with pytest.raises(ValueError, match="'copies'.*same seed; columns that differ: none"):
        rows = select(frame, metric="test_error")
        paired(pd.concat([rows, rows[rows["arm"] == "copies"]]), {"arm": "original"})
    with pytest.raises(ValueError, match="'generated'.*not finite at {'seed': 3}"):
        frame.loc[(frame["arm"] == "generated") & (frame["seed"] == 3), "value"] = np.nan
        paired(frame, {"arm": "original"}, metric="test_error")
    with pytest.raises(ValueError, match="closest is 'seed'"):
        paired(frame, {"arm": "original"}, pair=("seeds",))
    with pytest.raises(ValueError, match="correct must be"):
        paired(frame, {"arm": "original"}, correct="bonferroni")


def test_differences_can_be_compared_in_turn():
    frame = table(low=0.0, high=1.0)
    gains = differences(frame, {"arm": "original"}, metric="test_error", sign=-1)
    assert set(gains["arm"]) == {"copies", "generated"} and set(gains) == set(frame) - {"low", "high"}
    for arm in ("copies", "generated"):
        pd.testing.assert_series_equal(by_seed(gains, arm), by_seed(frame, "original") - by_seed(frame, arm))
    more = paired(gains, {"arm": "copies"})
    assert more["arm"].tolist() == ["generated"]
    assert more["estimate"].item() == pytest.approx((by_seed(frame, "copies") - by_seed(frame, "generated")).mean())
