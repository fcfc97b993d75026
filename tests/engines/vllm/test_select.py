"""How many tokens stay, and which; no vLLM is needed."""

import logging

import pytest
import torch

from sharpv import SharpVConfig, keep_mask, score
from sharpv.core.select import token_counts
from sharpv.engines.vllm.options import Options
from sharpv.engines.vllm.select import kept_tokens, number_of_tokens

N, F = 6, 10


def video(seed=0):
    return torch.randn(N, F, 8, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("keep", "least", "number"),
    [(0.5, 1, 30), (0.12, 1, 7), (0.01, 1, 6), (0.01, 2, 12), (0.001, 0, 1), (1, 1, 60)],
)
def test_a_share_is_exact_within_its_bounds(keep, least, number):
    options = Options.from_dict({"keep": keep, "min_tokens_per_frame": least})
    assert number_of_tokens(video(), options) == number


def test_the_estimate_is_the_adaptive_number_of_the_pixels():
    adaptive = int(token_counts(score(video()), SharpVConfig()).sum())
    assert number_of_tokens(video(), Options(keep="auto")) == adaptive


def test_the_gain_scales_the_estimate_up_to_all_tokens():
    numbers = [number_of_tokens(video(), Options(keep="auto", gain=gain)) for gain in (0.01, 0.5, 1, 100)]
    assert numbers[0] == N
    assert numbers == sorted(set(numbers))
    assert numbers[-1] == N * F


def test_a_still_clip_is_estimated_at_a_token_per_frame_after_the_first():
    still = video()[:1].repeat(N, 1, 1)
    first = int(token_counts(score(still[:1]), SharpVConfig()).sum())
    assert number_of_tokens(still, Options(keep="auto")) == first + N - 1


@pytest.mark.parametrize("number", [6, 7, 31, 59, 60])
@pytest.mark.parametrize("rule", [{}, {"coverage": 0.5}, {"diversity": True}, {"spatial_weight": 0}])
def test_exactly_that_many_stay_and_they_are_those_of_core(number, rule):
    mask = kept_tokens(video(), number, Options.from_dict(rule), (2, 5))
    assert mask.sum() == number
    config = SharpVConfig(retention=number / (N * F), **rule)
    assert torch.equal(mask, keep_mask(video(), config, (2, 5)))


@pytest.mark.parametrize("number", [1, 7, 59, 60])
def test_features_that_cannot_be_scored_are_thinned_evenly_and_nothing_is_raised(number, caplog):
    broken = video()
    broken[3, 2] = torch.nan
    with caplog.at_level(logging.WARNING):
        mask = kept_tokens(broken, number, Options())
    assert mask.sum() == number
    assert "thinned evenly" in caplog.text
    gaps = mask.flatten().nonzero().flatten().diff()
    assert not len(gaps) or gaps.max() - gaps.min() <= 1
