"""Frames with their dropped tokens dimmed."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sharpv.core import token_grid
from sharpv.errors import InputError
from sharpv.report import VideoReport

__all__ = ["dim_dropped", "kept_grid", "resize", "sheet"]

Frames = NDArray[np.uint8]

DIM = 0.45
LUMINANCE = np.array([0.299, 0.587, 0.114])
PAPER = 255


def kept_grid(video: VideoReport, grid: tuple[int, int] | None = None) -> NDArray[np.bool_]:
    """Returns which tokens of each frame were kept, as bool `[n, rows, cols]`.

    Args:
        video: what was kept.
        grid: (rows, cols) of a frame's tokens, which the report does not hold. None takes a square: right for
            a model that sees every frame as one, such as the toys; a model that keeps the frame's own shape
            (Qwen-VL) may lay 36 tokens out as 4 x 9.

    Raises:
        InputError: a grid of another number of tokens, or none for tokens that fill no square.
    """
    rows, cols = token_grid(video.tokens_per_frame, grid)
    if grid is None and rows != cols:
        raise InputError(
            f"the {video.tokens_per_frame} tokens of a frame fill no square, and the report does not tell "
            f"their grid: give grid=(rows, cols), for example ({rows}, {cols})"
        )
    return np.array(video.kept, dtype=np.bool_).reshape(video.frames, rows, cols)


def dim_dropped(frames: Frames, kept: NDArray[np.bool_]) -> Frames:
    """Turns the pixels of dropped tokens dark grey; those of kept tokens stay as they are.

    Args:
        frames: RGB, uint8 `[n, h, w, 3]`.
        kept: bool `[n, rows, cols]`; a token stands for an equal share of its frame.

    Raises:
        ValueError: not one grid for each frame.
    """
    if len(frames) != len(kept):
        raise ValueError(
            f"{len(frames)} frames and {len(kept)} grids of tokens: give one grid for each frame"
        )
    height, width = frames.shape[1:3]
    rows = np.arange(height) * kept.shape[1] // height
    columns = np.arange(width) * kept.shape[2] // width
    visible = kept[:, rows][:, :, columns, None]
    grey = (frames @ LUMINANCE * DIM).astype(np.uint8)[..., None]
    return np.where(visible, frames, grey)


def resize(frames: Frames, height: int, width: int) -> Frames:
    """Scales RGB frames `[n, h, w, 3]` to `[n, height, width, 3]`, by the mean of the pixels covered."""
    scaled = [Image.fromarray(frame).resize((width, height), Image.Resampling.BOX) for frame in frames]
    return np.stack([np.asarray(frame) for frame in scaled])


def sheet(frames: Frames, per_row: int, gap: int = 8) -> Image.Image:
    """Lays frames `[n, h, w, 3]` out in rows on white, `gap` pixels apart."""
    n, height, width = frames.shape[:3]
    rows = -(-n // per_row)
    canvas = np.full((rows * (height + gap) + gap, per_row * (width + gap) + gap, 3), PAPER, dtype=np.uint8)
    for i, frame in enumerate(frames):
        top, left = (i // per_row) * (height + gap) + gap, (i % per_row) * (width + gap) + gap
        canvas[top : top + height, left : left + width] = frame
    return Image.fromarray(canvas)
