"""Pixels in the place of features, and what that costs; no vLLM is needed."""

import pytest
import torch

from sharpv.engines.vllm.estimate import Calibration, Sample, image_patches, video_patches
from sharpv.errors import InputError


def test_the_squares_under_the_tokens_of_an_image_are_in_raster_order():
    image = torch.arange(4.0).view(1, 1, 2, 2).repeat_interleave(14, 2).repeat_interleave(14, 3)
    patches = image_patches(image, 4)
    assert patches.shape == (1, 4, 14 * 14)
    assert torch.equal(patches.mean(-1), torch.arange(4.0)[None])


def test_packed_pixels_belong_to_tokens_in_a_row():
    pixels = torch.arange(24.0).view(24, 1)
    assert torch.equal(video_patches(pixels, 2, 3)[1, 0], torch.arange(12.0, 16.0))


@pytest.mark.parametrize("shape", [(2, 4, 3, 28, 28), (1, 5, 3, 28, 28), (25, 3), (3,)])
def test_other_layouts_are_refused(shape):
    with pytest.raises(InputError, match="for 4 frames of 4 tokens"):
        video_patches(torch.zeros(shape), 4, 4)


def sample(pixels, features):
    return Sample(torch.tensor(pixels), torch.tensor(features), 100)


def test_where_features_are_pixels_times_a_gain_the_gain_is_found_and_the_error_is_none():
    found = Calibration([sample([0.1, 0.2], [0.15, 0.3]), sample([0.4, 0.2], [0.6, 0.3])])
    assert found.gain == pytest.approx(1.5)
    assert found.left_out == [45, 90]
    assert found.errors == [0, 0]


def test_the_error_is_that_of_the_gain_of_the_other_clips():
    found = Calibration([sample([0.1], [0.2]), sample([0.1], [0.4])])
    assert found.gain == pytest.approx(3)
    assert found.left_out == [40, 20]
    assert found.errors == pytest.approx([1, -0.5])


@pytest.mark.parametrize("samples", [[], [sample([0.1], [0.2])]])
def test_one_clip_tells_no_error(samples):
    with pytest.raises(InputError, match="at least 2"):
        Calibration(samples)


def test_clips_without_any_motion_tell_nothing():
    with pytest.raises(InputError, match="never change"):
        Calibration([sample([0.0], [0.2])] * 2).errors  # noqa: B018
