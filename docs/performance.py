"""Writes the tables of docs/performance.md from the results beside it, or checks that they say so.

Run from the repository's root: `python docs/performance.py`, or with `--check`. A result is the last line of
`sharpv bench latency`, saved under docs/performance/ with `-o`.
"""

import json
import re
import sys
from pathlib import Path
from typing import Any

from sharpv.cli.latency_show import PHASES

PAGE, RESULTS = Path("docs/performance.md"), Path("docs/performance")
TABLES = re.compile(r"(<!-- ([\w.-]+) by docs/performance.py -->\n).*?(<!-- end -->)", re.DOTALL)
ROWS = PHASES | {"first_token": "**first token**", "per_token": "each later token"}


def milliseconds(spread: list[float] | None) -> str:
    """Returns the median and, where they differ, the smallest and the largest."""
    if spread is None:
        return ""
    median, low, high = (f"{value:,.0f}" if value >= 10 else f"{value:.1f}" for value in spread)
    return median if low == high else f"{median} ({low}-{high})"


def tables(result: dict[str, Any]) -> str:
    """Returns where and what was measured, the phases of each side, and what the FLOPs allow."""
    card, spec, sides = result["card"], result["spec"], result["sides"]
    request, flops = card["request"], card["flops"]
    versions, rounds = result["versions"], f"{spec['repeats']} rounds, the clip encoded in"
    lines = [
        f"{card['model']['name']} with random weights in {card['model']['dtype']}, {request['batch']} x "
        f"{request['prompt_tokens']} tokens, {request['video_tokens']} of them video ({spec['frames']} "
        f"frames); {result['device_name']}, {result['threads']} threads, torch {versions['torch']}, "
        f"transformers {versions['transformers']}, commit {result['commit']}. Median (smallest-largest) of "
        f"{rounds} {result['shared']['encodings']}.",
        "",
        "| milliseconds | " + " | ".join(sides) + " |",
        "|---" * (len(sides) + 1) + "|",
    ]
    for phase, name in ROWS.items():
        cells = [milliseconds({**result["shared"]["ms"], **side["ms"]}[phase]) for side in sides.values()]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    shares = [
        f"{side['largest_phase']['share']:.0%} {PHASES[side['largest_phase']['name']]}"
        for side in sides.values()
    ]
    lines.append("| largest share of the first token | " + " | ".join(shares) + " |")
    lines.append(
        "| KV bytes after the prefill | "
        + " | ".join(f"{side['kv_bytes']:,}" for side in sides.values())
        + " |"
    )
    lines += ["", "| FLOPs | dense | pruned |", "|---|---|---|"]
    for part in ("vision_tower", "projector"):
        lines.append(f"| {PHASES[part]} | {flops[part]:.3g} | the same |")
    for part, name in (("prefill", "LLM prefill"), ("formula", "prefill by the papers' formula, in MACs")):
        lines.append(f"| {name} | {flops['dense'][part]:.3g} | {flops['pruned'][part]:.3g} |")
    lines += ["", "| faster by | ideal | reached | share |", "|---|---|---|---|"]
    for name, side in sides.items():
        for what, found in side.get("speed_up", {}).items():
            median, low, high = found["reached"]
            lines.append(
                f"| {name}: {ROWS[what]} | {found['ideal']:.2f} | {median:.2f} ({low:.2f}-{high:.2f}) | "
                f"{found['share']:.0%} |"
            )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Writes the page, or with `--check` fails where it says something else."""
    page = PAGE.read_text()
    new = TABLES.sub(
        lambda found: found[1] + tables(json.loads((RESULTS / found[2]).read_text())) + found[3], page
    )
    if sys.argv[1:] != ["--check"]:
        PAGE.write_text(new)
    elif new != page:
        sys.exit(f"{PAGE} does not say what its results say: run `python docs/performance.py`")


if __name__ == "__main__":
    main()
