"""Ways of laying tokens out in frames, and the placeholders that they are told from."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

import sharpv
from sharpv.hf.families import FAMILIES
from sharpv.hf.layout import VideoLayout, counted, grid, per_image, stacked, video_placeholders
from tests.hf.conftest import built, clip

WHOLE = (0, 0, 1, 1)
# What each layout function reads of a base model.
MERGING = SimpleNamespace(
    visual=SimpleNamespace(spatial_merge_size=2),
    config=SimpleNamespace(vision_config=SimpleNamespace(temporal_patch_size=2)),
)


def cutting(patch: int, **attributes: int) -> nn.Module:
    model = nn.Sequential(nn.Conv2d(3, 4, patch, stride=patch), nn.Conv2d(4, 4, 1))
    for name, value in attributes.items():
        setattr(model, name, value)
    return model


@pytest.mark.parametrize(
    ("shape", "counts", "patch", "around", "layout"),
    [
        ((1, 2, 3, 8, 8), [9], 2, {"separators": 1}, VideoLayout(2, 4, (2, 2), 1, window=WHOLE)),
        ((2, 3, 3, 8, 8), [9, 0, 9], 2, {}, VideoLayout(3, 3)),
        ((1, 2, 3, 8, 16), [8], 2, {}, VideoLayout(2, 4)),  # 1 x 4 or 2 x 2
        (
            (1, 1, 3, 224, 224),
            [257],
            14,
            {"leading": 1},
            VideoLayout(1, 257, (16, 16), leading=1, window=WHOLE),
        ),
        (
            (1, 2, 3, 384, 384),
            [393],
            14,
            {"separators": 1},
            VideoLayout(2, 196, (14, 14), 1, window=(0, 0, 378 / 384, 378 / 384)),
        ),
    ],
)
def test_stacked_videos(shape, counts, patch, around, layout):
    inputs = {"pixel_values_videos": torch.empty(shape, device="meta")}
    assert stacked(inputs, cutting(patch), counts, **around) == [layout] * shape[0]


def test_no_window_without_patches():
    inputs = {"pixel_values_videos": torch.empty(1, 2, 3, 8, 8)}
    assert stacked(inputs, nn.Linear(8, 8), [8]) == [VideoLayout(2, 4, (2, 2), window=None)]


@pytest.mark.parametrize(
    ("shape", "count"),
    [((1, 2, 3, 8, 8), 8), ((1, 2, 3, 8, 8), 1), ((2, 3, 8, 8), 9), ((1, 0, 3, 8, 8), 1)],
)
def test_stacked_videos_that_do_not_divide_are_refused(shape, count):
    with pytest.raises(sharpv.InputError, match="processor"):
        stacked({"pixel_values_videos": torch.empty(shape)}, cutting(2), [count], 1)


def test_frames_of_leading_tokens_alone_are_refused():
    with pytest.raises(sharpv.InputError, match="got 2 video placeholders"):
        stacked({"pixel_values_videos": torch.empty(1, 2, 3, 8, 8)}, cutting(2), [2], leading=1)


def test_videos_on_a_grid():
    grids = {"video_grid_thw": torch.tensor([[3, 4, 6], [1, 2, 2]])}
    assert grid(grids, MERGING, [19]) == [
        VideoLayout(3, 6, (2, 3), source_frames=2),
        VideoLayout(1, 1, (1, 1), source_frames=2),
    ]
    merged = {**grids, "video_merge_sizes": torch.tensor([1, 2])}
    frame_by_frame = SimpleNamespace(config=SimpleNamespace(vision_config=SimpleNamespace()))
    assert grid(merged, frame_by_frame, [73]) == [VideoLayout(3, 24, (4, 6)), VideoLayout(1, 1, (1, 1))]


def test_a_grid_that_is_missing_or_was_thinned_out_is_refused():
    with pytest.raises(sharpv.InputError, match="without video_grid_thw"):
        grid({}, MERGING, [4])
    kept = torch.tensor([True, False, True, True])
    inputs = {"video_grid_thw": torch.tensor([[1, 4, 4]]), "video_compression_mask": kept}
    with pytest.raises(sharpv.InputError, match=r"got 3 of 4 video tokens.*use_token_compression=False"):
        grid(inputs, MERGING, [3])


def test_frames_as_images():
    frames = {"pixel_values": torch.empty(5, 3, 8, 8)}
    layouts = [VideoLayout(n, 4, (2, 2), window=(0, 0, 6 / 8, 6 / 8)) for n in (2, 3)]
    assert per_image(frames, cutting(3), [8, 0, 12]) == layouts
    padded = {"pixel_values": torch.empty(2, 3, 3, 8, 8)}
    assert per_image(padded, cutting(3, image_seq_len=4), [8, 0, 12]) == layouts
    with pytest.raises(sharpv.InputError, match=r"got \[8, 11\] image placeholders"):
        per_image(frames, cutting(3, image_seq_len=4), [8, 11])
    with pytest.raises(sharpv.InputError, match="for 0 images"):
        per_image({"pixel_values": torch.empty(0, 3, 8, 8)}, cutting(3), [0])


def test_frames_that_are_counted():
    places = torch.full((3, 24, 2), -1)
    for frame, (columns, rows) in enumerate(((6, 3), (6, 3), (3, 6))):
        cells = [(x, y) for y in range(rows) for x in range(columns)]
        places[frame, : len(cells)] = torch.tensor(cells)
    inputs = {"num_frames_per_video": torch.tensor([2, 1]), "video_position_ids": places}
    config = SimpleNamespace(vision_config=SimpleNamespace(pooling_kernel_size=3))
    layouts = [VideoLayout(2, 2, (1, 2)), VideoLayout(1, 2, (2, 1))]
    assert counted(inputs, SimpleNamespace(config=config), [6]) == layouts
    with pytest.raises(sharpv.InputError, match="without num_frames_per_video"):
        counted({}, None, [4])


@pytest.mark.parametrize("family", sorted(FAMILIES), indirect=True)
def test_placeholders_and_layouts_agree_with_the_processor(model, make_inputs, family):
    """Where it can be asked without features, the model's own rule says the same."""
    base, data = model.model, FAMILIES[family]
    inputs = make_inputs([clip(0), clip(1)], [clip(2)], [])
    visual = video_placeholders(base, data.placeholder, inputs["input_ids"])
    counts = visual.sum(1).tolist()
    layouts = data.layouts(inputs, base, counts)
    tokens = [layout.tokens for layout in layouts]
    expected = [sum(tokens[:-1]), tokens[-1], 0]
    assert counts == expected
    embeds = model.get_input_embeddings()(inputs["input_ids"])
    assert torch.equal(video_placeholders(base, data.placeholder, None, embeds), visual)
    if data.modality == "video":
        empty = torch.empty(*visual.shape, 0)
        own = base.get_placeholder_mask(inputs["input_ids"], inputs_embeds=empty)[1]
        assert torch.equal(own.reshape(*visual.shape, -1).any(-1) if own.dim() == 3 else own, visual)


def test_a_video_without_a_prompt_is_refused():
    model, _ = built("llava_onevision")
    with pytest.raises(sharpv.InputError, match="without a prompt"):
        video_placeholders(model.model, "video_token_id", None)
