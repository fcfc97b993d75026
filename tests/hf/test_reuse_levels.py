"""How the pixels of a request were normalised: found, said, or no reuse."""

from typing import Any

import numpy as np
import pytest
import torch

from sharpv import VisionReuse
from sharpv.hf.reuse.levels import CLIP, HALF, IMAGENET, Normalization, find_normalization
from tests.hf.conftest import clip, same_output
from tests.hf.test_reuse_session import REUSING, families, run, still

KNOWN = {"half": HALF, "CLIP": CLIP, "ImageNet": IMAGENET}
OTHER = Normalization((0.3, 0.3, 0.3), (0.5, 0.4, 0.3))


def levels(seed: int = 0) -> torch.Tensor:
    """Frames `[4, 3, 120, 160]` of whole levels."""
    return torch.from_numpy(clip(seed, 4)).permute(0, 3, 1, 2).float()


def normalized(levels: torch.Tensor, by: Normalization) -> torch.Tensor:
    mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (by.mean, by.std))
    return (levels / 255 - mean) / std


@pytest.mark.parametrize("usual", KNOWN.values(), ids=KNOWN)
@pytest.mark.parametrize("by", KNOWN.values(), ids=KNOWN)
def test_whole_levels_tell_how_frames_were_normalised(by, usual):
    pixels = normalized(levels(), by)
    found = find_normalization(pixels, usual, None)
    assert found == by
    torch.testing.assert_close(found.levels(pixels), levels(), rtol=0, atol=1e-3)
    assert find_normalization(pixels[:, None].expand(-1, 2, -1, -1, -1), usual, None) == by


@pytest.mark.parametrize("by", KNOWN.values(), ids=KNOWN)
def test_in_half_precision_the_usual_one_is_taken_within_the_range(by):
    for dtype in (torch.bfloat16, torch.float16):
        pixels = normalized(levels(), by).to(dtype)
        assert find_normalization(pixels, by, None) == by
        assert (by.levels(pixels) - levels()).abs().max() < 2.5
    for part in (levels(), levels() * 0, levels() * 0 + 255):
        assert find_normalization(normalized(part, CLIP).bfloat16(), HALF, None) is None


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("usual", KNOWN.values(), ids=KNOWN)
def test_in_half_precision_another_one_within_the_range_is_not_taken(dtype, usual):
    """It would make the levels differ by less than they do, or by more."""
    for by in (*KNOWN.values(), OTHER, Normalization((0.0,) * 3, (1.0,) * 3)):
        found = find_normalization(normalized(levels(), by).to(dtype), usual, None)
        assert found == (usual if by == usual else None)
    # As a request that is cast twice.
    twice = normalized(levels(), usual).half().bfloat16()
    assert find_normalization(twice, usual, None) == usual


def test_what_the_user_says_is_checked_by_the_range_alone():
    assert find_normalization(normalized(levels(), OTHER), HALF, OTHER) == OTHER
    assert find_normalization(normalized(levels(), CLIP), CLIP, HALF) is None
    assert find_normalization(normalized(levels(), OTHER), HALF, None) is None


@pytest.mark.parametrize("value", [torch.nan, torch.inf, 1e6])
def test_pixels_that_are_no_levels(value):
    pixels = normalized(levels(), HALF)
    pixels[2] = value
    assert find_normalization(pixels, HALF, None) is None
    assert find_normalization(pixels, HALF, HALF) is None


def renormalized(model: Any, inputs: dict[str, Any], by: Normalization) -> dict[str, Any]:
    """The same frames as another processor would normalise them; the random models' is CLIP's."""
    name = "pixel_values" if model.config.model_type == "internvl" else "pixel_values_videos"
    mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (CLIP.mean, CLIP.std))
    return inputs | {name: normalized((inputs[name] * std + mean) * 255, by)}


@families(["internvl", "llava_onevision", "llava_next_video", "video_llava"])
def test_unknown_levels_are_encoded_densely_and_the_report_says_why(model, make_inputs, caplog):
    inputs = renormalized(model, make_inputs([still(3)]), OTHER)
    expected, _ = run(model, inputs, None)
    found, session = run(model, inputs, REUSING)
    assert same_output(found, expected)
    assert "no known normalisation makes levels of 0..255" in session.report.videos[0].reuse.fallback
    assert "VisionReuse(image_mean=..., image_std=...)" in caplog.text
    said = VisionReuse(image_mean=OTHER.mean, image_std=OTHER.std)
    _, session = run(model, inputs, said)
    assert session.report.videos[0].reuse.share == pytest.approx(1 / 3)


@families(["internvl", "llava_onevision", "llava_next_video", "video_llava"])
def test_the_plan_is_the_same_whatever_the_processor_subtracts(model, make_inputs):
    inputs = make_inputs([clip()])
    plans = []
    for by in KNOWN.values():
        _, session = run(model, renormalized(model, inputs, by), REUSING)
        plans.append(session.report.videos[0].reuse.computed)
    assert plans[0] == plans[1] == plans[2]
    assert 0 < np.mean(plans[0]) < 1
