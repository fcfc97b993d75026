"""What an attached session adds to a request: waits for the device, hooks, masks."""

import traceback
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

import sharpv
from sharpv.tiny.random import RANDOM_MODELS
from tests.hf.conftest import GREEDY, KEEP_ALL, OFF, STAGE_1, TEXT_ONLY, Config
from tests.hf.test_exactness import middle_threshold
from tests.hf.two_devices import THERE, OnThere, TwoDevices, put_there

ATEN = torch.ops.aten
READS = (ATEN._local_scalar_dense.default, ATEN.nonzero.default, ATEN.equal.default)
LOOK_UPS = (ATEN.index.Tensor, ATEN.index_put_.default)
COPIES = (ATEN._to_copy.default, ATEN.copy_.default)


def waits(func: Any, args: Any, kwargs: dict[str, Any]) -> bool:
    """Whether an operator would have the host wait for a GPU, if `THERE` were one."""
    if func in COPIES:
        target = kwargs.get("device") if func is COPIES[0] else args[0].device
        moves = target is not None and (target == THERE) != isinstance(args[-1], OnThere)
        # What comes from a GPU without waiting may not have arrived when it is read.
        return moves and not (kwargs.get("non_blocking") and target == THERE)
    if not args or not isinstance(args[0], OnThere):
        return False
    by_mask = func in LOOK_UPS and any(index is not None and index.dtype == torch.bool for index in args[1])
    return by_mask or func in READS


class Waits(TorchDispatchMode):
    """Counts what would wait for a GPU, by the file of ours that asks; the others are one."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if waits(func, args, kwargs or {}):
            frames = [frame.filename for frame in traceback.extract_stack()]
            known = [name for name in frames if "/transformers/" in name or "/src/sharpv/" in name]
            self.asked[known[-1].partition("/src/sharpv/")[2] or "others" if known else "others"] += 1
        return func(*args, **kwargs or {})


@pytest.mark.parametrize(
    ("ask", "waiting"),
    {
        "bool": (lambda here, there: bool((there > 1).all()), True),
        "int": (lambda here, there: int(there.sum()), True),
        "tolist": (lambda here, there: there.tolist(), True),
        "cpu": (lambda here, there: there.cpu(), True),
        "nonzero": (lambda here, there: there.nonzero(), True),
        "mask": (lambda here, there: there[there > 1], True),
        "set by mask": (lambda here, there: there.clone().__setitem__(there > 1, there[:2]), True),
        "list": (lambda here, there: torch.tensor([1], device=THERE), True),
        "upload": (lambda here, there: here.to(THERE), True),
        "queued upload": (lambda here, there: here.to(THERE, non_blocking=True), False),
        "queued download": (lambda here, there: there.to("cpu", non_blocking=True), True),
        "index": (lambda here, there: there[there], False),
    }.values(),
)
def test_the_counter_sees_what_waits(ask, waiting):
    """Else the tests below could not fail."""
    here = torch.arange(4)
    with TwoDevices():
        there = here.to(THERE)
        with Waits() as counted:
            ask(here, there)
    assert bool(counted.asked) == waiting


@pytest.fixture(params=["llava_onevision"])
def family(request) -> str:
    return request.param


@pytest.fixture
def far(family) -> Iterator[Any]:
    """A model that stands on a device of its own."""
    model, _ = RANDOM_MODELS[family](image_size=112)
    model.generation_config.eos_token_id = None
    with TwoDevices():
        put_there(model, model)
        yield model


def our_waits(
    model: Any, requests: dict[str, Any], config: Any, new_tokens: int, method: str = "sharpv"
) -> dict[str, int]:
    there = {name: value.to(THERE) for name, value in requests.items()}
    with sharpv.attach(model, config, method=method), Waits() as counted:
        model.generate(**there, max_new_tokens=new_tokens, do_sample=False)
    del counted.asked["others"]
    return dict(counted.asked)


PROMPT = {"hf/inputs.py": 2}  # where the video stands, and the padding
CHOICE = {"core/scores.py": 2, "methods/sharpv.py": 1, "hf/stage1.py": 1}  # per video
PREFILL = {"hf/hooks.py": 1}  # where the video stands in what is fed


@pytest.mark.parametrize("new_tokens", [1, 4])
def test_stage_1_waits_for_the_device_a_few_times_per_request(far, inputs, new_tokens):
    assert our_waits(far, inputs, STAGE_1, new_tokens) == PROMPT | CHOICE | PREFILL


def test_a_number_to_keep_waits_twice_more(far, inputs):
    counted = our_waits(far, inputs, Config(retention=0.25, memory_threshold=None), 4)
    assert sum(counted.values()) == sum((PROMPT | CHOICE | PREFILL).values()) + 2


@pytest.mark.parametrize("threshold", [-1.0, 2.0], ids=["nothing dropped", "text only"])
@pytest.mark.parametrize("new_tokens", [1, 4])
def test_stage_2_waits_once_more_per_layer(far, inputs, new_tokens, threshold):
    layers = len(far.get_decoder().layers)
    counted = our_waits(far, inputs, Config(memory_threshold=threshold), new_tokens)
    assert counted == PROMPT | CHOICE | PREFILL | {"hf/layer_hooks.py": layers}


@pytest.mark.parametrize(("method", "attention"), [("fastv", 1), ("vtw", 0)])
@pytest.mark.parametrize("new_tokens", [1, 4])
def test_a_method_inside_the_llm_waits_for_its_attention_only(far, inputs, method, attention, new_tokens):
    counted = our_waits(far, inputs, Config(retention=0.5, memory_threshold=None), new_tokens, method)
    assert counted == {"hf/generate.py": 1} | PREFILL | ({"hf/inside.py": 1} if attention else {})


def test_padded_rows_wait_once_more_per_pass(far, batch):
    twice = {file: 2 * times for file, times in CHOICE.items()}
    stage_2 = {"hf/layer_hooks.py": len(far.get_decoder().layers)}
    for config, more in ((STAGE_1, {}), (TEXT_ONLY, stage_2)):
        expected = PROMPT | twice | PREFILL | more | {"hf/step.py": 4}
        assert our_waits(far, batch, config, new_tokens=4) == expected


def test_with_nothing_to_prune_only_the_report_waits(far, make_inputs, inputs, batch):
    for requests in (inputs, batch):
        assert our_waits(far, requests, OFF, new_tokens=4) == {"hf/generate.py": 2}
    assert our_waits(far, make_inputs([]), TEXT_ONLY, new_tokens=4) == {"hf/generate.py": 1}


def hooks_on(layers: Any) -> int:
    """Hooks on layers; transformers leaves some of its own, once it was asked for hidden states."""
    return sum(len(layer._forward_hooks) + len(layer._forward_pre_hooks) for layer in layers)


def hooks_and_masks(model: Any, requests: dict[str, Any], config: Any) -> list[tuple[int, set[bool]]]:
    """Per pass of the decoder: our hooks on its layers, and whether their masks are None."""
    seen: list[tuple[int, set[bool]]] = []
    layers = model.get_decoder().layers
    others = hooks_on(layers)
    forwards = [layer.self_attn.forward for layer in layers]

    def watch(index: int, *args: Any, **kwargs: Any) -> Any:
        if index == 0:
            seen.append((hooks_on(layers) - others, set()))
        seen[-1][1].add(kwargs["attention_mask"] is None)
        return forwards[index](*args, **kwargs)

    for index, layer in enumerate(layers):
        layer.self_attn.forward = lambda *args, index=index, **kwargs: watch(index, *args, **kwargs)
    try:
        with sharpv.attach(model, config):
            model.generate(**requests, **GREEDY | {"max_new_tokens": 3})
    finally:
        for layer in layers:
            del layer.self_attn.forward
    return seen


@pytest.mark.parametrize("family", ["llava_onevision", "qwen2_5_vl"], indirect=True)
@pytest.mark.parametrize("config", [OFF, STAGE_1, KEEP_ALL, "some", TEXT_ONLY], ids=str)
def test_one_prompt_decodes_without_hooks_on_layers_and_without_masks(model, inputs, config):
    if config == "some":
        config = Config(memory_threshold=middle_threshold(model, inputs))
    prefill, *decoding = hooks_and_masks(model, inputs, config)
    assert (prefill[0] > 0) == config.prunes
    assert decoding == [(0, {True})] * 2


@pytest.mark.parametrize("attention", ["eager"], indirect=True)
def test_eager_attention_decodes_with_masks_where_layers_differ(model, inputs, attention):
    some = Config(memory_threshold=middle_threshold(model, inputs))
    layers = len(model.get_decoder().layers)
    for config, hooks in ((STAGE_1, 0), (TEXT_ONLY, 0), (some, layers)):
        _, *decoding = hooks_and_masks(model, inputs, config)
        assert [found[0] for found in decoding] == [hooks] * 2


def test_padded_rows_decode_with_masks_and_hooks_only_where_layers_differ(model, batch):
    some = Config(memory_threshold=middle_threshold(model, batch))
    layers = len(model.get_decoder().layers)
    for config, hooks in ((STAGE_1, 0), (TEXT_ONLY, 0), (some, layers)):
        _, *decoding = hooks_and_masks(model, batch, config)
        assert decoding == [(hooks, {False})] * 2


@pytest.mark.parametrize("error", [KeyError, KeyboardInterrupt])
@pytest.mark.parametrize("bare", [False, True], ids=["generate", "forward"])
def test_a_pass_that_fails_leaves_nothing(model, inputs, make_inputs, error, bare):
    layers = model.get_decoder().layers
    others = hooks_on(layers)

    def fail(*args: Tensor, **kwargs: Any) -> None:
        raise error

    with sharpv.attach(model, TEXT_ONLY) as session:
        expected = [model.generate(**requests, **GREEDY).sequences for requests in (inputs, make_inputs([]))]
        layers[1].self_attn.forward = fail
        try:
            with pytest.raises(error):
                model(**inputs) if bare else model.generate(**inputs, **GREEDY)
        finally:
            del layers[1].self_attn.forward
        if not (bare and error is KeyboardInterrupt):  # which calls nothing that could clean up
            assert not session.owned
            assert hooks_on(layers) == others
        again = [model.generate(**requests, **GREEDY).sequences for requests in (inputs, make_inputs([]))]
        assert all(torch.equal(one, other) for one, other in zip(expected, again, strict=True))
        assert model(**inputs).logits.isfinite().all()
        assert hooks_on(layers) == others
