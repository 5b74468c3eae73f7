"""Running what is missing of many tasks: here, in processes of this machine, or on the workers of a Dask cluster."""

import logging
import math
import multiprocessing
import os
import sys
import time
from collections.abc import Iterable
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import fmean

import dask
import torch
from distributed import CancelledError, Client, LocalCluster, WorkerPlugin, wait
from distributed.client import FuturesCancelledError
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from synaug.checks import whole
from synaug.dependencies import code_of
from synaug.resources import check_disk, cores, format_duration
from synaug.run.tasks import MISSING, Store, Task, call, ordered

#: Seconds without any worker after which a run gives up.
PATIENCE = 60

#: Results travel whole. And distributed has workers give freed memory back to the system at once, so that the tensors of
#: each batch cost new page faults, a third of the time of a training: here glibc keeps what it has (bytes).
SETTINGS = {
    "distributed.admin.large-graph-warning-threshold": "1 PB",
    **{f"distributed.nanny.pre-spawn-environ.MALLOC_{name}_THRESHOLD_": 2**32 for name in ("TRIM", "MMAP")},
}


@dataclass
class Report:
    """What a run did. errors: of tasks that failed. missing: tasks that were not run, and why (``reason``)."""

    finished: list[Task] = field(default_factory=list)
    errors: dict[Task, str] = field(default_factory=dict)
    missing: list[Task] = field(default_factory=list)
    reason: str = ""

    def __str__(self):
        first = f"{len(self.finished)} tasks finished, {len(self.errors)} failed, {len(self.missing)} not run"
        first += f" ({self.reason})" if self.missing else ""
        return "\n".join([first, *(f"failed: {task}: {error}" for task, error in self.errors.items())])


def run_missing(
    tasks: Iterable[Task],
    store: Store,
    *,
    cluster: str | None = None,
    workers: int | None = None,
    threads: int | None = None,
    minutes: float = math.inf,
    progress: bool = True,
) -> Report:
    """Run those tasks, and those that they need, whose results are not stored; each is stored as soon as it arrives.

    cluster: the address of a Dask scheduler; None for processes of this machine. workers: how many of these, None for
    one per core or GPU, 0 for this process. threads: of torch in each worker, None for one (here: as they are).
    minutes: no task is started that would not end in time, as far as finished ones of its function tell.
    A task that fails loses only those that need it; one whose worker dies is run again, as often as the cluster's
    ``allowed-failures`` says. Workers need no folder of the caller's. Ctrl-C keeps all that has arrived.
    ConnectionError where no scheduler answers, ValueError for bad numbers, OSError where the disk has no room.
    """
    for name, value, least in (("workers", workers, 0), ("threads", threads, 1)):
        if value is not None:
            whole(name, value, least, at_most=1024)  # a slip of the hand would start a million processes
    if not minutes > 0:
        raise ValueError(f"minutes must be positive, got {minutes!r}")
    tasks, deadline, report = ordered(tasks), time.monotonic() + 60 * minutes, Report()
    todo = [task for task in tasks if task not in store]
    sizes = [store.path(task).stat().st_size for task in tasks if store.path(task).exists()]
    if todo and sizes:
        check_disk(store.folder, len(todo) * sum(sizes) // len(sizes), f"what is missing of {len(tasks)} tasks")
    estimate = Estimate(tasks, store)

    def next_task() -> Task | None:
        """The first that has all it needs and would end in time; it leaves ``todo``."""
        left = deadline - time.monotonic()
        for i, task in enumerate(todo):
            if all(need in store for need in task.needs) and 0 < left >= (estimate(task) or 0):
                return todo.pop(i)
        return None

    with tqdm(total=len(tasks), initial=len(tasks) - len(todo), unit="task", disable=not progress) as bar:

        def settle(task, outcome):
            """Take note of how a task ended: a pair (result, seconds), or an exception."""
            if not isinstance(outcome, BaseException):
                try:
                    store.save(task, *outcome)
                except TypeError as error:
                    outcome = error
            if isinstance(outcome, BaseException):
                report.errors[task] = f"{type(outcome).__name__}: {outcome}"
                bar.write(f"failed: {task}: {report.errors[task]}", file=sys.stderr)
                return
            report.finished.append(task)
            estimate.add(task)
            bar.update()
            bar.set_postfix_str(f"{format_duration(*estimate.total(todo))} of one worker left")

        if workers == 0 and cluster is None:
            while (task := next_task()) is not None:
                try:
                    outcome = call(task.key, task.function, task.params, [store.get(need) for need in task.needs])
                except Exception as error:
                    outcome = error
                settle(task, outcome)
        elif todo or cluster:
            with dask.config.set(SETTINGS), _client(cluster, min(workers or cores(), max(len(todo), 1)), threads) as client, client.as_current():
                report.reason = _run_on(client, store, next_task, todo, settle)
    report.missing = todo
    if todo and not report.reason:
        blocked = all(any(need not in store for need in task.needs) for task in todo)
        report.reason = "what they need failed" if blocked else "no time was left"
        report.reason += f"; they take one worker {format_duration(*estimate.total(todo))}"
    return report


def _run_on(client, store, next_task, todo, settle) -> str:
    """Keep a cluster busy; returns why it was given up, if it was. Each result travels to it once."""
    running, sent, seen = {}, {}, time.monotonic()
    while True:
        slots = sum(client.nthreads().values())
        while len(running) < slots and (task := next_task()) is not None:
            for need in task.needs:
                if need.key not in sent:  # a task, as what is scattered is lost with the worker that holds it
                    sent[need.key] = client.submit(lambda result: result, store.get(need), key=f"given-{need.key}", pure=False)
            needs = [sent[need.key] for need in task.needs]
            future = client.submit(_work, task.key, code_of(task.function), task.function, task.params, needs, key=task.key, pure=False)
            running[future] = task
        wanted = {need.key for task in [*todo, *running.values()] for need in task.needs}
        sent = {key: future for key, future in sent.items() if key in wanted}
        if slots:
            seen = time.monotonic()
        elif time.monotonic() - seen > PATIENCE:
            todo += running.values()
            return f"no worker has answered for {PATIENCE} seconds"
        if not running:
            if slots:
                return ""
            time.sleep(1)
            continue
        try:
            wait(list(running), timeout=5, return_when="FIRST_COMPLETED")
        except TimeoutError:
            continue
        except FuturesCancelledError:
            pass  # a failure of its tasks alone
        for future in [future for future in running if future.done()]:
            try:
                outcome = future.result()
            except (Exception, CancelledError) as error:
                outcome = error
            settle(running.pop(future), outcome)


def _work(key, code, function, params, needs):
    """A task on a worker. Interrupts and exits inside it are its failures, not the worker's end."""
    if code_of(function) != code:
        raise RuntimeError(f"the worker has another version of what {function.__name__} is made of than the caller")
    try:
        return call(key, function, params, needs)
    except (KeyboardInterrupt, SystemExit) as error:
        raise RuntimeError(f"{type(error).__name__} inside the task") from error


@contextmanager
def _client(address: str | None, workers: int, threads: int | None):
    """A client of a cluster that is there, or of processes of this machine that end with it."""
    if address is not None:
        with connected(address) as client:
            yield client
        return
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise SystemExit(1)  # a worker that imports a script which starts a run; its parent says what is wrong
    try:
        local = LocalCluster(n_workers=workers, threads_per_worker=1, memory_limit=0, dashboard_address=None, silence_logs=logging.CRITICAL)
    except RuntimeError:
        raise SystemExit("the workers did not start: a script starts a run inside `if __name__ == '__main__':`, as its workers import it") from None
    with local, Client(local, set_as_default=False) as client:
        client.register_plugin(_Settings(threads or 1, torch.cuda.device_count()))
        yield client


def connected(address: str) -> Client:
    """A client of the scheduler at an address; ConnectionError, within seconds, where none answers."""
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    try:
        return Client(address, timeout=5, set_as_default=False)
    except (OSError, ValueError) as error:
        how = "start one with `dask scheduler`, or name its address, for example tcp://127.0.0.1:8786"
        raise ConnectionError(f"no Dask scheduler answers at {address!r}; {how}") from error


class _Settings(WorkerPlugin):
    """What each worker process of this machine sets before its first task: threads, one GPU of several, no bars."""

    name = "synaug"

    def __init__(self, threads, gpus):
        self.threads, self.gpus = threads, gpus

    def setup(self, worker):
        if self.gpus > 1:
            names = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(self.gpus)))
            os.environ["CUDA_VISIBLE_DEVICES"] = names.split(",")[int(worker.name) % self.gpus]
        threadpool_limits(self.threads)
        torch.set_num_threads(self.threads)
        os.environ["TQDM_DISABLE"] = "1"


class Estimate:
    """Seconds of tasks to come: the mean of the finished ones of the same function that share most parameters."""

    def __init__(self, tasks: Iterable[Task], store: Store):
        self.store, self._took = store, {}
        for task in tasks:
            if task in store:
                self.add(task)

    def add(self, task: Task) -> None:
        self._took.setdefault(task.function, []).append((task.params, self.store.seconds(task)))

    def __call__(self, task: Task) -> float | None:
        """Seconds, None where no task of its function has finished."""
        by_likeness = {}
        for params, seconds in self._took.get(task.function, [])[-200:]:
            alike = sum(params.get(name, MISSING) == value for name, value in task.params.items())
            by_likeness.setdefault(alike, []).append(seconds)
        return fmean(by_likeness[max(by_likeness)]) if by_likeness else None

    def total(self, tasks: Iterable[Task]) -> tuple[float, bool]:
        """Seconds of tasks one after the other, and whether some could not be estimated and count nothing."""
        seconds = [self(task) for task in tasks]
        return sum(s for s in seconds if s is not None), None in seconds
