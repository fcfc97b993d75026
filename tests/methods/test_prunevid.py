"""Stage 1 of PruneVid by hand."""

from math import sqrt

import pytest
import torch

from sharpv.methods import PruneVid
from tests.methods.clips import keep

A, B, C = [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]


def test_a_still_place_becomes_its_mean_in_the_first_frame_of_its_scene():
    # 8 frames make 2 clusters: two scenes of 4. Place 0 stands still in both, place 1 never does.
    first = [[[2.0 + t, 0.0, 0.0], [A, B, A, B][t]] for t in range(4)]
    second = [[[0.0, 0.0, 50.0 + t], [A, B, A, B][t]] for t in range(4)]
    mask, _, merged = PruneVid().select(torch.tensor(first + second), keep(10, 8, 2))
    assert mask.tolist() == [[True, True], *[[False, True]] * 3] * 2
    assert merged[0].tolist() == [3.5, 0.0, 0.0]
    assert merged[5].tolist() == [0.0, 0.0, 51.5]
    assert merged[1:5].tolist() == [A, B, A, B]


def test_a_place_is_still_by_the_mean_over_all_pairs_of_frames():
    # Cosines of place 0: 1, .7, .7: .8 on average; of the first to the second alone: 1.
    clip = torch.tensor([[A], [A], [[0.7, sqrt(0.51), 0.0]]])
    merged = [PruneVid(likeness=bound).select(clip, keep(1, 3, 1)).merged for bound in (0.79, 0.81)]
    torch.testing.assert_close(merged[0], clip.mean(0))
    # Not still: three frames of a token each, of which the budget is enough for the first.
    assert merged[1].tolist() == [A]


def test_the_least_alike_stay_apart_where_merging_would_save_too_much():
    x = torch.tensor([[A, A], [[0.99, sqrt(1 - 0.99**2), 0.0], A]])
    # 4 tokens; both places are still, and would leave 2 of the 3 to keep.
    mask, _, merged = PruneVid().select(x, keep(3, 2, 2))
    assert mask.tolist() == [[True, True], [True, False]]
    torch.testing.assert_close(merged, torch.tensor([A, A, x[1, 0].tolist()]))


def test_alike_tokens_of_a_frame_become_the_mean_of_their_cluster():
    # Mean squared distances to the two nearest: .31, .16, .41 on the left, .45, .17, .37 on the right.
    left, right = [[0.0, 1.0], [0.0, 1.25], [0.0, 1.75]], [[6.0, 0.0], [6.0, 0.5], [6.0, 0.8]]
    clip = torch.tensor([left + right])
    mask, _, merged = PruneVid(neighbours=2).select(clip, keep(2, 1, 6))
    assert mask.tolist() == [[False, True, False] * 2]
    torch.testing.assert_close(merged, torch.tensor([[0.0, 4 / 3], [6.0, 1.3 / 3]]))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"scenes": 0}, r"PruneVid.scenes is 0: it must be a number in \(0, 1\]"),
        ({"scenes": 1.5}, "PruneVid.scenes is 1.5"),
        ({"likeness": -1.1}, r"PruneVid.likeness is -1.1: it must be a number in \[-1, 1\]"),
        ({"likeness": float("nan")}, "PruneVid.likeness is nan"),
        ({"likeness": None}, "PruneVid.likeness is None"),
        ({"neighbours": 0}, "PruneVid.neighbours is 0: it must be a whole number, at least 1"),
        ({"neighbours": 7.0}, "PruneVid.neighbours is 7.0"),
        ({"neighbours": True}, "PruneVid.neighbours is True"),
    ],
    ids=str,
)
def test_a_setting_outside_its_range(fields, message):
    with pytest.raises(ValueError, match=message):
        PruneVid(**fields)


def test_copies_are_one_cluster_whatever_rounding_makes_of_their_distance():
    generator = torch.Generator().manual_seed(0)
    distinct = torch.randn(6, 64, generator=generator) + 5
    for order in range(5):
        picks = torch.randperm(18, generator=torch.Generator().manual_seed(order)) % 6
        mask, _, merged = PruneVid(neighbours=2).select(distinct[picks][None], keep(6, 1, 18))
        assert sorted(picks[mask[0]].tolist()) == list(range(6))
        torch.testing.assert_close(merged, distinct[picks[mask[0]]])
