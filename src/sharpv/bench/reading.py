"""Times reading a clip: the sampled frames sought out, against decoding everything in order."""

import statistics
import time
from collections.abc import Callable, Sequence
from itertools import count
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from sharpv.bench.where import where
from sharpv.video.read import Video, read_video
from sharpv.video.rgb import SMOOTH_COLOURS
from sharpv.video.sample import Sampling

__all__ = ["run"]


def run(
    clips: Sequence[str],
    frames: int = 32,
    max_side: int = 384,
    repeats: int = 7,
    log: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Checks and times every clip.

    Four sides take turns, after one round of warm-up: `read_video`; the same with `max_side`; and plain PyAV
    decoding in order up to the last sampled frame, with FFmpeg's choice of threads and without threads.

    Args:
        clips: Paths.
        frames: How many to sample.
        max_side: Of the scaled side, in pixels.
        repeats: Timed rounds, at least 7 for a figure to publish.
        log: Takes one line per clip as it is done.

    Returns:
        `cases` (clip, size, frames in all, bytes of the frames whole and scaled; wall and processor
        milliseconds of each side, as median, min and max over the rounds) and where they were measured.

    Raises:
        VideoError: A clip cannot be read.
        RuntimeError: The sides give other pictures, so that no time is worth measuring.
    """
    cases = []
    for clip in clips:
        cases.append(_case(clip, Sampling(frames=frames), max_side, repeats))
        log(_line(cases[-1]))
    settings = {"frames": frames, "max_side": max_side, "repeats": repeats}
    return {"bench": "reading", "cases": cases, **settings, **where("cpu")}


def _case(clip: str, sampling: Sampling, max_side: int, repeats: int) -> dict[str, Any]:
    video = read_video(clip, sampling)
    sides: dict[str, Callable[[], NDArray[np.uint8]]] = {
        "sampled": lambda: read_video(clip, sampling).frames,
        "scaled": lambda: read_video(clip, sampling, max_side=max_side).frames,
        "in_order": lambda: _in_order(clip, video, "AUTO"),
        "in_order_unthreaded": lambda: _in_order(clip, video, "NONE"),
    }
    rounds: dict[str, list[tuple[float, float]]] = {name: [] for name in sides}
    held: dict[str, NDArray[np.uint8]] = {}
    for _ in range(repeats + 1):
        for name, side in sides.items():
            wall, processor = time.perf_counter(), time.process_time()
            held[name] = side()
            rounds[name].append((time.perf_counter() - wall, time.process_time() - processor))
    for name in ("in_order", "in_order_unthreaded"):
        if not np.array_equal(held[name], video.frames):
            raise RuntimeError(f"{clip}: read_video gives other pictures than a decode in order")
    return {
        "clip": clip,
        "size": list(video.frames.shape[1:3]),
        "total_frames": video.total_frames,
        "seconds": video.duration,
        "bytes": {name: held[name].nbytes for name in ("sampled", "scaled")},
        "wall_ms": {name: _spread([wall for wall, _ in times[1:]]) for name, times in rounds.items()},
        "processor_ms": {name: _spread([spent for _, spent in times[1:]]) for name, times in rounds.items()},
    }


def _in_order(clip: str, video: Video, threads: str) -> NDArray[np.uint8]:
    wanted = iter(video.indices.tolist())
    target = next(wanted)
    pictures = []
    with av.open(clip) as container:
        stream = container.streams.video[0]
        stream.thread_type = threads
        for number, frame in zip(count(), container.decode(stream), strict=False):
            if number == target:
                picture = frame.to_ndarray(format="rgb24", interpolation=SMOOTH_COLOURS)
                pictures.append(np.rot90(picture, round(frame.rotation / 90) % 4))
                target = next(wanted, -1)
                if target < 0:
                    break
    return np.stack(pictures)


def _spread(seconds: list[float]) -> list[float]:
    return [round(1e3 * value, 1) for value in (statistics.median(seconds), min(seconds), max(seconds))]


def _line(case: dict[str, Any]) -> str:
    spent = ", ".join(f"{name} {spread[0]:.0f} ms" for name, spread in case["wall_ms"].items())
    return f"{case['clip']} ({case['total_frames']} frames): {spent}"
