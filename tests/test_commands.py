"""Every command on every page has options and parameters that the program takes; the page's times are the recorded."""

import argparse
import os
import re
import runpy
import shlex
import signal
import subprocess
import sys

import papermill
import pytest
import yaml
from accelerate.commands.launch import launch_command_parser

from synaug.__main__ import experiments
from synaug.paths import ROOT
from synaug.run.results import recordings

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "book").glob("*.md"))]


def commands():
    """The lines of all bash blocks, and what stands in the text as `python ...` or `papermill ...`, each as words; what
    ``&&`` joins is two."""
    for page in PAGES:
        text = page.read_text("utf-8")
        blocks = re.findall(r"```bash\n(.*?)```", text, re.DOTALL)
        inline = re.findall(r"`((?:python|papermill) [^`\n]+)`", text)
        for line in "\n".join(blocks + inline).splitlines():
            yield from (shlex.split(part, comments=True) for part in line.split("&&"))


COMMANDS = list({" ".join(words): words for words in commands()}.values())
PYTHON = [words for words in COMMANDS if "-m" in words and words[words.index("-m") + 1] == "synaug" or words[:1] == ["python"] and words[1].endswith(".py")]
RECORDING = [words for words in COMMANDS if words[1:4] in (["-m", "synaug", "record"], ["-m", "synaug", "status"])]
PAPERMILL = [words for words in COMMANDS if words[:1] == ["papermill"]]


class Parsed(Exception):
    """The program has read its command line."""


def test_commands_are_found():
    assert len(PYTHON) > 15 and len(RECORDING) > 8 and len(PAPERMILL) > 3
    # There is one command, and one for those who write the book: it renews the findings in the README.
    assert [words for words in COMMANDS if "-m" in words and "synaug." in " ".join(words)] == [["python", "-m", "synaug.chapters.findings"]]


@pytest.mark.filterwarnings("ignore:.*found in sys.modules")
@pytest.mark.parametrize("words", PYTHON, ids=" ".join)
def test_programs_take_their_options(words, monkeypatch):
    """Each is started as the command does, and stopped once it has read its command line; ``--help`` ends itself."""
    parse_args = argparse.ArgumentParser.parse_args

    def parsed(parser, *arguments):
        parse_args(parser, *arguments)
        raise Parsed

    if words[0] == "accelerate":
        launch_command_parser().parse_args(words[words.index("launch") + 1 :])
    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parsed)
    monkeypatch.syspath_prepend(ROOT / "examples")
    start = words.index("-m") + 1 if "-m" in words else 1
    monkeypatch.setattr(sys, "argv", words[start:])
    if words[1].startswith("examples/"):
        assert (ROOT / words[1]).is_file() and len(words) == 2
        return
    with pytest.raises(SystemExit if "--help" in words else Parsed) as end:
        if "-m" in words:
            runpy.run_module(words[start], run_name="__main__")
        else:
            monkeypatch.syspath_prepend(ROOT / "tests" / "benchmarks")
            runpy.run_path(str(ROOT / words[start]), run_name="__main__")
    assert getattr(end.value, "code", 0) == 0


@pytest.mark.parametrize("words", RECORDING, ids=" ".join)
def test_experiments_have_their_parameters(words):
    """Their values are looked at by the program itself, where the generator is that they are about."""
    given = {words[i + 1] for i, word in enumerate(words) if word == "-p"}
    if len(words) > 4 and not words[4].startswith("-"):
        assert given <= set(experiments()[words[4]].parameters)
    assert bool(given) == ("--variant" in words)


@pytest.mark.parametrize("words", PAPERMILL, ids=" ".join)
def test_chapters_have_their_parameters(words):
    notebook = next(word for word in words if word.startswith("notebooks/"))
    known = papermill.inspect_notebook(str(ROOT / notebook))
    more = [yaml.safe_load(words[i + 1]) for i, word in enumerate(words) if word == "-y"]
    given = {words[i + 1] for i, word in enumerate(words) if word == "-p"}.union(*more)
    assert given <= set(known)
    experiment = experiments().get(notebook[len("notebooks/00_") : -len(".ipynb")])
    for settings in [one["settings"] for one in more if "settings" in one]:
        assert set(settings) <= set(experiment.parameters)


def test_the_times_on_the_page_are_those_of_the_recorded_runs():
    page = (ROOT / "book" / "how-to-rerun.md").read_text()
    shown = {
        (experiment, variant): int(minutes)
        for experiment, variant, minutes in re.findall(r"^\| `(\w+)` \| `standard`(?:, variant `(\w+)`)? \| (\d+) \|$", page, re.M)
    }
    recorded = {}
    for name in {path.name.partition(".")[0] for path in (ROOT / "data" / "results").glob("*.standard*.json")}:
        for run, frame in recordings(name, ("standard",)).items():  # one in parts has their times together
            recorded[name, run.partition(".")[2]] = round(frame.attrs["provenance"]["wall_seconds"] / 60)
    assert shown == recorded


def test_ctrl_c_while_the_command_starts_says_nothing(tmp_path):
    (tmp_path / "sitecustomize.py").write_text(
        "import os, signal, sys\n"
        "class Finder:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'torch':\n"
        "            os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Finder())\n"
    )
    path = os.pathsep.join(map(str, (tmp_path, ROOT)))
    at_other_times = signal.signal(signal.SIGINT, signal.default_int_handler)  # a process in the background ignores it, and so do its own
    try:
        stopped = subprocess.run([sys.executable, "-m", "synaug", "status"], env={**os.environ, "PYTHONPATH": path}, capture_output=True)
    finally:
        signal.signal(signal.SIGINT, at_other_times)
    assert (stopped.returncode, stopped.stderr) == (-signal.SIGINT, b"")
