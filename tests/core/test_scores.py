"""`score` against the float64 loops, and the properties that the paper's formulas promise."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sharpv.config import SharpVConfig
from sharpv.core import keep_mask, reference, score
from sharpv.errors import InputError

DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16]
SHAPES = [(1, 1, 1), (1, 21, 7), (5, 1, 13), (4, 21, 1), (3, 49, 17), (7, 13, 31), (2, 2, 64)]
SHAPE = st.tuples(st.integers(1, 6), st.integers(1, 12), st.integers(1, 9))
SEED = st.integers(0, 2**31)

# float32 rounding of a sum over d, and of the root of 2 - 2 cos where `score` still trusts it.
TOLERANCE = 1e-5


def features_of(shape, seed=0, device="cpu"):
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(*shape, generator=generator)
    return (noise + torch.randn(shape[1:], generator=generator)).to(device)


def assert_scores(features, spatial_weight=1.0):
    fast, slow = score(features, spatial_weight), reference.score(features, spatial_weight)
    for name, ours, truth in zip(fast._fields, fast, slow, strict=True):
        assert ours.dtype == torch.float32
        assert ours.device == features.device
        torch.testing.assert_close(
            ours.double().cpu(), truth, atol=TOLERANCE, rtol=0, msg=lambda m, n=name: f"{n}: {m}"
        )
    return fast


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_scores_equal_the_reference(shape, dtype, device):
    assert_scores(features_of(shape, device=device).to(dtype))


@pytest.mark.parametrize("spatial_weight", [0.0, 0.3, 2.5])
def test_spatial_weight(spatial_weight, device):
    scores = assert_scores(features_of((4, 15, 8), device=device), spatial_weight)
    first = scores.spatial[0] * (spatial_weight or 1)
    assert torch.equal(scores.importance[0], first)


def test_first_frame_has_no_temporal_score():
    assert not score(features_of((3, 5, 4))).temporal[0].any()


@pytest.mark.parametrize("dtype", DTYPES)
def test_zero_vectors(dtype, device):
    features = features_of((5, 6, 8), device=device).to(dtype)
    features[1, 2] = 0
    features[2, 2] = 0
    features[3] = 0
    scores = assert_scores(features)
    assert scores.temporal[1, 2] == 1
    assert scores.temporal[2, 2] == 0
    assert (scores.temporal[4] == 1).all()


def test_opposite_tokens_reach_the_upper_bound(device):
    token = features_of((1, 9, 300), device=device)
    scores = score(torch.cat([token, -token]))
    torch.testing.assert_close(scores.temporal[1], torch.full_like(scores.temporal[1], 2.0))
    assert scores.ratios[1] <= 1


@pytest.mark.parametrize("dtype", DTYPES)
def test_constant_frames_have_scores_of_zero(dtype, device):
    features = features_of((1, 1, 777), device=device).to(dtype).expand(4, 49, 777)
    scores = score(features)
    assert scores.spatial.max() < 1e-6
    assert not scores.temporal.any()
    assert keep_mask(features, SharpVConfig()).sum(-1).tolist() == [1] * 4


@pytest.mark.parametrize("step", [1e-6, 1e-4, 1e-2])
@pytest.mark.parametrize("gain", [1.0, 1.3])
def test_small_angles_are_not_lost_in_rounding(step, gain):
    first = features_of((1, 8, 900))
    features = torch.cat([first, gain * (first + step * features_of((1, 8, 900), seed=1))])
    ours, truth = score(features).temporal[1].double(), reference.score(features).temporal[1]
    # The root of a float32 `2 - 2 cos` is off by 3e-4 here.
    torch.testing.assert_close(ours, truth, atol=2e-7, rtol=1e-4)


@pytest.mark.parametrize("scale", [1e-44, 1e-30, 1e-12, 1e16, 1e30])
def test_scales_beyond_the_squares_of_float32(scale, device):
    features = features_of((3, 5, 16), device=device)
    features[1] *= scale
    assert_scores(features)


def test_float16_at_its_limit():
    features = torch.full((2, 4, 3584), 65504.0, dtype=torch.float16)
    features[1, 1, ::2] *= -1
    assert_scores(features)


@given(SHAPE, SEED)
@settings(max_examples=40, deadline=None)
def test_ratios_lie_between_0_and_1(shape, seed):
    scores = assert_scores(features_of(shape, seed))
    assert ((scores.ratios >= 0) & (scores.ratios <= 1)).all()


@given(SHAPE, SEED)
@settings(max_examples=30, deadline=None)
def test_a_repeated_frame_has_no_temporal_score(shape, seed):
    features = features_of(shape, seed).repeat_interleave(2, dim=0)
    scores = score(features)
    assert not scores.temporal[1::2].any()
    assert not scores.ratios[1::2].any()
    assert (keep_mask(features, SharpVConfig()).sum(-1)[1::2] == 1).all()
    assert not keep_mask(features, SharpVConfig(min_tokens_per_frame=0))[1::2].any()


@given(SHAPE, SEED, st.floats(-20, 20))
@settings(max_examples=30, deadline=None)
def test_positive_factors_change_nothing(shape, seed, exponent):
    features = features_of(shape, seed)
    plain = score(features)
    n, f, _ = shape
    per_token = torch.exp(torch.randn(n, f, 1, generator=torch.Generator().manual_seed(seed)))
    scaled = score(features * per_token * 10**exponent)
    torch.testing.assert_close(scaled.temporal, plain.temporal, atol=1e-5, rtol=0)
    # The mean of a frame weighs its tokens by length, so that S is free of the frame's scale only.
    scaled = score(features * 10**exponent)
    torch.testing.assert_close(scaled.spatial, plain.spatial, atol=1e-5, rtol=0)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("dtype", DTYPES)
def test_non_finite_features_are_refused(bad, dtype, device):
    features = features_of((4, 6, 5), device=device).to(dtype)
    features[2, 3, 1] = bad
    with pytest.raises(InputError, match="frame 2 hold NaN"):
        score(features)


@pytest.mark.parametrize(
    "features",
    [
        torch.zeros(0, 4, 4),
        torch.zeros(4, 0, 4),
        torch.zeros(4, 4, 0),
        torch.zeros(4, 4),
        torch.zeros(1, 2, 3, 4),
    ],
)
def test_wrong_shapes_are_refused(features):
    with pytest.raises(InputError, match="frames, tokens, channels"):
        score(features)


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.complex64])
def test_wrong_dtypes_are_refused(dtype):
    with pytest.raises(InputError, match="convert"):
        score(torch.ones(2, 3, 4, dtype=dtype))


def test_autocast_does_not_coarsen_the_scores(device):
    features = features_of((4, 9, 64), device=device)
    with torch.autocast(torch.device(device).type, dtype=torch.bfloat16):
        inside = score(features)
    assert all(torch.equal(a, b) for a, b in zip(inside, score(features), strict=True))


def test_views_and_gradients_are_accepted():
    features = features_of((5, 6, 8)).transpose(0, 1).requires_grad_()
    scores = assert_scores(features)
    assert not scores.importance.requires_grad


def test_features_are_left_as_they_were():
    features = features_of((3, 4, 5))
    before = features.clone()
    score(features)
    assert torch.equal(features, before)
