"""Qwen3-VL: each frame has its time written before it, and features for the first layers behind its own."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from vllm.model_executor.models.qwen3_vl import (
    Qwen3VLDummyInputsBuilder,
    Qwen3VLForConditionalGeneration,
    Qwen3VLMultiModalProcessor,
    Qwen3VLProcessingInfo,
)
from vllm.multimodal import MULTIMODAL_REGISTRY

from sharpv.engines.vllm.mrope import SharpVMRope, position_columns
from sharpv.engines.vllm.processor import QwenVideos, SharpVProcessor

__all__ = ["SharpVQwen3VLForConditionalGeneration"]


def video_tokens(config: Any, tokenizer: Any, timestamps: Sequence[float], counts: list[int]) -> list[int]:
    """Returns what stands for a video in a prompt: for frame t its time and `counts[t]` tokens."""
    tokens: list[int] = Qwen3VLMultiModalProcessor.get_video_repl(
        tokens_per_frame=counts,
        timestamps=timestamps,
        tokenizer=tokenizer,
        vision_start_token_id=config.vision_start_token_id,
        vision_end_token_id=config.vision_end_token_id,
        video_token_id=config.video_token_id,
    ).full
    return tokens


class Processor(QwenVideos, SharpVProcessor, Qwen3VLMultiModalProcessor):
    """A video is its frames with their times. All placeholders stand in the first frame for now."""

    def _placeholders(self, video: Mapping[str, Any], number: int) -> list[int]:
        # How they spread over the frames is known after the encoder; the length of the prompt is the same.
        counts = [number] + [0] * (int(video["video_grid_thw"][0]) - 1)
        return video_tokens(self.info.get_hf_config(), self.info.get_tokenizer(), video["timestamps"], counts)


@MULTIMODAL_REGISTRY.register_processor(
    Processor, info=Qwen3VLProcessingInfo, dummy_inputs=Qwen3VLDummyInputsBuilder
)
class SharpVQwen3VLForConditionalGeneration(SharpVMRope, Qwen3VLForConditionalGeneration):
    """vLLM's model, which gives the LLM fewer tokens of a video."""

    def _prune(self, features: Tensor, number: int, item: Mapping[str, Any]) -> Tensor:
        """Prunes one video, and writes the times between its frames."""
        mask = self._mask(features[:, : self.visual_dim], number, item)
        pruned: Tensor = self._create_final_video_embeddings(
            video_embeddings=features[mask.flatten()],
            num_tokens_per_frame=mask.sum(1).tolist(),
            timestamps=item["timestamps"],
            video_grid_thw=item["video_grid_thw"].tolist(),
            retention_mask=mask.flatten(),
        )
        return pruned

    def _get_expanded_positions(
        self, device: Any, video_grid_thw: list[int], timestamps: Any, retention_mask: Tensor, **_: Any
    ) -> Tensor:
        """Returns our columns, which the method above puts behind the embeddings."""
        item = {"video_grid_thw": torch.tensor(video_grid_thw), "timestamps": timestamps}
        ids = torch.tensor(self._dense_ids(item))
        visual = ids == self.config.video_token_id
        kept = ~visual
        kept[visual] = retention_mask.cpu()
        lead = int(visual.long().argmax())
        return position_columns(self._dense_positions(item)[:, kept], lead).to(device)

    def _dense_ids(self, item: Mapping[str, Any]) -> list[int]:
        if "video_grid_thw" not in item:
            return super()._dense_ids(item)
        n, rows, cols = item["video_grid_thw"].tolist()
        f = rows * cols // self.visual.spatial_merge_size**2
        return video_tokens(self.config, self._tokenizer, item["timestamps"], [f] * n)
