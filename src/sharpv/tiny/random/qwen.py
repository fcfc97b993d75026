"""The Qwen-VL line: frames of any size, their grids beside the pixels, positions of several axes."""

from typing import Any

import transformers
from transformers import PreTrainedModel, ProcessorMixin

from sharpv.tiny.random.parts import TEXT, VISION, build_tokenizer, chat_template, seeded, text_ids, token_ids

__all__ = [
    "EXPERTS",
    "MROPE",
    "TOWER",
    "pixel_size",
    "qwen2_5_vl",
    "qwen2_vl",
    "qwen3_5",
    "qwen3_5_moe",
    "qwen3_vl",
    "qwen3_vl_moe",
]

TOKENS = {
    "image_token_id": "<|image_pad|>",
    "video_token_id": "<|video_pad|>",
    "vision_start_token_id": "<|vision_start|>",
    "vision_end_token_id": "<|vision_end|>",
}
MROPE = {"rope_type": "default", "mrope_section": [2, 3, 3], "rope_theta": 1e6}
TOWER = {**VISION, "depth": 2, "num_heads": 2, "patch_size": 14, "out_hidden_size": TEXT["hidden_size"]}
"""Patches of 14 pixels for all, so that a token covers 28 x 28 pixels of two frames."""

LEARNED_POSITIONS = {"num_position_embeddings": 16**2}
DEEPSTACK = {"deepstack_visual_indexes": [0, 1]}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
HYBRID = {
    "layer_types": ["linear_attention", "full_attention"] * 2,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 16,
    "linear_value_head_dim": 16,
    "head_dim": 16,
    "rope_parameters": {**MROPE, "mrope_section": [1, 1, 2], "partial_rotary_factor": 0.5},
}


def qwen2_vl(image_size: int = 224, seed: int = 0) -> tuple[PreTrainedModel, ProcessorMixin]:
    """Builds a Qwen2-VL with random weights.

    Args:
        image_size: frames are resized to about `image_size ** 2` pixels at their own aspect ratio; a token
            covers 28 x 28 pixels of two frames.
        seed: of the weights.

    Returns:
        The model in float32, and a processor with a byte-level tokenizer.
    """
    vision = {"embed_dim": 32, "hidden_size": TEXT["hidden_size"], "mlp_ratio": 2, "depth": 2, "num_heads": 2}
    return _qwen2("Qwen2VL", vision, image_size, seed)


def qwen2_5_vl(image_size: int = 224, seed: int = 0) -> tuple[PreTrainedModel, ProcessorMixin]:
    """Builds a Qwen2.5-VL with random weights; the arguments are those of `qwen2_vl`."""
    vision = {**TOWER, "window_size": 56, "fullatt_block_indexes": [1]}
    return _qwen2("Qwen2_5_VL", vision, image_size, seed)


def qwen3_vl(image_size: int = 224, seed: int = 0) -> tuple[PreTrainedModel, ProcessorMixin]:
    """Builds a Qwen3-VL with random weights, which adds features to the first two layers (DeepStack).

    The arguments are those of `qwen2_vl`.
    """
    return _qwen3("Qwen3VL", DEEPSTACK, {"rope_parameters": {**MROPE}, "head_dim": 16}, image_size, seed)


def qwen3_vl_moe(image_size: int = 224, seed: int = 0) -> tuple[PreTrainedModel, ProcessorMixin]:
    """Builds a Qwen3-VL with experts and random weights; the arguments are those of `qwen2_vl`."""
    return _qwen3("Qwen3VLMoe", DEEPSTACK, {"rope_parameters": {**MROPE}, **EXPERTS}, image_size, seed)


def qwen3_5(image_size: int = 224, seed: int = 0) -> tuple[PreTrainedModel, ProcessorMixin]:
    """Builds a Qwen3.5 with random weights: two layers of linear and two of full attention, in turn.

    The arguments are those of `qwen2_vl`.
    """
    return _qwen3("Qwen3_5", {}, HYBRID, image_size, seed)


def qwen3_5_moe(image_size: int = 224, seed: int = 0) -> tuple[PreTrainedModel, ProcessorMixin]:
    """Builds a Qwen3.5 with experts and random weights; the arguments are those of `qwen2_vl`."""
    text = {**HYBRID, **EXPERTS, "shared_expert_intermediate_size": 32}
    return _qwen3("Qwen3_5Moe", {}, text, image_size, seed)


def pixel_size(image_size: int, frames: int = 1) -> dict[str, int]:
    """Returns bounds on the pixels of `frames` frames of about `image_size ** 2` pixels each."""
    return {"shortest_edge": frames * 56 * 56, "longest_edge": frames * image_size**2}


def _qwen2(
    name: str, vision: dict[str, Any], image_size: int, seed: int
) -> tuple[PreTrainedModel, ProcessorMixin]:
    videos = transformers.Qwen2VLVideoProcessor(size=pixel_size(image_size), cap_pixels_per_frame=False)
    return _build(name, name, vision, {"rope_parameters": {**MROPE}}, videos, image_size, seed)


def _qwen3(
    name: str, vision: dict[str, Any], text: dict[str, Any], image_size: int, seed: int
) -> tuple[PreTrainedModel, ProcessorMixin]:
    # These count the pixels of a whole clip, for which 8 frames stand here.
    size = pixel_size(image_size, frames=8)
    videos = transformers.Qwen3VLVideoProcessor(size=size, patch_size=14, cap_pixels_per_frame=False)
    vision = {**TOWER, **LEARNED_POSITIONS, **vision}
    return _build(name, "Qwen3VL", vision, text, videos, image_size, seed)


def _build(
    name: str,
    processor: str,
    vision: dict[str, Any],
    text: dict[str, Any],
    videos: Any,
    image_size: int,
    seed: int,
) -> tuple[PreTrainedModel, ProcessorMixin]:
    """Builds the model `name`, with a processor of the class of `processor`."""
    tokenizer = build_tokenizer(*TOKENS.values())
    config = getattr(transformers, f"{name}Config")(
        vision_config=vision,
        text_config={**TEXT, **text_ids(tokenizer), **text},
        **token_ids(tokenizer, **TOKENS),
    )
    images = transformers.Qwen2VLImageProcessor(size=pixel_size(image_size), patch_size=14)
    framed = "<|vision_start|>{}<|vision_end|>".format
    template = chat_template(framed("<|video_pad|>"), framed("<|image_pad|>"))
    made = getattr(transformers, f"{processor}Processor")(images, tokenizer, videos, chat_template=template)
    model = seeded(getattr(transformers, f"{name}ForConditionalGeneration"), config, tokenizer, seed)
    return model, made
