"""VisionZip by hand."""

import pytest
import torch

import sharpv
from sharpv.methods import VisionZip
from tests.methods.clips import keep, video

A, B = [1.0, 0.0], [0.0, 1.0]


def test_dominant_tokens_stay_and_the_others_join_targets_at_a_stride():
    # The two of most attention stay; of the others 0, 2, 3 and 5, the first and the last are targets.
    clip = torch.tensor([[[4.0, 0.0], [0.0, 9.0], [2.0, 0.0], [0.0, 2.0], [7.0, 7.0], [0.0, 4.0]]])
    attention = torch.tensor([[0.1, 0.3, 0.1, 0.1, 0.2, 0.1]])
    mask, ratios, merged = VisionZip(dominant=0.5).select(clip, keep(4, 1, 6), attention=attention)
    assert mask.tolist() == [[True, True, False, False, True, True]]
    assert ratios == ()
    # Means of a target and of what joined it: 4 and 2 along A, 4 and 2 along B.
    assert merged.tolist() == [[3.0, 0.0], [0.0, 9.0], [7.0, 7.0], [0.0, 3.0]]


def test_a_target_and_the_mean_of_all_that_joined_it_weigh_the_same():
    clip = torch.tensor([[[8.0, 0.0], [2.0, 0.0], [4.0, 0.0], [6.0, 0.0]]])
    mask, _, merged = VisionZip(dominant=0.0).select(clip, keep(1, 1, 4), attention=torch.ones(1, 4))
    assert mask.tolist() == [[True, False, False, False]]
    assert merged.tolist() == [[6.0, 0.0]]  # half of 8 and half of 4


def test_the_published_share_of_dominant_tokens():
    clip, attention = video(1, 576, 4), torch.rand(1, 576, generator=torch.Generator().manual_seed(0))
    mask, _, merged = VisionZip().select(clip, keep(221, 1, 576), attention=attention)
    best = attention[0].argsort(descending=True)[:191]
    assert mask[0, best].all()
    own = (merged == clip[mask]).all(-1)
    assert own.sum() >= 191
    assert (~own).sum() > 0
    assert mask.sum() == 221


def test_frames_share_equally_and_the_first_tokens_win_ties():
    mask = VisionZip().select(video(3, 4, 2), keep(4, 3, 4), attention=torch.ones(3, 4)).mask
    # Of two tokens both are dominant: 191 of 221 of them, rounded.
    assert mask.tolist() == [
        [True, True, False, False],
        [True, False, False, False],
        [True, False, False, False],
    ]


def test_a_target_wins_ties_by_its_place():
    clip = torch.tensor([[A, A, B, A]])
    mask, _, merged = VisionZip(dominant=0.0).select(clip, keep(2, 1, 4), attention=torch.ones(1, 4))
    assert mask.tolist() == [[True, False, False, True]]
    # B is as far from both: it joins the first. The second token joins the first of its two copies.
    assert merged.tolist() == [[0.75, 0.25], A]


@pytest.mark.parametrize("share", [-0.1, 1.1, None, True])
def test_a_setting_outside_its_range(share):
    with pytest.raises(ValueError, match=r"VisionZip.dominant is .*: it must be a number in \[0, 1\]"):
        VisionZip(dominant=share)


@pytest.mark.parametrize(
    ("attention", "message"),
    [
        (None, r"looks at the attention of the vision tower, and got none: use sharpv.attach .* \[3, 4\]"),
        (torch.ones(4, 3), r"got attention \[4, 3\] of torch.float32: .* a number per token, float \[3, 4\]"),
        (torch.ones(3, 4).long(), r"got attention \[3, 4\] of torch.int64"),
        (torch.full((3, 4), -0.1), "got attention with NaN, infinity or negative values"),
        (torch.full((3, 4), torch.nan), "got attention with NaN, infinity or negative values"),
        (torch.full((3, 4), torch.inf), "got attention with NaN, infinity or negative values"),
    ],
    ids=["none", "shape", "dtype", "negative", "NaN", "infinite"],
)
@pytest.mark.parametrize("name", ["visionzip", "prumerge", "fastvid"])
def test_attention_that_cannot_be_used_is_refused(name, attention, message):
    pruner = sharpv.methods.METHODS[name]
    with pytest.raises(sharpv.InputError, match=f"method '{name}' {message}"):
        pruner.select(video(3, 4, 5), keep(3, 3, 4), attention=attention)


@pytest.mark.parametrize("name", ["visionzip", "prumerge", "fastvid"])
def test_only_the_order_and_proportion_of_attention_count(name):
    pruner, clip = sharpv.methods.METHODS[name], video(4, 9, 5)
    attention = torch.rand(4, 9, generator=torch.Generator().manual_seed(0))
    one = pruner.select(clip, keep(12, 4, 9), attention=attention)
    for other in (attention * 2**-20, attention.double(), attention.requires_grad_()):
        mask, _, merged = pruner.select(clip, keep(12, 4, 9), attention=other)
        assert torch.equal(mask, one.mask)
        torch.testing.assert_close(merged, one.merged)
        assert not merged.requires_grad
    mask = pruner.select(clip, keep(12, 4, 9), attention=1.5 - attention).mask
    assert not torch.equal(mask, one.mask)
