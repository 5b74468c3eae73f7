"""Where frames came from, and the recorded ones in ``data/results``: a table each, and its provenance beside it."""

import gzip
import hashlib
import importlib.metadata
import io
import json
import os
import platform
import subprocess
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import torch

from synaug.files import canonical_json, write_atomically
from synaug.paths import ROOT, results_dir
from synaug.precision import device_name
from synaug.statistics.frames import check_frame, experiment_of

#: Libraries whose version can change a number.
LIBRARIES = ("torch", "torchvision", "diffusers", "numpy", "scipy", "scikit-learn", "captum", "pytorch-optimizer")


def _commit() -> str | None:
    """The git commit of this checkout, "+changes" when files but recorded results differ from it; None outside git,
    and where the surrounding repository is another one."""

    # In a hook of another repository these name that one.
    there = {name: value for name, value in os.environ.items() if name not in ("GIT_DIR", "GIT_WORK_TREE")}

    def git(*words):
        return subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, text=True, check=True,
                              env=there).stdout.strip()

    try:
        if Path(git("rev-parse", "--show-toplevel")).resolve() != ROOT.resolve():
            return None
        changes = git("status", "--porcelain", "--untracked-files=no", "--", ".", ":(exclude)data/results")
        return git("rev-parse", "HEAD") + ("+changes" if changes else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def provenance(parameters: dict, wall_seconds: float, device: str | torch.device = "cpu",
               generator: str | None = None) -> dict:
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


def _path(experiment: str, profile: str, variant: str | None = None) -> Path:
    names = (experiment, profile) if variant is None else (experiment, profile, variant)
    for name in names:
        if not name.isidentifier():
            raise ValueError(f"experiment, profile and variant must be plain names (letters, digits, _), got {name!r}")
    return results_dir() / f"{'.'.join(names)}.csv.gz"


def _provenance_path(table: Path) -> Path:
    return table.with_name(table.name.removesuffix(".csv.gz") + ".json")


def record(frame: pd.DataFrame, experiment: str, profile: str = "standard", variant: str | None = None) -> Path:
    """Write the frame as ``<experiment>.<profile>.csv.gz``, then its provenance, with the table's sha256, as ``.json``.

    variant: the name of a run with other parameters than the profile's, ``<experiment>.<profile>.<variant>.csv.gz``.
    Equal frames give equal files, whatever the order of their rows: rows are sorted by what they
    are, numbers keep seven digits. Returns the path of the table.
    """
    table, path = check_frame(frame), _path(experiment, profile, variant)
    labels = [column for column in table.columns if column not in ("value", "low", "high")]
    text = table.sort_values(labels, kind="stable").to_csv(index=False, float_format="%.7g", lineterminator="\n")
    packed = gzip.compress(text.encode(), mtime=0)
    origin = {**frame.attrs.get("provenance", {}), "sha256": hashlib.sha256(packed).hexdigest()}
    write_atomically(path, packed)
    write_atomically(_provenance_path(path), (json.dumps(origin, indent=1, sort_keys=True) + "\n").encode())
    return path


def load_recorded(experiment: str, profile: str = "standard", variant: str | None = None) -> pd.DataFrame:
    """A recorded frame, its provenance in ``.attrs["provenance"]``.

    FileNotFoundError, naming the command that records it, when there is none; ValueError, naming the file, when it is
    not what was recorded.
    """
    path = _path(experiment, profile, variant)
    if not path.exists():
        raise FileNotFoundError(f"no recorded results at {path}; record them with: python -m synaug record {experiment} "
                                f"--profile {profile} --minutes inf")
    packed = path.read_bytes()
    try:
        origin = json.loads(_provenance_path(path).read_text(encoding="utf-8"))
        sha256 = origin.pop("sha256")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{_provenance_path(path)} is missing or damaged ({error}): record the run again, or restore "
                         f"the file") from error
    if hashlib.sha256(packed).hexdigest() != sha256:
        raise ValueError(f"{path} is not the table that was recorded (its sha256 differs from the one in "
                         f"{_provenance_path(path).name}): record the run again, or restore the file")
    # In one piece, else mixed types warn; only what is empty is missing: a class may be called "NA" or "None".
    frame = check_frame(pd.read_csv(io.BytesIO(packed), compression="gzip", low_memory=False, keep_default_na=False,
                                    na_values=[""]))
    frame.attrs["provenance"] = origin
    return frame


def recordings(experiment: str, profiles=("paper", "standard")) -> dict[str, pd.DataFrame]:
    """All recorded runs of an experiment, "<profile>" before "<profile>.<variant>"."""
    runs = {}
    for profile in profiles:
        own = _path(experiment, profile)
        variants = sorted(file.name.split(".")[2] for file in own.parent.glob(own.name.replace(".csv", ".*.csv")))
        runs |= {profile: load_recorded(experiment, profile)} if own.exists() else {}
        runs |= {f"{profile}.{name}": load_recorded(experiment, profile, name) for name in variants}
    return runs


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
