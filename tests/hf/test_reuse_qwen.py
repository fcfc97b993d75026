"""Packed passes of Qwen-VL's towers, against one that composes keys and values by hand."""

import inspect
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers.vision_utils import get_vision_position_ids, get_vision_window_index

import sharpv
from sharpv.hf.families import FAMILIES
from sharpv.hf.reuse.supported import REUSABLE, reusable_tower
from tests.hf.conftest import clip
from tests.hf.test_reuse_packing import (
    all_own,
    attend_to,
    choosy,
    cosines,
    random_source,
    stand_in_for_flash_attention,
)

__all__ = ["choosy"]

QWEN = sorted(name for name in REUSABLE if name.startswith("qwen"))
GRIDS = [[6, 12, 16], [4, 8, 12]]
TOKENS = [48, 24]


def families(names: Any) -> Any:
    return pytest.mark.parametrize("family", names, indirect=True)


def tower_of(model: Any) -> tuple[Any, Any]:
    return reusable_tower(model.base_model, FAMILIES[model.config.model_type])


def request(model: Any) -> dict[str, Tensor]:
    """Rows of two videos of different size, and their sizes."""
    grid = torch.tensor(GRIDS)
    vision = model.base_model.visual.config
    width = 3 * vision.temporal_patch_size * vision.patch_size**2
    rows = torch.randn(int(grid.prod(1).sum()), width, generator=torch.Generator().manual_seed(0))
    return {"pixel_values_videos": rows, "video_grid_thw": grid}


def sources(seed: int = 0) -> list[Tensor]:
    return [
        random_source(grid[0], tokens, seed + i)
        for i, (grid, tokens) in enumerate(zip(GRIDS, TOKENS, strict=True))
    ]


def encode(tower: Any, call: dict[str, Tensor]) -> list[Tensor]:
    """The features, and those of early layers, `[tokens, d]` each."""
    with torch.no_grad():
        output = tower(call["pixel_values_videos"], grid_thw=call["video_grid_thw"])
    return [output.pooler_output, *(getattr(output, "deepstack_features", None) or ())]


def entering(tower: Any, call: dict[str, Tensor]) -> Tensor:
    """What enters the first layer, in the order of the pixels' rows."""
    seen = []
    hook = tower.blocks[0].register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    encode(tower, call)
    hook.remove()
    if not hasattr(tower, "window_size"):
        return seen[0]
    index, _ = get_vision_window_index(
        call["video_grid_thw"], tower.spatial_merge_size, tower.window_size, tower.patch_size
    )
    return seen[0].unflatten(0, (-1, 4))[index.argsort()].flatten(0, 1)


def windows(tower: Any, height: int, width: int) -> Tensor:
    """The number of the window that each row of a frame lies in."""
    side = tower.window_size // tower.spatial_merge_size // tower.patch_size
    row, column = torch.arange(height // 2) // side, torch.arange(width // 2) // side
    return (row.unsqueeze(1) * 100 + column).flatten().repeat_interleave(4)


@torch.no_grad()
def by_hand(tower: Any, call: dict[str, Tensor], plans: list[Tensor]) -> list[Tensor]:
    """The definition, frame by frame: in each layer, keys and values of a frame are its sources' rows."""
    hidden = entering(tower, call)
    positions = get_vision_position_ids(call["video_grid_thw"], 2)
    turn = inspect.getmodule(type(tower.blocks[0].attn)).apply_rotary_pos_emb_vision
    cos, sin = tower.rotary_pos_emb(hidden, positions)
    early = []
    for number, block in enumerate(tower.blocks):
        windowed = hasattr(tower, "window_size") and number not in tower.fullatt_block_indexes
        normed, new, start = block.norm1(hidden), hidden.clone(), 0
        for source, (n, height, width) in zip(plans, GRIDS, strict=True):
            f = height * width
            source = source.repeat_interleave(4, 1)
            inside = windows(tower, height, width) if windowed else torch.zeros(f)
            for t in range(n):
                mine = torch.arange(f) + start + t * f
                served = start + source[t] * f + torch.arange(f)
                query, key, value = (
                    part.unflatten(-1, (block.attn.num_heads, -1))
                    for part in (
                        block.attn.qkv(normed[mine]).chunk(3, -1)[0],
                        *block.attn.qkv(normed[served]).chunk(3, -1)[1:],
                    )
                )
                query, key = turn(query, key, cos[mine], sin[mine])
                mask = inside.unsqueeze(1) == inside
                new[mine] += block.attn.proj(attend_to(query, key, value, mask))
            start += n * f
        hidden = new + block.mlp(block.norm2(new))
        if number in getattr(tower, "deepstack_visual_indexes", ()):
            merger = tower.deepstack_merger_list[tower.deepstack_visual_indexes.index(number)]
            early.append(merger(spread(hidden, plans)))
    return [tower.merger(spread(hidden, plans)), *early]


def spread(rows: Tensor, plans: list[Tensor]) -> Tensor:
    """The rows of all frames, those that are not computed from their sources."""
    parts, start = [], 0
    for source in plans:
        n, f = len(source), source.shape[1] * 4
        places = source.repeat_interleave(4, 1) * f + torch.arange(f) + start
        parts.append(rows[places.flatten()])
        start += n * f
    return torch.cat(parts)


@families(QWEN)
@pytest.mark.parametrize("kernel", ["sdpa", "eager"])
@pytest.mark.parametrize("seed", [0, 10])
@pytest.mark.usefixtures("choosy")
def test_a_packed_pass_is_the_definition(model, kernel, seed):
    model.set_attn_implementation(kernel)
    tower, way = tower_of(model)
    call, plans = request(model), sources(seed)
    dense = encode(tower, call)
    with way.packed(tower, call, plans):
        found = encode(tower, call)
    expected = by_hand(tower, call, plans)
    assert len(found) == len(expected) == len(dense)
    for one, other, whole in zip(found, expected, dense, strict=True):
        assert one.shape == whole.shape
        torch.testing.assert_close(one, other, rtol=1e-4, atol=5e-5)
        assert float((one - whole).abs().max()) > 1e-3
    own = [all_own(n, tokens) for (n, _, _), tokens in zip(GRIDS, TOKENS, strict=True)]
    for one, other in zip(by_hand(tower, call, own), dense, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=5e-5)


@families(QWEN)
def test_what_is_reused_matters_to_every_layer(model):
    """Or the test above would show nothing of windows, and of early layers."""
    tower, _ = tower_of(model)
    assert len(tower.blocks) > 1
    if hasattr(tower, "window_size"):
        assert set(range(len(tower.blocks))) > set(tower.fullatt_block_indexes) > set()
        assert len(windows(tower, 12, 16).unique()) > 4
    if "3_vl" in model.config.model_type:
        assert tower.deepstack_visual_indexes


@families(QWEN)
@pytest.mark.parametrize("kernel", ["sdpa", "eager"])
def test_where_everything_changed_features_are_dense(model, kernel):
    model.set_attn_implementation(kernel)
    tower, way = tower_of(model)
    call = request(model)
    own = [all_own(n, tokens) for (n, _, _), tokens in zip(GRIDS, TOKENS, strict=True)]
    with way.packed(tower, call, own):
        found = encode(tower, call)
    for one, other in zip(found, encode(tower, call), strict=True):
        assert float((one - other).abs().max()) <= 1e-5
    model.bfloat16()
    call["pixel_values_videos"] = call["pixel_values_videos"].bfloat16()
    with way.packed(tower, call, own):
        found = encode(tower, call)
    for one, other in zip(found, encode(tower, call), strict=True):
        assert cosines(one, other).min() >= 0.9999


@families(QWEN)
def test_a_static_clip_costs_one_frame(model):
    tower, way = tower_of(model)
    call = request(model)
    frame, grid = call["pixel_values_videos"][:192], torch.tensor([[1, 12, 16]])
    dense = encode(tower, {"pixel_values_videos": frame, "video_grid_thw": grid})
    call = {"pixel_values_videos": frame.repeat(5, 1), "video_grid_thw": grid * torch.tensor([5, 1, 1])}
    rows = []
    hook = tower.blocks[0].register_forward_pre_hook(lambda module, args: rows.append(len(args[0])))
    with way.packed(tower, call, [torch.zeros(5, 48, dtype=torch.long)]):
        found = encode(tower, call)
    hook.remove()
    assert rows == [192]
    for one, other in zip(found, dense, strict=True):
        for part in one.chunk(5):
            torch.testing.assert_close(part, other, rtol=1e-6, atol=1e-6)


@families(QWEN)
def test_two_videos_are_each_as_alone(model):
    tower, way = tower_of(model)
    call, plans = request(model), sources(3)
    with way.packed(tower, call, plans):
        together = encode(tower, call)[0]
    alone = []
    rows = call["pixel_values_videos"].split([n * h * w for n, h, w in GRIDS])
    for part, grid, source in zip(rows, GRIDS, plans, strict=True):
        one = {"pixel_values_videos": part, "video_grid_thw": torch.tensor([grid])}
        with way.packed(tower, one, [source]):
            alone.append(encode(tower, one)[0])
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-5, atol=1e-5)


@families(QWEN)
def test_rows_of_the_processor_are_read_as_the_frames_that_it_was_given(model, processor, make_inputs):
    tower, way = tower_of(model)
    sizes = [video.shape[-2:] for video in way.frames(tower, make_inputs([clip()], [clip()[:, :, :60]]), [])]
    assert sizes[0] != sizes[1]
    # Of these sizes the processor resizes nothing.
    rng = np.random.default_rng(0)
    clips = [
        rng.integers(0, 256, (n, *size, 3), dtype=np.uint8) for n, size in zip((4, 6), sizes, strict=True)
    ]
    inputs = make_inputs(*([one] for one in clips))
    videos = way.frames(tower, inputs, [])
    mean, std = (
        torch.tensor(getattr(processor.video_processor, name)).view(3, 1, 1)
        for name in ("image_mean", "image_std")
    )
    for video, frames in zip(videos, clips, strict=True):
        assert video.shape[:3] == (len(frames) // 2, 2, 3)
        levels = (video * std + mean) * 255
        expected = torch.from_numpy(frames).permute(0, 3, 1, 2).float()
        torch.testing.assert_close(levels.flatten(0, 1), expected, rtol=0, atol=1e-2)
    assert [tuple(side // way.sides(tower)[0] for side in size) for size in sizes] == [
        (height // 2, width // 2) for _, height, width in inputs["video_grid_thw"].tolist()
    ]


@families(["qwen2_5_vl"])
def test_patches_are_compared_one_by_one(model, make_inputs):
    """What changes in a corner of one of the four of a token is not diluted by the others."""
    frames = np.full((4, 112, 112, 3), 128, dtype=np.uint8)
    frames[2:, 28:35, 28:35] += 12
    with sharpv.attach(model, sharpv.SharpVConfig(vision_reuse="balanced")) as session:
        model.generate(**make_inputs([frames]), max_new_tokens=1)
    (video,) = session.report.videos
    first, second = video.reuse.computed
    assert all(first)
    assert [place for place, computed in enumerate(second) if computed] == [5]


@families(["qwen2_vl", "qwen2_5_vl"])
def test_flash_attention_gets_all_frames_in_one_call(model, monkeypatch):
    """By a kernel of the test's own, since FlashAttention runs on GPUs only."""
    tower, way = tower_of(model)
    call, plans = request(model), sources()
    with way.packed(tower, call, plans):
        expected = encode(tower, call)[0]
    attention = way.attention_modules(tower)[0]
    calls = []

    stand_in_for_flash_attention(monkeypatch, attention, calls)
    with way.packed(tower, call, plans):
        found = encode(tower, call)[0]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert len(calls) == len(tower.blocks)
