"""What cannot be pruned is refused, with a remedy, and leaves model and session usable."""

import importlib.metadata
import re
from dataclasses import replace

import pytest
import torch
from transformers import DynamicCache, Qwen2Config, Qwen2ForCausalLM
from transformers.cache_utils import DynamicSlidingWindowLayer
from transformers.masking_utils import find_packed_sequence_indices
from transformers.modeling_flash_attention_utils import _is_packed_sequence

import sharpv
from sharpv.hf.cache import CACHE
from sharpv.hf.families import FAMILIES
from sharpv.hf.inputs import PrunedFeatures
from tests.hf.conftest import GREEDY, OFF, STAGE_1, TEXT_ONLY, same_output

SMALL = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}


def causal_lm() -> Qwen2ForCausalLM:
    return Qwen2ForCausalLM(Qwen2Config(**SMALL, num_key_value_heads=1, vocab_size=16))


def test_an_unknown_family_is_refused_with_the_families_that_are_known():
    with pytest.raises(sharpv.UnsupportedModelError, match=r"docs/adding-a-model\.md") as caught:
        sharpv.attach(causal_lm())
    assert all(model_type in str(caught.value) for model_type in FAMILIES)
    with pytest.raises(sharpv.UnsupportedModelError, match="qwen2'"):
        sharpv.prune_inputs(causal_lm(), {})


@pytest.mark.parametrize("what", [torch.nn.Linear(1, 1), None, "a path"], ids=["module", "None", "str"])
def test_what_is_no_transformers_model_is_refused(what):
    with pytest.raises(sharpv.UnsupportedModelError, match="AutoModelForImageTextToText"):
        sharpv.attach(what)


def test_a_model_without_its_head_is_refused(model):
    with pytest.raises(sharpv.UnsupportedModelError, match="pass the whole model"):
        sharpv.attach(model.model)


@pytest.mark.parametrize("installed", ["4.57.1", "5.18.9", "6.0.0", "6.0.0.dev0"])
def test_another_release_of_transformers_is_refused(model, monkeypatch, installed):
    monkeypatch.setattr("sharpv._compat.version", lambda name: installed)
    with pytest.raises(sharpv.UnsupportedModelError, match=r"transformers>=5\.19,<6\.0") as caught:
        sharpv.attach(model)
    assert installed in str(caught.value)


@pytest.mark.parametrize("installed", ["5.19.0", "5.19.0rc1", "5.23.0", "5.100.1"])
def test_supported_releases_of_transformers(model, monkeypatch, installed):
    real = importlib.metadata.version
    monkeypatch.setattr(
        "sharpv._compat.version", lambda name: installed if name == "transformers" else real(name)
    )
    with sharpv.attach(model) as session:
        assert session.attached


@pytest.mark.parametrize("installed", ["5.19.0", "5.22.9"])
def test_a_family_of_later_releases_is_refused(model, inputs, family, monkeypatch, installed):
    real = importlib.metadata.version
    monkeypatch.setattr(
        "sharpv._compat.version", lambda name: installed if name == "transformers" else real(name)
    )
    monkeypatch.setitem(FAMILIES, family, replace(FAMILIES[family], since=(5, 23)))
    said = f"got transformers {installed}; {FAMILIES[family].name} supports >= 5.23, < 6.0: pip install"
    for call in (lambda: sharpv.attach(model), lambda: sharpv.prune_inputs(model, inputs)):
        with pytest.raises(sharpv.UnsupportedModelError, match=re.escape(said)):
            call()


def test_compact_positions_need_one_axis(model, inputs, family):
    config = sharpv.SharpVConfig(positions="compact")
    if not FAMILIES[family].mrope:
        return sharpv.attach(model, config).detach()
    for call in (lambda: sharpv.attach(model, config), lambda: sharpv.prune_inputs(model, inputs, config)):
        with pytest.raises(sharpv.InputError, match="use positions='original'"):
            call()
    return None


def static_cache(model, inputs):
    return model.generate(**inputs, **GREEDY, cache_implementation="static")


def sliding_cache(model, inputs):
    layers = [DynamicSlidingWindowLayer(sliding_window=8) for _ in model.get_decoder().layers]
    cache = DynamicCache()
    cache.layers, cache.layer_class_to_replicate = layers, None
    return model.generate(**inputs, **GREEDY, **{CACHE: cache})


def offloaded_cache(model, inputs):
    cache = DynamicCache()
    cache.offloading = True
    return model(**inputs, **{CACHE: cache})


def chunks(model, inputs):
    return model.generate(**inputs, **GREEDY, prefill_chunk_size=16)


def features_without_pixels(model, inputs):
    pruned = sharpv.prune_inputs(model, inputs, OFF)
    return model.generate(**pruned | {"mm_encoder_outputs": dict(pruned["mm_encoder_outputs"])}, **GREEDY)


def features_in_a_bare_forward(model, inputs):
    pruned = sharpv.prune_inputs(model, inputs, OFF)
    return model(**pruned | {"mm_encoder_outputs": dict(pruned["mm_encoder_outputs"])})


def a_list_of_ids(model, inputs):
    return model.generate(**inputs | {"input_ids": inputs["input_ids"].tolist()}, **GREEDY)


def one_prompt_without_a_batch(model, inputs):
    return model.generate(**inputs | {"input_ids": inputs["input_ids"][0]}, **GREEDY)


def a_short_mask(model, inputs):
    return model.generate(**inputs | {"attention_mask": inputs["attention_mask"][:, 1:]}, **GREEDY)


def a_prepared_mask(model, inputs):
    position_ids = model._prepare_position_ids_for_generation(inputs["input_ids"], dict(inputs))
    width = inputs["input_ids"].shape[1]
    prepared = {"attention_mask": torch.ones(1, 1, width, width).tril().bool()}
    return model(**inputs | prepared, position_ids=position_ids)


REFUSED = {
    static_cache: "dynamic cache",
    sliding_cache: r"sharpv\.prune_inputs",
    offloaded_cache: r"sharpv\.prune_inputs",
    chunks: "prefill_chunk_size",
    features_without_pixels: "pass pixel_values_videos",
    features_in_a_bare_forward: "pass pixel_values_videos",
    a_list_of_ids: "return_tensors='pt'",
    one_prompt_without_a_batch: r"\[batch, length\]",
    a_short_mask: "same shape",
    a_prepared_mask: "2-D",
}


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.__name__)
def test_what_cannot_be_pruned_is_refused_with_a_remedy(model, inputs, case):
    with sharpv.attach(model, TEXT_ONLY):
        expected = model.generate(**inputs, **GREEDY)
    dense = model.generate(**inputs, **GREEDY)
    with sharpv.attach(model, TEXT_ONLY) as session, torch.no_grad():
        with pytest.raises(sharpv.InputError, match=REFUSED[case]):
            case(model, inputs)
        assert session.report is None
        assert same_output(model.generate(**inputs, **GREEDY), expected)
    assert same_output(model.generate(**inputs, **GREEDY), dense)


@pytest.mark.parametrize("case", [static_cache, chunks], ids=lambda case: case.__name__)
def test_switched_off_refuses_nothing_that_the_dense_model_does(model, inputs, case):
    dense = case(model, inputs)
    with sharpv.attach(model, OFF):
        assert same_output(case(model, inputs), dense)


def test_shortened_inputs_serve_a_static_cache(model, inputs):
    pruned = sharpv.prune_inputs(model, inputs, STAGE_1)
    assert torch.equal(static_cache(model, pruned).sequences, model.generate(**pruned, **GREEDY).sequences)


@pytest.mark.parametrize("family", ["qwen2_5_vl"], indirect=True)
def test_pixels_need_their_grids(model, inputs):
    del inputs["video_grid_thw"]
    for call in (lambda: model.generate(**inputs), lambda: model(**inputs)):
        with sharpv.attach(model), pytest.raises(sharpv.InputError, match="everything that the processor"):
            call()


def test_explicit_inputs_are_not_taken_for_packed_prompts(model, inputs, batch, family):
    """FlashAttention reads the gaps of a prompt without mask as borders between packed prompts."""
    for request in (inputs, batch):
        pruned = sharpv.prune_inputs(model, request, STAGE_1)
        if FAMILIES[family].mrope:
            for text_axis, mask in zip(pruned["position_ids"][0], pruned["attention_mask"], strict=True):
                assert not _is_packed_sequence(text_axis[mask.bool()][None], 1)
        else:
            # `generate()` drops only a mask without zeros, and FlashAttention goes by a mask if it gets one.
            assert not pruned["attention_mask"].all()
    assert sharpv.prune_inputs(model, inputs, OFF)["attention_mask"].all()


@pytest.mark.parametrize("seam", ["generate", "forward"])
def test_an_attached_session_hides_gapped_ids_from_attention(model, inputs, seam):
    seen = []
    handle = (
        model.get_decoder()
        .layers[0]
        .self_attn.register_forward_pre_hook(
            lambda module, args, kwargs: seen.append(kwargs.get("position_ids")), with_kwargs=True
        )
    )
    try:
        with sharpv.attach(model, STAGE_1), torch.no_grad():
            model.generate(**inputs, **GREEDY) if seam == "generate" else model(**inputs)
    finally:
        handle.remove()
    assert not any(_is_packed_sequence(position_ids, 1) for position_ids in seen)
    assert seen[0] is None


@pytest.mark.parametrize("family", ["llava_onevision"], indirect=True)
def test_the_gaps_would_be_read_as_packed_prompts(model, inputs):
    """Else the guards above guard nothing."""
    pruned = sharpv.prune_inputs(model, inputs, STAGE_1)
    assert _is_packed_sequence(pruned["position_ids"], 1)
    assert find_packed_sequence_indices(pruned["position_ids"]) is not None


def test_inputs_without_video_come_back_as_they_are(model, make_inputs):
    text = make_inputs([])
    same = sharpv.prune_inputs(model, text, STAGE_1)
    assert same is not text
    assert all(same[name] is text[name] for name in text)
    assert not isinstance(same.get("mm_encoder_outputs"), PrunedFeatures)
