"""Half precision, also of a model cast after attach, autocast, and gradients on and off."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import sharpv
from sharpv.hf.cache import CACHE
from tests.hf.conftest import (
    GREEDY,
    OFF,
    STAGE_1,
    TEXT_ONLY,
    forward_loop,
    same_output,
    second_turn,
    video_tokens,
)

CASTS = {
    "half": lambda model: model.half(),
    "to float16": lambda model: model.to(torch.float16),
    "to bfloat16": lambda model: model.to(torch.bfloat16),
    "double": lambda model: model.double(),
}


@pytest.mark.parametrize("cast", CASTS)
def test_a_model_cast_after_attach_is_one_attached_after_the_cast(model, batch, cast):
    with sharpv.attach(model, TEXT_ONLY) as session, torch.no_grad():
        model.generate(**batch, max_new_tokens=1)
        CASTS[cast](model)
        before = model.generate(**batch, **GREEDY), model(**batch).logits
        videos = [report.videos for report in session.reports][1:]
    with sharpv.attach(model, TEXT_ONLY) as session, torch.no_grad():
        after = model.generate(**batch, **GREEDY), model(**batch).logits
        assert [report.videos for report in session.reports] == videos
    assert same_output(before[0], after[0])
    assert torch.equal(before[1], after[1])
    assert before[0].logits[0].isfinite().all()
    layers = before[0][CACHE].layers
    assert {layer.keys.dtype for layer in layers} == {model.dtype}
    assert all(all(layer.dropped) for layer in session.report.layers)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_in_half_precision_switched_off_is_bit_exact(model, batch, dtype):
    model.to(dtype)
    dense = model.generate(**batch, **GREEDY)
    with sharpv.attach(model, OFF), torch.no_grad():
        assert same_output(model.generate(**batch, **GREEDY), dense)
        attached = model(**batch).logits
    with torch.no_grad():
        assert torch.equal(attached, model(**batch).logits)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_in_half_precision_both_seams_agree(model, batch, dtype):
    model.to(dtype)
    with sharpv.attach(model, TEXT_ONLY) as session, torch.no_grad():
        by_inputs = model.generate(**batch, **GREEDY).logits[0]
        (by_hooks,) = forward_loop(model, batch, 1)
    one, other = session.reports
    assert one.videos == other.videos
    assert one.cache_bytes == other.cache_bytes < one.dense_cache_bytes
    assert torch.equal(by_inputs, by_hooks.to(by_inputs.dtype))


def test_half_the_bytes_per_number_are_half_the_cache(model, inputs):
    held = {}
    for dtype in (torch.float32, torch.bfloat16):
        model.to(dtype)
        with sharpv.attach(model, TEXT_ONLY) as session:
            model.generate(**inputs, max_new_tokens=1)
        held[dtype] = session.report.cache_bytes, session.report.dense_cache_bytes
    assert held[torch.float32] == tuple(2 * count for count in held[torch.bfloat16])


def test_autocast_changes_neither_seam_nor_the_scores(model, inputs):
    """The features are bfloat16 under autocast; their scores are float32 as ever."""
    seen = []
    decoder = model.get_decoder()
    handle = decoder.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(kwargs["inputs_embeds"]), with_kwargs=True
    )
    try:
        with sharpv.attach(model, STAGE_1) as session, torch.no_grad():
            with torch.autocast("cpu", dtype=torch.bfloat16):
                output = model.generate(**inputs, **GREEDY)
                bare = model(**inputs, logits_to_keep=1).logits[:, -1]
            by_generate, by_forward = session.reports
    finally:
        handle.remove()
    assert torch.equal(output.logits[0], bare.to(output.logits[0].dtype))
    assert by_generate.videos == by_forward.videos
    (video,) = by_forward.videos
    features = seen[-1][video_tokens(model, inputs)][: video.tokens_total]
    mask = sharpv.keep_mask(features.unflatten(0, (video.frames, -1)), STAGE_1)
    assert video.kept == tuple(map(tuple, mask.tolist()))


@pytest.mark.parametrize("off", [torch.no_grad, torch.inference_mode], ids=["no_grad", "inference_mode"])
def test_gradients_off_change_nothing_in_a_bare_forward(model, batch, off):
    with sharpv.attach(model, TEXT_ONLY):
        expected = model(**batch)
        with off():
            output = model(**batch)
    assert expected.logits.requires_grad
    assert not output.logits.requires_grad
    assert torch.equal(output.logits, expected.logits)
    assert all(map(torch.equal, *([x.keys for x in o[CACHE].layers] for o in (output, expected))))


def test_a_request_of_inference_mode_goes_on_outside_of_it(model, processor, inputs):
    with sharpv.attach(model, TEXT_ONLY), torch.inference_mode():
        expected = second_turn(model, processor, inputs)[0]
        first = model.generate(**inputs, **GREEDY)
    turn = processor.tokenizer("And then?", return_tensors="pt").input_ids
    ids = torch.cat([first.sequences, turn], dim=1)
    with sharpv.attach(model, TEXT_ONLY):
        second = model.generate(ids, attention_mask=torch.ones_like(ids), **{CACHE: first[CACHE]}, **GREEDY)
    assert same_output(second, expected)


def test_explicit_inputs_carry_no_gradient(model, inputs):
    assert any(weight.requires_grad for weight in model.parameters())
    pruned = sharpv.prune_inputs(model, inputs, STAGE_1)
    pooled = pruned["mm_encoder_outputs"]["video"].pooler_output
    assert not any(features.requires_grad for features in pooled)


def gradient_of_embeddings(model: Any, call: Callable[[], Any]) -> tuple[Tensor, Tensor]:
    """What the decoder is given, before a session changes it, and the gradient of the call's loss."""
    seen: list[Tensor] = []

    def keep(module: Any, args: Any, kwargs: dict[str, Any]) -> None:
        kwargs["inputs_embeds"].retain_grad()
        seen.append(kwargs["inputs_embeds"])

    handle = model.get_decoder().register_forward_pre_hook(keep, with_kwargs=True, prepend=True)
    try:
        call().loss.backward()
    finally:
        handle.remove()
        model.zero_grad()
    (embeds,) = seen
    return embeds.detach(), embeds.grad


def test_gradients_flow_through_stage_1_to_the_tokens_it_keeps(model, inputs):
    """And to no other: stage 1 chooses, it does not weigh."""
    labels = inputs["input_ids"].clone().index_fill_(1, torch.arange(inputs["input_ids"].shape[1] - 8), -100)
    with sharpv.attach(model, STAGE_1) as session:
        _, gradient = gradient_of_embeddings(model, lambda: model(**inputs, labels=labels))
    kept = torch.tensor(session.report.videos[0].kept).flatten()
    reached = gradient[video_tokens(model, inputs)].abs().sum(-1)[: len(kept)] > 0
    assert 0 < kept.sum() < len(kept)
    assert torch.equal(reached, kept)

    pruned = sharpv.prune_inputs(model, inputs | {"labels": labels}, STAGE_1)
    text = ~video_tokens(model, inputs)
    shorter_text = ~video_tokens(model, pruned) & pruned["attention_mask"].bool()
    _, explicit = gradient_of_embeddings(model, lambda: model(**pruned))
    assert torch.allclose(gradient[text], explicit[shorter_text], atol=1e-7)
