"""Decision rules for published claims: an estimate with an interval in, a verdict out.

Every rule is about linear contrasts of measured values: a sum of terms, each a weight times one
metric at one level x (and, where a term says so, for other values of the frame's columns). An interval
of a contrast is taken over paired seeds when at least ``MIN_SEEDS`` have every term; where the frame has
draws, over these, at least ``MIN_DRAWS`` of them (`draws_interval`). With fewer seeds, and
where the rule allows it, it is put together from the limits ``low`` and ``high`` over images of the
terms, each term at its worst: wider than needed, never narrower. Otherwise there is no interval, and
the verdict is "not resolved at this scale". All intervals are 95 % ones.

Contrasts of one family are tested together: what any of them says beyond its interval must survive Holm's correction.

The four kinds of rule are the four functions in ``RULES``; their arguments stand in ``data/claims.json``.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import pandas as pd

from synaug.statistics.contrasts import select
from synaug.statistics.intervals import PairedInterval, detectable, draws_interval, holm, paired_interval

#: From the weakest to the strongest; a claim of several parts is as good as its weakest part.
VERDICTS = ("opposite", "no effect", "not resolved at this scale", "shape only", "reproduced")
OPPOSITE, NO_EFFECT, NOT_RESOLVED, SHAPE_ONLY, REPRODUCED = VERDICTS
CONTRADICTED = (OPPOSITE, NO_EFFECT)

MIN_SEEDS, MIN_DRAWS = 5, 3

#: What is paired where a frame has draws, whose means are what intervals are taken over.
DRAWN = ["draw", "seed"]

#: How evidence writes a metric's differences: factor and unit, of an experiment's own where it has one.
UNITS: dict[str | tuple[str, str], tuple[float, str]] = {
    **{name: (100, " points") for name in ("test_accuracy", "accuracy", "accuracy_with_real", "judge_accuracy")},
    **{name: (1, " points") for name in ("test_error", "changed_error", "rare_error", "missing_error", "selected_share")},
    # Errors are in %, but in the frames of chapter 3: theorems speak of shares.
    **{(name, "test_error"): (100, " points") for name in ("two_layer_cnn", "mechanism")},
    "judge_entropy": (1, " nats"),
}


@dataclass(frozen=True)
class ContrastInterval:
    """A contrast's estimate and 95 % limits; ``basis`` says what the limits are taken over."""

    estimate: float
    low: float
    high: float
    basis: str

    def text(self, factor: float = 1, unit: str = "", sign: str = "+") -> str:
        """In a unit that is ``factor`` times the metric's own; sign: "+" to write it before what is above 0 as well."""
        numbers = (factor * number for number in (self.estimate, self.low, self.high))
        estimate, low, high = (f"{number:{sign},.0f}" if abs(number) >= 1000 else f"{number:{sign}.3g}" for number in numbers)
        return f"{estimate}{unit} [{low}, {high}] ({self.basis})"


class NotMeasured(Exception):
    """The frame has no rows, or too few seeds, for a contrast; the message says which."""


def _select(frame: pd.DataFrame, metric: str, where: dict) -> pd.DataFrame:
    """None where a column is missing: a run may lack a part."""
    return select(frame, metric=metric, **where) if set(where) <= set(frame) else frame.iloc[:0]


def _rows(frame: pd.DataFrame, metric: str, x: float, where: dict) -> pd.DataFrame:
    """One row per seed of a metric at a level, or per draw and seed. ValueError if there are several: the frame mixes runs."""
    rows = _select(frame, metric, where)
    rows, unit = rows[rows["x"] == x], DRAWN if "draw" in rows else ["seed"]
    if rows.duplicated(unit).any():
        mixed = [c for c in rows if c not in ("value", "low", "high", *unit) and rows[c].nunique(dropna=False) > 1]
        raise ValueError(f"{metric} at x={x:g} has several rows per seed; narrow the frame by {', '.join(mixed)}")
    if rows.empty:
        said = ", ".join(f"{column} {wanted}" for column, wanted in where.items())
        raise NotMeasured(f"no {metric} at x={x:g} ({said})")
    return rows.set_index(unit)


def contrast(frame: pd.DataFrame, terms: list[dict], where: dict, constant: float = 0.0, seeds_only: bool = False, tests: int = 1) -> ContrastInterval:
    """``constant`` plus the weighted sum of ``terms``, with its interval; NotMeasured if there is none.

    A term is ``{"weight": w, "metric": m, "x": x}``; its further keys are columns to select by,
    which take precedence over ``where``. ``tests``: how many intervals are looked at together
    (Bonferroni; over seeds only).
    """
    weights, rows, seeds = _paired(frame, terms, where)
    found = _over_units(frame, weights, rows, seeds, constant, 1 - 0.05 / tests)
    if found is not None:
        basis = f"{found.n} draws, {len(seeds)} paired seeds" if "draw" in frame else f"{len(seeds)} paired seeds"
        return ContrastInterval(found.estimate, found.low, found.high, basis)
    if "draw" in frame:
        n = len({draw for draw, _ in seeds})
        raise NotMeasured(f"{n} draws for {terms[0]['metric']}, at least {MIN_DRAWS} needed")
    if seeds_only or not all({"low", "high"} <= set(r) and r[["low", "high"]].notna().all(axis=None) for r in rows):
        raise NotMeasured(f"{len(seeds)} paired seeds for {terms[0]['metric']}, at least {MIN_SEEDS} needed")
    means = [r[["value", "low", "high"]].mean() for r in rows]
    estimate = constant + sum(w * m["value"] for w, m in zip(weights, means))
    low = constant + sum(min(w * m["low"], w * m["high"]) for w, m in zip(weights, means))
    high = constant + sum(max(w * m["low"], w * m["high"]) for w, m in zip(weights, means))
    return ContrastInterval(estimate, low, high, "limits as recorded")


def _paired(frame, terms, where):
    """The weights of the terms, their rows, and the seeds that have every term."""
    weights, rows = [], []
    for term in terms:
        columns = {key: value for key, value in term.items() if key not in ("weight", "metric", "x")}
        weights.append(term["weight"])
        rows.append(_rows(frame, term["metric"], term["x"], {**where, **columns}))
    return weights, rows, sorted(set.intersection(*(set(r.index) for r in rows)))


def _over_units(frame, weights, rows, seeds, constant, confidence=0.95) -> PairedInterval | None:
    """The interval over draws where the frame has them, else over paired seeds; None where there are too few of these."""
    if "draw" in frame:
        draws = _by_draw(weights, rows, seeds, constant)
        return draws_interval(draws, confidence) if len(draws) >= MIN_DRAWS else None
    if len(seeds) < MIN_SEEDS:
        return None
    return paired_interval(_differences(weights, rows, seeds, constant), confidence)


def _by_draw(weights, rows, seeds, constant) -> list:
    """The differences of each draw, over its seeds."""
    if not seeds:
        return []
    differences = pd.Series(_differences(weights, rows, seeds, constant), pd.MultiIndex.from_tuples(seeds, names=DRAWN))
    return [own.to_numpy() for _, own in differences.groupby("draw")]


def _differences(weights, rows, seeds, constant):
    return constant + sum(w * r.loc[seeds, "value"].to_numpy(float) for w, r in zip(weights, rows))


def family_p_values(family: list[tuple[pd.DataFrame | None, list[dict], dict, float]]) -> list[float]:
    """Holm-adjusted p-values, two-sided t-tests over paired seeds, of contrasts (frame, terms, where, constant).

    One that is not measured, without a frame or with too few seeds, counts with a p-value of 1: what is recorded later
    can only make the others' smaller, never larger.
    """
    p_values = []
    for frame, terms, where, constant in family:
        found = None
        if frame is not None:
            with suppress(NotMeasured):
                weights, rows, seeds = _paired(frame, terms, where)
                found = _over_units(frame, weights, rows, seeds, constant)
        p_values.append(1.0 if found is None else found.p_value)
    return holm(p_values).tolist()


def unit_of(frame: pd.DataFrame, terms: list[dict]) -> tuple[float, str]:
    """Factor and unit of a contrast; as measured, without a unit, where its metrics differ in these."""
    own = {metric: UNITS.get((frame["experiment"].iloc[0], metric), UNITS.get(metric, (1, ""))) for metric in (term["metric"] for term in terms)}
    return own.popitem()[1] if len(set(own.values())) == 1 else (1, "")


def formula(frame: pd.DataFrame, terms: list[dict], where: dict, constant: float = 0.0) -> str:
    """What a contrast is of, in words: its metrics, each with the values that tell it from the other terms."""
    factor, _ = unit_of(frame, terms)
    shared = {key for key in terms[0] if all(term.get(key) == terms[0][key] for term in terms)} - {"x", "stage"}
    text = []
    for i, term in enumerate(terms):
        columns = {key: value for key, value in term.items() if key not in ("weight", "metric", "x")}
        swept = _select(frame, term["metric"], {**where, **columns})["swept"].unique()
        told = {key: value for key, value in columns.items() if key not in shared and key not in swept}
        if frame.loc[frame["metric"] == term["metric"], "x"].nunique() > 1 and list(swept) != ["none"]:
            told[swept[0] if len(swept) == 1 else "x"] = term["x"]
        named = [value.replace("_", " ") if isinstance(value, str) else f"{key} = {value:g}" for key, value in told.items()]
        times = "" if abs(term["weight"]) == 1 else f"{abs(term['weight']):.3g} × "
        sign = "" if i == 0 and term["weight"] > 0 else "−" if term["weight"] < 0 else "+"
        text += [sign, times + term["metric"].replace("_", " ") + (f" ({', '.join(named)})" if named else "")]
    if constant > 0 and terms[0]["weight"] < 0:
        text = [f"{factor * constant:.3g}", *text]
    elif constant:
        text += ["−" if constant < 0 else "+", f"{factor * abs(constant):.3g}"]
    return " ".join(filter(None, text))


def within(interval: ContrastInterval, negligible: float) -> bool:
    """Whether the whole interval is nearer to 0 than that."""
    return max(abs(interval.low), abs(interval.high)) < negligible


def _sign_verdict(interval: ContrastInterval, negligible: float, size: Sequence[float] | None) -> str:
    """Is the contrast positive? With ``size``, also: does the whole interval lie within it?

    No effect when the interval lies wholly within ``negligible`` of 0; opposite when it lies below 0 otherwise.
    """
    if within(interval, negligible):
        return NO_EFFECT
    if interval.high < 0:
        return OPPOSITE
    if interval.low <= 0:
        return NOT_RESOLVED
    if size is not None and not (size[0] <= interval.low and interval.high <= size[1]):
        return SHAPE_ONLY
    return REPRODUCED


def judge_contrast(
    frame: pd.DataFrame,
    where: dict,
    seeds_only: bool,
    *,
    terms: list[dict],
    constant: float = 0.0,
    negligible: float = 0.0,
    size: Sequence[float] | None = None,
    adjusted: float | None = None,
    tests: int = 1,
) -> tuple[str, str, dict]:
    """The contrast is positive; "shape only" if positive but not wholly within ``size``.

    adjusted: its p-value among those of its family, see `family_p_values`: a sign counts only where it is below 0.05.
    tests: contrasts of that family; what would decide is said for the strictest of their tests.
    """
    interval = contrast(frame, terms, where, constant, seeds_only)
    verdict = _sign_verdict(interval, negligible, size)
    text = f"{formula(frame, terms, where, constant)} = {interval.text(*unit_of(frame, terms))}"
    if adjusted is not None:
        text += f", adjusted p = {adjusted:.2g}"
        if adjusted >= 0.05 and not within(interval, negligible):
            verdict = NOT_RESOLVED
    if verdict == NOT_RESOLVED and "draw" in frame and negligible:
        weights, rows, seeds = _paired(frame, terms, where)
        means = [own.mean() for own in _by_draw(weights, rows, seeds, constant)]
        (seen, needed), (factor, unit) = detectable(means, negligible, 1 - 0.05 / tests), unit_of(frame, terms)
        text += f"; {len(means)} draws could have seen {factor * seen:.2g}{unit}, {needed} would decide"
    return verdict, text, {"contrast": interval}


def judge_equal(frame: pd.DataFrame, where: dict, seeds_only: bool, *, terms: list[dict], constant: float = 0.0, margin: float) -> tuple[str, str, dict]:
    """The contrast is 0 within ``margin``: reproduced if all of its interval is, opposite if none is."""
    interval = contrast(frame, terms, where, constant, seeds_only)
    if -margin <= interval.low and interval.high <= margin:
        verdict = REPRODUCED
    elif interval.low > margin or interval.high < -margin:
        verdict = OPPOSITE
    else:
        verdict = NOT_RESOLVED
    factor, unit = unit_of(frame, terms)
    text = f"{formula(frame, terms, where, constant)} = {interval.text(factor, unit)}, margin {factor * margin:g}{unit}"
    return verdict, text, {"difference": interval}


def _change(metric: str, start: float, end: float, sign: int) -> list[dict]:
    return [{"weight": sign, "metric": metric, "x": end}, {"weight": -sign, "metric": metric, "x": start}]


def _of_change(frame, terms, where, seeds_only, direction, negligible=0.0, size=None) -> tuple[str, str, dict]:
    """The verdict on the change of a metric between two levels, the change in words, by the direction that it takes, and
    its interval."""
    total = said = contrast(frame, terms, where, seeds_only=seeds_only)
    if total.estimate < 0:
        direction = {"rises": "falls", "falls": "rises"}[direction]
        said = ContrastInterval(-total.estimate, -total.high, -total.low, total.basis)
    end, start = (f"{term['x']:g}" for term in terms)
    metric, amount = terms[0]["metric"].replace("_", " "), said.text(*unit_of(frame, terms), sign="")
    return (_sign_verdict(total, negligible, size), f"{metric} {direction} by {amount} from {start} to {end}", {"change": total})


def _less(terms: list[dict], share: float, total: list[dict]) -> list[dict]:
    """``terms`` minus ``share`` of ``total``; a level that stands in both has its weights added."""
    merged = {}
    for factor, group in ((1.0, terms), (-share, total)):
        for term in group:
            merged[term["x"]] = merged.get(term["x"], 0.0) + factor * term["weight"]
    return [{"weight": weight, "metric": terms[0]["metric"], "x": x} for x, weight in merged.items()]


def judge_trend(
    frame: pd.DataFrame,
    where: dict,
    seeds_only: bool,
    *,
    metric: str,
    direction: str,
    start: float = 0,
    end: float = 100,
    tolerance: float = 0.1,
    negligible: float = 0.0,
    size: Sequence[float] | None = None,
) -> tuple[str, str, dict]:
    """The metric rises or falls from ``start`` to ``end``, and no step goes back.

    Opposite also when the step between two neighbouring levels goes back by more than
    ``tolerance`` of the whole change, its interval (Bonferroni over the steps) being above that.
    ``size``: limits of the whole change, as a positive number.
    """
    sign = {"rises": 1, "falls": -1}[direction]
    whole = _change(metric, start, end, sign)
    verdict, text, numbers = _of_change(frame, whole, where, seeds_only, direction, negligible, size)
    if verdict in (*CONTRADICTED, NOT_RESOLVED):
        return verdict, text, numbers
    levels = sorted(x for x in _select(frame, metric, where)["x"].unique() if start <= x <= end)
    for a, b in zip(levels, levels[1:]):
        back = _less(_change(metric, a, b, -sign), tolerance, whole)
        beyond = contrast(frame, back, where, seeds_only=seeds_only, tests=len(levels) - 1)
        if beyond.low > 0:
            return OPPOSITE, f"{text}, but goes back from {a:g} to {b:g}", numbers | {"beyond": beyond}
    looked_at = ", ".join(f"{level:g}" for level in levels)
    return verdict, f"{text}, no step clearly back by more than {100 * tolerance:.0f} % of that (levels {looked_at})", numbers


def judge_plateau(
    frame: pd.DataFrame,
    where: dict,
    seeds_only: bool,
    *,
    metric: str,
    direction: str,
    flat_from: float,
    not_flat_at: float,
    start: float = 0,
    end: float = 100,
    margin: float = 0.1,
) -> tuple[str, str, dict]:
    """The metric rises or falls, then stays: at ``flat_from`` within ``margin`` of the whole change of its end.

    Opposite when it is confidently further from its end there. "shape only" when it is flat from
    there but not confidently short of it at ``not_flat_at``: it saturates elsewhere.
    """
    sign = {"rises": 1, "falls": -1}[direction]
    whole = _change(metric, start, end, sign)
    verdict, text, numbers = _of_change(frame, whole, where, seeds_only, direction)
    if verdict in (*CONTRADICTED, NOT_RESOLVED):
        return verdict, text, numbers
    # Positive: further from the end than the margin, on the near side or beyond it.
    ends = ((flat_from, sign), (flat_from, -sign), (not_flat_at, sign))
    short, past, early = (contrast(frame, _less(_change(metric, level, end, side), margin, whole), where, seeds_only=seeds_only) for level, side in ends)
    numbers |= {"short of plateau": short, "past plateau": past, "short before": early}
    if short.low > 0 or past.low > 0:
        return OPPOSITE, f"{text}, but still changes by more than {100 * margin:.0f} % of that after {flat_from:g}", numbers
    if short.high > 0 or past.high > 0:
        return NOT_RESOLVED, f"{text}; whether it is flat from {flat_from:g} is open", numbers
    if early.low <= 0:
        return SHAPE_ONLY, f"{text}, flat from {flat_from:g}, not clearly rising after {not_flat_at:g}", numbers
    return REPRODUCED, f"{text}, flat from {flat_from:g} and not yet at {not_flat_at:g}", numbers


RULES: dict[str, Callable] = {"contrast": judge_contrast, "equal": judge_equal, "trend": judge_trend, "plateau": judge_plateau}
