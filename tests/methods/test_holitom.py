"""The outer stage of HoliTom by hand."""

import pytest
import torch

from sharpv.methods import HoliTom
from tests.methods.clips import keep

A, B, C = [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]


def test_the_cut_is_where_most_tokens_merge():
    # Place 0 stands still over frames 0 to 2, places 1 and 2 over frames 1 to 3. One stretch of 0 to 2 saves
    # 2, one of 1 to 3 saves 2 x 2, 1 + 2 two frames each save 1 + 2.
    clip = torch.tensor([[A, B, C], [A, C, A], [A, C, A], [B, C, [3.0, 0.0, 0.0]]])
    mask, _, merged = HoliTom().select(clip, keep(8, 4, 3))
    assert mask.tolist() == [[True] * 3, [True] * 3, [True, False, False], [True, False, False]]
    torch.testing.assert_close(merged[:6], torch.tensor([A, B, C, A, C, [5 / 3, 0.0, 0.0]]))


def test_every_step_of_a_stretch_has_to_resemble():
    # 45 degrees from frame to frame: alike at .7, also where the ends are not.
    clip = torch.tensor([[[1.0, 0.0]], [[1.0, 1.0]], [[0.0, 2.0]]])
    merged = HoliTom(likeness=0.7).select(clip, keep(1, 3, 1)).merged
    torch.testing.assert_close(merged, torch.tensor([[2 / 3, 1.0]]))
    # At .71 none is, and only the first of three groups of one token gets any of the budget.
    assert HoliTom(likeness=0.71).select(clip, keep(1, 3, 1)).merged.tolist() == [[1.0, 0.0]]


def test_a_centre_keeps_a_share_of_its_own_value():
    # Mean squared distances to the two nearest: .31, .16, .41 on the left, .45, .17, .37 on the right.
    left, right = [[0.0, 1.0], [0.0, 1.25], [0.0, 1.75]], [[6.0, 0.0], [6.0, 0.5], [6.0, 0.8]]
    clip = torch.tensor([left + right])
    mask, _, merged = HoliTom(neighbours=2).select(clip, keep(2, 1, 6))
    assert mask.tolist() == [[False, True, False] * 2]
    expected = [[0.0, 0.6 * 1.25 + 0.4 * 4 / 3], [6.0, 0.6 * 0.5 + 0.4 * 1.3 / 3]]
    torch.testing.assert_close(merged, torch.tensor(expected))


def test_the_least_alike_stay_apart_where_merging_would_save_too_much():
    clip = torch.tensor([[A, A], [[1.0, 0.1, 0.0], A], [A, A]])
    mask, _, merged = HoliTom().select(clip, keep(4, 3, 2))
    assert mask.tolist() == [[True, True], [True, False], [True, False]]
    assert torch.equal(merged, torch.stack([clip[0, 0], clip[0, 1], clip[1, 0], clip[2, 0]]))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"likeness": 1.1}, r"HoliTom.likeness is 1.1: it must be a number in \[-1, 1\]"),
        ({"own": -0.1}, r"HoliTom.own is -0.1: it must be a number in \[0, 1\]"),
        ({"neighbours": -1}, "HoliTom.neighbours is -1: it must be a whole number, at least 1"),
    ],
    ids=str,
)
def test_a_setting_outside_its_range(fields, message):
    with pytest.raises(ValueError, match=message):
        HoliTom(**fields)
