"""The tables that docs/performance.py makes of the results of benches."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sharpv.cli.latency_show import PHASES, si

ROWS = PHASES | {"first_token": "**first token**", "per_token": "each later token"}
LARGEST, KV = "largest share of the first token", "KV bytes after the prefill"


def milliseconds(spread: list[float] | None) -> str:
    """Returns the median and, where they differ, the smallest and the largest."""
    if spread is None:
        return ""
    median, low, high = (f"{value:,.0f}" if value >= 10 else f"{value:.1f}" for value in spread)
    return median if low == high else f"{median} ({low}-{high})"


def counted(operations: float | None) -> str:
    """Returns a number of operations; nothing where they are not known."""
    return "" if operations is None else f"{operations:.3g}"


def row(cells: Iterable[str]) -> str:
    """Returns a line of a table."""
    return "| " + " | ".join(cells) + " |"


def head(*columns: str) -> list[str]:
    """Returns the first lines of a table."""
    return ["", row(columns), "|---" * len(columns) + "|"]


def measured_with(result: dict[str, Any]) -> str:
    """Returns the machine, the versions and the commit."""
    versions = result["versions"]
    return (
        f"{result['device_name']}, {result['threads']} threads, torch {versions['torch']}, transformers "
        f"{versions['transformers']}, commit {result['commit']}"
    )


def layers(result: dict[str, Any]) -> tuple[int, int]:
    """Returns how many decoder layers were built, and how many the whole model has."""
    built, whole = result["card"]["model"].get("layers", (1, 1))
    return built, whole


def whole_model(result: dict[str, Any], side: dict[str, Any]) -> dict[str, float]:
    """Returns milliseconds by phase with the prefill of the layers built scaled up to all; and their sum."""
    built, whole = layers(result)
    spreads = {**result["shared"]["ms"], **side["ms"]}
    medians = {phase: spreads[phase][0] for phase in PHASES if spreads[phase] is not None}
    medians["prefill"] *= whole / built
    return medians | {"first_token": sum(medians.values())}


def measured_cells(result: dict[str, Any], side: dict[str, Any]) -> dict[str, str]:
    """Returns the cells of a side's column by row; a part of a model has no share to speak of."""
    spreads, largest = {**result["shared"]["ms"], **side["ms"]}, side["largest_phase"]
    built, whole = layers(result)
    return {
        **{name: milliseconds(spreads[phase]) for phase, name in ROWS.items()},
        LARGEST: f"{largest['share']:.0%} {PHASES[largest['name']]}" if built == whole else "",
        KV: f"{side['kv_bytes']:,}",
    }


def estimated_cells(result: dict[str, Any], side: dict[str, Any]) -> dict[str, str]:
    """Returns the same cells for the whole model, by `whole_model`."""
    built, whole = layers(result)
    medians = whole_model(result, side)
    largest = max(PHASES, key=lambda phase: medians.get(phase, 0.0))
    return {
        **{name: milliseconds([medians[phase]] * 3) for phase, name in ROWS.items() if phase in medians},
        LARGEST: f"{medians[largest] / medians['first_token']:.0%} {PHASES[largest]}",
        KV: f"{side['kv_bytes'] * whole // built:,}",
    }


def speed_up_rows(result: dict[str, Any], name: str, side: dict[str, Any]) -> Iterable[str]:
    """Returns what a side's FLOPs allow, and what it reached; of a part, the first token by `whole_model`.

    Nothing where they could not be counted.
    """
    built, whole = layers(result)
    found = dict(side["speed_up"])
    if found["prefill"]["ideal"] is None:
        return
    if built < whole:
        dense, pruned = (whole_model(result, one) for one in (result["sides"]["dense"], side))
        saved = dense["prefill"] * (1 - 1 / found["prefill"]["ideal"])
        ideal = dense["first_token"] / (dense["first_token"] - saved)
        reached = dense["first_token"] / pruned["first_token"]
        found["first_token"] = {"ideal": ideal, "reached": [reached] * 3, "share": reached / ideal}
    for what, speed in found.items():
        median, low, high = (f"{value:.2f}" for value in speed["reached"])
        estimate = ", estimate" if built < whole and what == "first_token" else ""
        reached = median if low == high else f"{median} ({low}-{high})"
        yield row(
            (f"{name}: {ROWS[what]}{estimate}", f"{speed['ideal']:.2f}", reached, f"{speed['share']:.0%}")
        )


def latency_tables(result: dict[str, Any], name: str) -> list[str]:
    """Returns where and what was measured, the phases of each side, and what the FLOPs allow."""
    card, spec, sides = result["card"], result["spec"], result["sides"]
    request = card["request"]
    built, whole = layers(result)
    part = f", {built} layers" if built < whole else ""
    columns = {f"{name}{part}": measured_cells(result, side) for name, side in sides.items()}
    if part:
        columns |= {
            f"{name}, estimate x {whole}/{built}": estimated_cells(result, side)
            for name, side in sides.items()
        }
    lines = [
        f"{card['model']['name']} with random weights in {card['model']['dtype']}, {request['batch']} x "
        f"{request['prompt_tokens']} tokens, {request['video_tokens']} of them video ({spec['frames']} "
        f"frames); {measured_with(result)}. Median (smallest-largest) of {spec['repeats']} rounds, the clip "
        f"encoded in {result['shared']['encodings']}.",
        *head("milliseconds", *columns),
    ]
    lines += [
        row((label, *(cells.get(label, "") for cells in columns.values())))
        for label in (*ROWS.values(), LARGEST, KV)
    ]
    if part:
        lines += [
            "",
            f"Estimate x {whole}/{built}: the prefill of {built} layers taken for that of all {whole}, the "
            "medians of the other phases as measured, and the first token their sum.",
        ]
    return [*lines, *allowed_tables(result, part)]


def allowed_tables(result: dict[str, Any], part: str) -> Iterable[str]:
    """Returns the FLOPs, which the LLM's layers built have, and the speed-ups that they allow.

    Args:
        result: of bench latency.
        part: what to add where these are not all layers.
    """
    flops = result["card"]["flops"]
    yield from head("FLOPs", "dense", "pruned")
    for phase in ("vision_tower", "projector"):
        yield row((PHASES[phase], counted(flops[phase]), "the same"))
    for phase, label in (("prefill", "LLM prefill"), ("formula", "prefill by the papers' formula, in MACs")):
        yield row((label + part, *(counted((flops[side] or {}).get(phase)) for side in ("dense", "pruned"))))
    yield from head("faster by", "ideal", "reached", "share")
    for name, side in result["sides"].items():
        if "speed_up" in side:
            yield from speed_up_rows(result, name, side)


def growth_tables(result: dict[str, Any], name: str) -> list[str]:
    """Returns what was measured, the picture of it, and a table each against frames and rows."""
    card, spec = result["card"], result["spec"]
    fewest = min(spec["frames"])
    by_frames = [
        point for point in result["points"] if point["batch"] == 1 and point["frames"] in spec["frames"]
    ]
    by_rows = [
        point for point in result["points"] if point["frames"] == fewest and point["batch"] in spec["batches"]
    ]
    return [
        f"{card['model']['name']}, with random weights in {card['model']['dtype']} and drawn features, "
        f"{spec['config']['retention']:.0%} of the video's tokens kept; {measured_with(result)}. Median "
        "(smallest-largest) in milliseconds, of each pair dense / pruned.",
        "",
        f"![Time and bytes against frames and rows](performance/{Path(name).stem}.svg)",
        *growth_table("frames", by_frames),
        *growth_table("batch", by_rows),
    ]


def growth_table(along: str, points: list[dict[str, Any]]) -> Iterable[str]:
    """Returns the table of the points along one direction."""
    yield from head(
        "frames of one row" if along == "frames" else f"rows of {points[0]['frames']} frames",
        "tokens of a row",
        "LLM prefill",
        "faster by, of ideal",
        "scoring",
        "scoring, per frame",
        "rest",
        "each later token",
        "KV bytes",
        "peak memory",
        "rounds",
    )
    for point in points:
        dense, pruned = point["sides"]["dense"], point["sides"]["sharpv"]
        both = (dense, pruned)
        faster = dense["ms"]["prefill"][0] / pruned["ms"]["prefill"][0]
        ideal = dense["prefill_flops"] / pruned["prefill_flops"]
        left = point["prompt_tokens"] - pruned["tokens_total"] + pruned["tokens_kept"]
        yield row(
            (
                str(point[along]),
                f"{point['prompt_tokens']:,} / {left:,}",
                " / ".join(milliseconds(side["ms"]["prefill"]) for side in both),
                f"{faster:.1f} of {ideal:.1f}",
                milliseconds(pruned["ms"]["scoring"]),
                f"{point['scoring_ms_per_frame']:.2f}",
                " / ".join(milliseconds([side["ms"]["rest"][0]] * 3) for side in both),
                " / ".join(milliseconds([(side["ms"]["per_token"] or [0.0])[0]] * 3) for side in both),
                " / ".join(f"{side['kv_bytes']:,}" for side in both),
                " / ".join(f"{si(side['peak_bytes'])}B" for side in both),
                str(point["rounds"]),
            )
        )


def remaining_table(results: list[dict[str, Any]]) -> list[str]:
    """Returns one line per result of bench latency: what pruning saved, and what takes the time then."""
    lines = head(
        "size", "frames", "prefill faster by, of ideal", "first token faster by", "largest phase that is left"
    )
    for result in results:
        built, whole = layers(result)
        dense, pruned = (whole_model(result, result["sides"][name]) for name in ("dense", "sharpv"))
        speed_up = result["sides"]["sharpv"]["speed_up"]
        speed, first = speed_up["prefill"], speed_up["first_token"]["reached"][0]
        if built < whole:
            first = dense["first_token"] / pruned["first_token"]
        largest = max(PHASES, key=lambda phase: pruned.get(phase, 0.0))
        name = result["card"]["model"]["name"].partition(",")[0]
        lines.append(
            row(
                (
                    name + (f" (estimate from {built} of {whole} layers)" if built < whole else ""),
                    str(result["spec"]["frames"]),
                    f"{speed['reached'][0]:.1f} of {speed['ideal']:.1f} ({speed['share']:.0%})",
                    f"{first:.2f}",
                    f"{PHASES[largest]}, {pruned[largest] / pruned['first_token']:.0%} of the first token",
                )
            )
        )
    return lines[1:]


def idle_table(result: dict[str, Any], name: str) -> list[str]:
    """Returns what an attached session costs that has nothing to prune: bench latency at retention 1."""
    dense, attached = (result["sides"][side]["ms"] for side in ("dense", "sharpv"))
    request, spec = result["card"]["request"], result["spec"]
    lines = [
        f"{result['card']['model']['name']}, {request['prompt_tokens']} tokens, {spec['repeats']} rounds; "
        f"{measured_with(result)}. Median (smallest-largest).",
        *head("milliseconds", "unattached", "attached", "attached / unattached"),
    ]
    for phase in ("prefill", "rest", "per_token"):
        cells = (milliseconds(dense[phase]), milliseconds(attached[phase]))
        lines.append(row((ROWS[phase], *cells, f"{attached[phase][0] / dense[phase][0]:.3f}")))
    return lines


def scoring_table(result: dict[str, Any], name: str) -> list[str]:
    """Returns what scoring and selecting costs in reads of the same features."""
    lines = [
        f"{measured_with(result)}. Median (smallest-largest) of {result['repeats']} rounds.",
        *head("features `[frames, tokens, dim]`", "dtype", "ms", "reads", "whole-video `cosine_similarity`"),
    ]
    for case in result["cases"]:
        ours, theirs = (case["times_sum"][side] for side in ("sharpv", "whole_tensor"))
        lines.append(
            row(
                (
                    " x ".join(map(str, case["shape"])),
                    case["dtype"],
                    milliseconds(case["ms"]["sharpv"]),
                    f"{ours[0]:.1f} ({ours[1]:.1f}-{ours[2]:.1f})",
                    f"{theirs[0]:.0f} ({theirs[1]:.0f}-{theirs[2]:.0f})",
                )
            )
        )
    return lines


def tables_of(result: dict[str, Any], name: str) -> list[str]:
    """Returns the tables of one result, by its bench.

    Args:
        result: the last line of a bench.
        name: of its file.
    """
    if result["bench"] == "latency" and result["spec"]["config"]["retention"] == 1.0:
        return idle_table(result, name)
    made = {"latency": latency_tables, "growth": growth_tables, "scoring": scoring_table}
    return made[result["bench"]](result, name)
