"""The likelihood of a given answer: one pass over prompt and answer, in either seam, or token by token."""

from typing import Any

import pytest
import torch

import sharpv
from sharpv.hf.cache import CACHE
from tests.hf.conftest import OFF, QUESTIONS, STAGE_1, TEXT_ONLY, clip, next_positions
from tests.hf.test_generation import replay

TOLERANCE = 1e-6  # float32, sums in another order
ANSWER = "A square moves."


@pytest.fixture(params=["internvl", "llava_onevision", "qwen2_5_vl", "qwen3_5", "qwen3_vl"])
def family(request) -> str:
    return request.param


@pytest.fixture
def answer(processor) -> torch.Tensor:
    """Ids `[1, steps]`."""
    return processor.tokenizer(ANSWER, return_tensors="pt").input_ids


def with_answer(requests: dict[str, Any], answer: torch.Tensor) -> dict[str, Any]:
    """Prompts followed by the answer, and labels on the answer alone."""
    rows, steps = len(requests["input_ids"]), answer.shape[1]
    ids = torch.cat([requests["input_ids"], answer.expand(rows, -1)], dim=1)
    grown = {"input_ids": ids, "labels": ids.clone()}
    grown["labels"][:, :-steps] = -100
    grown["attention_mask"] = torch.nn.functional.pad(requests["attention_mask"], (0, steps), value=1)
    if "mm_token_type_ids" in requests:
        grown["mm_token_type_ids"] = torch.nn.functional.pad(requests["mm_token_type_ids"], (0, steps))
    return requests | grown


def likelihood(logits: torch.Tensor, answer: torch.Tensor) -> torch.Tensor:
    """Log-likelihood `[B]` of the answer; logits `[B, steps, vocabulary]`, each from the token before."""
    index = answer.expand(len(logits), -1)[..., None]
    return logits.log_softmax(-1).gather(2, index).sum((1, 2))


@pytest.mark.parametrize("use_cache", [True, False])
def test_switched_off_it_is_bit_exact(model, batch, answer, use_cache):
    requests = with_answer(batch, answer)
    with torch.no_grad():
        dense = model(**requests, use_cache=use_cache)
        with sharpv.attach(model, OFF):
            attached = model(**requests, use_cache=use_cache)
    assert torch.equal(attached.loss, dense.loss)
    assert torch.equal(attached.logits, dense.logits)


@pytest.mark.parametrize("use_cache", [True, False])
def test_both_seams_and_single_tokens_agree(model, batch, answer, use_cache):
    requests, steps = with_answer(batch, answer), answer.shape[1]
    pruned = sharpv.prune_inputs(model, requests, STAGE_1)
    with torch.no_grad():
        explicit = model(**pruned, use_cache=use_cache)
        with sharpv.attach(model, STAGE_1) as session:
            attached = model(**requests, use_cache=use_cache)
            steps_apart = replay(model, batch, answer.expand(len(batch["input_ids"]), -1))
            by_features = model(**pruned, use_cache=use_cache)
    assert 0 < session.reports[0].tokens_kept < session.reports[0].tokens_total
    assert attached.logits.shape[1] == requests["input_ids"].shape[1]
    expected = likelihood(steps_apart, answer)
    for output in (explicit, attached, by_features):
        found = likelihood(output.logits[:, -steps - 1 : -1], answer)
        assert torch.allclose(found, expected, atol=steps * TOLERANCE)
        assert float(output.loss) == pytest.approx(-float(expected.sum()) / (2 * steps), rel=TOLERANCE)


def test_stage_2_acts_on_what_is_read_after_its_pass(model, batch, answer):
    """An answer in the pass of the video sees what stage 1 kept; in a later pass, what stage 2 left."""
    requests, steps = with_answer(batch, answer), answer.shape[1]
    answers = answer.expand(len(batch["input_ids"]), -1)
    with torch.no_grad():
        with sharpv.attach(model, STAGE_1):
            stage_1 = model(**requests)
        with sharpv.attach(model, TEXT_ONLY) as session:
            together = model(**requests)
            assert all(all(layer.dropped) for layer in session.report.layers)
            steps_apart = replay(model, batch, answers)
            later = read_later(model, batch, answers)
    assert torch.allclose(together.logits, stage_1.logits, atol=TOLERANCE)
    assert torch.allclose(later, steps_apart, atol=TOLERANCE)
    alike = torch.allclose(later, together.logits[:, -steps - 1 : -1], atol=TOLERANCE)
    assert not alike


def read_later(model: Any, requests: dict[str, Any], answers: torch.Tensor) -> torch.Tensor:
    """Logits `[B, steps, vocabulary]` of answers that one pass reads after the pass of the prompt."""
    steps = answers.shape[1]
    whole = model._prepare_position_ids_for_generation(requests["input_ids"], dict(requests))
    prompt = model(**requests, position_ids=whole, use_cache=True)
    mask, first = requests["attention_mask"], prompt.logits[:, -1:]
    masks = [torch.nn.functional.pad(mask, (0, step + 1), value=1) for step in range(steps)]
    out = model(
        input_ids=answers,
        attention_mask=masks[-1],
        position_ids=torch.cat([next_positions(model, mask) for mask in masks], dim=-1),
        **{CACHE: prompt[CACHE]},
    )
    return torch.cat([first, out.logits[:, :-1]], dim=1)


def test_a_row_of_a_padded_batch_has_the_likelihood_that_it_has_alone(model, make_inputs, batch, answer):
    steps = answer.shape[1]
    with sharpv.attach(model, STAGE_1), torch.no_grad():
        together = model(**with_answer(batch, answer)).logits[:, -steps - 1 : -1]
        for row, question in enumerate(QUESTIONS[:2]):
            alone = model(**with_answer(make_inputs([clip(row)], questions=(question,)), answer)).logits
            found = likelihood(alone[:, -steps - 1 : -1], answer)
            assert torch.allclose(likelihood(together, answer)[row], found, atol=steps * TOLERANCE)
