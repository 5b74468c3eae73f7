import itertools
import json
import os
import subprocess
import sys
import time
import types
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
import torch

import synaug.run.results
from synaug import cells
from synaug.run.results import (
    CellCache,
    canonical_json,
    check_frame,
    describe_runs,
    fingerprint,
    load_recorded,
    provenance,
    record,
    recorded_run,
    recordings,
    variants,
    tidy,
)

CONSTANTS = {"experiment": "toy", "dataset": "digits", "profile": "smoke", "arm": "a", "swept": "t_re"}


@pytest.fixture(autouse=True)
def folders(tmp_path, monkeypatch):
    monkeypatch.setenv("SYNAUG_RESULTS", str(tmp_path / "results"))
    monkeypatch.setenv("SYNAUG_CACHE", str(tmp_path / "cache"))
    return tmp_path


@pytest.fixture
def frame():
    rows = [
        {"seed": seed, "x": x, "metric": "recall", "value": (seed + 1) / (x + 3), "encoder": encoder}
        for seed, x, encoder in itertools.product((0, 1), (0, 50, 100), ("pixels", None))
    ]
    return tidy(rows, provenance={"wall_seconds": 1.5}, **CONSTANTS)


def test_a_tidy_frame_has_the_columns_first(frame):
    assert tuple(frame.columns[:9]) == synaug.run.results.COLUMNS and frame.columns[9] == "encoder"
    assert len(frame) == 12 and frame.attrs["provenance"] == {"wall_seconds": 1.5}


def test_untidy_frames_are_refused(frame):
    with pytest.raises(ValueError, match="columns seed, value$"):
        check_frame(frame.drop(columns=["seed", "value"]))
    with pytest.raises(ValueError, match="column value must be numeric"):
        check_frame(frame.assign(value="high"))
    with pytest.raises(ValueError, match="at least one row"):
        check_frame(frame.iloc[:0])


def test_what_is_recorded_comes_back_and_does_not_depend_on_row_order(frame):
    path = record(frame, "toy", "smoke")
    first = path.read_bytes()
    loaded = load_recorded("toy", "smoke")
    assert loaded.attrs["provenance"] == {"wall_seconds": 1.5}
    key = ["seed", "x", "encoder"]
    both = (f.sort_values(key).reset_index(drop=True) for f in (frame, loaded))
    pd.testing.assert_frame_equal(*both, check_dtype=False, rtol=1e-6)
    shuffled = frame.sample(frac=1, random_state=0)
    assert record(shuffled, "toy", "smoke").read_bytes() == first
    assert record(loaded, "toy", "smoke").read_bytes() == first
    assert sorted(p.name for p in path.parent.iterdir()) == ["toy.smoke.csv.gz", "toy.smoke.json"]


def test_a_recorded_run_is_of_the_same_experiment_and_generator(frame):
    frame.attrs["provenance"] = {"generator": "a"}
    assert recorded_run(frame, "smoke") is None
    record(frame, "toy", "smoke")
    pd.testing.assert_frame_equal(recorded_run(frame, "smoke"), load_recorded("toy", "smoke"))
    assert recorded_run(frame) is None
    frame.attrs["provenance"] = {"generator": "b"}
    assert recorded_run(frame, "smoke") is None
    assert recorded_run(frame.assign(experiment="other"), "smoke") is None
    record(frame, "toy", "smoke")
    assert recorded_run(frame.assign(experiment="other"), "smoke", "toy") is not None
    with pytest.raises(ValueError, match="one experiment is needed, got other, toy"):
        recorded_run(pd.concat([frame, frame.assign(experiment="other")]), "smoke")


def test_variants_are_recorded_beside_the_profiles_own(frame):
    frame.attrs["provenance"] = {"generator": "a"}
    record(frame, "toy", "standard")
    other = frame.assign(value=2.0)
    other.attrs["provenance"] = {"generator": "b"}
    path = record(other, "toy", "standard", "other")
    assert path.name == "toy.standard.other.csv.gz"
    assert variants("toy") == ["other"] and variants("toy", "paper") == [] == variants("to")
    assert set(load_recorded("toy", "standard", "other")["value"]) == {2.0}
    # Of the generator at hand; of two, the profile's own, and the larger profile.
    assert set(recorded_run(other)["value"]) == {2.0}
    pd.testing.assert_frame_equal(recorded_run(frame), load_recorded("toy"))
    larger = frame.assign(value=3.0)
    larger.attrs["provenance"] = {"generator": "a"}
    record(larger, "toy", "paper", "fast")
    assert set(recorded_run(frame)["value"]) == {3.0}
    assert list(recordings("toy")) == ["paper.fast", "standard", "standard.other"] and recordings("other") == {}
    with pytest.raises(ValueError, match="variant must be plain names, got 'a/b'"):
        record(frame, "toy", "standard", "a/b")


def test_runs_are_described_by_their_own_parameters(frame):
    origin = {"parameters": {"n": 7}, "wall_seconds": 90, "device": "cpu", "generator": None}
    recorded = frame.assign(profile="standard")
    frame.attrs["provenance"], recorded.attrs["provenance"] = origin, {**origin, "parameters": {"n": 70}}
    text = describe_runs(frame, recorded, lambda run, p: f"{p['n']} images, {len(run)} rows")
    assert text.splitlines() == ["- *this build*: profile `smoke`, 7 images, 12 rows; 1.5 minutes on cpu.",
                                 "- *recorded*: profile `standard`, 70 images, 12 rows; 1.5 minutes on cpu."]
    assert "no larger run has been recorded" in describe_runs(frame, None, lambda *_: "")
    frame.attrs["provenance"] = {**origin, "generator": "a"}
    assert "no larger run of this generator" in describe_runs(frame, None, lambda *_: "")


def test_nothing_recorded_names_the_command():
    with pytest.raises(FileNotFoundError) as error:
        load_recorded("mode_concentration")
    assert "python -m synaug.experiments.mode_concentration --profile standard" in str(error.value)
    with pytest.raises(ValueError, match="plain names"):
        load_recorded("../secrets")


def test_provenance_is_complete_and_plain():
    found = provenance({"seeds": (0, 1), "n": np.int64(3)}, wall_seconds=2.34, generator="abc")
    assert json.loads(json.dumps(found)) == found
    assert found["libraries"]["torch"] == torch.__version__.split("+")[0]
    assert found["parameters"] == {"seeds": [0, 1], "n": 3}
    assert found["wall_seconds"] == 2.3 and found["generator"] == "abc"
    assert found["package"].startswith("synaug ") and "threads" in found["device"]


def test_no_commit_outside_git(monkeypatch, tmp_path):
    monkeypatch.setattr(synaug.run.results, "ROOT", tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert provenance({}, 0)["commit"] is None


def test_commit_tells_of_changes_but_not_of_new_results(monkeypatch, tmp_path):
    def git(*words):
        done = subprocess.run(["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b.org", *words],
                              check=True, capture_output=True, text=True)
        return done.stdout.strip()

    monkeypatch.setattr(synaug.run.results, "ROOT", tmp_path)
    source, result = tmp_path / "synaug.py", tmp_path / "data" / "results" / "a.csv"
    result.parent.mkdir(parents=True)
    for file in (source, result):
        file.write_text("1")
    git("init", "-q")
    git("add", ".")
    git("commit", "-q", "-m", "first")
    commit = git("rev-parse", "HEAD")
    result.write_text("2")
    assert provenance({}, 0)["commit"] == commit
    source.write_text("2")
    assert provenance({}, 0)["commit"] == commit + "+changes"


def test_canonical_json():
    assert canonical_json({"b": np.float32(0.5), "a": (1, 2)}) == canonical_json({"a": [1, 2], "b": 0.5})
    assert canonical_json({"a": 1}) != canonical_json({"a": 2})
    with pytest.raises(TypeError, match="plain data, got function"):
        canonical_json({"a": canonical_json})
    with pytest.raises(ValueError):
        canonical_json({"a": float("nan")})


RESULTS = {
    "array": lambda: np.arange(6, dtype=np.float32).reshape(2, 3),
    "frame": lambda: pd.DataFrame({"x": [0.1, np.nan], "n": [1, 2], "ok": [True, False], "arm": ["a", None]}),
    "number": lambda: 0.1 + 0.2,
    "numpy number": lambda: np.float32(0.25),
    "dict": lambda: {"maps": np.ones((2, 2)), "frame": pd.DataFrame({"x": [1.5]}), "n": 3, "text": "t"},
}


@pytest.mark.parametrize("kind", RESULTS)
def test_a_cell_runs_once_and_comes_back_equal(kind):
    calls = []

    def run():
        calls.append(1)
        return RESULTS[kind]()

    first = CellCache("toy", "code").get_or_run({"kind": kind}, run)
    second = CellCache("toy", "code").get_or_run({"kind": kind}, run)
    assert len(calls) == 1
    for result in (first, second):
        same(result, RESULTS[kind]())


def same(a, b):
    if isinstance(b, dict):
        assert list(a) == list(b)
        for key in b:
            same(a[key], b[key])
    elif isinstance(b, pd.DataFrame):
        pd.testing.assert_frame_equal(a, b, check_exact=True)
    elif isinstance(b, np.ndarray):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)
    else:
        assert a == b


def test_key_is_experiment_parameters_and_code():
    caches = [CellCache("toy", "code"), CellCache("toy", "other"), CellCache("game", "code")]
    keys = {cache.path(params).stem for cache in caches for params in ({"seed": 0}, {"seed": 1})}
    assert len(keys) == 6
    assert caches[0].path({"a": 1, "b": 2}) == caches[0].path({"b": 2, "a": 1})


@pytest.mark.parametrize("damage", [lambda b: b[: len(b) // 2], lambda b: b"", lambda b: b[:60] + b"?" + b[61:]])
def test_a_damaged_cell_is_run_again_with_a_warning(damage):
    cache = CellCache("toy", "code")
    cache.get_or_run({}, lambda: np.arange(1000))
    path = cache.path({})
    path.write_bytes(damage(path.read_bytes()))
    with pytest.warns(UserWarning, match="cannot be read"):
        np.testing.assert_array_equal(cache.get_or_run({}, lambda: np.arange(5)), np.arange(5))
    np.testing.assert_array_equal(cache.get_or_run({}, pytest.fail), np.arange(5))


def test_a_failing_cell_stores_nothing_and_other_types_are_refused():
    cache = CellCache("toy", "code")
    with pytest.raises(ZeroDivisionError):
        cache.get_or_run({}, lambda: 1 / 0)
    for bad in (object(), np.array([object()]), pd.DataFrame({"a": [[1], [2]]}), {"a": [1]}):
        with pytest.raises(TypeError):
            cache.get_or_run({}, lambda bad=bad: bad)
    assert not cache.path({}).exists()


def test_a_full_disk_costs_the_cache_not_the_result(monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    cache = CellCache("toy", "code")
    with pytest.warns(UserWarning, match="No space left"):
        assert cache.get_or_run({}, lambda: 3) == 3
    assert list(cache.path({}).parent.iterdir()) == []


def test_wall_seconds_count_stored_cells_too():
    def wait(seconds):
        time.sleep(seconds)
        return seconds

    first, second = CellCache("toy", "code"), CellCache("toy", "code")
    for cache in (first, second):
        cache.get_or_run({"outer": 1}, lambda: wait(0.1) + cache.get_or_run({"inner": 1}, lambda: wait(0.2)))
    assert first.wall_seconds == second.wall_seconds and 0.3 <= first.wall_seconds <= first.elapsed
    assert second.elapsed == 0
    about = second.about({"outer": 1})  # the time of an inner cell is its own
    assert 0.1 <= about["seconds"] < 0.3 and [s >= 0.2 for s in about["asked"].values()] == [True]
    assert second.about({"outer": 2}) is None


def test_an_inner_cell_may_be_of_another_cache():
    inner, outer = CellCache("inner", "code"), CellCache("outer", "code")
    for level in range(2):
        outer.get_or_run({"level": level}, lambda: inner.get_or_run({}, lambda: 1))
    name = inner.path({}).relative_to(inner.folder).as_posix()
    assert [list(outer.about({"level": level})["asked"]) for level in range(2)] == [[name], [name]]


def test_a_cell_that_another_one_is_running_is_waited_for():
    calls = []

    def slow():
        calls.append(1)
        time.sleep(0.3)
        return len(calls)

    with ThreadPoolExecutor(4) as executor:
        results = list(executor.map(lambda _: CellCache("toy", "code").get_or_run({}, slow), range(4)))
    assert results == [1] * 4 and calls == [1]


def test_a_cell_runs_where_no_lock_can_be_had(folders):
    cache = CellCache("toy", "code")
    cache.folder.mkdir(parents=True)
    (cache.folder / "locks").write_text("a file, not a folder")
    assert cache.get_or_run({}, lambda: 1) == 1 and cache.path({}).exists()


def test_fingerprint_changes_with_content_and_name_not_with_place(tmp_path):
    def tree(folder, text="x = 1\n", name="a.py"):
        (folder / "code" / "__pycache__").mkdir(parents=True)
        (folder / "code" / name).write_text(text)
        (folder / "code" / "__pycache__" / "a.pyc").write_text(str(folder))
        return folder / "code"

    first = fingerprint(tree(tmp_path / "1"))
    assert first == fingerprint(tree(tmp_path / "2"))
    assert first != fingerprint(tree(tmp_path / "3", text="x = 2\n"))
    assert first != fingerprint(tree(tmp_path / "4", name="b.py"))
    with pytest.raises(FileNotFoundError, match="nothing to fingerprint"):
        fingerprint(tmp_path / "5")


def test_fingerprint_of_modules_and_packages(tmp_path):
    assert fingerprint(cells) == fingerprint(cells.__file__) != fingerprint(synaug.run.results)
    (tmp_path / "pack" / "sub").mkdir(parents=True)
    for name in ("__init__.py", "sub/inner.py"):
        (tmp_path / "pack" / name).write_text("")
    package = types.ModuleType("pack")
    package.__file__ = str(tmp_path / "pack" / "__init__.py")
    before = fingerprint(package)
    (tmp_path / "pack" / "notes.txt").write_text("not code")
    assert fingerprint(package) == before
    (tmp_path / "pack" / "sub" / "inner.py").write_text("x = 1\n")
    assert fingerprint(package) != before
    assert fingerprint(package, sys.modules[__name__]) != fingerprint(package)
