"""Published sizes with random weights: as large as the released models, and never initialised twice."""

import pytest
import torch

from sharpv.errors import InputError
from sharpv.tiny.random import RANDOM_MODELS
from sharpv.tiny.shapes import SHAPES, build_shape, fill

PUBLISHED = {
    "llava-onevision-0.5b": 0.894e9,
    "llava-onevision-7b": 8.03e9,
    "qwen2.5-vl-3b": 3.75e9,
    "qwen2.5-vl-7b": 8.29e9,
    "qwen3-vl-4b": 4.44e9,
}
"""Parameters as the model cards count them."""


@pytest.mark.parametrize("name", SHAPES)
def test_a_shape_has_as_many_parameters_as_the_release(name):
    model, _ = build_shape(name, device="meta")
    assert sum(weight.numel() for weight in model.parameters()) == pytest.approx(PUBLISHED[name], rel=0.003)
    assert model.dtype == torch.bfloat16
    assert {weight.device.type for weight in model.parameters()} == {"meta"}
    assert model.config.model_type == SHAPES[name].family


@pytest.mark.parametrize("name", SHAPES)
def test_a_shape_says_nothing_that_its_configuration_does_not_know(name):
    model, _ = build_shape(name, device="meta")
    for given, config in (
        (SHAPES[name].text, model.config.text_config),
        (SHAPES[name].vision, model.config.vision_config),
    ):
        known = config.to_dict()
        assert set(given) <= {*known, "tie_word_embeddings"}
        for key, value in given.items():
            if key in known and not isinstance(value, dict):
                assert known[key] == value or list(known[key]) == value


@pytest.mark.parametrize("layers", [1, 4])
@pytest.mark.parametrize("name", SHAPES)
def test_a_cut_shape_has_the_first_layers_and_all_the_rest(name, layers):
    whole, cut = (build_shape(name, device="meta", layers=given)[0] for given in (None, layers))
    assert len(whole.get_decoder().layers) == SHAPES[name].layers
    shapes, kept = (
        {name: weight.shape for name, weight in model.named_parameters()} for model in (whole, cut)
    )
    dropped = {
        name: shape
        for name, shape in shapes.items()
        if "language_model.layers." in name and int(name.split("layers.")[1].split(".")[0]) >= layers
    }
    assert kept.items() == (shapes.items() - dropped.items())
    text = cut.config.text_config
    assert text.num_hidden_layers == len(cut.get_decoder().layers) == layers
    assert len(getattr(text, "layer_types", None) or [None] * layers) == layers
    assert cut.config.vision_config.to_dict() == whole.config.vision_config.to_dict()


@pytest.mark.parametrize("layers", [0, -1, 37])
def test_layers_that_a_shape_does_not_have_are_refused(layers):
    with pytest.raises(InputError, match=rf"got {layers} layers of shape 'qwen3-vl-4b': it must be 1 to 36"):
        build_shape("qwen3-vl-4b", device="meta", layers=layers)


def test_a_frame_of_the_llava_shapes_has_196_tokens():
    _, processor = build_shape("llava-onevision-0.5b", device="meta")
    clip = [torch.zeros(2, 3, 64, 80, dtype=torch.uint8)]
    inputs = processor(text=["<video>"], videos=clip, return_tensors="pt")
    assert (inputs["input_ids"] == processor.video_token_id).sum() == 2 * 196 + 1


@pytest.mark.parametrize(("name", "patch"), [("qwen2.5-vl-3b", 14), ("qwen3-vl-4b", 16)])
def test_a_token_of_the_qwen_shapes_covers_2_x_2_patches_of_two_frames(name, patch):
    _, processor = build_shape(name, device="meta")
    clip = [torch.zeros(4, 3, 12 * patch, 16 * patch, dtype=torch.uint8)]
    inputs = processor(text=["<|vision_start|><|video_pad|><|vision_end|>"], videos=clip, return_tensors="pt")
    assert inputs["video_grid_thw"].tolist()[0] == [2, 12, 16]
    assert (inputs["input_ids"] == processor.video_token_id).sum() == 2 * 6 * 8


def test_an_unknown_shape_is_refused_by_name():
    with pytest.raises(InputError, match=r"'gpt'.*qwen3-vl-4b"):
        build_shape("gpt")


@pytest.mark.parametrize("family", ["llava_onevision", "qwen2_5_vl", "qwen3_vl"])
def test_filling_leaves_no_weight_as_it_was(family):
    model, _ = RANDOM_MODELS[family](image_size=112)
    for weight in model.parameters():
        weight.data.fill_(torch.nan)
    fill(model)
    for name, weight in model.named_parameters():
        assert weight.isfinite().all(), name
        if weight.dim() > 1 and weight.numel() > 1000:
            assert float(weight.detach().std()) == pytest.approx(0.02, rel=0.1), name
            assert len(weight.flatten(1)[:8].unique(dim=0)) == min(8, len(weight)), name


def test_filling_gives_the_same_weights_each_time():
    models = [RANDOM_MODELS["llava_onevision"](image_size=112, seed=seed)[0] for seed in (0, 1)]
    for model in models:
        fill(model, seed=3)
    assert all(map(torch.equal, models[0].parameters(), models[1].parameters()))
    fill(models[0], seed=4)
    assert not torch.equal(models[0].lm_head.weight, models[1].lm_head.weight)
