"""Keeps the executed chapters in step with everything they are computed from.

jupyter-book's cache is keyed on a notebook's own code cells, so an edit of the package, of the data
or of the requirements would leave old numbers in the pages. Here the cache folder is named by a
fingerprint of all of these. The folder's name is a Sphinx environment setting, so that a new
fingerprint also makes Sphinx read every page again on a plain incremental build; going back to
an earlier state finds its cache still there.
"""

import hashlib
import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
#: Environment variables that send the chapters to other data; what lies there is watched as well.
FOLDER_VARIABLES = ("SYNAUG_DATA", "SYNAUG_RESULTS", "SYNAUG_CHECKPOINTS")


def watched_files() -> list[Path]:
    """The package's sources, all data, and the requirements, in a fixed order."""
    folders = [ROOT / "data"] + [Path(os.environ[name]) for name in FOLDER_VARIABLES if os.environ.get(name)]
    files = [*(ROOT / "synaug").rglob("*.py"), ROOT / "requirements.txt"]
    for folder in folders:
        files += folder.rglob("*")
    return sorted({path for path in files if path.is_file()})


def fingerprint() -> str:
    """A hash of the watched files and of the profile, 16 hexadecimal digits."""
    digest = hashlib.sha256()
    for name in ("SYNAUG_PROFILE", *FOLDER_VARIABLES):
        digest.update(f"{name}={os.environ.get(name, '')}\0".encode())
    for path in watched_files():
        digest.update(os.path.relpath(path, ROOT).encode() + b"\0")
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:16]


def name_cache(app, config) -> None:
    """Put the cache beside the built pages, under the fingerprint's name."""
    config.nb_execution_cache_path = str(Path(app.outdir).parent / ".jupyter_cache" / fingerprint())


def renew_gluing_pages(app, env, added, changed, removed) -> list[str]:
    """Read the prose pages again when any chapter is: they may quote its numbers."""
    chapters_changed = any(page.startswith("notebooks/") for page in added | changed)
    return [page for page in env.found_docs if not page.startswith("notebooks/")] if chapters_changed else []


def setup(app):
    app.connect("config-inited", name_cache)
    app.connect("env-get-outdated", renew_gluing_pages)
    return {"version": "1", "parallel_read_safe": True}
