"""Methods side by side: each at each budget, beside dense, random and uniform."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

from sharpv.bench.conditions import COVERAGE, DENSE, Condition
from sharpv.config import SharpVConfig
from sharpv.methods import INSIDE_LLM, METHODS

__all__ = ["ADAPTIVE", "ALL_METHODS", "BUDGETS", "CONTESTANTS", "Budget", "choose_contest"]

Budget = float | Literal["adaptive"]
ADAPTIVE: Literal["adaptive"] = "adaptive"
ALL_METHODS = "all"
"""Stands for every contestant."""

BUDGETS: tuple[Budget, ...] = (0.12, 0.25)
RANDOM, UNIFORM, SHARPV = "random", "uniform", "sharpv"
BLIND = (RANDOM, UNIFORM)
"""What every method has to beat: they look at nothing, and stand in every contest."""

VARIANTS: dict[str, dict[str, Any]] = {
    "sharpv-coverage": {"coverage": COVERAGE},
    "sharpv-diverse": {"coverage": 0.8, "diversity": True},
}
"""SharpV with options that are not the paper's."""

CONTESTANTS = (SHARPV, *VARIANTS, *(name for name in METHODS if name != SHARPV))
"""Who can take part: the methods of `sharpv.methods`, and SharpV with its own options."""

PRUMERGE = "prumerge"
LETS_THE_VIDEO_DECIDE = (SHARPV, *VARIANTS, PRUMERGE)


def choose_contest(
    names: Sequence[str],
    budgets: Sequence[Budget] = BUDGETS,
    seeds: Sequence[int] = (0,),
    memory_threshold: float | None = None,
) -> tuple[Condition, ...]:
    """Returns the conditions of a contest: "dense", then budget by budget "random", "uniform" and the others.

    At a number, every method before the LLM lets `round(budget n f)` tokens of each clip into it ("sharpv"
    at least 1 per frame); what the number is to those inside the LLM, they say themselves, and no random one
    is their rival. At "adaptive", those methods take part that let the video decide, and random and uniform
    keep as many tokens of each clip as "sharpv".

    Args:
        names: some of `CONTESTANTS`, or `ALL_METHODS` for all of them.
        budgets: shares in (0, 1] or "adaptive", each once.
        seeds: of what draws at random: "random" stands once for each.
        memory_threshold: M of all but "dense"; None leaves stage 2 off, so that only the choice of tokens
            differs.

    Raises:
        ValueError: an unknown name, a budget or seed outside its range, one that stands twice, or a method
            named that takes part at none of the budgets.
    """
    _check(names, budgets, seeds)
    wanted = [name for name in CONTESTANTS if ALL_METHODS in names or name in names]
    absent = [name for name in names if name not in (ALL_METHODS, *BLIND, *LETS_THE_VIDEO_DECIDE)]
    if absent and set(budgets) == {ADAPTIVE}:
        raise ValueError(
            f"got {', '.join(absent)} with no budget but 'adaptive', which only "
            f"{', '.join(LETS_THE_VIDEO_DECIDE)} know: add a number, such as 0.25"
        )
    conditions = [Condition(name=DENSE)]
    for budget in budgets:
        config = SharpVConfig(retention=budget, memory_threshold=memory_threshold)
        conditions += _at(budget, config, wanted, seeds)
    return tuple(conditions)


def _check(names: Sequence[str], budgets: Sequence[Budget], seeds: Sequence[int]) -> None:
    unknown = sorted(set(names) - {ALL_METHODS, *CONTESTANTS})
    if unknown or not names:
        accepted = ", ".join((ALL_METHODS, *CONTESTANTS))
        raise ValueError(f"got methods {', '.join(unknown) or 'none'}: accepted are {accepted}")
    for what, given in (("budgets", budgets), ("seeds", seeds)):
        if not given or len(set(given)) < len(given):
            raise ValueError(f"got {what} {list(given)}: give at least one, each once")
    wrong = [seed for seed in seeds if type(seed) is not int or not 0 <= seed < 2**32]
    if wrong:
        raise ValueError(f"got seeds {wrong}: give whole numbers from 0 to 2^32 - 1")


def _at(budget: Budget, config: SharpVConfig, wanted: Sequence[str], seeds: Sequence[int]) -> list[Condition]:
    """Returns the conditions at one budget; what others match or are compared with stands before them."""
    suffix = f"@{budget}" if budget == ADAPTIVE else f"@{100 * budget:g}%"
    draws = [f"{RANDOM}{suffix}{f'#{seed}' if seed else ''}" for seed in seeds]

    # What keeps another number of tokens than the random one.
    other_numbers = {*INSIDE_LLM, *([PRUMERGE] if budget == ADAPTIVE else [])}

    def condition(contestant: str, **given: Any) -> Condition:
        options = VARIANTS.get(contestant)
        values: dict[str, Any] = {
            "name": contestant + suffix,
            "contestant": contestant,
            "method": contestant if options is None else SHARPV,
            "config": replace(config, **options or {}),
            "budget": budget,
            "rival": None if contestant in other_numbers else draws[0],
        }
        return Condition(**values | given)

    match = None
    first: list[Condition] = []
    others = [name for name in wanted if name not in BLIND]
    if budget == ADAPTIVE:
        # Whose numbers of tokens random and uniform take over, clip by clip.
        match, first = SHARPV + suffix, [condition(SHARPV)]
        others = [name for name in others if name in LETS_THE_VIDEO_DECIDE[1:]]
    blind = [
        condition(RANDOM, name=name, seed=seed, match=match, rival=None)
        for name, seed in zip(draws, seeds, strict=True)
    ]
    return [*first, *blind, condition(UNIFORM, match=match), *map(condition, others)]
