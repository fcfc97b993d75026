"""Qwen2.5-VL."""

from vllm.model_executor.models.qwen2_5_vl import (
    Qwen2_5_VLDummyInputsBuilder,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLMultiModalProcessor,
    Qwen2_5_VLProcessingInfo,
)
from vllm.multimodal import MULTIMODAL_REGISTRY

from sharpv.engines.vllm.mrope import SharpVMRope
from sharpv.engines.vllm.processor import QwenVideos, SharpVProcessor

__all__ = ["SharpVQwen2_5_VLForConditionalGeneration"]


class Processor(QwenVideos, SharpVProcessor, Qwen2_5_VLMultiModalProcessor):
    """vLLM's processor, which lays out fewer tokens of a video."""


@MULTIMODAL_REGISTRY.register_processor(
    Processor, info=Qwen2_5_VLProcessingInfo, dummy_inputs=Qwen2_5_VLDummyInputsBuilder
)
class SharpVQwen2_5_VLForConditionalGeneration(SharpVMRope, Qwen2_5_VLForConditionalGeneration):
    """vLLM's model, which gives the LLM fewer tokens of a video."""
