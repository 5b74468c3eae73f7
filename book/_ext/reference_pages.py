"""The reference: each page under ``reference/`` gets the modules of the folder that it is named for, by autodoc; the page
``modules`` gets those that stand in no folder.

Docstrings are read as this package writes them. A line that begins with names of parameters or fields and a colon (or,
in a table, two spaces) starts an item of a list, which goes on to the next one; a sentence on what is returned or
raised is a paragraph of its own.
"""

import inspect
import re
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[2] / "synaug"
MODULE = ".. automodule:: {}\n   :members:\n   :ignore-module-all:\n   :no-value:\n"

ITEM = re.compile(r"^(\w+(?:, \w+)*)(?: ?:(?: +|$)| {2,})(.*)")
OUTCOME = re.compile(r"^(Returns?|Raises?|Warns|\w+(Error|Warning)\b)")
HEADING = re.compile(r"^-{3,}$")
#: A bar outside ``code``, which would name a substitution.
BAR = re.compile(r"(``.*?``)|\|")


def modules_of(folder: str) -> list[str]:
    """The names of all modules of a folder of the package, its own first; of "modules", those that stand in none."""
    found = PACKAGE.glob("[a-z]*.py") if folder == "modules" else (PACKAGE / folder).rglob("*.py")
    paths = sorted(found, key=lambda path: (path.name != "__init__.py", path))
    return [".".join(("synaug", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__") for path in paths]


def add_modules(app, page, source) -> None:
    if page.startswith("reference/"):
        folder = page.removeprefix("reference/")
        sections = [f"{name}\n{'-' * len(name)}\n\n" * (name != f"synaug.{folder}") + MODULE.format(name) for name in modules_of(folder)]
        source[0] += "\n```{eval-rst}\n" + "\n".join(sections) + "```\n"


def names_of(what, documented) -> set[str]:
    """What the items of a docstring can be about: parameters, fields, errors."""
    try:
        names = set(inspect.signature(documented).parameters)
    except (TypeError, ValueError):
        names = set()
    return names | (set(vars(documented)) if what == "class" else set())


def as_lists(lines: list[str], names: set[str]) -> list[str]:
    done, within = [], False
    lines = [BAR.sub(lambda found: found[1] or r"\|", line) for line in lines]
    for line, following in zip(lines, [*lines[1:], ""]):
        item = ITEM.match(line)
        if HEADING.match(line) or HEADING.match(following):  # a section of numpydoc's: its items are items
            continue
        if item and (set(item[1].split(", ")) <= names or item[1].endswith(("Error", "Warning"))):
            done += [] if within else [""]
            done.append(f"- **{item[1]}**: {item[2].strip()}")
            within = True
        elif within and line.strip() and not OUTCOME.match(line):
            done.append(f"  {line.strip()}")
        else:
            done += [""] if within else []
            within = False
            done.append(line)
    return done


def readable(app, what, name, documented, options, signature, returned):
    """Defaults that are no code, such as <factory>, as dots: Sphinx cannot read a signature with them."""
    return (re.sub(r"<[^<>]*>", "...", signature) if signature else signature), returned


def setup(app):
    app.connect("source-read", add_modules)
    app.connect("autodoc-process-signature", readable)
    app.connect(
        "autodoc-process-docstring",
        lambda app, what, name, documented, options, lines: lines.__setitem__(slice(None), as_lists(list(lines), names_of(what, documented))),
    )
    return {"version": "1", "parallel_read_safe": True}
