"""The slider as HTML and, in a real browser, as something a reader drags."""

import base64
import io
import re

import numpy as np
import pytest
import torch
from PIL import Image

from synaug.plots import slider as reconstruction_slider
from synaug.plots.images import GAP

LABELS = ["t_re = 0, σ = 0", "t_re = 50, σ = 2.40", "t_re = 100, σ = 80"]


def sweep(channels=1, count=7, levels=3, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (levels, count, channels, 6, 5), dtype=np.uint8)


def decoded(markup):
    sources = re.findall(r'src="data:image/png;base64,([^"]+)"', markup)
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(source)))) for source in sources]


@pytest.mark.parametrize("channels", [1, 3])
def test_every_level_holds_every_image_unchanged(channels):
    images = sweep(channels, count=14)
    grids = decoded(reconstruction_slider(images, LABELS, "Fourteen images").data)
    assert len(grids) == 3
    for level, grid in zip(images, grids):
        assert grid.shape == (2 * 6 + GAP, 10 * 5 + 9 * GAP, channels + 1)
        for i, image in enumerate(level):
            top, left = i // 10 * (6 + GAP), i % 10 * (5 + GAP)
            tile = grid[top : top + 6, left : left + 5]
            assert np.array_equal(tile[..., :channels].transpose(2, 0, 1), image)
            assert (tile[..., channels] == 255).all()
        assert (grid[..., channels] == 255).sum() == 14 * 6 * 5  # all else is transparent


def test_text_is_escaped_deterministic_and_free_of_ids():
    images = sweep()
    first = reconstruction_slider(images, ["a < b", "c", "d"], 'Bags & "boots"').data
    assert first == reconstruction_slider(torch.from_numpy(images), ["a < b", "c", "d"], 'Bags & "boots"').data
    assert first.count('alt="Bags &amp; &quot;boots&quot;: ') == 3
    assert "a &lt; b" in first and "a < b" not in first
    assert not re.search(r"\bid=", first) and "http" not in first


@pytest.mark.parametrize(
    "change, error, message",
    [
        ({"images": sweep().astype(np.float32)}, TypeError, "must be uint8, not float32"),
        ({"images": sweep()[0]}, ValueError, r"\[L, N, C, H, W\]"),
        ({"images": sweep(channels=2)}, ValueError, "C 1 or 3"),
        ({"images": sweep(levels=1), "level_labels": LABELS[:1]}, ValueError, "L >= 2"),
        ({"images": sweep(count=0)}, ValueError, r"not \[3, 0, 1, 6, 5\]"),
        ({"level_labels": LABELS[:2]}, ValueError, "3 levels need as many labels, not 2"),
        ({"level_labels": ["a", " ", "c"]}, ValueError, "every label must say something"),
        ({"description": ""}, ValueError, "must say something"),
    ],
)
def test_bad_input(change, error, message):
    arguments = {"images": sweep(), "level_labels": LABELS, "description": "Seven images"} | change
    with pytest.raises(error, match=message):
        reconstruction_slider(**arguments)


@pytest.fixture
def two_sliders(tmp_path):
    """A page on disk with two sliders, the second with the same images as the first."""
    markup = reconstruction_slider(sweep().repeat(10, -1).repeat(10, -2), LABELS, "Seven images").data
    page = tmp_path / "page.html"
    page.write_text(f'<!doctype html><meta charset="utf-8">{markup}{markup}', encoding="utf-8")
    return page.as_uri()


def shown(slider):
    """The alternative texts of the images that can be seen."""
    return [image.get_attribute("alt") for image in slider.locator("img").all() if image.is_visible()]


def test_keys_and_mouse_move_one_slider_and_not_the_other(browser, two_sliders):
    page = browser.new_page()
    page.goto(two_sliders)
    first, second = page.locator(".synaug-slider").all()
    control = first.get_by_role("slider", name="Seven images, from real to fully synthetic")
    expected = [f"Seven images: {label}" for label in LABELS]

    assert shown(first) == expected[:1]
    for key, level in [("ArrowRight", 1), ("End", 2), ("ArrowLeft", 1), ("Home", 0)]:
        control.press(key)
        assert shown(first) == [expected[level]]
        assert control.get_attribute("aria-valuetext") == LABELS[level] == first.locator("output").inner_text()

    box = control.bounding_box()
    middle = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + 8, middle)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2, middle, steps=5)
    assert shown(first) == [expected[1]]
    page.mouse.move(box["x"] + box["width"] - 4, middle, steps=5)
    page.mouse.up()
    assert shown(first) == [expected[2]]
    assert shown(second) == expected[:1]
    page.close()


def test_without_scripts_every_level_and_label_is_shown(browser, two_sliders):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(two_sliders)
    slider = page.locator(".synaug-slider").first
    assert len(shown(slider)) == 3
    assert [caption.inner_text() for caption in slider.locator("figcaption").all()] == LABELS
    assert not slider.locator("input").is_visible()
    context.close()
