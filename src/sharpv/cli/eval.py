"""`sharpv eval`: how often a model is right, dense and pruned, on questions with a known answer."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sharpv.bench.conditions import CONDITIONS
from sharpv.cli import output
from sharpv.cli.options import Debug, Device, Json, Model
from sharpv.tiny.load import TOY_PREFIX

if TYPE_CHECKING:
    from sharpv.bench.spec import AccuracySpec

__all__ = ["evaluate"]

SUITES = ("shapesqa",)
NOTE = (
    "accuracy in %, with the 95 % Wilson interval, on a synthetic world: what holds for a small model there "
    "need not hold for a large one elsewhere"
)
COLUMNS_AT_ONCE = 5

Families = Annotated[
    list[str] | None, typer.Option("--family", help="Family of questions, repeatable. [default: all]")
]
SceneTypes = Annotated[
    list[str] | None, typer.Option("--scene-type", help="Type of scene, repeatable. [default: all]")
]


def evaluate(
    suite: Annotated[str, typer.Option(help="Set of questions: shapesqa.")] = "shapesqa",
    model: Model = None,
    method: Annotated[
        list[str] | None,
        typer.Option(help=f"Column of the table, repeatable: {', '.join(CONDITIONS)}. [default: all]"),
    ] = None,
    retention: Annotated[float, typer.Option(help="Share of tokens that the -budget methods keep.")] = 0.25,
    threshold: Annotated[float, typer.Option(help="Least importance that sharpv-threshold keeps.")] = 1.6,
    per_family: Annotated[int, typer.Option(help="Questions of each family.")] = 200,
    control_per_family: Annotated[
        int | None, typer.Option(help="The same for the controls. [default: 100 at most]")
    ] = None,
    family: Families = None,
    scene_type: SceneTypes = None,
    split: Annotated[str, typer.Option(help="train, validation, test or combinations.")] = "test",
    frames: Annotated[int, typer.Option(help="Frames of each clip, 4 to 32.")] = 8,
    size: Annotated[int, typer.Option(help="Side of a frame in pixels.")] = 64,
    source: Annotated[str, typer.Option(help="arrays, or mp4: through a file.")] = "arrays",
    scoring: Annotated[
        str, typer.Option(help="options: the likeliest option; generate: free text.")
    ] = "options",
    rows: Annotated[int, typer.Option(help="The most questions in a batch.")] = 8,
    dtype: Annotated[
        str | None,
        typer.Option(help="As for ask. [default: float32 for the model in the box, else auto]"),
    ] = None,
    device: Device = None,
    seed: Annotated[int, typer.Option(help="Of the questions.")] = 0,
    out: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder for the records; a second run there goes on."),
    ] = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Ask a model questions with known answers, dense and pruned, and show how often it is right.

    Without -m, the toy in the box answers; "-m toy:dense" is the one trained without dropping tokens. random
    and uniform keep, on each clip, exactly as many tokens as sharpv does; those that end in -budget keep the
    share of --retention. blind, the -frame ones and shuffled are controls: they show that the model watches.
    """
    if suite not in SUITES:
        raise typer.BadParameter(f"{suite!r} is none of {', '.join(SUITES)}", param_hint="--suite")
    given = {
        "families": tuple(family) if family else None,
        "scene_types": tuple(scene_type) if scene_type else None,
        "control_per_family": min(100, per_family) if control_per_family is None else control_per_family,
    }
    spec = _spec(
        method or [],
        retention,
        threshold,
        per_family=per_family,
        split=split,
        frames=frames,
        size=size,
        source=source,
        scoring=scoring,
        rows=rows,
        seed=seed,
        **{name: value for name, value in given.items() if value is not None},
    )
    from sharpv.bench.accuracy import run
    from sharpv.hf.ask import DEFAULT_MODEL, load_model

    name = DEFAULT_MODEL if model is None else model
    output.progress(f"loading {name} ...")
    loaded = load_model(name, dtype or ("float32" if name.startswith(TOY_PREFIX) else "auto"), device)
    output.progress(f"asking {per_family} questions of each of {len(spec.families)} families ...")
    try:
        summary = run(loaded, spec, out, log=output.progress)
    except KeyboardInterrupt:
        if out is not None:
            output.progress(f"what was answered is in {out}: the same command goes on from there")
        raise
    if json:
        output.result(summary)
    else:
        _show(summary)


def _spec(names: Sequence[str], retention: float, threshold: float, **given: Any) -> "AccuracySpec":
    """Builds the specification; what the user got wrong is a usage error."""
    from sharpv.bench.conditions import choose_conditions
    from sharpv.bench.spec import AccuracySpec

    try:
        conditions = choose_conditions(names, retention=retention, threshold=threshold)
        return AccuracySpec(conditions=conditions, **given)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def _show(summary: dict[str, Any]) -> None:
    """Prints accuracy by family, a few methods at a time, then what each method kept and lost."""
    found = summary["conditions"]
    names = list(found)
    for start in range(0, len(names), COLUMNS_AT_ONCE):
        some = names[start : start + COLUMNS_AT_ONCE]
        output.table(("family", "n", "constant", *some), _accuracy_rows(summary, some))
        output.answer("")
    columns = ("method", "tokens %", "range", "KV cache %", "layers out", "against dense", "p")
    output.table((*columns, "against random", "p"), [_cost_row(name, found[name]) for name in names])
    output.answer(NOTE)


def _accuracy_rows(summary: dict[str, Any], names: Sequence[str]) -> list[list[str]]:
    found, best = summary["conditions"], summary["best_constant"]
    families = list(found[names[0]]["families"])
    rows = []
    for family in families:
        shares = [found[name]["families"][family] for name in names]
        rows.append([family, _counts(shares), _percent(best.get(family)), *map(_interval, shares)])
    whole = [found[name]["micro"] for name in names]
    rows.append(["all questions", _counts(whole), "", *map(_interval, whole)])
    rows.append(["mean of families", "", "", *(_percent(found[name]["macro"]) for name in names)])
    if found[names[0]]["caption_facts"] is not None:
        rows.append(["facts in captions", "", "", *(_percent(found[n]["caption_facts"]) for n in names)])
    return rows


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


def _interval(share: dict[str, Any]) -> str:
    return f"{_percent(share['value'])} ({_range(share['low'], share['high'])})"


def _range(low: float, high: float) -> str:
    return f"{100 * low:.0f}-{100 * high:.0f}"


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.1f}"
