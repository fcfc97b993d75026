"""What was kept, as lines of text for a terminal: coloured half blocks, or letters."""

import numpy as np
from numpy.typing import NDArray

from sharpv.report import VideoReport
from sharpv.viz.overlay import dim_dropped, kept_grid, resize

__all__ = ["half_blocks", "letters"]

PIXELS_PER_TOKEN = 2
GAP = 2
UPPER_HALF, RESET = "\N{UPPER HALF BLOCK}", "\x1b[0m"
KEPT, DROPPED = "#", "."


def half_blocks(
    frames: NDArray[np.uint8], video: VideoReport, width: int = 80, grid: tuple[int, int] | None = None
) -> list[str]:
    """Draws frames in 24-bit colour, two pixels to a character, with dropped tokens dimmed.

    A token is two characters wide and one line high, so that it looks square.

    Args:
        frames: RGB, uint8 `[n, h, w, 3]`, those of the report.
        video: what was kept of them.
        width: columns of the terminal.
        grid: (rows, cols) of a frame's tokens; None takes a square, as `kept_grid` does.

    Returns:
        Lines with ANSI codes; each ends in the terminal's own colours.

    Raises:
        ValueError: other frames than the report's, or a grid that cannot be theirs.
    """
    kept = kept_grid(video, grid)
    rows, columns = (side * PIXELS_PER_TOKEN for side in kept.shape[1:])
    pictures = dim_dropped(resize(frames, rows, columns), kept)
    blocks = [[_line(upper, lower) for upper, lower in zip(p[::2], p[1::2], strict=True)] for p in pictures]
    return _side_by_side(_labels(kept), blocks, columns, width)


def letters(video: VideoReport, width: int = 80, grid: tuple[int, int] | None = None) -> list[str]:
    """Draws kept tokens as `#` and dropped ones as `.`, frame by frame, within `width` columns.

    Args:
        video: what was kept.
        width: columns of the terminal.
        grid: (rows, cols) of a frame's tokens; None takes a square, as `kept_grid` does.

    Raises:
        InputError: a grid that cannot be theirs.
    """
    kept = kept_grid(video, grid)
    blocks = [["".join(KEPT if token else DROPPED for token in row) for row in frame] for frame in kept]
    return _side_by_side(_labels(kept), blocks, kept.shape[2], width)


def _labels(kept: NDArray[np.bool_]) -> list[str]:
    return [f"{number}: {int(frame.sum())}" for number, frame in enumerate(kept)]


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
