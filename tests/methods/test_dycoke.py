"""The first stage of DyCoke by hand and against its twin, and what is repaired of it."""

import pytest
import torch

from sharpv.methods import DyCoke
from tests.methods import twins
from tests.methods.clips import keep, video


def counts(n: int, f: int, count: int) -> list[int]:
    return DyCoke().select(video(n, f, 4), keep(count, n, f)).mask.sum(-1).tolist()


def test_each_frame_is_compared_with_its_reference():
    clip = torch.tensor(
        [
            [[1.0, 0.0], [1.0, 0.0]],
            [[0.0, 1.0], [1.0, 0.0]],  # cos to frame 0: 0 and 1
            [[1.0, 0.0], [1.0, 1.0]],  # cos to frame 0: 1 and .71; to frame 1: 0 and .71
            [[2.0, 1.0], [1.0, 1.0]],  # cos to frame 2: .89 and 1; to frame 0: .89 and .71
        ]
    )
    mask = DyCoke().select(clip, keep(5, 4, 2)).mask
    assert mask.tolist() == [[True, True], [True, False], [False, True], [True, False]]


def test_the_default_of_the_paper_is_a_retention_of_0475():
    # 3 of 10 tokens in 6 of 8 frames; the last window is thinned like the first.
    assert counts(8, 10, 38) == [10, 3, 3, 3, 10, 3, 3, 3]


@pytest.mark.parametrize(
    ("n", "count", "expected"),
    [
        (1, 7, [7]),
        (2, 13, [10, 3]),
        (3, 16, [10, 3, 3]),
        (5, 29, [10, 3, 3, 3, 10]),
        (7, 35, [10, 3, 3, 3, 10, 3, 3]),
    ],
)
def test_no_number_of_frames_is_too_few_or_odd(n, count, expected):
    assert counts(n, 10, count) == expected


def test_what_cannot_be_shared_equally_goes_to_the_earlier_frames():
    assert counts(4, 10, 15) == [10, 2, 2, 1]


def test_below_a_quarter_the_whole_frames_are_thinned_evenly():
    mask = DyCoke().select(video(8, 10, 4), keep(8, 8, 10)).mask
    assert mask.nonzero().tolist() == [[t, i] for t in (0, 4) for i in (0, 3, 6, 9)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize(("n", "f", "d"), [(2, 9, 5), (5, 7, 16), (11, 12, 3)])
def test_it_keeps_what_its_twin_ranks_highest(n, f, d, dtype):
    for seed in range(3):
        clip = video(n, f, d, seed, dtype)
        for share in (0.475, 0.7, 0.95):
            mask = DyCoke().select(clip, keep(round(share * n * f), n, f)).mask
            twins.assert_highest_in_frames(mask, twins.dycoke(clip))
