"""Why generation falls short of fresh real images: the readings of chapter 2's suspects, on frames of known gains."""

import numpy as np
import pandas as pd
import pytest

from synaug.experiments.targeted_suspects import (SUSPECTS, effects, gap_closed, share_of_ceiling, suspect_table,
                                                  suspect_words, what_the_oracle_adds)

SETTING = {"metric": "test_error", "optimizer": "sgd", "architecture": "resnet8", "augment": "flip"}


def frame(gains, seeds=8, spread=0.05, budgets=(0.5, 1.0, 2.0), regimes=("small", "large")):
    """A frame of these gains by arm, over originals of any error; those of another budget by (arm, budget)."""
    rng, rows = np.random.default_rng(0), []
    for regime in regimes:
        for budget in budgets:
            for seed in range(seeds):
                setting = {**SETTING, "regime": regime, "budget": budget, "seed": seed}
                error = 14 - budget + rng.normal(0, 0.5)
                rows.append({**setting, "arm": "original", "kind": "original", "x": 1.0, "value": error})
                rows.append({**setting, "arm": "upsampled", "kind": "upsampled", "x": 2.0, "value": error - 0.1})
                for arm in dict.fromkeys(name if isinstance(name, str) else name[0] for name in gains):
                    gain = gains.get((arm, budget), gains.get(arm, 0.0)) + rng.normal(0, spread)
                    made = {**setting, "arm": arm, "kind": arm.split(",")[0], "x": 5.0}
                    rows += [{**made, "value": error - gain},
                             {**made, "metric": "added", "value": 75.0 if "near-copies" in arm else 100.0}]
    made = pd.DataFrame(rows)
    made.attrs["provenance"] = {"parameters": {"architecture": "resnet8"}}
    return made


GAINS = {"generated": 0.3, "fresh": 2.3, "generated, oracle generator": 1.3, "generated, several strengths": 0.31,
         "generated, near-copies dropped": -0.7, "generated, off-class dropped": 0.3, "generated, from noise": -0.5,
         "generated, from noise, oracle generator": 1.8, ("generated", 2.0): 0.8}


def test_each_suspect_is_read_by_its_paired_difference():
    found = effects(frame(GAINS)).set_index("change")
    assert list(found.index) == [suspect.change for suspect in SUSPECTS]
    assert found["reading"].to_dict() == {
        "an oracle generator": "helps", "images from noise alone": "hurts",
        "an oracle generator, from noise alone": "helps", "several strengths in turn": "no difference",
        "near-copies dropped": "hurts", "off-class images dropped": "no difference",
        "half the steps": "no difference", "twice the steps": "helps"}
    assert found.loc["an oracle generator", "more"] == pytest.approx(1.0, abs=0.1)
    assert found.loc["an oracle generator", "gain"] == pytest.approx(1.3, abs=0.1)
    np.testing.assert_allclose(found["over_copies"], found["gain"] - 0.1)  # copies gain 0.1 at every seed
    assert (found["adjusted"] >= found["p_value"]).all()
    assert found.index[found["dropped"] > 0].tolist() == ["near-copies dropped"]
    assert found.loc["near-copies dropped", "dropped"] == pytest.approx(25)


def test_noise_and_few_seeds_resolve_nothing():
    assert set(effects(frame(GAINS, spread=4.0))["reading"]) == {"not resolved"}
    assert effects(frame(GAINS, seeds=1)).empty and suspect_words(frame(GAINS, seeds=1)) == ""


def test_share_of_the_ceiling():
    made, fresh, ratio = share_of_ceiling(frame(GAINS))
    assert made.estimate == pytest.approx(0.3, abs=0.1) and fresh.estimate == pytest.approx(2.3, abs=0.1)
    assert ratio.estimate == pytest.approx(made.estimate / fresh.estimate)
    assert share_of_ceiling(frame({"generated": 0.3})) is None
    assert share_of_ceiling(frame({**GAINS, "fresh": -1.0})) is None


def test_words_say_what_the_table_says():
    whole = frame(GAINS)
    words, oracle = suspect_words(whole), effects(whole).set_index("change").loc["an oracle generator"]
    assert f"What helps: an oracle generator {oracle['more']:+.2f} [" in words
    hurt = next(line for line in words.splitlines() if "What hurts" in line)
    for change in ("images from noise alone", "near-copies dropped"):
        assert f"{change} {effects(whole).set_index('change').loc[change, 'more']:+.2f} [" in hurt
    made, fresh, _ = share_of_ceiling(whole)
    closed = gap_closed(whole, "generated, oracle generator")
    assert closed.estimate == pytest.approx(oracle["more"] / (fresh.estimate - made.estimate))
    added = what_the_oracle_adds(whole)
    assert added["from the classifier's images"].estimate == pytest.approx(1.0, abs=0.1)
    assert added["from noise alone"].estimate == pytest.approx(2.3, abs=0.1)
    assert f"over the usual one: from the classifier's images {added[next(iter(added))].estimate:+.2f} [" in words
    assert "Large regime, k = 5" in words
    assert f"is closed: an oracle generator {100 * closed.estimate:.0f} % [" in words and "the steps 2" not in words
    most = gap_closed(whole, "generated, from noise, oracle generator")
    assert most.estimate > closed.estimate and f"closes more than {100 * most.high:.0f} % of it" in words
    table = suspect_table(whole)
    assert not table.astype(str).apply(lambda column: column.str.contains("nan|inf")).any(axis=None)
    only_half = suspect_words(frame({"generated": 0.3, "fresh": 2.3}, budgets=(0.5, 1.0)))
    assert "What changes less than 0.2 points: half the steps" in only_half and "is closed" not in only_half


def test_a_run_without_suspects_says_nothing():
    bare = frame({"generated": 0.3, "fresh": 2.0}, budgets=(1.0,))
    assert suspect_words(bare) == "" and suspect_table(bare).empty
