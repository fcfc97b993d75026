"""The vision towers that can reuse patches, as data, and the refusal of the others."""

from typing import Any

from transformers import PreTrainedModel

from sharpv.errors import UnsupportedModelError
from sharpv.hf.families import FAMILIES, Family
from sharpv.hf.reuse.fixed_grid import FixedGrid
from sharpv.hf.reuse.levels import CLIP, HALF, IMAGENET
from sharpv.hf.reuse.merged_grid import MergedGrid

__all__ = ["REUSABLE", "reusable_tower"]

_TOWERS: dict[str, FixedGrid | MergedGrid] = {
    "clip_vision_model": FixedGrid("self_attn", CLIP, class_token=True),
    "internvl_vision": FixedGrid("attention", IMAGENET, class_token=True),
    "qwen2_5_vl_vision": MergedGrid(CLIP),
    "qwen2_vl_vision": MergedGrid(CLIP),
    "qwen3_5_moe_vision": MergedGrid(HALF),
    "qwen3_5_vision": MergedGrid(HALF),
    "qwen3_vl_moe_vision": MergedGrid(HALF),
    "qwen3_vl_vision": MergedGrid(HALF),
    "siglip_vision_model": FixedGrid("self_attn", HALF),
}
"""By `model_type` of the tower's configuration."""

REUSABLE = {
    "internvl": "vision_tower",
    "llava_next_video": "vision_tower",
    "llava_onevision": "vision_tower",
    "qwen2_5_vl": "visual",
    "qwen2_vl": "visual",
    "qwen3_5": "visual",
    "qwen3_5_moe": "visual",
    "qwen3_vl": "visual",
    "qwen3_vl_moe": "visual",
    "video_llava": "video_tower",
}
"""Names of the towers in the base models, by `model_type` of the family."""


def reusable_tower(base: PreTrainedModel, family: Family) -> tuple[Any, FixedGrid | MergedGrid]:
    """Returns a model's tower of videos, and how it reuses patches.

    Raises:
        UnsupportedModelError: a family or a tower that cannot.
    """
    model_type = base.config.model_type
    known = ", ".join(FAMILIES[name].name for name in REUSABLE)
    remedy = f"those of {known} do: set vision_reuse=None"
    if model_type not in REUSABLE:
        raise UnsupportedModelError(
            f"got vision_reuse for {family.name}, whose vision tower reuses no patches; {remedy}"
        )
    tower: Any = base.get_submodule(REUSABLE[model_type])
    kind = tower.config.model_type
    if kind not in _TOWERS:
        raise UnsupportedModelError(
            f"got vision_reuse for a {family.name} with a tower of type {kind!r}; towers of type "
            f"{', '.join(sorted(_TOWERS))} reuse patches: set vision_reuse=None"
        )
    way = _TOWERS[kind]
    _, patch = way.sides(tower)
    if patch % 2:
        raise UnsupportedModelError(
            f"got vision_reuse for a {family.name} with patches of {patch} pixels, which cannot be cut into "
            "2x2 cells to compare: set vision_reuse=None"
        )
    return tower, way
