"""The encodings of a timed round: all patches, and with vision reuse only those that changed, in turn."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

from sharpv.bench.latency_spec import LatencySpec
from sharpv.bench.latency_summary import Round, spread
from sharpv.bench.phases import InputSide, encode, prepare
from sharpv.bench.reuse import reuse_of
from sharpv.hf.ask import VideoModel
from sharpv.hf.attach import Session
from sharpv.hf.reuse.encoder import Reuse

__all__ = ["REUSE", "WHOLE", "Side", "encode_in_turn", "kinds", "median_round", "reuse_summary"]

WHOLE, REUSE = "whole", "reuse"
"""What encodes all patches, and what reuses some."""


class Side(NamedTuple):
    """One way to a first token.

    Attributes:
        attached: makes the session to generate under.
        encoding: `WHOLE` or `REUSE`.
    """

    attached: Callable[[], AbstractContextManager[Session | None]]
    encoding: str = WHOLE


def kinds(spec: LatencySpec) -> tuple[str, ...]:
    """Returns the encodings of a run."""
    return (WHOLE,) if spec.config.reuse is None else (WHOLE, REUSE)


def encode_in_turn(loaded: VideoModel, spec: LatencySpec, path: str, number: int) -> dict[str, InputSide]:
    """Reads and preprocesses a clip once, and encodes it each way, in an order that turns around.

    Args:
        loaded: the model.
        spec: of the run.
        path: of the clip.
        number: of the round.
    """
    prepared = prepare(loaded, path, spec.frames, spec.questions)
    order = kinds(spec) if number % 2 else kinds(spec)[::-1]
    found = {kind: encode(loaded, prepared, _reuse(loaded, spec, kind)) for kind in order}
    return {kind: found[kind] for kind in kinds(spec)}


def _reuse(loaded: VideoModel, spec: LatencySpec, kind: str) -> Reuse | None:
    settings = spec.config.reuse
    if kind == WHOLE or settings is None:
        return None
    return reuse_of(loaded.model, settings)


def median_round(rounds: Sequence[Round]) -> Round:
    """Returns the median of each phase; None where the projector cannot be told from the tower."""
    medians = {phase: spread([one[phase] for one in rounds]) for phase in rounds[0]}
    return {phase: None if times is None else times[0] for phase, times in medians.items()}


def reuse_summary(
    given: Mapping[str, Sequence[Round]], request: InputSide, first_tokens: Mapping[str, Sequence[float]]
) -> dict[str, Any]:
    """Sums up what reuse spared.

    Args:
        given: milliseconds of the input phases per encoding, by kind; both in the same order.
        request: the last of them with reuse.
        first_tokens: milliseconds per round, by side; the first is the dense one.

    Returns:
        `rows_computed`, `rows_total`, `share`, `full_frames` and `fallback` of one row's video;
        `plan_milliseconds` of all rows; `ms` of the tower both ways, `tower_times_dense` of each pair; and
        `without_reading`: the time to first token of each side without reading and decoding the clip, and
        how many times faster than the dense one that is.
    """
    video = request.reuse[0]
    towers = {kind: [one["vision_tower"] for one in rounds] for kind, rounds in given.items()}
    ratios = [
        None if one is None or other is None else other / one
        for one, other in zip(towers[WHOLE], towers[REUSE], strict=True)
    ]
    read = median_round(given[WHOLE])["read"] or 0.0
    without = {name: [total - read for total in totals] for name, totals in first_tokens.items()}
    dense = next(iter(without.values()))
    return {
        "rows_computed": video.rows_computed,
        "rows_total": video.rows_total,
        "share": video.share,
        "full_frames": video.full_frames,
        "fallback": video.fallback,
        "plan_milliseconds": round(sum(each.plan_milliseconds for each in request.reuse), 3),
        "ms": {kind: spread(times) for kind, times in towers.items()},
        "tower_times_dense": spread(ratios),
        "peak_bytes": request.peak_bytes,
        "without_reading": {
            name: {
                "ms": spread(totals),
                "faster": spread([one / other for one, other in zip(dense, totals, strict=True)]),
            }
            for name, totals in without.items()
        },
    }
