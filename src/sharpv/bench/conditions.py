"""Under what a question is asked: which frames the model is shown, and how many of their tokens it reads."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sharpv.config import SharpVConfig

__all__ = ["CONDITIONS", "DENSE", "Condition", "Frames", "choose_conditions"]

Frames = Literal["all", "first", "middle", "last", "shuffled", "none"]
DENSE = "dense"
OFF = SharpVConfig(retention=1.0, memory_threshold=None)
RETENTION, THRESHOLD, COVERAGE = 0.25, 1.6, 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """One column of the table.

    Attributes:
        name: of the column.
        method: what chooses the tokens, by its name in `sharpv.methods`.
        config: what to keep; the retention of a condition with `match` is set clip by clip.
        frames: "all"; one frame repeated as often as the clip has frames; "shuffled"; "none" for a request
            without video.
        match: condition whose number of tokens this one keeps, on each clip.
        rival: condition that keeps as many tokens at random, to compare with.
    """

    name: str
    method: str = "sharpv"
    config: SharpVConfig = OFF
    frames: Frames = "all"
    match: str | None = None
    rival: str | None = None

    @property
    def control(self) -> bool:
        """Whether the condition shows that the model watches, rather than what pruning costs."""
        return self.frames != "all"

    def to_dict(self) -> dict[str, Any]:
        """Returns the fields as plain JSON values."""
        values = {name: getattr(self, name) for name in self.__slots__}
        return values | {"config": self.config.to_dict()}


def _all_conditions(retention: float, threshold: float) -> list[Condition]:
    """Returns every condition; those that another one matches come before it."""
    default = SharpVConfig()
    return [
        Condition(name=DENSE),
        Condition(name="sharpv", config=default, rival="random"),
        Condition(name="sharpv-no-memory", config=SharpVConfig(memory_threshold=None), rival="random"),
        Condition(name="sharpv-coverage", config=SharpVConfig(coverage=COVERAGE), rival="random"),
        Condition(name="random", method="random", config=default, match="sharpv"),
        Condition(name="uniform", method="uniform", config=default, match="sharpv", rival="random"),
        Condition(name="sharpv-budget", config=SharpVConfig(retention=retention), rival="random-budget"),
        Condition(name="random-budget", method="random", config=default, match="sharpv-budget"),
        Condition(
            name="uniform-budget",
            method="uniform",
            config=default,
            match="sharpv-budget",
            rival="random-budget",
        ),
        Condition(name="sharpv-threshold", config=SharpVConfig(threshold=threshold)),
        Condition(name="blind", frames="none"),
        Condition(name="first-frame", frames="first"),
        Condition(name="middle-frame", frames="middle"),
        Condition(name="last-frame", frames="last"),
        Condition(name="shuffled", frames="shuffled"),
    ]


CONDITIONS = tuple(condition.name for condition in _all_conditions(RETENTION, THRESHOLD))
"""The names of all conditions, in the order in which they run."""


def choose_conditions(
    names: Sequence[str] = (), *, retention: float = RETENTION, threshold: float = THRESHOLD
) -> tuple[Condition, ...]:
    """Returns the conditions of these names, all of them without names, and what they need.

    "dense" is always among them, since all are compared with it, and so is the condition whose number of
    tokens another one matches. The random and uniform ones follow the same configuration as the "sharpv" that
    they match, stage 2 included: only the choice of tokens differs.

    Args:
        names: some of `CONDITIONS`.
        retention: of "sharpv-budget", in (0, 1].
        threshold: of "sharpv-threshold", K.

    Raises:
        ValueError: an unknown name, or a setting outside its range.
    """
    unknown = sorted(set(names) - set(CONDITIONS))
    if unknown:
        raise ValueError(f"unknown methods {', '.join(unknown)}: accepted are {', '.join(CONDITIONS)}")
    found = _all_conditions(retention, threshold)
    wanted = set(names or CONDITIONS) | {DENSE}
    wanted |= {condition.match for condition in found if condition.name in wanted and condition.match}
    return tuple(condition for condition in found if condition.name in wanted)
