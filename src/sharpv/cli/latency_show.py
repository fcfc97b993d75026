"""How `sharpv bench latency` looks: the static card, the phases side by side, and what they allow."""

from collections.abc import Iterable
from typing import Any

from sharpv.cli import output

__all__ = ["show_card", "show_result", "si", "spread_of"]

PHASES = {
    "read": "read and decode",
    "preprocess": "preprocess",
    "vision_tower": "vision tower",
    "projector": "projector",
    "scoring": "score and select",
    "prefill": "LLM prefill",
    "rest": "rest of generate()",
}
NOTES = (
    "median (min to max) in ms; the first four phases are the same for all sides without reuse, and run once "
    "per round",
    "ideal: by the FLOPs of the prefill, all other phases as measured and the choice of tokens free",
)
RANDOM = "random weights: times and bytes are a trained model's; answers, and what adaptive keeps, are noise"
CUT = "the LLM has {} of {} layers: its prefill, later tokens, bytes and shares are not the whole model's"
UNITS = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))
UNKNOWN = "?"


def show_card(card: dict[str, Any]) -> None:
    """Prints what is known before anything is timed."""
    model, request, ceilings = card["model"], card["request"], card["ceilings"]
    parts = model["parameters"]
    dense, kv = request["prompt_tokens"], card["kv_bytes_per_token"]
    output.table(
        ("what", "how much"),
        [
            ("model", f"{model['name']} in {model['dtype']}, attention by {model['attention']}"),
            ("parameters", f"{si(parts['total'])}: {_part_list(parts)}"),
            ("weights", f"{si(model['weight_bytes'])}B"),
            ("request", f"{request['batch']} x {dense} tokens, {request['video_tokens']} of them video"),
            ("video", f"{request['frames']} frames x {request['tokens_per_frame']} tokens for the LLM"),
            ("KV cache", f"{si(kv)}B per token, {si(kv * dense * request['batch'])}B for the dense prompt"),
            ("matmul, at best", f"{si(ceilings['matmul_flops_per_second'])}FLOP/s, measured"),
            ("copy, at best", f"{si(ceilings['copy_bytes_per_second'])}B/s read and written, measured"),
        ],
    )
    output.answer("")
    _show_flops(card["flops"])
    output.answer("")


def _show_flops(flops: dict[str, Any]) -> None:
    whole, pruned = flops["dense"], flops["pruned"]
    same = ("vision_tower", "projector")
    rows = [(PHASES[part], si(flops[part]), si(flops[part]), "1.00x") for part in same]
    names = {"prefill": "LLM prefill", "decode_step": "one decoding step", "formula": "prefill by formula"}
    for key, name in names.items():
        after = None if pruned is None else pruned[key]
        rows.append((name, si(whole[key]), si(after), _times(whole[key] and after and whole[key] / after)))
    tokens = UNKNOWN if pruned is None else pruned["tokens"]
    output.table(("FLOPs", f"{whole['tokens']} tokens", f"{tokens} tokens", "less by"), rows)
    output.answer("formula: the papers' L(4nd^2 + 2n^2d + 2ndm), in multiply-accumulates of a simpler layer")


def show_result(result: dict[str, Any], random_weights: bool) -> None:
    """Prints the phases of all sides, bytes, speed-ups, and the largest phase that is left.

    Args:
        result: from `sharpv.bench.latency.run`.
        random_weights: whether the model was of a published size only.
    """
    sides = result["sides"]
    output.answer("")
    rows = [
        [name, *(cell for side in sides.values() for cell in _cells(result, side, phase))]
        for phase, name in PHASES.items()
    ]
    for key, name in {"first_token": "= first token", "per_token": "each later token"}.items():
        rows.append([name, *_beside(spread_of(side["ms"][key]) for side in sides.values())])
    rows += [
        ["KV bytes after prefill", *_beside(f"{side['kv_bytes']:,}" for side in sides.values())],
        ["peak memory, generate()", *_beside(f"{si(side['peak_bytes'])}B" for side in sides.values())],
        ["video tokens kept", *_beside(_kept(side) for side in sides.values())],
    ]
    output.table(("phase, ms", *(column for side in sides for column in (side, "share"))), rows)
    _show_speed_ups(sides)
    if "reuse" in result:
        _show_reuse(result["reuse"])
    for name, side in sides.items():
        largest = side["largest_phase"]
        share = f"{largest['share']:.0%} of the time to first token"
        output.answer(f"largest phase with {name}: {PHASES[largest['name']]}, {share}")
    encodings, repeats = result["shared"]["encodings"], result["spec"]["repeats"]
    if encodings < repeats:
        output.answer(f"the clip was read and encoded in {encodings} of {repeats} rounds: see --minutes")
    output.answer(f"peak memory: {result['peak_bytes_are']}")
    built, whole = result["card"]["model"]["layers"]
    cut = [CUT.format(built, whole)] if built < whole else []
    for note in (*NOTES, *cut, *([RANDOM] if random_weights else [])):
        output.answer(note)


def _show_speed_ups(sides: dict[str, dict[str, Any]]) -> None:
    output.answer("")
    parts = {"prefill": "LLM prefill", "first_token": "first token"}
    output.table(
        ("speed-up with", "of", "ideal", "reached", "share of ideal"),
        [
            _speed_row(name, label, side["speed_up"][key])
            for name, side in sides.items()
            if "speed_up" in side
            for key, label in parts.items()
        ],
    )
    output.answer("")


def _show_reuse(reuse: dict[str, Any]) -> None:
    """Prints what the vision tower was spared, and the first token without reading the clip."""
    share = f"{reuse['rows_computed']:,} of {reuse['rows_total']:,} ({reuse['share']:.1%})"
    plan = f"{reuse['plan_milliseconds']:,.1f} ms"
    output.table(
        ("vision reuse", "how much"),
        [
            ("patches encoded", share if reuse["rows_total"] else "all"),
            ("frames in full", reuse["full_frames"] if reuse["rows_total"] else "all"),
            ("planning", f"{plan}, within the vision tower's time"),
            ("vision tower, all patches", f"{spread_of(reuse['ms']['whole'])} ms"),
            ("vision tower, with reuse", f"{spread_of(reuse['ms']['reuse'])} ms"),
            ("with reuse / all patches", _ratio(reuse["tower_times_dense"])),
        ],
    )
    if reuse["fallback"] is not None:
        output.answer(f"fell back to encoding all patches: {reuse['fallback']}")
    output.answer("")
    rows = [
        (name, spread_of(side["ms"]), f"{side['faster'][0]:.2f}x")
        for name, side in reuse["without_reading"].items()
    ]
    output.table(("first token without reading the clip", "ms", "faster by"), rows)
    output.answer("")


def _ratio(spread: list[float] | None) -> str:
    if spread is None:
        return UNKNOWN
    middle, low, high = spread
    return f"{middle:.3f} ({low:.3f} to {high:.3f})"


def _cells(result: dict[str, Any], side: dict[str, Any], phase: str) -> tuple[str, str]:
    """Returns a phase's time and its share of the time to first token."""
    spread = {**result["shared"]["ms"], **side["ms"]}[phase]
    if spread is None:
        return "in the tower", ""
    return spread_of(spread), f"{spread[0] / side['ms']['first_token'][0]:4.0%}"


def _beside(cells: Iterable[str]) -> list[str]:
    """Returns the cells with an empty one after each."""
    return [text for cell in cells for text in (cell, "")]


def _speed_row(name: str, label: str, speed: dict[str, Any]) -> list[str]:
    middle, low, high = speed["reached"]
    share = UNKNOWN if speed["share"] is None else f"{speed['share']:.0%}"
    return [name, label, _times(speed["ideal"]), f"{middle:.2f}x ({low:.2f} to {high:.2f})", share]


def _kept(side: dict[str, Any]) -> str:
    if side["tokens_kept"] is None:
        return "all"
    return f"{side['tokens_kept']} of {side['tokens_total']}"


def _part_list(parts: dict[str, int]) -> str:
    names = {"vision_tower": "vision tower", "projector": "projector", "llm": "LLM"}
    return ", ".join(f"{name} {si(parts[part])}" for part, name in names.items())


def spread_of(spread: list[float] | None) -> str:
    """Returns the median and, where they differ, the smallest and the largest."""
    if spread is None:
        return UNKNOWN
    middle, low, high = spread
    return f"{middle:,.1f}" if low == high else f"{middle:,.1f} ({low:,.1f} to {high:,.1f})"


def _times(ratio: float | None) -> str:
    return f"{ratio:.2f}x" if ratio else UNKNOWN


def si(number: float | None) -> str:
    """Returns a number with three digits and the prefix of its unit."""
    if number is None:
        return UNKNOWN
    for size, prefix in UNITS:
        if abs(number) >= size:
            return f"{number / size:.3g} {prefix}"
    return f"{number:.3g} "
