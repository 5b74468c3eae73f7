"""Every chapter: its two files in step, its parameters refused when misspelt, and a whole run."""

import json
import os
import re
import symtable
from pathlib import Path

import jupytext
import nbformat
import papermill
import pytest
from papermill.iorw import load_notebook_node
from papermill.parameterize import parameterize_notebook

from synaug.__main__ import experiments
from synaug.chapters.targeted_augmentation_figures import CEILING_GAIN, NEGLIGIBLE
from synaug.chapters.where_concentration_comes_from.real_generators_figures import LINEAR_BELOW
from synaug.classifiers import build_classifier
from synaug.data import draw_splits, load_dataset, save_image_folder

NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"
CHAPTERS = sorted(path.stem for path in NOTEBOOKS.glob("*.py"))
EXPERIMENTS = list(experiments().values())


#: Keeps all figures of a notebook, then measures each: some of its text, the points of the smallest as a page of 700
#: pixels shows it, and how many panels with axes stand in a row (sheets of images have none).
NOTE_FIGURES = """
from matplotlib import figure as _figures
_kept, _make = [], _figures.Figure.__init__
def _noting(self, *args, **options):
    _make(self, *args, **options)
    _kept.append(self)
_figures.Figure.__init__ = _noting
"""
MEASURE_FIGURES = """
import json
import re
from collections import Counter
from matplotlib.text import Text
found = []
for one in _kept:
    one.draw_without_rendering()
    texts = [text for text in one.findobj(Text) if text.get_visible() and text.get_text().strip()]
    if not one.axes or not texts:
        continue
    width = max(one.get_figwidth(), one.get_tightbbox().width) + 0.1  # with its margin
    smallest = min(text.get_fontsize() for text in texts) * min(1, 672 / 96 / width)
    places = {tuple(ax.get_position().p0.round(2)) for ax in one.axes if ax.axison and not ax.images}  # twins share theirs
    rows = Counter(bottom for _, bottom in places)
    found.append([" ".join(text.get_text() for text in texts)[:60], smallest, max(rows.values(), default=0)])
"""


@pytest.fixture
def tasks_of_the_book(monkeypatch):
    """``SYNAUG_BOOK_CACHE`` names the cache of a book that the same code built at profile smoke: then no task is run again."""
    if built := os.environ.get("SYNAUG_BOOK_CACHE"):
        monkeypatch.setenv("SYNAUG_CACHE", built)


def execute(chapter, tmp_path, **parameters):
    """Run a chapter as papermill's command line does; returns the executed notebook."""
    output = tmp_path / "out.ipynb"
    return papermill.execute_notebook(NOTEBOOKS / f"{chapter}.ipynb", output, parameters, cwd=NOTEBOOKS, progress_bar=False)


def test_every_chapter_is_a_pair():
    assert CHAPTERS, f"no chapters in {NOTEBOOKS}"
    assert CHAPTERS == sorted(path.stem for path in NOTEBOOKS.glob("*.ipynb"))


@pytest.mark.parametrize("path", [*NOTEBOOKS.glob("*.py"), *Path(__file__).parent.glob("check_*.py")], ids=lambda path: path.stem)
def test_pair_in_step(path):
    source, executed = jupytext.read(path), nbformat.read(path.with_suffix(".ipynb"), as_version=4)
    assert [content(cell) for cell in executed.cells] == [content(cell) for cell in source.cells], f"run: jupytext --sync {path}"
    assert executed.metadata.kernelspec.name == source.metadata.kernelspec["name"] == "python3"


def content(cell):
    """What the pair must agree on: the kind of cell, its text, and the metadata that the source carries."""
    return cell.cell_type, cell.source, cell.metadata.get("tags", []), cell.metadata.get("mystnb", {})


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_figures_have_short_captions_and_say_what_was_found(chapter):
    cells = jupytext.read(NOTEBOOKS / f"{chapter}.py").cells
    for cell, after in zip(cells, cells[1:]):
        shown = cell.metadata.get("mystnb", {})
        if "figure" in shown:
            assert len(shown["figure"]["caption"].split()) <= 30, shown["figure"]["name"]
            assert len(shown["image"]["alt"].split()) >= 10, shown["figure"]["name"]
            assert after.cell_type == "markdown" or re.search(r"^(Markdown|told)\(", after.source, re.M), f"no result below {shown['figure']['name']}"
    assert "takeaways(" in "".join(cell.source for cell in cells[:6] if cell.cell_type == "code")
    assert next(cell for cell in cells[::-1] if cell.cell_type == "markdown").source.startswith("## What to do")


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_two_or_three_short_cells_show_the_science_and_all_else_is_collapsed(chapter):
    cells = [cell for cell in jupytext.read(NOTEBOOKS / f"{chapter}.py").cells if cell.cell_type == "code"]
    hidden = ("hide-input", "hide-cell", "remove-input", "remove-cell")
    shown = [cell.source.splitlines() for cell in cells if not set(cell.metadata.get("tags", ())) & set(hidden)]
    assert 2 <= len(shown) <= 3
    (parameters,) = (cell.source.splitlines() for cell in cells if "parameters" in cell.metadata.get("tags", ()))
    assert len(parameters) <= 12 and all("  # " in line for line in parameters)
    for lines in shown:
        assert len(lines) <= 25 and max(map(len, lines)) <= 88, lines[0]


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_studies_and_recipes_that_a_comment_lists_are_all_there_are(chapter):
    (cell,) = (cell for cell in jupytext.read(NOTEBOOKS / f"{chapter}.py").cells if "parameters" in cell.metadata.get("tags", []))
    for name, comment in re.findall(r"^(studies|recipe) = .*?  # (.*)", cell.source, re.M):
        allowed = [set(one.parameters[name].metadata["options"]) for one in EXPERIMENTS if name in one.parameters]
        assert set(re.findall(r'"(\w+)"', comment)) in allowed, name


@pytest.mark.parametrize(
    "chapter, words",
    [
        ("02", f"fresh images gain at least {CEILING_GAIN:g} points"),
        ("02", f"where the whole interval lies within {NEGLIGIBLE:g} points of 0"),
        ("02", f"whose whole 95 % interval lies within {NEGLIGIBLE:g} points of 0 counts as none"),
        ("04", f"linear below {LINEAR_BELOW:g}"),
    ],
)
def test_numbers_of_rules_are_those_of_the_code(chapter, words):
    assert words in next(NOTEBOOKS.glob(f"{chapter}*.py")).read_text(encoding="utf-8")


def test_the_network_of_the_committed_runs_is_as_small_as_chapter_2_says():
    network = build_classifier("resnet8", (1, 28, 28), 10, seed=0)
    assert 75_000 < sum(parameter.numel() for parameter in network.parameters()) < 80_000


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_a_misspelt_parameter_is_an_error(chapter, monkeypatch):
    """Where papermill puts what it is given, and without a kernel for each chapter: the first cells are run here."""
    monkeypatch.chdir(NOTEBOOKS)
    assert "profile" in papermill.inspect_notebook(f"{chapter}.ipynb")
    given = parameterize_notebook(load_notebook_node(f"{chapter}.ipynb"), {"profil": "smoke"})
    namespace = {}
    with pytest.raises(ValueError, match="unknown parameter: profil. Did you mean 'profile'"):
        for cell in given.cells:
            if cell.cell_type == "code":
                exec(cell.source, namespace)


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_no_cell_takes_a_parameters_name(chapter):
    """So that the set-up can be run again: it reads parameters by their names."""
    cells = [cell for cell in jupytext.read(NOTEBOOKS / f"{chapter}.py").cells if cell.cell_type == "code"]
    place = next(i for i, cell in enumerate(cells) if "parameters" in cell.metadata.get("tags", ()))
    texts = ("\n".join(cell.source for cell in part) for part in (cells[place : place + 1], cells[place + 1 :]))
    tables = (symtable.symtable(text, chapter, "exec").get_symbols() for text in texts)
    given, later = ({one.get_name() for one in table if one.is_assigned() or one.is_imported()} for table in tables)
    assert "profile" in given and not given & later - {"profile"}  # whose default chapter 8 chooses


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_runs_at_smoke_with_figures_that_can_be_read(chapter, tmp_path, tasks_of_the_book):
    notebook = nbformat.read(NOTEBOOKS / f"{chapter}.ipynb", as_version=4)
    place = next(i for i, cell in enumerate(notebook.cells) if "parameters" in cell.metadata.get("tags", ())) + 1
    notebook.cells.insert(place, nbformat.v4.new_code_cell(NOTE_FIGURES))
    notebook.cells.append(nbformat.v4.new_code_cell(f"{MEASURE_FIGURES}\nprint(json.dumps(found))"))
    nbformat.write(notebook, tmp_path / "in.ipynb")
    executed = papermill.execute_notebook(tmp_path / "in.ipynb", tmp_path / "out.ipynb", {"profile": "smoke"}, cwd=NOTEBOOKS, progress_bar=False)
    code = [cell for cell in executed.cells if cell.cell_type == "code"]
    assert all(cell.execution_count for cell in code), "a cell did not run"
    assert [output for cell in code for output in cell.outputs if output.output_type == "error"] == []
    figures = json.loads(code[-1].outputs[-1].text)
    assert len(figures) >= 5
    for name, points, across in figures:
        assert points >= 9, f"{name}: text of {points:.1f} points, as shown"
        assert across <= 2, f"{name}: {across} panels in a row"


def test_chapter_8_is_the_report_on_ones_own_folders(tmp_path, tasks_of_the_book):
    folders = {
        name: str(save_image_folder(data, tmp_path / name))
        for name, data in zip(("real", "synthetic", "held_out"), draw_splits(load_dataset("digits"), 20, 20, 20, seed=0))
    }
    executed = execute("08_will_it_help_me", tmp_path, **folders, settings={"image_size": 6})
    shown = [output["data"]["text/html"] for cell in executed.cells for output in cell.get("outputs", ()) if "text/html" in output.get("data", {})]
    (page,) = (text for text in shown if "<iframe" in text)
    assert "Audit of 200 synthetic images beside 200 real and 200 held-out real ones" in page and "Real images that synthetic ones cover least" in page
    assert "images (1, 6, 6) (channels, height, width)" in page
    # Beside one's own images the standard sets are no more than checked.
    assert any('<td data-label="this build">smoke</td>' in text for text in shown)


def test_figures_of_all_chapters_have_names_of_their_own():
    names = re.findall(r'"name": "(fig-[^"]+)"', "".join(path.read_text() for path in NOTEBOOKS.glob("*.py")))
    assert len(names) == len(set(names)) > 40, sorted(name for name in set(names) if names.count(name) > 1)
