"""SharpV with one thing changed at a time: what each part of the rule is worth."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from sharpv.bench.conditions import COVERAGE, DENSE, OFF, Condition
from sharpv.bench.contest import ADAPTIVE
from sharpv.bench.reuse import RandomPatches
from sharpv.config import SharpVConfig, VisionReuse
from sharpv.core.scores import Scores, score
from sharpv.core.select import RATIO_UNITS, share_tokens, token_counts, top_mask
from sharpv.methods import Selection, SharpV

__all__ = ["ABLATIONS", "RandomCounts", "RandomTokens", "choose_ablations"]

NO_STAGE_2 = SharpVConfig(memory_threshold=None)
WEIGHTS = (0.0, 0.5, 1.0, 2.0, 4.0)
MEMORY_THRESHOLDS = (-1.0, 0.0, 0.1, 0.2, 0.3, 0.4, 0.5)
THRESHOLDS = (1.2, 1.4, 1.6, 1.8)
COVERAGES = (0.0, 0.3, 0.5, 0.7, 0.8, 0.9, 1.0)
BUDGETS = (0.12, 0.25)
REUSE_THRESHOLDS = (6.0, 8.0, 12.0, 16.0)
RANDOM_PATCHES = 0.3
OTHER_NUMBER: dict[str, Any] = {"budget": None, "rival": None}
"""Of what keeps other numbers of tokens than the random one beside it."""


@dataclass(frozen=True, slots=True)
class RandomTokens(SharpV):
    """Keeps as many tokens of each frame as SharpV does, but any of them."""

    seed: int = 0
    name: ClassVar[str] = "random-tokens"

    def select(
        self, features: Tensor, config: SharpVConfig, grid: tuple[int, int] | None = None
    ) -> Selection:
        """Counts as SharpV does, then draws."""
        scores = score(features, config.spatial_weight)
        drawn = torch.rand(scores.importance.shape, generator=_generator(self.seed))
        return _selection(drawn.to(features.device), token_counts(scores, config), scores)


@dataclass(frozen=True, slots=True)
class RandomCounts(SharpV):
    """Keeps as many tokens of the video as SharpV does, the best of each frame, but in any shares."""

    seed: int = 0
    name: ClassVar[str] = "random-counts"

    def select(
        self, features: Tensor, config: SharpVConfig, grid: tuple[int, int] | None = None
    ) -> Selection:
        """Counts as SharpV does, then shares the sum over the frames by uniform draws."""
        scores = score(features, config.spatial_weight)
        total, (n, f) = int(token_counts(scores, config).sum()), scores.importance.shape
        shares = (torch.rand(n, generator=_generator(self.seed)) * RATIO_UNITS).long().tolist()
        counts = torch.tensor(share_tokens(total, shares, int(total >= n), f))
        return _selection(scores.importance, counts, scores)


def choose_ablations(names: Sequence[str]) -> tuple[Condition, ...]:
    """Returns "dense", SharpV with coverage 0 and 0.5, as many tokens blindly, and some ablations.

    Args:
        names: some of `ABLATIONS`.

    Raises:
        ValueError: an unknown name, or none.
    """
    unknown = sorted(set(names) - set(ABLATIONS))
    if unknown or not names:
        raise ValueError(f"got ablations {', '.join(unknown) or 'none'}: accepted are {', '.join(ABLATIONS)}")
    coverage = _variant("sharpv-coverage", replace(NO_STAGE_2, coverage=COVERAGE))
    chosen = [Condition(name=DENSE), *_beside(NO_STAGE_2), coverage]
    for name in names:
        chosen += ABLATIONS[name]()
    return tuple({condition.name: condition for condition in chosen}.values())


def _beside(config: SharpVConfig, suffix: str = "", **given: Any) -> list[Condition]:
    """Returns SharpV, and what keeps as many tokens of each clip without a look at them."""
    sharpv, rival = f"sharpv{suffix}", f"random{suffix}"
    return [
        _variant(sharpv, config, rival=rival, **given),
        _variant(rival, method="random", match=sharpv, rival=None, **given),
        _variant(f"uniform{suffix}", method="uniform", match=sharpv, rival=rival, **given),
    ]


def _tokens() -> list[Condition]:
    """Scoring against random tokens, with the same number in each frame."""
    return [_variant("random-tokens", method=RandomTokens())]


def _counts() -> list[Condition]:
    """Counts that the video decides against random ones, with the same sum."""
    return [_variant("random-counts", method=RandomCounts())]


def _weights() -> list[Condition]:
    return [_variant(f"w={w:g}", replace(NO_STAGE_2, spatial_weight=w)) for w in WEIGHTS]


def _memory() -> list[Condition]:
    """Of stage 2 alone: the first word of an answer is read before a layer gives anything up."""
    config = SharpVConfig(retention=1.0)
    return [
        _variant(f"M={m:g}", replace(config, memory_threshold=m), **OTHER_NUMBER) for m in MEMORY_THRESHOLDS
    ]


def _threshold() -> list[Condition]:
    """Each K beside the same number of tokens of the same clip, shared by the video's motion."""
    pairs = []
    for k in THRESHOLDS:
        name = f"K={k:g}"
        pairs += [
            _variant(name, replace(NO_STAGE_2, threshold=k), **OTHER_NUMBER),
            _variant(f"as-many-as-K={k:g}", match=name, **OTHER_NUMBER),
        ]
    return pairs


def _coverage() -> list[Condition]:
    """Shares of anchors, with and without diversity, at two budgets."""
    conditions = []
    for budget in BUDGETS:
        suffix, config = f"@{100 * budget:g}%", replace(NO_STAGE_2, retention=budget)
        conditions += _beside(config, suffix, budget=budget)
        conditions += [
            _variant(
                f"coverage={c:g}{'+diversity' if diverse else ''}{suffix}",
                replace(config, coverage=c, diversity=diverse),
                budget=budget,
                rival=f"random{suffix}",
            )
            for c in COVERAGES
            for diverse in (False, True)
            # Nothing is left to choose where all are anchors; without any, it is the paper's rule.
            if (c, diverse) != (0, False) and not (diverse and c == 1)
        ]
    return conditions


def _reuse() -> list[Condition]:
    """Thresholds of reuse, and patches drawn at random, with all tokens and with SharpV's.

    The toy's cells of 2x2 pixels average noise less than the 7x7 of SigLIP: its thresholds are larger.
    """
    encodings: list[tuple[str, VisionReuse, RandomPatches | None]] = [
        (f"reuse={t:g}", VisionReuse(threshold=t), None) for t in REUSE_THRESHOLDS
    ]
    encodings += [(f"random-patches={RANDOM_PATCHES:g}", VisionReuse(), RandomPatches(RANDOM_PATCHES))]
    return [
        _variant(name, replace(config, vision_reuse=reuse), planner=planner, whole=whole, **OTHER_NUMBER)
        for encoding, reuse, planner in encodings
        for name, config, whole in ((encoding, OFF, DENSE), (f"sharpv+{encoding}", NO_STAGE_2, "sharpv"))
    ]


ABLATIONS: dict[str, Callable[[], list[Condition]]] = {
    "tokens": _tokens,
    "counts": _counts,
    "w": _weights,
    "M": _memory,
    "K": _threshold,
    "coverage": _coverage,
    "reuse": _reuse,
}
"""What is changed, and the conditions that show it."""


def _variant(name: str, config: SharpVConfig = NO_STAGE_2, **given: Any) -> Condition:
    values: dict[str, Any] = {"name": name, "contestant": name.partition("@")[0], "config": config}
    values |= {"budget": ADAPTIVE, "rival": "random"}
    return Condition(**values | given)


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _selection(values: Tensor, counts: Tensor, scores: Scores) -> Selection:
    return Selection(top_mask(values, counts), tuple(scores.ratios.tolist()))
