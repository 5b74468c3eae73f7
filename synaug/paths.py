"""Every folder that the package reads or writes, each overridable by one environment variable.

The variables are read at call time, so that a test or a notebook can redirect a folder without
importing the package again. Nothing here creates a folder: whoever writes does.
"""

import argparse
import os
from pathlib import Path

#: The repository root: the folder that holds ``synaug/`` and ``data/``.
ROOT = Path(__file__).resolve().parents[1]


def _folder(variable: str, default: Path) -> Path:
    """The folder named by an environment variable; unset or empty means the default."""
    return Path(os.environ.get(variable) or default).expanduser().absolute()


def given_folder(text: str) -> Path:
    """A folder as a command's options name it; an empty name, such as that of a variable that is not set, is refused."""
    if not text:
        raise argparse.ArgumentTypeError("must be the path of a folder, got nothing")
    return Path(text).expanduser()


def data_dir() -> Path:
    """What the repository carries: data set, published numbers, claims (``SYNAUG_DATA``)."""
    return _folder("SYNAUG_DATA", ROOT / "data")


def results_dir() -> Path:
    """Recorded results (``SYNAUG_RESULTS``)."""
    return _folder("SYNAUG_RESULTS", data_dir() / "results")


def checkpoints_dir() -> Path:
    """Trained generators (``SYNAUG_CHECKPOINTS``)."""
    return _folder("SYNAUG_CHECKPOINTS", data_dir() / "checkpoints")


def cache_dir() -> Path:
    """What can be computed or downloaded again (``SYNAUG_CACHE``)."""
    return _folder("SYNAUG_CACHE", Path("~/.cache/synaug"))
