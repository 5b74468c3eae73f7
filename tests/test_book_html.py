"""The built book as its reader meets it: opened from disk, in a browser, with no network.

``SYNAUG_BOOK_HTML`` names a folder of built pages; without it the book is built here, at profile smoke.
"""

import os
import re
import subprocess
import sysconfig
from pathlib import Path
from urllib.parse import unquote, urlparse

import pytest
from axe_playwright_python.sync_playwright import Axe

from synaug.statistics.claims import load_claims

ROOT = Path(__file__).resolve().parents[1]
#: Contrast of text against its ground that WCAG 2.1 (1.4.3, level AA) asks for.
MINIMUM_CONTRAST = 4.5

# Relative luminance and contrast ratio of the text of each paragraph, heading, list item, table
# cell and caption against the nearest opaque ground behind it (WCAG 2.1); the ones below the minimum.
LOW_CONTRAST = """minimum => {
  const parts = colour => (colour.match(/[\\d.]+/g) || []).map(Number);
  const luminance = colour => parts(colour).slice(0, 3)
    .map(v => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = element => {
    for (; element; element = element.parentElement) {
      const colour = getComputedStyle(element).backgroundColor;
      if ((parts(colour)[3] ?? 1) === 1) return colour;
    }
    return "rgb(255, 255, 255)";
  };
  const poor = [];
  for (const element of document.querySelectorAll(
      "article :is(h1, h2, h3, p, li, dt, dd, th, td, figcaption, output, .synaug-slider span)")) {
    if (!element.innerText?.trim() || !element.checkVisibility()) continue;
    const [light, dark] = [luminance(getComputedStyle(element).color), luminance(ground(element))].sort((a, b) => b - a);
    const ratio = (light + 0.05) / (dark + 0.05);
    if (ratio < minimum) poor.push(ratio.toFixed(2) + " " + element.innerText.slice(0, 40));
  }
  return poor;
}"""


@pytest.fixture(scope="module")
def html(tmp_path_factory):
    if folder := os.environ.get("SYNAUG_BOOK_HTML"):
        built = Path(folder).resolve()
    else:
        output = tmp_path_factory.mktemp("book")
        command = Path(sysconfig.get_path("scripts")) / "jupyter-book"
        result = subprocess.run(
            [command, "build", "book", "--path-output", output],
            cwd=ROOT,
            # What keeps the tests' own figures off a screen would keep figures off the pages.
            env={name: value for name, value in os.environ.items() if name != "MPLBACKEND"} | {"SYNAUG_PROFILE": "smoke"},
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        assert result.returncode == 0, result.stdout[-4000:]
        built = output / "_build" / "html"
    assert (built / "index.html").is_file(), f"no built book in {built}"
    return built


class Visit:
    """One page, opened and settled, with the requests that leave the machine and the errors on the way."""

    def __init__(self, browser, address):
        self.remote, self.errors = [], []
        self.page = browser.new_page()
        self.page.route("**/*", self.refuse_remote)
        self.page.on("console", lambda message: self.errors.append(message.text) if message.type == "error" else None)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("requestfailed", lambda request: self.errors.append(f"failed: {request.url}"))
        self.page.goto(address, wait_until="load")
        self.page.add_style_tag(content="* { transition: none !important; }")  # colours are those of the theme at once
        if self.page.locator(".math").count():
            self.page.wait_for_function("window.MathJax?.startup?.promise !== undefined")
            self.page.evaluate("MathJax.startup.promise")

    def refuse_remote(self, route):
        if route.request.url.startswith(("file:", "data:", "blob:")):
            route.continue_()
        else:
            self.remote.append(route.request.url)
            route.abort()


@pytest.fixture(scope="module")
def visits(browser, html):
    """Every page of the book, by name, opened once for all tests of this module."""
    names = sorted(path.relative_to(html).as_posix() for path in html.rglob("*.html") if "_static" not in path.parts)
    return {name: Visit(browser, (html / name).as_uri()) for name in names}


@pytest.fixture
def pages(visits):
    """The open pages by name, on a wide screen and in light colours."""
    pages = {name: visit.page for name, visit in visits.items()}
    for page in pages.values():
        page.set_viewport_size({"width": 1280, "height": 800})
        page.emulate_media(color_scheme="light")
    return pages


def test_mathematics_is_rendered(pages):
    formulas = 0
    for name, page in pages.items():
        expected = page.locator(".math").count()
        formulas += expected
        assert page.locator(".math mjx-container svg").count() >= expected, name
        assert page.locator("mjx-merror, [data-mjx-error]").count() == 0, name
        # Code may show raw mathematics, running text may not.
        text = page.evaluate("""() => {
            const copy = document.querySelector("article")?.cloneNode(true);
            copy?.querySelectorAll("pre, code, script").forEach(element => element.remove());
            return copy?.textContent ?? "";
        }""")
        assert not re.search(r"\\\(|\\\[|\$\$", text), f"{name} shows raw mathematics"
    assert formulas > 0


def test_every_image_has_an_alternative_text(pages):
    describe = "images => images.map(image => [image.alt, image.complete && image.naturalWidth > 0])"
    found = 0
    for name, page in pages.items():
        for alternative, loaded in page.locator("article img").evaluate_all(describe):
            # docutils falls back on the file's name where none was written
            assert alternative.strip() and not re.search(r"\.(png|jpe?g|svg)$", alternative), f"{name}: {alternative!r}"
            assert loaded, f"{name}: {alternative}"
            found += 1
    assert found > 0


def test_tables_have_captions_scopes_and_few_rows(pages):
    """All claims are rows of one page, whose anchors must be open."""
    for name, page in pages.items():
        assert page.locator("article table:not(:has(caption))").count() == 0, name
        assert page.locator("article th:not([scope])").count() == 0, name
        longest = "tables => Math.max(0, ...tables.filter(one => !one.closest('details')).map(one => one.tBodies[0].rows.length))"
        tables = page.locator("article table:not(.synaug-claims)")
        assert tables.evaluate_all(longest) <= 12, name


def test_dropdowns_hold_more_than_code(pages):
    """But for parameters and set-up, which are there to be read."""
    found = 0
    for name, page in pages.items():
        alone = page.locator("details.hide").evaluate_all(
            """all => all.filter(one => !one.closest(".cell").querySelector(".cell_output")).map(one => one.querySelector("summary").innerText)"""
        )
        assert all(re.search("the (parameters|set-up)", title) for title in alone), f"{name}: {alone}"
        found += len(alone)
    assert found > 0


def test_figures_lead_to_their_full_size(pages, html):
    links = 0
    for name, page in pages.items():
        assert page.locator("article figure.align-default > img").count() == 0, name
        figures = "article :is(figure.align-default, figure.synaug-figure) > a:has(img)"
        for address in page.locator(figures).evaluate_all("all => all.map(a => a.href)"):
            assert Path(unquote(urlparse(address).path)).is_file(), address
            links += 1
    assert links > 20 and pages["index.html"].locator("figure.synaug-figure > a:has(img)").count() == 1


def test_no_number_is_missing(pages):
    for name, page in pages.items():
        text = page.evaluate("""() => {  // collapsed parts as well
            const copy = document.querySelector("article")?.cloneNode(true);
            copy?.querySelectorAll("pre, script, style").forEach(element => element.remove());
            copy?.querySelectorAll("td, th").forEach(cell => cell.append(" | "));
            return copy?.textContent ?? "";
        }""")
        if not name.startswith("reference/"):  # whose docstrings speak of NaN and of k - 1 images
            assert not re.search(r"\{glue|\bnan\b|\bNaN\b|Pending glue|Traceback", text), name
            assert not re.search(
                r"(?<!= )(?<![\d.,−])\b1 ([a-z]+ )?(classifier|comparison|image|level|mixture|moment|network|point|"
                r"row|sample|seed|size|source|step|table|task|thread)s\b",
                text,
            ), name
            assert not re.search(r"\d(e[-+]\d|\.\d+%)|\b(None|inf)\b(?! [a-z])", text), name
        shown = " ".join(page.locator(".cell_output").all_text_contents())
        assert not re.search(r"<[\w.]+ object\b|\b[A-Z]\w+\(\w+=", shown), f"{name} shows an object's repr"
        assert page.locator("article table:not(:has(tbody tr))").count() == 0, f"{name} has an empty table"
        assert all(number.strip() for number in page.locator(".pasted-text").all_inner_texts()), name
    front = pages["index.html"]
    assert front.locator("figure.synaug-figure img").count() == 1, "the figure of gains"
    assert front.locator("table.dataframe tbody tr").count() > 0, "whether to generate"
    assert len(front.locator("article").inner_text().split()) <= 500
    assert pages["claims.html"].locator("tr[id^=claim-]").count() == len(load_claims())


def test_links_lead_somewhere_and_anchors_are_unique(pages, html):
    found = {name: page.evaluate("[...document.querySelectorAll('[id]')].map(element => element.id)") for name, page in pages.items()}
    for name, page in pages.items():
        rows = page.evaluate("[...document.querySelectorAll('tr[id], figure[id]')].map(element => element.id)")
        assert len(rows) == len(set(rows)), f"{name}: {sorted({row for row in rows if rows.count(row) > 1})}"
        for address in map(urlparse, page.evaluate("[...document.querySelectorAll('a[href]')].map(link => link.href)")):
            if address.scheme == "file":
                target = Path(unquote(address.path))
                assert target.exists(), f"{name}: {target}"
                known = found.get(target.relative_to(html).as_posix(), [""]) if target.is_relative_to(html) else [""]
                assert unquote(address.fragment) in ["", *known], f"{name}: {target}#{address.fragment}"


def test_what_earlier_addresses_named_is_there(pages):
    kept = {
        "index.html": ["the-claims-so-far", "the-papers", "what-you-are-looking-at", "mode-concentration", "targeted-augmentation"],
        "notebooks/02_targeted_augmentation.html": ["in-a-training-loop-of-one-s-own"],
        "notebooks/04_where_concentration_comes_from.html": ["the-answer", "fig-clouds", "what-buys-accuracy-back"],
    }
    for name, anchors in kept.items():
        assert [anchor for anchor in anchors if pages[name].locator(f"#{anchor}").count() != 1] == [], name


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_ground(pages, scheme):
    for name, page in pages.items():
        page.emulate_media(color_scheme=scheme)
        page.wait_for_function("scheme => document.documentElement.dataset.theme === scheme", arg=scheme)
        assert page.evaluate(LOW_CONTRAST, MINIMUM_CONTRAST) == [], name


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(pages, scheme):
    for name, page in pages.items():
        page.emulate_media(color_scheme=scheme)
        page.wait_for_function("scheme => document.documentElement.dataset.theme === scheme", arg=scheme)
        # Its style sheets are on disk, from where it may not load them again.
        found = Axe().run(page, options={"resultTypes": ["violations"], "preload": False}).response["violations"]
        assert [(one["id"], one["nodes"][0]["html"]) for one in found if one["impact"] in ("serious", "critical")] == [], name


def test_sentences_are_short(pages):
    long = {}
    for name, page in pages.items():
        if name.startswith(("reference/", "bibliography", "search")):
            continue
        texts = page.evaluate("""() => {
            const copy = document.querySelector("article").cloneNode(true);
            copy.querySelectorAll("pre, script, style, table, div.math, details").forEach(element => element.remove());
            return [...copy.querySelectorAll("p, li, dd")].filter(element => !element.querySelector("p, li, dd"))
                .map(element => element.textContent);
        }""")
        texts = [re.sub(r"\[[−+\d., \xa0]+\]", "", " ".join(text.split())) for text in texts]  # intervals
        sentences = [sentence for text in texts for sentence in re.split(r"(?<=[.!?])\s+(?=[A-Z“\"(])", text)]
        lengths = {sentence: len(re.findall(r"\S*\w\S*", sentence)) for sentence in sentences}
        long |= {(name, sentence): words for sentence, words in lengths.items() if words > 35}
        assert sum(lengths.values()) <= 20 * len(lengths), name
    assert long == {}


def test_every_page_has_one_title_and_a_description(pages, html):
    titles = {name: page.title() for name, page in pages.items()}
    assert len(set(titles.values())) == len(titles) and titles["index.html"] == "Synthetic images as training data"
    for name, page in pages.items():
        assert page.locator("meta[name=description]").count() == 1, name
        assert len(page.locator("meta[name=description]").get_attribute("content")) > 3, name
    chapters = {name: re.match(r"(\d)\. ", title) for name, title in titles.items() if name.startswith("notebooks/")}
    assert {name: found and found[1] for name, found in chapters.items()} == {name: str(int(Path(name).name[:2])) for name in chapters}, (
        "chapters have the numbers of their files"
    )


def test_no_page_carries_what_it_does_not_use(pages, html):
    assert list(html.rglob("*.map")) == []
    assert (html / "_static" / "scripts" / "fontawesome.js").stat().st_size < 200_000
    drawn = [page.locator("svg.svg-inline--fa path").count() for page in pages.values()]
    assert min(drawn) > 0, "the theme's icons are drawn"
    assert all(page.locator("i[class*=fa-], .fa-missing").count() == 0 for page in pages.values())


def test_the_first_page_is_three_screens_of_a_phone(pages):
    """Without what leads to the next page. A phone of 390 x 844."""
    pages["index.html"].set_viewport_size({"width": 390, "height": 844})
    assert pages["index.html"].evaluate("document.querySelector('article.bd-article').getBoundingClientRect().bottom + scrollY") <= 3 * 844


def test_a_narrow_screen_needs_no_sideways_scroll(pages):
    for name, page in pages.items():
        page.set_viewport_size({"width": 390, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, name
        page.evaluate("document.querySelectorAll('article details').forEach(one => one.open = true)")
        right = "tables => tables.filter(one => one.getBoundingClientRect().right > 391).map(one => one.innerText.slice(0, 60))"
        assert page.locator("article table").evaluate_all(right) == [], name


def test_sliders_move_by_keys_and_by_mouse(pages):
    moved = 0
    for name, page in pages.items():
        for slider in page.locator(".synaug-slider").all():
            control, shown = slider.locator("input"), slider.locator("img:visible")
            last = int(control.get_attribute("max"))
            control.press("End")
            assert control.input_value() == str(last), name
            at_end = shown.get_attribute("alt")  # fails unless exactly one level is shown
            control.press("Home")
            assert control.input_value() == "0" and shown.get_attribute("alt") != at_end, name
            control.scroll_into_view_if_needed()
            box = control.bounding_box()
            page.mouse.click(box["x"] + box["width"] - 4, box["y"] + box["height"] / 2)
            assert shown.get_attribute("alt") == at_end, name
            assert slider.locator("output").inner_text() == control.get_attribute("aria-valuetext"), name
            moved += 1
    assert moved > 0, "the book has no slider"


def test_pages_need_no_network_and_report_no_error(visits):
    """Last: it also sees what the other tests' use of the pages asked for or broke."""
    for name, visit in visits.items():
        assert visit.remote == [], name
        assert visit.errors == [], name
