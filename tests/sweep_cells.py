"""Functions of cells for the tests of sweeps, in a module that workers import; a file notes each time that one runs."""

import os
import signal
import time
from pathlib import Path

import numpy as np
from tqdm import tqdm

from synaug.cells import CellCache

CODE = "1"


def note(folder, name):
    (Path(folder) / f"{name}-{os.getpid()}-{time.time_ns()}").touch()


def square(x, notes, seconds=0.0):
    note(notes, f"square{x}")
    for _ in tqdm(range(1)):  # as trainings do; a worker shows nothing
        time.sleep(seconds)
    return {"square": x**2, "root": x**0.5}


def failing(x, notes):
    note(notes, f"failing{x}")
    if x == 2:
        raise ZeroDivisionError("no 2 here")
    return x


def killed(times, notes):
    """The process that runs it is killed, the first so many times."""
    note(notes, "killed")
    if len(list(Path(notes).glob("killed-*"))) <= times:
        os.kill(os.getpid(), signal.SIGKILL)
    return times


def pool(seed, notes, seconds=0.3):
    """Asks the cache for images that take a while."""
    def make():
        note(notes, f"pool{seed}")
        time.sleep(seconds)
        return np.random.default_rng(seed).random(100)

    return CellCache("pools", CODE).get_or_run({"seed": seed}, make)


def mean(seed, power, notes, seconds=0.0):
    """Of a pool, for which it asks as well."""
    images = pool(seed, notes)
    note(notes, f"mean{seed}.{power}")
    time.sleep(seconds)
    return {"mean": float((images**power).mean())}


def threads():
    """How many torch and the numerical libraries use here."""
    import torch
    from threadpoolctl import threadpool_info

    return {"torch": torch.get_num_threads(), "most": max(pool["num_threads"] for pool in threadpool_info())}
