"""What `sharpv eval` is to compare: the conditions, or the methods of a contest, that the options name."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeVar

import typer

from sharpv.bench.conditions import choose_conditions
from sharpv.cli.settings import listed
from sharpv.config import SharpVConfig

if TYPE_CHECKING:
    from sharpv.bench.conditions import Condition

__all__ = ["conditions_of", "contest_of"]

Number = TypeVar("Number", int, float)


def conditions_of(names: Sequence[str], **rates: float) -> "tuple[Condition, ...]":
    """Returns the conditions of these names; what the user got wrong is a usage error.

    Args:
        names: as for `choose_conditions`.
        rates: `retention` and `threshold`, where they differ from its defaults.

    Raises:
        typer.BadParameter: what the user got wrong.
    """
    try:
        return choose_conditions(names, **rates)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def contest_of(
    methods: str | None, budgets: str, seeds: str, stage_2: bool, ablations: Sequence[str], other: bool
) -> "tuple[Condition, ...] | None":
    """Returns the conditions of a contest or of ablations, if either is asked for.

    Raises:
        typer.BadParameter: what the user got wrong.
    """
    asked = {"--methods": methods is not None, "--ablation": bool(ablations), "--condition": other}
    if sum(asked.values()) > 1:
        options = [option for option, given in asked.items() if given]
        raise typer.BadParameter(
            f"{' and '.join(options)} exclude each other: each brings its own conditions"
        )
    if methods is None and not ablations:
        return None
    from sharpv.bench.ablations import choose_ablations
    from sharpv.bench.contest import ADAPTIVE, choose_contest

    shares = [
        ADAPTIVE if share == ADAPTIVE else _number(share, float, "--budgets") for share in listed(budgets)
    ]
    draws = [_number(seed, int, "--seeds") for seed in listed(seeds)]
    memory_threshold = SharpVConfig().memory_threshold if stage_2 else None
    try:
        if methods is None:
            return choose_ablations(ablations)
        return choose_contest(listed(methods), shares, draws, memory_threshold)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def _number(text: str, kind: type[Number], option: str) -> Number:
    try:
        return kind(text)
    except ValueError:
        accepted = "whole numbers" if kind is int else "shares in (0, 1], and adaptive"
        raise typer.BadParameter(
            f"{text!r} is none of {accepted}, with commas between", param_hint=option
        ) from None
