"""The file of a cell: a zip file in which ``cell.json`` says what is what, and arrays and the numeric columns of
frames are .npy members. Nothing in it can run code, and every member carries a checksum.
"""

import io
import json
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pandas as pd

#: What reading a damaged file, or one of another kind, raises.
UNREADABLE = (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile, zlib.error)


def pack(result, about: dict) -> bytes:
    """A result (a frame, a numpy array, a number, or a dict of such and text) and what is to be known of it.

    about: what JSON has a form for. TypeError on a result of another type.
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        if isinstance(result, dict):
            content = [[str(key), _put(archive, str(i), value)] for i, (key, value) in enumerate(result.items())]
        else:
            content = _put(archive, "0", result)
        archive.writestr("cell.json", json.dumps({**about, "content": content}))
    return buffer.getvalue()


def unpack(path: Path) -> tuple[object, dict]:
    """The result in a file and what is known of it; one of `UNREADABLE` where the file is damaged."""
    with zipfile.ZipFile(io.BytesIO(path.read_bytes())) as archive:
        about = json.loads(archive.read("cell.json"))
        content = about.pop("content")
        if isinstance(content, list):
            return {key: _get(archive, str(i), described) for i, (key, described) in enumerate(content)}, about
        return _get(archive, "0", content), about


def read_about(path: Path) -> dict:
    """What is known of the result in a file, which is not read itself."""
    with zipfile.ZipFile(path) as archive:
        return json.loads(archive.read("cell.json"))


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


def _get(archive: zipfile.ZipFile, name: str, described: dict):
    if described["kind"] == "plain":
        return described["value"]
    if described["kind"] == "array":
        return np.load(io.BytesIO(archive.read(f"{name}.npy")), allow_pickle=False)
    return pd.DataFrame(
        {column: _get(archive, f"{name}.{i}", d) for i, (column, d) in enumerate(described["columns"])}
    )
