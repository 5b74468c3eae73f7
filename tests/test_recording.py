"""``python -m synaug.experiments``: what it lists, and recordings made in pieces by several workers."""

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
import sweep_cells
import torch

import synaug.experiments
from synaug.cells import cells_dir
from synaug.experiments import __main__ as command_module
from synaug.experiments import generator_quality, mode_concentration
from synaug.experiments.__main__ import FAILED, UNFINISHED, main
from synaug.experiments.state import State, experiments, recorded
from synaug.run.results import load_recorded, record, variants
from synaug.sweeps import run_grid

TOY = '''
"""A small experiment with real cells: squares, of which "paper" has one that fails."""
import os
import sweep_cells
from synaug.run.results import provenance, tidy
from synaug.sweeps import Cell, Grid

EXPERIMENT = "toy"
PROFILES = {"smoke": {"n": 2}, "quick": {"n": 3}, "standard": {"n": None}, "paper": {"n": 3}}

def prepare(profile, n=None):
    if PROFILES[profile]["n"] is None:
        raise FileNotFoundError("its data is not here")
    return n or PROFILES[profile]["n"]

def cells(profile, n=None):
    n = prepare(profile, n)
    function, more = (sweep_cells.failing, {}) if profile == "paper" else (sweep_cells.square, {"seconds": 1.0})
    return Grid("toy", [Cell(function, {"x": x, "notes": os.environ["NOTES"], **more}) for x in range(n)])

def run(profile, n=None):
    grid = cells(profile, n)
    frame = grid.frame().rename(columns={"square": "value"})[["x", "value"]]
    return tidy(frame.to_dict("records"), provenance({"n": prepare(profile, n)}, grid.total_seconds()),
                experiment=EXPERIMENT, dataset="none", profile=profile, arm="all", seed=0, swept="x", metric="square")
'''


@pytest.fixture(autouse=True)
def folders(tmp_path, monkeypatch):
    monkeypatch.setenv("SYNAUG_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("SYNAUG_RESULTS", str(tmp_path / "results"))


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """The package of experiments with one more module; returns the folder of its cells' notes."""
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "toy.py").write_text(TOY)
    notes = tmp_path / "notes"
    notes.mkdir()
    monkeypatch.setenv("NOTES", str(notes))
    monkeypatch.setattr(synaug.experiments, "__path__", [*synaug.experiments.__path__, str(tmp_path / "more")])
    yield notes
    sys.modules.pop("synaug.experiments.toy", None)


def stored():
    return {path: path.stat().st_mtime_ns for path in cells_dir().glob("*/*.zip")}


def command(*words):
    return main(["--experiment", "toy", *words])


def test_a_recording_in_pieces(toy, capsys):
    assert command("--profile", "quick", "--minutes", "0.02", "--workers", "1") == UNFINISHED
    first = capsys.readouterr().out
    assert "1 cells finished, 0 failed, 2 not run (no time was left" in first and "not recorded yet" in first
    assert command() == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert rows[0][:3] == ["experiment", "profile", "recorded"]
    assert rows[1][:5] == ["toy", "smoke", "no", "1", "1"] and rows[1][5] == "about"
    assert rows[2][:5] == ["toy", "quick", "no", "1", "2"] and rows[2][5] == "about"
    assert rows[3] == "toy standard no ? ? FileNotFoundError: its data is not here".split()
    assert rows[4] == "toy paper no 0 3 an unknown time".split()
    assert command("--profile", "quick", "--minutes", "inf", "--workers", "1") == 0
    assert "recorded in" in capsys.readouterr().out
    assert load_recorded("toy", "quick")["value"].tolist() == [0, 1, 4]
    assert len(list(toy.iterdir())) == 3
    before = stored()
    assert command("--profile", "quick", "--minutes", "inf") == 0  # nothing to do
    assert stored() == before and len(list(toy.iterdir())) == 3
    assert command("--profile", "quick") == 0
    assert capsys.readouterr().out.splitlines()[-1].split() == ["toy", "quick", "yes", "3", "0"]


def test_other_parameters_are_recorded_under_a_name_of_their_own(toy, capsys):
    words = ["--profile", "quick", "-p", "n", "1", "--variant", "one"]
    assert command(*words, "--minutes", "inf", "--workers", "1") == 0
    assert "recorded in" in capsys.readouterr().out and variants("toy", "quick") == ["one"]
    assert load_recorded("toy", "quick", "one")["value"].tolist() == [0]
    assert command(*words) == 0 == command("--profile", "quick")
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert rows[1] == "toy quick.one yes 1 0".split() and rows[3][:5] == "toy quick no 1 2".split()
    assert command("--profile", "quick", "-p", "n", "2", "--variant", "one") == 0
    assert "other parameters" in capsys.readouterr().out


@pytest.mark.parametrize("wrong, message", [
    (["-p", "n", "1"], "say which with --experiment, --profile"),
    (["--profile", "quick", "-p", "m", "1"], "unknown parameter: m."),
    (["--profile", "quick", "-p", "profile", "1"], "unknown parameter: profile"),
    (["--profile", "quick", "-p", "n", "1", "--minutes", "1"], "give -p and --variant together"),
    (["--profile", "quick", "--variant", "one", "--minutes", "1"], "give -p and --variant together"),
    (["--profile", "quick", "--plan"], "toy has no plan"),
])
def test_bad_parameters_are_refused(toy, wrong, message, capsys):
    with pytest.raises(SystemExit):
        command(*wrong)
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("given, gpus, expected", [
    ([], 2, {"workers": None, "threads": 1}), (["--device", "mps"], 0, {"workers": 1, "threads": 12}),
    (["--device", "cuda"], 2, {"workers": 2, "threads": 6}),
    (["--device", "cuda", "--workers", "24"], 2, {"workers": 24, "threads": 1}),
    (["--device", "cuda", "--threads", "3"], 1, {"workers": 1, "threads": 3}),
])
def test_cells_at_once(given, gpus, expected, monkeypatch):
    monkeypatch.setattr(command_module, "count_gpus", lambda: gpus)
    monkeypatch.setattr(command_module, "cores", lambda: 12)
    assert command_module.at_once(command_module.parse(["--profile", "paper", "--minutes", "9", *given])) == expected


def test_failures_are_told_and_nothing_is_recorded(toy, capsys):
    assert command("--profile", "paper", "--minutes", "inf", "--workers", "1") == FAILED
    told = capsys.readouterr().out
    assert "2 cells finished, 1 failed" in told and "failing(x=2" in told and "no 2 here" in told
    assert command("--profile", "standard", "--minutes", "inf") == FAILED
    assert "its data is not here" in capsys.readouterr().out
    assert command("--profile", "quick", "--minutes", "inf", "--dask", "tcp://127.0.0.1:1") == FAILED
    assert "no Dask scheduler answers at 'tcp://127.0.0.1:1'" in capsys.readouterr().out
    with pytest.raises(FileNotFoundError):
        load_recorded("toy", "paper")


def test_what_was_recorded_otherwise_is_not_taken_for_recorded(toy, tmp_path, monkeypatch):
    module = experiments()["toy"]
    with ThreadPoolExecutor(2) as executor:
        run_grid(module.cells("smoke"), executor, workers=2, progress=False)
    path = record(module.run("smoke"), "toy", "smoke").with_name("toy.smoke.json")
    assert recorded(module, "smoke") == "yes" and recorded(module, "quick") == "no"
    origin = json.loads(path.read_text())
    path.write_text(json.dumps({**origin, "generator": "0" * 16, "parameters": {"n": 2, "generator": "fashion_mnist"}}))
    assert recorded(module, "smoke") == "another generator"
    monkeypatch.setitem(module.PROFILES, "smoke", {"n": 1})
    assert recorded(module, "smoke") == "other parameters"


@pytest.mark.parametrize("wrong, message", [
    (["--experiment", "toys"], "invalid choice: 'toys'"), (["--profile", "fast"], "invalid choice: 'fast'"),
    (["--profile", "smoke", "--minutes", "-1"], "must be positive, got -1"),
    (["--profile", "smoke", "--minutes", "nan"], "must be positive, got nan"),
    (["--minutes", "1"], "say which with --profile"), (["--workers", "2"], "say for how long with --minutes"),
    (["--profile", "smoke", "--minutes", "1", "--workers", "0"], "--workers must be at least 1"),
    (["--profile", "smoke", "--minutes", "1", "--threads", "-2"], "--threads must be at least 1, got -2"),
])
def test_bad_options_are_refused(wrong, message, capsys):
    with pytest.raises(SystemExit) as error:
        main(wrong)
    assert error.value.code == 2 and message in capsys.readouterr().err


def test_experiments_are_found_with_their_cells():
    found = experiments()
    assert found["mode_concentration"] is mode_concentration and found["generator_quality"] is generator_quality
    state = State.now(mode_concentration, "smoke")
    # Pools of 2 levels and 2 splits, the judge, 2 classifiers and the measurements of each of 3 levels.
    assert len(state.missing) == len(state.grid.cells) == 4 + 1 + 3 * 2 + 3 and state.unknown and not state.problem
    assert len(State.now(generator_quality, "smoke").missing) == 2


SMALL = {"profile": "smoke", "reverse_steps": [0, 100], "encoders": ["judge"], "n_bootstrap": 10}


def test_pieces_by_two_workers_are_the_run(tmp_path, monkeypatch):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as workers have: with more, sums are rounded in another order
    try:
        whole = mode_concentration.run(**SMALL)
    finally:
        torch.set_num_threads(threads)
    monkeypatch.setenv("SYNAUG_CACHE", str(tmp_path / "pieces"))
    grid = mode_concentration.cells(**SMALL)
    report = run_grid(grid, workers=2, progress=False)
    assert report.complete and len(report.finished) == 2 + 1 + 4 + 2, report
    before = stored()
    again = mode_concentration.run(**SMALL)
    assert stored() == before
    keys = ["x", "metric", "encoder", "reference", "sources", "seed"]
    pd.testing.assert_frame_equal(whole[keys], again[keys])
    np.testing.assert_allclose(again["value"], whole["value"], rtol=1e-5, atol=1e-6)
    seconds = again.attrs["provenance"]["wall_seconds"]
    assert seconds == pytest.approx(grid.total_seconds(), rel=0.5)


def test_pieces_of_generator_quality_are_what_its_run_needs():
    small = {"profile": "smoke", "steps": 2, "n_judge": 100, "classifier_steps": 2, "encoders": ["pixels"]}
    grid = generator_quality.cells(**small)
    with ThreadPoolExecutor(1) as executor:
        assert run_grid(grid, executor, workers=1, progress=False).complete
    before = stored()
    assert len(before) == 4  # the samples, the judge, and a cell each that says that they are there
    generator_quality.run(**small)
    assert stored() == before


def test_another_generator_on_a_worker_is_refused():
    cell = generator_quality.cells(profile="smoke").cells[0]
    with pytest.raises(RuntimeError, match="another one here than where the sweep started"):
        cell.function(**{**cell.parameters, "generator": "0" * 16})


def test_the_command_itself():
    done = subprocess.run([sys.executable, "-m", "synaug.experiments", "--help"], capture_output=True, text=True)
    words = " ".join(done.stdout.split())
    assert done.returncode == 0 and "--dask ADDRESS" in words and "recording can be made in pieces" in words


def test_every_experiment_is_one_that_can_be_run():
    found = experiments()
    assert {"mode_concentration", "targeted_augmentation", "real_generators"} <= set(found)
    for name, module in found.items():
        assert module.EXPERIMENT == name and {"smoke", "quick", "standard"} <= set(module.PROFILES)
        assert callable(module.prepare) and callable(module.run)
