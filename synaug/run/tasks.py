"""A task is a library call; its result is kept under a key that changes with everything the result depends on.

``Task(function, params, needs)`` stands for ``function(*results of needs, **params)``. Its key is made of the function,
the code that it reaches in its package (found by reading the imports, so nobody lists it), torch's version, the
parameters and the keys of its needs. What lies outside the code, a generator's weights or a folder of images, stands
among the parameters by a hash of its content.
"""

import ast
import hashlib
import importlib.util
import inspect
import shutil
import sys
import time
import warnings
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path

import torch

from synaug import files
from synaug.paths import cache_dir

MISSING = object()


@dataclass(frozen=True, eq=False)
class Task:
    """One call ``function(*results of needs, **params)``.

    function: of a module that other processes can import; with an argument ``checkpoint`` it is given a path of its
    own, a file or a folder, where long work keeps what it needs to go on after it was cut.
    params: plain data. ValueError or TypeError where the task could not run elsewhere or be kept.
    """

    function: Callable
    params: dict = field(default_factory=dict)
    needs: tuple["Task", ...] = ()

    def __post_init__(self):
        name, module = getattr(self.function, "__qualname__", ""), getattr(self.function, "__module__", "__main__")
        if module == "__main__" or getattr(sys.modules[module], name, None) is not self.function:
            raise ValueError(f"a task's function must stand in a module that other processes can import, got "
                             f"{name or self.function!r} of {module}")  # fmt: skip
        signature = inspect.signature(self.function)
        own = {"checkpoint": None} if "checkpoint" in signature.parameters else {}
        signature.bind(*self.needs, **own, **self.params)  # a misspelt parameter, before hours of work
        files.canonical_json(self.params)

    @cached_property
    def key(self) -> str:
        name = f"{self.function.__module__}.{self.function.__qualname__}"
        described = [name, code_of(self.function), torch.__version__, self.params, [need.key for need in self.needs]]
        return hashlib.sha256(files.canonical_json(described).encode()).hexdigest()[:32]

    def __str__(self):
        return f"{self.function.__name__}({', '.join(f'{name}={value!r}' for name, value in self.params.items())})"


def ordered(tasks: Iterable[Task]) -> list[Task]:
    """All tasks and what they need, each key once, after its needs."""
    found: dict[str, Task] = {}

    def add(task):
        if task.key not in found:
            for need in task.needs:
                add(need)
            found[task.key] = task

    for task in tasks:
        add(task)
    return list(found.values())


def call(task_key: str, function: Callable, params: dict, needs: list) -> tuple[object, float]:
    """The result of a task, and the seconds that it took."""
    start, unfinished = time.perf_counter(), None
    if "checkpoint" in inspect.signature(function).parameters:
        unfinished = cache_dir() / "unfinished" / task_key
        params = {**params, "checkpoint": unfinished}
    result = function(*needs, **params)
    if unfinished is not None and unfinished.exists():
        shutil.rmtree(unfinished) if unfinished.is_dir() else unfinished.unlink()
    return result, time.perf_counter() - start


class Store:
    """Results of tasks, a file each, in a folder; by default in the cache folder.

    Any number of processes may share it. Where it cannot be written to, which is one warning, results stay in memory.
    """

    def __init__(self, folder: str | Path | None = None):
        self.folder = Path(folder) if folder is not None else cache_dir() / "tasks"
        self._unsaved: dict[str, tuple[object, float]] = {}

    def path(self, task: Task) -> Path:
        return self.folder / task.function.__name__ / f"{task.key}.zip"

    def __contains__(self, task: Task) -> bool:
        return task.key in self._unsaved or self.path(task).exists()

    def find(self, task: Task):
        """The stored result, or `MISSING`; a file that is damaged is a warning, and gone."""
        if task.key in self._unsaved:
            return self._unsaved[task.key][0]
        result = files.find(self.path(task), MISSING)
        if result is MISSING:
            with suppress(OSError):
                self.path(task).unlink()
        return result

    def seconds(self, task: Task) -> float:
        """What a stored task took, without what it needs; 0 where that cannot be told."""
        if task.key in self._unsaved:
            return self._unsaved[task.key][1]
        try:
            return files.load_about(self.path(task))["seconds"]
        except Exception:  # damaged: it will be found to be
            return 0.0

    def save(self, task: Task, result, seconds: float) -> None:
        """Store a result; TypeError on one that would not read back equal."""
        try:
            files.save(self.path(task), result, {"task": str(task), "seconds": seconds})
        except OSError as error:  # hours of work are worth more than their cache
            if not self._unsaved:
                warnings.warn(f"results cannot be kept in {self.folder} ({error.strerror or error})", stacklevel=2)
            self._unsaved[task.key] = result, seconds

    def get(self, task: Task, started: Callable[[Task], None] = lambda task: None):
        """A task's result; it, and what it needs for that, is run here where it is not stored.

        started: called with each task before it runs.
        """
        result = self.find(task)
        if result is MISSING:
            needs = [self.get(need, started) for need in task.needs]
            started(task)
            result, seconds = call(task.key, task.function, task.params, needs)
            self.save(task, result, seconds)
        return result


# What a function's result depends on in its package. Comments and docstrings do not count.


@cache
def code_of(function: Callable) -> str:
    """sha256 over what a function's answer can depend on in its package: its definition, those of its own module that
    it names, directly or not, and whole every module of the package that these import, with what those import."""
    package, own = function.__module__.partition(".")[0], function.__module__
    names, todo, modules, parts = {function.__name__}, [function.__name__], [], []
    defined = _definitions(own)
    while todo:
        for node in defined.get(todo.pop(), ()):
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                modules += _imported(node, own, package)
                continue
            parts.append(ast.dump(node))
            modules += [name for inner in ast.walk(node) for name in _imported(inner, own, package)]
            for inner in ast.walk(node):
                if isinstance(inner, ast.Name) and inner.id in defined and inner.id not in names:
                    names.add(inner.id)
                    todo.append(inner.id)
    digest = hashlib.sha256("\n".join(sorted(parts)).encode())
    for name in sorted(_closure(modules, package)):
        digest.update(f"{name}\0{ast.dump(_parsed(name))}\0".encode())
    return digest.hexdigest()


def _closure(modules: Iterable[str], package: str) -> set[str]:
    found, todo = set(), list(modules)
    while todo:
        if (name := todo.pop()) not in found:
            found.add(name)
            todo += [other for node in ast.walk(_parsed(name)) for other in _imported(node, name, package)]
    return found


@cache
def _is_module(name: str) -> bool:
    try:
        spec = importlib.util.find_spec(name)
    except ModuleNotFoundError:
        return False
    return spec is not None and spec.origin is not None


@cache
def _parsed(module: str) -> ast.Module:
    """The syntax tree of a module without its docstrings."""
    tree = ast.parse(Path(importlib.util.find_spec(module).origin).read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)) and ast.get_docstring(
            node, clean=False) is not None:  # fmt: skip
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
            inner = targets if plain else [n for n in ast.walk(node) if isinstance(n, ast.Name)]
            named = [(name, node) for name in {n.id for n in inner}]
        for name, meaning in named:
            found.setdefault(name, []).append(meaning)
    return found


@cache
def _imported(node: ast.AST, module: str, package: str) -> list[str]:
    """The modules of the package that an import brings; a name that a package's ``__init__`` only passes on counts as
    the module that it comes from."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names if alias.name.partition(".")[0] == package]
    if not isinstance(node, ast.ImportFrom):
        return []
    origin = node.module or ""
    if node.level:
        here = module if importlib.util.find_spec(module).submodule_search_locations else module.rpartition(".")[0]
        origin = importlib.util.resolve_name("." * node.level + origin, here)
    if origin.partition(".")[0] != package:
        return []
    found = []
    for alias in node.names:
        if _is_module(f"{origin}.{alias.name}"):
            found.append(f"{origin}.{alias.name}")
            continue
        passed_on = [other for other in _definitions(origin).get(alias.name, ()) if isinstance(other, ast.ImportFrom)]
        deeper = [name for other in passed_on for name in _imported(other, origin, package)]
        found += deeper or [origin]
    return found
