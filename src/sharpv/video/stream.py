"""All frames of a clip, one after the other."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sharpv.video.clip import open_clip
from sharpv.video.decode import count_intact, intact_frames
from sharpv.video.rgb import check_max_side, pictures
from sharpv.video.source import Source, open_source

__all__ = ["VideoStream", "stream_video"]


@dataclass(frozen=True, eq=False)
class VideoStream:
    """An open clip whose frames come one at a time.

    Attributes:
        frames: RGB pictures, upright, uint8 `[h, w, 3]`, all of one size; each is decoded when asked for.
        timestamps: When each is shown, in seconds from the first, float64 `[total]`, as of `Video`.
        fps: The clip's average frame rate; None if it cannot be told (a single frame).
    """

    frames: Iterator[NDArray[np.uint8]]
    timestamps: NDArray[np.float64]
    fps: float | None


@contextmanager
def stream_video(source: Source, *, stream: int = 0, max_side: int | None = None) -> Iterator[VideoStream]:
    """Opens a clip to go through all its frames, holding one at a time.

    Everything is decoded twice: to find what is intact and when it is shown, and to give it. Of a sound clip
    there are as many frames as `read_video` counts. Of a damaged one there may be fewer: `read_video` does
    not see damage in frames that it need not decode.

    Args:
        source: As for `read_video`.
        stream: Which video stream of the file, from 0.
        max_side: Scale larger frames down, the longer side to this many pixels.

    Yields:
        The open clip; its frames end with the block.

    Raises:
        VideoError: The source cannot be opened, is no video, lacks that stream, or holds nothing decodable.
        ValueError: `max_side` is no whole number of at least 1.
    """
    check_max_side(max_side)
    with open_source(source) as (file, name):
        _, clock, _ = count_intact(file, name, stream)
        with open_clip(file, name, stream, threads=False) as clip:
            intact = (frame for frame in intact_frames(clip) if frame is not None)
            yield VideoStream(pictures(intact, max_side), clock.times, clock.fps)
