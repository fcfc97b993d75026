"""The thinkers of Qwen's omni models, which hear, see and write; the parts that speak are not built."""

from typing import Any

import transformers
from transformers import PreTrainedModel, ProcessorMixin

from sharpv.tiny.random.parts import TEXT, build_tokenizer, chat_template, seeded, text_ids, token_ids
from sharpv.tiny.random.qwen import DEEPSTACK, EXPERTS, LEARNED_POSITIONS, MROPE, TOWER, pixel_size

__all__ = ["qwen2_5_omni_thinker", "qwen3_omni_moe_thinker"]

NAMED = {
    "image_token": "<|image_pad|>",
    "video_token": "<|video_pad|>",
    "audio_token": "<|audio_pad|>",
    "vision_bos_token": "<|vision_start|>",
    "vision_eos_token": "<|vision_end|>",
    "audio_bos_token": "<|audio_start|>",
    "audio_eos_token": "<|audio_end|>",
}
AUDIO = {
    "d_model": 32,
    "encoder_layers": 1,
    "encoder_attention_heads": 2,
    "encoder_ffn_dim": 64,
    "num_mel_bins": 16,
    "output_dim": TEXT["hidden_size"],
}


def qwen2_5_omni_thinker(image_size: int = 224, seed: int = 0) -> tuple[PreTrainedModel, ProcessorMixin]:
    """Builds the thinker of a Qwen2.5-Omni with random weights.

    Args:
        image_size: frames are resized to about `image_size ** 2` pixels at their own aspect ratio; a token
            covers 28 x 28 pixels of two frames.
        seed: of the weights.

    Returns:
        The model in float32, and a processor with a byte-level tokenizer.
    """
    names = {"image_token_index": "image_token", "video_token_index": "video_token"} | {
        "audio_token_index": "audio_token",
        "audio_end_token_id": "audio_eos_token",
    }
    vision = {**TOWER, "window_size": 56, "fullatt_block_indexes": [1]}
    return _build("Qwen2_5Omni", names, vision, {}, {}, image_size, seed)


def qwen3_omni_moe_thinker(image_size: int = 224, seed: int = 0) -> tuple[PreTrainedModel, ProcessorMixin]:
    """Builds the thinker of a Qwen3-Omni with random weights; the arguments are as above."""
    names = {f"{kind}_token_id": f"{kind}_token" for kind in ("image", "video", "audio")}
    vision = {**TOWER, **LEARNED_POSITIONS, **DEEPSTACK}
    audio = {"downsample_hidden_size": 16}
    return _build("Qwen3OmniMoe", names, vision, EXPERTS, audio, image_size, seed)


def _build(
    name: str,
    names: dict[str, str],
    vision: dict[str, Any],
    text: dict[str, Any],
    audio: dict[str, Any],
    image_size: int,
    seed: int,
) -> tuple[PreTrainedModel, ProcessorMixin]:
    tokenizer = build_tokenizer(**NAMED)
    tokens = {key: NAMED[value] for key, value in names.items()}
    tokens["audio_start_token_id"] = NAMED["audio_bos_token"]
    config = getattr(transformers, f"{name}ThinkerConfig")(
        vision_config=vision,
        text_config={**TEXT, **text_ids(tokenizer), "rope_parameters": {**MROPE}, **text},
        audio_config={**AUDIO, **audio},
        **token_ids(tokenizer, **tokens),
    )
    # Read where the prompt is laid out, yet no field of this configuration: released ones carry them as well.
    config.vision_start_token_id = tokenizer.convert_tokens_to_ids(NAMED["vision_bos_token"])
    framed = "<|vision_start|>{}<|vision_end|>".format
    size = pixel_size(image_size)
    made = getattr(transformers, f"{name}Processor")(
        transformers.Qwen2VLImageProcessor(size=size),
        transformers.Qwen2VLVideoProcessor(size=size, cap_pixels_per_frame=False),
        transformers.WhisperFeatureExtractor(feature_size=AUDIO["num_mel_bins"]),
        tokenizer,
        chat_template=chat_template(framed("<|video_pad|>"), framed("<|image_pad|>")),
    )
    # The class has a size of its own, which goes before that of its video processor.
    made.videos_kwargs = {"size": size}
    model = seeded(getattr(transformers, f"{name}ThinkerForConditionalGeneration"), config, tokenizer, seed)
    return model, made
