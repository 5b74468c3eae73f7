"""A disk that is full, for tests."""

from contextlib import contextmanager

import pytest


@contextmanager
def file_size_limit(size: int):
    """Writing any file of this process beyond ``size`` bytes is an OSError (EFBIG) within the block."""
    resource = pytest.importorskip("resource", reason="file size limits are a Unix thing")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
