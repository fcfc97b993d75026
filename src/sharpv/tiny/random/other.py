"""Families that lay their videos out in a way of their own."""

import transformers
from transformers import PreTrainedModel, ProcessorMixin

from sharpv.tiny.random.parts import TEXT, VISION, build_tokenizer, chat_template, seeded, text_ids, token_ids

__all__ = ["gemma4", "perception_lm"]

PATCH = 14
GEMMA_TOKENS = {
    "image_token": "<|image|>",
    "boi_token": "<|image>",
    "eoi_token": "<image|>",
    "audio_token": "<|audio|>",
    "boa_token": "<|audio>",
    "eoa_token": "<audio|>",
}


def perception_lm(image_size: int = 448, seed: int = 0) -> tuple[PreTrainedModel, ProcessorMixin]:
    """Builds a Perception-LM with random weights; its vision tower needs `timm`.

    Args:
        image_size: side of a frame in pixels, a multiple of 28. A frame has `(image_size // 28) ** 2` tokens:
            256 at the released models' 448.
        seed: of the weights.

    Returns:
        The model in float32, and a processor with a byte-level tokenizer.
    """
    tokenizer = build_tokenizer(image_token="<|image|>", video_token="<|video|>")
    side = image_size // PATCH
    tower = {
        "embed_dim": VISION["hidden_size"],
        "depth": 2,
        "num_heads": 2,
        "patch_size": PATCH,
        "img_size": [image_size] * 2,
        "ref_feat_shape": [side] * 2,
        "global_pool": "",
        "use_post_transformer_norm": False,
    }
    config = transformers.PerceptionLMConfig(
        vision_config={
            "model_type": "timm_wrapper",
            "architecture": "vit_pe_core_tiny_patch16_384",
            "model_args": tower,
            "initializer_range": 0.02,
        },
        text_config={**TEXT, **text_ids(tokenizer), "model_type": "llama"},
        projector_pooling_ratio=2,
        **token_ids(tokenizer, image_token_id="<|image|>", video_token_id="<|video|>"),
    )
    size = {"height": image_size, "width": image_size}
    processor = transformers.PerceptionLMProcessor(
        transformers.PerceptionLMVideoProcessor(size=size),
        transformers.PerceptionLMImageProcessor(size=size, tile_size=image_size, max_num_tiles=4),
        tokenizer,
        patch_size=PATCH,
        pooling_ratio=2,
        chat_template=chat_template("<|video|>", "<|image|>"),
    )
    return seeded(transformers.PerceptionLMForConditionalGeneration, config, tokenizer, seed), processor


def gemma4(image_size: int = 0, seed: int = 0) -> tuple[PreTrainedModel, ProcessorMixin]:
    """Builds a Gemma 4 with random weights, like the small released ones.

    It has per-layer inputs, sliding windows in every other layer, and two last layers that use the keys and
    values of earlier ones: two layers of full attention have keys of their own.

    Args:
        image_size: without effect. Frames are resized, at their own aspect ratio, to what fits in 70 tokens.
        seed: of the weights.

    Returns:
        The model in float32, and a processor with a byte-level tokenizer.
    """
    tokenizer = build_tokenizer("<|video|>", **GEMMA_TOKENS)
    config = transformers.Gemma4Config(
        vision_config={
            **VISION,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 2,
            "head_dim": 16,
            "position_embedding_size": 1024,
        },
        text_config={
            **TEXT,
            **text_ids(tokenizer),
            "num_hidden_layers": 6,
            "head_dim": 16,
            "global_head_dim": 32,
            "layer_types": ["sliding_attention", "full_attention"] * 3,
            "sliding_window": 64,
            "num_kv_shared_layers": 2,
            "vocab_size_per_layer_input": len(tokenizer),
            "hidden_size_per_layer_input": 8,
        },
        audio_config=None,
        **token_ids(
            tokenizer,
            video_token_id="<|video|>",
            image_token_id=GEMMA_TOKENS["image_token"],
            boi_token_id=GEMMA_TOKENS["boi_token"],
            eoi_token_id=GEMMA_TOKENS["eoi_token"],
            audio_token_id=GEMMA_TOKENS["audio_token"],
            boa_token_id=GEMMA_TOKENS["boa_token"],
            eoa_token_index=GEMMA_TOKENS["eoa_token"],
        ),
    )
    processor = transformers.Gemma4Processor(
        transformers.Gemma4AudioFeatureExtractor(),
        transformers.Gemma4ImageProcessor(max_soft_tokens=70),
        tokenizer,
        transformers.Gemma4VideoProcessor(),
        chat_template=chat_template("\n<|video|>\n", "\n<|image|>\n"),
        image_seq_length=70,
    )
    return seeded(transformers.Gemma4ForConditionalGeneration, config, tokenizer, seed), processor
