"""Requests that mix: rows with and without video, and images beside videos."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import sharpv
from sharpv._compat import installed_transformers
from sharpv.hf.cache import CACHE, pruned_layers
from sharpv.hf.families import FAMILIES
from tests.hf.conftest import (
    FORWARD_OF_GEMMA_4,
    GREEDY,
    OFF,
    PROCESSING,
    QUESTIONS,
    STAGE_1,
    TEXT_ONLY,
    clip,
    distance,
    same_output,
    video_tokens,
)
from tests.hf.test_generation import deaf_to_its_own_deprecation

TOLERANCE = 1e-5  # float32, sums in another order; Gemma 4 scales its logits up
OF_VIDEO = sorted(name for name, family in FAMILIES.items() if family.modality == "video")
WITH_IMAGES = [name for name in OF_VIDEO if name != "glm4v"]
"""GLM-4V marks image and video with one token, and fails on both at once without SharpV, too."""

IMAGES_BY_ROW, VIDEOS_BY_ROW = ("gemma4", "smolvlm"), ("smolvlm",)
"""Families whose processors ask which images are whose; and which videos, before transformers 5.23."""


@pytest.fixture(params=sorted(FAMILIES))
def family(request) -> str:
    return request.param


def test_rows_with_several_videos_none_and_one(model, make_inputs):
    rows = [[clip(0), clip(1)], [], [clip(2)]]
    with sharpv.attach(model, TEXT_ONLY) as session:
        together = model.generate(**make_inputs(*rows), **GREEDY)
        whole = session.report
        assert whole.tokens_kept < whole.tokens_total
        assert {video.row for video in whole.videos} == {0, 2}
        assert all(layer.similarity[1] is None and not layer.dropped[1] for layer in whole.layers)
        for row, question in enumerate(QUESTIONS):
            alone = model.generate(**make_inputs(rows[row], questions=(question,)), **GREEDY)
            kept = [video.kept for video in whole.videos if video.row == row]
            assert [video.kept for video in session.report.videos] == kept
            for step, (one, both) in enumerate(zip(alone.logits, together.logits, strict=True)):
                assert float((one[0] - both[row]).abs().max()) < TOLERANCE, (row, step)


def test_text_between_requests_with_video_is_bit_exact(model, make_inputs, inputs):
    text = make_inputs([], [])
    with torch.no_grad():
        dense, bare = model.generate(**text, **GREEDY), model(**text).logits
    with sharpv.attach(model, TEXT_ONLY), torch.no_grad():
        expected = model.generate(**inputs, **GREEDY)
        attached = model.generate(**text, **GREEDY)
        assert same_output(attached, dense)
        assert [type(layer) for layer in attached[CACHE].layers] == [
            type(layer) for layer in dense[CACHE].layers
        ]
        assert torch.equal(model(**text).logits, bare)
        assert same_output(model.generate(**inputs, **GREEDY), expected)


@pytest.fixture
def make_mixed(processor, family) -> Callable[..., dict[str, Any]]:
    """Builds what the processor returns for one prompt per list of "image" and "video"."""

    def make(*rows: list[str], start: int = 0) -> dict[str, Any]:
        prompts: list[str] = []
        images: list[list[np.ndarray]] = []
        videos: list[list[np.ndarray]] = []
        for number, kinds in enumerate(rows, start):
            parts = [{"type": kind} for kind in kinds] + [{"type": "text", "text": QUESTIONS[number]}]
            message = [{"role": "user", "content": parts}]
            prompts.append(processor.apply_chat_template(message, add_generation_prompt=True, tokenize=False))
            clips = [clip(100 * number + place) for place in range(len(kinds))]
            images.append([one[0] for one, kind in zip(clips, kinds, strict=True) if kind == "image"])
            videos.append([one for one, kind in zip(clips, kinds, strict=True) if kind == "video"])
        given: dict[str, Any] = {}
        if any(videos):
            metadata = {"total_num_frames": 6, "fps": 4.0, "frames_indices": list(range(6))}
            flat_videos = [one for row in videos for one in row]
            given = PROCESSING.get(family, {}) | {"video_metadata": [metadata] * len(flat_videos)}
            given["videos"] = videos if family in VIDEOS_BY_ROW else flat_videos
            given["do_sample_frames"] = False
        if any(images):
            flat = [one for row in images for one in row]
            given = given | {"images": images if family in IMAGES_BY_ROW else flat}
        return dict(processor(text=prompts, padding=True, return_tensors="pt", **given))

    return make


def image_tokens(model: Any, inputs: dict[str, Any]) -> Tensor:
    return inputs["input_ids"] == model.config.image_token_id


@pytest.mark.parametrize("family", ["glm4v", "smolvlm"], indirect=True)
def test_dense_families_that_fail_on_an_image_beside_a_video(model, make_mixed):
    """Where this no longer raises, the family takes both."""
    mixed = make_mixed(["image", "video"])
    with pytest.raises((ValueError, IndexError), match=r"image tokens do not match|out of bounds"):
        model.generate(**mixed, **GREEDY)


MIXED = (["image", "video"], ["image"], ["video", "image"])


@pytest.mark.parametrize("family", WITH_IMAGES, indirect=True)
def test_rows_with_images_beside_videos(model, make_mixed):
    batch = make_mixed(*MIXED)
    dense = model.generate(**batch, **GREEDY)
    with sharpv.attach(model, OFF):
        assert same_output(model.generate(**batch, **GREEDY), dense)
    with sharpv.attach(model, TEXT_ONLY) as session:
        together = model.generate(**batch, **GREEDY)
        report = session.report
        for row, kinds in enumerate(MIXED):
            alone = model.generate(**make_mixed(kinds, start=row), **GREEDY)
            for one, both in zip(alone.logits, together.logits, strict=True):
                assert float((one[0] - both[row]).abs().max()) < TOLERANCE, row
    assert [video.row for video in report.videos] == [0, 2]
    assert report.tokens_kept < report.tokens_total
    rest = (batch["attention_mask"].bool() & ~video_tokens(model, batch)).sum(1)
    held = {layer.physical for layer in pruned_layers(together[CACHE])}
    text_and_images = int(rest.max()) + GREEDY["max_new_tokens"] - 1
    assert held == (set() if FAMILIES[model.config.model_type].stage_1_only else {text_and_images})


@pytest.mark.parametrize("family", WITH_IMAGES, indirect=True)
def test_beams_and_return_sequences_over_images_beside_videos(model, make_mixed, family):
    if FAMILIES[family].hybrid and installed_transformers() < (5, 20):
        pytest.skip("this release gives repeated rows of Qwen3.5 the wrong images without SharpV")
    beams = {"max_new_tokens": 4, "num_beams": 2, "num_return_sequences": 2}
    options = beams | {"do_sample": False, "return_dict_in_generate": True, "output_scores": True}
    batch = make_mixed(*MIXED)
    with sharpv.attach(model, TEXT_ONLY):
        together = model.generate(**batch, **options)
        for row, kinds in enumerate(MIXED):
            alone = model.generate(**make_mixed(kinds, start=row), **options)
            both = slice(2 * row, 2 * row + 2)
            assert torch.equal(alone.sequences[:, -4:], together.sequences[both, -4:]), row
            assert torch.allclose(alone.sequences_scores, together.sequences_scores[both], atol=TOLERANCE)
    pruned = sharpv.prune_inputs(model, batch, STAGE_1)
    explicit = model.generate(**pruned, **options)
    with sharpv.attach(model, STAGE_1):
        attached = model.generate(**batch, **options)
    assert torch.equal(explicit.sequences[:, -4:], attached.sequences[:, -4:])
    assert torch.allclose(explicit.sequences_scores, attached.sequences_scores, atol=TOLERANCE)


@pytest.mark.parametrize("family", ["llava_onevision", "qwen3_vl"], indirect=True)
def test_drafts_beside_an_image_and_a_video(model, make_mixed):
    inputs = make_mixed(["image", "video"])
    pictures = {getattr(model.config, name, None) for name in ("image_token_id", "video_token_id")}
    options = GREEDY | {"suppress_tokens": sorted(pictures - {None})}
    with sharpv.attach(model, TEXT_ONLY):
        greedy = model.generate(**inputs, **options)
        with deaf_to_its_own_deprecation():
            drafted = model.generate(**inputs, **options, prompt_lookup_num_tokens=3)
    assert torch.equal(drafted.sequences, greedy.sequences)
    assert distance(drafted, greedy) < TOLERANCE


@pytest.mark.parametrize("family", WITH_IMAGES, indirect=True)
def test_the_decoder_is_fed_every_image_as_it_was(model, make_mixed, family):
    if family == "gemma4" and installed_transformers() < FORWARD_OF_GEMMA_4:
        pytest.skip("a bare forward() with a video fails in this release without SharpV, too")
    batch = make_mixed(*MIXED)
    fed: list[Tensor] = []
    handle = model.get_decoder().register_forward_pre_hook(
        lambda module, args, kwargs: fed.append(kwargs["inputs_embeds"]), with_kwargs=True
    )
    pruned = sharpv.prune_inputs(model, batch, STAGE_1)
    try:
        with torch.no_grad():
            model(**batch)
            model(**pruned)
    finally:
        handle.remove()
    whole, short = (
        embeds[image_tokens(model, request)] for embeds, request in zip(fed, (batch, pruned), strict=True)
    )
    assert len(whole) > 0
    assert torch.equal(whole, short)
    assert fed[1].shape[1] < fed[0].shape[1]


def test_images_without_a_video_are_untouched(model, make_mixed, family):
    batch = make_mixed(["image"], ["image", "image"])
    config = sharpv.SharpVConfig(memory_threshold=2.0)
    with torch.no_grad():
        dense, bare = model.generate(**batch, **GREEDY), model(**batch).logits
        with sharpv.attach(model, config) as session:
            attached = model.generate(**batch, **GREEDY)
            assert same_output(attached, dense)
            assert torch.equal(model(**batch).logits, bare)
    assert all(report.tokens_total == 0 for report in session.reports)
    assert pruned_layers(attached[CACHE]) == []
    same = sharpv.prune_inputs(model, batch, config)
    assert all(same[name] is batch[name] for name in batch)
