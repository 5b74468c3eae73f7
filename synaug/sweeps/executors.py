"""Where cells run: processes of this machine, or the workers of a Dask cluster. Both are executors in the sense of
``concurrent.futures``, and any other executor will do as well."""

import asyncio
import multiprocessing
import os
import signal
import sys
import threading
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partialmethod

from tqdm import tqdm


class LocalProcesses(Executor):
    """Spawned processes of this machine. Each is a pool of its own: one that dies takes no other's cell with it, and
    another takes its place. Where there are several GPUs, each process sees one of them, in turn.
    """

    def __init__(self, workers: int):
        self._pools = [self._new_pool(i) for i in range(workers)]
        self._futures = [None] * workers

    @staticmethod
    def _new_pool(i: int) -> ProcessPoolExecutor:
        # Spawned: a fork of a process that has started torch's threads can hang.
        return ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"), initializer=_start_worker,
                                   initargs=(gpu_of(i, count_gpus()),))

    def submit(self, function, /, *args, **kwargs) -> Future:
        """Run ``function(*args, **kwargs)`` in an idle process; RuntimeError where there is none."""
        idle = [i for i, future in enumerate(self._futures) if future is None or future.done()]
        if not idle:
            raise RuntimeError(f"all {len(self._pools)} processes are busy")
        i = idle[0]
        try:
            self._futures[i] = self._pools[i].submit(function, *args, **kwargs)
        except BrokenProcessPool:
            self._pools[i] = self._new_pool(i)
            self._futures[i] = self._pools[i].submit(function, *args, **kwargs)
        return self._futures[i]

    def count_workers(self) -> int:
        return len(self._pools)

    def shutdown(self, wait=True, *, cancel_futures=False):
        """End the processes; with cancel_futures at once, those that are busy, too."""
        for pool, future in zip(self._pools, self._futures):
            if cancel_futures and future is not None and not future.done():
                for process in list((pool._processes or {}).values()):  # public, as kill_workers, from Python 3.14
                    process.kill()
            pool.shutdown(wait=wait, cancel_futures=cancel_futures)


def _start_worker(gpu: str | None):
    """In a worker: Ctrl-C is left to the parent, which ends its workers, and none outlives it; no progress bars."""
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu  # read when the first tensor goes to a GPU
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    tqdm.set_lock(threading.RLock())  # its own holds a semaphore, which a process that is killed leaves behind
    tqdm.__init__ = partialmethod(tqdm.__init__, disable=True)


def _end_with_parent():
    multiprocessing.parent_process().join()
    os._exit(1)


class DaskCluster(Executor):
    """The workers of a Dask cluster, by the address of its scheduler (``tcp://host:8786``).

    ImportError without the package distributed; ConnectionError, within seconds, where no scheduler answers.
    A worker that dies has its cell run by another one, as often as the cluster's ``allowed-failures`` says.
    """

    def __init__(self, address: str, timeout: float = 5):
        try:
            from distributed import Client
        except ImportError as error:
            raise ImportError("a Dask cluster needs the package distributed, which requirements.txt pins: "
                              "pip install distributed") from error
        try:
            self._client = Client(address, timeout=timeout, set_as_default=False)
        except (OSError, ValueError) as error:
            raise ConnectionError(f"no Dask scheduler answers at {address!r}; start one with `dask scheduler`, or "
                                  f"name its address, for example tcp://127.0.0.1:8786") from error

    def submit(self, function, /, *args, **kwargs) -> Future:
        # Not by the client's own executor: where a result is lost with its worker and cannot be computed again, its
        # future never ends.
        future = self._client.submit(function, *args, pure=False, **kwargs)
        return asyncio.run_coroutine_threadsafe(_awaited(future), self._client.loop.asyncio_loop)

    def count_workers(self) -> int:
        """How many cells it can run at once now: the threads of its workers; 0 while it does not answer."""
        try:
            return sum(self._client.nthreads().values())
        except Exception:  # a lost connection shows in many ways
            return 0

    def shutdown(self, wait=True, *, cancel_futures=False):
        """Leave the cluster: what waits there is dropped, what is running ends and is stored there."""
        self._client.close()


async def _awaited(future):
    return await future


@contextmanager
def opened(executor: Executor | str | None, workers: int | None, cells: int):
    """The executor that `run_grid`'s arguments stand for, and a function that says how many cells it runs at once.

    cells: how many there are to run. An executor that is opened here is closed at the end, with what it is running.
    """
    if isinstance(executor, Executor):
        if workers is None:
            raise ValueError("say how many cells your executor runs at once: workers")
        yield executor, lambda: workers
        return
    if not isinstance(executor, str | None):
        raise TypeError(f"executor must be a Dask scheduler's address, a concurrent.futures executor or None for "
                        f"processes of this machine, got {executor!r}")
    own = LocalProcesses(min(cells, workers or cores())) if executor is None else DaskCluster(executor)
    try:
        yield own, lambda: min(own.count_workers(), workers or cells)
    finally:
        own.shutdown(cancel_futures=True)


def count_gpus() -> int:
    """How many CUDA devices this process may use."""
    return sys.modules["torch"].cuda.device_count() if "torch" in sys.modules else 0


def gpu_of(worker: int, gpus: int) -> str | None:
    """The GPU that a worker sees, as CUDA_VISIBLE_DEVICES names it; None for what the caller sees, one or none."""
    if gpus < 2:
        return None
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = visible.split(",") if visible else [str(i) for i in range(gpus)]
    return names[worker % gpus]


def cores() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
