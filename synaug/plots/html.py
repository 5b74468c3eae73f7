"""Figures and tables as HTML, so that any page of the book can show what a chapter computed."""

import base64
import io
import re
from collections.abc import Callable
from html import escape
from numbers import Integral, Real

import pandas as pd
from IPython.display import HTML
from matplotlib.figure import Figure


def png_address(save: Callable, **options) -> str:
    """The address of an image inside a page: what ``save``, of a figure or a picture, writes as a PNG."""
    buffer = io.BytesIO()
    save(buffer, format="png", **options)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def figure_html(figure: Figure, alternative: str, caption: str = "", full: str = "") -> HTML:
    """The figure as a PNG inside HTML, to be displayed or glued: a glued image would lose its alternative text.

    alternative: what a reader who cannot see the figure should know; ValueError if empty.
    caption: plain text below the figure, if any. full: the address that a click on it leads to, if any.
    """
    if not alternative.strip():
        raise ValueError("a figure needs an alternative text")
    # No date and no version inside: the same figure gives the same bytes.
    source = png_address(figure.savefig, dpi=144, bbox_inches="tight", metadata={"Software": None})
    below = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    shown = f'<img alt="{escape(alternative)}" src="{source}">'
    return HTML(f'<figure class="synaug-figure">{f"""<a href="{full}">{shown}</a>""" if full else shown}{below}</figure>')


MOST_COLUMNS = 3  # that a phone's screen has room for
MINUS = {"-": "\u2212", "+": ""}  # of an exponent


def typeset(text: str) -> str:
    """Text as HTML, its numbers and ``t_re`` as they are printed: minus signs, powers of ten, an index, limits in one line."""
    text = re.sub(r"(?<![\w.])-(?=\d)", "\u2212", escape(text))
    text = re.sub(r"(\d)e([+-])0*(\d+)\b", lambda found: f"{found[1]} × 10<sup>{MINUS[found[2]]}{found[3]}</sup>", text)
    text = re.sub(r"\[[+\u2212\d][^\[\]]*\]", lambda found: f'<span class="synaug-limits">{found[0]}</span>', text)
    return re.sub(r"(?<![\w/])t_re(?!\w)", "t<sub>re</sub>", text)


def table_html(frame: pd.DataFrame, caption: str = "") -> HTML:
    """The frame as a table without its index; its first column names the rows, which have anchors: caption and number.

    Whole numbers have commas at thousands, others three significant digits; a missing value is an empty cell. On a
    phone, tables of more than `MOST_COLUMNS` are cards, one per row.
    """

    def cell(value):
        if isinstance(value, Real) and not isinstance(value, bool):
            value = f"{value:,}" if isinstance(value, Integral) else "" if pd.isna(value) else f"{value:.3g}"
        return "" if value is None or value is pd.NA else typeset(str(value))

    names = [str(name) for name in frame.columns]
    head = "".join(f'<th scope="col">{typeset(name)}</th>' if name else "<td></td>" for name in names)
    anchor = ' id="' + "-".join(re.findall("[a-z0-9]+", caption.lower())[:12]) + '-{}"' if caption else ""
    body = "\n".join(
        f'<tr{anchor.format(i)}><th scope="row">{cell(first)}</th>'
        + "".join(f'<td data-label="{escape(name)}">{cell(value)}</td>' for name, value in zip(names[1:], others))
        + "</tr>"
        for i, (first, *others) in enumerate(frame.astype(object).itertuples(index=False, name=None), 1)
    )
    above = f"<caption>{escape(caption)}</caption>" if caption else ""
    cards = " synaug-cards" * (len(names) > MOST_COLUMNS)
    return HTML(f'<table class="dataframe{cards}">{above}\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table>')
