"""Results: tidy frames, where they came from, and the recorded ones in ``data/results``.

A tidy frame has one measured value a row. ``COLUMNS`` come first; an experiment may add others
(``sigma``, ``reference``, ``encoder``, ...). Its provenance is a plain dict in
``frame.attrs["provenance"]``, recorded beside the table as JSON. The cell cache, which makes long runs
resumable, lives in ``cells`` and is re-exported here.
"""

import gzip
import importlib.metadata
import json
import platform
import subprocess
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import torch

from synaug.cells import CellCache, canonical_json, fingerprint, write_atomically
from synaug.statistics.frames import bare, check_frame, experiment_of, tidy
from synaug.paths import ROOT, results_dir
from synaug.precision import device_name

__all__ = [
    "CellCache",
    "canonical_json",
    "describe_runs",
    "fingerprint",
    "load_recorded",
    "provenance",
    "record",
    "recorded_run",
    "recordings",
    "tidy",
    "variants",
]

#: Libraries whose version can change a number.
LIBRARIES = ("torch", "torchvision", "diffusers", "numpy", "scipy", "scikit-learn", "captum", "pytorch-optimizer")


def _commit() -> str | None:
    """The git commit of this checkout, "+changes" when files but recorded results differ from it; None outside git."""
    try:
        git = ["git", "-C", str(ROOT)]
        commit = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
        sources = ["--untracked-files=no", "--", ".", ":(exclude)data/results"]
        status = subprocess.run([*git, "status", "--porcelain", *sources], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return commit.stdout.strip() + ("+changes" if status.stdout.strip() else "")


def provenance(
    parameters: dict, wall_seconds: float, device: str | torch.device = "cpu", generator: str | None = None
) -> dict:
    """Where a frame came from: version, commit, device, libraries, time, parameters, generator.

    ``generator``: the fingerprint of the diffusion model's checkpoint, None where none is used.
    """
    return {
        "package": f"synaug {importlib.metadata.version('synaug')}",
        "commit": _commit(),
        "device": device_name(device),
        "python": platform.python_version(),
        "libraries": {name: importlib.metadata.version(name) for name in LIBRARIES},
        "wall_seconds": round(float(wall_seconds), 1),
        "parameters": json.loads(canonical_json(parameters)),
        "generator": generator,
    }


def _recorded_path(experiment: str, profile: str, variant: str | None = None) -> Path:
    names = (experiment, profile) if variant is None else (experiment, profile, variant)
    for name in names:
        if not name.isidentifier():
            raise ValueError(f"experiment, profile and variant must be plain names, got {name!r}")
    return results_dir() / f"{'.'.join(names)}.csv.gz"


def _provenance_path(table: Path) -> Path:
    return table.with_name(table.name.removesuffix(".csv.gz") + ".json")


def record(frame: pd.DataFrame, experiment: str, profile: str = "standard", variant: str | None = None) -> Path:
    """Write the frame as ``<experiment>.<profile>.csv.gz`` with its provenance beside it as ``.json``.

    variant: the name of a run with other parameters than the profile's, ``<experiment>.<profile>.<variant>.csv.gz``.
    Equal frames give equal files, whatever the order of their rows: rows are sorted by what they
    are, numbers keep seven digits. Returns the path of the table.
    """
    table = check_frame(frame)
    path = _recorded_path(experiment, profile, variant)
    labels = [column for column in table.columns if column not in ("value", "low", "high")]
    table = table.sort_values(labels, kind="stable")
    text = table.to_csv(index=False, float_format="%.7g", lineterminator="\n")
    origin = json.dumps(frame.attrs.get("provenance", {}), indent=1, sort_keys=True) + "\n"
    write_atomically(_provenance_path(path), origin.encode())
    write_atomically(path, gzip.compress(text.encode(), mtime=0))
    return path


def variants(experiment: str, profile: str = "standard") -> list[str]:
    """The names of recorded runs with other parameters than the profile's."""
    path = _recorded_path(experiment, profile)
    return sorted(file.name.split(".")[2] for file in path.parent.glob(path.name.replace(".csv", ".*.csv")))


def load_recorded(experiment: str, profile: str = "standard", variant: str | None = None) -> pd.DataFrame:
    """A recorded frame, its provenance in ``.attrs["provenance"]``.

    Raises FileNotFoundError, naming the command that records it, when there is none.
    """
    path = _recorded_path(experiment, profile, variant)
    if not path.exists():
        raise FileNotFoundError(
            f"no recorded results at {path}; record them with: "
            f"python -m synaug.experiments.{experiment} --profile {profile}"
        )
    frame = check_frame(pd.read_csv(path, low_memory=False))  # else columns of mixed types warn
    frame.attrs["provenance"] = json.loads(_provenance_path(path).read_text(encoding="utf-8"))
    return frame


def recorded_run(live: pd.DataFrame, profile: str | None = None, experiment: str | None = None,
                 variant: str | None = None) -> pd.DataFrame | None:
    """The recorded frame of an experiment, None without one that is of the live frame's generator.

    profile: None for the larger of "paper" and "standard" that there is; of a profile, its own run comes before its
    variants. experiment: None for the live frame's own; ValueError where that is of several. variant: one of these
    alone.
    """
    runs = recordings(experiment or experiment_of(live), ("paper", "standard") if profile is None else (profile,))
    generator = live.attrs["provenance"]["generator"]
    return next((run for name, run in runs.items() if run.attrs["provenance"]["generator"] == generator
                 and variant in (None, name.partition(".")[2])), None)


def recordings(experiment: str, profiles=("paper", "standard")) -> dict[str, pd.DataFrame]:
    """All recorded runs of an experiment, "<profile>" before "<profile>.<variant>"."""
    names = [(profile, variant) for profile in profiles for variant in (None, *variants(experiment, profile))]
    return {".".join(filter(None, name)): load_recorded(experiment, *name) for name in names
            if _recorded_path(experiment, *name).exists()}


def describe_runs(live: pd.DataFrame, recorded: pd.DataFrame | None, words: Callable) -> str:
    """What the runs behind a page are, as a Markdown list: profile, ``words(frame, parameters)``, time and device."""
    lines = []
    for name, frame in (("this build", live), ("recorded", recorded)):
        if frame is None:
            of = " of this generator" if live.attrs["provenance"]["generator"] else ""
            lines.append(f"- *{name}*: no larger run{of} has been recorded.")
            continue
        origin = frame.attrs["provenance"]
        lines.append(f"- *{name}*: profile `{frame['profile'].iloc[0]}`, {words(frame, origin['parameters'])}; "
                     f"{origin['wall_seconds'] / 60:.1f} minutes on {origin['device']}.")
    return "\n".join(lines)
