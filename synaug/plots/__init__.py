"""How results are shown, each kind of picture once; a chapter's ``<stem>_figures.py`` says what is shown.

``theme()``, once per notebook, sets the look: `WIDTH` 7 inches (672 px on a page), text of 9 pt or more as shown, a
transparent ground with text that reads on white and on dark. A function returns a matplotlib figure of that width, its
panels two to a row, one legend below them with nothing that is not drawn, and no two tick labels over each other.

- `lines`: curves over a swept value from tidy frames, a recorded run and the live one; what a panel shows is a `Panel`.
- `forest`: estimates with intervals, one row per contrast (`synaug.statistics.contrasts.paired`), in groups and panels.
- `image_grid`: rows of images, Grad-CAM maps over them if given. `scatter`: points of planes, a panel each.
- `slider`, `figure_html`, `table_html`: HTML for the page. `idea`: boxes of text and arrows, a chapter in one picture.
- `panels`, `curve`, `noise_axis`, `finish` are what these are made of, for the odd figure that is drawn by hand: call
  ``panels(n)``, draw, and give ``finish(figure, {legend name: handle})`` last.

Colours: `COLOURS` is the only table, of words by which an arm is known in any name, in lines as in forests: "generated, all"
has that of "generated", unless both are curves of one figure. `colours(names)` gives other names free ones. An arm that two
chapters share gets a line there.
Names of rows, columns, curves and panels pass through `plain`: "$" is no mathematics, and letters that no font has are
numbered. Axis labels are the chapter's own and may hold mathtext; of names only a few symbols are set as it.
`T_RE` is t_re typeset as text.

A figure of a chapter, whole::

    def precision_recall(live, recorded=None, encoder="judge"):
        \"\"\"Precision and recall with both references; at sigma = 0 the fresh reference shows the baseline.\"\"\"
        shown = [Panel(metric, metric, where={"encoder": encoder}, limits=(0, 1.05),
                       published={"published (CIFAR-10)": published_series(load_claims()[claim])})
                 for metric, claim in (("precision", "precision-falls"), ("recall", "recall-falls-more"))]
        return lines(live, recorded, shown, x="sigma", hue="reference",
                     names={"source": "sources as reference", "fresh": "fresh real images as reference"})
"""

from synaug.plots.forests import forest
from synaug.plots.html import figure_html, table_html
from synaug.plots.idea import idea
from synaug.plots.images import image_grid, montage
from synaug.plots.lines import Panel, curve, lines, noise_axis, scatter, summary
from synaug.plots.slider import slider
from synaug.plots.style import BLUE, COLOURS, INK, PALETTE, T_RE, WIDTH, colours, finish, panels, plain, theme

__all__ = [
    "BLUE",
    "COLOURS",
    "INK",
    "PALETTE",
    "Panel",
    "T_RE",
    "WIDTH",
    "colours",
    "curve",
    "figure_html",
    "finish",
    "forest",
    "idea",
    "image_grid",
    "lines",
    "montage",
    "noise_axis",
    "panels",
    "plain",
    "scatter",
    "slider",
    "summary",
    "table_html",
    "theme",
]
