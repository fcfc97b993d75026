"""VidCom2 by hand and against its twin."""

import pytest
import torch

from sharpv.methods import VidCom2
from tests.methods import twins
from tests.methods.clips import keep, video

# The first channel varies least and is looked at alone: its unit vectors are its signs.
CLIP = torch.tensor(
    [
        [[1.0, 9.0], [2.0, -9.0], [1.0, 9.0], [1.0, -9.0]],
        [[1.0, 9.0], [1.0, -9.0], [1.0, 9.0], [-1.0, -9.0]],
    ]
)


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        # c = 1 and .5, g = .75; |u - g|^2 = .0625 and, for the last token, 3.0625, so G = 4.554 and .730;
        # s = -4.554 and -3.598, p = 0 and 1, weights .5 and 1.5: shares of 4 tokens 1 and 3. The last token
        # is the least like both centres; the others of a frame tie, and the lower index wins.
        (4, [[1, 0, 0, 0], [1, 1, 0, 1]]),
        (2, [[1, 0, 0, 0], [0, 0, 0, 1]]),  # .5 and 1.5, at least 1
        (7, [[1, 1, 1, 0], [1, 1, 1, 1]]),  # 1.75 and 5.25, of which 4 can be had: the rest is not lost
        (1, [[0, 0, 0, 0], [0, 0, 0, 1]]),  # .25 and .75
    ],
)
def test_the_unusual_frame_and_the_unusual_token(count, expected):
    mask = VidCom2().select(CLIP, keep(count, 2, 4)).mask
    assert mask.tolist() == torch.tensor(expected).bool().tolist()


def test_a_high_temperature_shares_equally():
    mask = VidCom2(temperature=1e6).select(CLIP, keep(4, 2, 4)).mask
    assert mask.sum(-1).tolist() == [2, 2]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize(("n", "f", "d"), [(1, 5, 4), (2, 9, 5), (5, 7, 16), (9, 12, 8)])
def test_it_shares_and_ranks_as_its_twin(n, f, d, dtype):
    # float32 knows s to 1e-6 or so, which the temperature makes 1e-4 of a weight.
    tolerance = 1e-3 if dtype == torch.float64 else 2e-2
    for seed in range(3):
        clip = video(n, f, d, seed, dtype)
        values, weights = twins.vidcom2(clip)
        for share in (0.1, 0.25, 0.6, 0.9):
            mask = VidCom2().select(clip, keep(max(round(share * n * f), 1), n, f)).mask
            twins.assert_highest_in_frames(mask, values)
            twins.assert_shared(mask.sum(-1).tolist(), weights, f, tolerance)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"temperature": 0.0}, "VidCom2.temperature is 0.0: it must be a finite number above 0"),
        ({"temperature": "1"}, "VidCom2.temperature is '1'"),
        ({"widths": ()}, r"VidCom2.widths is \(\): it must be a tuple of finite numbers above 0"),
        ({"widths": (1.0, float("inf"))}, "VidCom2.widths"),
        ({"widths": [1.0]}, "VidCom2.widths"),
    ],
    ids=str,
)
def test_a_setting_outside_its_range(fields, message):
    with pytest.raises(ValueError, match=message):
        VidCom2(**fields)
