"""What a server with M-RoPE refuses, since it would be wrong rather than slow."""

from types import SimpleNamespace

import pytest
import torch

from sharpv import InputError
from tests.engines.vllm.toys import Ask, answer, engine, generate, pruned

FAMILY = "qwen2_5_vl"


class Embedded(Ask):
    """A request with features of its own instead of a clip."""

    def for_vllm(self, family):
        features = {
            "video_embeds": torch.zeros(64, 64),
            "video_grid_thw": torch.tensor([[4, 8, 8]]),
            "second_per_grid_ts": torch.tensor([1.0]),
        }
        return {"prompt": self.prompt(family), "multi_modal_data": {"video": features}}


def test_features_instead_of_a_video_end_their_own_request(checkpoint):
    pytest.importorskip("vllm", reason="vLLM is not installed: run `make test-vllm`")
    with engine(checkpoint(FAMILY), enable_mm_embeds=True, **pruned(FAMILY, keep=0.5)) as llm:
        with pytest.raises(ValueError, match=r"got video_embeds.*send the video itself"):
            generate(llm, FAMILY, [Embedded(("cut",))])
        assert len(answer(llm, FAMILY, Ask(("cut",))).tokens) > 0


def test_speculative_decoding_stops_the_server_before_it_serves():
    pytest.importorskip("vllm", reason="vLLM is not installed: run `make test-vllm`")
    from sharpv.engines.vllm.mrope import SharpVMRope  # noqa: PLC0415

    settings = SimpleNamespace(video_pruning_rate=None)
    vllm_config = SimpleNamespace(
        model_config=SimpleNamespace(get_multimodal_config=lambda: settings), speculative_config=object()
    )
    with pytest.raises(InputError, match="speculative decoding"):
        SharpVMRope(vllm_config=vllm_config)
