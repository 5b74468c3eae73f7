"""A store of its own for each test, and a folder in which tasks note that they have run."""

import pytest

from synaug.run import Store


@pytest.fixture
def notes(tmp_path):
    (tmp_path / "notes").mkdir()
    return tmp_path / "notes"


@pytest.fixture
def store(cache):
    return Store()
