"""Private or fresh names of transformers that we lean on: a release that moves them fails here."""

import inspect

import pytest
import torch
from transformers import DynamicCache, GenerationConfig
from transformers.cache_utils import (
    DYNAMIC_LAYER_TYPE_MAPPING,
    Cache,
    CacheLayerMixin,
    DynamicLayer,
    LinearAttentionLayer,
)
from transformers.generation import GenerationMixin, GenerationMode
from transformers.generation.configuration_utils import ALL_CACHE_IMPLEMENTATIONS
from transformers.masking_utils import create_causal_mask

from sharpv.hf.cache import CACHE, PrunedLayer
from sharpv.hf.generate import DRAFTING, DYNAMIC


def parameters(function) -> list[str]:
    return list(inspect.signature(function).parameters)


def test_a_cache_layer_tells_its_mask_sizes_by_the_query_length():
    assert parameters(DynamicLayer.get_mask_sizes) == ["self", "query_length"]
    layer = DynamicLayer()
    layer.update(torch.zeros(1, 1, 3, 2), torch.zeros(1, 1, 3, 2))
    assert layer.get_mask_sizes(2) == (5, 0)


@pytest.mark.parametrize(
    "name",
    ["get_seq_length", "crop", "reset", "reorder_cache", "batch_repeat_interleave", "batch_select_indices"],
)
def test_a_cache_layer_has_the_methods_that_we_extend(name):
    ours, theirs = getattr(PrunedLayer, name), getattr(DynamicLayer, name)
    assert parameters(ours) == parameters(theirs)


def test_a_pruned_layer_covers_every_method_that_changes_a_layer():
    """A new method of the base class may have to move `valid` and `hidden`, too."""
    known = {
        "batch_repeat_interleave", "batch_select_indices", "crop", "get_mask_sizes", "get_max_length",
        "get_max_cache_shape",
        "get_seq_length", "is_compileable", "is_croppable", "is_sliding", "lazy_initialization", "offload",
        "prefetch", "reorder_cache", "reset", "supports_early_init", "update",
    }  # fmt: skip
    assert {name for name in dir(DynamicLayer) if not name.startswith("_")} <= known


def test_defining_a_pruned_layer_registers_nothing():
    assert not [kind for kind in DYNAMIC_LAYER_TYPE_MAPPING.values() if kind.__module__.startswith("sharpv")]


def test_masks_are_made_per_layer(model):
    assert {"config", "inputs_embeds", "attention_mask", CACHE, "layer_idx"} <= set(
        parameters(create_causal_mask)
    )
    cache = DynamicCache()
    cache.layers = [DynamicLayer(), DynamicLayer()]
    for layer, held in zip(cache.layers, (3, 1), strict=True):
        layer.update(torch.zeros(1, 1, held, 2), torch.zeros(1, 1, held, 2))
    model.set_attn_implementation("eager")
    for index, held in enumerate((3, 1)):
        mask = create_causal_mask(
            config=model.get_decoder().config,
            inputs_embeds=torch.zeros(1, 2, 4),
            attention_mask=torch.ones(1, held + 2, dtype=torch.long),
            **{CACHE: cache},
            layer_idx=index,
        )
        assert mask.shape[-1] == held + 2


def test_the_attributes_of_a_cache():
    cache = DynamicCache()
    assert cache.layers == []
    assert cache.layer_class_to_replicate is DynamicLayer
    assert cache.offloading is False
    assert {"layers", "layer_class_to_replicate", "offloading"} <= set(parameters(Cache.__init__))
    assert issubclass(DynamicLayer, CacheLayerMixin)


def test_forward_takes_encoded_videos(model):
    for module in (model, model.model):
        assert "mm_encoder_outputs" in parameters(module.forward)


def test_the_feature_call_returns_an_output_with_pooled_features(model, inputs):
    names = parameters(model.model.get_video_features)
    assert "pixel_values_videos" in names
    with torch.no_grad():
        out = model.model.get_video_features(
            **{k: v for k, v in inputs.items() if k in names}, return_dict=True
        )
    assert type(out)(pooler_output=out.pooler_output).pooler_output is out.pooler_output


def test_generate_encodes_the_video_before_the_prompt_is_read(model, inputs):
    """Else the inputs seam would be asked to encode twice."""
    prepared = GenerationMixin._prepare_multimodal_encoder_kwargs_for_generation(model, dict(inputs))
    assert prepared["mm_encoder_outputs"]["video"].pooler_output is not None
    assert "pixel_values_videos" not in prepared


def test_position_ids_can_be_made_for_a_whole_prompt(model, inputs, family):
    position_ids = model._prepare_position_ids_for_generation(inputs["input_ids"], dict(inputs))
    assert position_ids.shape[-2:] == inputs["input_ids"].shape
    assert position_ids.dim() == (3 if family == "qwen2_5_vl" else 2)
    if position_ids.dim() == 3:
        assert len(position_ids) == 4


def test_a_model_gives_access_to_its_parts(model):
    decoder = model.get_decoder()
    assert len(decoder.layers) == decoder.config.num_hidden_layers
    assert model.base_model is model.model
    assert model.config.model_type
    assert hasattr(decoder.config, "_attn_implementation")


@pytest.mark.parametrize("name", DRAFTING)
def test_the_options_of_assisted_decoding_are_those_that_we_look_for(name):
    assert GenerationConfig(**{name: 1}).get_generation_mode() is GenerationMode.ASSISTED_GENERATION


@pytest.mark.parametrize(
    "name", ["prefill_chunk_size", "cache_implementation", "use_cache", "assistant_model"]
)
def test_the_options_of_generate_are_those_that_we_look_for(name):
    assert name in {*GenerationConfig().to_dict(), *parameters(GenerationMixin.generate)}


def test_the_kinds_of_cache():
    assert set(DYNAMIC) - {None} <= {*ALL_CACHE_IMPLEMENTATIONS, "dynamic", "hybrid"}
    assert {"static", "quantized", "offloaded"} <= {*ALL_CACHE_IMPLEMENTATIONS} - {*DYNAMIC}


@pytest.mark.parametrize("family", ["qwen3_5"], indirect=True)
def test_the_layers_of_a_hybrids_cache(model, inputs):
    layers = model.generate(**inputs, max_new_tokens=1, return_dict_in_generate=True)[CACHE].layers
    assert {type(layer) for layer in layers} == {DynamicLayer, LinearAttentionLayer}


@pytest.mark.parametrize("family", ["qwen3_vl"], indirect=True)
def test_deep_features_reach_the_decoder_by_their_names(model, inputs):
    fed = []
    handle = model.get_decoder().register_forward_pre_hook(
        lambda module, args, kwargs: fed.append(kwargs), with_kwargs=True
    )
    with torch.no_grad(), handle:
        model(**inputs)
        encoded = model.model.get_video_features(
            inputs["pixel_values_videos"], inputs["video_grid_thw"], return_dict=True
        )
    assert fed[0]["visual_pos_masks"].any()
    assert len(fed[0]["deepstack_visual_embeds"]) == len(encoded.deepstack_features)


@pytest.mark.parametrize(
    ("family", "names"),
    [
        ("video_llama_3", {"video_compression_mask", "video_merge_sizes", "video_grid_thw"}),
        ("gemma4", {"num_frames_per_video", "video_position_ids"}),
    ],
    indirect=["family"],
)
def test_the_names_that_processors_give(inputs, names):
    assert names <= inputs.keys()


@pytest.mark.parametrize("family", ["qwen2_5_vl"], indirect=True)
def test_beams_write_repeated_features_back_into_their_callers_object(model, batch):
    """What `PrunedOutput` tells a second call by."""
    prepared = GenerationMixin._prepare_multimodal_encoder_kwargs_for_generation(model, dict(batch))
    features = prepared["mm_encoder_outputs"]["video"]
    model.generate(**prepared, num_beams=2, do_sample=False, max_new_tokens=1)
    assert isinstance(features.pooler_output, list)
