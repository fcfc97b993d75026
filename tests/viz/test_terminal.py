"""Lines for a terminal, against lines written by hand."""

import re

import numpy as np
import pytest

from sharpv.errors import InputError
from sharpv.viz.terminal import half_blocks, letters
from tests.viz.records import GRID, VIDEO, record

COLOUR = (100, 200, 50)
CELL = re.compile(r"\x1b\[38;2;(\d+);(\d+);(\d+);48;2;(\d+);(\d+);(\d+)m▀")


def shown(line):
    """Replaces a cell by # where both of its pixels have the clip's colour, by . where both are dark grey."""
    letters_ = {(*COLOUR, *COLOUR): "#", (68,) * 6: "."}
    return CELL.sub(lambda cell: letters_[tuple(map(int, cell.groups()))], line).replace("\x1b[0m", "|")


def test_letters_side_by_side():
    assert letters(VIDEO, grid=GRID) == ["0: 3  1: 1", "#..   ..#", ".##   ..."]


@pytest.mark.parametrize(("width", "rows"), [(10, 1), (9, 2), (1, 2)])
def test_frames_that_do_not_fit_go_below(width, rows):
    below = ["0: 3", "#..", ".##", "", "1: 1", "..#", "..."]
    beside = ["0: 3  1: 1", "#..   ..#", ".##   ..."]
    assert letters(VIDEO, width, GRID) == (beside if rows == 1 else below)


def test_a_wide_grid_sets_the_labels_apart():
    assert letters(record("#.....", ".....#"), grid=(1, 6)) == ["0: 1    1: 1", "#.....  .....#"]


def test_a_square_needs_no_grid():
    assert letters(record("#..#")) == ["0: 2", "#.", ".#"]
    with pytest.raises(InputError, match="fill no square"):
        letters(VIDEO)
    with pytest.raises(InputError, match="fill no square"):
        half_blocks(np.zeros((2, 4, 6, 3), dtype=np.uint8), VIDEO)


@pytest.mark.parametrize("size", [(4, 6), (2, 3), (20, 12)], ids=str)
def test_a_token_is_two_characters_wide_and_one_line_high(size):
    frames = np.full((2, *size, 3), COLOUR, dtype=np.uint8)
    lines = half_blocks(frames, VIDEO, grid=GRID)
    assert lines[0] == "0: 3    1: 1"
    assert [shown(line) for line in lines[1:]] == ["##....|  ....##|", "..####|  ......|"]
    narrow = half_blocks(frames, VIDEO, 13, GRID)
    assert [shown(line) for line in narrow] == [
        "0: 3", "##....|", "..####|", "", "1: 1", "....##|", "......|"
    ]  # fmt: skip


def test_the_upper_pixel_is_the_foreground_and_the_lower_the_background():
    upper, lower = (
        [(1, 2, 3), (4, 5, 6), COLOUR, (255,) * 3],
        [(7, 8, 9), (10, 11, 12), (0, 0, 255), (0,) * 3],
    )
    frames = np.array([[upper, lower]], dtype=np.uint8)
    assert half_blocks(frames, record("#."), grid=(1, 2)) == [
        "0: 1",
        "\x1b[38;2;1;2;3;48;2;7;8;9m▀\x1b[38;2;4;5;6;48;2;10;11;12m▀"
        "\x1b[38;2;68;68;68;48;2;13;13;13m▀\x1b[38;2;114;114;114;48;2;0;0;0m▀\x1b[0m",
    ]


def test_frames_of_another_clip_are_refused():
    with pytest.raises(ValueError, match="3 frames and 2 grids of tokens"):
        half_blocks(np.zeros((3, 4, 6, 3), dtype=np.uint8), VIDEO, grid=GRID)
