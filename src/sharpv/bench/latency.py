"""Where the time to first token goes, dense and pruned, and how much of what the FLOPs allow is reached."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

from sharpv.bench.card import describe, prompt_flops
from sharpv.bench.clock import PEAK_KINDS
from sharpv.bench.flops import on_meta
from sharpv.bench.latency_reuse import (
    REUSE,
    WHOLE,
    Side,
    encode_in_turn,
    kinds,
    median_round,
    reuse_summary,
)
from sharpv.bench.latency_spec import LatencySpec
from sharpv.bench.latency_summary import Round, first_tokens, side_summary, speed_up, spread
from sharpv.bench.phases import (
    ENCODER_PHASES,
    INPUT_PHASES,
    InputSide,
    LlmSide,
    preprocess,
    read_clip,
    run_llm_side,
)
from sharpv.bench.trust import require_exact_idle, require_exact_reuse, require_kept
from sharpv.bench.where import where
from sharpv.hf.ask import VideoModel
from sharpv.hf.attach import attach
from sharpv.methods import find_pruner

__all__ = ["DENSE", "run"]

SCHEMA_VERSION = 1
DENSE = "dense"


def run(
    loaded: VideoModel,
    spec: LatencySpec,
    path: str,
    on_card: Callable[[dict[str, Any]], None] = lambda card: None,
    log: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Describes a model, checks it, and times requests with a clip, dense and pruned in turn.

    Each round reads, preprocesses and encodes the clip once, for all sides: they do not differ before the
    LLM. With `spec.config.vision_reuse`, it encodes the clip once more, for sides of their own such as
    "sharpv+reuse". Then each side generates. Both go in an order that turns around from round to round. One
    round of warm-up comes first. All times are wall clock, with the device's queue done at the border of each
    phase.

    Where the vision tower would make the run longer than `spec.minutes`, only the first rounds encode the
    clip, and the others go on with the last encoding. The time to first token of a round is that of the
    input phases, as their medians over the encodings, and of its own other phases.

    Args:
        loaded: the model.
        spec: what to time.
        path: of the clip.
        on_card: takes the static card before anything is timed.
        log: takes one line per step.

    Returns:
        A dictionary for JSON: `card`; `shared` and `sides` with milliseconds as [median, min, max] over the
        rounds; for each pruned side the ideal speed-up, the one reached, and the largest phase; with reuse,
        `reuse` from `reuse_summary`; and where this was measured.

    Raises:
        RuntimeError: SharpV that drops nothing is not exactly the dense model, nor reuse that encodes
            everything, or a side kept other tokens than asked: then no time is worth measuring.
        InputError: the clip or a method cannot be used with this configuration.
        VideoError: the clip cannot be read.
    """
    for method in spec.methods:
        find_pruner(method).check(spec.config)
    started = time.perf_counter()
    card = describe(loaded, spec, preprocess(loaded, read_clip(path, spec.frames), spec.questions))
    on_card(card)
    log(f"checking that SharpV that drops nothing is exactly the dense model, on {loaded.name} ...")
    checked = require_exact_idle(loaded, path, spec) | require_exact_reuse(loaded, path, spec)
    log("warm-up ...")
    sides = _sides(loaded, spec)
    encodings = _warm_up(loaded, spec, path, sides, started)
    log(f"{spec.repeats} rounds, of which {encodings} encode the clip ...")
    rounds = _rounds(loaded, spec, path, sides, encodings, log)
    # Rounds that went on with the last encoding would count it more than once.
    given = {kind: [one.ms for one in done[:encodings]] for kind, done in rounds.given.items()}
    summary = _summaries(loaded, card, sides, given, rounds)
    first = rounds.given[WHOLE][-1]
    return {
        "bench": "latency",
        "schema_version": SCHEMA_VERSION,
        "spec": spec.to_dict(),
        "card": card,
        "checked": checked,
        "shared": {
            "ms": {phase: spread([one[phase] for one in given[WHOLE]]) for phase in INPUT_PHASES},
            "encodings": encodings,
            "peak_bytes": first.peak_bytes,
        },
        "sides": summary,
        **_reused(sides, given, rounds),
        "peak_bytes_are": PEAK_KINDS.get(loaded.model.device.type),
        **where(str(loaded.model.device)),
    }


class _Rounds(NamedTuple):
    """What was timed, round by round: requests by encoding, without their tensors, and runs by side."""

    given: dict[str, list[InputSide]]
    runs: dict[str, list[LlmSide]]


def _sides(loaded: VideoModel, spec: LatencySpec) -> dict[str, Side]:
    """Returns the ways to generate: dense with nothing attached, and each method, with reuse too."""
    sides = {DENSE: Side(nullcontext)}
    for kind in kinds(spec):
        for method in spec.methods:
            name = method if kind == WHOLE else f"{method}+{kind}"
            sides[name] = Side(partial(attach, loaded.model, spec.pruning, method=method), kind)
    return sides


def _warm_up(
    loaded: VideoModel, spec: LatencySpec, path: str, sides: Mapping[str, Side], started: float
) -> int:
    """Runs everything once; returns how many rounds can encode the clip within the time that is left."""
    begun = time.perf_counter()
    requests = encode_in_turn(loaded, spec, path, 0)
    encoded = time.perf_counter()
    for side in sides.values():
        run_llm_side(loaded, requests[side.encoding], spec.new_tokens, side.attached)
    done = time.perf_counter()
    left = spec.minutes * 60 - (done - started) - spec.repeats * (done - encoded)
    return min(max(int(left / (encoded - begun)), 1), spec.repeats)


def _rounds(
    loaded: VideoModel,
    spec: LatencySpec,
    path: str,
    sides: Mapping[str, Side],
    encodings: int,
    log: Callable[[str], None],
) -> _Rounds:
    """Returns what was timed; see `run`."""
    rounds = _Rounds({kind: [] for kind in kinds(spec)}, {name: [] for name in sides})
    requests: dict[str, InputSide] = {}
    for number in range(spec.repeats):
        if number < encodings:
            requests.clear()  # so that those of two rounds are never held at once
            requests = encode_in_turn(loaded, spec, path, number)
        for kind, request in requests.items():
            rounds.given[kind].append(replace(request, inputs={}, encoded=None))
        for name in list(sides) if number % 2 else list(sides)[::-1]:
            side = run_llm_side(loaded, requests[sides[name].encoding], spec.new_tokens, sides[name].attached)
            if name != DENSE:
                require_kept(name.partition("+")[0], side.videos, spec)
            rounds.runs[name].append(side)
        log(_line(number, spec, rounds))
    return rounds


def _summaries(
    loaded: VideoModel,
    card: dict[str, Any],
    sides: Mapping[str, Side],
    given: Mapping[str, Sequence[Round]],
    rounds: _Rounds,
) -> dict[str, dict[str, Any]]:
    """Sums up each side, with the operations of its prefill and what those allow and reached."""
    typical = {kind: median_round(each) for kind, each in given.items()}
    summary: dict[str, dict[str, Any]] = {}
    request, twin = card["request"], on_meta(loaded.model)
    for name, (_, kind) in sides.items():
        side = summary[name] = side_summary(typical[kind], rounds.runs[name])
        dropped = 0 if name == DENSE else side["tokens_total"] - side["tokens_kept"]
        flops = prompt_flops(twin, request["batch"], request["prompt_tokens"] - dropped)["prefill"]
        side["prefill_flops"] = flops
        side["prefill_flops_per_second"] = None if flops is None else flops / side["ms"]["prefill"][0] * 1e3
        if kind == REUSE:
            side["ms"] |= {phase: spread([one[phase] for one in given[kind]]) for phase in ENCODER_PHASES}
        if name != DENSE:
            ratio = None if flops is None else summary[DENSE]["prefill_flops"] / flops
            reused = (typical[kind], rounds.given[kind][-1].reuse[0].share) if kind == REUSE else None
            runs = rounds.runs[DENSE], rounds.runs[name]
            side["speed_up"] = speed_up(typical[WHOLE], *runs, ratio, reused)
    return summary


def _reused(
    sides: Mapping[str, Side], given: Mapping[str, Sequence[Round]], rounds: _Rounds
) -> dict[str, dict[str, Any]]:
    """Returns what reuse spared, as `reuse`; nothing without it."""
    if REUSE not in given:
        return {}
    totals = {
        name: first_tokens(median_round(given[side.encoding]), rounds.runs[name])
        for name, side in sides.items()
    }
    return {"reuse": reuse_summary(given, rounds.given[REUSE][-1], totals)}


def _line(number: int, spec: LatencySpec, rounds: _Rounds) -> str:
    parts = [f"{name} prefill {runs[-1].ms['prefill']:.0f} ms" for name, runs in rounds.runs.items()]
    towers = [
        f"vision tower{'' if kind == WHOLE else ' with reuse'} {done[-1].ms['vision_tower'] or 0.0:.0f} ms"
        for kind, done in rounds.given.items()
    ]
    return f"round {number + 1} of {spec.repeats}: {', '.join([*towers, *parts])}"
