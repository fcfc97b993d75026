"""Where the frames of a clip are, and how many, from its packets alone: nothing is decoded."""

from dataclasses import dataclass

import av
import numpy as np
from av.packet import Packet
from av.stream import Stream
from av.video.stream import VideoStream
from numpy.typing import NDArray

from sharpv.video.clip import Clip

__all__ = ["Keyframe", "PacketIndex", "index_packets"]

# Containers that state a duration but no frame count, and state it exactly (others estimate it).
TIMED_FORMATS = ("matroska", "webm")
# How far (seconds) a complete file's packets may stay behind the duration in its header.
DURATION_SLACK = 0.5


@dataclass(frozen=True)
class Keyframe:
    """A packet at which decoding can start; times in the stream's time base."""

    pts: int
    dts: int


@dataclass(frozen=True)
class PacketIndex:
    """What the packets of one video stream promise.

    Attributes:
        pts: Presentation timestamps of the frames to be shown, ascending, int64 `[n]`, in the stream's time
            base.
        keyframes: Ascending by pts.
        exact: Every packet has its own timestamp and is whole, so that frame i is the one that carries
            `pts[i]`.
        promised: Number of frames in the header if the packets end before it (the file is cut short), else
            None.
        last_duration: Duration of the last frame, in the stream's time base; 0 if unknown.
    """

    pts: NDArray[np.int64]
    keyframes: tuple[Keyframe, ...]
    exact: bool
    promised: int | None
    last_duration: int


def index_packets(clip: Clip) -> PacketIndex:
    """Reads all packets of an opened clip, once."""
    stream = clip.stream
    pts: list[int] = []
    keyframes: list[Keyframe] = []
    exact = True
    seen = 0
    reached = 0.0
    last = (-(1 << 62), 0)
    timed = not stream.frames and any(f in clip.container.format.name for f in TIMED_FORMATS)
    try:
        for packet in clip.container.demux() if timed else clip.container.demux(stream):
            if timed:
                reached = max(reached, _end(packet))
            if packet.stream_index != stream.index or (not packet.size and packet.dts is None):
                continue
            seen += 1
            exact = exact and packet.pts is not None and not packet.is_corrupt and packet.size > 0
            if packet.pts is None or (stream.codec_context.name == "vp8" and _hidden_vp8(packet)):
                continue
            if packet.is_keyframe:
                keyframes.append(Keyframe(packet.pts, packet.pts if packet.dts is None else packet.dts))
            if not packet.is_discard and not packet.is_corrupt:
                pts.append(packet.pts)
                last = max(last, (packet.pts, packet.duration or 0))
    except av.FFmpegError:
        exact = False  # what follows the damage is unknown; decoding finds out
    shown = np.unique(np.array(pts, dtype=np.int64))
    return PacketIndex(
        pts=shown,
        keyframes=tuple(sorted(keyframes, key=lambda k: k.pts)),
        exact=exact and 0 < len(shown) == len(pts),
        promised=_promised(clip, seen, shown, reached if timed else None),
        last_duration=last[1],
    )


def _hidden_vp8(packet: "Packet[Stream] | Packet[VideoStream]") -> bool:
    """An alternate reference frame, decoded but never shown: bit 4 of the frame tag is 0."""
    return packet.size > 0 and not memoryview(packet)[0] & 0x10


def _end(packet: "Packet[Stream] | Packet[VideoStream]") -> float:
    if packet.pts is None or packet.time_base is None:
        return 0.0
    return float((packet.pts + (packet.duration or 0)) * packet.time_base)


def _promised(clip: Clip, seen: int, shown: NDArray[np.int64], reached: float | None) -> int | None:
    """The header's frame count, if the packets stop short of it."""
    stream = clip.stream
    if stream.frames:
        if seen >= stream.frames:
            return None
        # An edit list hides frames of a complete file, but then the stream's duration is shorter too.
        if len(shown) > 1 and stream.duration is not None:
            span = int(shown[-1] - shown[0])
            if span + 1.5 * span / (len(shown) - 1) >= stream.duration:
                return None
        return stream.frames
    if reached is None or not clip.container.duration or not stream.average_rate:
        return None
    duration = clip.container.duration / av.time_base
    if reached >= duration - DURATION_SLACK:
        return None
    return max(seen + 1, round(duration * stream.average_rate))
