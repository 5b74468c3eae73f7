"""The first page and the claims page: every number is one of a recorded frame, and what is said holds."""

import re
from html import escape

import pandas as pd
import pytest
from PIL import Image
from scipy import stats

from synaug.chapters import claims_page, findings
from synaug.chapters.what_is_left_out.rare_events import DATASETS
from synaug.diffusion.trainer import RECORD
from synaug.paths import ROOT, checkpoints_dir
from synaug.run.results import load_recorded
from synaug.statistics.claims import load_claims

README = (ROOT / "README.md").read_text(encoding="utf-8")
INDEX = (ROOT / "book" / "index.md").read_text(encoding="utf-8")


def test_every_finding_holds_and_its_place_exists():
    found = findings.findings()
    assert 5 <= len(found) <= 7
    for finding in found:
        assert finding.holds, finding
        text = (ROOT / "notebooks" / f"{finding.chapter}.py").read_text("utf-8")
        sections = [title.lower().replace(" ", "-") for title in re.findall("^# ##+ (.*)$", text, re.MULTILINE)]
        assert f'"name": "{finding.place}"' in text or finding.place in sections


def test_the_readme_says_what_the_frames_say():
    between = re.search(r"<!-- findings -->\n(.*)\n<!-- end of findings -->", README, re.DOTALL)[1]
    assert between == findings.in_readme(), "run: python -m synaug.chapters.findings"
    before_commands = README.partition("## Two lines")[0]
    assert not re.search(r"[−+]\d", before_commands.replace(between, "")), "a number that no frame holds"
    with Image.open(findings.FIGURE) as image:
        assert image.text["Description"] == findings.drawn(), "run: python -m synaug.chapters.findings"
    assert findings.FIGURE.stat().st_size < 60_000


def test_the_first_page_is_short_and_takes_its_numbers_from_the_frames():
    prose = re.sub(r"^---.*?---|<[^>]*>|```.*?```|\{\w+:?\w*\}`[^`]*`", "", INDEX, flags=re.DOTALL)
    assert not re.search(r"[−+]\d|\d\.\d", prose)
    shown = " ".join([prose, re.sub("<[^>]*>", "", findings.markdown()), findings.CAPTION, *findings.advice().to_numpy().ravel(), *findings.ARMS.values()])
    assert len(shown.split()) <= 500


@pytest.mark.parametrize(
    "arm, where, against",
    [
        ("fresh", {"kind": "fresh", "x": 5, "augment": "flip"}, {"kind": "original", "augment": "flip"}),
        ("generated, from noise", {"arm": "generated, from noise", "x": 5}, {"kind": "original", "augment": "flip"}),
        ("TrivialAugment", {"kind": "original", "augment": "flip_trivial"}, {"kind": "original", "augment": "flip"}),
    ],
)
def test_gains_are_those_of_a_computation_by_hand(arm, where, against):
    frame = load_recorded("targeted_augmentation").query(
        "metric == 'test_error' and regime == 'small' and optimizer == 'sgd' and architecture == 'resnet8' and budget == 1"
    )
    one, other = (frame[(frame[list(w)] == pd.Series(w)).all(axis=1)].set_index("seed")["value"] for w in (against, where))
    difference = (one - other).dropna()
    interval = stats.t.interval(0.95, len(difference) - 1, difference.mean(), difference.sem())
    (row,) = findings.gains_by_data_set().query("arm == @arm and dataset == 'Fashion-MNIST'").itertuples()
    assert (row.estimate, row.low, row.high) == pytest.approx((difference.mean(), *interval))


def test_a_number_is_written_without_a_negative_zero():
    assert findings.points(pd.Series({"estimate": -0.03, "low": -1.25, "high": 0.06})) == "0.0 [−1.2,\u00a0+0.1]"


@pytest.mark.parametrize("experiment", claims_page.CHAPTERS)
def test_every_claim_has_a_row_with_its_anchor_verdicts_and_rule(experiment):
    page, claims = claims_page.claims_table(experiment).data, load_claims(experiment)
    assert re.findall(r'<tr id="claim-([^"]+)"', page) == list(claims)
    assert page.count("<details>") == len(claims) and "nan" not in page and "object at 0x" not in page
    assert f'claims_table("{experiment}")' in (ROOT / "book" / "claims.md").read_text("utf-8")
    assert (">CIFAR-10</th>" in page) == (experiment in ("mode_concentration", "targeted_augmentation"))
    notebook = (ROOT / "notebooks" / f"{claims_page.CHAPTERS[experiment]}.py").read_text("utf-8")
    for claim in claims.values():
        assert f'"name": "{claims_page.figure(claim)}"' in notebook, claim.id
        assert (claims_page.figure(claim) in page) == bool(claims_page.verdicts(experiment)), claim.id
        assert page.count(escape(claim.caveat)) >= 2 or not claim.caveat or not claims_page.verdicts(experiment)
    of_theorem = [row for row in page.split("<tr ") if re.search("Theorem|Corollary", row)]
    assert not any(re.search(r">reproduced\b", row) for row in of_theorem)


def test_the_claims_are_counted_once_per_data_set():
    table = claims_page.counts()
    assert table["claims"].sum() == len(load_claims()) and table["chapter"].is_unique
    for row in table.itertuples():
        verdicts = {part.partition(": ")[0]: sum(map(int, re.findall(r"(?<![-\w])\d+", part))) for part in row.verdicts.split("; ")}
        assert sum(n for data, n in verdicts.items() if data != "CIFAR-10") == row.claims
    assert {claim.experiment for claim in load_claims().values()} == set(claims_page.CHAPTERS)
    table = claims_page.generators().set_index("trained on")["distance"]
    assert len(table) == len(list(checkpoints_dir().glob(f"*/{RECORD}"))) == 10
    assert table.str.contains("chapter 6").sum() == len(DATASETS)
    assert table["Fashion-MNIST, 2,000"] == "339 [318, 360] against 125 [119, 131]"  # chapter 0's run of it
    levels = claims_page.levels().set_index(["channels", "images seen"])["distance"]
    assert len(levels) == 10 and levels["16 and 32", "32,000"] == "3,119 [3,028, 3,211] against 294 [275, 312]"


def test_every_conjecture_has_claims_that_decide_it():
    page = claims_page.conjectures("../").data
    assert re.findall('<tr id="conjecture-([0-9])"', page) == list("1234567") and "claims_page.conjectures(" in (ROOT / "book" / "claims.md").read_text("utf-8")
    own = {claim.id for claim in load_claims().values() if claim.source.removeprefix("this book, ") in claims_page.CONJECTURES}
    assert set(re.findall('href="../claims.html#claim-([^"]+)"', page)) == own and len(own) >= 20
