"""Ablations change the one thing that they name."""

import pytest
import torch

from sharpv import SharpVConfig, keep_mask, score
from sharpv.bench.ablations import ABLATIONS, RandomCounts, RandomTokens, choose_ablations
from sharpv.bench.accuracy import run
from sharpv.core.select import token_counts
from tests.bench.conftest import small

VIDEO = torch.cumsum(torch.randn(6, 30, 16, generator=torch.Generator().manual_seed(1)), 0)
CONFIGS = [SharpVConfig(), SharpVConfig(retention=0.2)]


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_random_tokens_keep_the_counts_of_each_frame(config):
    kept = [RandomTokens(seed).select(VIDEO, config).mask for seed in range(40)]
    plain = keep_mask(VIDEO, config)
    assert all(torch.equal(mask.sum(1), plain.sum(1)) for mask in kept)
    # Drawn without regard to the scores: every token comes up, and those of the rule not more often.
    often = torch.stack(kept).float().mean(0)
    assert (often > 0).all()
    share = plain.sum(1, keepdim=True) / plain.shape[1]
    assert (often - share).abs().max() < 5 * (0.25 / 40) ** 0.5


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_random_counts_keep_the_sum_and_the_ranking(config):
    counts = token_counts(score(VIDEO), config)
    importance, seen = score(VIDEO).importance, set()
    for seed in range(10):
        mask = RandomCounts(seed).select(VIDEO, config).mask
        assert mask.sum() == counts.sum()
        seen.add(tuple(mask.sum(1).tolist()))
        for frame, kept in zip(importance, mask, strict=True):
            assert kept.all() or not kept.any() or frame[kept].min() >= frame[~kept].max()
    assert len(seen) == 10


def test_a_seed_gives_the_same_again():
    for kind in (RandomTokens, RandomCounts):
        first, again = (kind(seed=3).select(VIDEO, SharpVConfig()).mask for _ in range(2))
        assert torch.equal(first, again)


def test_every_ablation_holds_the_rule_as_it_is():
    for name in ABLATIONS:
        conditions = choose_ablations([name])
        beside = ["dense", "sharpv", "random", "uniform", "sharpv-coverage"]
        assert [each.name for each in conditions[:5]] == beside
        settings = [condition.config for condition in conditions[1:] if condition.method == "sharpv"]
        plain = {
            "M": SharpVConfig(retention=1.0),
            "coverage": SharpVConfig(retention=0.12, memory_threshold=None),
        }.get(name, SharpVConfig(memory_threshold=None))
        assert plain in settings


def test_random_is_the_rival_of_all_that_keep_as_many_tokens():
    for condition in choose_ablations(["tokens", "coverage"]):
        budget = condition.name.partition("@")[1:]
        blind = condition.name.startswith(("dense", "random@")) or condition.name == "random"
        assert condition.rival == (None if blind else "".join(("random", *budget)))


def test_all_of_them_together_hold_each_condition_once():
    names = [condition.name for condition in choose_ablations(list(ABLATIONS))]
    assert len(set(names)) == len(names)


def test_a_threshold_is_matched_clip_by_clip_and_memory_drops_more_layers_as_it_rises(toy):
    found = run(toy, small(per_family=2, conditions=choose_ablations(["K", "M"])))["conditions"]
    for k in ("1.2", "1.6"):
        ours, theirs = found[f"as-many-as-K={k}"]["cost"], found[f"K={k}"]["cost"]
        assert ours["tokens_kept"] == theirs["tokens_kept"]
        assert ours["kept_share"] == theirs["kept_share"]
    out = [sum(found[f"M={m}"]["cost"]["dropped"]) for m in ("-1", "0", "0.2", "0.5")]
    assert out[0] == 0
    assert out == sorted(out)
    assert out[-1] > 0
