"""Figures and tables as HTML, so that any page of the book can show what a chapter computed."""

import base64
import html
import io

import pandas as pd
from IPython.display import HTML
from matplotlib.figure import Figure


def figure_html(figure: Figure, alternative: str, caption: str = "", dpi: int = 150) -> HTML:
    """The figure as a PNG inside HTML, to be displayed or glued.

    A figure glued as an image reaches another page without its alternative text; as HTML it keeps it.
    alternative: what a reader who cannot see the figure should know; ValueError if empty.
    caption: plain text below the figure, if any. dpi: dots per inch of the PNG.
    """
    if not alternative.strip():
        raise ValueError("a figure needs an alternative text")
    buffer = io.BytesIO()
    # No date and no version inside: the same figure gives the same bytes.
    figure.savefig(buffer, format="png", dpi=dpi, bbox_inches="tight", facecolor="white", metadata={"Software": None})
    source = base64.b64encode(buffer.getvalue()).decode()
    below = f"<figcaption>{html.escape(caption)}</figcaption>" if caption else ""
    return HTML(
        f'<figure class="synaug-figure"><img alt="{html.escape(alternative)}"'
        f' src="data:image/png;base64,{source}">{below}</figure>'
    )


def table_html(frame: pd.DataFrame) -> HTML:
    """The frame as a table with whole texts, which pandas would cut short, and without its index."""
    with pd.option_context("display.max_colwidth", None):
        return HTML(frame.to_html(index=False, border=0))
