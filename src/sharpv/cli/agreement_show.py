"""How `sharpv eval --suite clips` looks: a row for each condition."""

from typing import Any

from sharpv.cli import output

__all__ = ["show"]

COLUMNS = ("condition", "tokens %", "layers %", "KL, nats per token", "agreement %", "n")
NOTES = (
    "tokens %: of the video's, that enter the LLM; layers %: that a layer reads, the mean over layers",
    "KL: of the dense model's predictions to the condition's, token by token of the dense model's answers",
    "agreement: share of these n tokens of which both hold the same for the likeliest",
    "95 % intervals take clips as independent, but not the tokens of one clip",
    "how far pruning moves the model, not whether its answers are right",
)


def show(summary: dict[str, Any]) -> None:
    """Prints a table that can be pasted.

    Args:
        summary: from `sharpv.bench.agreement.run`.
    """
    output.answer(
        f"{summary['model']}: {summary['clips']} clips, {summary['questions']} questions about each"
    )
    output.answer("")
    output.table(COLUMNS, [_row(name, found) for name, found in summary["conditions"].items()])
    for note in NOTES:
        output.answer(note)


def _row(name: str, found: dict[str, Any]) -> list[str]:
    kl, agreement, cost = found["kl"], found["agreement"], found["cost"]
    interval = "" if kl["low"] is None else f" ({kl['low']:.3f}-{kl['high']:.3f})"
    share = f"{100 * agreement['value']:.1f} ({100 * agreement['low']:.0f}-{100 * agreement['high']:.0f})"
    return [
        name,
        *(f"{100 * cost[share]['mean']:.1f}" for share in ("kept_share", "layer_share")),
        f"{kl['mean']:.3f}{interval}",
        share,
        str(agreement["n"]),
    ]
