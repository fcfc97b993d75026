"""Vision towers whose attention can be read, as data: where it is, and how patches become tokens."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import isqrt
from typing import Any

import torch
from torch import Tensor

from sharpv.errors import InputError

__all__ = ["TOWERS", "Tower"]

Pool = Callable[[Any, Mapping[str, Any], Sequence[Tensor]], Tensor]
"""Takes the base model, the arguments of its encoder, and what the patches of each frame received,
`[patches]`; returns the same of each token, with all tokens of a frame one after another."""


@dataclass(frozen=True, slots=True)
class Tower:
    """What has to be known of a family's vision tower to read its attention.

    Attributes:
        module: name of the tower in the base model.
        attention: name of the attention in one of its layers.
        pool: makes tokens of patches, as the features are made.
        class_token: whether each frame starts with one, whose attention is what is read.
        layer: name of the setting that says how many layers the features come through; None: all.
        kind: `model_type` of the tower where the family takes others, too.
    """

    module: str
    attention: str
    pool: Pool
    class_token: bool = False
    layer: str | None = None
    kind: str | None = None


def _as_they_are(base: Any, call: Mapping[str, Any], frames: Sequence[Tensor]) -> Tensor:
    return torch.stack(list(frames))


def _bilinear(base: Any, call: Mapping[str, Any], frames: Sequence[Tensor]) -> Tensor:
    return base.apply_pooling(torch.stack(list(frames)).unsqueeze(-1)).squeeze(-1)


def _resampled(base: Any, call: Mapping[str, Any], frames: Sequence[Tensor]) -> Tensor:
    """Leaves the class token out, and pools as LLaVA-NeXT-Video does before its projector."""
    return base.vision_resampler(torch.stack(list(frames))[:, 1:].unsqueeze(-1)).squeeze(-1)


def _shuffled(base: Any, call: Mapping[str, Any], frames: Sequence[Tensor]) -> Tensor:
    """Leaves InternVL's class token out; a token is the mean of the patches that it concatenates."""
    patches = torch.stack(list(frames))[:, 1:, None]
    side = isqrt(patches.shape[1])
    return base.pixel_shuffle(patches.unflatten(1, (side, side)), base.config.downsample_ratio).mean(-1)


def _connected(base: Any, call: Mapping[str, Any], frames: Sequence[Tensor]) -> Tensor:
    """As `_shuffled`, for SmolVLM, whose frames could be padded."""
    mask = call.get("pixel_attention_mask")
    pixels = None if mask is None else mask.bool().flatten(-2)
    if pixels is not None and bool((pixels.any(-1) & ~pixels.all(-1)).any()):
        raise InputError(
            "got frames with padding, whose attention is not read: give frames of one size, or choose a "
            "method that looks at features alone, such as vidcom2"
        )
    patches = torch.stack(list(frames)).unsqueeze(-1)
    return base.connector.pixel_shuffle(patches, base.connector.scale_factor).mean(-1)


def _merged(base: Any, call: Mapping[str, Any], frames: Sequence[Tensor]) -> Tensor:
    """Patches of a token stand one after another."""
    return torch.cat(list(frames)).view(-1, base.visual.spatial_merge_size**2).mean(-1)


def _windowed(base: Any, call: Mapping[str, Any], frames: Sequence[Tensor]) -> Tensor:
    """As `_merged`, for Qwen2.5-VL, whose tower goes through each frame window by window."""
    tower, merge = base.visual, base.visual.spatial_merge_size
    side = tower.window_size // merge // tower.patch_size
    sizes = call["video_grid_thw"].tolist()
    shapes = [(height // merge, width // merge) for count, height, width in sizes for _ in range(count)]
    if len(frames) != len(shapes):
        raise InputError(
            "got a tower whose last layer does not attend to whole frames: choose a method that looks at "
            "features alone, such as vidcom2"
        )
    tokens = []
    for frame, (rows, columns) in zip(frames, shapes, strict=True):
        row, column = torch.arange(rows) // side, torch.arange(columns) // side
        window = row.unsqueeze(-1) * -(-columns // side) + column
        back = window.flatten().argsort(stable=True).argsort()
        tokens.append(_merged(base, call, [frame])[back.to(frame.device)])
    return torch.cat(tokens)


_LAYER = "vision_feature_layer"
_clip = partial(Tower, attention="self_attn", class_token=True, layer=_LAYER, kind="clip_vision_model")
_QWEN = Tower("visual", "attn", _merged)

TOWERS = {
    "internvl": Tower("vision_tower", "attention", _shuffled, True, _LAYER, "internvl_vision"),
    "llava_next_video": _clip("vision_tower", pool=_resampled),
    "llava_onevision": Tower(
        "vision_tower", "self_attn", _bilinear, layer=_LAYER, kind="siglip_vision_model"
    ),
    "qwen2_5_vl": Tower("visual", "attn", _windowed),
    "qwen2_vl": _QWEN,
    "qwen3_5": _QWEN,
    "qwen3_5_moe": _QWEN,
    "qwen3_vl": _QWEN,
    "qwen3_vl_moe": _QWEN,
    "smolvlm": Tower("vision_model", "self_attn", _connected),
    "video_llava": _clip("video_tower", pool=_as_they_are),
}
"""Towers by `model_type` of the family."""
