"""What tells one processed video from another in vLLM's caches."""

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest


@dataclass
class Inputs:
    hf_processor_mm_kwargs: dict[str, Any] = field(default_factory=dict)


@pytest.fixture
def hashed():
    pytest.importorskip("vllm", reason="vLLM is not installed: run `make test-vllm`")
    from sharpv.engines.vllm.processor import SharpVProcessor  # noqa: PLC0415

    class Stock:
        def _get_mm_hashes(self, inputs):
            return inputs.hf_processor_mm_kwargs

    class Processor(SharpVProcessor, Stock):
        pass

    def what_is_hashed(server, request):
        processor = Processor()
        processor.info = SimpleNamespace(get_hf_config=lambda: SimpleNamespace(sharpv=server))
        return processor._get_mm_hashes(Inputs(request))

    return what_is_hashed


def test_the_share_tells_videos_apart_whoever_gave_it(hashed):
    assert hashed({"keep": 0.5}, {}) == hashed({"keep": 0.1}, {"sharpv_keep": 0.5})
    assert hashed({"keep": 0.5}, {}) != hashed({"keep": 0.1}, {})
    assert hashed({"keep": 0.5}, {}) != hashed({"keep": 0.5, "coverage": 0.5}, {})
    assert hashed({}, {"sharpv_keep": "auto"}) != hashed({"gain": 2}, {"sharpv_keep": "auto"})


def test_it_counts_for_videos_only_and_the_number_of_a_request_for_nothing(hashed):
    found = hashed({}, {"sharpv_keep": 0.5, "sharpv_request": "a", "fps": 2, "videos_kwargs": {"size": 1}})
    assert found == hashed({}, {"sharpv_keep": 0.5, "fps": 2, "videos_kwargs": {"size": 1}})
    assert set(found) == {"fps", "videos_kwargs"}
    assert found["videos_kwargs"]["size"] == 1
