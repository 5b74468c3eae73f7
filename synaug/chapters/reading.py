"""What chapters say of their runs and in numbers: estimates with limits, and this build beside the recorded run."""

import re
from collections.abc import Callable

import pandas as pd
from IPython.display import Markdown

from synaug.plots import forest
from synaug.statistics import paired_interval
from synaug.statistics.claims import load_claims, verdict_table
from synaug.statistics.contrasts import select
from synaug.statistics.frames import bare


def drawn(live, recorded=None):
    """The arguments of a figure of one run alone, (live, recorded): the recorded one where there is one."""
    return (live, None) if recorded is None else (None, recorded)


def told(recorded, text: str) -> Markdown:
    """A sentence on a recorded run; without one, that there is none."""
    return Markdown("*Not recorded yet.*" if recorded is None else text)


def told_each(lines, recorded) -> str:
    """Takeaways, (title, text) each of its own recorded run, as a numbered list of Markdown; where it is None, that there is none."""
    return "\n".join(f"{i}. **{title}** {told(frame, text).data}" for i, ((title, text), frame) in enumerate(zip(lines, recorded, strict=True), 1))


def decided(experiment: str, recorded=None) -> pd.DataFrame:
    """The claims of an experiment with what decides each, verdict and evidence; without a recorded run, what they are only."""
    if recorded is None:
        return pd.DataFrame(
            [{"statement": claim.statement, "statistic": claim.statistic, "verdict": "not recorded"} for claim in load_claims(experiment).values()]
        )
    return verdict_table(recorded)[["statement", "statistic", "verdict", "evidence"]]


def signed(value, digits=2, sign="+"):
    return f"{value:{sign}z.{digits}f}".replace("-", "\u2212")


def within(estimate, low, high, digits=2, sign="+"):
    """An estimate with its 95 % limits, as a text: "+1.78 [+1.45, +2.11]"; sign: "-" leaves the plus signs out."""
    estimate, low, high = (signed(x, digits, sign) for x in (estimate, low, high))
    return f"{estimate} [{low}, {high}]"


def values(frame, **where) -> pd.Series:
    """One value a seed; of several generators, their mean."""
    known = {name: value for name, value in where.items() if name in frame}
    return select(bare(frame), **known).groupby("seed")["value"].mean() if len(known) == len(where) else pd.Series(dtype=float)


def interval(one, other=None):
    """Of values by seed, or of their differences; None for fewer than two."""
    found = (one if other is None else one - other).dropna()
    return paired_interval(found.to_numpy()) if len(found) > 1 else None


def said(found, sign="+", digits=2, scale=1) -> str:
    """An interval, or a row that has its limits, as `within` has it, times a scale; None was not measured."""
    if found is None:
        return "not measured"
    return within(*(scale * limit for limit in (found.estimate, found.low, found.high)), digits, sign)


def verdict_of(found, better, worse, none, undecided="open: try both, paired", negligible=0.3) -> str:
    """What an interval, or a row that has its limits, allows to say: none where all of it lies within ``negligible`` of
    0, better or worse where all of it lies on one side of 0, else undecided; None was not measured."""
    if found is None:
        return "not measured"
    if max(-found.low, found.high) < negligible:
        return none
    return better if found.low > 0 else worse if found.high < 0 else undecided


def drawn_forest(rows, **options):
    """`forest` of (columns, interval or None); None where nothing was measured."""
    table = pd.DataFrame([{**columns, "estimate": found.estimate, "low": found.low, "high": found.high} for columns, found in rows if found is not None])
    return forest(table, **options) if len(table) else None


def side_by_side(numbers, live, recorded=None):
    """The numbers of this build beside the recorded ones, a row each. numbers: gives {name: text} of a frame."""
    own = numbers(live)
    stored = {} if recorded is None else numbers(recorded)
    return pd.DataFrame([{"": name, "recorded": stored.get(name, ""), "this build": own.get(name, "")} for name in {**stored, **own}])


def describe_runs(live: pd.DataFrame, recorded: pd.DataFrame | None, words: Callable) -> str:
    """What the runs behind a page are, as a Markdown list: profile, ``words(frame, parameters)``, time and device."""
    lines = []
    for name, frame in (("this build", live), ("recorded", recorded)):
        if frame is None:
            of = " of this generator" if live.attrs["provenance"]["generator"] else ""
            lines.append(f"- *{name}*: no larger run{of} has been recorded.")
            continue
        origin = frame.attrs["provenance"]
        lines += [
            f"- *{name}*: profile `{frame['profile'].iloc[0]}`, {origin['wall_seconds'] / 60:.1f} minutes on {origin['device']}.",
            *(f"  - {part}" for part in words(frame, origin["parameters"]).split("; ")),
        ]
    return singular("\n".join(lines))


def describe_several(*pairs) -> str:
    """`describe_runs` of several experiments. pairs: (live, recorded) of each."""

    def words(frame, p):
        return f"{frame['experiment'].iloc[0].replace('_', ' ')}; {p['steps']} steps, {p['seeds']} seeds from {p['first_seed']} on, {len(frame)} values"

    return "\n".join(describe_runs(live, recorded, words) for live, recorded in pairs)


def singular(text: str) -> str:
    """Text with "1 seed" for "1 seeds", and so for all that runs are described by; not in "k = 1 images"."""
    return re.sub(
        r"(?<!= )(?<![\d.,])\b1 ((?:\w+ )?(?:classifier|image|level|mixture|moment|network|point|sample|seed|"
        r"size|source|step|thread))s\b",
        r"1 \1",
        text,
    )
