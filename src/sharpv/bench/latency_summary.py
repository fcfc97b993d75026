"""From timed rounds to medians and spreads, and what the operations would have allowed."""

import statistics
from collections.abc import Sequence
from typing import Any

from sharpv.bench.phases import INPUT_PHASES, LLM_PHASES, LlmSide

__all__ = [
    "FIRST_TOKEN_PHASES",
    "Round",
    "first_tokens",
    "llm_summary",
    "side_summary",
    "speed_up",
    "spread",
]

FIRST_TOKEN_PHASES = (*INPUT_PHASES, *LLM_PHASES)
"""The phases whose sum is the time to first token."""

Round = dict[str, float | None]
"""Milliseconds of the input phases."""


def spread(values: Sequence[float | None]) -> list[float] | None:
    """Returns [median, min, max], rounded to microseconds of milliseconds; None if one is missing."""
    known = [value for value in values if value is not None]
    if len(known) < len(values) or not known:
        return None
    return [round(number, 3) for number in (statistics.median(known), min(known), max(known))]


def side_summary(given: Round, runs: Sequence[LlmSide]) -> dict[str, Any]:
    """Sums up one side.

    Args:
        given: milliseconds of the input phases, which all rounds share.
        runs: the side's own, per round.

    Returns:
        what `llm_summary` says, with `first_token` among `ms`; and the largest phase of the time to first
        token and its share, by the medians.
    """
    own = llm_summary(runs)
    ours = {phase: own["ms"][phase][0] for phase in LLM_PHASES}
    medians = {phase: value for phase, value in {**given, **ours}.items() if value is not None}
    largest = max(medians, key=lambda phase: medians[phase])
    return {
        **own,
        "ms": {**own["ms"], "first_token": spread(first_tokens(given, runs))},
        "largest_phase": {"name": largest, "share": round(medians[largest] / sum(medians.values()), 4)},
    }


def llm_summary(runs: Sequence[LlmSide]) -> dict[str, Any]:
    """Sums up one side without the input phases.

    Returns:
        `ms` of `LLM_PHASES` and `per_token`; `kv_bytes`, `peak_bytes` (the most of all rounds), and what was
        kept of the first row's video, None for dense.
    """
    peaks = [run.peak_bytes for run in runs]
    video = runs[-1].videos[0] if runs[-1].videos else None
    return {
        "ms": {phase: spread([run.ms[phase] for run in runs]) for phase in (*LLM_PHASES, "per_token")},
        "kv_bytes": runs[-1].kv_bytes,
        "peak_bytes": None if None in peaks else max(peak or 0 for peak in peaks),
        "tokens_kept": None if video is None else video.tokens_kept,
        "tokens_total": None if video is None else video.tokens_total,
    }


def first_tokens(given: Round, runs: Sequence[LlmSide]) -> list[float]:
    """Returns the time to first token of each round, in milliseconds: the sum of its phases."""
    return [
        sum(parts.get(phase) or 0.0 for phase in FIRST_TOKEN_PHASES)
        for parts in ({**given, **run.ms} for run in runs)
    ]


def speed_up(
    given: Round,
    dense: Sequence[LlmSide],
    pruned: Sequence[LlmSide],
    flops_ratio: float | None,
    reused: tuple[Round, float] | None = None,
) -> dict[str, Any]:
    """Says how much faster pruning made prefill and first token, and what it could have.

    Args:
        given: milliseconds of the input phases, which all rounds share.
        dense: the dense side's rounds.
        pruned: a pruned side's, in the same order.
        flops_ratio: operations of the dense prefill over those of the pruned one; None if not counted.
        reused: for a side with vision reuse, its own milliseconds of the input phases, and the share of the
            patches that are encoded.

    Returns:
        For `prefill` and `first_token`: `reached`, the ratio of both sides in each round; `ideal`; and
        `share`, the median reached over the ideal. The ideal prefill is faster by the ratio of operations.
        The ideal time to first token is the dense one with the ideal prefill, with reuse the share of the
        vision tower's time, all else as measured, and choosing tokens and patches free.
    """
    pairs = list(zip(dense, pruned, strict=True))
    prefill = [_ms(one, "prefill") / _ms(other, "prefill") for one, other in pairs]
    whole = first_tokens(given, dense)
    own, share = (given, 1.0) if reused is None else reused
    first = [one / other for one, other in zip(whole, first_tokens(own, pruned), strict=True)]
    spared = (given["vision_tower"] or 0.0) * (1 - share)
    ideal_first = None
    if flops_ratio is not None:
        prefills = [_ms(side, "prefill") for side in dense]
        ideal_first = statistics.median(
            total / (total - part * (1 - 1 / flops_ratio) - spared)
            for total, part in zip(whole, prefills, strict=True)
        )
    return {"prefill": _against(prefill, flops_ratio), "first_token": _against(first, ideal_first)}


def _ms(side: LlmSide, phase: str) -> float:
    value = side.ms[phase]
    assert value is not None
    return value


def _against(reached: Sequence[float], ideal: float | None) -> dict[str, Any]:
    share = None if ideal is None else round(statistics.median(reached) / ideal, 4)
    return {"reached": spread(reached), "ideal": None if ideal is None else round(ideal, 3), "share": share}
