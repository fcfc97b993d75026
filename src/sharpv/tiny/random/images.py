"""Families that take a video for a row of images."""

import transformers
from transformers import PreTrainedModel, ProcessorMixin

from sharpv.tiny.random.parts import TEXT, VISION, build_tokenizer, chat_template, seeded, text_ids, token_ids

__all__ = ["internvl", "smolvlm"]

PATCH = 14
TOWER = {**VISION, "num_hidden_layers": 2, "num_attention_heads": 2}
INTERNVL_TOKENS = {
    "start_image_token": "<img>",
    "end_image_token": "</img>",
    "context_image_token": "<IMG_CONTEXT>",
    "video_token": "<video>",
}
SMOLVLM_TOKENS = ("<fake_token_around_image>", "<global-img>", "<image>", "<video>", "<end_of_utterance>")


def internvl(image_size: int = 448, seed: int = 0) -> tuple[PreTrainedModel, ProcessorMixin]:
    """Builds an InternVL with random weights; its processor wants videos of one length in a batch.

    Args:
        image_size: side of a frame in pixels, a multiple of 28. A frame has `(image_size // 28) ** 2` tokens:
            256 at the released models' 448.
        seed: of the weights.

    Returns:
        The model in float32, and a processor with a byte-level tokenizer.
    """
    tokenizer = build_tokenizer(**INTERNVL_TOKENS)
    config = transformers.InternVLConfig(
        vision_config={**TOWER, "image_size": [image_size] * 2, "patch_size": [PATCH] * 2},
        text_config={**TEXT, **text_ids(tokenizer), "model_type": "qwen2"},
        downsample_ratio=0.5,
        **token_ids(tokenizer, image_token_id=INTERNVL_TOKENS["context_image_token"]),
    )
    size = {"height": image_size, "width": image_size}
    processor = transformers.InternVLProcessor(
        transformers.GotOcr2ImageProcessor(size=size, max_patches=2),
        tokenizer,
        transformers.InternVLVideoProcessor(size=size),
        image_seq_length=(image_size // (2 * PATCH)) ** 2,
        chat_template=chat_template("<video>\n", "<IMG_CONTEXT>\n"),
    )
    return seeded(transformers.InternVLForConditionalGeneration, config, tokenizer, seed), processor


def smolvlm(image_size: int = 364, seed: int = 0) -> tuple[PreTrainedModel, ProcessorMixin]:
    """Builds a SmolVLM2 with random weights; its processor takes images or videos, and needs `num2words`.

    Args:
        image_size: side of a frame in pixels, a multiple of 28. A frame has `(image_size // 28) ** 2` tokens:
            169 at 364.
        seed: of the weights.

    Returns:
        The model in float32, and a processor with a byte-level tokenizer.
    """
    tokenizer = build_tokenizer(*SMOLVLM_TOKENS)
    config = transformers.SmolVLMConfig(
        vision_config={**TOWER, "image_size": image_size, "patch_size": PATCH},
        text_config={**TEXT, **text_ids(tokenizer), "model_type": "llama"},
        scale_factor=2,
        **token_ids(tokenizer, image_token_id="<image>"),
    )
    size = {"longest_edge": image_size}
    processor = transformers.SmolVLMProcessor(
        transformers.SmolVLMImageProcessor(size=size, max_image_size=size),
        tokenizer,
        transformers.SmolVLMVideoProcessor(size=size, max_image_size=size),
        image_seq_len=(image_size // (2 * PATCH)) ** 2,
        chat_template=chat_template("<video>", "<image>"),
    )
    return seeded(transformers.SmolVLMForConditionalGeneration, config, tokenizer, seed), processor
