"""A drawing of boxes and arrows: every text in its box, no box over another, all within the figure."""

from itertools import combinations

import matplotlib.pyplot as plt
import pytest
from matplotlib.patches import FancyBboxPatch

from synaug.plots import COLOURS, WIDTH, idea, theme


@pytest.mark.parametrize(
    "columns",
    [
        (["one"],),
        (["real images"], ["slow examples: learned late"], ["copies", "generated: new versions", "fresh real images"], ["classifier, on the same test images"]),
        (["WHAT IS WANTED?"], [f"a question with a longer name, number {i}" for i in range(5)], ["control"] * 5),
    ],
)
def test_texts_lie_in_their_boxes_and_boxes_apart_in_the_figure(columns):
    with plt.rc_context():
        theme()
        figure = idea(*columns)
        figure.draw_without_rendering()
    (ax,) = figure.axes
    boxes = [patch.get_window_extent() for patch in ax.patches if isinstance(patch, FancyBboxPatch)]
    texts = [text.get_window_extent() for text in ax.texts if text.get_text()]
    assert len(boxes) == len(texts) == sum(map(len, columns)) and figure.get_figwidth() == WIDTH
    for outer, inner in [*zip(boxes, texts), *((figure.bbox, box) for box in boxes)]:
        assert outer.x0 <= inner.x0 and inner.x1 <= outer.x1 and outer.y0 <= inner.y0 and inner.y1 <= outer.y1
    assert not any(a.overlaps(b) for a, b in combinations(boxes, 2))


def test_columns_of_equally_many_are_joined_row_by_row_and_known_names_have_their_colours():
    figure = idea(["copies"], ["a", "generated: new"], ["c", "d"])
    arrows = [note for note in figure.axes[0].texts if getattr(note, "arrow_patch", None)]
    assert len(arrows) == 2 + 2
    edges = [plt.matplotlib.colors.to_hex(patch.get_edgecolor()) for patch in figure.axes[0].patches if isinstance(patch, FancyBboxPatch)]
    assert edges[0] == COLOURS["copies"] and edges[2] == COLOURS["generated"] and edges[1] == edges[3] == edges[4]
