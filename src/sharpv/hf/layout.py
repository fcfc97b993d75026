"""How a family lays the tokens of its videos out: one function per way of doing so, not per model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isqrt
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from sharpv.errors import InputError

__all__ = ["VideoLayout", "counted", "grid", "per_image", "stacked", "video_placeholders"]


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
    inputs: Mapping[str, Any], model: PreTrainedModel, counts: Sequence[int], separators: int
) -> list[VideoLayout]:
    """Videos of any size, packed: `video_grid_thw [videos, 3]` counts patches, which m x m are merged.

    Args:
        inputs: what the processor returned; `video_merge_sizes [videos]` gives m where there is one.
        model: the base model; else its vision tower `visual` gives m.
        counts: video placeholders of each prompt.
        separators: tokens after the frames of each video.

    Raises:
        InputError: the grids are missing, or the processor has dropped tokens already.
    """
    grids = inputs.get("video_grid_thw")
    if grids is None:
        raise InputError(
            "got pixel_values_videos without video_grid_thw: pass everything that the processor returned"
        )
    compressed = inputs.get("video_compression_mask")
    if compressed is not None and not bool(compressed.all()):
        raise InputError(
            f"got {int(compressed.sum())} of {compressed.numel()} video tokens, the processor dropped the "
            "others: build the prompt with processor(..., use_token_compression=False), and let SharpV choose"
        )
    sizes = inputs.get("video_merge_sizes")
    merges = [model.visual.spatial_merge_size] * len(grids) if sizes is None else sizes.tolist()
    layouts = []
    for (frames, height, width), merge in zip(grids.tolist(), merges, strict=True):
        rows, columns = height // merge, width // merge
        layouts.append(VideoLayout(frames, rows * columns, (rows, columns), separators))
    return layouts


def stacked(
    inputs: Mapping[str, Any], model: PreTrainedModel, counts: Sequence[int], separators: int
) -> list[VideoLayout]:
    """Videos of equal size, stacked: `pixel_values_videos [videos, n, channels, height, width]`.

    Args:
        inputs: what the processor returned.
        model: the base model.
        counts: video placeholders of each prompt; they tell f, which depends on the model's pooling.
        separators: tokens after the frames of each video.

    Raises:
        InputError: the placeholders cannot be shared out evenly over the frames.
    """
    shape = tuple(inputs["pixel_values_videos"].shape)
    videos, frames = shape[:2]
    tokens = sum(counts)
    tokens_per_frame, rest = divmod(tokens - videos * separators, max(videos * frames, 1))
    if len(shape) != 5 or not videos * frames or rest or tokens_per_frame < 1:
        raise InputError(
            f"got {tokens} video placeholders for pixel_values_videos {list(shape)}, which is no whole "
            "number per frame: build prompt and pixels with the model's own processor"
        )
    return [_square(frames, tokens_per_frame, separators)] * videos


def per_image(
    inputs: Mapping[str, Any], model: PreTrainedModel, counts: Sequence[int], separators: int
) -> list[VideoLayout]:
    """Frames as images, of as many tokens each: all images of a prompt are one video.

    Args:
        inputs: what the processor returned; `pixel_values [images, ...]` tells f,
        model: the base model, unless it does: `image_seq_len`.
        counts: image placeholders of each prompt.
        separators: tokens after the frames of each video.

    Raises:
        InputError: the placeholders cannot be shared out evenly over the images.
    """
    images = len(inputs["pixel_values"])
    tokens_per_frame = getattr(model, "image_seq_len", None) or sum(counts) // max(images, 1)
    if tokens_per_frame < 1 or any(count % tokens_per_frame for count in counts):
        raise InputError(
            f"got {list(counts)} image placeholders per prompt for {images} images, which is no whole number "
            "per image: build prompt and pixels with the model's own processor"
        )
    return [_square(count // tokens_per_frame, tokens_per_frame, separators) for count in counts if count]


def counted(
    inputs: Mapping[str, Any], model: PreTrainedModel, counts: Sequence[int], separators: int
) -> list[VideoLayout]:
    """Frames one after another, `num_frames_per_video [videos]`; each video's have as many patches.

    Args:
        inputs: what the processor returned; `video_position_ids [frames, patches, 2]` is -1 at padding.
        model: the base model, whose vision tower pools m x m patches.
        counts: video placeholders of each prompt.
        separators: tokens after the frames of each video.

    Raises:
        InputError: the numbers are missing.
    """
    lengths, places = inputs.get("num_frames_per_video"), inputs.get("video_position_ids")
    if lengths is None or places is None:
        raise InputError(
            "got pixel_values_videos without num_frames_per_video and video_position_ids: pass everything "
            "that the processor returned"
        )
    merge = model.config.vision_config.pooling_kernel_size
    layouts, start = [], 0
    for frames in lengths.tolist():
        columns, rows = (int(side) + 1 for side in places[start].amax(0))
        rows, columns = rows // merge, columns // merge
        layouts.append(VideoLayout(frames, rows * columns, (rows, columns), separators))
        start += frames
    return layouts


def _square(frames: int, tokens_per_frame: int, separators: int) -> VideoLayout:
    side = isqrt(tokens_per_frame)
    square = (side, side) if side * side == tokens_per_frame else None
    return VideoLayout(frames, tokens_per_frame, square, separators)


def video_placeholders(
    model: PreTrainedModel, placeholder: str, input_ids: Tensor | None, inputs_embeds: Tensor | None = None
) -> Tensor:
    """Returns where the tokens of videos stand in a prompt, bool `[B, L]`.

    Args:
        model: the base model.
        placeholder: name of the token in the model's configuration.
        input_ids: int64 `[B, L]`, or None where the caller embedded the prompt.
        inputs_embeds: `[B, L, d]`, read only without `input_ids`.

    Raises:
        InputError: neither ids nor embeddings.
    """
    token = getattr(model.config, placeholder)
    if input_ids is not None:
        return input_ids == token
    if inputs_embeds is None:
        raise InputError("got a video without a prompt: pass input_ids, as the processor returned them")
    embedding = model.get_input_embeddings()(torch.tensor(token, device=inputs_embeds.device))
    return (inputs_embeds == embedding).all(-1)
