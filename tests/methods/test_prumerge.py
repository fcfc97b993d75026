"""PruMerge by hand."""

from dataclasses import replace

import pytest
import torch

import sharpv
from sharpv.methods import PruMerge
from tests.methods.attention_twins import prumerge
from tests.methods.clips import keep, looks, video
from tests.methods.twins import TIE

ADAPTIVE = sharpv.SharpVConfig()


def test_a_kept_token_takes_in_its_nearest_weighted_by_their_attention():
    clip = torch.tensor([[[4.0, 0.0], [8.0, 0.0], [0.0, 5.0], [16.0, 1.0]]])
    attention = torch.tensor([[8.0, 4.0, 2.0, 2.0]])  # 1/2, 1/4, 1/8, 1/8
    mask, ratios, merged = PruMerge(neighbours=2).select(clip, keep(1, 1, 4), attention=attention)
    assert mask.tolist() == [[True, False, False, False]]
    assert ratios == ()
    # (4 + 8/4 + 16/8) / (1 + 3/8) and (0 + 1/8) / (1 + 3/8).
    torch.testing.assert_close(merged, torch.tensor([[8 / 1.375, 0.125 / 1.375]]))


def test_kept_tokens_are_among_those_that_are_taken_in():
    clip = torch.tensor([[[1.0, 0.0], [3.0, 0.0], [0.0, 1.0]]])
    attention = torch.tensor([[0.5, 0.3, 0.2]])
    merged = PruMerge(neighbours=1).select(clip, keep(2, 1, 3), attention=attention).merged
    torch.testing.assert_close(merged, torch.tensor([[1.9 / 1.3, 0.0], [3.5 / 1.5, 0.0]]))


def test_outliers_of_attention_stay_and_their_share_is_the_ratio():
    # Quartiles of the first frame: 1 and 2; fence at 3.5. The second frame has no outlier, and keeps one.
    attention = torch.tensor([[1, 9, 1, 2, 2, 1, 2, 4.0, 1], [1, 1, 1, 1, 1, 1, 1, 1, 1.0]])
    mask, ratios, _ = PruMerge().select(video(2, 9, 4), ADAPTIVE, attention=attention)
    assert mask[0].nonzero().flatten().tolist() == [1, 7]
    assert mask[1].nonzero().flatten().tolist() == [0]
    assert ratios == (2 / 9, 0.0)
    mask, ratios, _ = PruMerge(fence=2.0).select(video(2, 9, 4), ADAPTIVE, attention=attention)
    assert mask[0].nonzero().flatten().tolist() == [1]


def test_attention_that_is_equal_but_for_rounding_has_no_outliers():
    attention = torch.full((1, 100), 0.01) + torch.linspace(0, 1e-9, 100)
    attention[0, 50] += 1e-8
    assert PruMerge().select(video(1, 100, 4), ADAPTIVE, attention=attention).ratios == (0.0,)


@pytest.mark.parametrize(("bucket", "expected"), [(1, [2, 1]), (4, [3, 1]), (6, [4, 2]), (64, [9, 9])])
def test_a_bucket_rounds_the_outliers_up(bucket, expected):
    attention = torch.tensor([[1, 9, 1, 2, 2, 1, 2, 4.0, 1], [1, 1, 1, 1, 1, 1, 1, 1, 1.0]])
    mask = PruMerge().select(video(2, 9, 4), replace(ADAPTIVE, bucket=bucket), attention=attention).mask
    assert mask.sum(-1).tolist() == expected


@pytest.mark.parametrize("attention", [torch.zeros(2, 5), torch.full((2, 5), 1e-42)], ids=["none", "tiny"])
def test_without_attention_tokens_stay_as_they_are(attention):
    clip = video(2, 5, 3)
    for config in (ADAPTIVE, keep(4, 2, 5)):
        mask, _, merged = PruMerge().select(clip, config, attention=attention)
        assert mask[:, 0].all()
        assert merged.isfinite().all()
        if not attention.any():
            assert torch.equal(merged, clip[mask])


def test_fewer_neighbours_than_tokens_as_in_the_twin():
    compared = 0
    for seed in range(6):
        clip, attention = video(3, 12, 6, seed), looks(3, 12, seed)
        tokens, lead = prumerge(clip, 10, attention, neighbours=3)
        if lead > TIE:
            compared += 1
            mask, _, merged = PruMerge(neighbours=3).select(clip, keep(10, 3, 12), attention=attention)
            assert mask.flatten().nonzero().flatten().tolist() == sorted(tokens)
            torch.testing.assert_close(merged, torch.tensor([tokens[place] for place in sorted(tokens)]))
    assert compared >= 3


def test_adaptive_is_accepted_and_what_would_have_no_effect_is_not():
    for config in (ADAPTIVE, sharpv.SharpVConfig(retention=0.3)):
        PruMerge().check(config)
    for fields in ({"threshold": 1.6}, {"coverage": 0.5}, {"retention": 0.5, "min_tokens_per_frame": 0}):
        idle = next(name for name in fields if name != "retention")
        with pytest.raises(sharpv.InputError, match=f"method 'prumerge' has a rule .* {idle} would have no"):
            PruMerge().check(sharpv.SharpVConfig(**fields))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"fence": 0}, "PruMerge.fence is 0: it must be a finite number above 0"),
        ({"fence": float("inf")}, "PruMerge.fence is inf"),
        ({"neighbours": 0}, "PruMerge.neighbours is 0: it must be a whole number, at least 1"),
    ],
    ids=str,
)
def test_a_setting_outside_its_range(fields, message):
    with pytest.raises(ValueError, match=message):
        PruMerge(**fields)
