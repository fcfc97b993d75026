"""How `sharpv eval` looks: accuracy by family and by scene type, what was kept, and what that cost."""

from collections.abc import Callable, Sequence
from typing import Any

from sharpv.cli import output

__all__ = ["show", "show_contest"]

NOTES = (
    "accuracy in %, with 95 % intervals that take clips as independent, but not the questions about one clip",
    "p: exact sign-flip test over clips; for one comparison, not for the best of many",
    "tokens by scene type: of the first clips of the split, not of those chosen for their questions",
    "a synthetic world: what holds for a small model there need not hold for a large one elsewhere",
)
MIXES = "each scene type has its own mix of questions: compare conditions within a row, not scene types"
COLUMNS_AT_ONCE = 5


CONTEST_NOTES = (
    "accuracy in %, the mean of the families; against dense on the same questions; 95 % intervals over clips",
    "tokens %: of the video's, that enter the LLM; layers %: that a layer reads, the mean over layers",
    "scoring: median ms per clip; prefill, FLOPs, cache: of a question's prefill, in % of dense",
    NOTES[-1],
)


def show_contest(summary: dict[str, Any]) -> None:
    """Prints one row per condition of a contest: what was kept, how often it was right, what it cost.

    Args:
        summary: from `sharpv.bench.accuracy.run`.
    """
    conditions = summary["conditions"]
    columns = ("condition", "tokens %", "layers %", "accuracy", "against dense", "agreement")
    stage_2 = any(found["cost"]["dropped"] for found in conditions.values())
    output.table(
        (*columns, "scoring", "prefill", "FLOPs", "cache", *(("layers out",) if stage_2 else ())),
        [
            _contest_row(name, found) + ([_layers_out(found["cost"])] if stage_2 else [])
            for name, found in conditions.items()
        ],
    )
    output.answer("")
    families = next(iter(conditions.values()))["families"]
    output.table(
        ("accuracy %", *families, "facts in captions"),
        [
            [
                name,
                *(f"{100 * share['value']:.0f}" for share in found["families"].values()),
                _percent(found["caption_facts"]),
            ]
            for name, found in conditions.items()
        ],
    )
    counts = sorted({str(share["n"]) for share in families.values()})
    output.answer(f"of {' or '.join(counts)} questions each; intervals are in --json and `sharpv compare`")
    output.answer("")
    for note in CONTEST_NOTES:
        output.answer(note)


def _contest_row(name: str, found: dict[str, Any]) -> list[str]:
    cost, times = found["cost"], found["cost"]["times"]
    against, scoring = found["against_dense"], times["scoring_ms"]
    kept, layers = cost["kept_share"], cost["layer_share"]
    return [
        name,
        _percent(kept["mean"]) if kept else "-",
        _percent(layers["mean"]) if layers else "-",
        _share({"value": found["macro"], **found["macro_interval"]}),
        "-" if against is None else _difference(against),
        _percent(found["agreement"]),
        "-" if scoring is None else f"{scoring['median']:.2f}",
        _percent(times["prefill_of_dense"]["median"]) if times["prefill_of_dense"] else "-",
        _percent(cost["flops"]["exact_of_dense"]),
        _percent(cost["cache_bytes"] / cost["dense_cache_bytes"]) if cost["dense_cache_bytes"] else "-",
    ]


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
        rows.append(["facts in captions", "", "", *(_percent(column["caption_facts"]) for column in columns)])
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
        [scene, str(clips), *(_percent(cost["kept_share_by_scene"][scene]) for cost in costs)]
        for scene, clips in costs[0]["clips_by_scene"].items()
    ]


def _cost_row(name: str, condition: dict[str, Any]) -> list[str]:
    cost, dense = condition["cost"], condition["cost"]["dense_cache_bytes"]
    share = cost["kept_share"]
    kept = ("-", "-") if share is None else (_percent(share["mean"]), _range(share["min"], share["max"]))
    cache = _percent(cost["cache_bytes"] / dense) if dense and share else "-"
    against = (*_against(condition["against_dense"]), *_against(condition["against_random"]))
    return [name, *kept, cache, _layers_out(cost), *against]


def _layers_out(cost: dict[str, Any]) -> str:
    """Returns how many layers gave up their video, a mean over questions."""
    return f"{sum(cost['dropped']):.1f} of {len(cost['dropped'])}" if cost["dropped"] else "-"


def _against(comparison: dict[str, Any] | None) -> tuple[str, str]:
    return ("-", "-") if comparison is None else (_difference(comparison), f"{comparison['p']:.2g}")


def _difference(comparison: dict[str, Any]) -> str:
    low, high = comparison["low"], comparison["high"]
    interval = "" if low is None else f" ({100 * low:+.1f} to {100 * high:+.1f})"
    return f"{100 * comparison['difference']:+.1f}{interval}"


def _constants(columns: Sequence[dict[str, Any]], family: str) -> str:
    """Returns what the best constant would get, in the order of `_counts`: of the same questions each."""
    constants = {column["families"][family]["n"]: column["best_constant"].get(family) for column in columns}
    return "/".join(
        _percent(constants[n]) for n in sorted(constants, reverse=True) if constants[n] is not None
    )


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
