"""How `sharpv eval` looks: accuracy by family and by scene type, what was kept, and what that cost."""

from collections.abc import Callable, Sequence
from typing import Any

from sharpv.bench.contest_table import contest_rows
from sharpv.cli import output
from sharpv.cli.contest_show import show_rows
from sharpv.cli.percent import difference, interval, percent, span

__all__ = ["show", "show_contest"]

NOTES = (
    "accuracy in %, with 95 % intervals that take clips as independent, but not the questions about one clip",
    "p: exact sign-flip test over clips; for one comparison, not for the best of many",
    "tokens by scene type: of the first clips of the split, not of those chosen for their questions",
    "a synthetic world: what holds for a small model there need not hold for a large one elsewhere",
)
MIXES = "each scene type has its own mix of questions: compare conditions within a row, not scene types"
COLUMNS_AT_ONCE = 5


def show_contest(summary: dict[str, Any]) -> None:
    """Prints one row per condition of a contest: what was kept, how often it was right, what it cost.

    Args:
        summary: from `sharpv.bench.accuracy.run`.
    """
    show_rows(contest_rows([("", summary)]), by_family=True)


def show(summary: dict[str, Any]) -> None:
    """Prints accuracy and kept tokens, a few conditions at a time, then what each condition cost and lost.

    Args:
        summary: from `sharpv.bench.accuracy.run`.
    """
    conditions = summary["conditions"]
    for names in _parts(list(conditions)):
        output.table(("family", "n", "constant", *names), _family_rows(conditions, names))
        output.answer("")
        output.table(("scene type", "n", *names), _scene_rows(conditions, names))
        output.answer("")
    for names in _parts([name for name, condition in conditions.items() if condition["against_dense"]]):
        output.table(("scene type, against dense", "n", *names), _difference_rows(conditions, names))
        output.answer("")
    output.answer(MIXES)
    output.answer("")
    for names in _parts([name for name, condition in conditions.items() if _shows_kept(condition["cost"])]):
        output.table(("tokens % by scene type", "clips", *names), _kept_rows(conditions, names))
        output.answer("")
    columns = ("condition", "tokens %", "range", "KV cache %", "layers out", "against dense", "p")
    output.table(
        (*columns, "against random", "p"),
        [_cost_row(name, condition) for name, condition in conditions.items()],
    )
    for note in NOTES:
        output.answer(note)


def _parts(names: Sequence[str]) -> list[Sequence[str]]:
    return [names[start : start + COLUMNS_AT_ONCE] for start in range(0, len(names), COLUMNS_AT_ONCE)]


def _shows_kept(cost: dict[str, Any]) -> bool:
    """Says whether tokens were dropped on clips that stand for their type of scene."""
    return bool(cost["clips_by_scene"]) and cost["kept_share"]["min"] < 1


def _family_rows(conditions: dict[str, Any], names: Sequence[str]) -> list[list[str]]:
    columns = [conditions[name] for name in names]
    rows = []
    for family in columns[0]["families"]:
        shares = [column["families"][family] for column in columns]
        rows.append([family, _counts(shares), _constants(columns, family), *map(_share, shares)])
    whole = [column["micro"] for column in columns]
    rows.append(["all questions", _counts(whole), "", *map(_share, whole)])
    means = [{"value": column["macro"], **column["macro_interval"]} for column in columns]
    rows.append(["mean of families", "", "", *map(_share, means)])
    if columns[0]["caption_facts"] is not None:
        rows.append(["facts in captions", "", "", *(percent(column["caption_facts"]) for column in columns)])
    return rows


def _scene_rows(conditions: dict[str, Any], names: Sequence[str]) -> list[list[str]]:
    return _by_scene([conditions[name]["scene_types"] for name in names], _share)


def _difference_rows(conditions: dict[str, Any], names: Sequence[str]) -> list[list[str]]:
    return _by_scene([conditions[name]["against_dense"]["scene_types"] for name in names], _difference)


def _by_scene(columns: Sequence[dict[str, Any]], cell: Callable[[dict[str, Any]], str]) -> list[list[str]]:
    """Returns a row per scene type that any of the columns was asked about."""
    rows = []
    for scene in max(columns, key=lambda column: len(column)):  # the controls may have seen fewer
        values = [column.get(scene) for column in columns]
        cells = ["" if value is None else cell(value) for value in values]
        rows.append([scene, _counts([value for value in values if value is not None]), *cells])
    return rows


def _kept_rows(conditions: dict[str, Any], names: Sequence[str]) -> list[list[str]]:
    costs = [conditions[name]["cost"] for name in names]
    return [
        [scene, str(clips), *(percent(cost["kept_share_by_scene"][scene]) for cost in costs)]
        for scene, clips in costs[0]["clips_by_scene"].items()
    ]


def _cost_row(name: str, condition: dict[str, Any]) -> list[str]:
    cost, dense = condition["cost"], condition["cost"]["dense_cache_bytes"]
    share = cost["kept_share"]
    kept = ("-", "-") if share is None else (percent(share["mean"]), span(share["min"], share["max"]))
    layers = f"{sum(cost['dropped']):.1f} of {len(cost['dropped'])}" if cost["dropped"] else "-"
    cache = percent(cost["cache_bytes"] / dense) if dense and share else "-"
    against = (*_against(condition["against_dense"]), *_against(condition["against_random"]))
    return [name, *kept, cache, layers, *against]


def _against(comparison: dict[str, Any] | None) -> tuple[str, str]:
    return ("-", "-") if comparison is None else (_difference(comparison), f"{comparison['p']:.2g}")


def _difference(comparison: dict[str, Any]) -> str:
    return difference(comparison["difference"], comparison["low"], comparison["high"])


def _constants(columns: Sequence[dict[str, Any]], family: str) -> str:
    """Returns what the best constant would get, in the order of `_counts`: of the same questions each."""
    constants = {column["families"][family]["n"]: column["best_constant"].get(family) for column in columns}
    return "/".join(
        percent(constants[n]) for n in sorted(constants, reverse=True) if constants[n] is not None
    )


def _counts(shares: Sequence[dict[str, Any]]) -> str:
    """Returns the number of questions; the controls may have been asked fewer."""
    counts = sorted({share["n"] for share in shares}, reverse=True)
    return "/".join(map(str, counts))


def _share(share: dict[str, Any]) -> str:
    return interval(share["value"], share["low"], share["high"])
