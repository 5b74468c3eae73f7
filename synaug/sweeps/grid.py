"""Cells, the calls that a sweep is made of, and grids of them: which are stored, what they gave, what they took."""

import json
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from synaug.cells import CellCache, canonical_json

PLAIN = (bool, int, float, str)


@dataclass(frozen=True)
class Cell:
    """One call: ``function(**parameters)``, whose result `CellCache.get_or_run` can store.

    function: of a module that others can import (not of a script or a notebook) and that says in a text ``CODE``
    what its results depend on beside the parameters, for example ``CODE = fingerprint(__file__)``.
    parameters: plain data, what JSON has a form for; the function gets it as such (a tuple as a list).
    needs: cells of the same grid that must have finished before.
    """

    function: Callable
    parameters: dict
    needs: tuple["Cell", ...] = ()

    def __post_init__(self):
        name = getattr(self.function, "__qualname__", repr(self.function))
        module = sys.modules.get(getattr(self.function, "__module__", None))
        if getattr(module, name, None) is not self.function or module.__name__ == "__main__":
            raise ValueError(f"a cell's function must be one of a module that other processes can import, got {name} "
                             f"of {getattr(module, '__name__', None)}")
        if not isinstance(getattr(module, "CODE", None), str):
            raise ValueError(f"{module.__name__} must say in a text CODE what the results of {name} depend on, "
                             f"for example CODE = fingerprint(__file__)")
        plain = {name: json.loads(canonical_json(value)) for name, value in self.parameters.items()}
        object.__setattr__(self, "parameters", plain)

    def __str__(self):
        shown = (f"{name}={value!r}" for name, value in self.parameters.items())
        return f"{self.function.__name__}({', '.join(shown)})"

    @property
    def code(self) -> str:
        return sys.modules[self.function.__module__].CODE

    @property
    def key(self) -> dict:
        """The parameters of its entry in the cell cache."""
        return {"function": self.function.__name__, "parameters": self.parameters}


class Grid:
    """The cells of a sweep. Their results lie in the cell cache, under the grid's name.

    name: a plain name. cells: each once, after those that it needs.
    """

    def __init__(self, name: str, cells: Iterable[Cell]):
        if not name.isidentifier():
            raise ValueError(f"the name of a grid must be a plain name, got {name!r}")
        self.name, self.cells = name, list(cells)
        files = set()
        for cell in self.cells:
            if self.file(cell) in files:
                raise ValueError(f"a grid has each cell once, got {cell} again")
            for need in cell.needs:
                if self.file(need) not in files:
                    raise ValueError(f"{cell} needs {need}, which is not in the grid before it")
            files.add(self.file(cell))

    def cache(self, cell: Cell) -> CellCache:
        return CellCache(self.name, cell.code)

    def file(self, cell: Cell) -> Path:
        """Where the result of a cell is stored, or will be."""
        return self.cache(cell).path(cell.key)

    def about(self, cell: Cell) -> dict | None:
        """See `CellCache.about`; None for a cell that is missing."""
        return self.cache(cell).about(cell.key)

    def missing(self) -> list[Cell]:
        """The cells that are not stored, in order."""
        return [cell for cell in self.cells if self.about(cell) is None]

    def asked(self, cell: Cell) -> dict[str, float]:
        """Seconds by file, as in `CellCache.about`, of a finished cell and of those that it asked for; none of a
        missing one."""
        about = self.about(cell)
        return {f"{self.name}/{self.file(cell).name}": about["seconds"], **about["asked"]} if about else {}

    def seconds(self, cell: Cell) -> float:
        """What a finished cell takes where all that it needs is there."""
        there = {file for need in cell.needs for file in self.asked(need)}
        return sum(seconds for file, seconds in self.asked(cell).items() if file not in there)

    def total_seconds(self) -> float:
        """What the finished cells took together when they ran, each that they asked for counted once."""
        return sum({file: s for cell in self.cells for file, s in self.asked(cell).items()}.values())

    def result(self, cell: Cell):
        """The stored result of a cell; LookupError where it is missing."""
        def refuse():
            raise LookupError(f"{cell} of {self.name} has not been run")

        return self.cache(cell).get_or_run(cell.key, refuse)

    def frame(self, function: Callable | None = None) -> pd.DataFrame:
        """The results of all cells (or those of one function) as one frame, in the grid's order whenever they ran.

        Rows: a cell's frame, or one row for a dict of numbers and text, or for one of these (column "value").
        Columns: parameters that are numbers or text, then the results'. LookupError where a cell is missing,
        TypeError where a result holds arrays: see `result`.
        """
        cells = [cell for cell in self.cells if function in (None, cell.function)]
        return pd.concat([_table(cell, self.result(cell)) for cell in cells], ignore_index=True)


def _table(cell: Cell, result) -> pd.DataFrame:
    if not isinstance(result, pd.DataFrame):
        row = result if isinstance(result, dict) else {"value": result}
        if not all(isinstance(value, PLAIN) for value in row.values()):
            raise TypeError(f"the result of {cell} has no place in a frame: it is not made of numbers and text only")
        result = pd.DataFrame([row])
    columns = {name: value for name, value in cell.parameters.items()
               if isinstance(value, PLAIN) and name not in result.columns}
    return pd.concat([pd.DataFrame(columns, index=result.index), result], axis=1)
