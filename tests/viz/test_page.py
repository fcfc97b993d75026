"""The page of an inspection in a browser: frames, maps, play, charts, and that it holds together."""

import re
from dataclasses import replace

import numpy as np
import pytest
from playwright.sync_api import expect

from sharpv.config import SharpVConfig
from sharpv.errors import InputError
from sharpv.viz.inspection import Run
from sharpv.viz.page import page, write_page
from tests.viz.inspections import CELL, inspection, mask_of

SEVERAL = ("sharpv", "uniform", "evs")
CAPTION = re.compile(r"Frame (\d+) of (\d+) · ([\d.]+) s")


def frame_shown(tab) -> int:
    return int(CAPTION.match(tab.inner_text("#caption"))[1])


def pixel(tab, x: int, y: int, canvas: int = 0) -> list[int]:
    """Draws the frame, and reads a pixel of a canvas back."""
    return tab.evaluate(
        """async ([x, y, i]) => {
          await drawViews();
          const context = document.querySelectorAll("canvas")[i].getContext("2d");
          return Array.from(context.getImageData(x, y, 1, 1).data.slice(0, 3));
        }""",
        [x, y, canvas],
    )


def centre(it, token: int) -> tuple[int, int]:
    """Returns the centre of a cell of frames that are drawn eight times as large."""
    columns = it.runs[0].video.grid[1]
    return (8 * CELL * (token % columns) + 4 * CELL, 8 * CELL * (token // columns) + 4 * CELL)


def colour(it, frame: int, token: int) -> list[int]:
    columns = it.runs[0].video.grid[1]
    return it.frames[frame, CELL * (token // columns), CELL * (token % columns)].tolist()


def test_the_caption_tells_frame_time_ratio_and_tokens(open_page):
    it = inspection()
    tab = open_page(page(it))
    for t in range(6):
        kept = sum(it.runs[0].kept[t])
        text = tab.inner_text("#caption").replace("\N{NO-BREAK SPACE}", " ")
        expected = f"Frame {t + 1} of 6 · {t / 4:.2f} s · r = {it.scores.ratios[t]:.3f}"
        assert text.startswith(f"{expected} · kept {kept} of 20 ({kept / 20:.1%}".replace("%", " %"))
        tab.keyboard.press("ArrowRight")


def test_the_slider_goes_through_the_frames_by_mouse_and_by_keys(open_page):
    tab = open_page(page(inspection()))
    tab.locator("#frame").scroll_into_view_if_needed()
    box = tab.locator("#frame").bounding_box()
    y = box["y"] + box["height"] / 2
    tab.mouse.move(box["x"] + 8, y)
    tab.mouse.down()
    seen = []
    for share in (0.2, 0.6, 1.0):
        tab.mouse.move(box["x"] + share * (box["width"] - 1), y)
        seen.append(frame_shown(tab))
    tab.mouse.up()
    assert seen == [2, 4, 6]
    for key, frame in {"Home": 1, "ArrowRight": 2, "ArrowLeft": 1, "End": 6}.items():
        tab.keyboard.press(key)
        assert frame_shown(tab) == frame


def test_arrow_keys_and_buttons_step_and_stay_within_the_clip(open_page):
    tab = open_page(page(inspection(n=2)))
    for key, frame in [("ArrowLeft", 1), ("ArrowRight", 2), ("ArrowRight", 2)]:
        tab.keyboard.press(key)
        assert frame_shown(tab) == frame
    tab.click("text='‹'")
    assert frame_shown(tab) == 1
    tab.click("text='›'")
    assert frame_shown(tab) == 2
    # In a field of the form, arrows are the field's.
    tab.focus("#spatial_weight")
    tab.keyboard.press("ArrowLeft")
    assert frame_shown(tab) == 2


def test_play_runs_to_the_end_pauses_and_starts_again(open_page):
    tab = open_page(page(inspection(n=3)))
    tab.click("#play")
    assert tab.inner_text("#play") == "Pause"
    assert tab.get_attribute("#caption", "aria-live") == "off"
    expect(tab.locator("#caption")).to_contain_text("Frame 3 of 3")
    expect(tab.locator("#play")).to_have_text("Play")
    assert tab.get_attribute("#caption", "aria-live") == "polite"
    tab.click("#play")
    assert frame_shown(tab) == 1
    tab.click("#play")
    tab.wait_for_timeout(600)
    assert frame_shown(tab) == 1


def test_kept_tokens_are_as_in_the_frame_and_dropped_ones_dim_and_grey(open_page):
    it = inspection(methods=("sharpv", "uniform"))
    tab = open_page(page(it))
    tab.keyboard.press("ArrowRight")
    for canvas, run in enumerate(it.runs):
        for token, kept in enumerate(run.kept[1]):
            found, true = pixel(tab, *centre(it, token), canvas), colour(it, 1, token)
            if kept:
                assert found == true
            else:
                assert max(found) < 0.6 * max(true)
                assert max(found) - min(found) <= 2


def test_the_map_shows_scores_in_colour_and_says_which(open_page):
    it = inspection()
    tab = open_page(page(it))
    tab.check("[value=spatial]")
    order = np.argsort(it.scores.spatial[0])
    low, high = (pixel(tab, *centre(it, int(order[place]))) for place in (0, -1))
    # Viridis goes from violet to yellow.
    assert low[2] > low[1]
    assert high[1] > high[2]
    assert "0 to 2: S" in tab.inner_text("#heat-legend")
    assert f"{it.scores.spatial.max():.2f}" in tab.inner_text("#heat-legend")
    assert not tab.is_visible("#kept-legend")
    tab.keyboard.press("ArrowLeft")
    assert "T, to the same place" in tab.inner_text("#heat-legend")
    tab.fill("#spatial_weight", "0.5")
    tab.check("[value=importance]")
    largest = (it.scores.temporal + np.float32(0.5) * it.scores.spatial).max()
    assert "0 to 3: importance I = T + w S, w = 0.5" in tab.inner_text("#heat-legend")
    assert f"{largest:.2f}" in tab.inner_text("#heat-legend")
    tab.check("[value=picture]")
    assert [pixel(tab, *centre(it, token)) for token in range(20)] == [colour(it, 0, i) for i in range(20)]


def test_bars_go_to_frames_by_click_and_by_keys_and_cuts_are_marked(open_page):
    it = inspection()
    tab = open_page(page(it))
    assert tab.locator("#bars .mark").count() == 1
    tab.click("[data-step]")
    assert frame_shown(tab) == 4
    assert "likely cut" in tab.inner_text("#caption")
    box = tab.locator("#bars").bounding_box()
    tab.mouse.click(box["x"] + box["width"] - 30, box["y"] + 40)
    assert frame_shown(tab) == 6
    tab.focus("#bars")
    for key, frame in {"Home": 1, "ArrowUp": 2, "ArrowRight": 3, "ArrowDown": 2, "End": 6}.items():
        tab.keyboard.press(key)
        assert frame_shown(tab) == frame
        assert tab.get_attribute("#bars", "aria-valuenow") == str(frame)


def test_the_height_of_a_bar_is_the_tokens_kept(open_page):
    it = inspection(methods=SEVERAL)
    tab = open_page(page(it))
    for look, run in enumerate(it.runs):
        rows = tab.locator(f"#bars rect.fill-{look}")
        heights = np.array(rows.evaluate_all("all => all.map((bar) => Number(bar.getAttribute('height')))"))
        counts = mask_of(run).sum(1)
        assert heights == pytest.approx(counts * heights.max() / counts.max())


def test_layers_that_dropped_their_video_are_crossed_out(open_page):
    tab = open_page(page(inspection(methods=("sharpv", "uniform"))))
    for look in (0, 1):
        assert tab.locator(f"#layers circle.fill-{look}").count() == 3
        assert tab.locator(f"#layers path.cross.line-{look}").count() == 2
    assert "M = 0.2" in tab.locator("#layers").inner_text()


def test_figures_answers_and_notes_of_the_run(open_page):
    it = inspection()
    tab = open_page(page(it))
    kept = it.runs[0].video.tokens_kept
    figures = " ".join(tab.inner_text(".figures").split())
    assert f"Video tokens 120 → to {kept} {kept / 1.2:.1f} % kept" in figures
    assert f"Prompt tokens 160 → to {kept + 40} " in figures
    assert f"160.0 kB → to {kept + 40:.1f} kB" in figures
    assert "Layers that hold the video 5 → to 3 2 dropped it, at M = 0.2" in figures
    assert "It moves." in tab.inner_text(".answers")
    assert "sharpv says so." in tab.inner_text(".answers")
    assert tab.inner_text(".notes") == "A note."
    assert "What happens?" in tab.inner_text("header")


def test_without_a_question_there_are_no_answers(open_page):
    it = inspection(question=None, dense_answer=None)
    it = replace(it, runs=tuple(Run(run.report) for run in it.runs))
    tab = open_page(page(it))
    assert tab.locator(".answers").count() == 0
    assert "Question" not in tab.inner_text("header")


def test_the_tables_hold_the_same_numbers(open_page):
    it = inspection(methods=SEVERAL)
    tab = open_page(page(it))
    for name in ("frame", "layer", "setting"):
        tab.click(f"#{name}-table summary")
    rows = [row.split("\t") for row in tab.locator("#frame-table tbody tr").all_inner_texts()]
    counts = [[str(sum(run.kept[t])) for run in it.runs] for t in range(6)]
    assert [row[:3] for row in rows] == [
        [str(t + 1), f"{t / 4:.2f}", f"{it.scores.ratios[t]:.3f}"] for t in range(6)
    ]
    assert [row[3] for row in rows] == ["no", "no", "no", "yes", "no", "no"]
    assert [row[4:] for row in rows] == counts
    layers = [row.split("\t") for row in tab.locator("#layer-table tbody tr").all_inner_texts()]
    assert layers[1] == ["1", *["0.700"] * 3]
    assert layers[4] == ["4", *["-0.050, dropped"] * 3]
    settings = tab.inner_text("#setting-table")
    assert "0.3 (set)" in settings
    assert "1.2.3" in settings


def test_it_is_written_to_a_file(tmp_path):
    write_page(inspection(clip="name\udcff.mp4"), tmp_path / "page.html")
    assert "name\\udcff.mp4" in (tmp_path / "page.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"scores": inspection(n=5).scores}, "scores of 5 frames of 20 tokens, and runs of .*6, 20"),
        ({"timestamps": np.zeros(5)}, "6 frames with 5 times"),
        (
            {"frames": np.zeros((9, 8, 8, 3), np.uint8), "timestamps": np.zeros(9)},
            "the model read 6 frames of 1",
        ),
        ({"anchors": (0, 1)}, "2 anchors for 20 tokens"),
    ],
)
def test_what_is_not_of_one_clip_is_refused(fields, message):
    with pytest.raises(InputError, match=message):
        page(inspection(**fields))


def test_stage_2_off_is_said(open_page):
    tab = open_page(page(inspection(config=SharpVConfig(memory_threshold=None))))
    assert "Stage 2 is off" in tab.inner_text("#no-layers")
    assert "stage 2 is off" in tab.inner_text(".figures")
    assert tab.locator("#layers").count() == 0
