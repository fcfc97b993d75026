"""What `forward()` returns, and the odd ways of calling it."""

import inspect

import pytest
import torch

import sharpv
from tests.hf.conftest import GREEDY, QUESTIONS, STAGE_1, TEXT_ONLY, clip, same_output, video_tokens

TOLERANCE = 1e-6


@pytest.fixture
def expected(model, inputs):
    with sharpv.attach(model, TEXT_ONLY), torch.no_grad():
        return model(**inputs).logits


def positionally(model, inputs):
    names = list(inspect.signature(model.forward).parameters)
    last = max(names.index(name) for name in inputs)
    return model(*(inputs.get(name) for name in names[: last + 1])).logits


def by_embeddings(model, inputs):
    rest = {name: value for name, value in inputs.items() if name != "input_ids"}
    whole = model._prepare_position_ids_for_generation(inputs["input_ids"], dict(inputs))
    embeds = model.get_input_embeddings()(inputs["input_ids"])
    return model(inputs_embeds=embeds, position_ids=whole, **rest).logits


CALLS = {
    "return_dict=False": lambda model, inputs: model(**inputs, return_dict=False)[0],
    "positional": positionally,
    "embeddings": by_embeddings,
    "the base model": lambda model, inputs: model.lm_head(model.model(**inputs).last_hidden_state),
    "no cache": lambda model, inputs: model(**inputs, use_cache=False).logits,
}


@pytest.mark.parametrize("call", CALLS)
def test_any_way_of_calling_forward_gives_the_same(model, inputs, expected, call):
    with sharpv.attach(model, TEXT_ONLY) as session, torch.no_grad():
        assert torch.equal(CALLS[call](model, inputs), expected)
    assert len(session.reports) == 1


def test_logits_stand_at_the_callers_columns(model, inputs, expected):
    pruned = sharpv.prune_inputs(model, inputs, STAGE_1)
    with torch.no_grad():
        short = model(**pruned).logits
    text = ~video_tokens(model, inputs)
    assert expected.shape[:2] == inputs["input_ids"].shape
    kept_text = pruned["attention_mask"].bool() & ~video_tokens(model, pruned)
    assert torch.allclose(expected[text], short[kept_text], atol=TOLERANCE)


def test_hidden_states_stand_at_the_callers_columns(model, inputs):
    with sharpv.attach(model, STAGE_1), torch.no_grad():
        out = model(**inputs, output_hidden_states=True)
    assert {states.shape[1] for states in out.hidden_states} == {inputs["input_ids"].shape[1]}


def test_rows_padded_on_the_right(model, make_inputs, processor):
    questions, rows = QUESTIONS[:2], [[clip(0)], [clip(1)]]
    processor.tokenizer.padding_side = "right"
    try:
        batch = make_inputs(*rows)
    finally:
        processor.tokenizer.padding_side = "left"
    assert batch["attention_mask"][0, -1] == 0
    with sharpv.attach(model, TEXT_ONLY), torch.no_grad():
        together = model(**batch).logits
        for row, question in enumerate(questions):
            alone = model(**make_inputs(rows[row], questions=(question,))).logits[0]
            assert torch.allclose(together[row, : len(alone)], alone, atol=TOLERANCE)


def test_attention_maps_are_those_of_the_columns_held(model, inputs):
    model.set_attn_implementation("eager")
    with sharpv.attach(model, TEXT_ONLY) as session:
        out = model.generate(**inputs, **GREEDY, output_attentions=True)
    layers = model.config.get_text_config().num_hidden_layers
    text = int((~video_tokens(model, inputs)).sum())
    widths = [[maps.shape[-1] for maps in step] for step in out.attentions]
    assert widths[0] == [session.report.prompt_tokens_kept[0]] * layers
    assert widths[1] == [text + 1] * layers


def test_inference_mode_changes_nothing(model, inputs):
    with sharpv.attach(model, TEXT_ONLY):
        expected = model.generate(**inputs, **GREEDY)
        with torch.inference_mode():
            assert same_output(model.generate(**inputs, **GREEDY), expected)


def test_the_model_gets_no_argument_that_the_caller_did_not_give(model, inputs):
    given = []
    handle = model.model.register_forward_pre_hook(lambda *call: given.append(set(call[2])), with_kwargs=True)
    try:
        model.generate(**inputs, max_new_tokens=1)
        with sharpv.attach(model, TEXT_ONLY):
            model.generate(**inputs, max_new_tokens=1)
    finally:
        handle.remove()
    dense, attached = given
    assert attached == dense
