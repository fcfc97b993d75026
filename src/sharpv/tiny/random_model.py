"""Small models of the real classes with random weights: noise for answers, real token counts."""

from collections.abc import Callable

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    LlavaOnevisionConfig,
    LlavaOnevisionForConditionalGeneration,
    LlavaOnevisionImageProcessor,
    LlavaOnevisionProcessor,
    LlavaOnevisionVideoProcessor,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    ProcessorMixin,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
    Qwen2Config,
    Qwen2VLImageProcessor,
    Qwen2VLVideoProcessor,
    SiglipVisionConfig,
)

__all__ = ["RANDOM_MODELS", "llava_onevision", "qwen2_5_vl"]

PAD, END = "<|endoftext|>", "<|im_end|>"
SPECIAL_TOKENS = [
    PAD,
    "<|im_start|>",
    END,
    "<image>",
    "<video>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
    "<|video_pad|>",
]
TEXT = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 32768,
}
VISION = {"hidden_size": 32, "intermediate_size": 64}
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'video' %}VIDEO{% elif part['type'] == 'image' %}IMAGE"
    "{% else %}{{ part['text'] }}{% endif %}{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def llava_onevision(image_size: int = 384, seed: int = 0) -> tuple[PreTrainedModel, ProcessorMixin]:
    """Builds a LLaVA-OneVision with random weights.

    Args:
        image_size: side of a frame in pixels. A frame has `ceil(image_size // 14 / 2) ** 2` tokens: 196 at
            the released models' 384.
        seed: of the weights.

    Returns:
        The model in float32, and a processor with a byte-level tokenizer.
    """
    tokenizer = _tokenizer()
    text = {**TEXT, **_text_ids(tokenizer)}
    config = LlavaOnevisionConfig(
        vision_config=SiglipVisionConfig(
            **VISION,
            num_hidden_layers=2,
            num_attention_heads=2,
            image_size=image_size,
            patch_size=14,
            vision_use_head=False,
        ),
        text_config=Qwen2Config(**text),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        video_token_index=tokenizer.convert_tokens_to_ids("<video>"),
        image_grid_pinpoints=[[image_size, image_size]],
    )
    pixels = {"size": {"height": image_size, "width": image_size}}
    processor = LlavaOnevisionProcessor(
        LlavaOnevisionImageProcessor(**pixels, image_grid_pinpoints=[[image_size, image_size]]),
        tokenizer,
        LlavaOnevisionVideoProcessor(**pixels),
        num_image_tokens=(image_size // 14) ** 2,
        vision_feature_select_strategy="full",
        chat_template=_chat_template("<video>\n", "<image>\n"),
    )
    return _seeded(LlavaOnevisionForConditionalGeneration, config, tokenizer, seed), processor


def qwen2_5_vl(image_size: int = 224, seed: int = 0) -> tuple[PreTrainedModel, ProcessorMixin]:
    """Builds a Qwen2.5-VL with random weights.

    Args:
        image_size: frames are resized to about `image_size ** 2` pixels at their own aspect ratio; a token
            covers 28 x 28 pixels of two frames.
        seed: of the weights.

    Returns:
        The model in float32, and a processor with a byte-level tokenizer.
    """
    tokenizer = _tokenizer()
    ids = {
        f"{kind}_token_id": tokenizer.convert_tokens_to_ids(f"<|{name}|>")
        for kind, name in (
            ("image", "image_pad"),
            ("video", "video_pad"),
            ("vision_start", "vision_start"),
            ("vision_end", "vision_end"),
        )
    }
    config = Qwen2_5_VLConfig(
        vision_config={
            **VISION,
            "depth": 2,
            "num_heads": 2,
            "out_hidden_size": TEXT["hidden_size"],
            "window_size": 56,
            "fullatt_block_indexes": [1],
        },
        text_config={
            **TEXT,
            **_text_ids(tokenizer),
            "rope_parameters": {"rope_type": "default", "mrope_section": [2, 3, 3], "rope_theta": 1e6},
        },
        **ids,
    )
    size = {"shortest_edge": 56 * 56, "longest_edge": image_size**2}
    processor = Qwen2_5_VLProcessor(
        Qwen2VLImageProcessor(size=size),
        tokenizer,
        Qwen2VLVideoProcessor(size=size, cap_pixels_per_frame=False),
        chat_template=_chat_template(
            "<|vision_start|><|video_pad|><|vision_end|>", "<|vision_start|><|image_pad|><|vision_end|>"
        ),
    )
    return _seeded(Qwen2_5_VLForConditionalGeneration, config, tokenizer, seed), processor


RANDOM_MODELS: dict[str, Callable[..., tuple[PreTrainedModel, ProcessorMixin]]] = {
    "llava_onevision": llava_onevision,
    "qwen2_5_vl": qwen2_5_vl,
}
"""Builders by `model_type`."""


def _tokenizer() -> PreTrainedTokenizerFast:
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={letter: i for i, letter in enumerate(letters)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(SPECIAL_TOKENS)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=PAD, eos_token=END, padding_side="left"
    )


def _text_ids(tokenizer: PreTrainedTokenizerFast) -> dict[str, int | None]:
    return {
        "vocab_size": len(tokenizer),
        "bos_token_id": None,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }


def _chat_template(video: str, image: str) -> str:
    return CHAT_TEMPLATE.replace("VIDEO", video).replace("IMAGE", image)


def _seeded(
    model_class: type, config: object, tokenizer: PreTrainedTokenizerFast, seed: int
) -> PreTrainedModel:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = model_class(config).eval()
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    return model
