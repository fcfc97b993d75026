"""Vision reuse in a session: the same requests, fewer patches, and no trace where it is off or over."""

import copy
import gc
import inspect
import weakref
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

import sharpv
from sharpv import VisionReuse
from sharpv.hf.families import FAMILIES
from sharpv.hf.features import encode_video
from sharpv.hf.reuse.supported import REUSABLE, reusable_tower
from sharpv.tiny.random import RANDOM_MODELS
from tests.hf.conftest import GREEDY, Config, clip, distance, forward_loop, same_output, second_turn
from tests.hf.test_attention import later_turn
from tests.hf.test_session import state_of

SUPPORTED = sorted(REUSABLE)
UNSUPPORTED = sorted(set(FAMILIES) - set(REUSABLE))
REUSING = VisionReuse(max_share=1.0)
EVERYTHING = VisionReuse(threshold=0.0, texture=0.0, full_frame=0.0, max_share=1.0)
NOTHING = VisionReuse(threshold=255.0, texture=255.0)
STAGE_1 = {"memory_threshold": None, "retention": 0.5}


def families(names: Any) -> Any:
    return pytest.mark.parametrize("family", names, indirect=True)


def still(frames: int = 6) -> np.ndarray:
    """One frame `[n, 120, 160, 3]` again and again."""
    return np.repeat(clip()[:1], frames, axis=0)


def run(model: Any, inputs: dict[str, Any], reuse: Any, **more: Any) -> tuple[Any, Any]:
    """A request's output, and its session."""
    with sharpv.attach(model, Config(vision_reuse=reuse, **more)) as session:
        return model.generate(**inputs, **GREEDY), session


def without_time(videos: Any) -> list[Any]:
    return [replace(video, reuse=replace(video.reuse, plan_milliseconds=0.0)) for video in videos]


def nan_pixels(model: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    name = FAMILIES[model.config.model_type].pixels
    return inputs | {name: inputs[name] * torch.nan}


def kernels_of(model: Any) -> list[list[str]]:
    """The names of attention functions that modules of the model can look up."""
    files = {inspect.getmodule(type(module)) for module in model.modules()}
    found = [getattr(file, "ALL_ATTENTION_FUNCTIONS", None) for file in files]
    return sorted(sorted(kernels) for kernels in found if kernels is not None)


@families(SUPPORTED)
def test_everything_changed_is_as_without(model, requests, attention):
    expected, before = run(model, requests, None)
    found, session = run(model, requests, EVERYTHING)
    assert [video.reuse.share for video in session.report.videos] == [1.0] * len(requests["input_ids"])
    assert distance(found, expected) <= 1e-5
    kept = [[video.kept for video in run.report.videos] for run in (session, before)]
    assert kept[0] == kept[1]


@families(SUPPORTED)
def test_off_nothing_is_there(model, inputs):
    dense = model.generate(**inputs, **GREEDY)
    off = {"retention": 1.0, "memory_threshold": None}
    with sharpv.attach(model, Config(vision_reuse=REUSING, **off)):
        hooked = state_of(model)[0]
    with sharpv.attach(model, Config(**off)) as session:
        state = state_of(model)[0]
        assert same_output(model.generate(**inputs, **GREEDY), dense)
        assert session.reuse is None
    encoder = ("model", FAMILIES[model.config.model_type].encoder)
    assert encoder in hooked
    assert state.keys() == hooked.keys() - {encoder}


@families(SUPPORTED)
@pytest.mark.parametrize("ending", ["request", "failed request", "error in the tower", "interrupted"])
def test_a_detached_model_is_as_it_was(model, inputs, ending, monkeypatch):
    before, kernels = model.generate(**inputs, **GREEDY), kernels_of(model)
    state, config = state_of(model), copy.deepcopy(model.config.to_dict())
    tower, way = reusable_tower(model.base_model, FAMILIES[model.config.model_type])
    errors = {"error in the tower": KeyError, "interrupted": KeyboardInterrupt}
    with sharpv.attach(model, Config(vision_reuse=REUSING)) as session:
        attached = state_of(model)
        if ending in errors:
            last = way.attention_modules(tower)[-1]
            hook = last.register_forward_pre_hook(lambda *seen: (_ for _ in ()).throw(errors[ending]))
            with pytest.raises(errors[ending]):
                model.generate(**inputs, **GREEDY)
            hook.remove()
        elif ending == "failed request":
            with pytest.raises(sharpv.InputError, match="NaN"):
                model.generate(**nan_pixels(model, inputs), **GREEDY)
        else:
            model.generate(**inputs, **GREEDY)
        assert state_of(model) == attached
        assert kernels_of(model) == kernels
        model.generate(**inputs, **GREEDY)
        assert session.report.videos[0].reuse.fallback is None
    assert state_of(model) == state
    assert model.config.to_dict() == config
    assert same_output(model.generate(**inputs, **GREEDY), before)


@families(SUPPORTED)
def test_above_the_share_the_encoder_is_the_original(model, batch, monkeypatch):
    expected, _ = run(model, batch, None)
    _, way = reusable_tower(model.base_model, FAMILIES[model.config.model_type])
    monkeypatch.setattr(type(way), "packed", None)
    found, session = run(model, batch, VisionReuse(max_share=1e-6))
    assert same_output(found, expected)
    for video in session.report.videos:
        assert "patches changed, a share of 0." in video.reuse.fallback
        assert "above max_share=1e-06" in video.reuse.fallback
        assert video.reuse.share == 1


@families(SUPPORTED)
@pytest.mark.parametrize("reuse", [NOTHING, "balanced", "safe"], ids=["nothing", "balanced", "safe"])
def test_a_still_clip_costs_one_frame_and_has_the_features_of_that(model, make_inputs, reuse):
    inputs = make_inputs([still(4)], [still(4)])
    expected, before = run(model, inputs, None)
    found, session = run(model, inputs, reuse)
    for video in session.report.videos:
        assert video.reuse.full_frames == 1
        assert video.reuse.rows_computed == len(video.reuse.computed[0]) == np.prod(video.reuse.grid)
        assert len(video.reuse.computed) == video.frames
    assert session.report.tokens_total == before.report.tokens_total
    assert distance(found, expected) <= 1e-5


@families(SUPPORTED)
def test_videos_of_a_batch_are_each_as_alone(model, make_inputs):
    clips = [clip(0), np.roll(clip(1), 40, axis=1)]
    _, session = run(model, make_inputs([clips[0]], [clips[1]]), REUSING, **STAGE_1)
    together = session.report.videos
    assert together[0].reuse.computed != together[1].reuse.computed
    for number, one in enumerate(clips):
        _, session = run(model, make_inputs([one]), REUSING, **STAGE_1)
        assert session.report.videos[0].kept == together[number].kept
        assert session.report.videos[0].reuse.computed == together[number].reuse.computed


@families(SUPPORTED)
@pytest.mark.parametrize("threshold", [-1.0, None], ids=["stage 2", "both stages off"])
def test_as_many_tokens_come_out(model, batch, threshold):
    """And fewer patches go in."""
    keep_all = {"retention": 1.0, "memory_threshold": threshold}
    expected, before = run(model, batch, None, **keep_all)
    found, session = run(model, batch, REUSING, **keep_all)
    assert session.report.prompt_tokens_kept == before.report.prompt_tokens_kept
    assert session.report.tokens_kept == session.report.tokens_total == before.report.tokens_total
    assert all(0.1 < video.reuse.share < 0.9 for video in session.report.videos)
    assert distance(found, expected) > 0


@families(SUPPORTED)
def test_the_seams_agree(model, batch):
    config = Config(vision_reuse=REUSING, **STAGE_1)
    with sharpv.attach(model, config) as session:
        generated = model.generate(**batch, **GREEDY)
        report = session.report
        with torch.no_grad():
            steps = forward_loop(model, batch, 3)
        assert len(session.reports) == 2
        assert without_time(session.report.videos) == without_time(report.videos)
        assert all(video.reuse.fallback is None for video in report.videos)
    for one, other in zip(steps, generated.logits, strict=False):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
    state = state_of(model)
    pruned = sharpv.prune_inputs(model, batch, config)
    assert state_of(model) == state
    direct = model.generate(**pruned, **GREEDY)
    assert max(map(lambda a, b: float((a - b).abs().max()), direct.logits, generated.logits)) <= 1e-4
    unlike = sharpv.prune_inputs(model, batch, Config(**STAGE_1))
    modality = FAMILIES[model.config.model_type].modality
    features = [flat(result["mm_encoder_outputs"][modality]) for result in (pruned, unlike)]
    assert not torch.equal(*features)


def flat(encoded: Any) -> torch.Tensor:
    pooled = encoded.pooler_output
    return pooled.flatten() if isinstance(pooled, torch.Tensor) else torch.cat(list(pooled)).flatten()


@families(SUPPORTED)
def test_methods_and_later_turns(model, processor, inputs):
    for method in ("vidcom2",) if FAMILIES[model.config.model_type].hybrid else ("fastv", "vidcom2"):
        with sharpv.attach(model, Config(vision_reuse=REUSING, **STAGE_1), method=method) as session:
            model.generate(**inputs, **GREEDY)
            assert session.report.videos[0].reuse.fallback is None
    with sharpv.attach(model, Config(vision_reuse=REUSING)):
        second, fed = second_turn(model, processor, inputs)
    torch.testing.assert_close(second.logits[0], fed, rtol=1e-3, atol=1e-4)


@families(["llava_onevision", "qwen2_5_vl"])
def test_a_later_turn_with_a_video_of_its_own(model, make_inputs):
    with sharpv.attach(model, Config(vision_reuse=REUSING, **STAGE_1)) as session:
        later_turn(model, make_inputs, 2)
    first, second = ([video.reuse for video in report.videos] for report in session.reports)
    assert all(0 < reuse.share < 1 and reuse.fallback is None for reuse in first + second)
    assert len(first) == len(second) == 2


@families(["llava_onevision", "video_llava"])
def test_images_and_other_callers_get_the_original(model, processor, inputs):
    image = processor.apply_chat_template(
        [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What?"}]}],
        add_generation_prompt=True,
        tokenize=False,
    )
    picture = dict(processor(text=[image], images=[clip()[0]], return_tensors="pt"))
    family = FAMILIES[model.config.model_type]
    expected, dense = model.generate(**picture, **GREEDY), encoded(model, family, inputs)
    with sharpv.attach(model, Config(vision_reuse=NOTHING)) as session:
        assert same_output(model.generate(**picture, **GREEDY), expected)
        assert torch.equal(encoded(model, family, inputs), dense)
        assert session.report.videos == ()
        model.generate(**inputs, **GREEDY)
        assert session.report.videos[0].reuse.share < 1
        assert torch.equal(encoded(model, family, inputs), dense)
        with torch.no_grad():
            model(**inputs)
        assert torch.equal(encoded(model, family, inputs), dense)


def encoded(model: Any, family: Any, inputs: dict[str, Any]) -> torch.Tensor:
    with torch.no_grad():
        return flat(encode_video(model.base_model, family, inputs)[0])


@families(["internvl"])
def test_images_that_are_no_frames(model, inputs):
    expected = model.generate(**inputs, **GREEDY)
    config = sharpv.SharpVConfig(vision_reuse="balanced")
    with sharpv.attach(model, config) as session:
        assert same_output(model.generate(**inputs, **GREEDY), expected)
        assert session.reuse is None
    pruned = sharpv.prune_inputs(model, inputs, config)
    assert pruned.keys() == inputs.keys()


@families(SUPPORTED)
def test_another_thread_gets_the_original_meanwhile(model, inputs):
    family = FAMILIES[model.config.model_type]
    dense = encoded(model, family, inputs)
    tower, way = reusable_tower(model.base_model, family)
    heard = []
    with ThreadPoolExecutor(1) as pool, sharpv.attach(model, Config(vision_reuse=REUSING)) as session:
        attention = way.attention_modules(tower)[0]

        def other(*seen: Any) -> None:
            if not heard:
                heard.append(None)
                heard.append(pool.submit(encoded, model, family, inputs).result())

        hook = attention.register_forward_pre_hook(other)
        model.generate(**inputs, **GREEDY)
        hook.remove()
        assert session.report.videos[0].reuse.fallback is None
    assert torch.equal(heard[1], dense)


@families(["llava_onevision"])
def test_a_session_with_reuse_is_neither_copied_nor_kept(model, family):
    refused = pytest.raises(sharpv.AttachError, match="detach it first")
    with sharpv.attach(model, Config(vision_reuse=REUSING)), refused:
        copy.deepcopy(model)
    dropped, _ = RANDOM_MODELS[family](image_size=56)
    session = sharpv.attach(dropped, Config(vision_reuse=REUSING))
    left = [weakref.ref(dropped), weakref.ref(session)]
    del dropped, session
    gc.collect()
    assert [reference() for reference in left] == [None, None]


@families(SUPPORTED)
def test_a_tower_in_training_is_as_it_is(model, inputs):
    with sharpv.attach(model, Config(vision_reuse=REUSING, memory_threshold=None)) as session:
        model.train()
        try:
            model(**inputs)
            assert session.report.videos[0].reuse.fallback == "the vision tower is in training"
        finally:
            model.eval()
        logits = model(**inputs).logits
        assert session.report.videos[0].reuse.fallback is None
        logits.sum().backward()
    tower, _ = reusable_tower(model.base_model, FAMILIES[model.config.model_type])
    assert any(weight.grad is not None for weight in tower.parameters())
    model.zero_grad()


@families(UNSUPPORTED)
def test_other_families_are_refused_before_anything_changes(model, inputs, family):
    state = state_of(model)
    name = FAMILIES[family].name.replace("(", r"\(").replace(")", r"\)")
    message = (
        f"got vision_reuse for {name}, whose vision tower reuses no patches; those of InternVL, .* do: set"
    )
    with pytest.raises(sharpv.UnsupportedModelError, match=message):
        sharpv.attach(model, Config(vision_reuse="balanced"))
    with pytest.raises(sharpv.UnsupportedModelError, match=message):
        sharpv.prune_inputs(model, inputs, Config(vision_reuse="balanced"))
    assert state_of(model) == state


@families(["llava_onevision"])
def test_another_tower_is_refused(model, monkeypatch):
    monkeypatch.setattr(model.base_model.vision_tower.config, "model_type", "dinov2")
    message = (
        "got vision_reuse for a LLaVA-OneVision with a tower of type 'dinov2'; towers of type clip_vision"
    )
    with pytest.raises(sharpv.UnsupportedModelError, match=message):
        sharpv.attach(model, Config(vision_reuse="balanced"))


@families(["llava_onevision"])
def test_patches_of_an_odd_side_are_refused(model, monkeypatch):
    monkeypatch.setattr(model.base_model.vision_tower.config, "patch_size", 15)
    with pytest.raises(sharpv.UnsupportedModelError, match="with patches of 15 pixels, which cannot be cut"):
        sharpv.attach(model, Config(vision_reuse="balanced"))


@families(["llava_onevision"])
def test_methods_that_look_at_the_towers_attention_are_refused(model, inputs):
    state = state_of(model)
    config = Config(vision_reuse="balanced", **STAGE_1)
    for method in ("visionzip", "prumerge", "fastvid"):
        message = (
            f"got vision_reuse with method '{method}', which looks at the attention of the vision tower, "
        )
        with pytest.raises(sharpv.InputError, match=message):
            sharpv.attach(model, config, method=method)
        with pytest.raises(sharpv.InputError, match=message):
            sharpv.prune_inputs(model, inputs, config, method=method)
    assert state_of(model) == state
