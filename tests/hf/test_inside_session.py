"""A session whose method acts inside the LLM: with stage 2, in odd requests, refused, interrupted."""

import pytest
import torch
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

import sharpv
from sharpv.hf.cache import CACHE
from sharpv.methods import VTW, FastV
from tests.hf.conftest import (
    GREEDY,
    OFF,
    STAGE_1,
    Config,
    clip,
    distance,
    second_turn,
    video_tokens,
)
from tests.hf.test_chats import Chat
from tests.hf.test_overhead import hooks_on
from tests.hf.test_session import checkpointing, state_of

TOLERANCE = 1e-5  # float32, sums in another order
HALF = Config(retention=0.5, memory_threshold=None)
BOTH = pytest.mark.parametrize("method", ["fastv", "vtw"])


@BOTH
@pytest.mark.parametrize("probe", ["input", "output"])
def test_stage_2_goes_on_with_what_stays(model, batch, method, probe):
    whole = Config(retention=1.0, memory_threshold=2.0, memory_probe=probe)
    with sharpv.attach(model, whole) as session:
        model.generate(**batch, **GREEDY)
        everywhere = session.report
    with sharpv.attach(model, HALF, method=method):
        stage_1 = model.generate(**batch, **GREEDY)
    config = Config(retention=0.5, memory_threshold=2.0, memory_probe=probe)
    with sharpv.attach(model, config, method=method) as session:
        output = model.generate(**batch, **GREEDY)
    report = session.report
    # The layers before the second see what they see without a method.
    assert report.layers[:2] == everywhere.layers[:2]
    assert torch.equal(output.logits[0], stage_1.logits[0])
    assert [layer.layer for layer in report.layers] == [0, 1, 2, 3]
    text = int((batch["attention_mask"].bool() & ~video_tokens(model, batch)).sum(1).max())
    for layer, held in zip(report.layers, output[CACHE].layers, strict=True):
        gone = method == "vtw" and layer.layer >= 2
        assert layer.dropped == ((False, False) if gone else (True, True))
        assert all((value is None) == gone for value in layer.similarity)
        assert held.keys.shape[2] == text + GREEDY["max_new_tokens"] - 1
    assert sharpv.Report.from_json(report.to_json()) == report


@BOTH
def test_a_second_turn_of_text_equals_its_tokens_one_by_one(model, processor, inputs, batch, method):
    for requests in (inputs, batch):
        with sharpv.attach(model, HALF, method=method), torch.no_grad():
            second, one_by_one = second_turn(model, processor, requests)
        assert torch.allclose(second.logits[0], one_by_one, atol=TOLERANCE)


@pytest.mark.parametrize("attention", ["sdpa", "eager"], indirect=True)
def test_a_second_video_on_layers_that_hold_different_columns(model, make_inputs, attention):
    with sharpv.attach(model, Config(retention=0.5, memory_threshold=-1.0), method=FastV(layer=1)) as session:
        Chat(model, make_inputs, [[clip(0)], [clip(2)]], [[clip(1)], []])
        similar = sorted(layer.similarity[0] for layer in session.report.layers[1:])
    # Of layers 1, 2 and 3, which read the same tokens, the least alike gives up its video.
    config = Config(retention=0.5, memory_threshold=sum(similar[:2]) / 2)
    with sharpv.attach(model, config, method=FastV(layer=1)) as session:
        chat = Chat(model, make_inputs, [[clip(0)], [clip(2)]], [[clip(1)], []])
        held = [layer.keys.shape[2] for layer in chat.first[CACHE].layers]
        again = model.generate(**chat.turn, **GREEDY)
    assert len(set(held[1:])) > 1
    assert [len(logits) for logits in again.logits] == [2] * GREEDY["max_new_tokens"]
    first, second = session.reports
    assert 0 < sum(any(layer.dropped) for layer in first.layers) < 4
    assert second.layer_share == pytest.approx((1 + 3 * 0.5) / 4, abs=0.02)


@BOTH
def test_drafts_change_nothing(model, inputs, method):
    pictures = {getattr(model.config, name, None) for name in ("image_token_id", "video_token_id")}
    options = GREEDY | {"suppress_tokens": sorted(pictures - {None})}
    with sharpv.attach(model, HALF, method=method) as session:
        plain = model.generate(**inputs, **options)
        drafted = model.generate(**inputs, **options, prompt_lookup_num_tokens=3)
        with pytest.raises(sharpv.InputError, match="method that acts inside the LLM, with which prompt and"):
            model.generate(**inputs, **options, prompt_lookup_num_tokens=3, output_attentions=True)
    assert torch.equal(plain.sequences, drafted.sequences)
    assert distance(plain, drafted) < TOLERANCE
    assert session.reports[0].videos == session.reports[1].videos


@BOTH
def test_hidden_states_and_logits_stand_at_the_callers_columns(model, batch, method):
    dense = model(**batch, output_hidden_states=True)
    with sharpv.attach(model, HALF, method=method), torch.no_grad():
        output = model(**batch, output_hidden_states=True)
        generated = model.generate(**batch, **GREEDY)
    assert output.logits.shape == dense.logits.shape
    assert torch.allclose(output.logits[:, -1], generated.logits[0], atol=TOLERANCE)
    assert [states.shape for states in output.hidden_states] == [(*dense.logits.shape[:2], 64)] * 5
    assert all(map(torch.equal, output.hidden_states[:3], dense.hidden_states[:3]))
    assert not torch.equal(output.hidden_states[3], dense.hidden_states[3])
    # Text before the video saw nothing of it.
    start = int(video_tokens(model, batch)[1].int().argmax())
    for ours, theirs in zip(output.hidden_states, dense.hidden_states, strict=True):
        torch.testing.assert_close(ours[1, :start], theirs[1, :start], rtol=0, atol=TOLERANCE)


@BOTH
def test_gradients_reach_the_tokens_that_stay(model, inputs, method):
    with sharpv.attach(model, HALF, method=method):
        output = model(**inputs, use_cache=False, labels=inputs["input_ids"])
        output.loss.backward()
    grads = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    assert grads
    assert all(grad.isfinite().all() for grad in grads)
    model.zero_grad(set_to_none=True)


@BOTH
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(model, batch, method, dtype):
    model.to(dtype)
    with sharpv.attach(model, HALF, method=method) as session:
        output = model.generate(**batch, **GREEDY)
    assert all(logits.isfinite().all() for logits in output.logits)
    assert session.report.layer_tokens[0] == session.report.tokens_total


@BOTH
@pytest.mark.parametrize("error", [KeyError, KeyboardInterrupt])
@pytest.mark.parametrize("layer", [1, 2])
def test_a_pass_that_fails_leaves_nothing(model, inputs, method, error, layer):
    kernels, layers = set(ALL_ATTENTION_FUNCTIONS), model.get_decoder().layers
    others, before = hooks_on(layers), state_of(model)

    def fail(*_) -> None:
        raise error

    with sharpv.attach(model, HALF, method=method) as session:
        expected = model.generate(**inputs, **GREEDY).sequences
        attached = state_of(model)
        handle = layers[layer].mlp.register_forward_pre_hook(fail)
        with pytest.raises(error):
            model.generate(**inputs, **GREEDY)
        handle.remove()
        assert hooks_on(layers) == others
        assert state_of(model) == attached
        assert torch.equal(model.generate(**inputs, **GREEDY).sequences, expected)
    assert len(session.reports) == 2
    assert state_of(model) == before
    assert set(ALL_ATTENTION_FUNCTIONS) == kernels


def test_hooks_are_on_layers_during_the_prompt_only(model, inputs):
    seen, layers = [], model.get_decoder().layers
    others = hooks_on(layers)
    handle = model.get_decoder().norm.register_forward_pre_hook(
        lambda *_: seen.append(hooks_on(layers) - others)
    )
    with sharpv.attach(model, HALF, method="fastv"):
        model.generate(**inputs, **GREEDY)
    handle.remove()
    # Two to listen to layer 1, and one on each of layers 2 and 3.
    assert seen == [4, 0, 0, 0, 0, 0]


@pytest.mark.parametrize(
    ("method", "config", "message"),
    [
        (FastV(layer=4), HALF, r"layer=4 for an LLM of 4 decoder layers.*give a layer in 1\.\.3"),
        (VTW(layer=9), Config(), r"layer=9 for an LLM of 4 decoder layers.*give a layer in 1\.\.3"),
        ("fastv", Config(), "needs to know how many tokens to keep"),
    ],
    ids=["fastv", "vtw", "adaptive"],
)
def test_a_layer_that_the_model_does_not_have_is_refused(model, method, config, message):
    before = state_of(model)
    with pytest.raises(sharpv.InputError, match=message):
        sharpv.attach(model, config, method=method)
    assert state_of(model) == before
    sharpv.attach(model).detach()


@pytest.mark.parametrize(
    ("family", "reason"),
    [("gemma4", "since Gemma 4 makes the attention masks"), ("qwen3_5", r"another kind .*linear_attention")],
    indirect=["family"],
)
@BOTH
def test_families_whose_layers_cannot_be_narrowed_are_refused(model, method, reason):
    with pytest.raises(sharpv.UnsupportedModelError, match=f"{reason}.*take a method that acts before"):
        sharpv.attach(model, HALF, method=method)
    sharpv.attach(model).detach()


@BOTH
def test_prune_inputs_has_nothing_to_shorten(model, inputs, method):
    with pytest.raises(sharpv.InputError, match=rf"use sharpv\.attach\(model, config, method='{method}'\)"):
        sharpv.prune_inputs(model, inputs, HALF, method=method)


@BOTH
def test_what_prune_inputs_made_is_refused(model, inputs, method):
    pruned = sharpv.prune_inputs(model, inputs, STAGE_1)
    with sharpv.attach(model, HALF, method=method), torch.no_grad():
        with pytest.raises(sharpv.InputError, match="pass what the processor returned"):
            model.generate(**pruned, **GREEDY)
        with pytest.raises(sharpv.InputError, match="pass what the processor returned"):
            model(**pruned)


@pytest.fixture
def checkpointed(model):
    model.train()
    checkpointing(model, "enable")
    yield model
    checkpointing(model, "disable")
    model.eval()


@BOTH
def test_checkpointing_is_refused_with_a_video_only(checkpointed, inputs, make_inputs, method):
    with sharpv.attach(checkpointed, HALF, method=method):
        with pytest.raises(sharpv.InputError, match="switch it off, or take a method that acts before the"):
            checkpointed(**inputs)
        checkpointed(**make_inputs([]))


def test_every_method_says_what_each_layer_read(model, inputs):
    for config, method in ((OFF, "sharpv"), (STAGE_1, "sharpv"), (HALF, "random")):
        with sharpv.attach(model, config, method=method) as session, torch.no_grad():
            model.generate(**inputs, max_new_tokens=1)
            model(**inputs)
        for report in session.reports:
            assert report.layer_tokens == (report.tokens_kept,) * 4
            assert report.layer_share == report.tokens_kept / report.tokens_total


def test_a_request_without_a_video_has_no_share(model, make_inputs):
    with sharpv.attach(model, HALF, method="fastv") as session:
        model.generate(**make_inputs([]), max_new_tokens=1)
        assert session.report.layer_tokens == ()
        assert session.report.layer_share is None
        model.generate(**make_inputs([], [clip()]), max_new_tokens=1)
    assert session.report.layer_share == pytest.approx(0.75, abs=0.01)
