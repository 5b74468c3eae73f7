import base64
import io
import re

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from PIL import Image

from synaug.figures.embedding import figure_html, table_html


def line(values):
    figure = Figure(figsize=(2, 1))
    figure.subplots().plot(values)
    return figure


def test_figure_keeps_its_pixels_and_its_text():
    markup = figure_html(line([1, 2]), "a <rising> line", "From 1 & up", dpi=100).data
    assert 'alt="a &lt;rising&gt; line"' in markup and "<figcaption>From 1 &amp; up</figcaption>" in markup
    source = re.search(r'base64,([^"]+)"', markup).group(1)
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(source))).convert("L"))
    assert pixels.max() == 255 and (pixels < 100).any()
    assert abs(pixels.shape[1] - 200) < 40  # 2 inches at 100 dots per inch, cut to the drawing


def test_figure_is_deterministic_and_depends_on_what_is_drawn():
    assert figure_html(line([1, 2]), "line").data == figure_html(line([1, 2]), "line").data
    assert figure_html(line([1, 2]), "line").data != figure_html(line([2, 1]), "line").data


@pytest.mark.parametrize("alternative", ["", " "])
def test_figure_without_alternative_text_is_refused(alternative):
    with pytest.raises(ValueError, match="alternative text"):
        figure_html(line([1, 2]), alternative)


def test_table_is_whole_and_escaped():
    claim = ", ".join(["precision < recall"] * 20)
    markup = table_html(pd.DataFrame({"claim": [claim], "verdict": ["confirmed"]})).data
    assert claim.replace("<", "&lt;") in markup
    assert markup.count("<th") == 1 + 2 and markup.count("<td") == 2  # thead and two heads; no index column
