"""Shortening rows: columns, position ids, the layout of videos; and compact ids in whole requests."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import sharpv
from sharpv.hf.cache import CACHE
from sharpv.hf.layout import VideoLayout
from sharpv.hf.positions import compact, gather_columns, gather_positions, renumber, tail_length
from sharpv.hf.stage1 import Placed, place
from tests.hf.conftest import GREEDY, clip, distance, forward_loop, second_turn

TOLERANCE = 1e-6
COMPACT = sharpv.SharpVConfig(positions="compact", memory_threshold=2.0)


@st.composite
def masks(draw) -> torch.Tensor:
    batch, width = draw(st.integers(1, 4)), draw(st.integers(1, 12))
    row = st.lists(st.booleans(), min_size=width, max_size=width)
    return torch.tensor(draw(st.lists(row.filter(any), min_size=batch, max_size=batch)))


@settings(max_examples=60, deadline=None)
@given(masks())
def test_compact_keeps_the_columns_in_order_at_the_right(keep):
    index, real = compact(keep)
    assert index.shape == real.shape == (len(keep), int(keep.sum(1).max()))
    for row, columns, filled in zip(keep, index, real, strict=True):
        assert columns[filled].tolist() == row.nonzero().flatten().tolist()
        assert filled.tolist() == sorted(filled.tolist())
        assert len(set(columns.tolist())) == len(columns)


@settings(max_examples=60, deadline=None)
@given(masks())
def test_tail_length_counts_what_follows_the_last_gap(keep):
    tail = tail_length(keep)
    assert keep[:, keep.shape[1] - tail :].all()
    assert tail == keep.shape[1] or not keep[:, keep.shape[1] - tail - 1].all()


@settings(max_examples=60, deadline=None)
@given(masks(), st.integers(0, 100))
def test_renumber_counts_on_from_the_first_real_id(keep, start):
    index, real = compact(keep)
    ids = gather_positions(torch.arange(start, start + keep.shape[1])[None], index)
    for row, numbered, filled in zip(keep, renumber(ids, real), real, strict=True):
        if not filled.any():
            continue
        first = start + int(row.nonzero()[0])
        assert numbered[filled].tolist() == list(range(first, first + int(row.sum())))
        assert not numbered[~filled].any()


def test_positions_of_several_axes_and_of_one_row_for_all():
    index = torch.tensor([[0, 2], [1, 2]])
    one = torch.tensor([[5, 6, 7]])
    assert gather_positions(one, index).tolist() == [[5, 7], [6, 7]]
    assert gather_positions(torch.stack([one, one + 10]), index).tolist() == [
        [[5, 7], [6, 7]],
        [[15, 17], [16, 17]],
    ]
    values = torch.arange(12).view(2, 3, 2)
    assert gather_columns(values, index).tolist() == [[[0, 1], [4, 5]], [[8, 9], [10, 11]]]


A, B, C = (VideoLayout(frames, 4, (2, 2), separators=1) for frames in (2, 3, 5))


@pytest.mark.parametrize(
    ("layouts", "counts", "expected", "repeats"),
    [
        ([A], [9], [(0, A)], 1),
        ([A, B], [9, 13], [(0, A), (1, B)], 1),
        ([A, B, C], [22, 0, 21], [(0, A), (0, B), (2, C)], 1),
        ([A, B], [9, 9, 13, 13], [(0, A), (1, A), (2, B), (3, B)], 2),
        ([A, B], [22, 22, 0, 0], [(0, A), (0, B), (1, A), (1, B)], 2),
        ([A, B], [0, 0, 22, 22], [(2, A), (2, B), (3, A), (3, B)], 2),
    ],
)
def test_videos_find_their_rows(layouts, counts, expected, repeats):
    assert place(layouts, counts) == ([Placed(*pair) for pair in expected], repeats)


@pytest.mark.parametrize(
    ("layouts", "counts"),
    [([A], [8]), ([A], [10]), ([A], [0]), ([A, B], [13, 9]), ([A, B], [22, 22, 10]), ([], [3])],
)
def test_counts_that_do_not_add_up_are_refused(layouts, counts):
    with pytest.raises(sharpv.InputError, match="processor"):
        place(layouts, counts)


@pytest.fixture(params=[1, 2], ids=["batch1", "batch2"])
def requests(request, inputs, batch) -> dict:
    return inputs if request.param == 1 else batch


@pytest.mark.parametrize("family", ["llava_onevision"], indirect=True)
class TestCompactIds:
    def test_both_seams_agree(self, model, requests):
        with sharpv.attach(model, COMPACT), torch.no_grad():
            by_inputs = model.generate(**requests, **GREEDY)
            by_hooks = forward_loop(model, requests, GREEDY["max_new_tokens"])
        for one, other in zip(by_inputs.logits, by_hooks, strict=True):
            assert torch.allclose(one, other, atol=TOLERANCE)

    def test_they_differ_from_original_ids(self, model, requests):
        with sharpv.attach(model, COMPACT):
            compact_ids = model.generate(**requests, **GREEDY)
        with sharpv.attach(model, sharpv.SharpVConfig(memory_threshold=2.0)):
            original_ids = model.generate(**requests, **GREEDY)
        assert distance(compact_ids, original_ids) > TOLERANCE

    def test_a_row_of_a_batch_equals_the_row_alone(self, model, make_inputs, batch):
        with sharpv.attach(model, COMPACT):
            together = model.generate(**batch, **GREEDY)
            for row, question in enumerate(("What?", "What happens in the end?")):
                alone = model.generate(**make_inputs([clip(row)], questions=(question,)), **GREEDY)
                for whole, single in zip(together.logits, alone.logits, strict=True):
                    assert torch.allclose(whole[row], single[0], atol=TOLERANCE)

    def test_a_second_turn_equals_feeding_it_token_by_token(self, model, processor, requests):
        with sharpv.attach(model, COMPACT), torch.no_grad():
            second, expected = second_turn(model, processor, requests)
        assert torch.allclose(second.logits[0], expected, atol=TOLERANCE)

    def test_repeated_rows_lag_behind_by_their_own_cut(self, model, make_inputs):
        batch = make_inputs([clip(0)], [])
        with sharpv.attach(model, COMPACT) as session:
            out = model.generate(**batch, **GREEDY | {"do_sample": True, "num_return_sequences": 2})
        cut = session.report.tokens_total - session.report.tokens_kept
        assert out[CACHE].layers[0].position_shift.tolist() == [[cut], [cut], [0], [0]]
