"""What holds of the published explanation: every step from verdicts that there are."""

import pandas as pd
import pytest

from synaug.statistics.claims import load_claims, verdict_table
from synaug.figures.published_explanation import STEPS, what_holds
from synaug.run.results import load_recorded


@pytest.fixture(scope="module")
def verdicts():
    runs = map(load_recorded, ("exact_score", "empirical_score", "real_generators"))
    return pd.concat(map(verdict_table, runs))


def test_every_step_has_its_verdicts(verdicts):
    lines = what_holds(verdicts).splitlines()
    assert len(lines) == len(STEPS)
    for line, (step, claims) in zip(lines, STEPS.items()):
        assert line.startswith(f"- *{step}.* ") and line.count("**") == 2 * len(claims)
        for claim in claims:
            verdict = verdicts.set_index("id").at[claim, "verdict"]
            assert f"“{load_claims()[claim].statement}” **{verdict}**." in line


def test_a_missing_verdict_is_an_error(verdicts):
    with pytest.raises(ValueError, match="no verdict on euler-concentrates"):
        what_holds(verdicts[verdicts["id"] != "euler-concentrates"])
