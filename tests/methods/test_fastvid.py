"""FastVID by hand."""

import pytest
import torch

from sharpv.methods import FastVID
from tests.methods.attention_twins import fastvid
from tests.methods.clips import keep, looks, video
from tests.methods.twins import TIE

WHOLE = {"segments": 1, "cut": -1.0}


def test_anchors_stand_in_every_fourth_frame_counted_from_the_last():
    # 6 frames of one segment, 5 tokens each, 2 of them for anchors: 12 for frames 1 and 5, up to their room.
    clip, attention = video(6, 20, 4), looks(6, 20)
    mask = FastVID(**WHOLE).select(clip, keep(30, 6, 20), attention=attention).mask
    assert mask.sum(-1).tolist() == [3, 9, 3, 3, 3, 9]
    salient = attention.argsort(-1, descending=True)[:, :3]
    assert mask.gather(-1, salient).all()


def test_what_anchor_frames_cannot_take_goes_to_the_others():
    # 3 of 5 tokens per frame stay for their attention, so each frame has room for 2; 8 are to be placed.
    mask = FastVID(context=0.4, **WHOLE).select(video(4, 5, 4), keep(20, 4, 5), attention=looks(4, 5)).mask
    assert mask.all()
    # 2 of 4 per frame for anchors: 8, of which the last frame takes 3 and the others 2, 2 and 1.
    chosen = FastVID(context=0.5, **WHOLE).select(video(4, 5, 4), keep(16, 4, 5), attention=looks(4, 5))
    assert chosen.mask.sum(-1).tolist() == [4, 4, 3, 5]


def test_every_other_token_of_the_segment_joins_an_anchor():
    # One token per frame for its attention, one anchor in the last frame for all three.
    clip = torch.tensor(
        [
            [[9.0, 9.0], [1.0, 0.0], [2.0, 0.0]],
            [[9.0, 9.0], [3.0, 0.0], [4.0, 0.0]],
            [[9.0, 9.0], [5.0, 0.0], [6.0, 0.0]],
        ]
    )
    attention = torch.tensor([[1.0, 0.0, 0.0]] * 3)
    mask, _, merged = FastVID(context=0.25, **WHOLE).select(clip, keep(5, 3, 3), attention=attention)
    assert mask.sum() == 5  # shares 2, 2, 1: no share has a whole token for anchors
    assert mask.tolist() == [[True, True, False], [True, True, False], [True, False, False]]
    mask, _, merged = FastVID(context=0.5, **WHOLE).select(clip, keep(5, 3, 3), attention=attention)
    # Two anchors, both in the last frame: 5 and 6, both along one line; the four others join the first.
    assert mask.tolist() == [[True, False, False], [True, False, False], [True, True, True]]
    torch.testing.assert_close(merged[3:], torch.tensor([[0.6 * 5 + 0.4 * 2.5, 0.0], [6.0, 0.0]]))


def test_an_anchor_of_few_weighs_as_much_as_each_of_them():
    # One token joined the anchor: w = max(1/2, own).
    clip = torch.tensor([[[1.0, 0.0], [9.0, 9.0]], [[3.0, 0.0], [9.0, 9.0]]])
    attention = torch.tensor([[0.0, 1.0]] * 2)
    for own, expected in ((0.2, 2.0), (0.6, 0.6 * 3 + 0.4)):
        chosen = FastVID(context=0.5, own=own, spacing=4, **WHOLE).select(
            clip, keep(3, 2, 2), attention=attention
        )
        # Shares 2 and 1: the first frame's goes to the last frame.
        assert chosen.mask.tolist() == [[False, True], [True, True]]
        torch.testing.assert_close(chosen.merged[1], torch.tensor([expected, 0.0]))


def test_segments_end_at_cuts():
    near, far = [1.0, 0.1], [0.1, 1.0]
    clip = torch.tensor([[near] * 4, [near] * 4, [far] * 4, [far] * 4])
    attention = torch.arange(16.0).view(4, 4)
    pruner = FastVID(segments=1, context=0.5)
    assert pruner.select(clip, keep(8, 4, 4), attention=attention).mask.sum(-1).tolist() == [1, 3, 1, 3]
    whole = FastVID(context=0.5, **WHOLE)
    assert whole.select(clip, keep(8, 4, 4), attention=attention).mask.sum(-1).tolist() == [2, 1, 1, 4]
    many = FastVID(segments=4, context=0.5)
    assert many.select(clip, keep(8, 4, 4), attention=attention).mask.sum(-1).tolist() == [2, 2, 2, 2]


def test_long_segments_as_in_the_twin():
    compared = 0
    for seed in range(8):
        # Steps so small that only the seven lowest cosines cut: 30 frames make segments of several.
        clip = video(1, 6, 5, seed) + 0.1 * video(30, 6, 5, seed + 100)
        attention = looks(30, 6, seed)
        tokens, lead = fastvid(clip, 90, attention)
        if lead > TIE:
            compared += 1
            mask, _, merged = FastVID().select(clip, keep(90, 30, 6), attention=attention)
            assert mask.flatten().nonzero().flatten().tolist() == sorted(tokens)
            torch.testing.assert_close(merged, torch.tensor([tokens[place] for place in sorted(tokens)]))
    assert compared >= 3


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"segments": 0}, "FastVID.segments is 0: it must be a whole number, at least 1"),
        ({"cut": 1.1}, r"FastVID.cut is 1.1: it must be a number in \[-1, 1\]"),
        ({"context": 1.5}, r"FastVID.context is 1.5: it must be a number in \[0, 1\]"),
        ({"own": -0.1}, "FastVID.own is -0.1"),
        ({"spacing": 0}, "FastVID.spacing is 0"),
        ({"neighbours": 2.0}, "FastVID.neighbours is 2.0"),
    ],
    ids=str,
)
def test_a_setting_outside_its_range(fields, message):
    with pytest.raises(ValueError, match=message):
        FastVID(**fields)
