"""A pruned cache after its request: going on with it, cropping it, copying it, losing its session."""

import copy

import pytest
import torch
from transformers import DynamicCache

import sharpv
from sharpv.hf.cache import CACHE, PrunedLayer
from tests.hf.conftest import (
    GREEDY,
    OFF,
    STAGE_1,
    TEXT_ONLY,
    clip,
    distance,
    next_positions,
    same_output,
    video_tokens,
)

TOLERANCE = 1e-6


@pytest.fixture
def first(model, inputs):
    """A finished request whose layers hold text only."""
    with sharpv.attach(model, TEXT_ONLY):
        return model.generate(**inputs, **GREEDY)


def go_on(model, ids, cache):
    return model.generate(ids, attention_mask=torch.ones_like(ids), **{CACHE: cache}, **GREEDY)


def test_cropped_tokens_can_be_fed_again(model, first):
    cache = copy.deepcopy(first[CACHE])
    with sharpv.attach(model, TEXT_ONLY):
        expected = go_on(model, first.sequences, first[CACHE])
        cache.crop(-4)
        assert cache.get_seq_length() == first.sequences.shape[1] - 5
        assert distance(go_on(model, first.sequences, cache), expected) < TOLERANCE


@pytest.mark.parametrize("config", [STAGE_1, TEXT_ONLY], ids=["stage1", "both"])
def test_a_crop_into_the_video_is_refused_and_changes_nothing(model, inputs, config):
    with sharpv.attach(model, config) as session:
        cache = model.generate(**inputs, **GREEDY)[CACHE]
    length, layer = cache.get_seq_length(), cache.layers[0]
    video = session.report.videos[0]
    whole = not video.separators and video.kept[-1][-1]
    after = int(video_tokens(model, inputs)[0].flip(0).int().argmax()) + GREEDY["max_new_tokens"] - 1
    cut_by_stage_1 = after + video.separators + video.kept[-1][::-1].index(False)
    assert not whole
    assert layer.tail == (cut_by_stage_1 if config is STAGE_1 else after)
    with pytest.raises(sharpv.InputError, match="crop less, or start with a new cache"):
        cache.crop(-(layer.tail + 1))
    assert cache.get_seq_length() == length
    cache.crop(-layer.tail)
    assert layer.tail == 0
    assert cache.get_seq_length() < length


def test_reordered_rows_take_their_padding_and_their_lag_along():
    layer = PrunedLayer()
    layer.update(torch.zeros(2, 1, 3, 4), torch.zeros(2, 1, 3, 4))
    layer.valid = torch.tensor([[False, True, True], [True, True, True]])
    layer.lag(torch.tensor([[5], [7]]))
    layer.reorder_cache(torch.tensor([1, 0]))
    assert layer.valid.tolist() == [[True, True, True], [False, True, True]]
    assert layer.position_shift.tolist() == [[7], [5]]


def test_a_copy_goes_on_by_itself(model, first):
    copied = copy.deepcopy(first[CACHE])
    with sharpv.attach(model, TEXT_ONLY):
        assert same_output(go_on(model, first.sequences, first[CACHE]), go_on(model, first.sequences, copied))


@pytest.mark.parametrize("call", ["generate", "forward"])
def test_without_its_session_a_pruned_cache_is_refused(model, first, call):
    ids, cache = first.sequences, first[CACHE]
    with pytest.raises(sharpv.AttachError, match="attach to the model before you go on"):
        go_on(model, ids, cache) if call == "generate" else model(ids[:, -1:], **{CACHE: cache})


def test_without_its_session_a_whole_cache_is_an_ordinary_one(model, inputs):
    dense = model.generate(**inputs, **GREEDY)
    config = sharpv.SharpVConfig(retention=1.0, memory_threshold=-1.0)
    with sharpv.attach(model, config):
        attached = model.generate(**inputs, **GREEDY)
    assert isinstance(attached[CACHE].layers[0], PrunedLayer)
    one, other = (go_on(model, run.sequences, run[CACHE]) for run in (dense, attached))
    assert same_output(one, other)


def test_another_session_goes_on_with_the_cache(model, first):
    with sharpv.attach(model, TEXT_ONLY):
        expected = go_on(model, first.sequences, copy.deepcopy(first[CACHE]))
    with sharpv.attach(model, OFF):
        assert same_output(go_on(model, first.sequences, first[CACHE]), expected)


def test_rows_of_a_pruned_cache_can_be_repeated_and_picked(model, batch):
    with sharpv.attach(model, TEXT_ONLY), torch.no_grad():
        first = model.generate(**batch, **GREEDY)
        mask = torch.nn.functional.pad(batch["attention_mask"], (0, GREEDY["max_new_tokens"]), value=1)

        def last(rows: list[int], cache: DynamicCache) -> torch.Tensor:
            position_ids = next_positions(model, mask)
            position_ids = position_ids[rows] if position_ids.dim() == 2 else position_ids[:, rows]
            return model(
                input_ids=first.sequences[rows, -1:],
                attention_mask=mask[rows],
                position_ids=position_ids,
                **{CACHE: cache},
            ).logits

        expected = last([0, 1], copy.deepcopy(first[CACHE]))
        repeated, picked = copy.deepcopy(first[CACHE]), first[CACHE]
        repeated.batch_repeat_interleave(2)
        picked.batch_select_indices(torch.tensor([1]))
        assert torch.allclose(last([0, 0, 1, 1], repeated), expected[[0, 0, 1, 1]], atol=TOLERANCE)
        assert torch.allclose(last([1], picked), expected[[1]], atol=TOLERANCE)


@pytest.mark.parametrize("family", ["llava_onevision"], indirect=True)
@pytest.mark.parametrize("config", [OFF, TEXT_ONLY], ids=["off", "on"])
def test_a_second_video_in_the_second_turn(model, make_inputs, config):
    """Qwen2.5-VL reads the grids of a conversation from the start, and fails here when dense, too."""
    turns = make_inputs([clip(0)]), make_inputs([clip(1)], questions=("And now?",))

    def chat() -> tuple:
        one = model.generate(**turns[0], **GREEDY)
        ids = torch.cat([one.sequences, turns[1]["input_ids"]], dim=1)
        pixels = {"pixel_values_videos": turns[1]["pixel_values_videos"]}
        options = {CACHE: one[CACHE], "attention_mask": torch.ones_like(ids)}
        return ids, model.generate(ids, **pixels, **options, **GREEDY)

    dense = chat()
    with sharpv.attach(model, config) as session:
        ids, two = chat()
    assert torch.equal(two.sequences[:, : ids.shape[1]], ids)
    if config is OFF:
        assert same_output(two, dense[1])
    else:
        report = session.report
        assert 0 < report.tokens_kept < report.tokens_total == session.reports[0].tokens_total
        assert report.cache_bytes < report.dense_cache_bytes
        assert two[CACHE].get_seq_length() == two.sequences.shape[1] - 1


@pytest.mark.filterwarnings("ignore:`past_key_values` is deprecated:FutureWarning")
def test_the_older_name_of_a_cache_still_goes_on(model, first):
    """transformers takes `past_key_values` for `cache` until 5.40, an attached model as well."""
    ids = first.sequences
    copied = copy.deepcopy(first[CACHE])
    with sharpv.attach(model, TEXT_ONLY):
        expected = go_on(model, ids, copied)
        mask = torch.ones_like(ids)
        assert same_output(
            model.generate(ids, attention_mask=mask, past_key_values=first[CACHE], **GREEDY), expected
        )
