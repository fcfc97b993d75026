"""DivPrune by hand and against its twin, which holds the whole matrix."""

from math import cos, radians, sin

import pytest
import torch

from sharpv.methods import DivPrune
from sharpv.methods import divprune as module
from tests.methods import twins
from tests.methods.clips import keep, video


def kept(clip: torch.Tensor, count: int) -> list[int]:
    n, f, _ = clip.shape
    return DivPrune().select(clip, keep(count, n, f)).mask.flatten().nonzero().flatten().tolist()


def test_each_token_is_as_far_from_the_chosen_ones_as_can_be():
    # Nearest others at 10, 10, 60, 5, 5 degrees: 90 degrees first. Then, from the nearest chosen one, 0 at
    # 90, 155 at 65, 10 at 10, and 150 at 5. Lengths play no part.
    angles, lengths = (0, 10, 90, 150, 155), (1, 9, 2, 8, 3)
    clip = torch.tensor(
        [[[r * cos(radians(a)), r * sin(radians(a))] for a, r in zip(angles, lengths, strict=True)]]
    )
    order = [2, 0, 4, 1, 3]
    for count in range(1, 6):
        assert kept(clip, count) == sorted(order[:count])


def test_copies_are_the_last_to_go_in_and_go_in_raster_order():
    clip = torch.eye(4).repeat(3, 1, 1)
    assert kept(clip, 4) == [0, 1, 2, 3]
    assert kept(clip, 6) == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize(("n", "f", "d"), [(1, 1, 3), (1, 5, 4), (3, 9, 5), (5, 12, 16)])
def test_it_keeps_what_its_twin_chooses(n, f, d, dtype, monkeypatch):
    monkeypatch.setattr(module, "_BLOCK", 7)  # several blocks, the last one shorter
    compared = 0
    for seed in range(3):
        clip = video(n, f, d, seed, dtype)
        for share in (0.098, 0.4):
            count = max(round(share * n * f), 1)
            chosen, lead = twins.divprune(clip, count)
            if lead > twins.TIE or n * f == 1:
                compared += 1
                assert kept(clip, count) == sorted(chosen)
    assert compared
