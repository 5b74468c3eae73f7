"""The package's order: a module imports only from rows above its own, there is no circle, and no list by hand."""

import ast
from pathlib import Path

import pytest

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
PACKAGE = ROOT / "synaug"
MODULES = {".".join(("synaug", *p.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__"): p for p in sorted(PACKAGE.rglob("*.py"))}


def row(module: str) -> int:
    part = module.split(".")[1]
    return next(i for i, names in enumerate(ROWS) if part in names)


def imports(path: Path) -> set[str]:
    """The modules of the package that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            full = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in MODULES else node.module for name in full}
    return {name for name in found if name.startswith("synaug.")}


@pytest.mark.parametrize("module", [name for name in MODULES if name != "synaug"])
def test_imports_come_from_rows_above(module):
    assert not [other for other in imports(MODULES[module]) if row(other) > row(module)]


def test_no_module_imports_the_map():
    """`synaug` itself is for people: within the package it would make every key depend on everything."""
    for name, path in MODULES.items():
        bare = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom) and node.module == "synaug"]
        assert not [alias.name for node in bare for alias in node.names if f"synaug.{alias.name}" not in MODULES], name


def test_there_is_no_circle():
    edges = {name: imports(path) & set(MODULES) - {name} for name, path in MODULES.items()}
    # A package's __init__ passes on what its modules hold, so these may not import it in turn.
    while edges:
        free = {name for name, others in edges.items() if not others & set(edges)}
        assert free, f"these import each other in a circle: {sorted(edges)}"
        edges = {name: others for name, others in edges.items() if name not in free}


def test_nobody_lists_by_hand_what_a_result_depends_on():
    for name, path in MODULES.items():
        for node in ast.walk(ast.parse(path.read_text())):
            assert not (isinstance(node, ast.Name) and node.id in ("CODE", "fingerprint")), name


def test_public_functions_have_type_hints():
    """Of every parameter and of what they return; mypy, which checks hints, lets functions without any pass."""
    bare = []
    for name, path in MODULES.items():
        tree = ast.parse(path.read_text())
        public = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name[0] != "_"]
        for function in (part for owner in (tree, *public) for part in owner.body if isinstance(part, ast.FunctionDef)):
            if (function.name[0] != "_" or function.name in ("__init__", "__call__")) and ".chapters" not in name:
                given = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
                bare += [f"{name}.{function.name}({p.arg})" for p in given if not p.annotation and p.arg not in ("self", "cls")]
                bare += [f"{name}.{function.name} ->"] * (function.returns is None and function.name != "__init__")
    assert not bare
