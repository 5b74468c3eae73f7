from pathlib import Path

import pytest

from synaug import paths

FOLDERS = {
    "SYNAUG_DATA": (paths.data_dir, paths.ROOT / "data"),
    "SYNAUG_RESULTS": (paths.results_dir, paths.ROOT / "data" / "results"),
    "SYNAUG_CHECKPOINTS": (paths.checkpoints_dir, paths.ROOT / "data" / "checkpoints"),
    "SYNAUG_CACHE": (paths.cache_dir, Path.home() / ".cache" / "synaug"),
}


@pytest.fixture(autouse=True)
def no_variables(monkeypatch):
    for variable in FOLDERS:
        monkeypatch.delenv(variable, raising=False)


def test_root_is_the_repository():
    assert (paths.ROOT / "synaug" / "paths.py").samefile(paths.__file__)


@pytest.mark.parametrize("variable", FOLDERS)
def test_default_override_and_empty(variable, monkeypatch, tmp_path):
    folder, default = FOLDERS[variable]
    assert folder() == default
    monkeypatch.setenv(variable, str(tmp_path))
    assert folder() == tmp_path
    monkeypatch.setenv(variable, "")
    assert folder() == default


def test_results_and_checkpoints_follow_the_data_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("SYNAUG_DATA", str(tmp_path))
    assert paths.results_dir() == tmp_path / "results"
    assert paths.checkpoints_dir() == tmp_path / "checkpoints"


def test_home_and_relative_folders_become_absolute(monkeypatch, tmp_path):
    monkeypatch.setenv("SYNAUG_CACHE", "~/elsewhere")
    assert paths.cache_dir() == Path.home() / "elsewhere"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SYNAUG_CACHE", "here")
    assert paths.cache_dir() == tmp_path / "here"
