"""Families outside the Qwen line with frames of any size, which write the time of each frame before it."""

import transformers
from transformers import PreTrainedModel, ProcessorMixin

from sharpv.tiny.random.parts import TEXT, VISION, build_tokenizer, chat_template, seeded, text_ids, token_ids
from sharpv.tiny.random.qwen import MROPE, TOWER, pixel_size

__all__ = ["glm4v", "video_llama_3"]

GLM_TOKENS = {
    "image_token_id": "<|image|>",
    "video_token_id": "<|video|>",
    "image_start_token_id": "<|begin_of_image|>",
    "image_end_token_id": "<|end_of_image|>",
    "video_start_token_id": "<|begin_of_video|>",
    "video_end_token_id": "<|end_of_video|>",
}
VIDEO_LLAMA_TOKENS = {"image_token_id": "<|image_pad|>", "video_token_id": "<|video_pad|>"}


def glm4v(image_size: int = 224, seed: int = 0) -> tuple[PreTrainedModel, ProcessorMixin]:
    """Builds a GLM-4.1V with random weights, which marks the tokens of videos as those of images.

    Args:
        image_size: frames are resized to about `image_size ** 2` pixels at their own aspect ratio; a token
            covers 28 x 28 pixels of two frames.
        seed: of the weights.

    Returns:
        The model in float32, and a processor with a byte-level tokenizer.
    """
    tokenizer = build_tokenizer(*GLM_TOKENS.values())
    config = transformers.Glm4vConfig(
        vision_config={**TOWER, "image_size": image_size},
        text_config={**TEXT, **text_ids(tokenizer), "rope_parameters": {**MROPE}},
        **token_ids(tokenizer, **GLM_TOKENS),
    )
    # These count the pixels of a whole clip or of an image taken for two frames.
    clip, image = pixel_size(image_size, frames=8), pixel_size(image_size, frames=2)
    processor = transformers.Glm4vProcessor(
        transformers.Glm4vImageProcessor(size=image),
        tokenizer,
        transformers.Glm4vVideoProcessor(size=clip),
        chat_template=chat_template(
            "<|begin_of_video|><|video|><|end_of_video|>", "<|begin_of_image|><|image|><|end_of_image|>"
        ),
    )
    return seeded(transformers.Glm4vForConditionalGeneration, config, tokenizer, seed), processor


def video_llama_3(image_size: int = 224, seed: int = 0) -> tuple[PreTrainedModel, ProcessorMixin]:
    """Builds a VideoLLaMA3 with random weights.

    Its processor leaves out what hardly differs from the frame before, unless it is called with
    `use_token_compression=False`.

    Args:
        image_size: frames are resized to about `image_size ** 2` pixels at their own aspect ratio; a token
            covers 28 x 28 pixels of a frame, or 14 x 14 of an image.
        seed: of the weights.

    Returns:
        The model in float32, and a processor with a byte-level tokenizer.
    """
    tokenizer = build_tokenizer(*VIDEO_LLAMA_TOKENS.values())
    config = transformers.VideoLlama3Config(
        vision_config={**VISION, "num_hidden_layers": 2, "num_attention_heads": 2, "patch_size": 14},
        text_config={**TEXT, **text_ids(tokenizer), "model_type": "qwen2"},
        **token_ids(tokenizer, **VIDEO_LLAMA_TOKENS),
    )
    frame = pixel_size(image_size)
    # The least pixels are those of a frame, the most those of a clip.
    clip = {**frame, "longest_edge": 8 * frame["longest_edge"]}
    processor = transformers.VideoLlama3Processor(
        transformers.VideoLlama3ImageProcessor(size=frame),
        tokenizer,
        transformers.VideoLlama3VideoProcessor(size=clip),
        chat_template=chat_template("<|video_pad|>", "<|image_pad|>"),
    )
    return seeded(transformers.VideoLlama3ForConditionalGeneration, config, tokenizer, seed), processor
