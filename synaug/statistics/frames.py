"""Tidy frames of results: one measured value per row, and how rows are chosen.

``COLUMNS`` come first; an experiment may add others (``sigma``, ``reference``, ``encoder``, ...). Where a frame came
from stands in ``frame.attrs["provenance"]``, a plain dict.
"""

from itertools import chain

import pandas as pd

#: experiment, dataset, profile, arm (what is compared), seed, swept (what x is), x, metric, value.
COLUMNS = ("experiment", "dataset", "profile", "arm", "seed", "swept", "x", "metric", "value")
_NUMERIC = ("x", "value")


def check_frame(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with ``COLUMNS`` first; ValueError when it is empty, lacks one or holds text as numbers."""
    missing = [column for column in COLUMNS if column not in frame.columns]
    if missing:
        raise ValueError(f"a frame of results needs the columns {', '.join(missing)}")
    if len(frame) == 0:
        raise ValueError("a frame of results needs at least one row")
    for column in _NUMERIC:
        if not pd.api.types.is_numeric_dtype(frame[column]):
            raise ValueError(f"column {column} must be numeric, got {frame[column].dtype}")
    others = [column for column in frame.columns if column not in COLUMNS]
    return frame[[*COLUMNS, *others]]


def tidy(rows: list[dict], provenance: dict | None = None, **constants) -> pd.DataFrame:
    """Rows (dicts) and the constants that all of them share, as one checked frame.

    ``tidy([{"x": 0, "metric": "recall", "value": 1.0, ...}], experiment="...", profile="quick")``
    """
    frame = check_frame(pd.DataFrame(rows).assign(**constants))
    frame.attrs["provenance"] = provenance or {}
    return frame


def bare(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame without its provenance, for many selections: pandas copies ``attrs``, all of it, at each of them."""
    frame = frame.copy(deep=False)
    frame.attrs = {}
    return frame


def together(parts: list[pd.DataFrame]) -> pd.DataFrame:
    """Parts of a run as one, rows that several have once; where they differ in a parameter, it has the values of all."""
    origins = [part.attrs["provenance"] for part in parts]
    values = {name: [origin["parameters"][name] for origin in origins] for name in origins[0]["parameters"]}
    parameters = {name: all_[0] if all(v == all_[0] for v in all_) else list(dict.fromkeys(chain(*all_))) for name, all_ in values.items()}
    told = {name: ", ".join(dict.fromkeys(str(origin[name]) for origin in origins)) for name in ("commit", "device")}
    frame = check_frame(pd.concat(map(bare, parts), ignore_index=True).drop_duplicates())
    frame.attrs["provenance"] = {**origins[0], **told, "parameters": parameters, "wall_seconds": sum(o["wall_seconds"] for o in origins)}
    return frame


def experiment_of(frame: pd.DataFrame) -> str:
    """The experiment that a frame is of; ValueError where it is of several."""
    experiments = sorted(check_frame(frame)["experiment"].unique())
    if len(experiments) > 1:
        raise ValueError(f"a frame of one experiment is needed, got {', '.join(experiments)}")
    return experiments[0]
