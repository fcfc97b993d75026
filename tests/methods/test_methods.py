"""The methods that look at nothing, SharpV among the others, and the names."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import sharpv
from sharpv.methods import BEFORE_LLM, INSIDE_LLM, METHODS, Random, SharpV, TokenPruner, Uniform, find_pruner

MERGING = ("prunevid", "holitom", "framefusion", "flashvid", "visionzip", "prumerge", "fastvid")
BLIND = (Random(), Random(seed=5), Uniform())


def features(n: int, f: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, f, 3, generator=torch.Generator().manual_seed(seed))


def half(share: float = 0.5, **others) -> sharpv.SharpVConfig:
    return sharpv.SharpVConfig(retention=share, **others)


def kept(pruner: TokenPruner, n: int, f: int, share: float) -> list[int]:
    mask = pruner.select(features(n, f), half(share)).mask
    assert mask.shape == (n, f)
    assert mask.dtype == torch.bool
    return mask.flatten().nonzero().flatten().tolist()


@pytest.mark.parametrize("pruner", BLIND, ids=repr)
@settings(deadline=None)
@given(n=st.integers(1, 9), f=st.integers(1, 30), share=st.floats(0.001, 1))
def test_exactly_the_budget_is_kept_and_never_nothing(pruner, n, f, share):
    assert len(kept(pruner, n, f, share)) == max(round(share * n * f), 1)


@settings(deadline=None)
@given(n=st.integers(1, 32), f=st.integers(1, 256), data=st.data())
def test_a_share_made_of_a_count_gives_that_count(n, f, data):
    count = data.draw(st.integers(1, n * f))
    for pruner in BLIND:
        assert len(kept(pruner, n, f, count / (n * f))) == count


def test_uniform_goes_from_the_first_token_to_the_last_at_an_even_stride():
    assert kept(Uniform(), 2, 5, 0.4) == [0, 3, 6, 9]
    assert kept(Uniform(), 1, 10, 0.3) == [0, 5, 9]  # 4.5 is rounded up
    assert kept(Uniform(), 3, 4, 0.01) == [0]
    assert kept(Uniform(), 3, 4, 1.0) == list(range(12))
    gaps = torch.tensor(kept(Uniform(), 8, 64, 70 / 512)).diff()
    assert sorted(set(gaps.tolist())) == [7, 8]


def test_random_depends_on_seed_and_shape_alone():
    assert kept(Random(), 4, 6, 0.5) == kept(Random(), 4, 6, 0.5)
    assert kept(Random(), 4, 6, 0.5) != kept(Random(seed=1), 4, 6, 0.5)
    masks = [Random().select(features(4, 6, seed), half()).mask for seed in range(2)]
    assert torch.equal(*masks)
    state = torch.get_rng_state()
    kept(Random(), 4, 6, 0.5)
    assert torch.equal(torch.get_rng_state(), state)


def test_random_favours_no_place():
    counts = sum(Random(seed).select(features(2, 8), half(0.25)).mask.long() for seed in range(2000))
    # 500 are expected of 2000 draws at 1/4: five standard deviations are 97.
    assert counts.sum() == 2000 * 4
    assert (counts - 500).abs().max() < 97


def test_a_smaller_random_budget_keeps_some_of_a_larger_one():
    assert set(kept(Random(), 4, 16, 0.25)) < set(kept(Random(), 4, 16, 0.5))


def test_sharpv_is_the_rule_of_the_core():
    x = features(4, 9)
    config = sharpv.SharpVConfig(coverage=0.5)
    mask, ratios, merged = SharpV().select(x, config, (3, 3))
    assert merged is None
    assert torch.equal(mask, sharpv.keep_mask(x, config, (3, 3)))
    assert ratios == tuple(sharpv.score(x).ratios.tolist())


@pytest.mark.parametrize("pruner", BLIND, ids=repr)
def test_a_method_without_scores_has_no_ratios(pruner):
    assert pruner.select(features(2, 4), half()).ratios == ()


def test_names():
    peers = ["evs", "vidcom2", "vcast", "dycoke", "divprune", *MERGING]
    assert list(BEFORE_LLM) == ["sharpv", "random", "uniform", *peers]
    assert list(INSIDE_LLM) == ["fastv", "vtw"]
    assert {**BEFORE_LLM, **INSIDE_LLM} == METHODS
    assert all(find_pruner(name) is pruner and pruner.name == name for name, pruner in METHODS.items())
    own = Random(seed=7)
    assert find_pruner(own) is own
    with pytest.raises(
        sharpv.InputError, match="got method 'rnd': it must be one of sharpv, random, uniform"
    ):
        find_pruner("rnd")
