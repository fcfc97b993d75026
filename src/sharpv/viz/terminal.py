"""What was kept, as lines of text for a terminal: coloured half blocks, or letters."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sharpv.report import VideoReport
from sharpv.viz.geometry import (
    WHOLE,
    Grid,
    Window,
    kept_grid,
    kept_tokens,
    known_window,
    llm_frames,
    token_map,
)
from sharpv.viz.pictures import paint

__all__ = ["half_blocks", "letters"]

PIXELS_PER_TOKEN = 2
GAP = 2
UPPER_HALF, RESET = "\N{UPPER HALF BLOCK}", "\x1b[0m"
KEPT, DROPPED = "#", "."


def half_blocks(
    frames: NDArray[np.uint8],
    video: VideoReport,
    width: int = 80,
    grid: Grid | None = None,
    window: Window | None = None,
) -> list[str]:
    """Draws frames in 24-bit colour, two pixels to a character, with dropped tokens dimmed.

    A token is two characters wide and one line high, so that it looks square. Only what the tokens cover is
    drawn; of the frames that are one to the LLM, the first.

    Args:
        frames: RGB, uint8 `[m, h, w, 3]`, those of the report.
        video: what was kept of them.
        width: columns of the terminal.
        grid: (rows, cols) of a frame's tokens, for a report that does not tell it.
        window: (top, left, bottom, right) of what they cover, in shares of height and width, for a report
            that does not tell it.

    Returns:
        Lines with ANSI codes; each ends in the terminal's own colours.

    Raises:
        InputError: other frames than the report's, or a grid or window that is not known.
    """
    covered = known_window(video, window)
    rows, columns = (side * PIXELS_PER_TOKEN for side in kept_grid(video, grid).shape[1:])
    places = token_map(video, rows, columns, grid=grid, window=WHOLE)
    first = np.unique(llm_frames(video, len(frames)), return_index=True)[1]
    blocks = []
    for frame, tokens in zip(frames[first], kept_tokens(video), strict=True):
        picture = np.asarray(paint(_cut(frame, covered, rows, columns), places, tokens, line=0))
        blocks.append([_line(upper, lower) for upper, lower in zip(picture[::2], picture[1::2], strict=True)])
    return _side_by_side(_labels(video), blocks, columns, width)


def letters(video: VideoReport, width: int = 80, grid: Grid | None = None) -> list[str]:
    """Draws kept tokens as `#` and dropped ones as `.`, frame by frame, within `width` columns.

    Args:
        video: what was kept.
        width: columns of the terminal.
        grid: (rows, cols) of a frame's tokens, for a report that does not tell it.

    Raises:
        InputError: the grid is not known, or cannot be theirs.
    """
    kept = kept_grid(video, grid)
    blocks = [["".join(KEPT if token else DROPPED for token in row) for row in frame] for frame in kept]
    return _side_by_side(_labels(video), blocks, kept.shape[2], width)


def _cut(frame: NDArray[np.uint8], window: Window, rows: int, columns: int) -> NDArray[np.uint8]:
    """Scales the window of a frame to so many pixels, by the mean of those covered; padding is black."""
    height, width = frame.shape[:2]
    top, left, bottom, right = window
    box = (round(left * width), round(top * height), round(right * width), round(bottom * height))
    return np.asarray(Image.fromarray(frame).crop(box).resize((columns, rows), Image.Resampling.BOX))


def _labels(video: VideoReport) -> list[str]:
    return [f"{number}: {count}" for number, count in enumerate(kept_tokens(video).sum(axis=1), start=1)]


def _line(upper: NDArray[np.uint8], lower: NDArray[np.uint8]) -> str:
    """Draws two rows of pixels `[w, 3]` as one line."""
    cells = [
        f"\x1b[38;2;{a[0]};{a[1]};{a[2]};48;2;{b[0]};{b[1]};{b[2]}m{UPPER_HALF}"
        for a, b in zip(upper, lower, strict=True)
    ]
    return "".join(cells) + RESET


def _side_by_side(labels: list[str], blocks: list[list[str]], columns: int, width: int) -> list[str]:
    """Lays blocks of equal size out in rows, each under its label."""
    space = max(columns, *map(len, labels))
    per_row = max(1, (width + GAP) // (space + GAP))
    lines = []
    for start in range(0, len(blocks), per_row):
        chosen = slice(start, start + per_row)
        lines.append((" " * GAP).join(label.ljust(space) for label in labels[chosen]).rstrip())
        between = " " * (space - columns + GAP)
        lines += [between.join(row) for row in zip(*blocks[chosen], strict=True)]
        lines.append("")
    return lines[:-1]
