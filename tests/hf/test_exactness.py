"""What must hold exactly, for every family, attention implementation and batch size."""

import pytest
import torch

import sharpv
from sharpv.hf.cache import CACHE, PrunedLayer
from sharpv.hf.families import FAMILIES
from tests.hf.conftest import (
    GREEDY,
    KEEP_ALL,
    OFF,
    STAGE_1,
    TEXT_ONLY,
    Config,
    clip,
    distance,
    forward_loop,
    same_output,
    second_turn,
    video_tokens,
)


@pytest.fixture(params=sorted(name for name, family in FAMILIES.items() if not family.stage_1_only))
def family(request) -> str:
    return request.param


every_family = pytest.mark.parametrize("family", sorted(FAMILIES), indirect=True)
"""What holds also where only the prompt of `generate()` is shortened."""


def middle_threshold(model, requests) -> float:
    """A threshold that some layers pass and others do not."""
    with sharpv.attach(model, Config(memory_threshold=-1.0)) as session:
        model.generate(**requests, max_new_tokens=1)
    similarity = sorted(min(layer.similarity) for layer in session.report.layers)
    assert similarity[0] < similarity[-1]
    return (similarity[len(similarity) // 2 - 1] + similarity[len(similarity) // 2]) / 2


def full_attention_layers(config) -> int:
    kinds = getattr(config, "layer_types", None) or ["full_attention"] * config.num_hidden_layers
    return kinds.count("full_attention")


@every_family
def test_switched_off_is_bit_exact(model, attention, requests):
    dense = model.generate(**requests, **GREEDY)
    with sharpv.attach(model, OFF) as session:
        attached = model.generate(**requests, **GREEDY)
    assert same_output(dense, attached)
    assert session.report.tokens_kept == session.report.tokens_total > 0
    assert session.report.cache_bytes == session.report.dense_cache_bytes


def test_switched_off_is_bit_exact_in_a_bare_forward(model, attention, requests):
    with torch.no_grad():
        dense = model(**requests)
        with sharpv.attach(model, OFF) as session:
            attached = model(**requests)
            model.generate(**requests, **GREEDY)
    assert torch.equal(dense.logits, attached.logits)
    bare, generated = session.reports
    assert bare.videos == generated.videos
    assert bare.prompt_tokens == bare.prompt_tokens_kept == generated.prompt_tokens


@every_family
def test_stages_that_drop_nothing_are_bit_exact(model, attention, requests):
    """Switched off, the request goes to the model as it is; here it goes through both stages."""
    dense = model.generate(**requests, **GREEDY)
    with sharpv.attach(model, KEEP_ALL) as session:
        attached = model.generate(**requests, **GREEDY)
    assert same_output(dense, attached)
    assert session.report.tokens_kept == session.report.tokens_total > 0
    assert len(session.report.videos[0].ratios) == session.report.videos[0].frames


def test_the_inputs_seam_equals_the_hook_seam(model, attention, requests):
    config = Config(memory_threshold=middle_threshold(model, requests))
    with sharpv.attach(model, config) as session, torch.no_grad():
        by_inputs = model.generate(**requests, **GREEDY)
        by_hooks = forward_loop(model, requests, GREEDY["max_new_tokens"])
    inputs_report, hooks_report = session.reports
    assert all(map(torch.equal, by_inputs.logits, by_hooks))
    assert 0 < inputs_report.tokens_kept < inputs_report.tokens_total
    for part in (
        "videos",
        "layers",
        "prompt_tokens",
        "prompt_tokens_kept",
        "cache_bytes",
        "dense_cache_bytes",
    ):
        assert getattr(inputs_report, part) == getattr(hooks_report, part), part
    assert any(any(layer.dropped) for layer in inputs_report.layers)
    assert not all(all(layer.dropped) for layer in inputs_report.layers)


def test_prune_inputs_equals_an_attached_session(model, attention, requests):
    with sharpv.attach(model, STAGE_1):
        attached = model.generate(**requests, **GREEDY)
    pruned = sharpv.prune_inputs(model, requests, STAGE_1)
    explicit = model.generate(**pruned, **GREEDY)
    width, whole = pruned["input_ids"].shape[1], requests["input_ids"].shape[1]
    assert width < whole
    assert torch.equal(explicit.sequences[:, width:], attached.sequences[:, whole:])
    # A single 1-D prompt gets a column of padding, and with it another kernel.
    padded = len(requests["input_ids"]) == 1 and pruned["attention_mask"][0, 0] == 0
    assert distance(explicit, attached) <= (1e-6 if padded else 0)


def test_a_threshold_of_two_leaves_only_text_in_the_cache(model, attention, requests):
    with sharpv.attach(model, TEXT_ONLY) as session:
        out = model.generate(**requests, **GREEDY)
    text = (requests["attention_mask"].bool() & ~video_tokens(model, requests)).sum(1)
    columns = int(text.max()) + GREEDY["max_new_tokens"] - 1
    config = model.config.text_config
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    held_layers = [layer for layer in out[CACHE].layers if isinstance(layer, PrunedLayer)]
    for layer in held_layers:
        assert layer.physical == columns
        held = sum(states.untyped_storage().nbytes() for states in (layer.keys, layer.values))
        assert held == 2 * len(text) * config.num_key_value_heads * columns * head_dim * 4
    assert out[CACHE].get_seq_length() == out.sequences.shape[1] - 1
    report = session.report
    assert all(all(layer.dropped) for layer in report.layers)
    assert len(report.layers) == len(held_layers) == full_attention_layers(config)
    assert report.cache_bytes * report.prompt_tokens[-1] < report.dense_cache_bytes * (text.max() + 1)


def test_a_threshold_of_minus_one_changes_nothing(model, attention, requests):
    with sharpv.attach(model, STAGE_1) as session:
        without = model.generate(**requests, **GREEDY)
        assert session.report.layers == ()
    with sharpv.attach(model, Config(memory_threshold=-1.0)) as session:
        with_stage_2 = model.generate(**requests, **GREEDY)
    assert same_output(without, with_stage_2)
    first = session.report.layers[0]
    if first.layer == 0:
        assert first.similarity == pytest.approx([1.0] * len(requests["input_ids"]), abs=1e-6)
    assert not any(any(layer.dropped) for layer in session.report.layers)


@pytest.mark.parametrize(
    ("dtype", "implementation", "tolerance"),
    [(torch.float64, "sdpa", 0.0), (torch.float32, "eager", 1e-6)],
    ids=["float64-sdpa", "float32-eager"],
)
@pytest.mark.parametrize("level", ["none", "some", "all"])
def test_a_row_of_a_padded_batch_equals_the_row_alone(
    model, make_inputs, batch, dtype, implementation, tolerance, level
):
    model.to(dtype).set_attn_implementation(implementation)
    if "linear_attention" in (getattr(model.get_decoder().config, "layer_types", None) or ()):
        tolerance = 1e-6  # these layers reckon in float32 whatever the dtype
    threshold = {"none": -1.0, "some": middle_threshold(model, batch), "all": 2.0}[level]
    with sharpv.attach(model, Config(memory_threshold=threshold)) as session:
        together = model.generate(**batch, **GREEDY)
        whole = session.report
        for row, question in enumerate(("What?", "What happens in the end?")):
            alone = model.generate(**make_inputs([clip(row)], questions=(question,)), **GREEDY)
            apart = max(
                float((a[row] - b[0]).abs().max()) for a, b in zip(together.logits, alone.logits, strict=True)
            )
            assert apart <= tolerance
            assert session.report.videos[0].kept == whole.videos[row].kept
            dropped = [layer.dropped[0] for layer in session.report.layers]
            assert dropped == [layer.dropped[row] for layer in whole.layers]


@pytest.mark.parametrize("level", ["none", "some", "all"])
def test_a_second_turn_equals_feeding_it_token_by_token(model, processor, attention, requests, level):
    threshold = {"none": -1.0, "some": middle_threshold(model, requests), "all": 2.0}[level]
    with sharpv.attach(model, Config(memory_threshold=threshold)), torch.no_grad():
        second, expected = second_turn(model, processor, requests)
    assert float((second.logits[0] - expected).abs().max()) < 1e-6


@pytest.fixture
def beams_work(family) -> None:
    if family == "glm4v":
        pytest.skip("beams over a GLM-4V with a video fail in transformers without SharpV, too")


@pytest.mark.usefixtures("beams_work")
def test_beams_of_a_ragged_batch_equal_each_row_alone(model, make_inputs, batch):
    beams = GREEDY | {"num_beams": 3}
    model.to(torch.float64)
    config = Config(memory_threshold=middle_threshold(model, batch))
    with sharpv.attach(model, config) as session:
        together = model.generate(**batch, **beams)
        assert len(session.report.videos) == 2
        assert len(session.report.layers[0].similarity) == 2
        for row, question in enumerate(("What?", "What happens in the end?")):
            one = make_inputs([clip(row)], questions=(question,))
            alone = model.generate(**one, **beams)
            new = alone.sequences[0, one["input_ids"].shape[1] :]
            assert torch.equal(new, together.sequences[row, batch["input_ids"].shape[1] :])


@every_family
@pytest.mark.usefixtures("beams_work")
def test_prune_inputs_serves_beams_of_a_ragged_batch(model, batch):
    beams = GREEDY | {"num_beams": 2}
    with sharpv.attach(model, STAGE_1):
        attached = model.generate(**batch, **beams)
    pruned = sharpv.prune_inputs(model, batch, STAGE_1)
    explicit = model.generate(**pruned, **beams)
    new = attached.sequences[:, batch["input_ids"].shape[1] :]
    assert torch.equal(explicit.sequences[:, pruned["input_ids"].shape[1] :], new)
    assert distance(explicit, attached) == 0
    # generate() has written the repeated features back: a second call would mix the rows up.
    with pytest.raises(sharpv.InputError, match=r"call sharpv\.prune_inputs again"):
        model.generate(**pruned, **beams)
