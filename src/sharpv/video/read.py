"""Reads a clip: opens it, counts its frames, and gives the sampled ones as RGB."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import av
import numpy as np
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from sharpv.video.clip import Clip, open_clip
from sharpv.video.clock import Clock, read_clock
from sharpv.video.decode import UnpredictedFrame, count_intact, frames_at, intact_frames
from sharpv.video.index import PacketIndex, index_packets
from sharpv.video.rgb import check_max_side, pictures
from sharpv.video.sample import Sampling, sample_indices
from sharpv.video.source import Source, open_source

__all__ = ["Video", "read_video"]

logger = logging.getLogger(__name__)

DEFAULT_SAMPLING = Sampling()


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
    check_max_side(max_side)
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
        clock = read_clock(clip, index.pts.tolist(), index.last_duration)
        wanted = sample_indices(sampling, clock.times)
        frames = _to_rgb(frames_at(clip, index, wanted), wanted, max_side)
    return _video(clip, frames, wanted, clock, _warnings(name, index, len(index.pts), 0))


def _read_in_order(file: BinaryIO, name: str, sampling: Sampling, stream: int, max_side: int | None) -> Video:
    """The sure route: decode everything once to count what is intact, and again to take the wanted frames."""
    index, clock, damaged = count_intact(file, name, stream)
    wanted = sample_indices(sampling, clock.times)
    with open_clip(file, name, stream, threads=False) as clip:
        intact = enumerate(frame for frame in intact_frames(clip) if frame is not None)
        frames = _to_rgb(intact, wanted, max_side)
    return _video(clip, frames, wanted, clock, _warnings(name, index, len(clock.times), damaged))


def _to_rgb(
    decoded: Iterator[tuple[int, VideoFrame]], wanted: NDArray[np.int64], max_side: int | None
) -> NDArray[np.uint8]:
    """Converts the wanted ones among (number, frame) pairs and stops after the last: uint8 `[n, h, w, 3]`."""
    chosen = pictures(_chosen(decoded, wanted), max_side)
    first = next(chosen)
    rgb = np.empty((len(wanted), *first.shape), dtype=np.uint8)
    rgb[0] = first
    for filled, picture in enumerate(chosen, start=1):
        rgb[filled] = picture
    return rgb


def _chosen(decoded: Iterator[tuple[int, VideoFrame]], wanted: NDArray[np.int64]) -> Iterator[VideoFrame]:
    numbers = iter(wanted.tolist())
    target = next(numbers)
    for number, frame in decoded:
        if number == target:
            yield frame
            target = next(numbers, -1)
            if target < 0:
                return
    raise UnpredictedFrame


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
    clock: Clock,
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
