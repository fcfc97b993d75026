"""Under what a question is asked: which frames the model is shown, and how many of their tokens it reads."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from sharpv.config import SharpVConfig

if TYPE_CHECKING:
    from sharpv.hf.reuse.encoder import Planner
    from sharpv.methods import InLLMPruner, TokenPruner

__all__ = [
    "ALL",
    "CONDITIONS",
    "DEFAULT",
    "DENSE",
    "OFF",
    "Condition",
    "Frames",
    "choose_conditions",
    "require_order",
]

Frames = Literal["all", "first", "middle", "last", "shuffled", "none"]
DENSE = "dense"
ALL = "all"
"""Stands for every condition."""

DEFAULT = (DENSE, "sharpv", "random", "uniform", "blind", "middle-frame")
"""The conditions of a run that names none: what pruning costs, and whether the model watches at all."""

OFF = SharpVConfig(retention=1.0, memory_threshold=None)
NO_MEMORY, NO_STAGE_2 = "-no-memory", SharpVConfig(memory_threshold=None)
RETENTION, THRESHOLD, COVERAGE = 0.25, 1.6, 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """One column of the table.

    Attributes:
        name: of the column.
        method: what chooses the tokens: a name in `sharpv.methods`, or a pruner.
        config: what to keep; the retention of a condition with `match` is set clip by clip.
        frames: "all"; one frame repeated as often as the clip has frames; "shuffled"; "none" for a request
            without video.
        match: condition whose number of tokens this one keeps, on each clip.
        rival: condition that keeps as many tokens of each clip at random, with the same stage 2, to compare
            with.
        contestant: what the methods of a contest are called; None outside one.
        budget: of a contest: the share of tokens, or "adaptive"; else None.
        seed: of what draws at random.
        planner: what decides which patches are encoded, in place of SharpV's rule; it needs
            `config.vision_reuse`.
        whole: condition that differs in encoding every patch and in nothing else, to compare with.
    """

    name: str
    method: "str | TokenPruner | InLLMPruner" = "sharpv"
    config: SharpVConfig = OFF
    frames: Frames = "all"
    match: str | None = None
    rival: str | None = None
    contestant: str | None = None
    budget: float | Literal["adaptive"] | None = None
    seed: int = 0
    planner: "Planner | None" = None
    whole: str | None = None

    @property
    def control(self) -> bool:
        """Whether the condition shows that the model watches, rather than what pruning costs."""
        return self.frames != "all"

    def to_dict(self) -> dict[str, Any]:
        """Returns the fields as plain JSON values."""
        values = {name: getattr(self, name) for name in self.__slots__}
        method = self.method if isinstance(self.method, str) else repr(self.method)
        planner = None if self.planner is None else repr(self.planner)
        return values | {"config": self.config.to_dict(), "method": method, "planner": planner}


def _all_conditions(retention: float, threshold: float) -> list[Condition]:
    """Returns every condition; those that another one matches come before it."""
    return [
        Condition(name=DENSE),
        *_with_peers("", SharpVConfig()),
        _with_coverage("", SharpVConfig()),
        *_with_peers(NO_MEMORY, NO_STAGE_2),
        _with_coverage(NO_MEMORY, NO_STAGE_2),
        *_with_peers("-budget", SharpVConfig(retention=retention)),
        *_with_peers(f"-budget{NO_MEMORY}", replace(NO_STAGE_2, retention=retention)),
        *_with_peers("-threshold", SharpVConfig(threshold=threshold)),
        *_with_peers(f"-threshold{NO_MEMORY}", replace(NO_STAGE_2, threshold=threshold)),
        Condition(name="memory-only", config=SharpVConfig(retention=1.0)),
        Condition(name="blind", frames="none"),
        Condition(name="first-frame", frames="first"),
        Condition(name="middle-frame", frames="middle"),
        Condition(name="last-frame", frames="last"),
        Condition(name="shuffled", frames="shuffled"),
    ]


def _with_peers(suffix: str, config: SharpVConfig) -> list[Condition]:
    """Returns "sharpv" with a configuration, and the methods that keep as many tokens, with its stage 2."""
    sharpv, rival = f"sharpv{suffix}", f"random{suffix}"
    blindly = replace(config, retention="adaptive", threshold=None)
    return [
        Condition(name=sharpv, config=config, rival=rival),
        Condition(name=rival, method="random", config=blindly, match=sharpv),
        Condition(name=f"uniform{suffix}", method="uniform", config=blindly, match=sharpv, rival=rival),
    ]


def _with_coverage(suffix: str, config: SharpVConfig) -> Condition:
    """Returns "sharpv" with coverage, which moves tokens but keeps as many: "random" is its rival as well."""
    coverage = replace(config, coverage=COVERAGE)
    return Condition(name=f"sharpv-coverage{suffix}", config=coverage, rival=f"random{suffix}")


CONDITIONS = tuple(condition.name for condition in _all_conditions(RETENTION, THRESHOLD))
"""The names of all conditions, in the order in which they run."""


def choose_conditions(
    names: Sequence[str] = DEFAULT, *, retention: float = RETENTION, threshold: float = THRESHOLD
) -> tuple[Condition, ...]:
    """Returns the conditions of these names, and what they need.

    "dense" is always among them, since all are compared with it, and so are the condition whose number of
    tokens another one matches, and the random one to compare with. The random and uniform ones follow the
    same configuration as the "sharpv" that they match, stage 2 included: only the choice of tokens differs.
    "memory-only" keeps every token, so that what it loses is stage 2's.

    Args:
        names: some of `CONDITIONS`, or `ALL` for all of them.
        retention: of "sharpv-budget", with and without stage 2, in (0, 1].
        threshold: of "sharpv-threshold", with and without stage 2, K.

    Raises:
        ValueError: an unknown name, or a setting outside its range.
    """
    unknown = sorted(set(names) - {ALL, *CONDITIONS})
    if unknown:
        raise ValueError(
            f"unknown conditions {', '.join(unknown)}: accepted are {', '.join((ALL, *CONDITIONS))}"
        )
    every = _all_conditions(retention, threshold)
    wanted = {DENSE, *(CONDITIONS if ALL in names else names)}
    needs = {
        condition.name: [name for name in (condition.match, condition.rival) if name] for condition in every
    }
    while more := {other for name in wanted for other in needs[name]} - wanted:
        wanted |= more
    return tuple(condition for condition in every if condition.name in wanted)


def require_order(conditions: Sequence[Condition]) -> None:
    """Checks that "dense" is among the conditions, each once, and what others match before them.

    Raises:
        ValueError: they are not.
    """
    known: list[str] = []
    for condition in conditions:
        if condition.name in known or (condition.match or DENSE) not in [DENSE, *known]:
            raise ValueError(
                f"condition {condition.name!r} stands twice, or before {condition.match!r}, whose tokens "
                "it matches: use choose_conditions or choose_contest"
            )
        known.append(condition.name)
    if DENSE not in known:
        raise ValueError(f"conditions are {known}: {DENSE!r} must be among them, to compare with")
