"""Decoded frames as RGB pictures: upright, smooth in colour, all of one size."""

from collections.abc import Iterable, Iterator

import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

__all__ = ["SMOOTH_COLOURS", "check_max_side", "pictures"]

# Of libswscale: BICUBIC, FULL_CHR_H_INT and ACCURATE_RND, which PyAV names since 18. Left alone it repeats
# each colour of 4:2:0 over four pixels, and the outlines of small things turn into stairs.
SMOOTH_COLOURS = 0x4 | 0x2000 | 0x40000


def check_max_side(max_side: int | None) -> None:
    """Checks the limit of a picture's longer side.

    Raises:
        ValueError: It is no whole number of at least 1.
    """
    if max_side is not None and (isinstance(max_side, bool) or not isinstance(max_side, int) or max_side < 1):
        raise ValueError(f"max_side={max_side!r}: must be a whole number of pixels, at least 1, or None")


def pictures(frames: Iterable[VideoFrame], max_side: int | None) -> Iterator[NDArray[np.uint8]]:
    """Yields each frame as RGB, uint8 `[h, w, 3]`, turned upright; the first one sets the size of all.

    Args:
        frames: In order of presentation.
        max_side: Scale larger frames down, the longer side to this many pixels; None leaves them.
    """
    # One for all frames: a frame's own works out libswscale's tables anew, half the time of a small frame.
    reformatter = VideoReformatter()
    turns = width = height = 0
    for frame in frames:
        if not width:
            width, height = _size_within(max_side, frame.width, frame.height)
            turns = round(frame.rotation / 90) % 4
        picture = reformatter.reformat(frame, width, height, "rgb24", interpolation=SMOOTH_COLOURS)
        yield np.rot90(picture.to_ndarray(), turns)


def _size_within(max_side: int | None, width: int, height: int) -> tuple[int, int]:
    """The size in its own proportions, the longer side at most `max_side`; never enlarged, never 0."""
    longer = max(width, height)
    if max_side is None or longer <= max_side:
        return width, height
    return max(1, round(width * max_side / longer)), max(1, round(height * max_side / longer))
