"""Vision reuse in models that stand on another device than their inputs, or with them, or on two."""

from typing import Any

import pytest
import torch

import sharpv
from sharpv import VisionReuse
from sharpv.hf.families import FAMILIES
from sharpv.hf.reuse.supported import REUSABLE
from sharpv.tiny.random import RANDOM_MODELS
from tests.hf.conftest import GREEDY, Config
from tests.hf.test_devices import two_devices
from tests.hf.test_reuse_session import SUPPORTED, families
from tests.hf.two_devices import THERE, here, put_there

__all__ = ["two_devices"]

AUDITED = VisionReuse(max_share=1.0, audit=1)


def answer(model: Any, inputs: dict[str, Any]) -> tuple[list[torch.Tensor], list[Any]]:
    """The logits of a request and of a bare pass, and what was encoded and kept."""
    with sharpv.attach(model, Config(vision_reuse=AUDITED)) as session, torch.no_grad():
        logits = model.generate(**inputs, **GREEDY | {"max_new_tokens": 2}).logits
        logits = [*logits, model(**inputs).logits]
    records = [(video.kept, video.reuse.computed, video.reuse.audit) for video in session.report.videos]
    assert all(0 < video.reuse.share < 1 for report in session.reports for video in report.videos)
    return list(map(here, logits)), records


@families(SUPPORTED)
@pytest.mark.parametrize("there", ["tower", "last layer of the tower", "decoder", "both"])
def test_a_model_elsewhere_gives_the_same(model, batch, family, there, two_devices):
    own, _ = RANDOM_MODELS[family](image_size=112)
    own.generation_config.eos_token_id = None
    if own._can_set_experts_implementation():
        own.set_experts_implementation("eager")
    logits, records = answer(model, batch)
    tower = own.base_model.get_submodule(REUSABLE[family])
    parts = {
        "tower": [tower],
        "last layer of the tower": [
            next(m for m in tower.modules() if isinstance(m, torch.nn.ModuleList))[-1]
        ],
        "decoder": [own.get_decoder()],
        "both": [tower, own.get_decoder()],
    }
    put_there(own, *parts[there])
    if there in ("tower", "both"):
        pixels = FAMILIES[family].pixels
        batch = batch | {pixels: batch[pixels].to(THERE)}
    found, same = answer(own, batch)
    assert same == records
    assert all(map(torch.equal, found, logits))
