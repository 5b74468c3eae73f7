"""Functions of tasks for tests, in a module that workers import; a file notes each time that one runs."""

import os
import resource
import signal
import sys
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from threadpoolctl import threadpool_info

from synaug.data import load_dataset, stratified_subset


def note(folder, name):
    (Path(folder) / f"{name}-{os.getpid()}-{time.time_ns()}").touch()


def ran(folder, name=""):
    """How many notes there are whose names begin so."""
    return len(list(Path(folder).glob(f"{name}*")))


def square(x, notes, seconds=0.0):
    note(notes, f"square{x}")
    time.sleep(seconds)
    return {"square": float(x**2), "root": x**0.5}


def failing(x, notes):
    note(notes, f"failing{x}")
    if x == 2:
        raise ZeroDivisionError("no 2 here")
    return x


def leaving(notes, how):
    """Ends its process, as far as it can, instead of returning."""
    note(notes, "leaving")
    if how == "interrupt":
        raise KeyboardInterrupt
    sys.exit(3)


def killed(*needs, times, notes):
    """The process that runs it is killed, the first so many times."""
    note(notes, "killed")
    if ran(notes, "killed") <= times:
        os.kill(os.getpid(), signal.SIGKILL)
    return times


def digits(n):
    return stratified_subset(load_dataset("digits"), n, seed=0)


def pool(seed, notes, seconds=0.0):
    note(notes, f"pool{seed}")
    time.sleep(seconds)
    return np.random.default_rng(seed).random(100)


def mean(images, power, notes, seconds=0.0):
    note(notes, f"mean{power}")
    time.sleep(seconds)
    return {"mean": float((images**power).mean())}


def counted(n, notes, checkpoint):
    """Counts to n in steps that are kept."""
    have = int(checkpoint.read_text()) if checkpoint.exists() else 0
    note(notes, f"counted-from-{have}")
    for i in range(have, n):
        checkpoint.parent.mkdir(parents=True, exist_ok=True)
        checkpoint.write_text(str(i + 1))
        if i + 1 == 3 and have == 0:
            raise RuntimeError("cut")
    return n


def page_faults():
    """Of each of 50 tensors of 8 MB that is made and let go, after some."""

    def count():
        torch.ones(2**21)
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

    counts = [count() for _ in range(61)][10:]
    return [after - before for before, after in pairwise(counts)]


def unstorable(notes):
    return {1, 2}


def threads():
    """How many torch and the numerical libraries use here."""
    return {"torch": torch.get_num_threads(), "most": max(pool["num_threads"] for pool in threadpool_info())}
