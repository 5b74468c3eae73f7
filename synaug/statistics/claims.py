"""The ledger of published claims: what was claimed, what we measure, the rule fixed beforehand, the verdict.

The claims themselves are data, in ``data/claims.json``; the published numbers stand in
``data/published``. A frame of results comes in, verdicts come out; nothing here runs an experiment.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial

import pandas as pd

from synaug.checks import one_of
from synaug.paths import data_dir
from synaug.statistics import rules
from synaug.statistics.frames import bare, check_frame, experiment_of

#: What each verdict is called where the claim is this book's own.
OWN = {
    rules.OPPOSITE: "not supported: opposite",
    rules.NO_EFFECT: "not supported: no effect",
    rules.NOT_RESOLVED: rules.NOT_RESOLVED,
    rules.SHAPE_ONLY: "supported: shape only",
    rules.REPRODUCED: "supported",
}
#: What verdicts of a confirmatory run are called where it is not the usual name.
CONFIRMED = {rules.NO_EFFECT: "no effect within the margin", rules.NOT_RESOLVED: "inconclusive", rules.REPRODUCED: "supported"}
WITHDRAWN = "withdrawn"
#: When a rule was written down, as the history of ``data/claims.json`` and of ``data/results`` has it.
FIXED = ("before the run", "after a first look", "after the run")


@dataclass(frozen=True)
class Claim:
    """One claim, of a paper or this book's own, and how it is decided.

    id          short name, unique in the ledger
    experiment  the experiment whose frame decides it
    source      paper, and the section, figure or table of it
    statement   the claim in our own words
    statistic   what we measure for it, in words
    where       columns of the frame and the values that select its rows
    parts       rules; each a dict with ``kind``, one of ``rules.RULES``, and that rule's
                arguments. ``provided``: a contrast, or several, without whose being positive the part means
                nothing. ``family``: the name of the contrasts, of all claims of the ledger, over which
                Holm's correction runs. The claim is as good as its weakest part.
    published   what the paper gives: ``text``, and ``series`` where there are points to draw
    best        the best verdict that the published numbers allow
    seeds_only  training is part of the measurement, so that intervals over images will not do
    own         no paper states it: it is this book's, of something that a paper leaves open or outside its premises
    confirmatory  decided by a run of draws, after exploratory ones: its verdicts have names of their own
    fixed       when the rule was written down, one of ``FIXED``: with all but the first the claim is exploratory
    caveat      what was seen after the run and limits what the verdict says; shown beside it
    withdrawn   the verdict does not count, for that reason
    """

    id: str
    experiment: str
    source: str
    statement: str
    statistic: str
    where: dict
    parts: list[dict]
    published: dict = field(default_factory=dict)
    best: str = rules.REPRODUCED
    seeds_only: bool = False
    own: bool = False
    confirmatory: bool = False
    fixed: str = FIXED[0]
    caveat: str = ""
    withdrawn: bool = False

    def __post_init__(self):
        one_of(f"'fixed' of claim {self.id},", self.fixed, FIXED)
        one_of(f"'best' of claim {self.id},", self.best, rules.VERDICTS)
        for part in self.parts:
            one_of(f"kind of a rule of claim {self.id},", part.get("kind"), rules.RULES)
            if "family" in part and part["kind"] != "contrast":
                raise ValueError(f"claim {self.id}: families are of contrasts, got a rule of kind {part['kind']!r}")


@dataclass(frozen=True)
class Verdict:
    """``verdict``: one of ``rules.VERDICTS``; ``parts``: of each part of the claim, a sentence with the computed numbers;
    ``decisive``: the place of the weakest part, as which the claim is judged; ``numbers``: the intervals behind it, by part
    and name."""

    claim: Claim
    verdict: str
    parts: tuple[str, ...]
    decisive: int
    numbers: dict

    @property
    def evidence(self) -> str:
        """The sentences of all parts, and the claim's caveat if it has one, joined by "; "."""
        return "; ".join([*self.parts, *[f"but {self.claim.caveat}"] * bool(self.claim.caveat)])

    @property
    def words(self) -> str:
        """The verdict as it is shown: what a paper claims is reproduced, what this book claims, or confirms, is supported."""
        if self.claim.withdrawn:
            return WITHDRAWN
        names = (OWN if self.claim.own else {}) | (CONFIRMED if self.claim.confirmatory else {})
        return names.get(self.verdict, self.verdict)


def load_claims(experiment: str | None = None) -> dict[str, Claim]:
    """The ledger, or the claims of one experiment, by id, in the order of ``data/claims.json``.

    ValueError on a double id, a bad rule, or an experiment that no claim is about.
    """
    entries = json.loads((data_dir() / "claims.json").read_text(encoding="utf-8"))
    claims = {}
    for entry in entries:
        claim = Claim(**entry)
        if claim.id in claims:
            raise ValueError(f"two claims are called {claim.id!r}")
        claims[claim.id] = claim
    if experiment is None:
        return claims
    chosen = {name: claim for name, claim in claims.items() if claim.experiment == experiment}
    if not chosen:
        known = ", ".join(sorted({claim.experiment for claim in claims.values()}))
        raise ValueError(f"no claim is about the experiment {experiment!r}: there are claims about {known}")
    return chosen


def load_published(name: str = "yamaguchi2024") -> dict:
    """The published numbers of one paper, as read from its tables and figures."""
    return json.loads((data_dir() / "published" / f"{name}.json").read_text(encoding="utf-8"))


def published_series(claim: Claim) -> pd.DataFrame:
    """The paper's own points for a claim, in the units of our metric: columns metric, x, value, spread.

    ``spread`` is the paper's +- where it prints one (its meaning is not stated there), else NaN.
    Empty when the paper has no points.
    """
    rows = []
    for series in claim.published.get("series", ()):
        table = load_published(series["file"])[series["table"]]
        for x, point in zip(table["t_re"], table[series["column"]]):
            value, spread = point if isinstance(point, list) else (point, float("nan"))
            scale = series.get("scale", 1.0)
            rows.append({"metric": series["metric"], "x": x, "value": value * scale, "spread": spread * scale})
    return pd.DataFrame(rows, columns=["metric", "x", "value", "spread"])


def family_p_values(name: str, *frames: pd.DataFrame) -> dict[tuple[str, int], float]:
    """The adjusted p-values of a family, by claim and place among its parts; each contrast on the frame of its claim's experiment."""
    by_experiment = {experiment_of(frame): frame for frame in frames}
    members = {
        (claim.id, i): (by_experiment.get(claim.experiment), part["terms"], claim.where, part.get("constant", 0.0))
        for claim in load_claims().values()
        for i, part in enumerate(claim.parts)
        if part.get("family") == name
    }
    return dict(zip(members, rules.family_p_values(list(members.values()))))


def judged_with(experiment: str) -> set[str]:
    """The other experiments whose claims have a family in common with this one's: of one run, they are judged together."""
    members = [(part["family"], claim.experiment) for claim in load_claims().values() for part in claim.parts if "family" in part]
    own = {name for name, member in members if member == experiment}
    return {member for name, member in members if name in own} - {experiment}


def judge(claim: Claim, frame: pd.DataFrame, families: dict | None = None, beside: Iterable[pd.DataFrame] = ()) -> Verdict:
    """Decide one claim on a tidy frame of results.

    families: p-values of families that are known already, by name; others are added.
    beside: frames of other experiments, whose contrasts count in the families of this one's.

    A frame without the needed metric, levels or seeds gives "not resolved at this scale", and the
    evidence says what is missing. ValueError when the frame is not tidy or mixes several runs (data
    sets, profiles, arms) that the claim does not tell apart.
    """
    frame = check_frame(frame)
    verdicts, evidence, numbers = [], [], {}
    families = {} if families is None else families
    for i, part in enumerate(claim.parts):
        part = dict(part)
        rule = partial(rules.RULES[part.pop("kind")], frame, claim.where, claim.seeds_only)
        provided = part.pop("provided", None)
        if (name := part.pop("family", None)) is not None:
            if name not in families:
                families[name] = family_p_values(name, *beside, frame)
            part |= {"adjusted": families[name][claim.id, i], "tests": len(families[name])}
        try:
            verdict, text, found = rule(**part)
            for condition in provided if isinstance(provided, list) else [provided] if provided else []:
                ground = rules.contrast(frame, condition["terms"], claim.where, condition["constant"], claim.seeds_only)
                found["provided"] = ground
                if ground.low <= 0:
                    verdict, amount = rules.NOT_RESOLVED, ground.text(*rules.unit_of(frame, condition["terms"]))
                    perhaps, what = "" if ground.high < 0 else "perhaps ", "over that: " if condition["constant"] else ""
                    text = f"{text}; but {perhaps}{condition['because']}: {what}{amount}"
        except rules.NotMeasured as missing:
            verdict, text, found = rules.NOT_RESOLVED, str(missing), {}
        verdicts.append(verdict)
        evidence.append(text)
        numbers[f"part {i + 1}"] = found
    weakest = min([*verdicts, claim.best], key=rules.VERDICTS.index)
    return Verdict(claim, weakest, tuple(evidence), verdicts.index(min(verdicts, key=rules.VERDICTS.index)), numbers)


def verdict_table(frame: pd.DataFrame, claims: dict[str, Claim] | None = None, beside: Iterable[pd.DataFrame] = ()) -> pd.DataFrame:
    """A row per claim: id, source, statement, statistic, published, verdict, evidence.

    claims: None for all those about the frame's experiment. beside: see `judge`. ValueError where there are none, or the
    frame has several.
    """
    if claims is None:
        claims = load_claims(experiment_of(frame))
    frame, rows, families = bare(frame), [], {}
    for claim in claims.values():
        verdict = judge(claim, frame, families, beside)
        told = {name: getattr(claim, name) for name in ("id", "source", "statement", "statistic")}
        rows.append({**told, "published": claim.published.get("text", ""), "verdict": verdict.words, "evidence": verdict.evidence})
    return pd.DataFrame(rows)
