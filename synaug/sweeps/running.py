"""Running the missing cells of a grid: in any order, with any number of workers, for a limited time if need be."""

import math
import pickle
import time
import uuid
from collections import Counter
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, CancelledError, Executor, wait
from contextlib import contextmanager
from pathlib import Path

from tqdm import tqdm

from synaug.cells import cells_dir
from synaug.resources import check_disk
from synaug.sweeps.estimate import Estimate, said
from synaug.sweeps.executors import opened
from synaug.sweeps.grid import Grid
from synaug.sweeps.report import Failure, Report
from synaug.sweeps.worker import Answer, read_files, run_cell, write_missing

#: Seconds between two looks at a cluster's workers, and for which it may be without any before a run is given up.
LOOK_EVERY, PATIENCE = 5, 60
#: Seconds between two estimates of the time left.
ESTIMATE_EVERY = 2


def run_grid(grid: Grid, executor: Executor | str | None = None, *, workers: int | None = None, threads: int = 1,
             minutes: float = math.inf, attempts: int = 3, progress: bool = True) -> Report:
    """Run the cells of a grid that are missing; each is on disk as soon as it has finished.

    executor: None for processes of this machine, the address of a Dask cluster's scheduler, or any
    ``concurrent.futures`` executor, which then needs ``workers``.
    workers: how many cells run at once; None for as many as the machine has cores, or the cluster threads.
    threads: torch's threads a cell, in processes of this machine and on a cluster.
    minutes: no cell is started that would not end within them, as far as cells like it tell.
    attempts: how often a cell is tried whose worker dies (on a cluster: see `DaskCluster`).

    OSError where the missing cells would fill the disk if they were as large as the finished ones.
    A cell that fails, or whose worker dies, loses no other, but for those that need it. Where the workers do not see
    the caller's folder of cells, the caller stores what they send. Ctrl-C gives up only the cells that are running.
    """
    for name, value in (("workers", 1 if workers is None else workers), ("threads", threads), ("attempts", attempts)):
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ValueError(f"{name} must be a whole number of at least 1, got {value!r}")
    if not minutes > 0:
        raise ValueError(f"minutes must be positive, got {minutes!r}")
    if isinstance(executor, Executor):
        threads = None
    deadline = time.monotonic() + 60 * minutes
    missing = grid.missing()
    if not missing:
        return Report()
    if sizes := [path.stat().st_size for path in map(grid.file, grid.cells) if path.exists()]:
        check_disk(cells_dir(), len(missing) * sum(sizes) // len(sizes), f"{grid.name}, by its finished cells,")
    with (opened(executor, workers, len(missing)) as (executor, count_workers),
          _marked(cells_dir()) as mark,
          tqdm(total=len(grid.cells), initial=len(grid.cells) - len(missing), desc=grid.name, unit="cell",
               disable=not progress) as bar):
        return _Run(grid, missing, executor, count_workers, threads, deadline, attempts, mark, bar).to_the_end()


@contextmanager
def _marked(folder: Path):
    """The name of a file in the folder, by which workers tell whether they see it."""
    mark = folder / f"caller-{uuid.uuid4().hex}"
    folder.mkdir(parents=True, exist_ok=True)
    mark.touch()
    try:
        yield mark.name
    finally:
        mark.unlink(missing_ok=True)


class _Run:
    """The state of one run: which cells wait, which are running, and how those went that have ended."""

    def __init__(self, grid, missing, executor, count_workers, threads, deadline, attempts, mark, bar):
        self.grid, self.executor, self.count_workers, self.threads = grid, executor, count_workers, threads
        self.deadline, self.attempts, self.mark, self.bar = deadline, attempts, mark, bar
        self.waiting, self.unfinished = missing, {grid.file(cell) for cell in missing}
        self.running, self.deaths, self.report = {}, Counter(), Report()
        self.estimate, self.estimated_at = Estimate(grid), -math.inf
        self.seen_workers = time.monotonic()
        self.apart = False  # whether workers were found that lack files which cells need

    def to_the_end(self) -> Report:
        """Run cells until none is running and none can be started any more."""
        while self.running or self.next_cell() is not None:
            self.start_cells()
            if self.running:
                for future in wait(self.running, timeout=LOOK_EVERY, return_when=FIRST_COMPLETED).done:
                    self.settle(future)
            else:
                time.sleep(1)  # until there are workers
            self.look_for_workers()
            self.say_time_left()
        report = self.report
        report.missing = self.waiting
        report.seconds, report.unknown = self.estimate.total(report.missing)
        if not report.reason:
            blocked = all(map(self.is_blocked, report.missing))
            report.reason = "cells that they need failed" if blocked else "no time was left"
        return report

    def next_cell(self) -> int | None:
        """Where among those that wait the next cell is that can run now and in time; None where none can."""
        if self.report.reason:
            return None
        ready = (i for i, cell in enumerate(self.waiting) if not self.is_blocked(cell) and self.in_time(cell))
        return next(ready, None)

    def start_cells(self):
        """Start cells while there are workers for them."""
        while len(self.running) < self.count_workers() and (i := self.next_cell()) is not None:
            cell = self.waiting[i]
            packed = pickle.dumps((cell.function, cell.parameters))
            names = {name for need in cell.needs for name in self.grid.asked(need)}
            needed = read_files(cells_dir(), names) if self.apart else dict.fromkeys(names)
            try:
                future = self.executor.submit(run_cell, self.grid.name, packed, cell.code, self.mark, needed,
                                              self.threads)
            except (RuntimeError, OSError) as error:
                self.report.reason = f"the executor takes no more: {error}"
            else:
                self.running[future] = self.waiting.pop(i), time.monotonic()

    def is_blocked(self, cell):
        return any(self.grid.file(need) in self.unfinished for need in cell.needs)

    def in_time(self, cell):
        left = self.deadline - time.monotonic()
        return left > 0 and (math.isinf(left) or (self.estimate(cell) or 0) <= left)

    def settle(self, future):
        """Take note of how a cell ended."""
        cell, _ = self.running.pop(future)
        file = self.grid.file(cell)
        try:
            answer = future.result()
            write_missing(cells_dir(), answer.files)
        except (BrokenExecutor, CancelledError):
            self.deaths[file] += 1
            if self.deaths[file] < self.attempts:
                self.waiting.append(cell)
                return
            answer = Answer(f"its worker died, {self.deaths[file]} times")
        except Exception as error:  # of the executor: the cell's own are in the answer
            answer = Answer(f"{type(error).__name__}: {error}")
        if answer.lacks:
            self.apart = True
            self.waiting.insert(0, cell)
            return
        if not answer.error and self.grid.about(cell) is None:
            answer = Answer(f"there is no result at {file}")
        if answer.error:
            self.report.failed.append(Failure(cell, answer.error, answer.traceback))
            if not self.bar.disable:
                self.bar.write(f"failed: {cell}: {answer.error}")
        else:
            self.report.finished.append(cell)
            self.unfinished.remove(file)
            self.estimate.add(cell)
            self.bar.update()

    def look_for_workers(self):
        now = time.monotonic()
        if self.count_workers() > 0:
            self.seen_workers = now
        elif now - self.seen_workers > PATIENCE:
            self.report.reason = f"no worker has answered for {PATIENCE} seconds"
            self.waiting += [cell for cell, _ in self.running.values()]
            self.running.clear()

    def say_time_left(self):
        now = time.monotonic()
        if self.bar.disable or now - self.estimated_at < ESTIMATE_EVERY:
            return
        self.estimated_at = now
        seconds, unknown = self.estimate.total(self.waiting)
        for cell, started in self.running.values():
            expected = self.estimate(cell)
            seconds, unknown = seconds + max(0, (expected or 0) - (now - started)), unknown or expected is None
        self.bar.set_postfix_str(f"{said(seconds / max(1, self.count_workers()), unknown)} left")
