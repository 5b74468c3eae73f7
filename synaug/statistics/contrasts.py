"""Rows of a frame by what stands in them, and differences from a baseline over paired seeds."""

import difflib
from collections.abc import Sequence

import numpy as np
import pandas as pd

from synaug.statistics.frames import COLUMNS, bare
from synaug.statistics.intervals import holm, paired_interval

#: What is measured in a row, rather than what the row is about.
MEASURED = ("value", "low", "high")


def select(frame: pd.DataFrame | None, /, **where) -> pd.DataFrame:
    """The rows whose columns have the wanted values; without the provenance, which pandas copies at each selection.

    where: column=value; a list (or tuple, set, array) holds the values allowed; None and NaN stand for "missing".
    A value that nowhere occurs gives an empty frame, and so does the frame None (a run that is not there).
    ValueError for an unknown column, which names the closest one.
    """
    if frame is None:
        return pd.DataFrame(columns=[*dict.fromkeys((*COLUMNS, *where))])
    _check_columns(frame, where)
    rows, keep = bare(frame), np.ones(len(frame), dtype=bool)
    for column, wanted in where.items():
        wanted = list(wanted) if pd.api.types.is_list_like(wanted) else [wanted]
        known = [value for value in wanted if not pd.isna(value)]
        found = rows[column].isin(known)
        keep &= ((found | rows[column].isna()) if len(known) < len(wanted) else found).to_numpy(bool)
    return rows[keep]


def differences(frame: pd.DataFrame, against: dict, *, pair: Sequence[str] = ("seed",), metric: str | None = None, sign: int = 1) -> pd.DataFrame:
    """The rows that are not the baseline's, each ``value`` less that of the baseline's row with the same ``pair``.

    against: columns and values that select the baseline, see `select`. pair: the columns that two rows must share to be
    compared; rows without a partner are left out. metric: of these rows only. sign: -1 turns the difference around,
    for what is better when it is less: then a gain is positive. low and high, limits of single values, are dropped.
    ValueError where the baseline has several rows for a pair, naming the columns that tell them apart.
    """
    rows = select(frame, **({} if metric is None else {"metric": metric})).reset_index(drop=True)
    pair, baseline = _names(pair), select(rows, **against)
    _check_columns(rows, [*pair, "value"])
    _check_single(baseline, pair, f"the baseline, {against},")
    both = rows.drop(baseline.index).merge(baseline[[*pair, "value"]], on=pair, suffixes=("", "_baseline"))
    both["value"] = sign * (both["value"] - both.pop("value_baseline"))
    return both.drop(columns=["low", "high"], errors="ignore")


def paired(
    frame: pd.DataFrame,
    against: dict,
    by: Sequence[str] = ("arm",),
    metric: str | None = None,
    pair: Sequence[str] = ("seed",),
    confidence: float = 0.95,
    correct: str | None = "holm",
    sign: int = 1,
) -> pd.DataFrame:
    """What each combination of the columns ``by`` differs by from the baseline, over pairs: one row each.

    Columns: those of ``by``; estimate (the mean difference), low, high (Student's t), p_value (of "no difference"),
    adjusted (Holm over the rows returned; missing where correct is None), n (pairs). One pair has no limits and no p.
    frame, against, metric, pair, sign: see `differences`; the baseline itself and what has no pair are left out.
    ``paired(frame, {"arm": "original"}, by=("arm", "x"), metric="test_error", sign=-1)``
    ValueError as `differences`, for several rows for a pair in a combination, and for values that are not finite.
    """
    if correct not in ("holm", None):
        raise ValueError(f"correct must be 'holm' or None, got {correct!r}")
    by, pair, rows = _names(by), _names(pair), []
    found = differences(frame, against, pair=pair, metric=metric, sign=sign)
    _check_columns(found, by)
    for key, own in found.groupby(by, sort=False, dropna=False):
        named = dict(zip(by, key))
        _check_single(own, pair, str(named))
        if not (finite := np.isfinite(own["value"].to_numpy(float))).all():
            raise ValueError(f"{named} less {against} is not finite at {own.loc[~finite, pair].iloc[0].to_dict()}")
        limits = {"estimate": own["value"].mean(), "low": np.nan, "high": np.nan, "p_value": np.nan}
        if len(own) > 1:
            interval = paired_interval(own["value"], confidence)
            limits = {name: getattr(interval, name) for name in limits}
        rows.append({**named, **limits, "adjusted": np.nan, "n": len(own)})
    table = pd.DataFrame(rows, columns=[*by, "estimate", "low", "high", "p_value", "adjusted", "n"])
    tested = table["p_value"].notna()
    if correct and tested.any():
        table.loc[tested, "adjusted"] = holm(table.loc[tested, "p_value"])
    return table


def _names(columns) -> list:
    return [columns] if isinstance(columns, str) else list(columns)


def _check_columns(frame: pd.DataFrame, names) -> None:
    for name in names:
        if name not in frame:
            closest = difflib.get_close_matches(str(name), [str(column) for column in frame], n=1, cutoff=0)
            raise ValueError(f"there is no column {name!r}" + (f"; the closest is {closest[0]!r}" if closest else ""))


def _check_single(rows: pd.DataFrame, pair: list, what: str) -> None:
    """One row for a pair at most."""
    if (repeated := rows.duplicated(pair, keep=False)).any():
        counts = rows[repeated].drop(columns=[*MEASURED], errors="ignore").groupby(pair, dropna=False).nunique(dropna=False)
        differing = ", ".join(map(str, counts.columns[(counts > 1).any()])) or "none: the rows are repeated"
        raise ValueError(f"{what} has several rows with the same {', '.join(pair)}; columns that differ: {differing}")
