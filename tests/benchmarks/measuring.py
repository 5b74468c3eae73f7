"""What the benchmarks share: jobs measured in turns, a measurement in a process of its own, the exit status."""

import argparse
import multiprocessing
import resource
import statistics
import sys
import time
from concurrent.futures import ProcessPoolExecutor

import torch

#: "processor": the processor time of this process, for a machine that is never idle; with OMP_NUM_THREADS=1, since
#: threads that wait for each other use processor time.
CLOCKS = {"wall": time.perf_counter, "processor": time.process_time}


def turns_parser(doc: str, pairs: int = 7) -> argparse.ArgumentParser:
    """Of a benchmark with this docstring: its options --pairs, of jobs in turns, and --clock."""
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=pairs)
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    return parser


def in_turns(jobs, turns, clock="wall", device="cpu"):
    """Seconds of each job, ``{name: [turns]}``; the jobs take turns, in the other order every time.

    jobs: ``{name: callable}``. clock: one of `CLOCKS`. The queue of a CUDA device is emptied before a clock is read.
    """
    synchronise = torch.cuda.synchronize if torch.device(device).type == "cuda" else lambda: None
    found = {name: [] for name in jobs}
    for turn in range(turns):
        for name in list(jobs)[:: 1 if turn % 2 else -1]:
            synchronise()
            start = CLOCKS[clock]()
            jobs[name]()
            synchronise()
            found[name].append(CLOCKS[clock]() - start)
    return found


def median_ratio(numerators, denominators):
    """The median over pairs."""
    return statistics.median(a / b for a, b in zip(numerators, denominators, strict=True))


def peak_mib() -> float:
    """High-water mark of this process's resident memory."""
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def in_own_process(measure, *arguments):
    """What ``measure(*arguments)`` returns in a fresh process."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
        return process.submit(measure, *arguments).result()


def verdict(held) -> int:
    """The exit status: 0 where all bounds held."""
    print("all bounds held" if all(held) else "A BOUND WAS MISSED")
    return 0 if all(held) else 1
