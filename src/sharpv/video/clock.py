"""When the frames of a clip are shown."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sharpv.video.clip import Clip

__all__ = ["Clock", "read_clock"]

# A measured frame rate this near the header's is the header's, seen through rounded timestamps.
RATE_TOLERANCE = 0.01


@dataclass(frozen=True, eq=False)
class Clock:
    """The times of a clip's frames.

    Attributes:
        times: Seconds from the first frame, float64 `[total]`.
        fps: Average frame rate; None if it cannot be told.
        duration: Seconds to the end of the last frame; None if it cannot be told.
    """

    times: NDArray[np.float64]
    fps: float | None
    duration: float | None


def read_clock(clip: Clip, pts: list[int | None], last_duration: int) -> Clock:
    """Turns timestamps into seconds.

    Args:
        clip: Whose frames they are.
        pts: Timestamps in order of presentation, in the stream's time base.
        last_duration: Of the last frame, in the same unit; 0 if unknown.
    """
    stream = clip.stream
    rate = float(stream.average_rate or stream.guessed_rate or 0) or None
    ticks = np.array([0 if p is None else p for p in pts], dtype=np.int64)
    if None in pts or stream.time_base is None or (np.diff(ticks) < 0).any():
        # No usable timestamps (a raw stream, some AVI files): frames follow each other at the stream's rate.
        times = np.arange(len(pts)) / (rate or 25.0)
        return Clock(times, rate, len(pts) / rate if rate else None)
    times = (ticks - ticks[0]) * stream.time_base.numerator / stream.time_base.denominator
    span = float(times[-1])
    measured = (len(pts) - 1) / span if span > 0 else None
    if measured is not None and (rate is None or abs(measured - rate) > RATE_TOLERANCE * rate):
        rate = measured
    last = float(last_duration * stream.time_base) or (1 / rate if rate else 0.0)
    return Clock(times, rate, span + last or None)
