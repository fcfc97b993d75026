"""EVS by hand and against its twin."""

import pytest
import torch

from sharpv.methods import EVS
from tests.methods import twins
from tests.methods.clips import keep, video

CLIP = torch.tensor(
    [
        [[1.0, 0.0], [0.0, 1.0]],
        [[5.0, 0.0], [1.0, 0.0]],  # D: 0, 1
        [[-1.0, 0.0], [3.0, 0.0]],  # D: 2, 0
    ]
)


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (2, [[1, 1], [0, 0], [0, 0]]),
        (3, [[1, 1], [0, 0], [1, 0]]),
        (4, [[1, 1], [0, 1], [1, 0]]),
        (5, [[1, 1], [1, 1], [1, 0]]),  # 0 and 0 tie: the lower index
        (1, [[1, 0], [0, 0], [0, 0]]),
    ],
)
def test_the_first_frame_and_then_the_largest_change(count, expected):
    assert EVS().select(CLIP, keep(count, 3, 2)).mask.tolist() == torch.tensor(expected).bool().tolist()


def test_less_than_a_frame_is_spread_over_the_first_frame():
    mask = EVS().select(video(3, 5, 4), keep(3, 3, 5)).mask
    assert mask.nonzero().tolist() == [[0, 0], [0, 2], [0, 4]]


def test_a_token_that_appears_or_vanishes_has_changed_and_one_that_stays_zero_has_not():
    clip = torch.tensor([[[1.0, 0.0], [0.0, 0.0], [1.0, 0.0]], [[0.0, 0.0], [0.0, 0.0], [1.0, 0.1]]])
    # D: 1/2, 0, and 1 - 1 / sqrt(1.01) = 0.005.
    assert EVS().select(clip, keep(4, 2, 3)).mask[1].tolist() == [True, False, False]
    assert EVS().select(clip, keep(5, 2, 3)).mask[1].tolist() == [True, False, True]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize(("n", "f", "d"), [(2, 9, 5), (4, 7, 16), (6, 12, 3)])
def test_it_keeps_what_its_twin_ranks_highest(n, f, d, dtype):
    for seed in range(3):
        clip = video(n, f, d, seed, dtype)
        values = [value for row in twins.evs(clip) for value in row]
        for count in (f, f + 1, n * f // 2, n * f - 1):
            mask = EVS().select(clip, keep(count, n, f)).mask
            twins.assert_highest(mask.flatten().tolist(), values)
