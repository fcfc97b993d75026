"""V-CAST by hand and against its twin."""

import pytest
import torch

from sharpv.methods import VCast
from tests.methods import twins
from tests.methods.clips import keep, video


def frames(*directions: tuple[float, float]) -> torch.Tensor:
    """Ten tokens per frame that all point the same way, so that z does."""
    sizes = torch.arange(1.0, 11).unsqueeze(-1)
    return torch.stack([sizes * torch.tensor(direction) for direction in directions])


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        # There and back: c = 1, 2, 1, weights exp(-1 / .7) = .2397, 1, .2397; of 7 tokens 1.13, 4.73, 1.13.
        (7, [1, 5, 1]),
        # 10 is all of the frame in the middle: 5 are left for two equal frames.
        (15, [3, 10, 2]),
        # At least 1, where there is enough for all.
        (3, [1, 1, 1]),
        (2, [0, 2, 0]),  # .32, 1.35, .32
    ],
)
def test_a_turn_gets_more_tokens(count, expected):
    clip = frames((1.0, 0.0), (0.0, 1.0), (1.0, 0.0))
    assert VCast().select(clip, keep(count, 3, 10)).mask.sum(-1).tolist() == expected


def test_a_step_of_length_0_is_no_turn():
    clip = frames((1.0, 0.0), (1.0, 0.0), (1.0, 0.0), (1.0, 0.0))
    assert VCast().select(clip, keep(20, 4, 10)).mask.sum(-1).tolist() == [5, 5, 5, 5]


def test_a_lower_temperature_shares_less_equally():
    clip = frames((1.0, 0.0), (0.0, 1.0), (1.0, 0.0))
    assert VCast(temperature=0.1).select(clip, keep(10, 3, 10)).mask.sum(-1).tolist() == [1, 8, 1]


@pytest.mark.parametrize(("count", "expected"), [(1, [0]), (2, [0, 2]), (3, [0, 1, 2])])
def test_large_tokens_and_tokens_unlike_their_frame_go_first(count, expected):
    # z = (5, 2) / sqrt 29; 1 - cos = .0715, .0715, .6286; m = 1, 0, 0.
    clip = torch.tensor([[[3.0, 0.0], [2.0, 0.0], [0.0, 2.0]]])
    assert VCast().select(clip, keep(count, 1, 3)).mask[0].nonzero().flatten().tolist() == expected


def test_rounding_of_equal_norms_decides_nothing():
    # Norms 1, 1 + 1e-7 and 1: scaled to [0, 1], the second token would come first.
    clip = torch.tensor([[[1.0, 0.0], [1.0 + 1.2e-7, 0.0], [0.0, 1.0]]])
    assert VCast().select(clip, keep(2, 1, 3)).mask.tolist() == [[True, False, True]]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize(("n", "f", "d"), [(1, 5, 4), (2, 9, 5), (5, 7, 16), (9, 12, 8)])
def test_it_shares_and_ranks_as_its_twin(n, f, d, dtype):
    for seed in range(3):
        clip = video(n, f, d, seed, dtype)
        values, weights = twins.vcast(clip)
        for share in (0.1, 0.25, 0.6, 0.9):
            mask = VCast().select(clip, keep(max(round(share * n * f), 1), n, f)).mask
            twins.assert_highest_in_frames(mask, values)
            twins.assert_shared(mask.sum(-1).tolist(), weights, f, 1e-3)


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan"), float("inf"), True, None])
def test_a_temperature_outside_its_range(temperature):
    with pytest.raises(ValueError, match=r"VCast.temperature is .*: it must be a finite number above 0"):
        VCast(temperature=temperature)
