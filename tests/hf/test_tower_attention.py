"""What the tokens received in the vision tower, against the towers' own attention, pooled by hand."""

import inspect
from contextlib import suppress
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

import sharpv
from sharpv.bench.encode_once import encode_once
from sharpv.hf import tower_attention
from sharpv.hf.families import FAMILIES
from sharpv.hf.features import encode_video, flatten
from sharpv.hf.overhear import overhear
from sharpv.hf.tower_attention import attention_of, hear, received, repeat_rows
from sharpv.hf.towers import TOWERS
from sharpv.methods import Selection
from tests.hf.conftest import GREEDY, Config, clip, forward_loop, second_turn
from tests.hf.test_attention import later_turn
from tests.hf.test_session import state_of, with_nan

STAGE_1 = Config(retention=0.3, memory_threshold=None)
QWEN = sorted(name for name in TOWERS if name.startswith("qwen"))
OTHERS = sorted(set(TOWERS) - set(QWEN))
UNREAD = sorted(set(FAMILIES) - set(TOWERS))
SIDE = 8
"""Patches along a frame of 112 pixels."""


def families(names: list[str]) -> Any:
    return pytest.mark.parametrize("family", names, indirect=True)


def heard(model: Any, inputs: dict[str, Any]) -> Tensor:
    family, told = FAMILIES[model.config.model_type], []
    with torch.no_grad(), hear(model.base_model, family, told.append):
        encoded, _ = encode_video(model.base_model, family, inputs)
    assert torch.equal(told[0], attention_of(encoded))
    assert len(told) == 1
    assert len(flatten(encoded, len(told[0]))) == len(told[0])
    return told[0]


def attentions(model: Any, inputs: dict[str, Any], layer: int = -1) -> Tensor:
    """The tower's own attention in one of its layers, the mean over heads, `[frames, q, k]`."""
    tower = model.base_model.get_submodule(TOWERS[model.config.model_type].module)
    pixels = inputs[FAMILIES[model.config.model_type].pixels].flatten(end_dim=-4)
    more = {}
    if model.config.model_type == "smolvlm":
        more["patch_attention_mask"] = torch.ones(len(pixels), SIDE, SIDE, dtype=torch.bool)
    with torch.no_grad():
        return tower(pixels, output_attentions=True, **more).attentions[layer].mean(1)


def pooled(family: str, weights: Tensor, videos: int) -> Tensor:
    """What the tokens received, by hand, `[tokens]`."""
    frames = len(weights)
    classed = family in ("internvl", "llava_next_video", "video_llava")
    patches = weights[:, 0] if classed else weights.mean(1)
    if family == "video_llava":
        return patches.flatten()
    grid = patches[:, int(classed) :].view(frames, 1, SIDE, SIDE)
    if family == "llava_onevision":
        tokens = interpolate(grid, size=(SIDE // 2, SIDE // 2), mode="bilinear")
        # The separator after each video has none.
        return torch.cat([tokens.view(videos, -1), torch.zeros(videos, 1)], 1).flatten()
    return avg_pool2d(grid, 2).flatten()


@families(OTHERS)
@pytest.mark.parametrize("kernel", ["sdpa", "eager"])
def test_a_tower_that_shows_its_attention(model, batch, family, kernel):
    model.set_attn_implementation(kernel)
    found = heard(model, batch)
    model.set_attn_implementation("eager")
    # CLIP's last layer but one, by the families' own setting.
    layer = {"llava_next_video": -2, "video_llava": -2}.get(family, -1)
    expected = pooled(family, attentions(model, batch, layer), videos=2)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-7)
    assert found.unique().numel() > 20


def by_hand(model: Any, inputs: dict[str, Any]) -> Tensor:
    """What the patches of a Qwen received in the last layer, from what enters its attention."""
    seen, rows = [], []
    visual = model.base_model.visual
    hooks = [
        visual.blocks[-1].attn.register_forward_pre_hook(
            lambda module, args, given: seen.append((args, given)), with_kwargs=True
        ),
        visual.merger.register_forward_hook(lambda module, args, output: rows.append(output)),
    ]
    with torch.no_grad():
        encoded, _ = encode_video(model.base_model, FAMILIES[model.config.model_type], inputs)
    for hook in hooks:
        hook.remove()
    (args, given), attention = seen[0], visual.blocks[-1].attn
    hidden = args[0] if args else given["hidden_states"]
    turn = inspect.getmodule(type(attention)).apply_rotary_pos_emb_vision
    query, key, _ = attention.qkv(hidden).unflatten(-1, (3, attention.num_heads, -1)).unbind(1)
    query, key = turn(query, key, *given["position_embeddings"])
    tokens = []
    borders = given["cu_seqlens"].tolist()
    for start, end in pairwise(borders):
        products = torch.einsum("qhd,khd->hqk", query[start:end], key[start:end]) * attention.scaling
        weights = products.double().softmax(-1).mean((0, 1))
        tokens.append(weights.view(-1, visual.spatial_merge_size**2).mean(-1))
    # Where the merger's rows end up says where its tokens stand.
    final = flatten(encoded, len(rows[0]))
    order = torch.cdist(final.double(), rows[0].double()).argmin(-1)
    assert torch.equal(final, rows[0][order])
    return torch.cat(tokens)[order].float()


@families(QWEN)
def test_a_qwen_tower(model, batch, make_inputs):
    wide = clip(0)[:, :60]
    for inputs in (batch, make_inputs([clip(0, frames=4), wide], [clip(2)])):
        torch.testing.assert_close(heard(model, inputs), by_hand(model, inputs), rtol=1e-4, atol=1e-7)


@families(["qwen2_5_vl"])
def test_windows_of_the_model_in_the_tests_are_smaller_than_its_frames(model, inputs):
    """Or the test above would show nothing of their order."""
    visual = model.base_model.visual
    side = visual.window_size // visual.patch_size
    assert all(side < length for length in inputs["video_grid_thw"][0, 1:].tolist())


@families(["qwen2_vl", "qwen2_5_vl"])
def test_frames_that_a_kernel_takes_in_one_row(model, batch, family, monkeypatch):
    expected = heard(model, batch)
    attention = model.base_model.visual.blocks[-1].attn
    kernels = inspect.getmodule(type(attention)).ALL_ATTENTION_FUNCTIONS
    calls = []

    def flash(module, query, key, value, attention_mask, scaling, cu_seq_lens_q, **options):
        calls.append(query.shape[2])
        parts = [tensor.split(cu_seq_lens_q.diff().tolist(), 2) for tensor in (query, key, value)]
        weights = [(q @ k.mT * scaling).softmax(-1) @ v for q, k, v in zip(*parts, strict=True)]
        return torch.cat(weights, 2).transpose(1, 2), None

    monkeypatch.setitem(kernels._local_mapping, "flash_of_the_test", flash)
    monkeypatch.setitem(vars(attention.config), "_attn_implementation_internal", "flash_of_the_test")
    torch.testing.assert_close(heard(model, batch), expected, rtol=1e-4, atol=1e-7)
    assert set(calls) == {4 * len(expected)}


@families(["llava_onevision", "llava_next_video"])
@pytest.mark.parametrize(("setting", "layer"), [(-1, 1), (-2, 0), (1, 0), (2, 1), ([1], 0)])
def test_the_last_layer_that_the_features_come_through(model, inputs, family, setting, layer, monkeypatch):
    monkeypatch.setattr(model.config, "vision_feature_layer", setting)
    found = heard(model, inputs)
    model.set_attn_implementation("eager")
    expected = pooled(family, attentions(model, inputs, layer), videos=1)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-7)


@families(["llava_onevision"])
def test_of_several_layers_the_last(model, inputs, monkeypatch):
    expected = heard(model, inputs)
    monkeypatch.setattr(model.config, "vision_feature_layer", [-2, -1])
    # A projector for two layers would take the channels of both.
    projector = model.base_model.multi_modal_projector
    hook = projector.register_forward_pre_hook(
        lambda module, args: (args[0][..., -args[0].shape[-1] // 2 :],)
    )
    found = heard(model, inputs)
    hook.remove()
    assert torch.equal(found, expected)


@families(["llava_onevision"])
def test_features_that_come_through_no_layer(model, inputs, monkeypatch):
    monkeypatch.setattr(model.config, "vision_feature_layer", 0)
    with pytest.raises(sharpv.InputError, match="got vision_feature_layer=0, features that come through no"):
        heard(model, inputs)


@pytest.mark.parametrize("block", [1, 7, 60, 10**6])
def test_attention_is_made_in_blocks_of_any_size(monkeypatch, block):
    monkeypatch.setattr(tower_attention, "_BLOCK", block)
    generator = torch.Generator().manual_seed(0)
    query, key = torch.randn(2, 3, 4, 5, 8, generator=generator)
    key = torch.cat([key, key[:, :, :2]], 2)
    expected = (query.double() @ key.double().mT * 0.3).softmax(-1).mean((1, 2)).float()
    torch.testing.assert_close(received(query, key, 0.3), expected)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(received(query, key, 0.3), expected)
    assert received(query.bfloat16(), key.bfloat16(), 0.3).dtype == torch.float32
    assert received(query.double(), key.double(), 0.3).dtype == torch.float64
    torch.testing.assert_close(received(query, key, 0.3).sum(-1), torch.ones(3))


def test_rows_are_repeated_with_the_batch():
    attention = torch.arange(5.0)
    assert repeat_rows(attention, [3, 2], 1) is attention
    assert repeat_rows(attention, [3, 3, 2, 2], 2).tolist() == [0, 1, 2, 0, 1, 2, 3, 4, 3, 4]
    whole = torch.arange(10.0)
    assert repeat_rows(whole, [3, 3, 2, 2], 2) is whole


@families(UNREAD)
def test_a_tower_that_is_not_read_is_refused_before_anything_changes(model, inputs, family):
    state = state_of(model)
    message = f"for {FAMILIES[family].name}".replace("(", r"\(").replace(")", r"\)")
    message += ", whose tower is not read; those of InternVL, .*: choose a method that looks at features"
    for method in ("visionzip", "prumerge", "fastvid"):
        with pytest.raises(sharpv.InputError, match=message):
            sharpv.attach(model, STAGE_1, method=method)
        with pytest.raises(sharpv.InputError, match=message):
            sharpv.prune_inputs(model, inputs, STAGE_1, method=method)
    assert state_of(model) == state
    sharpv.attach(model, STAGE_1, method="vidcom2").detach()


@families(["llava_next_video"])
def test_pooling_or_a_tower_of_another_kind_is_refused(model, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(model.config, "spatial_pool_mode", "pllava")
        with pytest.raises(sharpv.InputError, match="pooling 'pllava'; only 'clip_vision_model' with"):
            sharpv.attach(model, STAGE_1, method="visionzip")
    monkeypatch.setattr(model.base_model.vision_tower.config, "model_type", "dinov2")
    with pytest.raises(sharpv.InputError, match="LLaVA-NeXT-Video with a tower of type 'dinov2'"):
        sharpv.attach(model, STAGE_1, method="visionzip")


@families(["smolvlm"])
def test_padded_frames_are_refused(model, inputs):
    inputs["pixel_attention_mask"][:, 2, -14:] = 0
    with pytest.raises(sharpv.InputError, match="got frames with padding, whose attention is not read"):
        sharpv.prune_inputs(model, inputs, STAGE_1, method="visionzip")


@families(["qwen2_5_vl"])
def test_a_last_layer_of_windows_is_refused(model, inputs, monkeypatch):
    monkeypatch.setattr(model.base_model.visual, "fullatt_block_indexes", [0])
    with pytest.raises(sharpv.InputError, match="whose last layer does not attend to whole frames"):
        sharpv.prune_inputs(model, inputs, STAGE_1, method="visionzip")


class Looking:
    """Keeps the tokens of the highest attention of the video, and notes what it is shown."""

    name = "looking"
    needs_attention = True

    def __init__(self) -> None:
        self.seen = []

    def check(self, config) -> None:
        pass

    def select(self, features, config, grid=None, attention=None) -> Selection:
        self.seen.append(attention)
        mask = torch.zeros(attention.numel(), dtype=torch.bool)
        mask[attention.flatten().argsort(descending=True, stable=True)[:10]] = True
        return Selection(mask.view_as(attention))


class Plain:
    """A pruner that knows nothing of attention."""

    name = "plain"

    def check(self, config) -> None:
        pass

    def select(self, features, config, grid=None) -> Selection:
        mask = torch.zeros(features.shape[:2], dtype=torch.bool)
        mask[:, 0] = True
        return Selection(mask)


@families(sorted(TOWERS))
def test_both_seams_show_a_pruner_the_attention_of_each_video(model, make_inputs, family):
    inputs = make_inputs([clip(0), clip(1)], [clip(2)]) if family != "internvl" else make_inputs([clip(0)])
    if FAMILIES[family].modality == "image":
        inputs = make_inputs([clip(0)], [clip(1)])
    expected, separators = heard(model, inputs), FAMILIES[family].separators
    by_inputs, by_hooks = Looking(), Looking()
    with sharpv.attach(model, STAGE_1, method=by_inputs) as session:
        model.generate(**inputs, max_new_tokens=1)
    with sharpv.attach(model, STAGE_1, method=by_hooks), torch.no_grad():
        model(**inputs)
    for seen in (by_inputs.seen, by_hooks.seen):
        shapes = [(video.frames, video.tokens_per_frame) for video in session.report.videos]
        assert [tuple(part.shape) for part in seen] == shapes
        rows = [torch.cat([part.flatten(), torch.zeros(separators)]) for part in seen]
        assert torch.equal(torch.cat(rows), expected)


def test_a_pruner_without_the_attribute_is_called_with_three_arguments(model, batch):
    with sharpv.attach(model, STAGE_1, method=Plain()) as session, torch.no_grad():
        model.generate(**batch, max_new_tokens=1)
        model(**batch)
    assert all(video.tokens_kept == video.frames for video in session.report.videos)


def test_turns_with_a_video_on_a_cache(model, make_inputs, processor, inputs):
    looking = Looking()
    with sharpv.attach(model, STAGE_1, method=looking) as session:
        later_turn(model, make_inputs, 2)
        assert [video.tokens_kept for video in session.report.videos] == [10, 10]
        assert len(looking.seen) == 4
        alone = heard(model, make_inputs([clip(5)]))
        assert torch.allclose(looking.seen[2].flatten(), alone[: looking.seen[2].numel()], rtol=1e-3)
        second_turn(model, processor, inputs)


@pytest.mark.parametrize("ending", ["detach", "failed request", "interrupt", "interrupt of a forward pass"])
def test_nothing_stays_behind(model, inputs, ending, monkeypatch):
    state, plain = state_of(model), inspect.signature(model.base_model.get_video_features)
    tower = tower_attention._attention_module(model.base_model, TOWERS[model.config.model_type], {})
    known = dict(inspect.getmodule(type(tower)).ALL_ATTENTION_FUNCTIONS)
    errors = (KeyboardInterrupt, sharpv.InputError)
    with suppress(*errors), sharpv.attach(model, STAGE_1, method="visionzip") as session:
        assert inspect.signature(model.base_model.get_video_features) == plain
        model.generate(**inputs, **GREEDY)
        if ending == "failed request":
            model.generate(**with_nan(model, inputs), **GREEDY)
        if ending.startswith("interrupt"):

            def interrupt(*args, **options) -> None:
                raise KeyboardInterrupt

            with monkeypatch.context() as patch:
                patch.setattr(tower_attention, "received", interrupt)
                with torch.no_grad():
                    if ending == "interrupt":
                        model.generate(**inputs, **GREEDY)
                    else:
                        model(**inputs)
    assert session._hooks is None
    assert state_of(model) == state
    assert dict(inspect.getmodule(type(tower)).ALL_ATTENTION_FUNCTIONS) == known


def test_an_interrupted_pass_leaves_a_session_that_works(model, inputs, monkeypatch):
    with sharpv.attach(model, STAGE_1, method="visionzip") as session, torch.no_grad():
        expected = model.generate(**inputs, **GREEDY)
        with monkeypatch.context() as patch:
            patch.setattr(tower_attention, "received", lambda *args: 1 / 0)
            for call in (lambda: model(**inputs), lambda: model.generate(**inputs, **GREEDY)):
                with pytest.raises(ZeroDivisionError):
                    call()
        assert session._hooks.attention is None
        again = model.generate(**inputs, **GREEDY)
        assert all(map(torch.equal, again.logits, expected.logits))
        assert all(map(torch.equal, forward_loop(model, inputs, 6), expected.logits))
    sharpv.prune_inputs(model, inputs, STAGE_1, method="visionzip")
    assert "get_video_features" not in vars(model.base_model)


def test_the_cost_is_one_more_attention_of_one_layer(model, inputs):
    """The tower itself runs once, with its own kernel."""
    tower = tower_attention._attention_module(model.base_model, TOWERS[model.config.model_type], {})
    calls = []
    handle = tower.register_forward_hook(lambda *args: calls.append(1))
    with sharpv.attach(model, STAGE_1, method="visionzip"):
        model.generate(**inputs, max_new_tokens=1)
    handle.remove()
    assert len(calls) == 1


@families(["llava_onevision", "qwen3_vl"])
def test_a_clip_encoded_once_keeps_its_attention(model, make_inputs, family):
    one, two = make_inputs([clip(0)]), make_inputs([clip(0)], [clip(0)])
    with sharpv.attach(model, STAGE_1, method="prumerge") as session, torch.no_grad():
        expected = model.generate(**two, **GREEDY)
        wanted = session.report.videos
    calls = []
    with encode_once(model, one, attention=True):
        tower = tower_attention._attention_module(model.base_model, TOWERS[family], {})
        with (
            overhear(tower, lambda *read: calls.append(1)),
            sharpv.attach(model, STAGE_1, method="prumerge") as session,
            torch.no_grad(),
        ):
            found = model.generate(**two, **GREEDY)
            by_hooks = forward_loop(model, two, GREEDY["max_new_tokens"])
    assert not calls
    assert [video.kept for video in session.report.videos] == [video.kept for video in wanted]
    for a, b, c in zip(found.logits, expected.logits, by_hooks, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
        assert torch.equal(a, c)
    with encode_once(model, one), sharpv.attach(model, STAGE_1, method="prumerge"):
        for call in (lambda: model.generate(**one, **GREEDY), lambda: model(**one)):
            with pytest.raises(sharpv.InputError, match="at the attention of the vision tower, and got none"):
                call()
