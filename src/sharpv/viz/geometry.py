"""Where the tokens of a report stand in the clip's frames."""

import numpy as np
from numpy.typing import NDArray

from sharpv.core import token_grid
from sharpv.errors import InputError
from sharpv.report import Report, VideoReport

__all__ = [
    "WHOLE",
    "chosen_video",
    "kept_grid",
    "kept_tokens",
    "known_window",
    "llm_frames",
    "token_box",
    "token_map",
]

Grid = tuple[int, int]
Window = tuple[float, float, float, float]

WHOLE: Window = (0.0, 0.0, 1.0, 1.0)
"""The window of a model that sees frames as they are."""


def chosen_video(report: Report, number: int) -> VideoReport:
    """Returns one of a request's videos.

    Raises:
        InputError: there is no such video.
    """
    if not 0 <= number < len(report.videos):
        raise InputError(f"got video={number}: the report has {len(report.videos)} video(s), counted from 0")
    return report.videos[number]


def kept_tokens(video: VideoReport) -> NDArray[np.bool_]:
    """Returns which tokens stayed to the last layer, bool `[n, f]`, in raster order."""
    return np.array(video.kept if video.kept_inside is None else video.kept_inside, dtype=np.bool_)


def kept_grid(video: VideoReport, grid: Grid | None = None) -> NDArray[np.bool_]:
    """Returns the same for the tokens that have a place, bool `[n, rows, cols]`.

    Args:
        video: what was kept.
        grid: (rows, cols) of a frame's tokens, for a report that does not tell it.

    Raises:
        InputError: the grid is not known, or holds another number of tokens.
    """
    return kept_tokens(video)[:, video.leading :].reshape(video.frames, *_grid(video, grid))


def llm_frames(video: VideoReport, frames: int) -> NDArray[np.int64]:
    """Returns which frame of the LLM holds each of the clip's frames, int64 `[frames]`.

    Raises:
        InputError: they are not as many as the report's frames of the LLM hold.
    """
    held = np.arange(frames) // video.source_frames
    if frames < 1 or held[-1] != video.frames - 1:
        most = video.frames * video.source_frames
        least = most - video.source_frames + 1
        raise InputError(
            f"got {frames} frames, but the report is of {least if least == most else f'{least} to {most}'}: "
            "give those that the model was shown"
        )
    return held


def token_map(
    video: VideoReport, height: int, width: int, *, grid: Grid | None = None, window: Window | None = None
) -> NDArray[np.int64]:
    """Returns the token that looks at each pixel of a frame, by the pixel's centre.

    Args:
        video: whose tokens.
        height: pixels of the frame.
        width: pixels of the frame.
        grid: (rows, cols) of a frame's tokens, for a report that does not tell it.
        window: (top, left, bottom, right) of what they cover, in shares of the frame's height and width, for
            a report that does not tell it.

    Returns:
        int64 `[height, width]`: the number of the token in its frame, 0 to f-1, `leading` ones counted; -1
        where no token looks.

    Raises:
        InputError: the grid or the window is not known, or cannot be.
    """
    (rows, cols), (top, left, bottom, right) = _grid(video, grid), known_window(video, window)
    row, column = _cells(height, top, bottom, rows), _cells(width, left, right, cols)
    seen = (row >= 0)[:, None] & (column >= 0)
    return np.where(seen, video.leading + row[:, None] * cols + column, -1)


def token_box(
    video: VideoReport,
    token: int,
    height: int,
    width: int,
    *,
    grid: Grid | None = None,
    window: Window | None = None,
) -> tuple[float, float, float, float]:
    """Returns the rectangle that a token stands for, (top, left, bottom, right) in pixels of a frame.

    It is not rounded, and lies outside the frame where the model sees padding. A leading token stands for
    all that the model sees.

    Args:
        video: whose token.
        token: its number in its frame, 0 to f-1, `leading` ones counted.
        height: pixels of the frame.
        width: pixels of the frame.
        grid: as for `token_map`.
        window: as for `token_map`.

    Raises:
        InputError: there is no such token, or the grid or the window is not known, or cannot be.
    """
    (rows, cols), (top, left, bottom, right) = _grid(video, grid), known_window(video, window)
    if not 0 <= token < video.tokens_per_frame:
        raise InputError(f"got token {token}: a frame has {video.tokens_per_frame}, counted from 0")
    if token >= video.leading:
        row, column = divmod(token - video.leading, cols)
        high, wide = (bottom - top) / rows, (right - left) / cols
        top, left = top + row * high, left + column * wide
        bottom, right = top + high, left + wide
    return top * height, left * width, bottom * height, right * width


def _cells(pixels: int, start: float, end: float, cells: int) -> NDArray[np.int64]:
    """The cell that each pixel's centre lies in, int64 `[pixels]`; -1 outside."""
    cell = np.floor((np.arange(pixels) + 0.5 - start * pixels) * cells / ((end - start) * pixels))
    return np.where((cell >= 0) & (cell < cells), cell, -1).astype(np.int64)


def _grid(video: VideoReport, grid: Grid | None) -> Grid:
    placed, grid = video.tokens_per_frame - video.leading, grid or video.grid
    if grid is None:
        raise InputError(
            f"the report does not tell how the {placed} tokens of a frame are laid out: "
            f"give grid=(rows, cols), for example {token_grid(placed)}"
        )
    return token_grid(placed, grid)


def known_window(video: VideoReport, window: Window | None) -> Window:
    """Returns the part of the frames that the tokens cover, in shares of height and width.

    Raises:
        InputError: it is not known, or cannot be.
    """
    window = window or video.window
    if window is None:
        raise InputError(
            "the report does not tell which part of the frames the model saw, since its processor may crop "
            "them: sharpv.hf.geometry.with_windows adds it, or give window=(top, left, bottom, right) in "
            "shares of height and width, (0, 0, 1, 1) for whole frames"
        )
    top, left, bottom, right = window
    if not (top < bottom and left < right):
        raise InputError(f"got window {window}: give (top, left, bottom, right), top < bottom, left < right")
    return top, left, bottom, right
