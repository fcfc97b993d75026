"""LLaVA-OneVision: positions of one axis, which the engine counts, so that kept tokens close up."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from vllm.model_executor.models.llava_onevision import (
    LlavaOnevisionDummyInputsBuilder,
    LlavaOnevisionForConditionalGeneration,
    LlavaOnevisionMultiModalProcessor,
    LlavaOnevisionProcessingInfo,
)
from vllm.multimodal import MULTIMODAL_REGISTRY

from sharpv.engines.vllm.estimate import image_patches
from sharpv.engines.vllm.options import Options
from sharpv.engines.vllm.processor import NUM_TOKENS, SharpVProcessor
from sharpv.engines.vllm.select import kept_tokens

__all__ = ["SharpVLlavaOnevisionForConditionalGeneration"]


class Processor(SharpVProcessor, LlavaOnevisionMultiModalProcessor):
    """Counts the newline token that follows a video, which is not pruned."""

    def _patches(self, processed: Mapping[str, Any]) -> Iterator[Tensor]:
        for frames in processed["pixel_values_videos"]:
            height, width = frames.shape[-2:]
            f = self.info._get_num_frame_tokens(image_width=width, image_height=height)
            yield image_patches(frames, f)

    def _placeholders(self, video: Mapping[str, Any], number: int) -> list[int]:
        token: int = self.info.get_hf_config().video_token_index
        return [token] * (number + 1)


@MULTIMODAL_REGISTRY.register_processor(
    Processor, info=LlavaOnevisionProcessingInfo, dummy_inputs=LlavaOnevisionDummyInputsBuilder
)
class SharpVLlavaOnevisionForConditionalGeneration(LlavaOnevisionForConditionalGeneration):
    """vLLM's model, which gives the LLM fewer tokens of a video."""

    def __init__(self, *, vllm_config: Any, prefix: str = "") -> None:
        super().__init__(vllm_config=vllm_config, prefix=prefix)
        self.sharpv = Options.of(self.config)

    def embed_multimodal(self, **kwargs: Any) -> Any:
        """Returns the features of each image or video, `[tokens, d]`, those of videos pruned."""
        numbers = kwargs.pop(NUM_TOKENS, None)
        dense = super().embed_multimodal(**kwargs)
        if numbers is None:
            return dense
        videos = zip(dense, kwargs["pixel_values_videos"], numbers[:, 0].tolist(), strict=True)
        return tuple(self._prune(tokens, len(frames), number) for tokens, frames, number in videos)

    def _prune(self, tokens: Tensor, n: int, number: int) -> Tensor:
        """Prunes one video, `[n f + 1, d]` with its newline, to `[number + 1, d]`."""
        tokens = tokens.flatten(0, -2)
        features, newline = tokens[:-1], tokens[-1:]
        mask = kept_tokens(features.view(n, len(features) // n, -1), number, self.sharpv)
        return torch.cat([features[mask.flatten()], newline])
