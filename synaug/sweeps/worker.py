"""What the process that runs a cell does."""

import os
import pickle
import sys
import traceback
from dataclasses import dataclass, field
from pathlib import Path

from threadpoolctl import threadpool_limits

from synaug.cells import CellCache, cells_dir, write_atomically
from synaug.sweeps.grid import Cell


@dataclass
class Answer:
    """How a cell went: an empty error, or what went wrong and where; files for a caller that does not see them.

    lacks: nothing was run, as files that the cell needs were not here and did not come along.
    """

    error: str = ""
    traceback: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    lacks: bool = False


def run_cell(grid: str, packed: bytes, code: str, mark: str, needed: dict[str, bytes | None],
             threads: int | None) -> Answer:
    """Run a cell of a grid and store it here; failures are returned, so that no executor has to carry them.

    packed: the pickled function and parameters. code: the CODE of the function's module, where the cell comes from.
    mark: see `sees`; where it is not seen, the answer brings the files of the cell and of those that it asked for.
    needed: such files of cells that it needs, by name; None for a file that does not come along.
    threads: of torch and of other numerical libraries; None leaves them as they are.
    """
    try:
        function, parameters = pickle.loads(packed)
        cell = Cell(function, parameters)
        if cell.code != code:
            raise RuntimeError(f"the worker has another version of {function.__module__}, or of what its CODE stands "
                               f"for, than the caller")
        if threads is not None:
            limit_threads(threads)
        cache = CellCache(grid, code)
        write_missing(cache.folder, {name: content for name, content in needed.items() if content is not None})
        if not (sees(mark) or all((cache.folder / name).exists() for name in needed)):
            return Answer(lacks=True)
        cache.get_or_run(cell.key, lambda: function(**cell.parameters))
        about = cache.about(cell.key)
        if about is None:
            raise OSError(f"the result could not be stored in {cache.folder}")
        if sees(mark):
            return Answer()
        names = {cache.path(cell.key).relative_to(cache.folder).as_posix(), *about["asked"]} - set(needed)
        return Answer(files=read_files(cache.folder, names))
    except (Exception, SystemExit) as error:  # SystemExit: a cell's call of sys.exit must not end the worker
        return Answer(f"{type(error).__name__}: {error}", traceback.format_exc())


def limit_threads(threads: int):
    """One cell a process, and this many threads a cell: more would only wait for each other's cores."""
    threadpool_limits(threads)  # libraries that are loaded
    variables = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    os.environ.update(dict.fromkeys(variables, str(threads)))  # and those that will be
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(threads)


def sees(mark: str) -> bool:
    """Whether this process has the caller's folder of cells, by a file that the caller has put there."""
    return (cells_dir() / mark).exists()


def read_files(folder: Path, names) -> dict[str, bytes]:
    """The content of those files of a folder that are there."""
    return {name: (folder / name).read_bytes() for name in names if (folder / name).exists()}


def write_missing(folder: Path, files: dict[str, bytes]):
    """Write those files that a folder lacks, each as a whole."""
    for name, content in files.items():
        if not (folder / name).exists():
            write_atomically(folder / name, content)
