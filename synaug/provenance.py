"""Where a frame of results came from: the code, the machine, the parameters."""

import importlib.metadata
import json
import platform
import subprocess
from functools import cache

import torch

from synaug.files import canonical_json
from synaug.paths import ROOT
from synaug.precision import device_name

#: Libraries whose version can change a number.
LIBRARIES = (
    "torch",
    "torchvision",
    "diffusers",
    "numpy",
    "scipy",
    "scikit-learn",
    "captum",
    "pytorch-optimizer",
    "pillow",
    "curvlinops-for-pytorch",
    "efficientnet-lite-pytorch",
)


@cache
def versions() -> dict[str, str]:
    """Of `LIBRARIES`; part of every key of the cache."""
    return {name: importlib.metadata.version(name) for name in LIBRARIES}


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
