"""The cell cache: every finished piece of a long run on disk at once, so that a stopped run resumes.

A cell is one call of a function with plain parameters. Its key is the sha256 of the experiment's
name, the parameters as canonical JSON and a fingerprint of the code and data that the result
depends on: after an edit the key is another one, so a stale result is never served.
"""

import hashlib
import json
import os
import tempfile
import time
import types
import warnings
from contextlib import nullcontext
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path

from filelock import FileLock

from synaug.cell_files import UNREADABLE, pack, read_about, unpack
from synaug.paths import cache_dir


def canonical_json(value) -> str:
    """One text for equal values: keys sorted, no spaces; numpy numbers, tensors and paths in JSON's forms.

    TypeError on anything else that JSON has no form for, ValueError on NaN and infinities.
    """

    def plain(item):
        if hasattr(item, "tolist"):  # numpy scalars and arrays, tensors
            return item.tolist()
        if isinstance(item, Path):
            return item.as_posix()
        raise TypeError(f"parameters must be plain data, got {type(item).__name__}: {item!r}")

    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, default=plain)


def fingerprint(*sources: types.ModuleType | str | Path) -> str:
    """sha256, in hex, of the source files of modules and of the files at paths, names included.

    A package or a folder stands for every file in it: ``.py`` files of a package, all files of a
    folder. Where the files lie does not matter. A module does not stand for what it imports: name
    every module that the result depends on, or the package. FileNotFoundError on a missing path.
    """
    digest = hashlib.sha256()
    for source in sources:
        is_module = isinstance(source, types.ModuleType)
        path = Path(source.__file__) if is_module else Path(source)
        if is_module and path.name == "__init__.py":
            path = path.parent
        if not path.exists():
            raise FileNotFoundError(f"nothing to fingerprint at {path}")
        files = sorted(path.rglob("*.py" if is_module else "*")) if path.is_dir() else [path]
        for file in files:
            if file.is_file() and "__pycache__" not in file.parts:
                name = file.relative_to(path.parent).as_posix()
                content = file.read_bytes()
                digest.update(f"{name}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()


def write_atomically(path: Path, content: bytes) -> None:
    """The whole file or none: written beside its place, then moved there. Creates the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.chmod(temporary, 0o644)  # mkstemp's files are private
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def cells_dir() -> Path:
    """Where cells are kept, in a folder for each experiment."""
    return cache_dir() / "cells"


class CellCache:
    """``get_or_run(params, fn)``: the stored result of the cell, or ``fn()``, stored at once.

    Parameters
    ----------
    experiment : its name, part of every key.
    code : a ``fingerprint(...)`` of the code and data that the results depend on.
    folder : where cells are kept; default `cells_dir`.

    ``wall_seconds``: what the cells asked for took when they ran, now or in an earlier run, each counted once;
    ``elapsed``: what part of that was spent running cells now.
    Any number of processes may share a folder: a cell that one of them is running, the others wait for.
    """

    def __init__(self, experiment: str, code: str, folder: str | Path | None = None):
        self.experiment, self.code = experiment, code
        self.folder = Path(folder) if folder is not None else cells_dir()
        self.elapsed = 0.0
        self._seconds = {}

    @property
    def wall_seconds(self) -> float:
        return sum(self._seconds.values())

    def path(self, params: dict) -> Path:
        """The file of a cell."""
        key = hashlib.sha256(canonical_json([self.experiment, params, self.code]).encode())
        return self.folder / self.experiment / f"{key.hexdigest()}.zip"

    def about(self, params: dict) -> dict | None:
        """What is known of a stored cell; None where it is not stored or cannot be read.

        seconds: what it took, without the cells that it asked for. asked: what each of those took, and of those that
        they asked for in turn, by their files' names in ``folder``.
        """
        try:
            return {"asked": {}, **read_about(self.path(params))}
        except UNREADABLE:
            return None

    def get_or_run(self, params: dict, fn):
        """The result of the cell ``params``: a frame, a numpy array, a number, or a dict of such and text.

        A frame's columns hold numbers or text and its index is 0..n-1. ``fn()`` runs only when
        nothing is stored, or when what is stored cannot be read (with a warning). A result that
        cannot be stored for lack of room is returned with a warning; one of another type raises
        TypeError.
        """
        path = self.path(params)
        result, about = self._stored(path, params) or self._run_alone(path, params, fn)
        seconds = {path.relative_to(self.folder).as_posix(): about["seconds"], **about["asked"]}
        self._seconds.update(seconds)
        if (outer := _running.get()) is not None:
            outer.asked.update(seconds)
        return result

    def _stored(self, path: Path, params: dict):
        """The result of a stored cell and what is known of it; None where there is none that can be read."""
        if not path.exists():
            return None
        try:
            result, about = unpack(path)
        except UNREADABLE as error:
            warnings.warn(f"cell {params} at {path} cannot be read ({error}); running it again", stacklevel=3)
            return None
        return result, {"asked": {}, **about}

    def _run_alone(self, path: Path, params: dict, fn):
        """What `_run` returns, or, where another process was running the cell, what that one has stored."""
        before, start = self.elapsed, time.perf_counter()
        with _locked(self.folder / "locks" / f"{self.experiment}-{path.stem}.lock"):
            stored = self._stored(path, params) or self._run(path, params, fn)
        elapsed = time.perf_counter() - start
        self.elapsed = before + elapsed
        if (outer := _running.get()) is not None:
            outer.elapsed += elapsed
        return stored

    def _run(self, path: Path, params: dict, fn):
        running = _Running()
        token = _running.set(running)
        start = time.perf_counter()
        try:
            result = fn()
        finally:
            _running.reset(token)
        # A cell may ask for others while it runs: their time is theirs.
        seconds = time.perf_counter() - start - running.elapsed
        about = {"seconds": seconds, "asked": running.asked, "params": json.loads(canonical_json(params))}
        packed = pack(result, about)
        try:
            write_atomically(path, packed)
        except OSError as error:  # hours of work are worth more than their cache
            warnings.warn(f"cell {params} could not be stored ({error})", stacklevel=4)
        return result, about


@dataclass
class _Running:
    """What a running cell has asked for (seconds by file), and the time that it has waited for it."""

    asked: dict[str, float] = field(default_factory=dict)
    elapsed: float = 0.0


_running = ContextVar("running", default=None)


def _locked(path: Path):
    """A context for one process at a time. Where the folder allows no lock, for any: a cell may run twice, equally."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return FileLock(path, fallback_to_soft=False).acquire()  # a soft lock would outlive a killed process
    except (OSError, NotImplementedError):
        return nullcontext()
