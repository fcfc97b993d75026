"""Writes frames to an mp4 file."""

import math
import os
from fractions import Fraction
from typing import cast

import av
import numpy as np
from av.video.stream import VideoStream
from numpy.typing import NDArray

from sharpv.errors import VideoError

__all__ = ["write_video"]


MAX_CRF = 51


def write_video(
    frames: NDArray[np.uint8],
    path: str | os.PathLike[str],
    *,
    fps: float = 24.0,
    crf: int | None = None,
    comment: str | None = None,
) -> None:
    """Writes an mp4, in H.264 where this build of FFmpeg has libx264, else in MPEG-4 Part 2.

    The pixel format is yuv420p, which every player shows. It needs even sizes: an odd last row or column is
    repeated once, so the file is up to one pixel larger than the frames.

    Args:
        frames: RGB pictures, uint8 `[n, h, w, 3]`, n >= 1.
        path: Where to; an existing file is replaced.
        fps: Frames per second, above 0.
        crf: Quality of libx264, 0 (best) to 51; None leaves it at its default of 23. MPEG-4 Part 2 has none.
        comment: What the file says of itself; `read_video` gives it as `Video.comment`.

    Raises:
        ValueError: Frames of another shape or dtype, or an impossible fps or crf.
        VideoError: The file cannot be written.
    """
    frames = np.asarray(frames)
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[3] != 3 or 0 in frames.shape:
        raise ValueError(
            f"frames: {frames.dtype} of shape {frames.shape}; must be uint8 [n, h, w, 3], not empty"
        )
    if not (math.isfinite(fps) and fps > 0):
        raise ValueError(f"fps={fps!r}: must be a finite number above 0")
    if crf is not None and not 0 <= crf <= MAX_CRF:
        raise ValueError(f"crf={crf!r}: must be 0 (best) to {MAX_CRF}")
    height, width = frames.shape[1:3]
    rate = Fraction(fps).limit_denominator(1001)
    padding = ((0, height % 2), (0, width % 2), (0, 0))
    codec = "libx264" if "libx264" in av.codecs_available else "mpeg4"
    options = {"crf": str(crf)} if codec == "libx264" and crf is not None else {}
    try:
        with av.open(os.fspath(path), "w", format="mp4") as container:
            if comment:
                container.metadata["comment"] = comment
            stream = cast(VideoStream, container.add_stream(codec, rate=rate, options=options))
            stream.width, stream.height = width + width % 2, height + height % 2
            stream.pix_fmt = "yuv420p"
            for picture in frames:
                frame = av.VideoFrame.from_ndarray(np.pad(picture, padding, mode="edge"), format="rgb24")
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
    except (av.FFmpegError, OSError) as error:
        reason = error.strerror or error
        raise VideoError(
            f"cannot write {os.fspath(path)!r}: {reason}; check the folder and the disk"
        ) from None
