"""How a family lays the tokens of its videos out: one function per way of doing so, not per model."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import isqrt
from typing import Any

from torch import Tensor
from transformers import PreTrainedModel

from sharpv.errors import InputError

__all__ = ["VideoLayout", "grid", "stacked", "video_placeholders"]


@dataclass(frozen=True, slots=True)
class VideoLayout:
    """The tokens of one video, in the order in which they stand in the prompt.

    Attributes:
        frames: n, frames as the LLM sees them.
        tokens_per_frame: f, in raster order.
        grid: (rows, columns) of a frame's tokens, or None where the frame is no known rectangle.
        separators: tokens that follow the last frame and belong to none; never pruned.
    """

    frames: int
    tokens_per_frame: int
    grid: tuple[int, int] | None = None
    separators: int = 0

    @property
    def tokens(self) -> int:
        """Placeholders of the video in the prompt."""
        return self.frames * self.tokens_per_frame + self.separators


def grid(
    inputs: Mapping[str, Any], model: PreTrainedModel, placeholders: int, separators: int
) -> list[VideoLayout]:
    """Videos of any size, packed: `video_grid_thw [videos, 3]` counts patches, which the tower merges m x m.

    Args:
        inputs: what the processor returned.
        model: the base model, with the vision tower as `visual`.
        placeholders: video placeholders in the prompts.
        separators: tokens after the frames of each video.

    Raises:
        InputError: the grids are missing.
    """
    if inputs.get("video_grid_thw") is None:
        raise InputError(
            "got pixel_values_videos without video_grid_thw: pass everything that the processor returned"
        )
    merge = model.visual.spatial_merge_size
    layouts = []
    for frames, height, width in inputs["video_grid_thw"].tolist():
        rows, columns = height // merge, width // merge
        layouts.append(VideoLayout(frames, rows * columns, (rows, columns), separators))
    return layouts


def stacked(
    inputs: Mapping[str, Any], model: PreTrainedModel, placeholders: int, separators: int
) -> list[VideoLayout]:
    """Videos of equal size, stacked: `pixel_values_videos [videos, n, channels, height, width]`.

    Args:
        inputs: what the processor returned.
        model: the base model.
        placeholders: video placeholders in the prompts; they tell f, which depends on the model's pooling.
        separators: tokens after the frames of each video.

    Raises:
        InputError: the placeholders cannot be shared out evenly over the frames.
    """
    shape = tuple(inputs["pixel_values_videos"].shape)
    videos, frames = shape[:2]
    tokens_per_frame, rest = divmod(placeholders - videos * separators, max(videos * frames, 1))
    if len(shape) != 5 or not videos * frames or rest or tokens_per_frame < 1:
        raise InputError(
            f"got {placeholders} video placeholders for pixel_values_videos {list(shape)}, which is no whole "
            "number per frame: build prompt and pixels with the model's own processor"
        )
    side = isqrt(tokens_per_frame)
    square = (side, side) if side * side == tokens_per_frame else None
    return [VideoLayout(frames, tokens_per_frame, square, separators)] * videos


def video_placeholders(
    model: PreTrainedModel, input_ids: Tensor | None, inputs_embeds: Tensor | None = None
) -> Tensor:
    """Returns where the tokens of videos stand in a prompt, bool `[B, L]`.

    The model's own rule decides: some families mark the frames of a video with the image token.

    Args:
        model: the base model.
        input_ids: int64 `[B, L]`, or None where the caller embedded the prompt.
        inputs_embeds: `[B, L, d]`, read only without `input_ids`.
    """
    if input_ids is not None:
        inputs_embeds = model.get_input_embeddings().weight.new_empty((*input_ids.shape, 0))
    mask = model.get_placeholder_mask(input_ids, inputs_embeds=inputs_embeds)[1]
    return mask.any(-1) if mask.dim() == 3 else mask
