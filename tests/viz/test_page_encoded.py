"""The layer of the page that marks what the vision tower encoded, in a browser."""

import re
from base64 import b64decode
from dataclasses import replace

import numpy as np
import pytest

from sharpv.errors import InputError
from sharpv.report import ReuseAudit, ReuseReport
from sharpv.viz.page import page
from tests.viz.inspections import CELL, inspection

GRID = (4, 5)
FULL = 3
TOO_MUCH = "too much changed"


def marked(n: int = 6, grid: tuple[int, int] = (8, 15), **fields) -> ReuseReport:
    """Random patches: all of the first frame and of frame 3, none of the last."""
    computed = np.random.default_rng(1).random((n, grid[0] * grid[1])) < 0.3
    computed[0] = computed[FULL : FULL + 1] = True
    computed[-1] = False
    return ReuseReport(
        computed=tuple(map(tuple, computed.tolist())), grid=grid, plan_milliseconds=12.4, **fields
    )


def canvas_pixels(tab, number: int = 0) -> np.ndarray:
    """Draws the frame, and reads a canvas back, as `[h, w, 3]`."""
    flat, width = tab.evaluate(
        """async (number) => {
          await drawViews();
          const canvas = document.querySelectorAll("canvas")[number];
          const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
          return [btoa(Array.from(data, (byte) => String.fromCharCode(byte)).join("")), canvas.width];
        }""",
        number,
    )
    return np.frombuffer(b64decode(flat), np.uint8).reshape(-1, width, 4)[..., :3].astype(int)


def marks(tab, frame: np.ndarray, grid, window=(0.0, 0.0, 1.0, 1.0), number: int = 0) -> list[bool]:
    """Which cells of a grid a canvas shows in the colours of the frame; the others must be pale and grey.

    A cell is looked at in its middle. What the canvas does not show as frame is left out.
    """
    shown = canvas_pixels(tab, number)
    scale = 8
    top, left, bottom, right = window
    height, width = frame.shape[:2]
    found = []
    for row in range(grid[0]):
        for column in range(grid[1]):
            y = (top + (bottom - top) * (row + 0.5) / grid[0]) * height
            x = (left + (right - left) * (column + 0.5) / grid[1]) * width
            assert 0 <= y < height
            assert 0 <= x < width
            pixel = shown[
                int((y - min(0, top) * height) * scale), int((x - min(0, left) * width) * scale)
            ].tolist()
            own = frame[int(y), int(x)].tolist()
            if pixel != own:
                assert max(pixel) - min(pixel) <= 2, (row, column)
                assert min(pixel) > 150
            found.append(pixel == own)
    return found


def text(tab, selector: str) -> str:
    return tab.inner_text(selector).replace("\N{NO-BREAK SPACE}", " ")


@pytest.mark.parametrize("methods", [("sharpv",), ("sharpv", "uniform"), ("uniform",)])
def test_the_marks_of_each_frame_are_those_of_the_report(open_page, methods):
    """The grid of patches is not that of the tokens."""
    it = inspection(reuse=marked(), methods=methods)
    tab = open_page(page(it))
    tab.check("[value=encoded]")
    for t in range(6):
        tab.locator("#frame").fill(str(t + 1))
        for number in range(tab.locator("canvas").count()):
            found = marks(tab, it.frames[t], (8, 15), number=number)
            assert found == list(it.runs[0].video.reuse.computed[t])


def test_marks_of_frames_that_are_one_to_the_model(open_page):
    it = inspection(n=3, source_frames=2, last_holds=1, reuse=marked(3, (3, 4)))
    tab = open_page(page(it))
    tab.check("[value=encoded]")
    for frame, t in enumerate([0, 0, 1, 1, 2]):
        tab.locator("#frame").fill(str(frame + 1))
        assert marks(tab, it.frames[frame], (3, 4)) == list(it.runs[0].video.reuse.computed[t])


def test_marks_beside_what_no_token_sees(open_page):
    # The window leaves out the first row of squares and the last column.
    window = (0.25, 0.0, 1.0, 0.8)
    it = inspection(window=window, reuse=marked(grid=(6, 7)))
    tab = open_page(page(it))
    tab.check("[value=encoded]")
    tab.locator("#frame").fill("2")
    assert marks(tab, it.frames[1], (6, 7), window) == list(it.runs[0].video.reuse.computed[1])
    assert "hatched: no token sees it" in tab.inner_text("#encoded-legend")
    assert np.ptp(canvas_pixels(tab)[: 8 * CELL - 4], axis=-1).max() <= 2


def test_marks_of_patches_on_padding(open_page):
    """A third of the rows of patches lies above the frame."""
    it = inspection(window=(-0.5, 0.0, 1.0, 1.0), reuse=marked(grid=(6, 5)))
    tab = open_page(page(it))
    tab.check("[value=encoded]")
    tab.locator("#frame").fill("2")
    shown, frame = canvas_pixels(tab), it.frames[1]
    assert len(shown) == 1.5 * 8 * len(frame)
    lower = marks_below(shown, frame)
    assert lower == list(it.runs[0].video.reuse.computed[1][2 * 5 :])
    assert "padding that the model sees" in tab.inner_text("#encoded-legend")


def marks_below(shown: np.ndarray, frame: np.ndarray) -> list[bool]:
    """The last four of six rows of patches, which are those of the frame."""
    edge = 8 * CELL
    middles = [
        (2 * edge + (row + 0.5) * edge, (column + 0.5) * edge) for row in range(4) for column in range(5)
    ]
    return [
        shown[int(y), int(x)].tolist() == frame[int(y - 2 * edge) // 8, int(x) // 8].tolist()
        for y, x in middles
    ]


def test_every_number_is_told_in_words_bars_and_the_table(open_page):
    it = inspection(reuse=marked(), methods=("sharpv", "uniform"))
    reuse = it.runs[0].video.reuse
    counts = [sum(frame) for frame in reuse.computed]
    tab = open_page(page(it))
    assert text(tab, "#tower") == (
        f"{sum(counts)} of 720 patches encoded ({sum(counts) / 720:.0%}), 2 frames in full, plan in 12 ms"
    ).replace("%", " %")
    assert f"Patches encoded 720 → to {sum(counts)} " in " ".join(text(tab, ".figures").split())
    for t, now in enumerate(counts):
        words = f"{now} of 120 patches encoded ({now / 120:.1%})".replace("%", " %")
        words = "all 120 patches encoded" if now == 120 else words
        tab.locator("#frame").fill(str(t + 1))
        assert f" · {words}" in text(tab, "#caption")
        assert words in tab.get_attribute("#bars", "aria-valuetext").replace("\N{NO-BREAK SPACE}", " ")
    assert counts[FULL] == 120
    rows = tab.locator("#bars g", has_text="patches encoded of 120").locator("rect")
    heights = np.array(rows.evaluate_all("all => all.map((bar) => Number(bar.getAttribute('height')))"))
    assert heights == pytest.approx(np.array(counts) * 64 / 120)
    tab.click("#frame-table summary")
    assert tab.locator("#frame-table thead").inner_text().split("\t")[4] == "Patches encoded"
    assert tab.locator("#frame-table [data-encoded]").all_text_contents() == list(map(str, counts))
    assert "all patches encoded" in tab.locator(".answers figcaption").first.inner_text()


def test_the_layer_is_one_of_the_radio_buttons(open_page):
    """By keys as by mouse; the legend and the name of the picture follow."""
    tab = open_page(page(inspection(reuse=marked())))
    assert "what sharpv keeps" in tab.get_attribute("canvas", "aria-label")
    assert not tab.is_visible("#encoded-legend")
    tab.focus("[value=spatial]")
    tab.keyboard.press("ArrowRight")
    assert tab.is_checked("[value=encoded]")
    assert tab.is_visible("#encoded-legend")
    assert not tab.is_visible("#kept-legend")
    assert not tab.is_visible("#heat-legend")
    canvas_pixels(tab)
    assert "patches that were encoded" in tab.get_attribute("canvas", "aria-label")
    tab.keyboard.press("ArrowRight")
    assert tab.is_checked("[value=picture]")
    assert not tab.is_visible("#encoded-legend")
    canvas_pixels(tab)
    assert "what sharpv keeps" in tab.get_attribute("canvas", "aria-label")


def test_another_setting_of_the_knobs_leaves_the_marks(open_page):
    it = inspection(reuse=marked())
    tab = open_page(page(it))
    tab.check("[value=encoded]")
    tab.locator("#frame").fill("2")
    tab.fill("#retention", "1")
    assert "Keeps 120 of 120" in tab.inner_text("#choice")
    assert marks(tab, it.frames[1], (8, 15)) == list(it.runs[0].video.reuse.computed[1])


def test_an_audit_is_told(open_page):
    audit = ReuseAudit(frames=1, cosine_mean=0.99, cosine_p5=0.98, temporal_error=0.01)
    tab = open_page(page(inspection(reuse=marked(audit=audit))))
    assert text(tab, "#tower").endswith("; audit of 1 frame: cosine 0.990, 5th percentile 0.980")


@pytest.mark.parametrize("planned", [True, False])
def test_a_fall_back_says_why(open_page, planned):
    reuse = ReuseReport(computed=(), grid=None, plan_milliseconds=0.0, fallback=TOO_MUCH)
    if planned:
        reuse = replace(reuse, computed=((True,) * 20,) * 6, grid=GRID)
    it = inspection(reuse=reuse)
    tab = open_page(page(it))
    assert text(tab, "#tower") == f"all patches encoded: {TOO_MUCH}"
    assert tab.locator("[value=encoded]").count() == planned
    assert ("patches encoded" in text(tab, "#caption")) == planned
    assert ("Patches encoded" in tab.inner_text(".figures")) == planned
    if planned:
        tab.check("[value=encoded]")
        assert marks(tab, it.frames[0], GRID) == [True] * 20


def test_without_a_known_place_the_numbers_are_there_alone(open_page):
    tab = open_page(page(inspection(reuse=marked(), placed=False)))
    assert tab.locator("[value=encoded]").count() == 0
    assert "all 120 patches encoded" in tab.inner_text("#caption")


def test_without_reuse_the_markup_has_nothing_of_it():
    html = re.sub(
        r"<(style|script)>.*?</\1>", "", page(inspection(methods=("sharpv", "uniform"))), flags=re.S
    )
    assert "encoded" not in html
    assert "tower" not in html.replace("vision_reuse", "")


def test_nothing_is_wider_than_the_window(open_page):
    """At its widest: a long reason, and several methods."""
    reasons = [None, "no known normalisation makes levels of 0..255 of the pixels " * 3]
    for reason in reasons:
        reuse = marked(grid=(27, 27), fallback=reason)
        tab = open_page(page(inspection(reuse=reuse, methods=("sharpv", "vidcom2", "random"))))
        tab.eval_on_selector_all("details", "all => all.forEach((one) => (one.open = true))")
        tab.check("[value=encoded]")
        for width in (400, 1400):
            tab.set_viewport_size({"width": width, "height": 900})
            tab.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
            assert tab.evaluate("document.documentElement.scrollWidth") == width


@pytest.mark.parametrize("reuse", [marked(5), replace(marked(), grid=(9, 15))])
def test_marks_of_another_clip_are_refused(reuse):
    with pytest.raises(InputError, match=r"the model read 6 of (120|135) patches: give a mark for each"):
        page(inspection(reuse=reuse))
