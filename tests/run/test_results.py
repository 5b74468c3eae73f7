import importlib.metadata
import itertools
import json
import re
import subprocess
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest
import torch

import synaug
from synaug.chapters.reading import plainly, runs_table
from synaug.provenance import provenance
from synaug.run import Experiment, Settings, param
from synaug.run.results import load_recorded, record, recorded_run, recordings, variants
from synaug.statistics.frames import COLUMNS, check_frame, tidy

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
    assert tuple(frame.columns[:9]) == COLUMNS and frame.columns[9] == "encoder"
    assert len(frame) == 12 and frame.attrs["provenance"] == {"wall_seconds": 1.5}


def test_untidy_frames_are_refused(frame):
    with pytest.raises(ValueError, match="columns seed, value$"):
        check_frame(frame.drop(columns=["seed", "value"]))
    with pytest.raises(ValueError, match="column value must be numeric"):
        check_frame(frame.assign(value="high"))
    with pytest.raises(ValueError, match="at least one row"):
        check_frame(frame.iloc[:0])


def test_what_is_recorded_comes_back_and_does_not_depend_on_row_order(frame):
    frame = frame.assign(arm="NA")  # a name like any other
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
    assert list(recordings("toy")) == ["standard", "standard.other"]
    assert set(load_recorded("toy", "standard", "other")["value"]) == {2.0}
    # Of the generator at hand; of two, the profile's own, and the larger profile.
    assert set(recorded_run(other)["value"]) == {2.0}
    pd.testing.assert_frame_equal(recorded_run(frame), load_recorded("toy"))
    larger = frame.assign(value=3.0)
    larger.attrs["provenance"] = {"generator": "a"}
    record(larger, "toy", "paper", "fast")
    assert set(recorded_run(frame)["value"]) == {3.0}
    assert list(recordings("toy")) == ["paper.fast", "standard", "standard.other"] and recordings("other") == {}
    with pytest.raises(ValueError, match="variant must be plain names .*got 'a/b'"):
        record(frame, "toy", "standard", "a/b")


def test_a_run_in_parts_is_their_rows_and_values(frame):
    def of(seeds, minutes):
        part = frame[frame["seed"].isin(seeds)]
        part.attrs["provenance"] = {
            "generator": "a",
            "commit": "c",
            "device": f"{minutes} cores",
            "wall_seconds": 60 * minutes,
            "parameters": {"seeds": seeds, "n": 7},
        }
        return part

    for variant in (None, "other"):
        for i, part in enumerate([of([1], 2), of([0, 1], 3)], 1):  # what both have is there once
            record(part, "toy", "standard", f"part{i}" if variant is None else f"{variant}_part{i}")
    assert list(recordings("toy")) == ["standard", "standard.other"]
    for run in recordings("toy").values():
        assert run.attrs["provenance"] == {
            "generator": "a",
            "commit": "c",
            "device": "2 cores, 3 cores",
            "wall_seconds": 300,
            "parameters": {"seeds": [1, 0], "n": 7},
        }
        both = (f.sort_values(["seed", "x", "encoder"]).reset_index(drop=True) for f in (frame, run))
        pd.testing.assert_frame_equal(*both, check_dtype=False, rtol=1e-6)
    assert len(recorded_run(of([0], 1))) == len(frame)
    assert len(load_recorded("toy", "standard", "part1")) == len(frame) / 2
    record(of([0], 1), "toy", "standard", "part10")
    assert variants("toy", "standard") == {None: ["part1", "part2", "part10"], "other": ["other_part1", "other_part2"]}


def test_runs_are_told_by_their_own_parameters(frame):
    @dataclass(frozen=True, kw_only=True)
    class Toy(Settings):
        n: int = param("how many; None: all", optional=True)
        terms: dict = param("what is tried")

    toy = Experiment("toy", Toy, {}, lambda s: [])
    frame.attrs["provenance"] = {"parameters": {"n": 7000, "terms": {"a": [1, 2]}}, "wall_seconds": 90, "device": "cpu, 1 threads"}
    recorded = frame.copy()
    recorded.attrs["provenance"] = {"parameters": {"n": None}, "wall_seconds": 600, "device": "gpu"}
    cells = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in runs_table(toy, frame, recorded).data.split("<tr")]
    rows = {first: others for first, *others in filter(None, cells)}
    assert rows["n"] == ["how many", "7,000", "\u2013"] and rows["terms"] == ["what is tried", "a: 1, 2", ""]
    assert rows["minutes"][1:] == ["1.5", "10.0"] and rows["device"][1:] == ["cpu, 1 thread", "gpu"]
    assert "none is recorded that is of this generator" in runs_table(toy, frame, None).data


def test_nothing_recorded_names_the_command():
    with pytest.raises(FileNotFoundError) as error:
        load_recorded("mode_concentration")
    assert "python -m synaug record mode_concentration --profile standard" in str(error.value)
    with pytest.raises(ValueError, match="plain names"):
        load_recorded("../secrets")


def test_provenance_is_complete_and_plain():
    found = provenance({"seeds": (0, 1), "n": np.int64(3)}, wall_seconds=2.34, generator="abc")
    assert json.loads(json.dumps(found)) == found
    assert found["libraries"]["torch"] == torch.__version__.split("+")[0]
    assert found["parameters"] == {"seeds": [0, 1], "n": 3}
    assert found["wall_seconds"] == 2.3 and found["generator"] == "abc"
    assert found["package"].startswith("synaug ") and "threads" in found["device"]


def test_provenance_where_the_package_runs_from_its_folder(monkeypatch):
    """A long run must not be lost at its end for want of an installation."""
    found = importlib.metadata.version

    def version(name):
        if name == "synaug":
            raise importlib.metadata.PackageNotFoundError(name)
        return found(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    assert provenance({}, 1.0)["package"] == f"synaug {synaug.__version__}"


def test_no_commit_outside_git(monkeypatch, tmp_path):
    monkeypatch.setattr("synaug.provenance.ROOT", tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert provenance({}, 0)["commit"] is None


def test_commit_tells_of_changes_but_not_of_new_results(monkeypatch, tmp_path):
    def git(*words):
        done = subprocess.run(["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b.org", *words], check=True, capture_output=True, text=True)
        return done.stdout.strip()

    monkeypatch.setattr("synaug.provenance.ROOT", tmp_path)
    source, result = tmp_path / "synaug.py", tmp_path / "data" / "results" / "a.csv"
    result.parent.mkdir(parents=True)
    for file in (source, result):
        file.write_text("1")
    git("init", "-q")
    git("add", ".")
    git("commit", "-q", "-m", "first")
    commit = git("rev-parse", "HEAD")
    monkeypatch.setenv("GIT_DIR", "/elsewhere/.git")  # as in a hook of another repository
    result.write_text("2")
    assert provenance({}, 0)["commit"] == commit
    source.write_text("2")
    assert provenance({}, 0)["commit"] == commit + "+changes"


@pytest.mark.parametrize(
    "value, text",
    [
        (list(range(101)), "0 to 100"),
        ((1, 2, 3), "1, 2, 3"),
        ((0, 10, 20, 30, 40), "0, 10, 20, 30, 40"),
        ([[64, 128], [32, 64]], "(64, 128), (32, 64)"),
        ({"CADS": (0.1, 1.0)}, "CADS: 0.1, 1.0"),
        (10_000, "10,000"),
        (None, "\u2013"),
    ],
)
def test_parameters_are_told_in_one_line(value, text):
    assert plainly(value) == text
