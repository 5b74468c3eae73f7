"""The book's look: sizes, one colour per arm, names drawn as text, one legend below all panels."""

import re
import warnings
from collections.abc import Iterable, Mapping
from textwrap import fill

import matplotlib.pyplot as plt
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, fontManager, get_font

WIDTH = 7.0  # inches of a figure; with its margin a page shows it at 672 px, 1.4 % smaller
INK = "#707070"  # of text and axes: contrast 5.0 with white, 3.6 with the theme's dark ground
GAP = 6  # pixels between tick labels, at least
T_RE = "t\u1d63\u2091"
TYPESET = {"β_d": r"$\beta_d$", "S_noise": r"$S_\mathrm{noise}$"}  # symbols in names, which `plain` draws as mathematics
#: Okabe and Ito's colours, those that names without their own take first in front.
BLUE, ORANGE, GREEN, RED, PINK, BROWN, ROSE, GREY, YELLOW, SKY = sns.color_palette("colorblind").as_hex()
PALETTE = (BLUE, ORANGE, GREEN, RED, PINK, BROWN, SKY, ROSE, GREY, YELLOW)
#: What an arm, a reference or a kind of image looks like, in every figure: the first of these that stands in its name.
COLOURS = {
    "oracle's images": GREEN,
    "real images of the oracle": GREEN,
    "real of all": GREEN,
    "oracle": SKY,
    "TrivialAugment": RED,
    "diffusion model": BLUE,
    "VAE": BROWN,
    "GAN": RED,
    "sample": PINK,
    "samples": PINK,
    "fresh": GREEN,
    "fresh real": GREEN,
    "fresh real images": GREEN,
    "real test images": GREEN,
    "more real images": GREEN,
    "from noise": PINK,
    "synthetic images": PINK,
    "as trained": PINK,
    "last layer": GREY,
    "pool of fixed size": PINK,
    "in place of real images": BROWN,
    "from real images": BLUE,
    "σ = 80": PINK,
    "synthetic, resampled": PINK,
    "upsampled": ORANGE,
    "copies": ORANGE,
    "generated": BLUE,
    "reconstruction": BLUE,
    "reconstructions": BLUE,
    "reconstructed": BLUE,
    "trained network": BLUE,
    "original": GREY,
    "regularised": GREY,
    "real alone": GREY,
    "source": RED,
    "train": BROWN,
    "test": PINK,
    "held out": PINK,
    "Heun": BLUE,
    "Euler": ORANGE,
    "Ancestral": RED,
    "GD": GREY,
    "SAM, ρ = 0.02": RED,
    "SAM": SKY,
}
#: Fonts for scripts that the first lacks, where they are installed.
FONTS = (
    "DejaVu Sans",
    "Noto Sans",
    "Noto Sans CJK JP",
    "Noto Sans CJK SC",
    "Noto Sans Devanagari",
    "Noto Sans Thai",
    "Arial Unicode MS",
    "Hiragino Sans",
    "PingFang SC",
    "Apple SD Gothic Neo",
    "Microsoft YaHei",
    "Yu Gothic",
    "Malgun Gothic",
    "Nirmala UI",
    "Leelawadee UI",
    "WenQuanYi Zen Hei",
    "Droid Sans Fallback",
)
_without_glyphs = {}


def theme() -> None:
    """Set matplotlib to the book's look, for this process."""
    installed = {font.name for font in fontManager.ttflist}
    sns.set_theme(
        style="ticks",
        palette=PALETTE,
        rc={
            "font.family": [name for name in FONTS if name in installed],
            "font.size": 9.5,
            "axes.labelsize": 9.5,
            "axes.titlesize": 10,
            "xtick.labelsize": 9.5,
            "ytick.labelsize": 9.5,
            "legend.fontsize": 9.5,
            "legend.frameon": False,
            "figure.titlesize": 10,
            "figure.dpi": 144,
            "savefig.dpi": 144,
            "figure.facecolor": "none",
            "axes.facecolor": "none",
            "savefig.facecolor": "none",
            "legend.facecolor": "none",
            "text.color": INK,
            "axes.labelcolor": INK,
            "axes.edgecolor": INK,
            "xtick.color": INK,
            "ytick.color": INK,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "grid.color": INK,
            "grid.alpha": 0.25,
            "grid.linewidth": 0.6,
            "errorbar.capsize": 2.5,
        },
    )


def own_colour(*names: object) -> str | None:
    """The colour of what has several names, by the first of these in which one of `COLOURS` stands as words; None for none.
    A difference has that of what comes first in it."""
    firsts = (re.split(" over | minus ", str(name))[0] for name in names)
    found = (colour for name in firsts for words, colour in COLOURS.items() if re.search(rf"(?<![\w-]){re.escape(words)}(?!\w)", name, re.IGNORECASE))
    return next(found, None)


def colours(names: Iterable, distinct: bool = True, taken: Iterable = ()) -> dict:
    """A colour for each name, or of a mapping for each key, known by its own name or by its value's: `own_colour`, or one that
    is still free.

    distinct: of several names that would share a colour, the table's own comes first, and all others take free ones. Noise
    levels, "σ = 0.5", go in their order from the colour of images made from real ones towards that of images from noise.
    taken: colours that are not free.
    """
    texts = names if isinstance(names, Mapping) else {name: name for name in names}
    found = {name: own_colour(name, text) for name, text in texts.items()}
    seen = set()
    for name in sorted(found, key=lambda name: name not in COLOURS) if distinct else ():
        found[name] = None if found[name] in seen else found[name]
        seen.add(found[name])
    levels = [name for name, text in texts.items() if found[name] is None and str(text).startswith("σ = ")]
    found |= dict(zip(levels, sns.blend_palette([BLUE, PINK], len(levels) + 1).as_hex()))
    taken = {*found.values(), *taken}
    free = [colour for colour in PALETTE if colour not in taken] or PALETTE
    others = [name for name, colour in found.items() if colour is None]
    return found | {name: free[place % len(free)] for place, name in enumerate(others)}


def plain(name: object) -> str:
    """A name as text that matplotlib draws as it stands: "$" starts no mathematics, only `TYPESET` is; and what no font in
    use can draw is a number in brackets, which one warning explains."""

    def numbered(found):
        letters, families = found.group(), plt.rcParams["font.family"]
        fonts = [get_font(findfont(FontProperties(family=[family]))).get_charmap() for family in families]
        if all(any(ord(letter) in font for font in fonts) for letter in letters):
            return letters
        if letters not in _without_glyphs:
            _without_glyphs[letters] = f"[{len(_without_glyphs) + 1}]"
            warnings.warn(f"no font of {', '.join(families)} can draw {letters}: figures say {_without_glyphs[letters]}", stacklevel=3)
        return _without_glyphs[letters]

    text = re.sub(r"[^\x00-\x7f\s]+", numbered, str(name)).replace("$", r"\$")
    return re.sub(rf"\b({'|'.join(TYPESET)})\b", lambda found: TYPESET[found[0]], text)


def panels(n: int, height: float = 2.9) -> tuple[Figure, list[Axes]]:
    """A figure and its n axes, two to a row; height: inches of a row."""
    columns = min(n, 2)
    rows = -(-n // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(WIDTH, height * rows), squeeze=False, layout="constrained")
    for ax in axes.flat[n:]:
        ax.remove()
    return figure, list(axes.flat[:n])


def finish(figure: Figure, entries: Mapping = {}) -> Figure:
    """The figure with a legend of entries, {name: handle}, below its panels, and without tick labels over others."""
    names = [fill(plain(name), 90) for name in entries]
    for columns in range(min(len(entries), 4), 0, -1):
        legend = figure.legend(entries.values(), names, loc="outside lower center", ncols=columns)
        if columns == 1 or legend.get_window_extent().width <= figure.bbox.width:
            break
        legend.remove()
    if entries:  # the panels keep their size
        figure.set_figheight(figure.get_figheight() + legend.get_window_extent().height / figure.dpi)
    figure.draw_without_rendering()
    for ax in figure.axes:
        for axis, side in ((ax.xaxis, "x"), (ax.yaxis, "y")):
            thin_labels(axis, side)
    return figure


def thin_labels(axis: Axis, side: str) -> None:
    """Blank tick labels that would touch their neighbour; the first and the last stay. Slanted ones all stay, of which
    only the boxes touch."""
    low, high = sorted(axis.get_view_interval())
    ticks = [(at, label) for at, label in zip(axis.get_ticklocs(), axis.get_ticklabels()) if low <= at <= high and label.get_text() and label.get_visible()]
    if any(label.get_rotation() for _, label in ticks):
        return
    boxes = [sorted(getattr(label.get_window_extent(), f"interval{side}")) for _, label in ticks]
    order = sorted(range(len(ticks)), key=lambda i: boxes[i][0])
    kept = order[:1]
    for i in order[1:]:
        if i == order[-1]:
            while len(kept) > 1 and boxes[kept[-1]][1] + GAP > boxes[i][0]:
                kept.pop()
        if boxes[kept[-1]][1] + GAP <= boxes[i][0]:
            kept.append(i)
    if len(kept) < len(ticks):
        axis.set_ticks([at for at, _ in ticks], [label.get_text() if i in kept else "" for i, (_, label) in enumerate(ticks)])
