"""The recorded frames in ``data/results``: a table each, and its provenance beside it."""

import gzip
import hashlib
import io
import json
import re
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from synaug.files import write_atomically
from synaug.paths import results_dir
from synaug.statistics.frames import check_frame, experiment_of, together


def _paths(experiment: str, profile: str, variant: str | None = None) -> tuple[Path, Path]:
    """Of a recorded run's table and its provenance."""
    names = (experiment, profile) if variant is None else (experiment, profile, variant)
    for name in names:
        if not name.isidentifier():
            raise ValueError(f"experiment, profile and variant must be plain names (letters, digits, _), got {name!r}")
    return results_dir() / f"{'.'.join(names)}.csv.gz", results_dir() / f"{'.'.join(names)}.json"


def record(frame: pd.DataFrame, experiment: str, profile: str = "standard", variant: str | None = None) -> Path:
    """Write the frame as ``<experiment>.<profile>.csv.gz``, then its provenance, with the table's sha256, as ``.json``.

    variant: the name of a run with other parameters than the profile's, ``<experiment>.<profile>.<variant>.csv.gz``.
    Equal frames give equal files: rows are sorted by what they are, numbers keep seven digits. Returns the table's path.
    """
    table, (path, about) = check_frame(frame), _paths(experiment, profile, variant)
    labels = [column for column in table.columns if column not in ("value", "low", "high")]
    text = table.sort_values(labels, kind="stable").to_csv(index=False, float_format="%.7g", lineterminator="\n")
    packed = gzip.compress(text.encode(), mtime=0)
    origin = {**frame.attrs.get("provenance", {}), "sha256": hashlib.sha256(packed).hexdigest()}
    write_atomically(path, packed)
    write_atomically(about, (json.dumps(origin, indent=1, sort_keys=True) + "\n").encode())
    return path


def load_recorded(experiment: str, profile: str = "standard", variant: str | None = None) -> pd.DataFrame:
    """A recorded frame, its provenance in ``.attrs["provenance"]``; that of a run in parts, variants "part1", "part2" and
    so on (of a variant "<variant>_part1"), is theirs together.

    FileNotFoundError, with the command that records it, when there is none; ValueError, with the file, when it was changed.
    """
    path, about = _paths(experiment, profile, variant)
    if not path.exists():
        if parts := variants(experiment, profile).get(variant):
            return together([load_recorded(experiment, profile, part) for part in parts])
        raise FileNotFoundError(f"no recorded results at {path}; record them with: python -m synaug record {experiment} --profile {profile} --minutes inf")
    packed = path.read_bytes()
    try:
        origin = json.loads(about.read_text(encoding="utf-8"))
        sha256 = origin.pop("sha256")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{about} is missing or damaged ({error}): record the run again, or restore the file") from error
    if hashlib.sha256(packed).hexdigest() != sha256:
        how = f"its sha256 differs from the one in {about.name}): record the run again, or restore the file"
        raise ValueError(f"{path} is not the table that was recorded ({how}")
    # In one piece, else mixed types warn; only what is empty is missing: a class may be called "NA" or "None".
    frame = check_frame(pd.read_csv(io.BytesIO(packed), compression="gzip", low_memory=False, keep_default_na=False, na_values=[""]))
    frame.attrs["provenance"] = origin
    return frame


def variants(experiment: str, profile: str) -> dict[str | None, list[str]]:
    """The recorded runs of a profile: None for its own, then the others by name; of each, the names of its tables."""
    found: dict[str | None, list[str]] = {}
    for table in sorted(_paths(experiment, profile)[0].parent.glob(f"{experiment}.{profile}.*csv.gz")):
        name = ".".join(table.name.split(".")[2:-2])
        found.setdefault(re.sub(r"(^|_)part\d+$", "", name) or None, []).append(name)
    # In the order of the parts' numbers: "part10" comes after "part9".
    return {name: sorted(found[name], key=lambda part: (len(part), part)) for name in sorted(found, key=lambda name: name or "")}


def recordings(experiment: str, profiles: Iterable[str] = ("paper", "standard")) -> dict[str, pd.DataFrame]:
    """All recorded runs of an experiment, "<profile>" before "<profile>.<variant>"."""
    runs = [(profile, variant) for profile in profiles for variant in variants(experiment, profile)]
    return {".".join(filter(None, run)): load_recorded(experiment, *run) for run in runs}


def recorded_run(live: pd.DataFrame, profile: str | None = None, experiment: str | None = None, variant: str | None = None) -> pd.DataFrame | None:
    """The recorded frame of an experiment, None without one that is of the live frame's generator.

    profile: None for the larger of "paper" and "standard"; of a profile, its own run comes before its variants. variant:
    one of these alone. experiment: None for the live frame's own; ValueError where that is of several.
    """
    runs = recordings(experiment or experiment_of(live), ("paper", "standard") if profile is None else (profile,))
    generator = live.attrs["provenance"]["generator"]
    return next((run for name, run in runs.items() if run.attrs["provenance"]["generator"] == generator and variant in (None, name.partition(".")[2])), None)
