"""Reads a clip: opens it, counts its frames, and gives the sampled ones as RGB."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import av
import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from sharpv.errors import VideoError
from sharpv.video.clip import Clip, open_clip
from sharpv.video.decode import UnpredictedFrame, frames_at, intact_frames
from sharpv.video.index import PacketIndex, index_packets
from sharpv.video.sample import Sampling, sample_indices
from sharpv.video.source import Source, open_source

__all__ = ["Video", "read_video"]

logger = logging.getLogger(__name__)

DEFAULT_SAMPLING = Sampling()
# A measured frame rate this near the header's is the header's, seen through rounded timestamps.
RATE_TOLERANCE = 0.01
# Of libswscale: BICUBIC, FULL_CHR_H_INT and ACCURATE_RND, which PyAV names since 18. Left alone it repeats
# each colour of 4:2:0 over four pixels, and the outlines of small things turn into stairs.
SMOOTH_COLOURS = 0x4 | 0x2000 | 0x40000


@dataclass(frozen=True, eq=False)
class Video:
    """Sampled frames of one clip.

    Attributes:
        frames: RGB pictures, upright, uint8 `[n, h, w, 3]`.
        timestamps: When each is shown, in seconds from the clip's first frame, float64 `[n]`.
        indices: Number of each within the clip, from 0, int64 `[n]`.
        total_frames: Frames in the clip; of a damaged clip, the decodable ones.
        fps: The clip's average frame rate; None if it cannot be told (a single frame).
        duration: The clip's length in seconds, to the end of its last frame; None if it cannot be told.
        warnings: What was wrong with the clip, one sentence each; empty for a sound one.
        comment: What the file says of itself, as `write_video` may write it; None if it says nothing.
    """

    frames: NDArray[np.uint8]
    timestamps: NDArray[np.float64]
    indices: NDArray[np.int64]
    total_frames: int
    fps: float | None
    duration: float | None
    warnings: tuple[str, ...] = ()
    comment: str | None = None


@dataclass(frozen=True)
class _Clock:
    """When the frames of a clip are shown, in seconds from the first: times float64 `[total]`."""

    times: NDArray[np.float64]
    fps: float | None
    duration: float | None


def read_video(
    source: Source, sampling: Sampling = DEFAULT_SAMPLING, *, stream: int = 0, max_side: int | None = None
) -> Video:
    """Reads the sampled frames of a clip.

    Only what the sampling asks for is decoded and kept, so memory follows the frames asked, not the clip's
    length. Rotation metadata is applied; a frame whose size differs from the clip's first is scaled to it.

    Args:
        source: A path, the bytes of a file, a binary file object (read from its start, left open), an
            `http://` or `https://` URL (downloaded once, at most 4 GiB), or a base64 `data:` URL.
        sampling: Which frames; 32 evenly spread ones by default.
        stream: Which video stream of the file, from 0.
        max_side: Scale larger frames down, the longer side to this many pixels, as each is read: 32 frames of
            4K are 796 MB, at 683 pixels (384 the other way) 25 MB. Give no less than the model's processor
            needs. Its pixels are then still not those that it would make of the whole frames, so answers
            may differ. None, the default, leaves frames as they are.

    Returns:
        The frames, their times and numbers, and what is known of the clip. A clip with fewer frames than
        asked gives all of them once. A clip that is cut short or damaged is sampled over what can be decoded,
        and `warnings` says so (the log too).

    Raises:
        VideoError: The source cannot be opened, is no video, lacks that stream, or holds nothing decodable.
        ValueError: `max_side` is no whole number of at least 1.
    """
    if max_side is not None and (isinstance(max_side, bool) or not isinstance(max_side, int) or max_side < 1):
        raise ValueError(f"max_side={max_side!r}: must be a whole number of pixels, at least 1, or None")
    with open_source(source) as (file, name):
        try:
            video = _read_indexed(file, name, sampling, stream, max_side)
        except (UnpredictedFrame, av.FFmpegError):
            video = _read_in_order(file, name, sampling, stream, max_side)
    for warning in video.warnings:
        logger.warning("%s", warning)
    return video


def _read_indexed(file: BinaryIO, name: str, sampling: Sampling, stream: int, max_side: int | None) -> Video:
    """The fast route: packets are counted, and only what the wanted frames need is decoded."""
    with open_clip(file, name, stream, threads=True) as clip:
        index = index_packets(clip)
        if not index.exact:
            raise UnpredictedFrame
        clock = _clock(clip, index.pts.tolist(), index.last_duration)
        wanted = sample_indices(sampling, clock.times)
        frames = _to_rgb(frames_at(clip, index, wanted), wanted, max_side)
    return _video(clip, frames, wanted, clock, _warnings(name, index, len(index.pts), 0))


def _read_in_order(file: BinaryIO, name: str, sampling: Sampling, stream: int, max_side: int | None) -> Video:
    """The sure route: decode everything once to count what is intact, and again to take the wanted frames."""
    with open_clip(file, name, stream, threads=False) as clip:
        index = index_packets(clip)
    pts: list[int | None] = []
    damaged = 0
    with open_clip(file, name, stream, threads=False) as clip:
        for frame in intact_frames(clip):
            if frame is None:
                damaged += 1
            else:
                pts.append(frame.pts)
        if not pts:
            raise VideoError(
                f"nothing in {name} can be decoded ({damaged} damaged frames); "
                "the file is broken or was cut before its first whole frame"
            )
        clock = _clock(clip, pts, index.last_duration)
    wanted = sample_indices(sampling, clock.times)
    with open_clip(file, name, stream, threads=False) as clip:
        intact = enumerate(frame for frame in intact_frames(clip) if frame is not None)
        frames = _to_rgb(intact, wanted, max_side)
    return _video(clip, frames, wanted, clock, _warnings(name, index, len(pts), damaged))


def _to_rgb(
    decoded: Iterator[tuple[int, VideoFrame]], wanted: NDArray[np.int64], max_side: int | None
) -> NDArray[np.uint8]:
    """Converts the wanted ones among (number, frame) pairs and stops after the last: uint8 `[n, h, w, 3]`."""
    rgb: NDArray[np.uint8] | None = None
    # One for all frames: a frame's own works out libswscale's tables anew, half the time of a small frame.
    reformatter = VideoReformatter()
    turns = filled = width = height = 0
    for number, frame in decoded:
        if number != wanted[filled]:
            continue
        if rgb is None:
            width, height = _size_within(max_side, frame.width, frame.height)
            turns = round(frame.rotation / 90) % 4
            upright = (width, height) if turns % 2 else (height, width)
            rgb = np.empty((len(wanted), *upright, 3), dtype=np.uint8)
        picture = reformatter.reformat(frame, width, height, "rgb24", interpolation=SMOOTH_COLOURS)
        rgb[filled] = np.rot90(picture.to_ndarray(), turns)
        filled += 1
        if filled == len(wanted):
            return rgb
    raise UnpredictedFrame


def _size_within(max_side: int | None, width: int, height: int) -> tuple[int, int]:
    """The size in its own proportions, the longer side at most `max_side`; never enlarged, never 0."""
    longer = max(width, height)
    if max_side is None or longer <= max_side:
        return width, height
    return max(1, round(width * max_side / longer)), max(1, round(height * max_side / longer))


def _clock(clip: Clip, pts: list[int | None], last_duration: int) -> _Clock:
    """Seconds of each frame, the average rate and the length, from timestamps in presentation order."""
    stream = clip.stream
    rate = float(stream.average_rate or stream.guessed_rate or 0) or None
    ticks = np.array([0 if p is None else p for p in pts], dtype=np.int64)
    if None in pts or stream.time_base is None or (np.diff(ticks) < 0).any():
        # No usable timestamps (a raw stream, some AVI files): frames follow each other at the stream's rate.
        times = np.arange(len(pts)) / (rate or 25.0)
        return _Clock(times, rate, len(pts) / rate if rate else None)
    times = (ticks - ticks[0]) * stream.time_base.numerator / stream.time_base.denominator
    span = float(times[-1])
    measured = (len(pts) - 1) / span if span > 0 else None
    if measured is not None and (rate is None or abs(measured - rate) > RATE_TOLERANCE * rate):
        rate = measured
    last = float(last_duration * stream.time_base) or (1 / rate if rate else 0.0)
    return _Clock(times, rate, span + last or None)


def _warnings(name: str, index: PacketIndex, total: int, damaged: int) -> tuple[str, ...]:
    warnings = []
    if index.promised is not None:
        warnings.append(f"{name} is cut short: {total} of {index.promised} frames can be decoded")
    elif index.exact and total < len(index.pts):
        warnings.append(f"{name} is damaged: {total} of {len(index.pts)} frames can be decoded")
    elif damaged:
        warnings.append(f"{name} is damaged: {damaged} frames were skipped and {total} can be decoded")
    return tuple(warnings)


def _video(
    clip: Clip,
    frames: NDArray[np.uint8],
    wanted: NDArray[np.int64],
    clock: _Clock,
    warnings: tuple[str, ...],
) -> Video:
    return Video(
        frames=frames,
        timestamps=clock.times[wanted],
        indices=wanted,
        total_frames=len(clock.times),
        fps=clock.fps,
        duration=clock.duration,
        warnings=warnings,
        comment=clip.container.metadata.get("comment") or None,
    )
