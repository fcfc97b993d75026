"""Threads that prune requests of one model at once take turns at changing it."""

from concurrent.futures import ThreadPoolExecutor
from threading import Event, get_ident
from typing import Any

import pytest
import torch

import sharpv
from sharpv.hf.families import FAMILIES
from sharpv.hf.reuse.supported import reusable_tower
from tests.hf.conftest import GREEDY, Config, same_output
from tests.hf.test_reuse_session import REUSING, STAGE_1, families, flat, kernels_of
from tests.hf.test_session import state_of

WAIT = 1.0
"""Seconds that a request waits for another to get in between, which it is not meant to."""


class Between:
    """Has another request start in the middle of a first one, which then would end first.

    Attributes:
        met: whether both were in the tower at once.
    """

    def __init__(self, module: Any, other: Any) -> None:
        self.met = False
        self._first = get_ident()
        self._started, self._inside, self._ended = Event(), Event(), Event()
        self._pool = ThreadPoolExecutor(1)
        self._other = other
        self._handle = module.register_forward_pre_hook(self._enter)

    def _enter(self, *seen: Any) -> None:
        if get_ident() != self._first:
            self._inside.set()
            self._ended.wait()
        elif not self._started.is_set():
            self._started.set()
            self._result = self._pool.submit(self._other)
            self.met = self._inside.wait(WAIT)

    def end(self) -> Any:
        """Lets the other go on when the first is done, and returns what it does."""
        self._ended.set()
        return self._result.result()

    def __enter__(self) -> "Between":
        return self

    def __exit__(self, *error: Any) -> None:
        self._ended.set()
        self._pool.shutdown()
        self._handle.remove()


@families(["internvl", "llava_onevision", "qwen2_5_vl"])
@pytest.mark.parametrize("first", ["prune_inputs", "generate"])
def test_requests_of_two_threads_take_turns(model, inputs, first):
    family, config = FAMILIES[model.config.model_type], Config(vision_reuse=REUSING, **STAGE_1)
    tower, way = reusable_tower(model.base_model, family)

    def pruned() -> torch.Tensor:
        result = sharpv.prune_inputs(model, inputs, config)
        return flat(result["mm_encoder_outputs"][family.modality])

    expected, before, kernels = pruned(), state_of(model), kernels_of(model)
    if first == "generate":
        session = sharpv.attach(model, config)
        generated = model.generate(**inputs, **GREEDY)
    with Between(way.attention_modules(tower)[-1], pruned) as between:
        if first == "generate":
            assert same_output(model.generate(**inputs, **GREEDY), generated)
        else:
            assert torch.equal(pruned(), expected)
        assert torch.equal(between.end(), expected)
        assert not between.met
    if first == "generate":
        session.detach()
    assert state_of(model) == before
    assert kernels_of(model) == kernels


@families(["llava_onevision"])
def test_attaching_waits_for_a_request_of_another_thread(model, inputs):
    config = Config(vision_reuse=REUSING, **STAGE_1)
    family = FAMILIES[model.config.model_type]
    tower, way = reusable_tower(model.base_model, family)
    before = state_of(model)
    with Between(way.attention_modules(tower)[-1], lambda: sharpv.attach(model, config)) as between:
        sharpv.prune_inputs(model, inputs, config)
        session = between.end()
    model.generate(**inputs, **GREEDY)
    assert session.report.videos[0].reuse.share < 1
    session.detach()
    assert state_of(model) == before
