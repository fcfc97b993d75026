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
    OFF,
    PROCESSING,
    STAGE_1,
    TEXT_ONLY,
    Config,
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


@pytest.mark.parametrize("family", ["gemma4"], indirect=True)
class TestStage1Only:
    """Gemma 4 prepares its masks before the decoder: `generate()` is shortened, and nothing else."""

    @pytest.mark.parametrize("rows", [1, 2])
    def test_generate_keeps_less(self, model, inputs, batch, rows):
        requests = inputs if rows == 1 else batch
        with sharpv.attach(model, Config()) as session:
            attached = model.generate(**requests, **GREEDY)
        report = session.report
        assert 0 < report.tokens_kept < report.tokens_total
        assert report.cache_bytes < report.dense_cache_bytes
        assert report.layers == ()
        assert "stage 2 did not run: Gemma 4 makes" in report.notes[0]
        pruned = sharpv.prune_inputs(model, requests, STAGE_1)
        explicit = model.generate(**pruned, **GREEDY)
        width, whole = pruned["input_ids"].shape[1], requests["input_ids"].shape[1]
        assert torch.equal(explicit.sequences[:, width:], attached.sequences[:, whole:])
        assert distance(explicit, attached) < 1e-5

    def test_switched_off_is_bit_exact(self, model, batch):
        dense = model.generate(**batch, **GREEDY)
        with sharpv.attach(model, OFF) as session:
            attached = model.generate(**batch, **GREEDY)
        assert same_output(dense, attached)
        assert session.report.cache_bytes == session.report.dense_cache_bytes

    def test_what_does_not_work_is_said_and_refused(self, model, inputs, caplog):
        with sharpv.attach(model, TEXT_ONLY) as session:
            assert "Gemma 4: generate() runs stage 1; stage 2" in caplog.text
            with pytest.raises(sharpv.InputError, match="a forward pass with a video"):
                model(**inputs)
            output = model.generate(**inputs, **GREEDY)
            assert output.past_key_values is None
            cache = model(input_ids=inputs["input_ids"][:, :3]).past_key_values
            with pytest.raises(sharpv.InputError, match="goes on from a cache"):
                model.generate(**inputs, past_key_values=cache, **GREEDY)
            assert not session.owned
        with torch.no_grad():
            model(**inputs)


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
