"""Writes frames to an mp4 file."""

import os
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from itertools import chain
from typing import cast

import av
import numpy as np
from av.container import OutputContainer
from av.video.reformatter import ColorRange, Colorspace
from av.video.stream import VideoStream
from numpy.typing import NDArray

from sharpv._files import whole_file
from sharpv.errors import VideoError

__all__ = ["write_video"]


MAX_CRF = 51
MIN_FPS, MAX_FPS = 0.001, 1000.0
TICKS_PER_SECOND = 90_000
INDEX_FIRST = {"movflags": "+faststart"}
PRESETS = (
    "ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow", "placebo",
)  # fmt: skip
# Of ITU-T H.273: primaries and transfer of sRGB, as near as video has them.
BT709 = 1


def write_video(
    frames: Iterable[NDArray[np.uint8]],
    path: str | os.PathLike[str],
    *,
    fps: float = 24.0,
    timestamps: Sequence[float] | NDArray[np.float64] | None = None,
    crf: int | None = None,
    preset: str | None = None,
    comment: str | None = None,
) -> None:
    """Writes an mp4, in H.264 where this build of FFmpeg has libx264, else in MPEG-4 Part 2.

    The pixel format is yuv420p in the limited range of BT.601, which every player shows. It needs even sizes:
    an odd last row or column is repeated once, so the file is up to one pixel larger than the frames. The
    index stands at the start, so that a browser plays the file while it loads.

    Args:
        frames: RGB pictures, an array uint8 `[n, h, w, 3]`, or an iterable of arrays uint8 `[h, w, 3]` of one
            size, which are written as they come, none held; n >= 1.
        path: Where to; an existing file is replaced once the new one is whole.
        fps: Frames per second, 0.001 to 1000.
        timestamps: When each frame is shown, in seconds, ascending, `[n]`, for a film of no constant rate;
            fps is then only what the encoder plans with.
        crf: Quality of libx264, 0 (best) to 51; None leaves it at its default of 23. MPEG-4 Part 2 has none.
        preset: Speed of libx264, "ultrafast" to "placebo"; None leaves it at its default of "medium".
        comment: What the file says of itself; `read_video` gives it as `Video.comment`.

    Raises:
        ValueError: Frames of another shape or dtype, an impossible fps, crf or preset, or fewer timestamps
            than frames.
        VideoError: The file cannot be written.
    """
    if not MIN_FPS <= fps <= MAX_FPS:
        raise ValueError(f"fps={fps!r}: must be a number from {MIN_FPS} to {MAX_FPS:g}")
    if crf is not None and not 0 <= crf <= MAX_CRF:
        raise ValueError(f"crf={crf!r}: must be 0 (best) to {MAX_CRF}")
    if preset is not None and preset not in PRESETS:
        raise ValueError(f"preset={preset!r}: must be one of {', '.join(PRESETS)}")
    pictures = _checked(frames)
    first = next(pictures)
    try:
        with whole_file(path) as part, av.open(part, "w", format="mp4", options=INDEX_FIRST) as container:
            if comment:
                container.metadata["comment"] = comment
            stream = _add_stream(container, first, Fraction(fps).limit_denominator(1001), crf, preset)
            ticks = None if timestamps is None else _ticks(timestamps)
            if ticks is not None:
                stream.codec_context.time_base = Fraction(1, TICKS_PER_SECOND)
            for number, picture in enumerate(chain([first], pictures)):
                frame = av.VideoFrame.from_ndarray(_even(picture), format="rgb24")
                if ticks is not None:
                    frame.pts, frame.time_base = _at(ticks, number), Fraction(1, TICKS_PER_SECOND)
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
    except (av.FFmpegError, OSError) as error:
        reason = error.strerror or error
        raise VideoError(
            f"cannot write {os.fspath(path)!r}: {reason}; check the folder and the disk"
        ) from None


def _checked(frames: Iterable[NDArray[np.uint8]]) -> Iterator[NDArray[np.uint8]]:
    """Yields the frames, each found to be a picture of the first one's size."""
    size: tuple[int, ...] | None = None
    for number, frame in enumerate(frames):
        picture = np.asarray(frame)
        if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3 or 0 in picture.shape:
            raise ValueError(
                f"frame {number}: {picture.dtype} of shape {picture.shape}; "
                "must be uint8 [h, w, 3], not empty"
            )
        size = size or picture.shape
        if picture.shape != size:
            raise ValueError(f"frame {number} has shape {picture.shape}, and the first {size}: give one size")
        yield picture
    if size is None:
        raise ValueError("got no frames: give at least one, uint8 [h, w, 3]")


def _ticks(timestamps: Sequence[float] | NDArray[np.float64]) -> NDArray[np.int64]:
    """When frames are shown, counted from the first; each later than the one before."""
    seconds = np.asarray(timestamps, dtype=np.float64)
    ticks = np.round((seconds - seconds[:1]) * TICKS_PER_SECOND).astype(np.int64)
    numbers = np.arange(len(ticks))
    return np.maximum.accumulate(ticks - numbers) + numbers


def _at(ticks: NDArray[np.int64], number: int) -> int:
    if number >= len(ticks):
        raise ValueError(f"got {len(ticks)} timestamps and more frames: give one for each")
    return int(ticks[number])


def _add_stream(
    container: OutputContainer, first: NDArray[np.uint8], rate: Fraction, crf: int | None, preset: str | None
) -> VideoStream:
    codec, options = "mpeg4", {}
    if "libx264" in av.codecs_available:
        given = {"crf": crf, "preset": preset}
        codec, options = "libx264", {name: str(value) for name, value in given.items() if value is not None}
    stream = cast(VideoStream, container.add_stream(codec, rate=rate, options=options))
    stream.height, stream.width = _even(first).shape[:2]
    stream.pix_fmt = "yuv420p"
    # swscale makes BT.601 of RGB. Unless all four are told, browsers take large frames for BT.709, and the
    # colours shift.
    codec_context = stream.codec_context
    codec_context.colorspace, codec_context.color_range = Colorspace.ITU601, ColorRange.MPEG
    codec_context.color_primaries = codec_context.color_trc = BT709
    return stream


def _even(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Repeats an odd last row or column."""
    height, width = picture.shape[:2]
    return np.pad(picture, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
