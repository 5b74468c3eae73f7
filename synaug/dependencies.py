"""What a function's result depends on in its package and in this one, found by reading the imports.

Comments and docstrings do not count, nor what the function does not reach.
"""

import ast
import hashlib
import importlib.util
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path


@cache
def code_of(function: Callable) -> str:
    """sha256 over what a function's answer can depend on in its package and in `synaug`: its definition, those of its own module that
    it names, directly or not, and whole every module of the two that these import, with what those import."""
    own = function.__module__
    packages = frozenset({own.partition(".")[0], "synaug"})
    names, todo, modules, parts = {function.__name__}, [function.__name__], [], []
    defined = _definitions(own)
    while todo:
        for node in defined.get(todo.pop(), ()):
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                modules += _imported(node, own, packages)
                continue
            parts.append(ast.dump(node))
            modules += [name for inner in ast.walk(node) for name in _imported(inner, own, packages)]
            for inner in ast.walk(node):
                if isinstance(inner, ast.Name) and inner.id in defined and inner.id not in names:
                    names.add(inner.id)
                    todo.append(inner.id)
    digest = hashlib.sha256("\n".join(sorted(parts)).encode())
    for name in sorted(_closure(modules, packages)):
        digest.update(f"{name}\0{_dumped(name)}\0".encode())
    return digest.hexdigest()


def _closure(modules: Iterable[str], packages: frozenset[str]) -> set[str]:
    found, todo = set(), list(modules)
    while todo:
        if (name := todo.pop()) not in found:
            found.add(name)
            todo += _reached(name, packages)
    return found


@cache
def _reached(module: str, packages: frozenset[str]) -> list[str]:
    return [other for node in ast.walk(_parsed(module)) for other in _imported(node, module, packages)]


@cache
def _dumped(module: str) -> str:
    return ast.dump(_parsed(module))


@cache
def _file(name: str) -> str:
    """Where a module's source stands; "" where there is no such module."""
    try:
        spec = importlib.util.find_spec(name)
    except ModuleNotFoundError:
        return ""
    return (spec and spec.origin) or ""


@cache
def _parsed(module: str) -> ast.Module:
    """The syntax tree of a module without its docstrings."""
    tree = ast.parse(Path(_file(module)).read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)) and ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:]
    return tree


@cache
def _definitions(module: str) -> dict[str, list[ast.stmt]]:
    """The statements of a module that give a name its meaning, by name."""
    found: dict[str, list[ast.stmt]] = {}
    for node in _parsed(module).body:
        if isinstance(node, ast.Import):
            named = [(a.asname or a.name.partition(".")[0], ast.Import([a])) for a in node.names]
        elif isinstance(node, ast.ImportFrom):
            named = [(a.asname or a.name, ast.ImportFrom(node.module, [a], node.level)) for a in node.names]
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            named = [(node.name, node)]
        else:
            targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", node)]
            plain = isinstance(node, (ast.Assign, ast.AnnAssign)) and all(isinstance(t, ast.Name) for t in targets)
            # What is no plain assignment may change whatever it names.
            inner = targets if plain else ast.walk(node)
            named = [(name, node) for name in {n.id for n in inner if isinstance(n, ast.Name)}]
        for name, meaning in named:
            found.setdefault(name, []).append(meaning)
    return found


def _imported(node: ast.AST, module: str, packages: frozenset[str]) -> list[str]:
    """The modules of the packages that an import brings; a name that a package's ``__init__`` only passes on counts as
    the module that it comes from."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names if alias.name.partition(".")[0] in packages]
    if not isinstance(node, ast.ImportFrom):
        return []
    origin = node.module or ""
    if node.level:
        here = module if Path(_file(module)).stem == "__init__" else module.rpartition(".")[0]
        origin = importlib.util.resolve_name("." * node.level + origin, here)
    if origin.partition(".")[0] not in packages:
        return []
    found = []
    for alias in node.names:
        if _file(f"{origin}.{alias.name}"):
            found.append(f"{origin}.{alias.name}")
            continue
        passed_on = [other for other in _definitions(origin).get(alias.name, ()) if isinstance(other, ast.ImportFrom)]
        deeper = [name for other in passed_on for name in _imported(other, origin, packages)]
        found += deeper or [origin]
    return found
