"""Frames as pictures in which what was dropped is dim."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageDraw, ImageFont

from sharpv.errors import InputError
from sharpv.report import Report
from sharpv.viz.geometry import Grid, Window, chosen_video, kept_tokens, llm_frames, token_map

__all__ = ["caption", "checked_frames", "overlay", "paint", "scaled", "strip"]

Frames = NDArray[np.uint8]

# Dropped pixels turn to this share of their grey. A frame may be dark itself, so a line goes around what was
# kept, too.
DIM = 0.45
EDGE = (240, 240, 240)
LINE_PER_PIXELS = 600
# What no token sees turns pale, and is hatched: a frame may be pale itself.
FADE, HATCH, HATCH_EVERY, HATCH_WIDTH = 0.3, 0.75, 8, 2
DIMMED = [int(DIM * grey) for grey in range(256)]
FADED = [int(255 - FADE * (255 - grey)) for grey in range(256)]
HATCHED = [int(HATCH * grey) for grey in FADED]

PAPER, INK = (255, 255, 255), (34, 34, 34)
GAP, ROW_GAP, LETTER_PER_SIDE = 10, 18, 22


def overlay(
    frames: ArrayLike,
    report: Report,
    *,
    video: int = 0,
    grid: Grid | None = None,
    window: Window | None = None,
) -> list[Image.Image]:
    """Draws a clip's frames with what the LLM did not get to read.

    Kept tokens are as they were, with a light line around them; dropped tokens are dark grey; what no token
    sees, where the processor crops, is pale and hatched. A method that acts inside the LLM is drawn as of
    its last layer. A token that stands for a whole frame, such as a class token, has no place: whether it
    was kept does not show.

    Args:
        frames: RGB, uint8 `[m, h, w, 3]`: those that the model was shown, as `Video.frames`.
        report: of the request.
        video: which video of the request, from 0.
        grid: (rows, cols) of a frame's tokens, for a report that does not tell it.
        window: (top, left, bottom, right) of what they cover, in shares of height and width, for a report
            that does not tell it.

    Returns:
        One picture per frame, of its size. The frames of the clip that are one to the LLM look alike.

    Raises:
        InputError: other frames than the report's, no such video, or a grid or window that is not known.
    """
    frames, chosen = checked_frames(frames), chosen_video(report, video)
    held, kept = llm_frames(chosen, len(frames)), kept_tokens(chosen)
    height, width = frames.shape[1:3]
    places = token_map(chosen, height, width, grid=grid, window=window)
    return [paint(frame, places, kept[t]) for frame, t in zip(frames, held, strict=True)]


def strip(
    frames: ArrayLike,
    report: Report,
    *,
    timestamps: Sequence[float] | NDArray[np.float64] | None = None,
    per_row: int = 4,
    side: int = 320,
    video: int = 0,
    grid: Grid | None = None,
    window: Window | None = None,
) -> Image.Image:
    """Lays the pictures of `overlay` out on white, each over its number, its time and what was kept.

    Args:
        frames: as for `overlay`.
        report: of the request.
        timestamps: seconds of each frame, `[m]`.
        per_row: frames side by side.
        side: pixels of the longer side of a frame; smaller and larger ones are scaled.
        video: as for `overlay`.
        grid: as for `overlay`.
        window: as for `overlay`.

    Raises:
        InputError: as `overlay`, or not one time for each frame.
    """
    frames, chosen = checked_frames(frames), chosen_video(report, video)
    if timestamps is not None and len(timestamps) != len(frames):
        raise InputError(f"got {len(timestamps)} timestamps of {len(frames)} frames: give one for each")
    small = np.stack([scaled(frame, side) for frame in frames])
    cells = overlay(small, report, video=video, grid=grid, window=window)
    font = ImageFont.load_default(max(10, side // LETTER_PER_SIDE))
    kept = kept_tokens(chosen)
    texts = [
        caption(number, None if timestamps is None else timestamps[number - 1], kept[t])
        for number, t in enumerate(llm_frames(chosen, len(frames)), start=1)
    ]
    return _sheet(cells, texts, per_row, font)


def caption(number: int, seconds: float | None, kept: NDArray[np.bool_]) -> str:
    """Says in two lines which frame it is, from 1, and how many of its tokens `[f]` were kept."""
    time = "" if seconds is None else f", {seconds:.2f} s"
    return f"frame {number}{time}\nkept {kept.sum()} of {len(kept)} tokens"


def paint(
    frame: Frames, places: NDArray[np.int64], kept: NDArray[np.bool_], line: int | None = None
) -> Image.Image:
    """Draws one frame.

    Args:
        frame: RGB, uint8 `[h, w, 3]`.
        places: the token at each pixel, `[h, w]`, of `token_map`.
        kept: bool `[f]`.
        line: width of the line around kept tokens, in pixels; None takes one that suits the frame.
    """
    picture = Image.fromarray(frame)
    grey = picture.convert("L")
    seen = places >= 0
    bright = seen & kept[places]
    picture.paste(grey.point(DIMMED), mask=Image.fromarray(~bright))
    if not seen.all():
        y, x = np.ogrid[: frame.shape[0], : frame.shape[1]]
        hatched = (x + y) % HATCH_EVERY < HATCH_WIDTH
        picture.paste(grey.point(FADED), mask=Image.fromarray(~seen))
        picture.paste(grey.point(HATCHED), mask=Image.fromarray(~seen & hatched))
    line = max(1, round(max(bright.shape) / LINE_PER_PIXELS)) if line is None else line
    picture.paste(EDGE, mask=Image.fromarray(_around(bright, line)))
    return picture


def scaled(frame: Frames, side: int) -> Frames:
    """Scales a frame `[h, w, 3]` in its own proportions, the longer side to `side` pixels."""
    height, width = frame.shape[:2]
    size = [max(1, round(pixels * side / max(height, width))) for pixels in (width, height)]
    return np.asarray(Image.fromarray(frame).resize((size[0], size[1]), Image.Resampling.LANCZOS))


def checked_frames(frames: ArrayLike) -> Frames:
    """Returns frames as one array.

    Raises:
        InputError: they are no RGB pictures of 8 bits and one size.
    """
    frames = np.asarray(frames)
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[3] != 3 or 0 in frames.shape:
        raise InputError(
            f"got frames of {frames.dtype}, shape {frames.shape}: give RGB, uint8 [m, h, w, 3], as "
            "sharpv.video.read_video does"
        )
    return frames


def _around(inside: NDArray[np.bool_], width: int) -> NDArray[np.bool_]:
    """The pixels outside that lie within `width` pixels of the inside, in its rows and columns."""
    near = inside.copy()
    for step in range(1, width + 1):
        near[step:] |= inside[:-step]
        near[:-step] |= inside[step:]
        near[:, step:] |= inside[:, :-step]
        near[:, :-step] |= inside[:, step:]
    return near & ~inside


def _sheet(
    cells: Sequence[Image.Image],
    texts: Sequence[str],
    per_row: int,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
) -> Image.Image:
    """Lays pictures of one size out in rows, each over its text."""
    draw = ImageDraw.Draw(Image.new("RGB", (1, 1)))
    boxes = [draw.multiline_textbbox((0, 0), text, font=font) for text in texts]
    width = max(cells[0].width, *(round(box[2]) for box in boxes))
    height = cells[0].height + GAP // 2 + max(round(box[3]) for box in boxes)
    per_row = min(per_row, len(cells))
    rows = -(-len(cells) // per_row)
    sheet = Image.new("RGB", (per_row * (width + GAP) + GAP, GAP + rows * (height + ROW_GAP)), PAPER)
    draw = ImageDraw.Draw(sheet)
    for number, (cell, text) in enumerate(zip(cells, texts, strict=True)):
        left, top = GAP + number % per_row * (width + GAP), GAP + number // per_row * (height + ROW_GAP)
        sheet.paste(cell, (left, top))
        draw.multiline_text((left, top + cell.height + GAP // 2), text, fill=INK, font=font)
    return sheet
