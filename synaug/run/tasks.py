"""A task is a library call; its result is kept under a key that changes with everything the result depends on.

``Task(function, params, needs)`` stands for ``function(*results of needs, **params)``. Its key is made of the function,
the code that it reaches in its package (found by reading the imports, so nobody lists it), the libraries' versions, the
parameters and the keys of its needs. What lies outside the code, a generator's weights or a folder of images, stands
among the parameters by a hash of its content.
"""

import hashlib
import inspect
import shutil
import sys
import time
import warnings
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from synaug import files
from synaug.dependencies import code_of
from synaug.paths import cache_dir
from synaug.provenance import versions

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
            raise ValueError(f"a task's function must stand in a module that other processes can import, got {name or self.function!r} of {module}")
        signature = inspect.signature(self.function)
        own = {"checkpoint": None} if "checkpoint" in signature.parameters else {}
        signature.bind(*self.needs, **own, **self.params)  # a misspelt parameter, before hours of work
        files.canonical_json(self.params)

    @cached_property
    def key(self) -> str:
        """32 hexadecimal digits, which change with all that the result depends on (see the module)."""
        name = f"{self.function.__module__}.{self.function.__qualname__}"
        described = [name, code_of(self.function), versions(), self.params, [need.key for need in self.needs]]
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
        """The file of a task's result, whether it is there or not: ``<folder>/<name of the function>/<key>.zip``."""
        return self.folder / task.function.__name__ / f"{task.key}.zip"

    def __contains__(self, task: Task) -> bool:
        return task.key in self._unsaved or self.path(task).exists()

    def find(self, task: Task) -> Any:
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

    def save(self, task: Task, result: object, seconds: float) -> None:
        """Store a result; TypeError on one that would not read back equal."""
        try:
            files.save(self.path(task), result, {"task": str(task), "seconds": seconds})
        except OSError as error:  # hours of work are worth more than their cache
            if not self._unsaved:
                warnings.warn(f"results cannot be kept in {self.folder} ({error.strerror or error})", stacklevel=2)
            self._unsaved[task.key] = result, seconds

    def get(self, task: Task) -> Any:
        """A task's result; it, and what it needs for that, is run here where it is not stored."""
        result = self.find(task)
        if result is MISSING:
            result, seconds = call(task.key, task.function, task.params, [self.get(need) for need in task.needs])
            self.save(task, result, seconds)
        return result
