"""What holds for every method before the LLM: the budget, no crash, no NaN, the same answer twice."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import sharpv
from sharpv.methods import BEFORE_LLM
from tests.methods.clips import choose, video

ALL = pytest.mark.parametrize("name", BEFORE_LLM)
LOOKING = pytest.mark.parametrize("name", [name for name in BEFORE_LLM if name not in ("random", "uniform")])
KINDS = ("walk", "noise", "static", "zero", "holes", "one token", "huge", "tiny")


def clip(kind: str, n: int, f: int, d: int) -> torch.Tensor:
    walk = video(n, f, d)
    if kind == "holes":
        walk[::2, ::3] = 0
    return {
        "noise": torch.randn(n, f, d, generator=torch.Generator().manual_seed(1)),
        "static": walk[:1].repeat(n, 1, 1),
        "zero": torch.zeros(n, f, d),
        "one token": walk[:1, :1].repeat(n, f, 1),
        "huge": walk * 1e30,
        "tiny": walk * 1e-30,
    }.get(kind, walk)


def config_for(name: str, share: float) -> sharpv.SharpVConfig:
    """The rule without SharpV's own right of every frame to a token."""
    config = sharpv.SharpVConfig(retention=share)
    return replace(config, min_tokens_per_frame=0) if name == "sharpv" else config


MERGING = pytest.mark.parametrize(
    "name", ["prunevid", "holitom", "framefusion", "flashvid", "visionzip", "prumerge", "fastvid"]
)


def select(name: str, features: torch.Tensor, share: float, grid=None) -> torch.Tensor:
    return choose(BEFORE_LLM[name], features, config_for(name, share), grid).mask


@ALL
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_the_budget_is_kept_to_on_any_video(name, kind, n):
    for f, d in ((1, 1), (1, 3), (7, 4), (12, 5)):
        features = clip(kind, n, f, d)
        for share in (0.001, 0.12, 0.25, 0.5, 0.8, 1.0):
            mask = select(name, features, share)
            assert mask.shape == (n, f)
            assert mask.dtype == torch.bool
            count = round(share * n * f)
            # SharpV keeps nothing where nothing is asked for and no frame has a right to a token.
            assert mask.sum() == (count if name == "sharpv" else max(count, 1)), (f, d, share)


@MERGING
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_merged_values_stand_for_each_kept_token_and_stay_among_the_features(name, kind, dtype):
    if (kind, dtype) == ("huge", torch.float16):
        pytest.skip("float16 does not hold them")
    for n, f, d in ((1, 5, 3), (3, 7, 4), (9, 6, 5)):
        features = clip(kind, n, f, d).to(dtype)
        for share in (0.1, 0.5, 1.0):
            mask, _, merged = choose(BEFORE_LLM[name], features, config_for(name, share))
            assert merged.shape == (mask.sum(), d)
            assert merged.dtype == dtype
            assert not merged.requires_grad
            assert merged.isfinite().all()
            # A mean is between the smallest and the largest, but for rounding.
            low, high = features.flatten(0, 1).aminmax(dim=0)
            slack = (high - low) * 1e-2 + high.abs() * 1e-2
            assert ((merged >= low - slack) & (merged <= high + slack)).all()
            if share == 1:
                assert torch.equal(merged, features.flatten(0, 1))


@MERGING
def test_the_largest_numbers_of_float16_do_not_overflow(name):
    features = torch.full((4, 6, 3), torch.finfo(torch.float16).max, dtype=torch.float16)
    assert choose(BEFORE_LLM[name], features, config_for(name, 0.25)).merged.eq(features.max()).all()


@MERGING
def test_merged_values_are_the_same_twice_and_scale_with_the_features(name):
    features = video(9, 12, 6)
    one, two = (choose(BEFORE_LLM[name], features, config_for(name, 0.3)).merged for _ in range(2))
    assert torch.equal(one, two)
    scaled = choose(BEFORE_LLM[name], features * 1024, config_for(name, 0.3)).merged
    assert torch.equal(scaled, one * 1024)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(choose(BEFORE_LLM[name], features, config_for(name, 0.3)).merged, one)


@ALL
@pytest.mark.parametrize(("bucket", "expected"), [(1, 7), (4, 8), (5, 10), (64, 28)])
def test_a_bucket_rounds_the_budget_up(name, bucket, expected):
    config = replace(config_for(name, 0.25), bucket=bucket)
    assert choose(BEFORE_LLM[name], clip("walk", 4, 7, 5), config).mask.sum() == expected


@ALL
@settings(deadline=None, max_examples=30)
@given(n=st.integers(1, 9), f=st.integers(1, 20), d=st.integers(1, 6), data=st.data())
def test_a_share_made_of_a_count_gives_that_count(name, n, f, d, data):
    count = data.draw(st.integers(1, n * f))
    assert select(name, video(n, f, d), count / (n * f)).sum() == count


@ALL
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_every_dtype(name, dtype):
    features = video(4, 9, 6, dtype=dtype)
    mask = select(name, features, 0.3)
    assert mask.sum() == round(0.3 * 36)
    # The work is done in float32, which holds every number of 16 bits.
    assert dtype == torch.float64 or torch.equal(mask, select(name, features.float(), 0.3))


@ALL
def test_the_same_answer_twice_with_the_features_as_they_were(name):
    features = video(5, 9, 6).requires_grad_()
    before = features.detach().clone()
    masks = [select(name, features, 0.3) for _ in range(2)]
    assert torch.equal(*masks)
    assert not masks[0].requires_grad
    assert torch.equal(features, before)


@ALL
def test_autocast_does_not_change_the_answer(name):
    features = video(8, 60, 16)
    for share in (0.1, 0.3, 0.5, 0.7):
        mask = select(name, features, share)
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(select(name, features, share), mask)


@ALL
def test_neither_scale_nor_a_view_changes_the_answer(name):
    features = video(6, 40, 16)
    mask = select(name, features, 0.3)
    assert torch.equal(select(name, features * 1024, 0.3), mask)
    # Norms out of float32's range.
    assert torch.equal(select(name, features * 2.0**80, 0.3), mask)
    assert torch.equal(select(name, features * 2.0**-80, 0.3), mask)
    assert torch.equal(select(name, features.transpose(0, 1).contiguous().transpose(0, 1), 0.3), mask)


@ALL
def test_a_grid_is_no_must_and_of_no_weight_without_coverage(name):
    features = video(3, 12, 6)
    assert torch.equal(select(name, features, 0.3, (3, 4)), select(name, features, 0.3))


@LOOKING
@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_features_that_are_not_finite_are_refused(name, bad):
    features = video(3, 4, 5)
    features[1, 2, 3] = bad
    with pytest.raises(sharpv.InputError, match="features of frame 1 hold NaN, infinity"):
        select(name, features, 0.5)


@LOOKING
def test_features_of_another_shape_or_dtype_are_refused(name):
    with pytest.raises(sharpv.InputError, match=r"features have shape \[4, 5\]: give one video as"):
        select(name, video(3, 4, 5)[0], 0.5)
    with pytest.raises(sharpv.InputError, match=r"features have dtype torch.int64: convert them"):
        select(name, video(3, 4, 5).long(), 0.5)


@pytest.mark.parametrize("name", [name for name in BEFORE_LLM if name not in ("sharpv", "prumerge")])
@pytest.mark.parametrize(
    ("config", "message"),
    [
        (sharpv.SharpVConfig(), r"needs to know how many tokens to keep.*SharpVConfig\(retention=0\.25\)"),
        (sharpv.SharpVConfig(threshold=1.6), "needs to know how many tokens to keep"),
        (sharpv.SharpVConfig(retention=0.5, coverage=0.5), "coverage would have no effect"),
        (
            sharpv.SharpVConfig(retention=0.5, spatial_weight=2.0, min_tokens_per_frame=0),
            "rule of its own, so spatial_weight, min_tokens_per_frame would",
        ),
    ],
    ids=["adaptive", "threshold", "coverage", "two"],
)
def test_what_a_method_cannot_follow_is_refused(name, config, message):
    with pytest.raises(sharpv.InputError, match=f"method '{name}' .*{message}"):
        BEFORE_LLM[name].check(config)


@ALL
def test_autocast_changes_no_choice(name):
    features = video(6, 16, 24)
    plain = select(name, features, 0.3)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(select(name, features, 0.3), plain)
