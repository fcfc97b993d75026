"""`max_side`: frames scaled down as they are read."""

import numpy as np
import pytest
from PIL import Image

from sharpv.video import Sampling, read_video


def read(clip, max_side):
    return read_video(clip, Sampling(frames=4), max_side=max_side).frames


@pytest.mark.parametrize(
    ("size", "max_side", "scaled"),
    [
        ((48, 64), 32, (24, 32)),
        ((64, 48), 32, (32, 24)),
        ((48, 64), 63, (47, 63)),
        ((2, 512), 64, (1, 64)),
        ((48, 64), 1, (1, 1)),
    ],
    ids=["wide", "tall", "rounded", "never less than a pixel", "one pixel"],
)
@pytest.mark.parametrize("container", ["mp4", "h264"])
def test_the_longer_side_is_at_most_this(encode, pictures, size, max_side, scaled, container):
    assert read(encode(pictures(8, *size), container=container), max_side).shape == (4, *scaled, 3)


@pytest.mark.parametrize("max_side", [64, 65, 10_000])
def test_nothing_is_enlarged_or_touched(encode, max_side):
    clip = encode(8)
    np.testing.assert_array_equal(read(clip, max_side), read(clip, None))


def test_the_pictures_are_those_of_the_clip(encode, pictures):
    whole, scaled = (read(encode(pictures(8, 240, 320)), side) for side in (None, 80))
    shrunk = [Image.fromarray(picture).resize((80, 60), Image.Resampling.BICUBIC) for picture in whole]
    apart = np.abs(scaled.astype(int) - np.stack(shrunk))
    # Of 255: the two round differently and scale in different colour spaces. Every n-th pixel instead of a
    # filter is 20 apart.
    assert apart.mean() < 2


def test_what_is_known_of_the_clip_stays(encode):
    clip = encode(8)
    whole, scaled = (read_video(clip, Sampling(fps=5.0), max_side=side) for side in (None, 20))
    np.testing.assert_array_equal(scaled.indices, whole.indices)
    np.testing.assert_array_equal(scaled.timestamps, whole.timestamps)
    assert scaled.total_frames == whole.total_frames
    assert (scaled.fps, scaled.duration) == (whole.fps, whole.duration)


def test_a_size_change_is_scaled_like_the_first_frame(encode, pictures):
    clip = encode(6, container="h264") + encode(pictures(6, 64, 96), container="h264")
    assert read_video(clip, Sampling.all(), max_side=32).frames.shape == (12, 24, 32, 3)


@pytest.mark.parametrize("max_side", [0, -1, 1.5, True, "384"])
def test_no_size(encode, max_side):
    with pytest.raises(ValueError, match="max_side"):
        read(encode(8), max_side)
