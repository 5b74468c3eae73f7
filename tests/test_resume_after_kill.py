"""Runs that are killed at random moments, again and again, end as a run that nothing has cut: bit for bit.

Each run is a process of its own, killed (SIGKILL) at a moment drawn evenly from the time that an uncut run took.
"""

import multiprocessing
import os
import random
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd
import pytest
import sweep_cells
import torch

from synaug.diffusion import training as generator_training
from synaug.augmentation import synthetic_pool
from synaug.classifiers import checkpoint as training_checkpoint
from synaug.cells import CellCache
from synaug.data import load_dataset, stratified_subset
from synaug.diffusion.denoisers import generator_hash, load_denoiser, new_denoiser
from synaug.experiments.shared import trained_once
from synaug.diffusion.recipe import Recipe
from synaug.sweeps import Cell, Grid, run_grid

#: Kills that a test wants, and runs that it may start for them.
KILLS, MOST_RUNS = 4, 20

RECIPE = Recipe(dataset="digits", subset_size=1430, channels=(32,), batch_size=20, warmup=5, decay_from=20, seed=3)
STEPS, SNAPSHOT = 12, 5
STEPS_OF_CLASSIFIER = 60


def train(folder):
    generator_training.train(RECIPE, folder, images=STEPS * 20, snapshots=[SNAPSHOT * 20], save_every=0, progress=False)


def steps_of(folder):
    path = folder / "training_state.pt"
    return torch.load(path, weights_only=True)["step"] if path.exists() else 0


def generators_of(folder):
    """What a training run ends with: its state, its generator, and the one that it kept on the way."""
    state = torch.load(folder / "training_state.pt", weights_only=True)
    kept = {name: state[name] for name in ("step", "denoiser", "optimizer", "ema")}
    return kept, *(generator_hash(load_denoiser(place)) for place in (
        folder, generator_training.snapshot_folder(folder, SNAPSHOT * 20)))


def make_pool(folder):
    """In blocks of two sources, 15 in all."""
    synthetic_pool.BLOCK = 2
    data = stratified_subset(load_dataset("digits"), 10, seed=0)
    denoiser = new_denoiser(data, channels=(32,)).eval().requires_grad_(False)
    return synthetic_pool.generate_pool(denoiser, data, range(10), k=4, sigmas=(0.5, 2.0), steps=5, batch_size=2,
                                        folder=folder)


def cells_in(folder):
    return len(list(folder.rglob("*.zip")))


def pool_of(folder, monkeypatch):
    monkeypatch.setattr(synthetic_pool, "BLOCK", 2)
    monkeypatch.setattr(synthetic_pool, "reconstruct", None)  # all is read, nothing is made
    pool = make_pool(folder)
    return pool.data.images, pool.provenance


def classify(folder):
    """A classifier's training that is kept after every step."""
    training_checkpoint.EVERY = 0
    data = stratified_subset(load_dataset("digits"), 500, seed=0)
    return trained_once(CellCache("classifier", "code", folder), data, architecture="vgg5", steps=STEPS_OF_CLASSIFIER,
                        recipe="one_cycle", seed=0, augment="flip_crop")


def steps_of_classifier(folder):
    if cells_in(folder):
        return STEPS_OF_CLASSIFIER
    path = next(folder.rglob("*.training"), None)
    return torch.load(path, weights_only=True)["step"] if path else 0


def grid_in(folder):
    """Three pools, and two cells that need each."""
    os.environ["SYNAUG_CACHE"] = str(folder)
    notes = Path(folder) / "notes"
    notes.mkdir(parents=True, exist_ok=True)
    pools = [Cell(sweep_cells.pool, {"seed": seed, "notes": notes, "seconds": 0.1}) for seed in range(3)]
    return Grid("toy", [*pools, *(Cell(sweep_cells.mean, {"seed": i, "power": power, "notes": notes, "seconds": 0.1},
                                       (pool,)) for i, pool in enumerate(pools) for power in (1, 2))])


def sweep(folder):
    with ThreadPoolExecutor(2) as executor:
        run_grid(grid_in(folder), executor, workers=2, progress=False)


@pytest.fixture(scope="module")
def processes():
    """A context whose processes begin with all imported."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, "sklearn.datasets", "diffusers.training_utils", "diffusers"])
    return context


def begin(work, folder, started):
    torch.set_num_threads(1)
    started.set()
    work(folder)


def run(processes, work, folder, seconds=None):
    """Do the work in a process that is killed after so many seconds, if it has not ended; whether it was, and when."""
    started = processes.Event()
    process = processes.Process(target=begin, args=(work, folder, started))
    process.start()
    assert started.wait(120)
    start = time.monotonic()
    process.join(seconds)
    took = time.monotonic() - start
    killed = process.is_alive()
    process.kill()
    process.join()
    assert killed or process.exitcode == 0
    return killed, took


def killed_runs(processes, work, progress, folder, seed):
    """Runs that ended in spite of kills: their folders. One that is killed goes on in its folder, until it has ended.

    progress: of a folder, a number that grows; at least one kill must have struck in between.
    """
    _, uncut = run(processes, work, folder / "uncut")
    whole, drawn, kills, between, ended = progress(folder / "uncut"), random.Random(seed), 0, 0, [folder / "uncut"]
    for _ in range(MOST_RUNS):
        place = folder / f"cut{len(ended)}"
        enough = kills >= KILLS and between
        killed, _ = run(processes, work, place, None if enough else drawn.uniform(0, uncut))
        kills += killed
        between += killed and 0 < progress(place) < whole
        if not killed:
            ended.append(place)
            if enough:
                return ended
    raise AssertionError(f"{MOST_RUNS} runs were not enough: {kills} kills, {between} of them in between")


def same(one, other):
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


def test_training(processes, tmp_path):
    uncut, *others = killed_runs(processes, train, steps_of, tmp_path, seed=0)
    expected = generators_of(uncut)
    assert expected[0]["step"] == STEPS and expected[1] != expected[2]
    assert others and all(same(generators_of(folder), expected) for folder in others)


def test_sampling(processes, tmp_path, monkeypatch):
    uncut, *others = killed_runs(processes, make_pool, cells_in, tmp_path, seed=1)
    images, provenance = pool_of(uncut, monkeypatch)
    assert len(images) == 30 and cells_in(uncut) == 15
    for folder in others:
        again, origin = pool_of(folder, monkeypatch)
        assert torch.equal(again, images)
        pd.testing.assert_frame_equal(origin, provenance, check_exact=True)


def test_classifier(processes, tmp_path, monkeypatch):
    monkeypatch.setattr("synaug.experiments.shared.train_classifier", None)  # here all is read, nothing is trained
    monkeypatch.setattr(training_checkpoint, "EVERY", 0)
    uncut, *others = killed_runs(processes, classify, steps_of_classifier, tmp_path, seed=3)
    expected = classify(uncut).state_dict()
    for folder in others:
        assert same(dict(classify(folder).state_dict()), dict(expected))
        assert not list(folder.rglob("*.training"))


def test_sweep(processes, tmp_path, monkeypatch):
    monkeypatch.setenv("SYNAUG_CACHE", "")  # set by grid_in
    uncut, *others = killed_runs(processes, sweep, lambda folder: cells_in(folder / "cells" / "toy"), tmp_path, seed=2)
    expected = grid_in(uncut).frame(sweep_cells.mean).drop(columns="notes")
    assert len(expected) == 6
    for folder in others:
        assert not grid_in(folder).missing()
        found = grid_in(folder).frame(sweep_cells.mean).drop(columns="notes")
        pd.testing.assert_frame_equal(found, expected, check_exact=True)
