"""A clip that needs no download."""

import numpy as np
from numpy.typing import NDArray

__all__ = ["moving_square"]


def moving_square(frames: int = 48, height: int = 240, width: int = 320, seed: int = 0) -> NDArray[np.uint8]:
    """Draws a square that crosses a still, textured background.

    Args:
        frames: n.
        height: pixels.
        width: pixels.
        seed: of the background and the colour.

    Returns:
        `[n, height, width, 3]` RGB.
    """
    rng = np.random.default_rng(seed)
    coarse = rng.integers(60, 200, (8, 8, 3), dtype=np.uint8)
    rows, columns = np.arange(height) * 8 // height, np.arange(width) * 8 // width
    clip = np.repeat(coarse[rows][:, columns][None], frames, axis=0)
    side = max(min(height, width) // 5, 1)
    top = (height - side) // 2
    for t in range(frames):
        left = (width - side) * t // max(frames - 1, 1)
        clip[t, top : top + side, left : left + side] = (220, 30, 30)
    return clip
