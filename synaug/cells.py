"""The cell cache: every finished piece of a long run on disk at once, so that a stopped run resumes.

A cell is one call of a function with plain parameters. Its key is the sha256 of the experiment's
name, the parameters as canonical JSON and a fingerprint of the code and data that the result
depends on: after an edit the key is another one, so a stale result is never served.
"""

import hashlib
import io
import json
import os
import tempfile
import time
import types
import warnings
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pandas as pd

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


class CellCache:
    """``get_or_run(params, fn)``: the stored result of the cell, or ``fn()``, stored at once.

    Parameters
    ----------
    experiment : its name, part of every key.
    code : a ``fingerprint(...)`` of the code and data that the results depend on.
    folder : where cells are kept; default ``cells`` in the cache folder.

    ``wall_seconds``: what the cells asked for took when they ran, now or in an earlier run, each counted once;
    ``elapsed``: what part of that was spent running cells now.
    Any number of processes may share a folder; a cell that two of them run at once is written twice,
    equally.
    """

    def __init__(self, experiment: str, code: str, folder: str | Path | None = None):
        self.experiment, self.code = experiment, code
        self.folder = Path(folder) if folder is not None else cache_dir() / "cells"
        self.elapsed = 0.0
        self._seconds = {}

    @property
    def wall_seconds(self) -> float:
        return sum(self._seconds.values())

    def path(self, params: dict) -> Path:
        """The file of a cell."""
        key = hashlib.sha256(canonical_json([self.experiment, params, self.code]).encode())
        return self.folder / self.experiment / f"{key.hexdigest()}.zip"

    def get_or_run(self, params: dict, fn):
        """The result of the cell ``params``: a frame, a numpy array, a number, or a dict of such and text.

        A frame's columns hold numbers or text and its index is 0..n-1. ``fn()`` runs only when
        nothing is stored, or when what is stored cannot be read (with a warning). A result that
        cannot be stored for lack of room is returned with a warning; one of another type raises
        TypeError.
        """
        path = self.path(params)
        if path.exists():
            try:
                result, seconds = _unpack(path.read_bytes())
                self._seconds[path] = seconds
                return result
            except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile, zlib.error) as error:
                warnings.warn(f"cell {params} at {path} cannot be read ({error}); running it again", stacklevel=2)
        # A cell may ask for others while it runs: their time is theirs.
        before, self.elapsed = self.elapsed, 0.0
        start = time.perf_counter()
        result = fn()
        elapsed = time.perf_counter() - start
        seconds = self._seconds[path] = elapsed - self.elapsed
        self.elapsed = before + elapsed
        packed = _pack(result, seconds, params)
        try:
            write_atomically(path, packed)
        except OSError as error:  # hours of work are worth more than their cache
            warnings.warn(f"cell {params} could not be stored ({error})", stacklevel=2)
        return result


# A cell is a zip file: "cell.json" says what is what; arrays and the numeric columns of frames are
# .npy members. Nothing in it can run code, and every member carries a checksum.


def _pack(result, seconds: float, params: dict) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        if isinstance(result, dict):
            content = [[str(key), _put(archive, str(i), value)] for i, (key, value) in enumerate(result.items())]
        else:
            content = _put(archive, "0", result)
        about = {"seconds": seconds, "params": json.loads(canonical_json(params)), "content": content}
        archive.writestr("cell.json", json.dumps(about))
    return buffer.getvalue()


def _put(archive: zipfile.ZipFile, name: str, value) -> dict:
    """Store one value under ``name``; return its description for ``cell.json``."""
    if isinstance(value, pd.DataFrame):
        columns = [
            [column, _put_column(archive, f"{name}.{i}", series)] for i, (column, series) in enumerate(value.items())
        ]
        return {"kind": "frame", "columns": columns}
    if isinstance(value, np.ndarray) and not value.dtype.hasobject:
        member = io.BytesIO()
        np.save(member, value)
        archive.writestr(f"{name}.npy", member.getvalue())
        return {"kind": "array"}
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, (bool, int, float, str)):
        return {"kind": "plain", "value": value}
    raise TypeError(
        f"a cell holds frames, numpy arrays, numbers and text, or a dict of them; got {type(value).__name__}"
    )


def _put_column(archive: zipfile.ZipFile, name: str, series: pd.Series) -> dict:
    if isinstance(series.dtype, np.dtype) and series.dtype.kind in "biuf":
        return _put(archive, name, series.to_numpy())
    items = [None if pd.isna(item) else item for item in series]
    if not all(item is None or isinstance(item, str) for item in items):
        raise TypeError(f"column {series.name!r} must hold numbers or text, got {series.dtype}")
    return {"kind": "plain", "value": items}


def _unpack(packed: bytes) -> tuple[object, float]:
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        about = json.loads(archive.read("cell.json"))
        content = about["content"]
        if isinstance(content, list):
            result = {key: _get(archive, str(i), described) for i, (key, described) in enumerate(content)}
        else:
            result = _get(archive, "0", content)
        return result, about["seconds"]


def _get(archive: zipfile.ZipFile, name: str, described: dict):
    if described["kind"] == "plain":
        return described["value"]
    if described["kind"] == "array":
        return np.load(io.BytesIO(archive.read(f"{name}.npy")), allow_pickle=False)
    return pd.DataFrame(
        {column: _get(archive, f"{name}.{i}", d) for i, (column, d) in enumerate(described["columns"])}
    )
