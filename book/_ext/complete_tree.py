"""Stops the build early, with a clear message, when the working copy cannot give a whole book.

Sphinx only warns about a page that its table of contents names and that does not exist, and goes
on to build a book without it. Two things lead there: a checkout without symbolic links, where git
leaves a one-line text file in place of the link ``book/notebooks``, and a mistyped name.
"""

from pathlib import Path

from sphinx.errors import ExtensionError
from sphinx_external_toc.parsing import parse_toc_yaml

NO_LINK = """\
book/notebooks is not a folder but should be a symbolic link to the folder notebooks.
This working copy was checked out without symbolic links, which is git's default on Windows. Either
  turn on Windows' developer mode, then   git config core.symlinks true
                                          del book\\notebooks
                                          git checkout -- book/notebooks
  or, with no special rights, in cmd:     del book\\notebooks
                                          mklink /J book\\notebooks notebooks
and build again. On Linux and macOS: ln -sfn ../notebooks book/notebooks"""


def check_tree(book: Path) -> None:
    """Raise ExtensionError unless every page named in ``book/_toc.yml`` can be read."""
    if not (book / "notebooks").is_dir():
        raise ExtensionError(NO_LINK)
    pages = [str(page) for page in parse_toc_yaml(book / "_toc.yml")]
    missing = [page for page in pages if not any((book / f"{page}{suffix}").is_file() for suffix in (".md", ".ipynb"))]
    if missing:
        raise ExtensionError(f"_toc.yml names pages that do not exist as .md or .ipynb: {', '.join(missing)}")


def setup(app):
    check_tree(Path(app.srcdir))
    return {"version": "1", "parallel_read_safe": True}
