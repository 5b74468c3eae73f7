"""Runs that are killed at random moments, again and again, end as a run that nothing has cut: bit for bit.

Each run is a process of its own, killed (SIGKILL) at a moment drawn evenly from the time that an uncut run took.
"""

import multiprocessing
import os
import random
import time

import pandas as pd
import pytest
import task_functions as functions
import torch
from nested import same

from synaug.augmentation import synthetic_pool
from synaug.chapters.tasks import trained
from synaug.classifiers import checkpoint
from synaug.data import load_dataset, stratified_subset
from synaug.diffusion.denoisers import generator_hash, load_denoiser, new_denoiser
from synaug.diffusion.recipe import Recipe
from synaug.generators import training as generator_training
from synaug.run import Store, Task
from synaug.run.sweep import run_missing

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
    return kept, *(generator_hash(load_denoiser(place)) for place in (folder, generator_training.snapshot_folder(folder, SNAPSHOT * 20)))


def make_pool(folder):
    """In blocks of two sources, 15 in all."""
    synthetic_pool.BLOCK = 2
    data = stratified_subset(load_dataset("digits"), 10, seed=0)
    denoiser = new_denoiser(data, channels=(32,)).eval().requires_grad_(False)
    return synthetic_pool.generate_pool(denoiser, data, range(10), k=4, sigmas=(0.5, 2.0), steps=5, batch_size=2, folder=folder)


def files_in(folder):
    return len(list(folder.rglob("*.zip")))


def pool_of(folder, monkeypatch):
    monkeypatch.setattr(synthetic_pool, "BLOCK", 2)
    monkeypatch.setattr(synthetic_pool, "reconstruct", lambda *_, **__: 1 / 0)  # all is read, nothing is made
    pool = make_pool(folder)
    return pool.data.images, pool.provenance


def classifier():
    images = Task(functions.digits, {"n": 500})
    return Task(trained, {"architecture": "vgg5", "steps": STEPS_OF_CLASSIFIER, "recipe": "one_cycle", "seed": 0, "augment": "flip_crop"}, (images,))


def classify(folder):
    """A classifier's training that is kept after every step."""
    checkpoint.EVERY, os.environ["SYNAUG_CACHE"] = 0, str(folder)
    return Store().get(classifier())


def steps_of_classifier(folder):
    if list((folder / "tasks" / "trained").glob("*.zip")):
        return STEPS_OF_CLASSIFIER
    path = next((path for path in (folder / "unfinished").glob("*") if path.suffix != ".tmp"), None)
    return torch.load(path, weights_only=True)["step"] if path else 0


def tasks_in(folder):
    """Three pools, and two tasks that need each."""
    (folder / "notes").mkdir(parents=True, exist_ok=True)
    notes = {"notes": str(folder / "notes"), "seconds": 0.1}
    pools = [Task(functions.pool, {"seed": seed, **notes}) for seed in range(3)]
    return [Task(functions.mean, {"power": power, **notes}, (pool,)) for pool in pools for power in (1, 2)]


def sweep(folder):
    run_missing(tasks_in(folder), Store(folder / "tasks"), workers=0, progress=False)


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


def test_training(processes, tmp_path):
    uncut, *others = killed_runs(processes, train, steps_of, tmp_path, seed=0)
    expected = generators_of(uncut)
    assert expected[0]["step"] == STEPS and expected[1] != expected[2]
    assert others and all(same(generators_of(folder), expected) for folder in others)


def test_sampling(processes, tmp_path, monkeypatch):
    uncut, *others = killed_runs(processes, make_pool, files_in, tmp_path, seed=1)
    images, provenance = pool_of(uncut, monkeypatch)
    assert len(images) == 30 and files_in(uncut) == 15
    for folder in others:
        again, origin = pool_of(folder, monkeypatch)
        assert torch.equal(again, images)
        pd.testing.assert_frame_equal(origin, provenance, check_exact=True)


def test_classifier(processes, tmp_path):
    uncut, *others = killed_runs(processes, classify, steps_of_classifier, tmp_path, seed=3)
    expected = Store(uncut / "tasks").find(classifier()).weights
    for folder in others:
        assert same(Store(folder / "tasks").find(classifier()).weights, expected)
        assert not [path for path in (folder / "unfinished").glob("*") if path.suffix != ".tmp"]


def test_sweep(processes, tmp_path):
    uncut, *others = killed_runs(processes, sweep, lambda folder: files_in(folder / "tasks"), tmp_path, seed=2)
    expected = [Store(uncut / "tasks").find(task) for task in tasks_in(uncut)]
    assert len(expected) == 6 and all(found["mean"] > 0 for found in expected)
    for folder in others:
        assert [Store(folder / "tasks").find(task) for task in tasks_in(folder)] == expected
