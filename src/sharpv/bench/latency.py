"""Where the time to first token goes, dense and pruned, and how much of what the FLOPs allow is reached."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

from sharpv.bench.card import describe, prompt_flops
from sharpv.bench.clock import PEAK_KINDS
from sharpv.bench.flops import on_meta
from sharpv.bench.latency_spec import LatencySpec
from sharpv.bench.latency_summary import Round, side_summary, speed_up, spread
from sharpv.bench.phases import (
    INPUT_PHASES,
    InputSide,
    LlmSide,
    preprocess,
    read_clip,
    run_input_side,
    run_llm_side,
)
from sharpv.bench.trust import require_exact_idle, require_kept
from sharpv.bench.where import where
from sharpv.hf.ask import VideoModel
from sharpv.hf.attach import Session, attach
from sharpv.methods import find_pruner

__all__ = ["DENSE", "run"]

SCHEMA_VERSION = 1
DENSE = "dense"

Sides = dict[str, Callable[[], AbstractContextManager[Session | None]]]


def run(
    loaded: VideoModel,
    spec: LatencySpec,
    path: str,
    on_card: Callable[[dict[str, Any]], None] = lambda card: None,
    log: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Describes a model, checks it, and times requests with a clip, dense and pruned in turn.

    Each round reads, preprocesses and encodes the clip once, for all sides: they do not differ before the
    LLM. Then each side generates, in an order that turns around from round to round. One round of warm-up
    comes first. All times are wall clock, with the device's queue done at the border of each phase.

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
        rounds; for each pruned side the ideal speed-up, the one reached, and the largest phase; and where
        this was measured.

    Raises:
        RuntimeError: SharpV that drops nothing is not exactly the dense model, or a side kept other tokens
            than asked: then no time is worth measuring.
        InputError: the clip or a method cannot be used with this configuration.
        VideoError: the clip cannot be read.
    """
    for method in spec.methods:
        find_pruner(method).check(spec.config)
    started = time.perf_counter()
    card = describe(loaded, spec, preprocess(loaded, read_clip(path, spec.frames), spec.questions))
    on_card(card)
    log(f"checking that SharpV that drops nothing is exactly the dense model, on {loaded.name} ...")
    checked = require_exact_idle(loaded, path, spec)
    log("warm-up ...")
    sides = _sides(loaded, spec)
    encodings = _warm_up(loaded, spec, path, sides, started)
    log(f"{spec.repeats} rounds, of which {encodings} encode the clip ...")
    given, runs = _rounds(loaded, spec, path, sides, encodings, log)
    shared = {phase: spread([one[phase] for one in given[:encodings]]) for phase in INPUT_PHASES}
    # Rounds that went on with the last encoding would count it more than once.
    typical = {phase: None if times is None else times[0] for phase, times in shared.items()}
    summary = {name: side_summary(typical, runs[name]) for name in sides}
    _add_ideals(loaded, card, summary, typical, runs)
    return {
        "bench": "latency",
        "schema_version": SCHEMA_VERSION,
        "spec": spec.to_dict(),
        "card": card,
        "checked": checked,
        "shared": {"ms": shared, "encodings": encodings, "peak_bytes": given[-1]["peak_bytes"]},
        "sides": summary,
        "peak_bytes_are": PEAK_KINDS.get(loaded.model.device.type),
        **where(str(loaded.model.device)),
    }


def _sides(loaded: VideoModel, spec: LatencySpec) -> Sides:
    """Returns the ways to generate: dense with nothing attached, and each method."""
    pruned: Sides = {
        method: partial(attach, loaded.model, spec.config, method=method) for method in spec.methods
    }
    return {DENSE: nullcontext, **pruned}


def _warm_up(loaded: VideoModel, spec: LatencySpec, path: str, sides: Sides, started: float) -> int:
    """Runs everything once; returns how many rounds can encode the clip within the time that is left."""
    begun = time.perf_counter()
    request = run_input_side(loaded, path, spec.frames, spec.questions)
    encoded = time.perf_counter()
    for make in sides.values():
        run_llm_side(loaded, request, spec.new_tokens, make)
    done = time.perf_counter()
    left = spec.minutes * 60 - (done - started) - spec.repeats * (done - encoded)
    return min(max(int(left / (encoded - begun)), 1), spec.repeats)


def _rounds(
    loaded: VideoModel,
    spec: LatencySpec,
    path: str,
    sides: Sides,
    encodings: int,
    log: Callable[[str], None],
) -> tuple[list[Round], dict[str, list[LlmSide]]]:
    """Returns the input side of each round, and each side's runs; see `run`."""
    given: list[Round] = []
    runs: dict[str, list[LlmSide]] = {name: [] for name in sides}
    request: InputSide | None = None
    for number in range(spec.repeats):
        if request is None or number < encodings:
            request = None  # so that two encodings are never held at once
            request = run_input_side(loaded, path, spec.frames, spec.questions)
        given.append({**request.ms, "peak_bytes": request.peak_bytes})
        for name in list(sides) if number % 2 else list(sides)[::-1]:
            side = run_llm_side(loaded, request, spec.new_tokens, sides[name])
            if name != DENSE:
                require_kept(name, side.videos, spec)
            runs[name].append(side)
        log(_line(number, spec, given[-1], {name: sided[-1] for name, sided in runs.items()}))
    return given, runs


def _add_ideals(
    loaded: VideoModel,
    card: dict[str, Any],
    summary: dict[str, dict[str, Any]],
    typical: Round,
    runs: dict[str, list[LlmSide]],
) -> None:
    """Adds the operations of the prefill to each side, and to the pruned ones what they allow and reached."""
    request, twin = card["request"], on_meta(loaded.model)
    whole = request["prompt_tokens"]
    for name, side in summary.items():
        dropped = 0 if name == DENSE else side["tokens_total"] - side["tokens_kept"]
        flops = prompt_flops(twin, request["batch"], whole - dropped)["prefill"]
        side["prefill_flops"] = flops
        side["prefill_flops_per_second"] = None if flops is None else flops / side["ms"]["prefill"][0] * 1e3
        if name != DENSE:
            ratio = None if flops is None else summary[DENSE]["prefill_flops"] / flops
            side["speed_up"] = speed_up(typical, runs[DENSE], runs[name], ratio)


def _line(number: int, spec: LatencySpec, given: Round, sides: dict[str, LlmSide]) -> str:
    parts = ", ".join(f"{name} prefill {side.ms['prefill']:.0f} ms" for name, side in sides.items())
    tower = given["vision_tower"] or 0.0
    return f"round {number + 1} of {spec.repeats}: vision tower {tower:.0f} ms, {parts}"
