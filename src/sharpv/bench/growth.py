"""How time and memory grow with frames and with rows, dense and pruned."""

import time
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from typing import Any

from sharpv.bench.card import describe_model, layout_and_prompt, prompt_flops
from sharpv.bench.clock import PEAK_KINDS
from sharpv.bench.drawn import draw_request
from sharpv.bench.flops import on_meta
from sharpv.bench.growth_spec import GrowthSpec
from sharpv.bench.latency_spec import LatencySpec
from sharpv.bench.latency_summary import llm_summary
from sharpv.bench.phases import LlmSide, preprocess, read_clip, run_llm_side
from sharpv.bench.trust import require_exact_idle, require_kept, require_kv_bytes
from sharpv.bench.where import where
from sharpv.hf.ask import VideoModel
from sharpv.hf.attach import attach

__all__ = ["run"]

SCHEMA_VERSION = 1
DENSE, PRUNED = "dense", "sharpv"


def run(
    loaded: VideoModel, spec: GrowthSpec, path: str, log: Callable[[str], None] = lambda line: None
) -> dict[str, Any]:
    """Checks a model, and times the LLM's side of requests that grow, dense and pruned in turn.

    The prompts are the processor's own; the features are drawn, as `sharpv.bench.drawn` says, and neither
    reading, preprocessing nor the vision tower is timed. Each point gets one round of warm-up and at most
    `spec.repeats` timed ones, in an order of sides that turns around from round to round.

    Args:
        loaded: the model.
        spec: what to time.
        path: of a clip with as many frames as the largest request.
        log: takes one line per step.

    Returns:
        A dictionary for JSON: `card` as `describe_model` has it; `points` by rows and frames, each with its
        tokens, timed rounds, milliseconds of scoring per frame, and of each side milliseconds as
        [median, min, max], bytes and operations; and where this was measured.

    Raises:
        RuntimeError: SharpV that drops nothing is not exactly the dense model, a side kept other tokens than
            asked, or its cache holds other bytes than these take: then no time is worth measuring.
        InputError: the clip or the model cannot be used.
        VideoError: the clip cannot be read.
    """
    end = time.perf_counter() + spec.minutes * 60
    card, twin, points = describe_model(loaded), on_meta(loaded.model), spec.points
    log(f"checking that SharpV that drops nothing is exactly the dense model, on {loaded.name} ...")
    checked = require_exact_idle(loaded, path, spec.at(*points[0]))
    found = []
    for number, (frames, batch) in enumerate(points):
        share = max(end - time.perf_counter(), 0.0) / (len(points) - number)
        found.append(_point(loaded, twin, card, spec.at(frames, batch), path, share))
        log(_line(found[-1]))
    return {
        "bench": "growth",
        "schema_version": SCHEMA_VERSION,
        "spec": spec.to_dict(),
        "card": card,
        "checked": checked,
        "points": sorted(found, key=lambda point: (point["batch"], point["frames"])),
        "peak_bytes_are": PEAK_KINDS.get(loaded.model.device.type),
        **where(str(loaded.model.device)),
    }


def _point(
    loaded: VideoModel, twin: Any, card: dict[str, Any], spec: LatencySpec, path: str, seconds: float
) -> dict[str, Any]:
    """Returns the record of one point, which may take about so many seconds."""
    inputs = preprocess(loaded, read_clip(path, spec.frames), spec.questions)
    layout, prompt = layout_and_prompt(loaded.model, inputs)
    request = draw_request(loaded, twin, inputs)
    del inputs  # the pixels, which would count as memory in use
    bytes_per_token = card["kv_bytes_per_token"]

    def once(side: str) -> LlmSide:
        make = nullcontext if side == DENSE else partial(attach, loaded.model, spec.config)
        done = run_llm_side(loaded, request, spec.new_tokens, make)
        if side != DENSE:
            require_kept(side, done.videos, spec)
        require_kv_bytes(side, done.kv_bytes, bytes_per_token * (spec.batch * prompt - _dropped(done)))
        return done

    runs = _rounds(once, spec.repeats, seconds)
    sides = {}
    for side, timed in runs.items():
        left = spec.batch * prompt - _dropped(timed[-1])
        sides[side] = llm_summary(timed) | {
            "kv_bytes_predicted": bytes_per_token * left,
            "prefill_flops": prompt_flops(twin, spec.batch, left // spec.batch)["prefill"],
        }
    return {
        "frames": spec.frames,
        "batch": spec.batch,
        "prompt_tokens": prompt,
        "video_tokens": layout.tokens,
        "rounds": len(runs[DENSE]),
        "scoring_ms_per_frame": round(sides[PRUNED]["ms"]["scoring"][0] / (spec.frames * spec.batch), 4),
        "sides": sides,
    }


def _rounds(once: Callable[[str], LlmSide], repeats: int, seconds: float) -> dict[str, list[LlmSide]]:
    """Runs both sides in turn after a warm-up, as often as the seconds allow, at least once."""
    runs: dict[str, list[LlmSide]] = {DENSE: [], PRUNED: []}
    begun = time.perf_counter()
    for side in runs:
        once(side)
    warm_up = time.perf_counter() - begun
    for number in range(min(max(int(seconds / warm_up) - 1, 1), repeats)):
        for side in list(runs) if number % 2 else list(runs)[::-1]:
            runs[side].append(once(side))
    return runs


def _dropped(side: LlmSide) -> int:
    """Returns the tokens that all rows of a request have lost."""
    return sum(video.tokens_total - video.tokens_kept for video in side.videos)


def _line(point: dict[str, Any]) -> str:
    prefills = ", ".join(
        f"{name} {side['ms']['prefill'][0]:,.0f} ms" for name, side in point["sides"].items()
    )
    return (
        f"{point['frames']} frames, batch {point['batch']}: prefill {prefills}, scoring "
        f"{point['scoring_ms_per_frame']:.3f} ms per frame, {point['rounds']} rounds"
    )
