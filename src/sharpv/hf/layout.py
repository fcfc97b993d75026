"""How a family lays the tokens of its videos out: one function per way of doing so, not per model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isqrt
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from sharpv.errors import InputError

__all__ = [
    "WHOLE",
    "VideoLayout",
    "Window",
    "counted",
    "grid",
    "per_image",
    "stacked",
    "video_placeholders",
]

Window = tuple[float, float, float, float]
"""(top, left, bottom, right) of a part of a picture, in shares of its height and width."""

WHOLE: Window = (0.0, 0.0, 1.0, 1.0)


@dataclass(frozen=True, slots=True)
class VideoLayout:
    """The tokens of one video, in the order in which they stand in the prompt.

    Attributes:
        frames: n, frames as the LLM sees them.
        tokens_per_frame: f: the leading ones, then the grid in raster order.
        grid: (rows, columns) of a frame's tokens, or None where they are no known rectangle.
        separators: tokens that follow the last frame and belong to none; never pruned.
        leading: tokens of each frame before its grid, which stand for all of it.
        source_frames: frames of the clip that one frame holds; the last may hold fewer.
        window: part of the picture, as the processor made it, that the grid covers; None where the model
            does not say.
        cropped: whether that picture may show a part of the clip's frame, which only the processor knows.
    """

    frames: int
    tokens_per_frame: int
    grid: tuple[int, int] | None = None
    separators: int = 0
    leading: int = 0
    source_frames: int = 1
    window: Window | None = WHOLE
    cropped: bool = False

    @property
    def tokens(self) -> int:
        """Placeholders of the video in the prompt."""
        return self.frames * self.tokens_per_frame + self.separators


def grid(
    inputs: Mapping[str, Any],
    model: PreTrainedModel,
    counts: Sequence[int],
    separators: int = 0,
    leading: int = 0,
) -> list[VideoLayout]:
    """Videos of any size, packed: `video_grid_thw [videos, 3]` counts patches, which m x m are merged.

    Args:
        inputs: what the processor returned; `video_merge_sizes [videos]` gives m where there is one.
        model: the base model; else its vision tower `visual` gives m. A tower without the setting
            `temporal_patch_size` reads the clip's frames one by one.
        counts: video placeholders of each prompt.
        separators: tokens after the frames of each video.
        leading: tokens of each frame before its grid.

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
    source_frames = getattr(model.config.vision_config, "temporal_patch_size", 1)
    layouts = []
    for (frames, height, width), merge in zip(grids.tolist(), merges, strict=True):
        rows, columns = height // merge, width // merge
        tokens = leading + rows * columns
        layouts.append(VideoLayout(frames, tokens, (rows, columns), separators, leading, source_frames))
    return layouts


def stacked(
    inputs: Mapping[str, Any],
    model: PreTrainedModel,
    counts: Sequence[int],
    separators: int = 0,
    leading: int = 0,
) -> list[VideoLayout]:
    """Videos of equal size, stacked: `pixel_values_videos [videos, n, channels, height, width]`.

    Args:
        inputs: what the processor returned.
        model: the base model, whose first convolution cuts the frames into patches.
        counts: video placeholders of each prompt; they tell f, which depends on the model's pooling.
        separators: tokens after the frames of each video.
        leading: tokens of each frame before its grid.

    Raises:
        InputError: the placeholders cannot be shared out evenly over the frames.
    """
    shape = tuple(inputs["pixel_values_videos"].shape)
    videos, frames = shape[:2]
    tokens = sum(counts)
    tokens_per_frame, rest = divmod(tokens - videos * separators, max(videos * frames, 1))
    if len(shape) != 5 or not videos * frames or rest or tokens_per_frame <= leading:
        raise InputError(
            f"got {tokens} video placeholders for pixel_values_videos {list(shape)}, which is no whole "
            "number per frame: build prompt and pixels with the model's own processor"
        )
    return [_square(model, shape[-2:], frames, tokens_per_frame, separators, leading)] * videos


def per_image(
    inputs: Mapping[str, Any],
    model: PreTrainedModel,
    counts: Sequence[int],
    separators: int = 0,
    leading: int = 0,
) -> list[VideoLayout]:
    """Frames as images, of as many tokens each: all images of a prompt are one video, none a tile of a frame.

    Args:
        inputs: what the processor returned; `pixel_values [images, ...]` tells f,
        model: the base model, unless it does: `image_seq_len`; its first convolution cuts the images into
            patches.
        counts: image placeholders of each prompt.
        separators: tokens after the frames of each video.
        leading: tokens of each frame before its grid.

    Raises:
        InputError: the placeholders cannot be shared out evenly over the images.
    """
    images, size = len(inputs["pixel_values"]), inputs["pixel_values"].shape[-2:]
    tokens_per_frame = getattr(model, "image_seq_len", None) or sum(counts) // max(images, 1)
    if tokens_per_frame <= leading or any(count % tokens_per_frame for count in counts):
        raise InputError(
            f"got {list(counts)} image placeholders per prompt for {images} images, which is no whole number "
            "per image: build prompt and pixels with the model's own processor"
        )
    return [
        _square(model, size, count // tokens_per_frame, tokens_per_frame, separators, leading)
        for count in counts
        if count
    ]


def counted(
    inputs: Mapping[str, Any],
    model: PreTrainedModel,
    counts: Sequence[int],
    separators: int = 0,
    leading: int = 0,
) -> list[VideoLayout]:
    """Frames one after another, `num_frames_per_video [videos]`; each video's have as many patches.

    Args:
        inputs: what the processor returned; `video_position_ids [frames, patches, 2]` is -1 at padding.
        model: the base model, whose vision tower pools m x m patches.
        counts: video placeholders of each prompt.
        separators: tokens after the frames of each video.
        leading: tokens of each frame before its grid.

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
        tokens = leading + rows * columns
        layouts.append(VideoLayout(frames, tokens, (rows, columns), separators, leading))
        start += frames
    return layouts


def _square(
    model: PreTrainedModel,
    size: Sequence[int],
    frames: int,
    tokens_per_frame: int,
    separators: int,
    leading: int,
) -> VideoLayout:
    """Returns the layout of pictures of a size (height, width); the grid is known where they are square."""
    side = isqrt(tokens_per_frame - leading)
    known = side * side == tokens_per_frame - leading and size[0] == size[1]
    grid = (side, side) if known else None
    window = _patched(model, size)
    return VideoLayout(frames, tokens_per_frame, grid, separators, leading, window=window)


def _patched(model: PreTrainedModel, size: Sequence[int]) -> Window | None:
    """Returns the part of a picture that whole patches cover; what is left at its end is not read."""
    patches = next((module for module in model.modules() if isinstance(module, nn.Conv2d)), None)
    if patches is None:
        return None
    bottom, right = (side // patch * patch / side for side, patch in zip(size, patches.stride, strict=True))
    return 0.0, 0.0, bottom, right


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
