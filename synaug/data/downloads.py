"""Files from elsewhere: verified, resumable, and never half written under their final name."""

import errno
import hashlib
import http.client
import os
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tqdm import tqdm

CHUNK = 1 << 20  # bytes


def fetch(url: str, path: Path, digest: str, timeout: float = 10.0) -> Path:
    """Download ``url`` to ``path`` unless it is there already; returns ``path``.

    digest    "md5:..." or "sha256:..." in hexadecimal
    timeout   seconds without an answer or a byte after which the host counts as unreachable

    The bytes go to ``path`` + ".part" and get their name once the digest fits. An interrupted
    download stays there, and the next call goes on from it where the server knows ranges.
    Raises ConnectionError where the host cannot be reached, stops early, or sends another file;
    ValueError where a file of another content is at ``path`` already; OSError on a full disk.
    """
    if path.exists():
        if digest_of(path, digest) != digest:
            raise ValueError(f"{path} is truncated or altered (expected {digest}): delete it and try again")
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    try:
        with full_disk_explained(path.parent):
            _download(url, part, timeout)
    except OSError as error:
        if error.errno in FULL_DISK:
            part.unlink(missing_ok=True)
        raise
    if (found := digest_of(part, digest)) != digest:
        part.unlink()
        raise ConnectionError(f"{url} sent another file: expected {digest}, got {found}")
    os.replace(part, path)
    return path


def digest_of(path: Path, like: str) -> str:
    """The digest of a file, by the algorithm that ``like`` ("md5:..." or "sha256:...") names."""
    algorithm = like.split(":")[0]
    with open(path, "rb") as file:
        return f"{algorithm}:{hashlib.file_digest(file, algorithm).hexdigest()}"


def _download(url: str, part: Path, timeout: float) -> None:
    """Bring ``part`` up to the whole of ``url``, going on from what it holds."""
    held = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={held}-"} if held else {})
    try:
        response = urllib.request.urlopen(request, timeout=timeout)
    except urllib.error.HTTPError as error:
        if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            return  # nothing is left to send: the digest decides
        raise ConnectionError(f"{url} answered {error.code} {error.reason}") from error
    except (OSError, http.client.HTTPException) as error:
        raise ConnectionError(f"{url} cannot be reached: {getattr(error, 'reason', error)}") from error
    with response:
        if response.status != http.HTTPStatus.PARTIAL_CONTENT:
            held = 0  # the server sends the whole file, whatever was asked for
        length = response.headers["Content-Length"]
        total = held + int(length) if length else None
        with (
            open(part, "ab" if held else "wb") as file,
            tqdm(total=total, initial=held, unit="B", unit_scale=True, desc=part.stem, disable=None) as bar,
        ):
            for chunk in _chunks(response, url):
                file.write(chunk)
                bar.update(len(chunk))
    if total and (size := part.stat().st_size) < total:
        raise ConnectionError(f"{url} stopped after {size:,} of {total:,} bytes; another call resumes there")


def _chunks(response, url: str) -> Iterator[bytes]:
    """The body piece by piece: a failing network is a ConnectionError, apart from a failing disk."""
    while True:
        try:
            chunk = response.read(CHUNK)
        except (OSError, http.client.HTTPException) as error:
            raise ConnectionError(f"{url} broke off ({error}); another call resumes there") from error
        if not chunk:
            return
        yield chunk


#: What the system says when a disk, a quota or a file size limit is exhausted.
FULL_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def full_disk_explained(folder: Path):
    """An OSError of a full disk says in which folder, and what to do."""
    try:
        yield
    except OSError as error:
        if error.errno not in FULL_DISK:
            raise
        raise OSError(
            error.errno,
            f"no space left ({error.strerror}) while writing in {folder}: free some, "
            f"or let SYNAUG_CACHE name a folder on another disk",
        ) from error


@contextmanager
def atomic_write(path: Path):
    """A temporary path beside ``path`` to write to; it becomes ``path`` when the block succeeds.

    When the block raises, nothing is left and ``path`` is as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with full_disk_explained(path.parent):
            yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
