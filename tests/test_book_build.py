"""How the book is built: never stale, stopped with a clear message where it cannot be whole.

The book here is a small one, made of the real configuration and extensions around one notebook.
"""

import importlib.util
import os
import re
import shutil
import subprocess
import sysconfig
from pathlib import Path

import nbformat
import pytest

import synaug

ROOT = Path(__file__).resolve().parents[1]
TOC = "format: jb-book\nroot: index\nchapters:\n  - file: notebooks/chapter\n"
INDEX = "# Front\n\n```{glue:} number\n:doc: notebooks/chapter.ipynb\n```\n"
CODE = "from pathlib import Path\nfrom myst_nb import glue\nglue('number', Path('../synaug/value.py').read_text())"


def write_chapter(root, code, name="chapter"):
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_markdown_cell("# Chapter"), nbformat.v4.new_code_cell(code)],
        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
    )
    for index, cell in enumerate(notebook.cells):
        cell.id = str(index)
    nbformat.write(notebook, root / "notebooks" / f"{name}.ipynb")


@pytest.fixture
def small_book(tmp_path):
    for folder in ("book", "notebooks", "synaug", "data"):
        (tmp_path / folder).mkdir()
    shutil.copy(ROOT / "_config.yml", tmp_path)
    shutil.copy(ROOT / "requirements.txt", tmp_path)
    shutil.copy(ROOT / "book" / "references.bib", tmp_path / "book")
    shutil.copytree(ROOT / "book" / "_ext", tmp_path / "book" / "_ext")
    shutil.copytree(ROOT / "book" / "assets", tmp_path / "book" / "assets", ignore=shutil.ignore_patterns("mathjax"))
    (tmp_path / "book" / "_toc.yml").write_text(TOC)
    (tmp_path / "book" / "index.md").write_text(INDEX)
    (tmp_path / "book" / "notebooks").symlink_to("../notebooks")
    (tmp_path / "synaug" / "value.py").write_text("first = 1")
    write_chapter(tmp_path, CODE)
    return tmp_path


def build(root):
    """The plain command, with the interpreter's own jupyter-book."""
    command = Path(sysconfig.get_path("scripts")) / "jupyter-book"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SYNAUG_")}
    return subprocess.run([command, "build", "book"], cwd=root, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def pages(root):
    html = root / "_build" / "html"
    return [(html / page).read_text("utf-8") for page in ("index.html", "notebooks/chapter.html")]


def test_numbers_follow_the_package_and_the_chapter(small_book):
    first = build(small_book)
    assert first.returncode == 0, first.stdout
    assert "Execution Successful" in first.stdout and "_build/html/index.html" in first.stdout
    assert all("first = 1" in page for page in pages(small_book))

    unchanged = build(small_book)
    assert unchanged.returncode == 0 and "Execution Successful" not in unchanged.stdout

    (small_book / "synaug" / "value.py").write_text("second = 2")
    assert build(small_book).returncode == 0
    assert all("second = 2" in page and "first = 1" not in page for page in pages(small_book))

    write_chapter(small_book, CODE.replace(".read_text()", ".read_text().upper()"))
    assert build(small_book).returncode == 0
    assert all("SECOND = 2" in page for page in pages(small_book))

    write_chapter(small_book, "raise RuntimeError('this chapter fails')")
    failing = build(small_book)
    assert failing.returncode != 0 and "this chapter fails" in failing.stdout


def test_chapters_are_executed_two_at_a_time_and_once(small_book):
    code = """import os, time
from pathlib import Path
with open("{own}.ran", "a") as file:
    file.write(os.environ["OMP_NUM_THREADS"])
end = time.monotonic() + 60
while not Path("{other}.ran").exists():
    assert time.monotonic() < end, "the other chapter was not running"
    time.sleep(0.1)"""
    for own, other in (("chapter", "second"), ("second", "chapter")):
        write_chapter(small_book, code.format(own=own, other=other), own)
    (small_book / "book" / "_toc.yml").write_text(TOC + "  - file: notebooks/second\n")
    page = code.format(own="page", other="../notebooks/second")
    (small_book / "book" / "index.md").write_text(f"---\nfile_format: mystnb\nkernelspec:\n  name: python3\n---\n# Front\n\n```{{code-cell}}\n{page}\n```\n")
    done = build(small_book)
    assert done.returncode == 0, done.stdout
    assert (small_book / "book" / "page.ran").exists() and "Executing notebook using" not in done.stdout  # while pages are read
    threads = os.environ.get("OMP_NUM_THREADS", str(max(1, os.cpu_count() // 2)))
    assert [path.read_text() for path in sorted((small_book / "notebooks").glob("*.ran"))] == [threads] * 2


def test_a_checkout_without_symbolic_links_is_told_what_to_do(small_book):
    link = small_book / "book" / "notebooks"
    link.unlink()
    link.write_text("../notebooks")  # what git leaves in the link's place
    result = build(small_book)
    assert result.returncode != 0
    assert "checked out without symbolic links" in result.stdout and "mklink /J" in result.stdout


def test_a_page_that_does_not_exist_is_an_error(small_book):
    (small_book / "book" / "_toc.yml").write_text(TOC + "  - file: notebooks/chaptre\n")
    result = build(small_book)
    assert result.returncode != 0 and "notebooks/chaptre" in result.stdout


def test_the_committed_link_leads_to_the_chapters():
    assert (ROOT / "book" / "notebooks").is_symlink()
    assert (ROOT / "book" / "notebooks").resolve() == ROOT / "notebooks"


@pytest.fixture(scope="module")
def reference_pages():
    spec = importlib.util.spec_from_file_location("reference_pages", ROOT / "book" / "_ext" / "reference_pages.py")
    extension = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(extension)
    return extension


def test_the_reference_has_every_folder_and_the_first_names(reference_pages):
    folders = {path.stem for path in (ROOT / "book" / "reference").glob("*.md")}
    assert folders - {"modules"} | {"chapters"} == set(re.findall(r"`synaug\.([a-z]+)`", synaug.__doc__))
    modules = reference_pages.modules_of("run")
    assert modules[0] == "synaug.run" and "synaug.run.tasks" in modules
    alone = [name.removeprefix("synaug.") for name in reference_pages.modules_of("modules")]
    assert alone and all(f"`{name}`" in synaug.__doc__ for name in alone)
    linked = re.findall(r"~([\w.]+)\.(\w+)`", (ROOT / "book" / "reference.md").read_text())
    assert {name: module for module, name in linked} == {name: getattr(synaug, name).__module__ for name in synaug.__all__}


def test_docstrings_become_lists(reference_pages):
    text = "A sum |x|: ``a | b``.\n\nx, y: both,\non two lines.\nk   the last\nnot: a name\nReturns a sum."
    assert [line for line in reference_pages.as_lists(text.split("\n"), {"x", "y", "k"}) if line] == [
        "A sum \\|x\\|: ``a | b``.",
        "- **x, y**: both,",
        "  on two lines.",
        "- **k**: the last",
        "  not: a name",
        "Returns a sum.",
    ]
    numpydoc = ["Parameters", "----------", "x : int, or", "    more", "", "Raises", "------", "ValueError : where not"]
    assert [line for line in reference_pages.as_lists(numpydoc, {"x"}) if line] == ["- **x**: int, or", "  more", "- **ValueError**: where not"]
