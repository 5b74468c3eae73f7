"""Results on disk: a file is written whole or not at all, reads back equal, and holds no code.

A file is a zip archive: ``index.json`` says what is what, arrays and tensors are ``.npy`` members, and every member
carries a checksum. Stored are None, numbers, text, tuples, lists, dicts with plain keys, NumPy arrays, tensors, frames,
and the dataclasses of the package that are marked `storable`. Anything else is refused when it is stored.
"""

import dataclasses
import hashlib
import importlib
import io
import json
import os
import secrets
import warnings
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

_storable: dict[str, type] = {}


def storable(cls: type) -> type:
    """Mark a dataclass as one whose objects can be stored: by its name, and its fields as far as they can be."""
    _storable[f"{cls.__module__}.{cls.__qualname__}"] = cls
    return cls


def canonical_json(value: object) -> str:
    """One text for equal values: keys sorted, no spaces; NumPy numbers, tensors and paths in JSON's forms.

    TypeError on anything else that JSON has no form for, ValueError on NaN and infinities.
    """

    def plain(item):
        if hasattr(item, "tolist"):  # NumPy scalars and arrays, tensors
            return item.tolist()
        if isinstance(item, Path):
            return item.as_posix()
        raise TypeError(f"parameters must be plain data, got {type(item).__name__}: {item!r}")

    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, default=plain)


def content_key(*parts) -> str:
    """sha256, in hex, over tensors (dtype, shape, bytes) and over anything else as canonical JSON."""
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, torch.Tensor):
            array = part.detach().cpu().contiguous()
            digest.update(f"{array.dtype}{list(array.shape)}".encode())
            digest.update(array.reshape(-1).view(torch.uint8).numpy().data)
        else:
            text = canonical_json(part)
            digest.update(f"{len(text)}:{text}".encode())
    return digest.hexdigest()


@contextmanager
def atomic_write(path: Path, writer: str = "") -> Iterator[Path]:
    """A temporary path beside ``path`` to write to; it becomes ``path`` when the block succeeds. Creates the folder.

    When the block raises, nothing is left and ``path`` is as it was. For one writer at a time, unless each has another
    name: without one, what a killed process leaves is overwritten by the next.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}{writer}.tmp")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_atomically(path: str | Path, content: bytes) -> None:
    """The whole file or none, by any of several writers. Creates the folder."""
    with atomic_write(Path(path), writer=secrets.token_hex(4)) as temporary:
        temporary.write_bytes(content)


def save(path: str | Path, value: object, about: dict | None = None) -> None:
    """Store a value, and beside it what is to be known of it without reading it (plain data).

    TypeError on a value that would not read back equal, OSError where it cannot be written.
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        index = {"about": about or {}, "value": _put(archive, value)}
        archive.writestr("index.json", json.dumps(index))
    write_atomically(path, buffer.getvalue())


def load(path: str | Path) -> Any:
    """The value in a file; FileNotFoundError where there is none, some other exception where it is damaged."""
    with zipfile.ZipFile(io.BytesIO(Path(path).read_bytes())) as archive:
        return _get(archive, json.loads(archive.read("index.json"))["value"])


def load_about(path: str | Path) -> dict:
    """What is known of the value in a file, which is not read itself."""
    with zipfile.ZipFile(path) as archive:
        return json.loads(archive.read("index.json"))["about"]


def load_state(path: str | Path, device: str | torch.device = "cpu") -> Any:
    """What `torch.save` has written, numbers and tensors; an exception where it is damaged, of which torch.load would not
    know: it does not look at the checksums."""
    with zipfile.ZipFile(path) as archive:
        if damaged := archive.testzip():
            raise ValueError(f"the checksum of {damaged} differs")
    return torch.load(path, map_location=device, weights_only=True)


def find(path: str | Path, missing: Any = None) -> Any:
    """The value in a file; ``missing`` where there is none, and, with a warning, where it is damaged."""
    try:
        return load(path)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return missing
    except Exception as error:  # a damaged file shows in many ways
        warnings.warn(f"{path} cannot be read ({error}); what it held is made again", stacklevel=2)
        return missing


def kept(path: str | Path, compute: Callable[[], object]) -> Any:
    """What is stored at ``path``, else ``compute()``, then stored.

    A damaged file is a warning and made again; a folder that cannot be written to is one warning, and nothing is kept.
    """
    value = find(path, missing := object())
    if value is missing:
        value = compute()
        keep(path, value)
    return value


def keep(path: str | Path, value: object) -> None:
    """`save`, where the disk lets it, else a warning: work that is done is worth more than its cache."""
    try:
        save(path, value)
    except OSError as error:
        warnings.warn(f"results cannot be kept in {Path(path).parent} ({error.strerror or error})", stacklevel=3)


def _put(archive: zipfile.ZipFile, value):
    """Store one value; return its description for the index."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or type(value) in (bool, int, float, str):
        return {"plain": value}
    if type(value) is np.ndarray and not value.dtype.hasobject:  # a masked one would lose its mask
        member, name = io.BytesIO(), f"{len(archive.namelist())}.npy"
        np.save(member, value)
        # Floats hardly shrink, and would take their time.
        method = zipfile.ZIP_STORED if value.dtype.kind == "f" else zipfile.ZIP_DEFLATED
        archive.writestr(name, member.getvalue(), method)
        return {"array": name}
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu().resolve_conj()
        bits = value.view(torch.int16) if value.dtype == torch.bfloat16 else value  # NumPy has no bfloat16
        return {"tensor": _put(archive, bits.numpy()), "dtype": str(value.dtype).removeprefix("torch.")}
    if type(value) in (list, tuple):
        return {type(value).__name__: [_put(archive, item) for item in value]}
    if type(value) is dict:
        if not all(type(key) in (bool, int, float, str) for key in value):
            raise TypeError(f"keys must be numbers or text, got {next(iter(value))!r}")
        return {"dict": [[key, _put(archive, item)] for key, item in value.items()]}
    if type(value) is pd.DataFrame:
        return {"frame": _put_frame(archive, value), "rows": len(value), "attrs": _put(archive, dict(value.attrs))}
    if (name := f"{type(value).__module__}.{type(value).__qualname__}") in _storable:
        fields = [field.name for field in dataclasses.fields(value)]
        return {"object": name, "fields": [[field, _put(archive, getattr(value, field))] for field in fields]}
    raise TypeError(f"numbers, text, arrays, tensors, frames and tuples, lists and dicts of these can be stored; got {type(value).__name__}")


def _put_frame(archive: zipfile.ZipFile, frame: pd.DataFrame):
    names = list(frame.columns)
    if len(set(names)) < len(names) or not all(isinstance(name, str) for name in names):
        raise TypeError(f"a frame's columns must have different names, got {names}")
    if frame.columns.name is not None:
        raise TypeError(f"a frame's row of columns must have no name, got {frame.columns.name!r}: rename_axis(columns=None)")
    whole = pd.api.types.is_integer_dtype(frame.index.dtype) or frame.empty
    if not whole or list(frame.index) != list(range(len(frame))) or frame.index.name is not None:
        raise TypeError("a frame's index must be 0, 1, ...: make what it holds a column by reset_index()")
    columns = []
    for name, series in frame.items():
        if isinstance(series.dtype, np.dtype) and series.dtype.kind in "biuf":
            columns.append([name, _put(archive, series.to_numpy())])
            continue
        if series.dtype.name not in ("object", "str", "string") and not _is_nullable(series.dtype):
            raise TypeError(f"column {name!r} must hold numbers or text, got {series.dtype}")
        items = [None if item is pd.NA and series.dtype != object else item for item in series]
        items = [item.item() if isinstance(item, np.generic) else item for item in items]
        if not all(item is None or type(item) in (bool, int, float, str) for item in items):
            raise TypeError(f"column {name!r} must hold numbers or text, got {series.dtype}")
        columns.append([name, {"column": items, "dtype": series.dtype.name}])
    return columns


def _is_nullable(dtype) -> bool:
    return isinstance(dtype, (pd.BooleanDtype, pd.core.arrays.numeric.NumericDtype))


def _get(archive: zipfile.ZipFile, described: dict):
    """The value that `_put` has described."""
    match described:
        case {"plain": value}:
            return value
        case {"array": name}:
            return np.load(io.BytesIO(archive.read(name)), allow_pickle=False)
        case {"tensor": inner, "dtype": dtype}:
            return torch.from_numpy(_get(archive, inner)).view(getattr(torch, dtype))
        case {"list": items}:
            return [_get(archive, item) for item in items]
        case {"tuple": items}:
            return tuple(_get(archive, item) for item in items)
        case {"dict": items}:
            return {key: _get(archive, item) for key, item in items}
        case {"frame": columns, "rows": rows, "attrs": attrs}:
            frame = pd.DataFrame({name: _get_column(archive, column) for name, column in columns}, index=range(rows))
            frame.attrs = _get(archive, attrs)
            return frame
        case {"object": name, "fields": fields}:
            if name not in _storable and name.startswith("synaug."):
                importlib.import_module(name.rpartition(".")[0])
            return _storable[name](**{field: _get(archive, value) for field, value in fields})
    raise ValueError(f"unknown kind {described!r}")


def _get_column(archive: zipfile.ZipFile, described: dict):
    if "column" not in described:
        return _get(archive, described)
    return pd.Series(described["column"], dtype=described["dtype"])
