"""A video that comes after the first turn, when the cache already holds a conversation."""

import pytest
import torch

import sharpv
from sharpv.hf.cache import CACHE
from tests.hf.conftest import GREEDY, QUESTIONS, clip


def after_a_text_turn(model, make_inputs, rows, config):
    """A turn of text without SharpV, then one with video with it; output and report of the second."""
    questions = tuple(QUESTIONS[row] for row in rows)
    text = make_inputs(*([] for _ in rows), questions=questions)
    first = model.generate(**text, **GREEDY)
    video = make_inputs(*([clip(row)] for row in rows), questions=("Now?",) * len(rows))
    grown = torch.nn.functional.pad(text["attention_mask"], (0, GREEDY["max_new_tokens"]), value=1)
    together = {"input_ids": torch.cat([first.sequences, video["input_ids"]], dim=1)}
    together["attention_mask"] = torch.cat([grown, video["attention_mask"]], dim=1)
    if "mm_token_type_ids" in video:
        before = torch.zeros_like(first.sequences, dtype=video["mm_token_type_ids"].dtype)
        together["mm_token_type_ids"] = torch.cat([before, video["mm_token_type_ids"]], dim=1)
    turn = {**video, **together, CACHE: first[CACHE]}
    with sharpv.attach(model, config) as session:
        return model.generate(**turn, **GREEDY), session.report


@pytest.mark.parametrize("threshold", [None, 2.0])
def test_a_row_of_a_padded_batch_equals_the_row_alone(model, make_inputs, threshold):
    model.to(torch.float64)
    config = sharpv.SharpVConfig(memory_threshold=threshold)
    together, whole = after_a_text_turn(model, make_inputs, (0, 1), config)
    assert 0 < whole.tokens_kept < whole.tokens_total
    for row in (0, 1):
        alone, report = after_a_text_turn(model, make_inputs, (row,), config)
        assert report.videos[0].kept == whole.videos[row].kept
        for one, both in zip(alone.logits, together.logits, strict=True):
            assert torch.equal(one[0], both[row])


def test_switched_off_it_equals_the_dense_model(model, make_inputs):
    off = sharpv.SharpVConfig(retention=1.0, memory_threshold=None)
    attached, report = after_a_text_turn(model, make_inputs, (0, 1), off)
    assert report.cache_bytes == report.dense_cache_bytes > 0
    untouched = sharpv.SharpVConfig(retention=1.0, memory_threshold=-1.0)
    adopted, report = after_a_text_turn(model, make_inputs, (0, 1), untouched)
    assert report.tokens_kept == report.tokens_total > 0
    assert torch.equal(attached.sequences, adopted.sequences)
    assert (
        max(float((a - b).abs().max()) for a, b in zip(attached.logits, adopted.logits, strict=True)) < 1e-6
    )
