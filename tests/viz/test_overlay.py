"""Pixels of the pictures, against tables written by hand."""

import numpy as np
import pytest

from sharpv.errors import InputError
from sharpv.viz.overlay import dim_dropped, kept_grid, resize, sheet
from tests.viz.records import GRID, KEPT, VIDEO, record

# A colour, and its dark grey: 0.45 (0.299 r + 0.587 g + 0.114 b), rounded down.
COLOURS = {(100, 200, 50): 68, (255, 255, 255): 114, (0, 0, 255): 13, (0, 0, 0): 0}


def drawn(kept):
    return [["".join(".#"[token] for token in row) for row in frame] for frame in kept.astype(int)]


def test_the_grid_that_the_caller_knows_is_filled_row_by_row():
    assert drawn(kept_grid(VIDEO, GRID)) == KEPT
    assert drawn(kept_grid(VIDEO, (3, 2))) == [["#.", "..", "##"], ["..", "#.", ".."]]


def test_without_a_grid_tokens_that_fill_a_square_are_one():
    assert drawn(kept_grid(record("#..#", ".#..", "####"))) == [["#.", ".#"], [".#", ".."], ["##", "##"]]


def test_without_a_grid_other_tokens_are_refused():
    with pytest.raises(InputError, match=r"the 6 tokens of a frame fill no square.*give grid=\(rows, cols\)"):
        kept_grid(VIDEO)


def test_a_grid_of_another_number_of_tokens_is_refused():
    with pytest.raises(InputError, match="grid is 2 x 2, but a frame has 6 tokens"):
        kept_grid(VIDEO, (2, 2))


@pytest.mark.parametrize(
    ("height", "width", "bright"),
    [
        (2, 3, [["#..", ".##"], ["..#", "..."]]),
        (4, 6, [["##....", "##....", "..####", "..####"], ["....##", "....##", "......", "......"]]),
        # What does not divide goes to the token that the pixel's upper left corner lies in.
        (3, 7, [["###....", "###....", "...####"], [".....##", ".....##", "......."]]),
    ],
)
@pytest.mark.parametrize("colour", COLOURS)
def test_kept_pixels_stay_and_dropped_ones_turn_dark_grey(height, width, bright, colour):
    frames = np.full((2, height, width, 3), colour, dtype=np.uint8)
    found = dim_dropped(frames, kept_grid(VIDEO, GRID))
    assert found.dtype == np.uint8
    wanted = [[[colour if p == "#" else (COLOURS[colour],) * 3 for p in row] for row in f] for f in bright]
    assert found.tolist() == np.array(wanted).tolist()
    assert (frames == colour).all()


def test_each_pixel_keeps_its_own_colour():
    frames = np.array(list(COLOURS), dtype=np.uint8).reshape(1, 1, 4, 3)
    found = dim_dropped(frames, kept_grid(record("#.#."), (1, 4)))
    assert found[0, 0].tolist() == [[100, 200, 50], [114] * 3, [0, 0, 255], [0] * 3]


def test_frames_and_grids_of_another_number_are_refused():
    frames = np.zeros((3, 4, 6, 3), dtype=np.uint8)
    with pytest.raises(ValueError, match="3 frames and 2 grids of tokens: give one grid for each frame"):
        dim_dropped(frames, kept_grid(VIDEO, GRID))


def test_scaling_takes_the_mean_of_the_pixels_covered():
    grey = np.array([[[0, 10, 100, 100], [20, 30, 100, 104]], [[8, 8, 0, 0], [8, 8, 0, 0]]], dtype=np.uint8)
    found = resize(grey[..., None].repeat(3, -1), 1, 2)
    assert found.shape == (2, 1, 2, 3)
    assert found[..., 0].tolist() == [[[15, 101]], [[8, 0]]]


def test_a_sheet_is_read_like_a_page():
    # White is 255.
    frames = np.stack([np.full((1, 2, 3), grey, dtype=np.uint8) for grey in (10, 20, 30)])
    frames[0, 0, 1] = (1, 2, 3)
    found = np.asarray(sheet(frames, per_row=2, gap=1))
    assert found.shape == (5, 7, 3)
    w = 255
    assert found[..., 2].tolist() == [
        [w, w, w, w, w, w, w],
        [w, 10, 3, w, 20, 20, w],
        [w, w, w, w, w, w, w],
        [w, 30, 30, w, w, w, w],
        [w, w, w, w, w, w, w],
    ]
    assert found[1, 2].tolist() == [1, 2, 3]
