"""Parameters are checked before anything runs; rows become a tidy frame; the command records it in pieces."""

import dataclasses
import json
import sys
from dataclasses import dataclass
from itertools import pairwise

import pytest

import synaug.chapters
from synaug.__main__ import FAILED, UNFINISHED, experiments, main
from synaug.run import Experiment, Settings, param
from synaug.run.experiment import PROFILES, resolve_profile
from synaug.run.results import load_recorded


@dataclass(frozen=True, kw_only=True)
class Toy(Settings):
    n: int = param("how many", at_least=1, at_most=9)
    levels: tuple[int, ...] = param("levels", (1, 2), each=True, at_least=0)
    rate: float = param("a rate", 0.5, at_least=0)
    limit: int = param("None: all", at_least=1, optional=True)
    kind: str = param("which", "a", options=("a", "b"))
    names: tuple[str, ...] = param("names", ("x",), each=True, options=("x", "y"))
    flag: bool = param("whether", False)

    def check(self):
        if self.limit is not None and self.limit > self.n:
            raise ValueError(f"limit must be at most n = {self.n}, got {self.limit}")


TOY = Experiment("toy", Toy, {"smoke": {"n": 2}, "quick": {"n": 3}}, lambda s: [])


def test_parameters_come_from_the_profile_and_the_caller():
    s = TOY.settings("smoke", levels=[0, 5], rate=None)
    assert dataclasses.asdict(s) == {
        "profile": "smoke",
        "device": "cpu",
        "n": 2,
        "levels": (0, 5),
        "rate": 0.5,
        "limit": None,
        "kind": "a",
        "names": ("x",),
        "flag": False,
    }
    # A single value stands for a list of one, as `papermill -p levels 5` gives it.
    assert TOY.settings("quick", levels=5, names="y", rate=1).levels == (5,) and TOY.settings("quick", rate=1).rate == 1.0


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"n": 0}, "n must be a whole number of at least 1 and at most 9, got 0"),
        ({"n": 10}, "at most 9, got 10"),
        ({"n": 2.0}, "n must be a whole number.* got 2.0"),
        ({"n": True}, "got True"),
        ({"n": "2"}, "got '2'"),
        ({"levels": [1, 1]}, r"levels must be different values, got \(1, 1\)"),
        ({"levels": []}, r"levels must hold at least one value, got \(\)"),
        ({"levels": -1}, "levels must be .* got -1"),
        ({"levels": "1"}, "got '1'"),
        ({"rate": "x"}, "rate must be a finite number of at least 0 and at most 1000000, got 'x'"),
        ({"rate": float("nan")}, "got nan"),
        ({"rate": 1e7}, "at most 1000000, got"),
        ({"limit": 10**9}, "at most 1000000, got"),
        ({"kind": "c"}, "kind must be one of a, b, got 'c'"),
        ({"names": ["x", "z"]}, "names must be different values, each one of x, y, got 'z'"),
        ({"flag": 1}, "flag must be True or False, got 1"),
        ({"rate": float("inf")}, "rate must be a finite number"),
        ({"limit": 5}, "limit must be at most n = 2, got 5"),
        ({"profile": "paper"}, "toy has the profiles smoke, quick"),
        ({"kinds": "a"}, "unknown parameter: kinds. Did you mean 'kind'"),
        ({"device": 3}, "device must be a text"),
        ({"device": "gpu"}, "no device gpu here"),
        ({"device": "meta"}, "no device meta here"),
    ],
)
def test_wrong_parameters_are_refused_by_name(wrong, message):
    with pytest.raises(ValueError, match=message):
        TOY.settings(**{"profile": "smoke", **wrong})


def test_none_takes_the_place_of_a_profiles_value():
    limited = Experiment("toy", Toy, {"smoke": {"n": 2, "limit": 1}}, lambda s: [])
    assert limited.settings("smoke").limit == limited.settings("smoke", limit=None).limit == 1
    assert limited.settings("smoke", limit="none").limit is None
    with pytest.raises(ValueError, match="n must be a whole number.* got 'none'"):
        limited.settings("smoke", n="none")


def test_a_parameter_without_a_value_is_asked_for():
    with pytest.raises(ValueError, match="n must be given: how many"):
        Experiment("toy", Toy, {"smoke": {}}, lambda s: []).settings("smoke")


def test_a_parameters_cell_is_read():
    cell = {"profile": "smoke", "levels": [1], "settings": {"rate": 2}, "In": [""], "_": 3, "pytest": pytest, "run": main}
    assert TOY.read(dict(cell)) == {"profile": "smoke", "levels": [1], "rate": 2}
    for wrong, message in (
        ({"level": [1]}, "unknown parameter: level. Did you mean 'levels'"),
        ({"settings": {"rat": 1}}, "unknown parameter: rat. Did you mean 'rate'"),
        ({"settings": [1]}, "settings must be a mapping"),
        ({"settings": {"levels": [2]}}, "levels must be given once"),
    ):
        with pytest.raises(ValueError, match=message):
            TOY.read({**cell, **wrong})
    namespace = dict(cell)
    TOY.read(namespace)
    assert TOY.read(namespace | {"count": 3})  # run again, later cells have variables of their own


def test_profiles(monkeypatch):
    monkeypatch.delenv("SYNAUG_PROFILE", raising=False)
    assert resolve_profile() == "quick" and resolve_profile("paper") == "paper"
    monkeypatch.setenv("SYNAUG_PROFILE", "smoke")
    assert resolve_profile() == "smoke"
    for profile in ("fast", "", "Quick", 3):
        with pytest.raises(ValueError, match="profile is .*" + ", ".join(PROFILES)):
            resolve_profile(profile)
    monkeypatch.setenv("SYNAUG_PROFILE", "fast")
    with pytest.raises(ValueError, match="environment variable SYNAUG_PROFILE is 'fast'"):
        resolve_profile()


CHAPTER = '''
"""A small experiment of real tasks: squares, of which "paper" has one that fails."""
import os
from dataclasses import dataclass
from itertools import pairwise
import task_functions as functions
from synaug.run import Experiment, Settings, Task, param

@dataclass(frozen=True, kw_only=True)
class Toy(Settings):
    n: int = param("how many", at_least=1)
    fails: bool = param("whether one fails", False)
    data: str = param("where data lie", "here")
    xs: tuple[int, ...] = param("which", (0, 1, 2), each=True)

    def check(self):
        if self.data != "here":
            raise FileNotFoundError("its data is not here")

def rows(s):
    for x in s.xs[:s.n]:
        wait = {} if s.fails else {"seconds": 0.5}
        yield {"seed": 0, "x": x}, Task(functions.failing if s.fails else functions.square, {"x": x, "notes": os.environ["NOTES"], **wait})

PROFILES = {"smoke": {"n": 2}, "quick": {"n": 3}, "standard": {"n": 1, "data": "away"}, "paper": {"n": 3, "fails": True}}
EXPERIMENT = Experiment("toy", Toy, PROFILES, rows, constants={"dataset": "none", "arm": "all", "swept": "x"})
'''


@pytest.fixture
def toy(tmp_path, store, notes, monkeypatch):
    """The chapters with one more; returns the folder of its tasks' notes."""
    monkeypatch.setenv("SYNAUG_RESULTS", str(tmp_path / "results"))
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "toy.py").write_text(CHAPTER)
    monkeypatch.setenv("NOTES", str(notes))
    monkeypatch.setattr(synaug.chapters, "__path__", [*synaug.chapters.__path__, str(tmp_path / "more")])
    yield notes
    sys.modules.pop("synaug.chapters.toy", None)


def record(*words):
    return main(["record", "toy", "--workers", "0", *words])


def test_a_recording_in_pieces(toy, capsys):
    assert record("--profile", "quick", "--minutes", "0.01") == UNFINISHED
    first = capsys.readouterr().out
    assert "1 tasks finished, 0 failed, 2 not run (no time was left" in first and "give the same command again" in first
    assert main(["status", "toy"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert rows[0][:3] == ["experiment", "profile", "recorded"]
    assert rows[1][:5] == ["toy", "smoke", "no", "1", "1"] and rows[1][5] == "about"
    assert rows[2][:5] == ["toy", "quick", "no", "1", "2"] and rows[2][5] == "about"
    assert rows[3] == "toy standard ? ? ? FileNotFoundError: its data is not here".split()
    assert rows[4] == "toy paper no 0 3 an unknown time".split()
    assert record("--profile", "quick") == 0 and "recorded in" in capsys.readouterr().out
    frame = load_recorded("toy", "quick")
    assert frame.loc[frame["metric"] == "square", "value"].tolist() == [0, 1, 4] and len(frame) == 6
    assert frame.attrs["provenance"]["parameters"]["n"] == 3 and frame.attrs["provenance"]["wall_seconds"] >= 1.5
    assert record("--profile", "quick") == 0 and len(list(toy.iterdir())) == 3  # nothing to do
    capsys.readouterr()
    assert main(["status", "toy", "--profile", "quick"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].split() == ["toy", "quick", "yes", "3", "0"]


def test_other_parameters_are_recorded_under_a_name_of_their_own(toy, capsys):
    words = ["--profile", "quick", "-p", "n", "1", "--variant", "one"]
    assert record(*words) == 0 == main(["status", "toy", *words])
    assert capsys.readouterr().out.splitlines()[-1].split() == "toy quick.one yes 1 0".split()
    assert main(["status", "toy", *words[:4], "2", *words[5:]]) == 0
    assert "other parameters" in capsys.readouterr().out
    assert main(["status", "toy", "--profile", "quick"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].strip() == "quick.one: recorded, with other parameters"


def test_parts_that_have_all_are_the_run(toy, capsys):
    def told():
        capsys.readouterr()
        assert main(["status", "toy", "--profile", "quick"]) == 0
        return capsys.readouterr().out.splitlines()[1]

    assert record("--profile", "quick", "-p", "xs", "[2]", "--variant", "part1") == 0 and " other parameters " in told()
    assert record("--profile", "quick", "-p", "xs", "[0, 1]", "--variant", "part2") == 0 and " yes " in told()
    assert load_recorded("toy", "quick").query("metric == 'square'").set_index("x")["value"].to_dict() == {0: 0, 1: 1, 2: 4}


def test_what_was_recorded_otherwise_or_damaged_is_told(toy, tmp_path, capsys):
    def told():
        capsys.readouterr()
        assert main(["status", "toy", "--profile", "smoke"]) == 0
        return capsys.readouterr().out.splitlines()[-1]

    assert record("--profile", "smoke") == 0 and " yes " in told()
    path = tmp_path / "results" / "toy.smoke.json"
    origin = json.loads(path.read_text())
    path.write_text(json.dumps({**origin, "parameters": {**origin["parameters"], "n": 7}}))
    assert "other parameters" in told()
    for content in ("{", "[]", json.dumps({"sha256": origin["sha256"]}), json.dumps({**origin, "sha256": "0" * 64})):
        path.write_text(content)
        assert "damaged" in told()
    path.unlink()
    assert "damaged" in told() and record("--profile", "smoke") == 0 and " yes " in told()


def test_failures_are_told_and_nothing_is_recorded(toy, capsys):
    assert record("--profile", "paper") == FAILED
    told = capsys.readouterr().out
    assert "2 tasks finished, 1 failed" in told and "failing(x=2" in told and "no 2 here" in told
    assert record("--profile", "standard") == FAILED and "its data is not here" in capsys.readouterr().out
    assert record("--profile", "smoke") == 0
    for address in ("tcp://127.0.0.1:1", "nonsense"):  # even where nothing is missing
        assert main(["record", "toy", "--profile", "smoke", "--dask", address]) == FAILED
        assert f"no Dask scheduler answers at '{address}'" in capsys.readouterr().out
    with pytest.raises(FileNotFoundError):
        load_recorded("toy", "paper")


@pytest.mark.parametrize(
    "wrong, message",
    [
        (["-p", "n", "1"], "give -p and --variant together"),
        (["--variant", "one"], "give -p and --variant together"),
        (["-p", "n", "1", "--variant", "my-run"], "must be a plain name (letters, digits, _), got 'my-run'"),
        (["--minutes", "-1"], "must be positive, got -1"),
        (["--minutes", "nan"], "must be positive, got nan"),
        (["--minutes", "x"], "must be positive, got x"),
        (["--profile", "fast"], "invalid choice: 'fast'"),
        (["-p", "device", "cpu", "--variant", "one"], "device must be given once"),
        (["-p", "n", "1", "-p", "n", "2", "--variant", "one"], "n must be given once"),
    ],
)
def test_bad_options_are_refused(toy, wrong, message, capsys):
    with pytest.raises(SystemExit) as error:
        record(*wrong)
    assert error.value.code == 2 and message in capsys.readouterr().err


def test_bad_values_are_told_in_a_sentence(toy, capsys):
    for words, message in ((["-p", "m", "1"], "unknown parameter: m."), (["--device", "tpu"], "there is no device tpu")):
        assert main(["status", "toy", *words]) == FAILED and message in capsys.readouterr().out
    for words, message in (
        (["-p", "m", "1", "--variant", "a"], "unknown parameter: m."),
        (["-p", "n", "x", "--variant", "a"], "got 'x'"),
        (["--workers", "-2"], "workers must be a whole number of at least 0, got -2"),
    ):
        assert record("--profile", "smoke", *words) == FAILED
        assert message in capsys.readouterr().out


def test_every_experiment_has_its_profiles_and_says_what_its_parameters_are():
    found = experiments()
    assert {"mode_concentration", "targeted_augmentation", "real_generators", "two_layer_cnn"} <= set(found)
    for name, experiment in found.items():
        assert experiment.name == name and {"smoke", "quick", "standard"} <= set(experiment.profiles)
        assert all(field.metadata["doc"] for field in experiment.parameters.values())
        assert set().union(*experiment.profiles.values()) <= set(experiment.parameters)


def test_profiles_grow():
    """From smoke to quick to standard every number does, but for the step between levels."""
    for name, experiment in experiments().items():
        for smaller, larger in pairwise(experiment.profiles[profile] for profile in ("smoke", "quick", "standard")):
            sizes = [
                (size, larger.get(parameter, experiment.parameters[parameter].default))
                for parameter, size in smaller.items()
                if type(size) is int and parameter != "stride"
            ]
            assert sizes and all(other is None or size <= other for size, other in sizes), name


def test_the_command_says_what_it_does(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "120")
    with pytest.raises(SystemExit) as ended:
        main(["record", "--help"])
    said = capsys.readouterr().out
    assert ended.value.code == 0 and "--dask ADDRESS" in said and "start no task that would not end" in said
