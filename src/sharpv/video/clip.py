"""An opened clip: FFmpeg's container and the one video stream that we read."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO

import av
from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream

from sharpv.errors import VideoError

__all__ = ["Clip", "open_clip"]

BUFFER_BYTES = 256 << 10


@dataclass(frozen=True)
class Clip:
    """An open container and the video stream chosen in it."""

    container: InputContainer
    stream: VideoStream


class _Content:
    """A file without its name, so that FFmpeg judges by content: a .txt would open as an ANSI-art video."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.seek = file.seek
        self.tell = file.tell

    def read(self, size: int) -> bytes:
        # FFmpeg's buffer holds `size` bytes and PyAV copies whatever it gets.
        return self._file.read(size)[:size]


@contextmanager
def open_clip(file: BinaryIO, name: str, stream: int, *, threads: bool) -> Iterator[Clip]:
    """Opens a file from its start.

    Args:
        file: Seekable binary file; stays open.
        name: What messages call it.
        stream: Which of its video streams, from 0; cover pictures do not count.
        threads: Decode several frames at once. Faster, but errors then surface at other packets than
            their own.

    Raises:
        VideoError: Not a video, no such stream, or no decoder for it.
    """
    file.seek(0)
    try:
        # No protocol may be opened: the bytes are at hand, and a playlist must not name files or hosts of its
        # choice.
        container = av.open(
            _Content(file),
            "r",
            container_options={"protocol_whitelist": "none"},
            metadata_errors="replace",
            buffer_size=BUFFER_BYTES,
        )
    except (av.FFmpegError, OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise VideoError(
            f"cannot read {name} as a video: {reason}; "
            "it is not a video file, is a playlist, or lacks its index (an mp4 cut short)"
        ) from None
    with container:
        chosen = _choose_stream(container, name, stream)
        chosen.codec_context.thread_type = "AUTO" if threads else "SLICE"
        yield Clip(container, chosen)


def _choose_stream(container: InputContainer, name: str, number: int) -> VideoStream:
    streams = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
    if not streams:
        kinds = " and ".join(sorted({s.type for s in container.streams})) or "no"
        raise VideoError(f"{name} has no video stream, only {kinds} streams; give a file with pictures")
    if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number < len(streams):
        count = "1 video stream" if len(streams) == 1 else f"{len(streams)} video streams"
        raise VideoError(
            f"stream={number!r}: {name} has {count}; give a whole number from 0 to {len(streams) - 1}"
        )
    if streams[number].codec_context is None:
        raise VideoError(f"no decoder for video stream {number} of {name}; convert it to H.264, VP9 or AV1")
    return streams[number]
