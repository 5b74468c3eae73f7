"""Every chapter: its two files in step, its parameters refused when misspelt, and a whole run."""

from pathlib import Path

import jupytext
import nbformat
import papermill
import pytest

from synaug.chapters.targeted_augmentation_figures import CEILING_GAIN, NEGLIGIBLE
from synaug.chapters.where_concentration_comes_from.real_generators_figures import LINEAR_BELOW
from synaug.classifiers import build_classifier

NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"
CHAPTERS = sorted(path.stem for path in NOTEBOOKS.glob("*.py"))


def execute(chapter, tmp_path, **parameters):
    """Run a chapter as papermill's command line does; returns the executed notebook."""
    output = tmp_path / "out.ipynb"
    return papermill.execute_notebook(
        NOTEBOOKS / f"{chapter}.ipynb", output, parameters, cwd=NOTEBOOKS, progress_bar=False
    )


def test_every_chapter_is_a_pair():
    assert CHAPTERS, f"no chapters in {NOTEBOOKS}"
    assert CHAPTERS == sorted(path.stem for path in NOTEBOOKS.glob("*.ipynb"))


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_pair_in_step(chapter):
    source = jupytext.read(NOTEBOOKS / f"{chapter}.py")
    executed = nbformat.read(NOTEBOOKS / f"{chapter}.ipynb", as_version=4)
    assert [content(cell) for cell in executed.cells] == [content(cell) for cell in source.cells], (
        "run: jupytext --sync notebooks/*.py"
    )
    assert executed.metadata.kernelspec.name == source.metadata.kernelspec["name"] == "python3"


def content(cell):
    """What the pair must agree on: the kind of cell, its text, and the metadata that the source carries."""
    return cell.cell_type, cell.source, cell.metadata.get("tags", []), cell.metadata.get("mystnb", {})


@pytest.mark.parametrize("chapter", CHAPTERS[:3])
def test_figures_have_short_captions_and_say_what_was_found(chapter):
    cells = jupytext.read(NOTEBOOKS / f"{chapter}.py").cells
    for cell, after in zip(cells, cells[1:]):
        shown = cell.metadata.get("mystnb", {})
        if "figure" in shown:
            assert len(shown["figure"]["caption"].split()) <= 30, shown["figure"]["name"]
            assert len(shown["image"]["alt"].split()) >= 10, shown["figure"]["name"]
            assert after.cell_type == "markdown" or "Markdown(" in after.source, f"no result below {shown['figure']['name']}"
    assert "takeaways(" in "".join(cell.source for cell in cells[:6] if cell.cell_type == "code")
    assert next(cell for cell in cells[::-1] if cell.cell_type == "markdown").source.startswith("## What to do")


@pytest.mark.parametrize("chapter, words", [
    ("02", f"fresh images gain at least {CEILING_GAIN:g} points"),
    ("02", f"where the whole interval lies within {NEGLIGIBLE:g} points of 0"),
    ("02", f"whose whole 95 % interval lies within {NEGLIGIBLE:g} points of 0 counts as none"),
    ("04", f"linear below {LINEAR_BELOW:g}"),
])
def test_numbers_of_rules_are_those_of_the_code(chapter, words):
    assert words in next(NOTEBOOKS.glob(f"{chapter}*.py")).read_text(encoding="utf-8")


def test_the_network_of_the_committed_runs_is_as_small_as_chapter_2_says():
    network = build_classifier("resnet8", (1, 28, 28), 10, seed=0)
    assert 75_000 < sum(parameter.numel() for parameter in network.parameters()) < 80_000


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_a_misspelt_parameter_is_an_error(chapter, tmp_path):
    known = papermill.inspect_notebook(NOTEBOOKS / f"{chapter}.ipynb")
    assert "profile" in known
    with pytest.raises(papermill.PapermillExecutionError, match="unknown parameter: profil. Did you mean 'profile'"):
        execute(chapter, tmp_path, profil="smoke")


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_runs_at_smoke(chapter, tmp_path):
    executed = execute(chapter, tmp_path, profile="smoke")
    code = [cell for cell in executed.cells if cell.cell_type == "code"]
    assert all(cell.execution_count for cell in code), "a cell did not run"
    assert [output for cell in code for output in cell.outputs if output.output_type == "error"] == []
