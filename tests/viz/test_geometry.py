"""Where tokens stand, against tables written by hand and a loop over pixels."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sharpv.errors import InputError
from sharpv.viz.geometry import chosen_video, kept_grid, kept_tokens, llm_frames, token_box, token_map
from tests.viz.records import BARE, GRID, KEPT, VIDEO, WHOLE, drawn, record, report

# Half of the width is cropped away; a frame twice as wide as high, letter-boxed; both at once.
CROPPED, PADDED = (0.0, 0.25, 1.0, 0.75), (-0.5, 0.0, 1.5, 1.0)
BOTH = (-0.5, 0.25, 1.0, 1.0)


def rows_of(kept):
    return [["".join(".#"[token] for token in row) for row in frame] for frame in kept.astype(int)]


def test_the_grid_of_the_report_is_filled_row_by_row():
    assert rows_of(kept_grid(VIDEO)) == KEPT


def test_a_grid_that_the_caller_knows():
    assert rows_of(kept_grid(BARE, GRID)) == KEPT
    assert rows_of(kept_grid(BARE, (3, 2))) == [["#.", "..", "##"], ["..", "#.", ".."]]


def test_tokens_without_a_place_are_left_out():
    video = record("##..#", "..#..", leading=1, grid=(2, 2))
    assert rows_of(kept_grid(video)) == [["#.", ".#"], [".#", ".."]]
    assert kept_tokens(video).tolist() == [list(frame) for frame in drawn("##..#", "..#..")]


def test_what_left_inside_the_llm_is_not_kept():
    video = record("####", "##..", grid=(2, 2), kept_inside=drawn("#..#", "...."))
    assert rows_of(kept_grid(video)) == [["#.", ".#"], ["..", ".."]]


def test_an_unknown_grid_is_asked_for():
    with pytest.raises(InputError, match=r"how the 6 tokens of a frame .*: give grid=\(rows, cols\)"):
        kept_grid(BARE)
    with pytest.raises(InputError, match="how the 4 tokens"):
        token_map(record("#....", leading=1, window=WHOLE), 4, 4)


def test_a_grid_of_another_number_of_tokens_is_refused():
    with pytest.raises(InputError, match="grid is 2 x 2, but a frame has 6 tokens"):
        kept_grid(BARE, (2, 2))


@pytest.mark.parametrize(
    ("height", "width", "window", "table"),
    [
        (2, 3, WHOLE, ["012", "345"]),
        (4, 6, WHOLE, ["001122", "001122", "334455", "334455"]),
        # A pixel is of the token that its centre lies in; on a border, of the later one.
        (3, 7, WHOLE, ["0011122", "3344455", "3344455"]),
        (1, 1, WHOLE, ["4"]),
        (4, 8, CROPPED, ["..0112..", "..0112..", "..3445..", "..3445.."]),
        (2, 6, PADDED, ["001122", "334455"]),
        (6, 4, PADDED, ["0112", "0112", "0112", "3445", "3445", "3445"]),
        # The window is 12 pixels high, 4 of them above the frame, so that its upper row ends at pixel 2.
        (8, 4, BOTH, [".012", ".012", *6 * [".345"]]),
        (2, 3, (0.25, 0.0, 0.5, 0.5), ["1..", "..."]),
    ],
)  # fmt: skip
def test_the_token_under_each_pixel(height, width, window, table):
    for video, given_ in (
        (record("......", grid=GRID, window=window), {}),
        (record("......"), {"grid": GRID, "window": window}),
    ):
        found = token_map(video, height, width, **given_)
        assert found.dtype == np.int64
        assert ["".join("." if token < 0 else str(token) for token in row) for row in found] == table


def test_leading_tokens_are_counted_and_stand_nowhere():
    found = token_map(record("........", leading=2, grid=GRID, window=WHOLE), 2, 3)
    assert found.tolist() == [[2, 3, 4], [5, 6, 7]]


@given(
    st.tuples(st.integers(1, 5), st.integers(1, 5)),
    st.tuples(st.integers(1, 20), st.integers(1, 20)),
    st.tuples(st.integers(-4, 3), st.integers(-4, 3), st.integers(4, 12), st.integers(4, 12)),
    st.integers(0, 2),
)
@settings(max_examples=60, deadline=None)
def test_a_pixel_belongs_to_the_token_whose_rectangle_holds_its_centre(grid, size, eighths, leading):
    window = tuple(share / 8 for share in eighths)
    video = record("." * (leading + grid[0] * grid[1]), leading=leading, grid=grid, window=window)
    found = token_map(video, *size)
    slow = np.full(size, -1)
    for token in range(leading, video.tokens_per_frame):
        top, left, bottom, right = token_box(video, token, *size)
        for y in range(size[0]):
            for x in range(size[1]):
                # A hair below and right, since a centre on a border belongs to the later token.
                if top < y + 0.5 + 1e-9 < bottom and left < x + 0.5 + 1e-9 < right:
                    slow[y, x] = token
    assert found.tolist() == slow.tolist()


def test_the_rectangle_of_a_token():
    video = record("." * 7, leading=1, grid=GRID, window=CROPPED)
    assert token_box(video, 1, 100, 240) == pytest.approx((0, 60, 50, 100))
    assert token_box(video, 6, 100, 240) == pytest.approx((50, 140, 100, 180))
    # The class token stands for all that is seen.
    assert token_box(video, 0, 100, 240) == pytest.approx((0, 60, 100, 180))
    padded = record("......", grid=GRID, window=PADDED)
    assert token_box(padded, 0, 100, 240) == pytest.approx((-50, 0, 50, 80))
    assert token_box(BARE, 5, 100, 240, grid=GRID, window=WHOLE) == pytest.approx((50, 160, 100, 240))
    for token in (-1, 7):
        with pytest.raises(InputError, match=f"got token {token}: a frame has 7"):
            token_box(video, token, 100, 240)


def test_an_unknown_window_is_asked_for():
    with pytest.raises(InputError, match=r"give window=\(top, left, bottom, right\)"):
        token_map(record("......", grid=GRID), 4, 6)
    with pytest.raises(InputError, match="top < bottom, left < right"):
        token_map(VIDEO, 4, 6, window=(0.5, 0, 0.5, 1))


def test_which_frame_of_the_llm_holds_a_frame_of_the_clip():
    assert llm_frames(VIDEO, 2).tolist() == [0, 1]
    for frames, held in ((3, [0, 0, 1]), (4, [0, 0, 1, 1])):
        assert llm_frames(record("#", "#", source_frames=2), frames).tolist() == held


@pytest.mark.parametrize(
    ("source_frames", "frames", "wanted"),
    [(1, 1, "2"), (1, 3, "2"), (2, 2, "3 to 4"), (2, 5, "3 to 4"), (1, 0, "2")],
)
def test_other_frames_than_the_report_s(source_frames, frames, wanted):
    video = record("#", "#", source_frames=source_frames)
    with pytest.raises(InputError, match=f"got {frames} frames, but the report is of {wanted}: give those"):
        llm_frames(video, frames)


def test_one_video_of_a_request():
    other = record("#")
    assert chosen_video(report(VIDEO, other), 1) is other
    for number in (-1, 2):
        with pytest.raises(InputError, match=rf"got video={number}: the report has 2 video\(s\)"):
            chosen_video(report(VIDEO, other), number)
