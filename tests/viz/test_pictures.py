"""Pixels of the pictures, against tables written by hand."""

import subprocess
import sys

import numpy as np
import pytest

import sharpv.viz
from sharpv.errors import InputError
from sharpv.viz import overlay, strip
from sharpv.viz.pictures import caption, scaled
from tests.viz.records import BARE, GRID, VIDEO, WHOLE, drawn, record, report

# A colour, its dark grey (0.45 of 0.299 r + 0.587 g + 0.114 b), its pale grey (255 - 0.3 of what it lacks of
# white), and that again hatched (0.75 of it); all rounded down.
COLOURS = {(100, 200, 50): (68, 224, 168), (255, 255, 255): (114, 255, 191), (0, 0, 0): (0, 178, 133)}
LINE = (240, 240, 240)


def painted(table, colour):
    """Returns the frame of a table: # as it was, o the line, . dropped, - unseen, / unseen and hatched."""
    dark, pale, hatched = ((grey,) * 3 for grey in COLOURS[colour])
    looks = {"#": colour, "o": LINE, ".": dark, "-": pale, "/": hatched}
    return [[looks[pixel] for pixel in row] for row in table]


def check(video, tables, colour, **known):
    frames = np.full((len(tables), len(tables[0]), len(tables[0][0]), 3), colour, dtype=np.uint8)
    found = overlay(frames, report(video), **known)
    assert [picture.mode for picture in found] == ["RGB"] * len(tables)
    for picture, table in zip(found, tables, strict=True):
        assert np.asarray(picture).tolist() == np.array(painted(table, colour)).tolist()
    assert (frames == colour).all()


@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize("known", [True, False], ids=["by the report", "by the caller"])
def test_kept_pixels_stay_inside_a_line_and_dropped_ones_turn_dark(colour, known):
    tables = [["##o...", "##oooo", "oo####", ".o####"], ["...o##", "...o##", "....oo", "......"]]
    check(VIDEO if known else BARE, tables, colour, **({} if known else {"grid": GRID, "window": WHOLE}))


@pytest.mark.parametrize("colour", COLOURS)
def test_what_no_token_sees_is_pale_and_hatched(colour):
    # The window is pixels 2 to 4; two of eight diagonals are hatched.
    video = record("#..", grid=(1, 3), window=(0.0, 0.25, 1.0, 0.625))
    check(video, [["/o#o.---", "/o#o.--/"]], colour)


def test_each_pixel_keeps_its_own_colour():
    frame = np.arange(12, dtype=np.uint8).reshape(1, 2, 2, 3) * 20
    (picture,) = overlay(frame, report(record("#", grid=(1, 1), window=WHOLE)))
    assert np.asarray(picture).tolist() == frame[0].tolist()


def test_the_line_is_wider_in_larger_frames():
    (picture,) = overlay(
        np.zeros((1, 4, 1200, 3), dtype=np.uint8), report(record("#.", grid=(1, 2), window=WHOLE))
    )
    assert [x for x, pixel in enumerate(np.asarray(picture)[0].tolist()) if pixel == list(LINE)] == [600, 601]


def test_frames_that_are_one_to_the_llm_look_alike():
    video = record("#.", ".#", grid=(1, 2), window=WHOLE, source_frames=2)
    check(video, [["#o"], ["#o"], ["o#"]], (100, 200, 50))
    with pytest.raises(InputError, match="got 2 frames, but the report is of 3 to 4"):
        overlay(np.zeros((2, 1, 2, 3), dtype=np.uint8), report(video))


def test_what_left_inside_the_llm_is_dropped():
    video = record("##", grid=(1, 2), window=WHOLE, kept_inside=drawn(".#"))
    check(video, [["o#"]], (100, 200, 50))


def test_one_video_of_a_request():
    frames = np.full((2, 2, 3, 3), 200, dtype=np.uint8)
    other = record("######", "######", grid=GRID, window=WHOLE)
    for picture in overlay(frames, report(VIDEO, other), video=1):
        assert (np.asarray(picture) == 200).all()
    with pytest.raises(InputError, match="got video=2"):
        overlay(frames, report(VIDEO, other), video=2)


@pytest.mark.parametrize(
    "frames",
    [np.zeros((2, 4, 6, 3)), np.zeros((4, 6, 3), np.uint8), np.zeros((2, 4, 6), np.uint8), []],
    ids=["float", "one frame", "grey", "nothing"],
)
def test_what_is_no_row_of_pictures_is_refused(frames):
    with pytest.raises(InputError, match=r"give RGB, uint8 \[m, h, w, 3\]"):
        overlay(frames, report(VIDEO))


def test_a_caption_says_frame_time_and_count():
    kept = np.array([True, False, True])
    assert caption(7, 1.256, kept) == "frame 7, 1.26 s\nkept 2 of 3 tokens"
    assert caption(1, None, ~kept) == "frame 1\nkept 1 of 3 tokens"


@pytest.fixture
def clip():
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (5, 60, 90, 3), dtype=np.uint8)


FIVE = record(*["#..", ".#.", "..#", "...", "###"], grid=(1, 3), window=WHOLE)


def test_a_strip_is_read_like_a_page(clip):
    sheet = strip(clip, report(FIVE), per_row=2, side=180)
    small = np.stack([scaled(frame, 180) for frame in clip])
    assert small.shape == (5, 120, 180, 3)
    below, page = [], np.asarray(sheet)
    row = (page.shape[0] - 10) // 3
    for number, cell in enumerate(overlay(small, report(FIVE))):
        top, left = 10 + number // 2 * row, 10 + number % 2 * 190
        assert np.array_equal(page[top : top + 120, left : left + 180], cell)
        below.append(page[top + 120 : top + row, left : left + 180])
    assert page.shape == (10 + 3 * row, 10 + 2 * 190, 3)
    # Dark ink on white, another text under each frame.
    assert all(text.min() < 60 and text.max() == 255 for text in below)
    assert len({text.tobytes() for text in below}) == 5
    assert (page[:10] == 255).all()
    assert (page[10 + 2 * row : -18, 200:] == 255).all()


def test_a_strip_tells_the_time_where_it_is_known(clip):
    bare, timed = (strip(clip, report(FIVE), timestamps=times) for times in (None, np.arange(5) / 4))
    assert bare.size == timed.size
    apart = np.abs(np.asarray(bare).astype(int) - np.asarray(timed)).max(axis=2)
    rows = np.flatnonzero(apart.max(axis=1))
    # In the first line of the caption of both rows, and nowhere in the frames.
    assert len(rows) < 2 * 20
    with pytest.raises(InputError, match="got 4 timestamps of 5 frames: give one for each"):
        strip(clip, report(FIVE), timestamps=[0, 1, 2, 3])


def test_a_narrow_strip_is_as_wide_as_its_text():
    frames = np.zeros((2, 300, 10, 3), dtype=np.uint8)
    sheet = strip(frames, report(record("#", "#", grid=(1, 1), window=WHOLE)))
    page = np.asarray(sheet)
    assert sheet.width > 2 * 100
    # Nothing is cut at the right edge, or runs into the next caption.
    assert (page[:, -10:] == 255).all()
    ink = (page[340:] < 255).any(axis=(0, 2))
    assert not ink[sheet.width // 2 - 4 : sheet.width // 2 + 4].any()


def test_scaling_keeps_proportions():
    frame = np.zeros((2, 2000, 3), dtype=np.uint8)
    assert scaled(frame, 320).shape == (1, 320, 3)
    assert scaled(np.zeros((30, 20, 3), dtype=np.uint8), 90).shape == (90, 60, 3)


def test_the_names_of_the_package():
    assert sorted(sharpv.viz.__all__) == sorted(dir(sharpv.viz))
    for name in sharpv.viz.__all__:
        assert getattr(sharpv.viz, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'overlai'"):
        _ = sharpv.viz.overlai


def test_the_package_is_light():
    code = "import sys, sharpv.viz; print(*(name in sys.modules for name in ('PIL', 'torch')))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["False", "False"]
