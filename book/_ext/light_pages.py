"""What pages carry: descriptions, links to figures in full size, how each page was executed; nothing from the network.

No icon that nobody uses, no map of a minified script, no empty dropdown, and nothing that keeps a screen reader out.
"""

import lzma
import re
from html import escape
from pathlib import Path

from docutils import nodes
from myst_nb.sphinx_ import NbMetadataCollector

#: One icon in the theme's script: its name, size, other names, code and outline.
ICON = re.compile(r'"?([\w-]+)"?:\[\d+,\d+,\[([^\]]*)\],"[0-9a-f]*",(?:"[^"]*"|\[[^\]]*\])\],?')
MAP = re.compile(r"\s*(//|/\*)# sourceMappingURL=\S+?( ?\*/)?\s*$")
PARAMETERS = re.compile(r'<dl>\n((?:<dd><em class="sig-param">.*</dd>\n)+)</dl>')
FIGURE = re.compile(r'(<figure [^>]*>\s*)(<img [^>]*src="([^":]+)"[^>]*/>)')
LONGEST = 160  # letters of a description


def names_thebe(asset) -> bool:
    """Whether a script or style sheet belongs to the live-code widget, unused here: by file name or inline body."""
    body = getattr(asset, "attributes", {}).get("body") or ""
    return "thebe" in f"{getattr(asset, 'filename', asset)} {body}".lower()


def description(doctree, title: str) -> str:
    """The first paragraph of a page's prose, cut at a word; its title where it has none."""
    prose = (node.astext() for node in doctree.findall(nodes.paragraph) if isinstance(node.parent, nodes.section)) if doctree else ()
    text = " ".join(next(iter(prose), f"{title}: a page of the book on synthetic images as training data").split())
    return text if len(text) <= LONGEST else text[:LONGEST].rsplit(" ", 1)[0] + " …"


def executions(app) -> str:
    """A table of the pages that compute: title, seconds, and whether all went well."""
    rows = []
    for page in sorted(app.env.found_docs):
        if found := NbMetadataCollector.get_exec_data(app.env, page):
            link = f'<a href="{app.builder.get_relative_uri("status", page)}">{escape(app.env.titles[page].astext())}</a>'
            ended = "yes" if found["succeeded"] else escape(f"no: {found['error']}")
            rows.append(f'<tr><th scope="row">{link}</th><td>{found["runtime"] or 0:.0f}</td><td>{ended}</td></tr>')
    names = "".join(f'<th scope="col">{name}</th>' for name in ("page", "seconds", "ended well"))
    return (
        f'<table class="dataframe"><caption>Execution of each page that computes</caption><thead><tr>{names}</tr></thead><tbody>{"".join(rows)}</tbody></table>'
    )


def head(app, pagename, templatename, context, doctree) -> None:
    for kind in ("script_files", "css_files"):
        context[kind] = [asset for asset in context[kind] if not names_thebe(asset)]
    text = description(doctree, re.sub("<.*?>", "", context.get("title") or pagename))
    if pagename == "status":
        context["body"] = context["body"].replace('<div id="executions"></div>', executions(app))
    context["metatags"] = context.get("metatags", "") + f'<meta name="description" content="{escape(text)}" />\n'


def lighten(app, error) -> None:
    """Icons that no page names leave the theme's script (1.5 MB); maps go; MathJax, kept packed, is unpacked."""
    if error or app.builder.format != "html":
        return
    out, used = Path(app.outdir), set()
    for page in out.rglob("*.html"):
        text = page.read_text("utf-8")
        used |= set(re.findall(r"\bfa-([a-z0-9-]+)", text))
        # The theme's switches of the sidebar have a picture only; parameters of a long signature define no terms.
        mended = re.sub(r'<summary>(?=<span class="toctree-toggle")', '<summary aria-label="pages below this one">', text)
        mended = PARAMETERS.sub(lambda found: f'<div class="sig-params">{re.sub("(?<=<)dd|(?<=</)dd", "div", found[1])}</div>', mended)
        mended = mended.replace('<th class="head">', '<th class="head" scope="col">')
        mended = mended.replace('<div role="list" class="citation-list">', '<div class="citation-list">')  # of no items
        mended = FIGURE.sub(r'\1<a href="\3">\2</a>', mended)  # to its full size
        if mended != text:
            page.write_text(mended, "utf-8")
    icons = out / "_static" / "scripts" / "fontawesome.js"
    icons.write_text(ICON.sub(lambda icon: icon[0] if {icon[1], *re.findall(r'"([\w-]+)"', icon[2])} & used else "", icons.read_text("utf-8")), "utf-8")
    for packed in (out / "_static").rglob("*.xz"):
        packed.with_suffix("").write_bytes(lzma.decompress(packed.read_bytes()))
        packed.unlink()
    for path in (out / "_static").rglob("*.map"):
        path.unlink()
        script = path.with_suffix("")
        script.write_text(MAP.sub("\n", script.read_text("utf-8")), "utf-8")


def drop_empty(app, doctree) -> None:
    """No dropdown of code alone, as of a figure whose run is not recorded; parameters and set-up have a prompt that says so."""
    for cell in list(doctree.findall(lambda node: isinstance(node, nodes.container) and node.get("hide_mode"))):
        shows = any(part.get("nb_element") == "cell_code_output" for part in cell.children)
        meant = cell["hide_mode"] == "input" and "code_prompt_show" in cell["cell_metadata"].get("mystnb", {})
        if not shows and not meant:
            cell.parent.remove(cell)


def setup(app):
    app.connect("doctree-read", drop_empty)
    app.connect("html-page-context", head, priority=900)  # after thebe has added its files
    app.connect("build-finished", lighten)
    return {"version": "1", "parallel_read_safe": True}
