"""What the test modules share: a clean cache, no display, and a headless Chromium."""

import os
import shutil

import pytest
from playwright.sync_api import sync_playwright

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
BROWSER_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="session", autouse=True)
def clean_environment(tmp_path_factory):
    """Kernels and builds started by tests inherit it: no cache of earlier runs is read or filled."""
    os.environ["SYNAUG_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    os.environ["MPLBACKEND"] = "Agg"


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
