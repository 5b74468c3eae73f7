"""A grid of reconstructions that a reader drags from real to fully synthetic.

One self-contained piece of HTML: every level is a PNG inside the page, shown one at a time by a
native range input, which brings keyboard control with it. Nothing is looked up by an id, so any
number of sliders can share a page; without JavaScript all levels are shown, one below the other.
"""

import html
from collections.abc import Sequence

import numpy as np
from IPython.display import HTML
from PIL import Image

from synaug.plots.html import png_address
from synaug.plots.images import montage

STYLE = """<style>
.synaug-slider { margin: 1rem 0; max-width: 100%; }
.synaug-slider figure { margin: 0 0 .75rem; padding: 0; }
.synaug-slider figure img { display: block; margin: 0; padding: 0; width: 100%; height: auto; }
.synaug-slider figure img { image-rendering: pixelated; }
.synaug-slider figcaption, .synaug-slider output { font-variant-numeric: tabular-nums; }
.synaug-slider .control { display: none; }
.synaug-slider[data-ready] .control { display: block; }
.synaug-slider[data-ready] figure { margin: 0; }
.synaug-slider[data-ready] figure:not([data-shown]), .synaug-slider[data-ready] figcaption { display: none; }
.synaug-slider .ends { display: flex; align-items: center; gap: .75rem; }
.synaug-slider input { flex: 1; min-width: 0; height: 1.5rem; accent-color: #1f77b4; }
.synaug-slider output { display: block; text-align: center; }
</style>"""

SCRIPT = """<script>
for (const root of document.querySelectorAll(".synaug-slider:not([data-ready])")) {
  const input = root.querySelector("input");
  const levels = root.querySelectorAll("figure");
  const show = () => {
    levels.forEach((level, i) => level.toggleAttribute("data-shown", i === input.valueAsNumber));
    const label = levels[input.valueAsNumber].querySelector("figcaption").textContent;
    root.querySelector("output").textContent = label;
    input.setAttribute("aria-valuetext", label);
  };
  input.addEventListener("input", show);
  root.setAttribute("data-ready", "");
  show();
}
</script>"""


#: Images in a row; screen pixels to an image pixel, at most: a narrow screen shrinks the grid.
COLUMNS, SCALE = 10, 2


def slider(images: np.ndarray, level_labels: Sequence[str], description: str) -> HTML:
    """A slider over the levels of a reconstruction sweep.

    images: uint8 ``[L, N, C, H, W]``, C 1 or 3: the same N images at L >= 2 levels, from real
    (first) to fully synthetic (last); a NumPy array or a CPU tensor.
    level_labels: L texts, shown as the slider's value, such as ``f"{T_RE} = 50, σ = 2.40"``.
    description: what the images are; with the level's label it is each grid's alternative text.

    The same arguments give the same HTML. Raises TypeError for images that are not uint8 and
    ValueError for other shapes, a wrong number of labels, or an empty text.
    """
    images = np.asarray(images)
    if images.dtype != np.uint8:
        raise TypeError(f"images must be uint8, not {images.dtype}")
    if images.ndim != 5 or images.shape[2] not in (1, 3) or images.shape[0] < 2 or 0 in images.shape:
        raise ValueError(f"images must be [L, N, C, H, W] with L >= 2 and C 1 or 3, not {list(images.shape)}")
    if len(level_labels) != len(images):
        raise ValueError(f"{len(images)} levels need as many labels, not {len(level_labels)}")
    if not description.strip() or not all(label.strip() for label in level_labels):
        raise ValueError("the description and every label must say something: they are read aloud")

    starts = range(0, images.shape[1], COLUMNS)
    grids = [Image.fromarray(montage([level[i : i + COLUMNS] for i in starts])).convert("LA" if images.shape[2] == 1 else "RGBA") for level in images]
    # "dark-light" tells the book's theme that an image needs no dimming in dark mode; a label is also the caption where
    # scripts do not run.
    levels = "\n".join(
        f'<figure><img class="dark-light" alt="{html.escape(f"{description}: {label}")}"'
        f' src="{png_address(grid.save, optimize=True)}">'
        f"<figcaption>{html.escape(label)}</figcaption></figure>"
        for grid, label in zip(grids, level_labels)
    )
    return HTML(
        f'{STYLE}\n<div class="synaug-slider" style="width: {grids[0].width * SCALE}px">\n{levels}\n'
        '<div class="control"><div class="ends"><span>real</span>'
        f'<input type="range" min="0" max="{len(images) - 1}" step="1" value="0" autocomplete="off"'
        f' aria-label="{html.escape(description)}, from real to fully synthetic">'
        f"<span>synthetic</span></div><output></output></div>\n</div>\n{SCRIPT}"
    )
