"""Lines for a terminal, against lines written by hand."""

import re

import numpy as np
import pytest

from sharpv.errors import InputError
from sharpv.viz.terminal import half_blocks, letters
from tests.viz.records import BARE, GRID, VIDEO, WHOLE, drawn, record

COLOUR = (100, 200, 50)
CELL = re.compile(r"\x1b\[38;2;(\d+);(\d+);(\d+);48;2;(\d+);(\d+);(\d+)m▀")


def shown(line):
    """Replaces a cell by # where both of its pixels have the clip's colour, by . where both are dark grey."""
    letters_ = {(*COLOUR, *COLOUR): "#", (68,) * 6: "."}
    return CELL.sub(lambda cell: letters_[tuple(map(int, cell.groups()))], line).replace("\x1b[0m", "|")


def test_letters_side_by_side():
    assert letters(VIDEO) == letters(BARE, grid=GRID) == ["1: 3  2: 1", "#..   ..#", ".##   ..."]


@pytest.mark.parametrize(("width", "rows"), [(10, 1), (9, 2), (1, 2)])
def test_frames_that_do_not_fit_go_below(width, rows):
    below = ["1: 3", "#..", ".##", "", "2: 1", "..#", "..."]
    beside = ["1: 3  2: 1", "#..   ..#", ".##   ..."]
    assert letters(VIDEO, width) == (beside if rows == 1 else below)


def test_a_wide_grid_sets_the_labels_apart():
    assert letters(record("#.....", ".....#"), grid=(1, 6)) == ["1: 1    2: 1", "#.....  .....#"]


def test_what_the_report_does_not_tell_is_asked_for():
    frames = np.zeros((2, 4, 6, 3), dtype=np.uint8)
    for draw in (letters, lambda video: half_blocks(frames, video, window=WHOLE)):
        with pytest.raises(InputError, match="give grid="):
            draw(BARE)
    with pytest.raises(InputError, match="give window="):
        half_blocks(frames, BARE, grid=GRID)


def test_a_token_without_a_place_is_counted_and_not_drawn():
    video = record("##..#", ".#..#", leading=1, grid=(2, 2), window=WHOLE)
    assert letters(video) == ["1: 3  2: 2", "#.    #.", ".#    .#"]
    lines = half_blocks(np.full((2, 4, 4, 3), COLOUR, dtype=np.uint8), video)
    assert [shown(line) for line in lines] == ["1: 3  2: 2", "##..|  ##..|", "..##|  ..##|"]


def test_what_left_inside_the_llm_is_dropped():
    video = record("####", grid=(2, 2), kept_inside=drawn("#..#"))
    assert letters(video) == ["1: 2", "#.", ".#"]


@pytest.mark.parametrize("size", [(4, 6), (2, 3), (20, 12)], ids=str)
def test_a_token_is_two_characters_wide_and_one_line_high(size):
    frames = np.full((2, *size, 3), COLOUR, dtype=np.uint8)
    lines = half_blocks(frames, VIDEO)
    assert half_blocks(frames, BARE, grid=GRID, window=WHOLE) == lines
    assert lines[0] == "1: 3    2: 1"
    assert [shown(line) for line in lines[1:]] == ["##....|  ....##|", "..####|  ......|"]
    narrow = half_blocks(frames, VIDEO, 13)
    assert [shown(line) for line in narrow] == [
        "1: 3", "##....|", "..####|", "", "2: 1", "....##|", "......|"
    ]  # fmt: skip


def test_the_upper_pixel_is_the_foreground_and_the_lower_the_background():
    upper, lower = (
        [(1, 2, 3), (4, 5, 6), COLOUR, (255,) * 3],
        [(7, 8, 9), (10, 11, 12), (0, 0, 255), (0,) * 3],
    )
    frames = np.array([[upper, lower]], dtype=np.uint8)
    assert half_blocks(frames, record("#.", grid=(1, 2), window=WHOLE)) == [
        "1: 1",
        "\x1b[38;2;1;2;3;48;2;7;8;9m▀\x1b[38;2;4;5;6;48;2;10;11;12m▀"
        "\x1b[38;2;68;68;68;48;2;13;13;13m▀\x1b[38;2;114;114;114;48;2;0;0;0m▀\x1b[0m",
    ]


def test_frames_of_another_clip_are_refused():
    with pytest.raises(InputError, match="got 3 frames, but the report is of 2"):
        half_blocks(np.zeros((3, 4, 6, 3), dtype=np.uint8), VIDEO)


def test_only_what_the_tokens_see_is_drawn():
    """Red and black lie outside the window; above and below it the model sees padding, which is black."""
    frames = np.zeros((1, 2, 8, 3), dtype=np.uint8)
    frames[:, :, :2], frames[:, :, 2:6] = (255, 0, 0), COLOUR
    cropped = record("##", grid=(1, 2), window=(0.0, 0.25, 1.0, 0.75))
    assert shown(half_blocks(frames, cropped)[1]) == "####|"
    padded = record("#" * 6, grid=(3, 2), window=(-1.0, 0.25, 2.0, 0.75))
    above, inside, below = half_blocks(frames, padded)[1:]
    assert shown(inside) == "####|"
    assert above == below == 4 * "\x1b[38;2;0;0;0;48;2;0;0;0m▀" + "\x1b[0m"


def test_of_frames_that_are_one_to_the_llm_the_first_is_drawn():
    frames = np.zeros((3, 2, 4, 3), dtype=np.uint8)
    frames[::2] = COLOUR
    two = record("#.", ".#", grid=(1, 2), window=WHOLE, source_frames=2)
    assert [shown(line) for line in half_blocks(frames, two)] == ["1: 1  2: 1", "##..|  ..##|"]
