"""A cache of computed features on disk, keyed by the content that they were computed from.

One file an entry under ``cache_dir()/features``. Safe to delete at any time; several processes may
share it.
"""

import hashlib
import os
import tempfile
import warnings
import zipfile
from collections.abc import Callable

import numpy as np
import torch

from synaug.paths import cache_dir


def content_key(tensors: list[torch.Tensor], *names: str) -> str:
    """SHA-256 over the names and over dtype, shape and bytes of the tensors, as 64 hex digits."""
    digest = hashlib.sha256()
    for name in names:
        digest.update(f"{len(name)}:{name}".encode())
    for tensor in tensors:
        tensor = tensor.detach().cpu().contiguous()
        digest.update(f"{tensor.dtype}{list(tensor.shape)}".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy() if tensor.dim() else repr(tensor.item()).encode())
    return digest.hexdigest()


def cached(key: str, compute: Callable[[], torch.Tensor]) -> torch.Tensor:
    """The float32 features ``[N, D]`` stored under ``key``, or else those of ``compute()``, then stored.

    An entry that cannot be read whole (truncated, altered: the file carries a checksum) is computed
    and written again. Writing is atomic; a cache that cannot be written to is a warning, not an error.
    """
    path = cache_dir() / "features" / f"{key}.npz"
    try:
        with np.load(path, allow_pickle=False) as entry:
            return torch.from_numpy(entry["features"])
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        pass
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        warnings.warn(f"cached features {path.name} are damaged ({error}); computing them again", stacklevel=2)
    features = compute()
    try:
        _write(path, features)
    except OSError as error:
        # The same words each time, so that Python shows them once.
        warnings.warn(f"features were not cached in {path.parent}: {error.strerror or error}", stacklevel=2)
    return features


def _write(path, features: torch.Tensor) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            np.savez(file, features=features.numpy())
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
