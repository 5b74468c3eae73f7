"""What the test modules share: a clean cache, no display, an untrained generator, small disks, and a headless Chromium."""

import json
import os
import shutil
import sys
from dataclasses import asdict
from types import SimpleNamespace

import pytest
import torch
from playwright.sync_api import sync_playwright
from threadpoolctl import threadpool_limits

from synaug.data import load_dataset, stratified_subset
from synaug.diffusion.denoisers import new_denoiser
from synaug.diffusion.recipe import Recipe
from synaug.diffusion.trainer import RECORD

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
BROWSER_ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"]


@pytest.fixture(scope="session", autouse=True)
def clean_environment(tmp_path_factory):
    """Kernels and builds started by tests inherit it: no cache of earlier runs is read or filled, and each process takes
    one thread. Threads that wait for each other where other work holds a core make a test take ten times as long."""
    os.environ["SYNAUG_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(tmp_path_factory.mktemp("compiled"))
    os.environ["MPLBACKEND"] = "Agg"
    os.environ["OMP_NUM_THREADS"] = "1"
    threadpool_limits(1)
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def figures_are_closed():
    """pyplot would keep each figure of the whole run in memory."""
    yield
    if pyplot := sys.modules.get("matplotlib.pyplot"):
        pyplot.close("all")


@pytest.fixture(scope="session")
def untrained_generator(tmp_path_factory):
    """A checkpoint whose record says that 600 digits are its training images; its weights are as drawn."""
    folder = tmp_path_factory.mktemp("generator")
    recipe = Recipe(dataset="digits", subset_size=600, strata="equal")
    images = stratified_subset(load_dataset("digits"), recipe.subset_size, recipe.subset_seed)
    new_denoiser(images, channels=(32,)).save(folder)
    curve = [{"images": n, "training_loss": 2 / n, "held_out_loss": 3 / n} for n in (64, 128)]
    (folder / RECORD).write_text(json.dumps({"recipe": asdict(recipe), "images_seen": 128, "curve": curve}))
    return str(folder)


@pytest.fixture
def cache(monkeypatch, tmp_path):
    """The cache folder of one test, which is not there yet."""
    monkeypatch.setenv("SYNAUG_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def room(monkeypatch):
    """Called with a number of bytes: so many are free on every disk."""
    return lambda free: monkeypatch.setattr("shutil.disk_usage", lambda place: SimpleNamespace(free=free))


@pytest.fixture
def no_network(monkeypatch):
    """Whatever is asked of the network is refused: by a proxy that does not exist."""
    for variable in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(variable, "http://127.0.0.1:1")
    monkeypatch.setenv("no_proxy", "")


def find_browser() -> str:
    """The path of an installed Chromium. Without one: skip, or fail where one was promised."""
    for name in BROWSERS:
        if path := shutil.which(name):
            return path
    message = f"no Chromium found (looked for {', '.join(BROWSERS)})"
    if os.environ.get("SYNAUG_REQUIRE_CHROMIUM"):
        pytest.fail(message)
    pytest.skip(message)


# Per module: while it is open, playwright runs an event loop that would disturb notebook clients.
@pytest.fixture(scope="module")
def browser():
    path = find_browser()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=BROWSER_ARGUMENTS)
        yield browser
        browser.close()
