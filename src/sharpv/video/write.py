"""Writes frames to an mp4 file."""

import math
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import cast

import av
import numpy as np
from av.container import OutputContainer
from av.video.reformatter import ColorRange, Colorspace
from av.video.stream import VideoStream
from numpy.typing import NDArray

from sharpv.errors import VideoError

__all__ = ["write_video"]


MAX_CRF = 51
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
        path: Where to; an existing file is replaced. None is left there if writing fails.
        fps: Frames per second, above 0.
        crf: Quality of libx264, 0 (best) to 51; None leaves it at its default of 23. MPEG-4 Part 2 has none.
        preset: Speed of libx264, "ultrafast" to "placebo"; None leaves it at its default of "medium".
        comment: What the file says of itself; `read_video` gives it as `Video.comment`.

    Raises:
        ValueError: Frames of another shape or dtype, or an impossible fps, crf or preset.
        VideoError: The file cannot be written.
    """
    if not (math.isfinite(fps) and fps > 0):
        raise ValueError(f"fps={fps!r}: must be a finite number above 0")
    if crf is not None and not 0 <= crf <= MAX_CRF:
        raise ValueError(f"crf={crf!r}: must be 0 (best) to {MAX_CRF}")
    if preset is not None and preset not in PRESETS:
        raise ValueError(f"preset={preset!r}: must be one of {', '.join(PRESETS)}")
    pictures = _checked(frames)
    first = next(pictures)
    try:
        with _created(os.fspath(path)) as container:
            if comment:
                container.metadata["comment"] = comment
            stream = _add_stream(container, first, Fraction(fps).limit_denominator(1001), crf, preset)
            for picture in chain([first], pictures):
                frame = av.VideoFrame.from_ndarray(_even(picture), format="rgb24")
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


@contextmanager
def _created(path: str) -> Iterator[OutputContainer]:
    """Opens an mp4 for writing, and removes it after an error."""
    # FFmpeg opens the file late: what could not be written must not be removed as if it were ours.
    Path(path).open("wb").close()
    try:
        with av.open(path, "w", format="mp4", options={"movflags": "+faststart"}) as container:
            yield container
    except BaseException:
        if Path(path).is_file():
            Path(path).unlink()
        raise


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
