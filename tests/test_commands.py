"""Every command of the README and of the page on rerunning has options that the program takes."""

import argparse
import re
import runpy
import shlex
import sys

import papermill
import pytest
from accelerate.commands.launch import launch_command_parser

from synaug.experiments.__main__ import parse
from synaug.paths import ROOT

PAGES = ("README.md", "book/how-to-rerun.md")


def commands():
    """The lines of all bash blocks, each as words; what ``&&`` joins is two."""
    for page in PAGES:
        for block in re.findall(r"```bash\n(.*?)```", (ROOT / page).read_text(), re.DOTALL):
            for line in block.splitlines():
                yield from (shlex.split(part, comments=True) for part in line.split("&&"))


PYTHON = [words for words in commands() if "-m" in words and "synaug" in words[words.index("-m") + 1]
          or words[:1] == ["python"] and words[1].endswith(".py")]
EXPERIMENTS = [words[3:] for words in commands() if words[1:3] == ["-m", "synaug.experiments"]]
PAPERMILL = [words for words in commands() if words[:1] == ["papermill"]]


class Parsed(Exception):
    """The program has read its command line."""


def test_commands_are_found():
    assert len(PYTHON) > 10 and len(EXPERIMENTS) > 8 and len(PAPERMILL) > 3


@pytest.mark.parametrize("words", EXPERIMENTS, ids=" ".join)
def test_experiments_take_their_options(words):
    """Names of parameters included."""
    parse(words)


@pytest.mark.filterwarnings("ignore:.*found in sys.modules")
@pytest.mark.parametrize("words", PYTHON, ids=" ".join)
def test_programs_take_their_options(words, monkeypatch):
    """Each is started as the command does, and stopped once it has read its command line."""
    parse_args = argparse.ArgumentParser.parse_args

    def parsed(parser, *arguments):
        parse_args(parser, *arguments)
        raise Parsed

    if words[0] == "accelerate":
        launch_command_parser().parse_args(words[words.index("launch") + 1:])
    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parsed)
    start = words.index("-m") + 1 if "-m" in words else 1
    monkeypatch.setattr(sys, "argv", words[start:])
    with pytest.raises(Parsed):
        if "-m" in words:
            runpy.run_module(words[start], run_name="__main__")
        else:
            monkeypatch.syspath_prepend(ROOT / "tests" / "benchmarks")
            runpy.run_path(str(ROOT / words[start]), run_name="__main__")


@pytest.mark.parametrize("words", PAPERMILL, ids=" ".join)
def test_chapters_have_their_parameters(words):
    notebook = next(word for word in words if word.startswith("notebooks/"))
    known = papermill.inspect_notebook(str(ROOT / notebook))
    assert {words[i + 1] for i, word in enumerate(words) if word == "-p"} <= set(known)
