"""What is particular to some families, and how a new one is added."""

import numpy as np
import pytest
import torch
from transformers import LlavaNextVideoConfig, LlavaNextVideoForConditionalGeneration

import sharpv
from sharpv.hf.families import FAMILIES, Family
from sharpv.hf.layout import stacked
from tests.hf.conftest import (
    GREEDY,
    PROCESSING,
    STAGE_1,
    TEXT_ONLY,
    built,
    clip,
    distance,
    forward_loop,
    same_output,
    video_tokens,
)

BESIDE_A_VIDEO = sorted(
    name for name, family in FAMILIES.items() if family.modality == "video" and name != "glm4v"
)
"""Families that take an image and a video in one prompt; GLM-4V marks both with the image token."""


def with_image(processor, family: str) -> dict:
    """A prompt with an image, a video and a question."""
    content = [{"type": "image"}, {"type": "video"}, {"type": "text", "text": "What?"}]
    message = [{"role": "user", "content": content}]
    prompt = processor.apply_chat_template(message, add_generation_prompt=True, tokenize=False)
    video = clip()
    metadata = {"total_num_frames": len(video), "fps": 4.0, "frames_indices": list(range(len(video)))}
    picture = np.random.default_rng(5).integers(0, 255, (120, 160, 3), dtype=np.uint8)
    return dict(
        processor(
            text=[prompt],
            images=[picture],
            videos=[video],
            video_metadata=[metadata],
            do_sample_frames=False,
            padding=True,
            return_tensors="pt",
            **PROCESSING.get(family, {}),
        )
    )


@pytest.mark.parametrize("family", sorted(FAMILIES), indirect=True)
def test_a_family_is_called_hybrid_where_layers_have_no_keys(model, family, caplog):
    kinds = getattr(model.get_decoder().config, "layer_types", None) or ()
    assert FAMILIES[family].hybrid == ("linear_attention" in kinds)
    sharpv.attach(model, STAGE_1).detach()
    assert "full attention" not in caplog.text
    sharpv.attach(model).detach()
    said = (
        f"stage 2 acts on {kinds.count('full_attention')} of {len(kinds)} layers, those with full attention"
    )
    assert (said in caplog.text) == FAMILIES[family].hybrid


@pytest.mark.parametrize("family", ["internvl", "smolvlm"], indirect=True)
def test_images_are_frames_only_where_the_caller_says_so(model, inputs):
    dense = model.generate(**inputs, **GREEDY)
    with sharpv.attach(model, sharpv.SharpVConfig(memory_threshold=2.0)) as session:
        assert same_output(model.generate(**inputs, **GREEDY), dense)
        with torch.no_grad():
            model(**inputs)
    assert [report.tokens_total for report in session.reports] == [0]
    assert "images_as_frames=True" in session.report.notes[0]
    assert sharpv.prune_inputs(model, inputs).keys() == inputs.keys()


@pytest.mark.parametrize("family", BESIDE_A_VIDEO, indirect=True)
def test_images_beside_a_video_stay_whole(model, processor, family):
    inputs = with_image(processor, family)
    visual = video_tokens(model, inputs)
    image = inputs["input_ids"] == model.config.image_token_id
    assert image.any()
    assert visual.any()
    pruned = sharpv.prune_inputs(model, inputs, STAGE_1)
    assert (pruned["input_ids"] == model.config.image_token_id).sum() == image.sum()
    with torch.no_grad():
        alone = model(**pruned).logits[:, -1]
    with sharpv.attach(model, STAGE_1) as session, torch.no_grad():
        output = model.generate(**inputs, **GREEDY)
        assert session.report.tokens_total == visual.sum() - FAMILIES[family].separators
        assert 0 < session.report.tokens_kept < session.report.tokens_total
        if not FAMILIES[family].stage_1_only:
            inside = forward_loop(model, inputs, 2)
            assert all(map(torch.equal, output.logits, inside))
    assert float((alone - output.logits[0]).abs().max()) < 1e-5


def test_a_made_up_family_costs_one_line(monkeypatch):
    """It lays its tokens out in a known way; `docs/adding-a-model.md` walks through this."""

    class MadeUpConfig(LlavaNextVideoConfig):
        model_type = "made_up"

    known, processor = built("llava_next_video")
    config = {name: value for name, value in known.config.to_dict().items() if name != "model_type"}
    model = LlavaNextVideoForConditionalGeneration(MadeUpConfig(**config)).eval()
    model.load_state_dict(known.state_dict())
    with pytest.raises(sharpv.UnsupportedModelError, match=r"made_up.*docs/adding-a-model\.md"):
        sharpv.attach(model)
    monkeypatch.setitem(FAMILIES, "made_up", Family("Made Up", stacked))
    prompt = processor.apply_chat_template(
        [{"role": "user", "content": [{"type": "video"}, {"type": "text", "text": "What?"}]}],
        add_generation_prompt=True,
        tokenize=False,
    )
    inputs = processor(text=[prompt], videos=[clip()], return_tensors="pt")
    tokens = {}
    for name, one in (("made_up", model), ("llava_next_video", known)):
        with sharpv.attach(one, TEXT_ONLY) as session:
            tokens[name] = one.generate(**inputs, **GREEDY)
            assert session.report.model == name
            assert 0 < session.report.tokens_kept < session.report.tokens_total
    assert distance(tokens["made_up"], tokens["llava_next_video"]) == 0
