"""The stage of FlashVID before the LLM, by hand."""

from math import cos, radians, sin

import pytest
import torch

from sharpv.methods import FlashVID
from tests.methods.clips import keep

A, B, C, D = torch.eye(4).tolist()


def test_a_token_joins_its_likeness_in_the_frame_before_wherever_it_moved():
    # Nothing stays as it is: one segment, trees from A and B in frame 0 and from C in frame 1.
    clip = torch.tensor([[A, B], [[0.0, 3.0, 0.0, 0.0], C], [C, [0.0, 5.0, 0.0, 0.0]]])
    pruner = FlashVID(diverse=0.0, segments=1, cut=-1.0)
    mask, _, merged = pruner.select(clip, keep(3, 3, 2))
    assert mask.tolist() == [[True, True], [False, True], [False, False]]
    assert merged.tolist() == [A, [0.0, 3.0, 0.0, 0.0], C]
    # In segments of their own, frames share nothing; each keeps one of its two.
    alone = FlashVID(diverse=0.0).select(clip, keep(3, 3, 2))
    assert alone.mask.sum(-1).tolist() == [1, 1, 1]


def test_the_weakest_links_are_cut_where_trees_would_save_too_much():
    angles = (0, 10, 30)
    clip = torch.tensor([[[cos(radians(a)), sin(radians(a))]] for a in angles])
    pruner = FlashVID(diverse=0.0, segments=1, cut=-1.0)
    mask, _, merged = pruner.select(clip, keep(2, 3, 1))
    assert mask.flatten().tolist() == [True, False, True]
    torch.testing.assert_close(merged, torch.stack([clip[:2, 0].mean(0), clip[2, 0]]))


def test_diverse_tokens_stay_as_they_are_and_take_no_part_in_trees():
    # Of a share of 2, round(.5 x 2) is diverse: in both frames the one that is unlike the other two.
    near = [1.0, 0.1, 0.0, 0.0]
    clip = torch.tensor([[A, near, B], [A, near, [0.0, 2.0, 0.0, 0.0]]])
    mask, _, merged = FlashVID(diverse=0.5, segments=1, cut=-1.0).select(clip, keep(4, 2, 3))
    assert mask.tolist() == [[True, True, True], [False, False, True]]
    torch.testing.assert_close(merged, torch.tensor([A, near, B, [0.0, 2.0, 0.0, 0.0]]))


def test_a_segment_ends_where_the_frames_differ():
    clip = torch.tensor([[A], [[2.0, 0.0, 0.0, 0.0]], [[1.0, 1.0, 0.0, 0.0]], [[1.0, 1.2, 0.0, 0.0]]])
    pruner = FlashVID(diverse=0.0, segments=1, likeness=0.6)
    mask, _, merged = pruner.select(clip, keep(2, 4, 1))  # cosines 1, .71 and .996
    assert mask.flatten().tolist() == [True, False, True, False]
    torch.testing.assert_close(merged, torch.tensor([[1.5, 0.0, 0.0, 0.0], [1.0, 1.1, 0.0, 0.0]]))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"diverse": 1.1}, r"FlashVID.diverse is 1.1: it must be a number in \[0, 1\]"),
        ({"segments": 0}, "FlashVID.segments is 0: it must be a whole number, at least 1"),
        ({"cut": 2.0}, r"FlashVID.cut is 2.0: it must be a number in \[-1, 1\]"),
        ({"likeness": "high"}, "FlashVID.likeness is 'high'"),
        ({"neighbours": 0}, "FlashVID.neighbours is 0"),
    ],
    ids=str,
)
def test_a_setting_outside_its_range(fields, message):
    with pytest.raises(ValueError, match=message):
        FlashVID(**fields)
