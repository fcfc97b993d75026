"""Small models of the real classes with random weights: noise for answers, real prompts and token counts."""

from sharpv.tiny.random.grids import glm4v, video_llama_3
from sharpv.tiny.random.images import internvl, smolvlm
from sharpv.tiny.random.llava import llava_next_video, llava_onevision, video_llava
from sharpv.tiny.random.omni import qwen2_5_omni_thinker, qwen3_omni_moe_thinker
from sharpv.tiny.random.other import gemma4, perception_lm
from sharpv.tiny.random.parts import Builder
from sharpv.tiny.random.qwen import qwen2_5_vl, qwen2_vl, qwen3_5, qwen3_5_moe, qwen3_vl, qwen3_vl_moe

__all__ = ["RANDOM_MODELS"]

RANDOM_MODELS: dict[str, Builder] = {
    builder.__name__: builder
    for builder in (
        gemma4,
        glm4v,
        internvl,
        llava_next_video,
        llava_onevision,
        perception_lm,
        qwen2_5_omni_thinker,
        qwen2_5_vl,
        qwen2_vl,
        qwen3_5,
        qwen3_5_moe,
        qwen3_omni_moe_thinker,
        qwen3_vl,
        qwen3_vl_moe,
        smolvlm,
        video_llama_3,
        video_llava,
    )
}
"""Builders by `model_type` of the model's configuration."""
