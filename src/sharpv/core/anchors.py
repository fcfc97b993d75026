"""The fixed order in which coverage takes positions of a frame's token grid."""

from functools import cache
from math import isqrt

from sharpv.errors import InputError

__all__ = ["anchor_order", "token_grid"]

# 1/p and 1/p^2 of the plastic number p: the additive sequence with them fills a square evenly, however many
# are taken.
_STEP_X, _STEP_Y = 0.7548776662466927, 0.5698402909980532
_START_X, _START_Y = 0.37, 0.61


@cache
def anchor_order(rows: int, cols: int) -> tuple[int, ...]:
    """Orders the cells of a grid so that every beginning of the order is spread over the whole grid.

    Point j of the plastic-number sequence is `x = frac(j/p + .37), y = frac(j/p^2 + .61)`, j = 0, 1, ...; a
    cell takes its place at the first point that falls into it. The same grid gives the same order in every
    frame, video and run.

    Args:
        rows: rows of the grid, at least 1.
        cols: columns of the grid, at least 1.

    Returns:
        All `rows * cols` raster indices, in order.
    """
    order: dict[int, None] = {}
    j = 0
    while len(order) < rows * cols:
        x, y = (_START_X + _STEP_X * j) % 1, (_START_Y + _STEP_Y * j) % 1
        order.setdefault(int(y * rows) * cols + int(x * cols))
        j += 1
    return tuple(order)


def token_grid(f: int, grid: tuple[int, int] | None = None) -> tuple[int, int]:
    """Checks the grid of a frame's f tokens, or guesses it.

    Args:
        f: tokens per frame.
        grid: (rows, cols), or None for the most square factors of f with rows <= cols.

    Returns:
        (rows, cols), with `rows * cols == f`.

    Raises:
        InputError: a grid that does not hold f tokens.
    """
    if grid is None:
        rows = next(rows for rows in range(isqrt(f), 0, -1) if f % rows == 0)
        return rows, f // rows
    rows, cols = grid
    if rows < 1 or cols < 1 or rows * cols != f:
        raise InputError(
            f"grid is {rows} x {cols}, but a frame has {f} tokens: give (rows, cols) whose product is {f}"
        )
    return rows, cols
