"""A clip with what was dropped dimmed, as an mp4: the sampled frames, or all of them.

Frames are drawn and written one at a time, so that memory does not grow with the clip. Their longer side is
320 to 960 pixels: larger and smaller ones are scaled to that. A corner says which frame it is, when it is
shown, and how many of its tokens were kept.
"""

import os
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageDraw, ImageFont

from sharpv._files import same_file
from sharpv.errors import InputError
from sharpv.report import Report, VideoReport
from sharpv.video import stream_video, write_video
from sharpv.video.source import Source
from sharpv.viz.geometry import Grid, Window, chosen_video, kept_tokens, llm_frames, token_map
from sharpv.viz.pictures import caption, checked_frames, paint, scaled

__all__ = ["write_all_frames", "write_sampled"]

Frame = NDArray[np.uint8]
Seconds = Sequence[float] | NDArray[np.float64]

MIN_SIDE, MAX_SIDE = 320, 960
# Fewer frames a second would be a slide show.
MIN_FPS = 4.0
INK, BACKING = (255, 255, 255), (0, 0, 0, 200)
# Flat, dimmed pictures take no more bytes by it, and half the time.
PRESET = "veryfast"
LETTER_PER_SIDE, SMALLEST_LETTER = 48, 12


def write_sampled(
    frames: ArrayLike,
    timestamps: Seconds,
    report: Report,
    path: str | os.PathLike[str],
    *,
    video: int = 0,
    grid: Grid | None = None,
    window: Window | None = None,
) -> None:
    """Writes the frames that the model was shown.

    They follow each other as fast as in the clip, or at 4 frames a second where that would be slower.

    Args:
        frames: RGB, uint8 `[m, h, w, 3]`, as `Video.frames`.
        timestamps: seconds of each, `[m]`, as `Video.timestamps`.
        report: of the request.
        path: where to; an existing file is replaced.
        video: which video of the request, from 0.
        grid: (rows, cols) of a frame's tokens, for a report that does not tell it.
        window: (top, left, bottom, right) of what they cover, in shares of height and width, for a report
            that does not tell it.

    Raises:
        InputError: other frames than the report's, not one time for each, no such video, or a grid or window
            that is not known.
        VideoError: the file cannot be written.
    """
    frames, chosen = checked_frames(frames), chosen_video(report, video)
    held = llm_frames(chosen, len(frames))
    if len(timestamps) != len(frames):
        raise InputError(f"got {len(timestamps)} timestamps of {len(frames)} frames: give one for each")
    span = timestamps[-1] - timestamps[0]
    fps = max(MIN_FPS, (len(frames) - 1) / span) if span > 0 else MIN_FPS
    write_video(_drawn(frames, timestamps, held, chosen, grid, window), path, fps=fps, preset=PRESET)


def write_all_frames(
    source: Source,
    timestamps: Seconds,
    report: Report,
    path: str | os.PathLike[str],
    *,
    stream: int = 0,
    video: int = 0,
    grid: Grid | None = None,
    window: Window | None = None,
) -> None:
    """Writes every frame of the clip, in its own time, with the tokens of the last sampled one until then.

    Frames before the first sampled one are drawn with the tokens of that.

    Args:
        source: the clip, as for `read_video`.
        timestamps: seconds of the frames that the model was shown, `[m]`, as `Video.timestamps`.
        report: of the request.
        path: where to; an existing file is replaced.
        stream: which video stream of the source, from 0.
        video: as for `write_sampled`.
        grid: as for `write_sampled`.
        window: as for `write_sampled`.

    Raises:
        InputError: times of other frames than the report's, no such video, a grid or window that is not
            known, or the clip itself as the file to write.
        VideoError: the source cannot be read, or the file not written.
    """
    chosen = chosen_video(report, video)
    held = llm_frames(chosen, len(timestamps))
    if same_file(path, source):
        raise InputError(
            f"cannot write {os.fspath(path)!r}: it is the clip, which would be gone: give another name"
        )
    with stream_video(source, stream=stream, max_side=MAX_SIDE) as clip:
        sampled = np.searchsorted(timestamps, clip.timestamps, side="right") - 1
        drawn = _drawn(clip.frames, clip.timestamps, held[np.maximum(sampled, 0)], chosen, grid, window)
        write_video(drawn, path, timestamps=clip.timestamps, preset=PRESET)


def _drawn(
    frames: Iterable[Frame],
    timestamps: Seconds,
    held: NDArray[np.int64],
    video: VideoReport,
    grid: Grid | None,
    window: Window | None,
) -> Iterator[Frame]:
    """Yields each frame with the tokens of its frame of the LLM, `held[i]`, and its caption."""
    kept = kept_tokens(video)
    places: NDArray[np.int64] | None = None
    for number, (frame, seconds, t) in enumerate(zip(frames, timestamps, held, strict=True), start=1):
        fitting = _fitted(frame)
        if places is None:
            places = token_map(video, *fitting.shape[:2], grid=grid, window=window)
        picture = paint(fitting, places, kept[t])
        _write(picture, caption(number, seconds, kept[t]))
        yield np.asarray(picture)


def _fitted(frame: Frame) -> Frame:
    longer = max(frame.shape[:2])
    side = min(max(longer, MIN_SIDE), MAX_SIDE)
    return frame if side == longer else scaled(frame, side)


def _write(picture: Image.Image, text: str) -> None:
    """Writes lines of text on a dark ground into the upper left corner; players have their bar below."""
    size = max(SMALLEST_LETTER, max(picture.size) // LETTER_PER_SIDE)
    font, margin = ImageFont.load_default(size), size // 2
    draw = ImageDraw.Draw(picture, "RGBA")
    _, _, right, bottom = draw.multiline_textbbox((margin, margin), text, font=font)
    draw.rectangle((0, 0, right + margin, bottom + margin), fill=BACKING)
    draw.multiline_text((margin, margin), text, fill=INK, font=font)
