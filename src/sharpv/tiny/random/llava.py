"""The LLaVA line: frames of one size, stacked, every frame with the same number of tokens."""

from typing import Any

import transformers
from transformers import PreTrainedModel, ProcessorMixin

from sharpv.tiny.random.parts import TEXT, VISION, build_tokenizer, chat_template, seeded, text_ids, token_ids

__all__ = ["llava_next_video", "llava_onevision", "video_llava"]

PATCH = 14
TOWER = {**VISION, "num_hidden_layers": 2, "num_attention_heads": 2, "patch_size": PATCH}
TOKENS = {"image_token_index": "<image>", "video_token_index": "<video>"}


def llava_onevision(image_size: int = 384, seed: int = 0) -> tuple[PreTrainedModel, ProcessorMixin]:
    """Builds a LLaVA-OneVision with random weights.

    Args:
        image_size: side of a frame in pixels. A frame has `ceil(image_size // 14 / 2) ** 2` tokens: 196 at
            the released models' 384.
        seed: of the weights.

    Returns:
        The model in float32, and a processor with a byte-level tokenizer.
    """
    tokenizer = build_tokenizer(*TOKENS.values())
    pinpoints = [[image_size, image_size]]
    config = transformers.LlavaOnevisionConfig(
        vision_config=transformers.SiglipVisionConfig(**TOWER, image_size=image_size, vision_use_head=False),
        text_config=transformers.Qwen2Config(**TEXT, **text_ids(tokenizer)),
        image_grid_pinpoints=pinpoints,
        **token_ids(tokenizer, **TOKENS),
    )
    size = {"height": image_size, "width": image_size}
    processor = transformers.LlavaOnevisionProcessor(
        transformers.LlavaOnevisionImageProcessor(size=size, image_grid_pinpoints=pinpoints),
        tokenizer,
        transformers.LlavaOnevisionVideoProcessor(size=size),
        num_image_tokens=(image_size // PATCH) ** 2,
        vision_feature_select_strategy="full",
        chat_template=chat_template("<video>\n", "<image>\n"),
    )
    return seeded(transformers.LlavaOnevisionForConditionalGeneration, config, tokenizer, seed), processor


def llava_next_video(image_size: int = 336, seed: int = 0) -> tuple[PreTrainedModel, ProcessorMixin]:
    """Builds a LLaVA-NeXT-Video with random weights.

    Args:
        image_size: side of a frame in pixels, a multiple of 28. A frame has `(image_size // 28) ** 2` tokens:
            144 at the released models' 336.
        seed: of the weights.

    Returns:
        The model in float32, and a processor with a byte-level tokenizer.
    """
    tokenizer = build_tokenizer(*TOKENS.values())
    pinpoints = [[image_size, image_size]]
    config = transformers.LlavaNextVideoConfig(
        **_clip_and_llama(tokenizer, image_size), image_grid_pinpoints=pinpoints
    )
    processor = transformers.LlavaNextVideoProcessor(
        transformers.LlavaNextVideoVideoProcessor(**_cropped(image_size)),
        transformers.LlavaNextImageProcessor(**_cropped(image_size), image_grid_pinpoints=pinpoints),
        tokenizer,
        patch_size=PATCH,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=chat_template("<video>\n", "<image>\n"),
    )
    return seeded(transformers.LlavaNextVideoForConditionalGeneration, config, tokenizer, seed), processor


def video_llava(image_size: int = 224, seed: int = 0) -> tuple[PreTrainedModel, ProcessorMixin]:
    """Builds a Video-LLaVA with random weights.

    Args:
        image_size: side of a frame in pixels. A frame has `(image_size // 14) ** 2 + 1` tokens, the first of
            them the frame's class token: 257 at the released models' 224.
        seed: of the weights.

    Returns:
        The model in float32, and a processor with a byte-level tokenizer.
    """
    tokenizer = build_tokenizer(*TOKENS.values())
    config = transformers.VideoLlavaConfig(**_clip_and_llama(tokenizer, image_size))
    processor = transformers.VideoLlavaProcessor(
        transformers.VideoLlavaImageProcessor(**_cropped(image_size)),
        transformers.VideoLlavaVideoProcessor(**_cropped(image_size)),
        tokenizer,
        patch_size=PATCH,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=chat_template("<video>\n", "<image>\n"),
    )
    # Pixels of images under the name that they have in other families: the old one is deprecated.
    # Older releases have no such defaults, and give the old name.
    defaults = getattr(processor, "images_kwargs", {})
    processor.images_kwargs = {**defaults, "return_legacy_image_output": False}
    return seeded(transformers.VideoLlavaForConditionalGeneration, config, tokenizer, seed), processor


def _clip_and_llama(tokenizer: Any, image_size: int) -> dict[str, Any]:
    """Returns what the configurations of the two families with CLIP and Llama have in common."""
    return {
        "vision_config": transformers.CLIPVisionConfig(**TOWER, image_size=image_size),
        "text_config": transformers.LlamaConfig(**TEXT, **text_ids(tokenizer)),
        **token_ids(tokenizer, **TOKENS),
    }


def _cropped(image_size: int) -> dict[str, Any]:
    return {
        "size": {"shortest_edge": image_size},
        "crop_size": {"height": image_size, "width": image_size},
    }
