"""What is drawn is what was given, as text that can be read, at the page's width."""

import base64
import io
import re
import warnings

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from synaug.chapters import findings
from synaug.chapters import how_much_and_how_mixed_figures as ch5
from synaug.chapters import targeted_augmentation_figures as ch2
from synaug.chapters import targeted_draws_figures as draws
from synaug.chapters.other_generators import other_generators_figures as ch7
from synaug.chapters.what_is_left_out import left_out_figures as ch6
from synaug.chapters.what_is_left_out.rare_events import TREATMENTS
from synaug.chapters.will_it_help_me import POOLS
from synaug.plots import COLOURS, INK, WIDTH, Panel, colours, figure_html, forest, image_grid, lines, montage, plain, scatter, table_html, theme
from synaug.plots.style import ORANGE, own_colour

NAMES = ["from $5_to_$10", r"a\$b $", "snow_{man} ^", "x" * 40]


@pytest.fixture(autouse=True)
def look():
    with plt.rc_context():
        theme()
        yield


@pytest.fixture
def frame():
    """Two arms, three levels, five seeds; the arm's and the level's own value and a spread over seeds."""
    return pd.DataFrame(
        [
            {"arm": arm, "x": x, "sigma": x / 10, "seed": seed, "metric": metric, "formula": 0, "value": base + x / 100 + seed / 10}
            for arm, base in (("upsampled", 1), ("generated", 2))
            for x in (0, 50, 100)
            for seed in range(5)
            for metric in ("error", "loss")
        ]
    )


def texts(figure):
    return [text.get_text() for text in figure.findobj(Text) if text.get_visible() and text.get_text().strip()]


def legend(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def points(ax, colour):
    """(x, y) of what is drawn in a colour with markers."""
    return [np.asarray(line.get_xydata(), float) for line in ax.lines if line.get_color() == colour and line.get_marker() != "None"]


def test_lines_show_means_of_both_runs_in_each_arms_colour(frame):
    live = frame[(frame["x"] < 100) & (frame["seed"] == 0)]
    figure = lines(
        live, frame, [Panel("error", "error (%)", scale=100), Panel("loss", "loss", {"arm": "generated"})], hue="arm", xlabel="k", xticks=[0, 50, 100]
    )
    left, right = figure.axes
    recorded, built = points(left, COLOURS["generated"])
    np.testing.assert_allclose(recorded, [[0, 220], [50, 270], [100, 320]])
    np.testing.assert_allclose(built, [[0, 200], [50, 250]])
    assert legend(figure) == ["upsampled", "generated", "recorded", "this build"]
    assert not points(right, COLOURS["upsampled"]) and right.get_xlabel() == "k"
    assert figure.get_figwidth() == WIDTH
    alone = lines(None, frame, [Panel("error", "", {"arm": "upsampled"})], hue="arm")
    assert legend(alone) == ["upsampled"]


def test_published_points_and_named_lines_stand_in_the_legend(frame):
    published = pd.DataFrame({"x": [0, 100], "value": [1.0, 2.0], "spread": [0.1, 0.1]})
    panel = Panel("error", "", published={"published, generated": published}, formula="loss", line={"the most": 3.5}, upright=2.0)
    figure = lines(frame, None, [panel], x="sigma", hue="arm")
    assert legend(figure) == ["upsampled", "generated", "this build", "published, generated", "formula", "the most"]
    squares = [line for line in figure.axes[0].lines if line.get_marker() == "s"]
    assert squares[0].get_color() == COLOURS["generated"] and squares[0].get_xdata()[1] == pytest.approx(80)


def test_what_was_not_measured_is_an_empty_panel(frame):
    figure = lines(frame, None, [Panel("absent", "nothing")], x="sigma", hue="arm")
    assert not figure.legends and len(figure.axes[0].lines) == 0
    figure = lines(frame, None, [Panel("error", "", xscale={"value": "symlog", "linthresh": 5})], joined=False)
    assert figure.axes[0].get_xscale() == "symlog" and figure.axes[0].lines[0].get_linestyle() == "None"


@pytest.mark.parametrize("shape", ["forest", "grid", "lines", "scatter"])
def test_names_are_drawn_as_text(frame, shape):
    rows = pd.DataFrame({"label": NAMES, "estimate": 1.0, "low": 0.0, "high": 2.0, "x": 0, "metric": "m", "value": 1.0})
    figure = {
        "forest": lambda: forest(rows, panel="metric", hue="label", xlabel="gain"),
        "grid": lambda: image_grid(np.zeros((4, 4, 1, 5, 5), np.uint8), NAMES, NAMES),
        "lines": lambda: lines(rows, None, [Panel("m", "", title=NAMES[0])], hue="label"),
        "scatter": lambda: scatter(rows, x="x", y="value", hue="label", panel="label"),
    }[shape]()
    figure.savefig(io.BytesIO())
    drawn = [text._preprocess_math(text.get_text()) for text in figure.findobj(Text)]
    joined = {text.replace("\n", " ") for text, mathematics in drawn if not mathematics}
    assert set(NAMES[:3]) <= joined and not any(mathematics for text, mathematics in drawn)


def test_letters_without_a_glyph_are_numbered_and_said_once():
    with pytest.warns(UserWarning, match=r"\U0001FAE8.*figures say \[\d+\]"):
        first = plain("a \U0001fae8 b")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert plain("a \U0001fae8 b") == first and re.fullmatch(r"a \[\d+\] b", first)
        assert plain("Straße, Ünï, Ωμέγα") == "Straße, Ünï, Ωμέγα"
        assert plain("$β_d = 1, β_dim") == r"\$$\beta_d$ = 1, β_dim"
        image_grid(np.zeros((1, 1, 1, 5, 5), np.uint8), ["a \U0001fae8 b"]).savefig(io.BytesIO())


@pytest.mark.parametrize("rows, columns", [(1, 2), (3, 8)])
@pytest.mark.parametrize("name", ["T-shirt/top", "a" * 255, ("word " * 60).strip()])
def test_names_as_long_as_folders_can_have_leave_images_their_room(name, rows, columns):
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a layout that collapses is a warning
        figure = image_grid(np.zeros((rows, columns, 1, 5, 5), np.uint8), [name] * rows, [name] * columns)
        figure.savefig(io.BytesIO())
    (ax,) = figure.axes
    assert ax.get_window_extent().width / figure.dpi > 0.3 * columns
    assert [len(label.get_text()) > 9 for axis in (ax.xaxis, ax.yaxis) for label in axis.get_ticklabels()] == [True] * (rows + columns)


@pytest.mark.parametrize("count", [3, 101])
def test_no_tick_label_lies_over_another_and_none_is_small(count):
    at = np.arange(count) * 100 / (count - 1)
    rows = pd.DataFrame({"x": at, "sigma": 80 * (at / 100) ** 5, "value": at, "metric": "m", "arm": "generated"})
    figure = lines(rows, rows, [Panel("m", "m")] * 2, x="sigma", hue="arm")
    figure.draw_without_rendering()
    for ax in figure.axes:
        boxes = sorted((label.get_window_extent() for label in ax.get_xticklabels() if label.get_text()), key=lambda box: box.x0)
        assert all(left.x1 < right.x0 for left, right in zip(boxes, boxes[1:])) and len(boxes) >= 3
    assert min(text.get_fontsize() for text in figure.findobj(Text) if text.get_text()) >= 9


def test_forest_places_every_estimate_in_its_row_and_panel():
    rows = pd.DataFrame(
        [
            {"arm": arm, "set": name, "kind": kind, "estimate": value, "low": value - 1, "high": value + 1}
            for name in ("A", "B")
            for arm, kind, value in (("upsampled", "old", 0.5), ("generated", "new", 2), ("fresh", "new", np.nan))
        ]
    )
    figure = forest(rows, label="arm", group="kind", panel="set", hue="arm", xlabel="gain", scale=10)
    for ax in figure.axes:
        assert points(ax, COLOURS["upsampled"])[0].tolist() == [[5, 1]]
        assert points(ax, COLOURS["generated"])[0].tolist() == [[20, 3]]
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["upsampled", "generated", "old", "new"]
    assert [ax.get_title() for ax in figure.axes] == ["A", "B"] and legend(figure) == ["interval holds 0"]
    hollow = {line.get_color(): line.get_markerfacecolor() for line in figure.axes[0].lines if line.get_marker() == "o"}
    assert hollow[COLOURS["upsampled"]] == "none" and hollow[COLOURS["generated"]] == COLOURS["generated"]
    figure = forest(rows, label="arm", panel="set", hue="kind", zero={"A": 0.5, "B": 2.0})
    assert "interval holds the line" in legend(figure) and not {"interval holds 0.5", "interval holds 2"} & set(legend(figure))


@pytest.mark.parametrize("channels", [1, 3])
def test_montage_holds_images_maps_and_gaps(channels):
    images = np.random.default_rng(0).integers(0, 256, (2, 3, channels, 4, 5), dtype=np.uint8)
    picture = montage([images[0], None, images[1]], [[None, np.zeros((4, 5)), None], None, [None] * 3])
    assert picture.shape == (3 * 4 + 4, 3 * 5 + 4, 4) and not picture[6:10].any()
    assert np.array_equal(picture[12:, 7:12, :channels], images[1, 1].transpose(1, 2, 0))
    assert np.abs(picture[:4, 7:12, 0] - 0.4 * images[0, 1, 0]).max() <= 1.5  # inferno begins at black


@pytest.mark.parametrize("dtype", [np.float32, np.int64, bool])
def test_images_that_are_not_bytes_are_refused(dtype):
    """Floats in [0, 1] would be black."""
    fine, odd = np.zeros((2, 1, 4, 5), np.uint8), np.zeros((2, 1, 4, 5), dtype)
    for draw in (montage, image_grid, lambda rows: image_grid({"a": [fine], "b": rows})):
        with pytest.raises(TypeError, match=f"images must be uint8, not {np.dtype(dtype)}"):
            draw([fine, None, odd])
    with pytest.raises(TypeError, match="not float32"):
        montage([torch.zeros(2, 1, 4, 5)])


def test_colours_are_an_arms_own_or_free():
    names = ["generated, all", "generated", "one", "two", "fresh, all"]
    found, alike = colours(names, taken=[ORANGE]), colours(names, distinct=False)
    assert found["generated"] == COLOURS["generated"] and found["fresh, all"] == COLOURS["fresh"]
    assert len({*found.values(), ORANGE}) == 6 and alike["generated"] == alike["generated, all"] == COLOURS["generated"]
    levels = list(colours({0.5: "σ = 0.5", 2.0: "σ = 2", 80.0: "σ = 80"}).values())
    assert [levels[0], levels[2]] == [COLOURS["generated"], COLOURS["from noise"]] and levels[1] not in COLOURS.values()


#: What rows of forests are, and what is written beside them, in all chapters.
TEXTS = [
    *(item for texts in (ch2.ARMS, ch2.SELECTIONS, ch2.BASELINES, ch5.ARMS, ch6.ARMS, ch7.FROM_NOISE, ch7.SOURCES, findings.ARMS) for item in texts.items()),
    *((arm, text) for (arm, _), text in ch2.ABLATIONS.items()),
    *((text, text) for text in (*POOLS, *TREATMENTS, *draws.NAMES.values(), "fresh, k = 5", "Ancestral", "SAM, ρ = 0.02")),
]


@pytest.mark.parametrize("value, text", TEXTS)
def test_an_arm_has_one_colour_in_lines_and_in_forests_by_whatever_it_is_called(frame, value, text):
    rows = pd.DataFrame({"arm": [value], "estimate": 2.0, "low": 1.0, "high": 3.0})
    row = forest(rows, label="arm", names={value: text}).axes[0].lines[0].get_color()
    (ax,) = lines(frame.assign(arm=value), None, [Panel("error", "")], hue="arm", names={value: text}).axes
    assert ax.lines[0].get_color() == row
    assert own_colour(text) in (None, row)  # an arm's text alone never says another


def test_arms_are_told_apart():
    def of(*names):
        return [own_colour(name) for name in names]

    assert of("more real images", "fresh, blurred", "fresh real, resampled to the synthetic density", "real test images") == [COLOURS["fresh"]] * 4
    assert of("generated, from noise", "samples from noise", "synthetic images added") == [COLOURS["from noise"]] * 3
    assert of("from noise, oracle generator", "images from the oracle's noise") == [COLOURS["oracle"]] * 2
    assert of("copies, k = 2, over k = 5", "upsampled, few") == [COLOURS["copies"]] * 2
    assert of("generated, k = 5, over copies, k = 2", "reconstructed", "from real images over from noise") == [COLOURS["generated"]] * 3
    assert of("near-copies dropped", "Two-sample AUC", "test_error") == [None] * 3
    for others in (("Ancestral", "Euler", "Heun", "fresh"), ("SAM, ρ = 0.02", "SAM, ρ = 0.002", "GD", "generated")):
        assert len(set(of(*others))) == 4
    assert len({*of("original", "generated", "copies", "fresh", "from noise", "oracle", "TrivialAugment")}) == 7


def test_text_and_colours_read_on_white_and_on_the_dark_ground():
    def luminance(colour):
        channels = np.array(plt.matplotlib.colors.to_rgb(colour))
        return np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4) @ (0.2126, 0.7152, 0.0722) + 0.05

    assert luminance("white") / luminance(INK) > 4.5 and luminance(INK) / luminance("#14181e") > 3.5
    for colour in set(COLOURS.values()):
        assert luminance("white") / luminance(colour) > 2 and luminance(colour) / luminance("#14181e") > 3


def line(values):
    figure = Figure(figsize=(2, 1))
    figure.subplots().plot(values)
    return figure


def test_figure_keeps_its_pixels_and_its_text():
    markup = figure_html(line([1, 2]), "a <rising> line", "From 1 & up").data
    assert 'alt="a &lt;rising&gt; line"' in markup and "<figcaption>From 1 &amp; up</figcaption>" in markup
    source = re.search(r'base64,([^"]+)"', markup).group(1)
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(source))))
    assert pixels[0, 0, 3] == 0 and (pixels[..., 3] == 255).any()  # a transparent ground
    assert abs(pixels.shape[1] - 288) < 58  # 2 inches at 144 dots per inch, cut to the drawing


def test_figure_is_deterministic_and_depends_on_what_is_drawn():
    assert figure_html(line([1, 2]), "line").data == figure_html(line([1, 2]), "line").data
    assert figure_html(line([1, 2]), "line").data != figure_html(line([2, 1]), "line").data


@pytest.mark.parametrize("alternative", ["", " "])
def test_figure_without_alternative_text_is_refused(alternative):
    with pytest.raises(ValueError, match="alternative text"):
        figure_html(line([1, 2]), alternative)


def test_table_is_whole_escaped_and_can_be_read_aloud():
    claim = ", ".join(["precision < recall"] * 20)
    frame = pd.DataFrame({"claim": [claim, "b"], "n": [12000, 3], "gain": [-0.123456, np.nan], "p": [None, 1e-9]})
    markup = table_html(frame, "Claims & gains").data
    assert claim.replace("<", "&lt;") in markup and "<caption>Claims &amp; gains</caption>" in markup
    assert markup.startswith('<table class="dataframe synaug-cards">') and markup.count('<th scope="col">') == 4 and markup.count('<th scope="row">') == 2
    assert re.findall("<td data-label=.*?>(.*?)</td>", markup) == ["12,000", "\u22120.123", "", "3", "", "1 × 10<sup>\u22129</sup>"]
    assert re.findall('<tr id="(.*?)">', markup) == ["claims-gains-1", "claims-gains-2"]
    texts = pd.DataFrame({"": ["t_re = 3"], "said": ["-1 [-2, 3e+05], ResNet-8 of 2-3"]})
    markup = table_html(texts).data
    assert markup.startswith('<table class="dataframe">\n<thead><tr><td></td><th scope="col">said</th>')
    assert (
        't<sub>re</sub> = 3</th><td data-label="said">\u22121 <span class="synaug-limits">[\u22122, 3 × 10<sup>5</sup>]</span>, ResNet-8 of 2-3</td>' in markup
    )
