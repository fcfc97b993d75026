"""Private or fresh names of transformers that we lean on: a release that moves them fails here."""

import inspect

import pytest
import torch
from transformers import DynamicCache
from transformers.cache_utils import DYNAMIC_LAYER_TYPE_MAPPING, Cache, CacheLayerMixin, DynamicLayer
from transformers.generation import GenerationMixin
from transformers.masking_utils import create_causal_mask

from sharpv.hf.cache import PrunedLayer


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
    assert {"config", "inputs_embeds", "attention_mask", "past_key_values", "layer_idx"} <= set(
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
            past_key_values=cache,
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
