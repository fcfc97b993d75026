"""Which frames of a clip to take."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Sampling", "sample_indices"]

DEFAULT_FRAMES = 32
DEFAULT_MAX_FRAMES = 768
# Matroska and WebM round timestamps to milliseconds, so a frame may start up to this late (seconds).
CLOCK_ROUNDING = 1e-3


@dataclass(frozen=True)
class Sampling:
    """A rule that says which frames of a clip to take.

    `Sampling(frames=32)` takes 32 frames, evenly spread; `Sampling(fps=1.0, max_frames=768)` takes the frame
    on screen every second, and at most 768; `Sampling.all()` takes every frame, without a cap. No frame is
    ever taken twice, so a clip with fewer frames than asked gives all of them once.

    Attributes:
        frames: Number of frames, at least 1. 32 when no other rule is given.
        fps: Frames per second of the clip's time, above 0. Excludes `frames`.
        max_frames: The most frames that `fps` may give, at least 1; above it, that many are spread evenly.
            Only with `fps`, and then 768 unless given.
        every_frame: Take all frames. Excludes the rest.

    Raises:
        ValueError: A value is out of range, or two rules are given at once.
    """

    frames: int | None = None
    fps: float | None = None
    max_frames: int | None = None
    every_frame: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.every_frame, bool):
            raise ValueError(f"every_frame={self.every_frame!r}: must be True or False")
        rules = [self.frames is not None, self.fps is not None, self.every_frame]
        if sum(rules) > 1:
            raise ValueError(
                f"frames={self.frames!r}, fps={self.fps!r}, every_frame={self.every_frame!r}: "
                "give one of them only"
            )
        if self.max_frames is not None and self.fps is None:
            raise ValueError(f"max_frames={self.max_frames!r}: it caps fps only, so give fps too")
        if self.fps is not None:
            if isinstance(self.fps, bool) or not isinstance(self.fps, int | float | np.integer | np.floating):
                raise ValueError(f"fps={self.fps!r}: must be a number above 0")
            if not (math.isfinite(self.fps) and self.fps > 0):
                raise ValueError(f"fps={self.fps!r}: must be a finite number above 0")
            if self.max_frames is None:
                object.__setattr__(self, "max_frames", DEFAULT_MAX_FRAMES)
        elif not any(rules):
            object.__setattr__(self, "frames", DEFAULT_FRAMES)
        for field in ("frames", "max_frames"):
            value = getattr(self, field)
            if value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
                raise ValueError(f"{field}={value!r}: must be a whole number, at least 1")

    @classmethod
    def all(cls) -> "Sampling":
        """Every frame of the clip. Memory then grows with the clip."""
        return cls(every_frame=True)


def sample_indices(sampling: Sampling, clip: int | NDArray[np.floating]) -> NDArray[np.int64]:
    """Gives the numbers of the frames to take, ascending and without duplicates.

    Args:
        sampling: The rule.
        clip: Presentation timestamps of all frames, in seconds, ascending, `[n]`; or their count, where the
            rule needs no time.

    Returns:
        Frame numbers, int64 `[<= n]`; empty for a clip without frames.

    Raises:
        ValueError: An fps rule with a count, or timestamps that are not a finite ascending row.
    """
    if isinstance(clip, int | np.integer):
        if clip < 0:
            raise ValueError(f"clip={clip!r}: a count of frames must be at least 0")
        if sampling.fps is not None:
            raise ValueError(f"clip={clip!r}: fps sampling needs the frames' timestamps, not their count")
        count = int(clip)
    else:
        count = len(_checked_times(clip))
    if sampling.fps is not None and count:
        shown = _on_screen(np.asarray(clip, dtype=np.float64), float(sampling.fps))
        assert sampling.max_frames is not None
        return shown if len(shown) <= sampling.max_frames else _uniform(count, sampling.max_frames)
    return _uniform(count, count if sampling.frames is None else sampling.frames)


def _checked_times(times: NDArray[np.floating]) -> NDArray[np.floating]:
    times = np.asarray(times)
    if times.ndim != 1 or not np.isfinite(times).all() or (np.diff(times) < 0).any():
        raise ValueError(
            f"clip of shape {times.shape}: timestamps must be one row of finite, ascending seconds"
        )
    return times


def _uniform(count: int, wanted: int) -> NDArray[np.int64]:
    if wanted >= count:
        return np.arange(count, dtype=np.int64)
    return np.linspace(0, count - 1, wanted).astype(np.int64)


def _on_screen(times: NDArray[np.float64], fps: float) -> NDArray[np.int64]:
    """The frames on screen at the ticks k / fps after the first timestamp, up to the last timestamp."""
    # A frame is shown at a tick if its first tick (at or after its start) comes before the next frame's.
    # Work and memory therefore follow the frames, not the ticks: a huge fps costs nothing.
    late = min(CLOCK_ROUNDING, 0.1 / fps)
    first_tick = np.ceil((times - times[0] - late) * fps)
    past_end = np.floor((times[-1] - times[0]) * fps + late * fps) + 1
    next_tick = np.append(first_tick[1:], past_end)
    return np.flatnonzero(next_tick > first_tick).astype(np.int64)
