"""How `sharpv bench growth` looks: a table with two rows per point."""

from typing import Any

from sharpv.cli import output
from sharpv.cli.latency_show import si, spread_of

__all__ = ["show_growth"]

COLUMNS = (
    "frames x rows",
    "side",
    "tokens",
    "score and select",
    "per frame",
    "LLM prefill",
    "rest",
    "later token",
    "KV bytes",
    "peak",
    "rounds",
)
NOTES = (
    "median (min to max) in ms; tokens: of a row's prompt; per frame: scoring over all frames of all rows",
    "KV bytes are, to the byte, those predicted: bytes per token x tokens of all rows",
    "features are drawn: reading, preprocessing and the vision tower are not in these figures",
)


def show_growth(result: dict[str, Any]) -> None:
    """Prints the points of a result.

    Args:
        result: from `sharpv.bench.growth.run`.
    """
    model = result["card"]["model"]
    output.answer(f"{model['name']} in {model['dtype']}, attention by {model['attention']}")
    output.table(COLUMNS, [_row(point, name) for point in result["points"] for name in point["sides"]])
    output.answer(f"peak memory: {result['peak_bytes_are']}")
    for note in NOTES:
        output.answer(note)


def _row(point: dict[str, Any], name: str) -> list[str]:
    side = point["sides"][name]
    ms, dense = side["ms"], side["tokens_kept"] is None
    dropped = 0 if dense else side["tokens_total"] - side["tokens_kept"]
    return [
        f"{point['frames']} x {point['batch']}",
        name,
        f"{point['prompt_tokens'] - dropped:,}",
        "" if dense else spread_of(ms["scoring"]),
        "" if dense else f"{point['scoring_ms_per_frame']:.3f}",
        spread_of(ms["prefill"]),
        spread_of(ms["rest"]),
        spread_of(ms["per_token"]),
        f"{side['kv_bytes']:,}",
        f"{si(side['peak_bytes'])}B",
        str(point["rounds"]),
    ]
