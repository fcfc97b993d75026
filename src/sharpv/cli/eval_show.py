"""How `sharpv eval` looks: accuracy by family and by scene type, what was kept, and what that cost."""

from collections.abc import Sequence
from typing import Any

from sharpv.cli import output

__all__ = ["show"]

NOTES = (
    "accuracy in %, with 95 % intervals that take clips as independent, but not the questions about one clip",
    "p: exact sign-flip test over clips; for one comparison, not for the best of many",
    "tokens by scene type: of the first clips of the split, not of those chosen for their questions",
    "a synthetic world: what holds for a small model there need not hold for a large one elsewhere",
)
COLUMNS_AT_ONCE = 5


def show(summary: dict[str, Any]) -> None:
    """Prints accuracy and kept tokens, a few conditions at a time, then what each condition cost and lost.

    Args:
        summary: from `sharpv.bench.accuracy.run`.
    """
    found = summary["conditions"]
    for some in _parts(list(found)):
        output.table(("family", "n", "constant", *some), _family_rows(summary, some))
        output.answer("")
        output.table(("scene type", "n", *some), _scene_rows(found, some))
        output.answer("")
    for some in _parts([name for name, one in found.items() if _shows_kept(one["cost"])]):
        output.table(("tokens % by scene type", "clips", *some), _kept_rows(found, some))
        output.answer("")
    columns = ("condition", "tokens %", "range", "KV cache %", "layers out", "against dense", "p")
    output.table((*columns, "against random", "p"), [_cost_row(name, one) for name, one in found.items()])
    for note in NOTES:
        output.answer(note)


def _parts(names: Sequence[str]) -> list[Sequence[str]]:
    return [names[start : start + COLUMNS_AT_ONCE] for start in range(0, len(names), COLUMNS_AT_ONCE)]


def _shows_kept(cost: dict[str, Any]) -> bool:
    """Says whether tokens were dropped on clips that stand for their type of scene."""
    return bool(cost["clips_by_scene"]) and cost["kept_share"]["min"] < 1


def _family_rows(summary: dict[str, Any], names: Sequence[str]) -> list[list[str]]:
    found, best = [summary["conditions"][name] for name in names], summary["best_constant"]
    rows = []
    for family in found[0]["families"]:
        shares = [one["families"][family] for one in found]
        rows.append([family, _counts(shares), _percent(best.get(family)), *map(_share, shares)])
    whole = [one["micro"] for one in found]
    rows.append(["all questions", _counts(whole), "", *map(_share, whole)])
    means = [{"value": one["macro"], **one["macro_interval"]} for one in found]
    rows.append(["mean of families", "", "", *map(_share, means)])
    if found[0]["caption_facts"] is not None:
        rows.append(["facts in captions", "", "", *(_percent(one["caption_facts"]) for one in found)])
    return rows


def _scene_rows(found: dict[str, Any], names: Sequence[str]) -> list[list[str]]:
    """Returns a row per scene type that any of the conditions was asked about."""
    columns = [found[name]["scene_types"] for name in names]
    rows = []
    for scene in max(columns, key=lambda column: len(column)):  # the controls may have seen fewer
        shares = [column.get(scene) for column in columns]
        cells = ["" if share is None else _share(share) for share in shares]
        rows.append([scene, _counts([share for share in shares if share is not None]), *cells])
    return rows


def _kept_rows(found: dict[str, Any], names: Sequence[str]) -> list[list[str]]:
    costs = [found[name]["cost"] for name in names]
    return [
        [scene, str(clips), *(_percent(cost["kept_share_by_scene"][scene]) for cost in costs)]
        for scene, clips in costs[0]["clips_by_scene"].items()
    ]


def _cost_row(name: str, found: dict[str, Any]) -> list[str]:
    cost, dense = found["cost"], found["cost"]["dense_cache_bytes"]
    share = cost["kept_share"]
    kept = ("-", "-") if share is None else (_percent(share["mean"]), _range(share["min"], share["max"]))
    layers = f"{sum(cost['dropped']):.1f} of {len(cost['dropped'])}" if cost["dropped"] else "-"
    cache = _percent(cost["cache_bytes"] / dense) if dense and share else "-"
    return [name, *kept, cache, layers, *_against(found["against_dense"]), *_against(found["against_random"])]


def _against(found: dict[str, Any] | None) -> tuple[str, str]:
    if found is None:
        return "-", "-"
    between = "" if found["low"] is None else f" ({100 * found['low']:+.1f} to {100 * found['high']:+.1f})"
    return f"{100 * found['difference']:+.1f}{between}", f"{found['p']:.2g}"


def _counts(shares: Sequence[dict[str, Any]]) -> str:
    """Returns the number of questions; the controls may have been asked fewer."""
    counts = sorted({share["n"] for share in shares}, reverse=True)
    return "/".join(map(str, counts))


def _share(share: dict[str, Any]) -> str:
    return f"{_percent(share['value'])} ({_range(share['low'], share['high'])})"


def _range(low: float, high: float) -> str:
    return f"{100 * low:.0f}-{100 * high:.0f}"


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.1f}"
