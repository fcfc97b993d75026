"""Qwen2-VL."""

from vllm.model_executor.models.qwen2_vl import (
    Qwen2VLDummyInputsBuilder,
    Qwen2VLForConditionalGeneration,
    Qwen2VLMultiModalProcessor,
    Qwen2VLProcessingInfo,
)
from vllm.multimodal import MULTIMODAL_REGISTRY

from sharpv.engines.vllm.mrope import SharpVMRope
from sharpv.engines.vllm.processor import QwenVideos, SharpVProcessor

__all__ = ["SharpVQwen2VLForConditionalGeneration"]


class Processor(QwenVideos, SharpVProcessor, Qwen2VLMultiModalProcessor):
    """vLLM's processor, which lays out fewer tokens of a video."""


@MULTIMODAL_REGISTRY.register_processor(
    Processor, info=Qwen2VLProcessingInfo, dummy_inputs=Qwen2VLDummyInputsBuilder
)
class SharpVQwen2VLForConditionalGeneration(SharpVMRope, Qwen2VLForConditionalGeneration):
    """vLLM's model, which gives the LLM fewer tokens of a video."""
