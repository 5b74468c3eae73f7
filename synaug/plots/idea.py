"""The idea of a chapter in one picture: boxes of text in columns, joined by arrows."""

from collections.abc import Sequence
from textwrap import fill

import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from synaug.plots.style import COLOURS, INK, WIDTH, plain

SIZE = 9.5  # points of the text
LETTER, LINE = 0.6 * SIZE, 1.35 * SIZE  # points of a letter, about, and from line to line
ARROW, PAD, GAP = 32, 7, 10  # points between columns, between a text and its box's edge, and between boxes


def idea(*columns: Sequence[str]) -> Figure:
    """Columns of texts, a box each. Two columns of equally many are joined row by row, others each with each.

    A box has the colour of its text, or of what stands there before a colon, in `COLOURS`.
    """
    width = (72 * WIDTH - 2 - ARROW * (len(columns) - 1)) / len(columns)
    texts = [[fill(plain(text), int((width - 2 * PAD) / LETTER)) for text in column] for column in columns]
    highs = [LINE * max(text.count("\n") + 1 for text in column) + 2 * PAD for column in texts]
    height = max(len(column) * (high + GAP) for column, high in zip(texts, highs))
    figure = plt.figure(figsize=(WIDTH, height / 72))
    ax = figure.add_axes((0, 0, 1, 1), xlim=(-1, 72 * WIDTH - 1), ylim=(0, height))
    ax.axis("off")
    before = []
    for place, (column, high) in enumerate(zip(texts, highs)):
        left, middles = place * (width + ARROW), [height * (1 - (i + 0.5) / len(column)) for i in range(len(column))]
        for text, name, middle in zip(column, columns[place], middles):
            colour = COLOURS.get(name.split(":")[0], INK)
            look = {"boxstyle": "round,pad=0,rounding_size=4", "edgecolor": colour, "facecolor": "none", "linewidth": 1.4}
            ax.add_patch(FancyBboxPatch((left, middle - high / 2), width, high, **look))
            ax.text(left + width / 2, middle, text, size=SIZE, ha="center", va="center", linespacing=1.2)
        for start, end in zip(before, middles) if len(before) == len(middles) else ((a, b) for a in before for b in middles):
            ax.annotate("", (left - 1, end), (left - ARROW + 1, start), arrowprops={"arrowstyle": "->", "color": INK})
        before = middles
    return figure
