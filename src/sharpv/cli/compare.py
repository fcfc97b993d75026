"""`sharpv compare`: two results of a bench side by side."""

from pathlib import Path
from typing import Annotated, Any

import typer

from sharpv.cli import output
from sharpv.cli.options import Debug, Json

__all__ = ["compare"]

SAME = "spreads overlap"
NOTES = (
    "ratio: the median after over the one before; below 1 is less time or fewer bytes",
    f"'{SAME}': noise alone may explain the difference",
)


def compare(
    before: Annotated[Path, typer.Argument(metavar="A.json", help="Result of a bench.", show_default=False)],
    after: Annotated[
        Path, typer.Argument(metavar="B.json", help="Result of the same bench.", show_default=False)
    ],
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Compare two results of the same bench: latency, growth or scoring."""
    from sharpv.bench.compare import compare as set_against
    from sharpv.bench.compare import load_result

    found = set_against(load_result(before), load_result(after))
    if json:
        output.result(
            {
                "bench": found.bench,
                "rows": [row.to_dict() for row in found.rows],
                "settings": {name: [old, new] for name, old, new in found.settings},
                "only_before": list(found.only_before),
                "only_after": list(found.only_after),
            }
        )
        return
    if found.settings:
        output.table(("differs", str(before), str(after)), found.settings)
        output.answer("")
    output.table(("what", "before", "after", "ratio", ""), [_row(row) for row in found.rows])
    for name, missing in ((after, found.only_before), (before, found.only_after)):
        if missing:
            output.answer(f"not in {name}: {', '.join(missing)}")
    for note in NOTES:
        output.answer(note)


def _row(row: Any) -> list[str]:
    ratio = "" if row.ratio is None else f"{row.ratio:.3f}"
    same = row.before == row.after
    return [
        row.name,
        _spread(row.before),
        _spread(row.after),
        ratio,
        SAME if row.overlaps and not same else "",
    ]


def _spread(spread: tuple[float, float, float]) -> str:
    middle, low, high = spread
    return f"{middle:,.6g}" if low == high else f"{middle:,.6g} ({low:,.6g} to {high:,.6g})"
