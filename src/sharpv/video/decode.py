"""Frames of an opened clip, by two routes that agree: straight to the wanted ones, or all in order."""

from collections.abc import Iterator
from typing import BinaryIO

import av
import numpy as np
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from sharpv.errors import VideoError
from sharpv.video.clip import Clip, open_clip
from sharpv.video.clock import Clock, read_clock
from sharpv.video.index import Keyframe, PacketIndex, index_packets

__all__ = ["UnpredictedFrame", "count_intact", "frames_at", "intact_frames"]

# A seek empties the decoder's pipeline, which costs about as much as decoding this many frames.
SEEK_COST = 12


class UnpredictedFrame(Exception):
    """The decoder gave other frames than the packets promised; only a decode in order can tell them apart."""


def frames_at(clip: Clip, index: PacketIndex, wanted: NDArray[np.int64]) -> Iterator[tuple[int, VideoFrame]]:
    """Yields (frame number, frame) for the wanted frames, ascending, and decodes little else.

    Every decoded frame is checked against the index, so that a number is never given to another frame.

    Raises:
        UnpredictedFrame: Index and decoder disagree.
    """
    for keyframe, targets in _runs(index, wanted):
        number = int(np.searchsorted(index.pts, keyframe.pts))
        waiting = iter(targets)
        target = next(waiting)
        for frame in _frames_from(clip, keyframe):
            if frame.pts is not None and frame.pts < keyframe.pts:
                continue  # leans on frames before the keyframe, which were skipped
            if frame.is_corrupt or number >= len(index.pts) or frame.pts != index.pts[number]:
                raise UnpredictedFrame
            if number == target:
                yield number, frame
                target = next(waiting, -1)
                if target < 0:
                    break
            number += 1
        else:
            raise UnpredictedFrame


def _runs(index: PacketIndex, wanted: NDArray[np.int64]) -> list[tuple[Keyframe, list[int]]]:
    """Groups the wanted frames: one keyframe to start at, then the frames to take on from there."""
    key_pts = np.array([k.pts for k in index.keyframes], dtype=np.int64)
    starts = np.searchsorted(key_pts, index.pts[wanted], side="right") - 1
    if (starts < 0).any():
        raise UnpredictedFrame
    runs: list[tuple[Keyframe, list[int]]] = []
    for number, start in zip(wanted.tolist(), starts.tolist(), strict=True):
        keyframe = index.keyframes[start]
        skipped = int(np.searchsorted(index.pts, keyframe.pts)) - runs[-1][1][-1] if runs else SEEK_COST + 1
        if skipped > SEEK_COST:
            runs.append((keyframe, [number]))
        else:
            runs[-1][1].append(number)
    return runs


def _frames_from(clip: Clip, keyframe: Keyframe) -> Iterator[VideoFrame]:
    # MP4 seeks by dts, Matroska by pts. The smaller lands at or before the keyframe in both; packets up to
    # it are passed over undecoded.
    clip.container.seek(min(keyframe.pts, keyframe.dts), stream=clip.stream)
    found = False
    for packet in clip.container.demux(clip.stream):
        found = found or (packet.is_keyframe and packet.pts == keyframe.pts)
        if found:
            yield from packet.decode()


def intact_frames(clip: Clip) -> Iterator[VideoFrame | None]:
    """Decodes a freshly opened clip in order; yields None for each damaged packet or frame and goes on."""
    packets = clip.container.demux(clip.stream)
    doubtful: set[int | None] = set()
    while True:
        try:
            packet = next(packets, None)
        except av.FFmpegError:
            yield None
            return
        if packet is None:
            return
        if packet.is_corrupt:
            # The decoder may still get something out of it that later frames build on, but it is not shown.
            doubtful.add(packet.pts)
        try:
            frames = packet.decode()
        except av.FFmpegError:
            doubtful.discard(packet.pts)
            yield None
            continue
        for frame in frames:
            yield None if frame.is_corrupt or frame.pts in doubtful else frame
            doubtful.discard(frame.pts)


def count_intact(file: BinaryIO, name: str, stream: int) -> tuple[PacketIndex, Clock, int]:
    """Decodes a file in order, to learn when the frames are shown that `intact_frames` gives.

    Args:
        file: Seekable binary file; stays open.
        name: What messages call it.
        stream: Which of its video streams, as for `open_clip`.

    Returns:
        What the packets promise, the clock of the intact frames, and the number of damaged ones.

    Raises:
        VideoError: No frame is intact, or the file cannot be opened.
    """
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
        return index, read_clock(clip, pts, index.last_duration), damaged
