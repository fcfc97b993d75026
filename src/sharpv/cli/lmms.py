"""`sharpv eval --suite lmms:TASK`: a task of lmms-eval, without SharpV and with it."""

import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import typer

from sharpv.bench.conditions import ALL, DENSE
from sharpv.cli import output
from sharpv.cli.percent import percent
from sharpv.cli.settings import TOY_FRAMES, is_toy, pruning
from sharpv.config import SharpVConfig
from sharpv.errors import SharpVError
from sharpv.tiny.load import DEFAULT_MODEL

__all__ = ["Column", "columns", "evaluate_lmms"]

FRAMES = 32
"""Of each clip, as in the papers."""


@dataclass(frozen=True, slots=True)
class Column:
    """One run of lmms-eval.

    Attributes:
        name: in the table.
        config: what to keep; None runs without SharpV.
        method: what chooses the tokens.
    """

    name: str
    config: SharpVConfig | None = None
    method: str = "sharpv"


def columns(names: Sequence[str] | None, given: Mapping[str, Any]) -> list[Column]:
    """Returns the runs that the options ask for.

    Args:
        names: of conditions of `sharpv eval`; None is one run without SharpV, and one with it.
        given: those of `method`, `config`, `retention` and `threshold` that stand on the command line.

    Raises:
        BadParameter: a condition that lmms-eval cannot run, or options that do not go together.
        InputError: there is no such method, or it cannot follow the options.
    """
    from sharpv.methods import find_pruner

    if names:
        return _of_conditions(names, given)
    method = given.get("method", "sharpv")
    values = {name: given.get(name) for name in ("retention", "threshold")}
    config = pruning(given.get("config"), values)
    find_pruner(method).check(config)
    return [Column(DENSE), Column(method, config, method)]


def _of_conditions(names: Sequence[str], given: Mapping[str, Any]) -> list[Column]:
    from sharpv.cli.eval_conditions import conditions_of

    if ALL in names:
        _refuse([ALL])
    idle = [f"--{name}" for name in ("method", "config") if name in given]
    for option, ending in (("retention", "-budget"), ("threshold", "-threshold")):
        if option in given and not any(ending in name for name in names):
            idle.append(f"--{option}")
    if idle:
        raise typer.BadParameter(
            f"{', '.join(idle)} would have no effect with --condition {', '.join(names)}: leave it out"
        )
    rates = {name: given[name] for name in ("retention", "threshold") if name in given}
    chosen = [each for each in conditions_of(names, **rates) if each.name in (DENSE, *names)]
    refused = [each.name for each in chosen if each.match or each.control]
    if refused:
        _refuse(refused)
    return [Column(each.name, None if each.name == DENSE else each.config) for each in chosen]


def _refuse(names: Sequence[str]) -> NoReturn:
    raise typer.BadParameter(f"{', '.join(names)}: lmms-eval runs dense and those of sharpv only")


def evaluate_lmms(
    task: str,
    runs: Sequence[Column],
    extra: Sequence[str],
    *,
    frames: int | None = None,
    limit: int | None = None,
    batch_size: int = 1,
    model: str | None = None,
    dtype: str | None = None,
    device: str | None = None,
    out: Path | None = None,
    json: bool = False,
) -> None:
    """Runs lmms-eval once for each column, and prints what they scored and kept.

    Args:
        task: of lmms-eval, or several with commas between.
        runs: what to compare.
        extra: more arguments for lmms-eval.
        frames: the most of each clip; None is 32, and for a toy what it was trained on.
        limit: the most documents of each task; None is all.
        batch_size: the most documents of a request.
        model: as for `load_model`; None is the toy in the box.
        dtype: as for `load_model`; None is float32 for a toy, else the checkpoint's own.
        device: as for `load_model`.
        out: folder with one folder of results for each run; None keeps no files.
        json: whether to print JSON. What lmms-eval prints then goes to stderr.

    Raises:
        SharpVError: the model cannot be run, or lmms-eval failed.
    """
    from sharpv.engines.lmms_eval.command import RESULTS, eval_command, read_results, require_lmms_eval

    require_lmms_eval()
    if is_toy(model):
        frames, dtype = frames or TOY_FRAMES, dtype or "float32"
    found: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for each in runs:
            folder = (out or Path(scratch)) / each.name
            command = eval_command(
                model or DEFAULT_MODEL,
                task,
                each.config,
                frames=frames or FRAMES,
                output=folder,
                method=each.method,
                batch_size=batch_size,
                dtype=dtype,
                device=device,
                extra=[*(() if limit is None else ("--limit", str(limit))), *extra],
            )
            output.progress(f"running lmms-eval, {each.name} ...")
            older = list(folder.rglob(RESULTS))
            code = subprocess.run(command, stdout=sys.stderr if json else None, check=False).returncode
            if code:
                raise SharpVError(f"lmms-eval ended with exit code {code}: what it printed says why")
            found[each.name] = read_results(folder, older)
            _warn_of_cached(each.name, found[each.name]["pruning"])
    if json:
        output.result({"suite": f"lmms:{task}", "conditions": found})
    else:
        _show(found)


def _warn_of_cached(name: str, pruning: Mapping[str, Any]) -> None:
    if pruning["documents_served"] < pruning["documents"]:
        output.warn(
            f"{name}: {pruning['documents_served']} of {pruning['documents']} answers were generated, the "
            "others came from a cache: tokens and seconds are of the former"
        )


def _show(found: dict[str, dict[str, Any]]) -> None:
    """Prints a row for each score, with what was kept and the seconds that `generate()` took."""
    rows = []
    for name, results in found.items():
        pruning = results["pruning"]
        cost = (_kept(pruning), _read(pruning), f"{pruning['seconds']:.1f}")
        for task, scores in results["scores"].items():
            rows += [(name, task, metric, f"{score:.4g}", *cost) for metric, score in scores.items()]
    heads = ("condition", "task", "metric", "score", "tokens %", "layers %", "generating s")
    output.table(heads, rows)


def _kept(pruning: dict[str, Any]) -> str:
    """Returns the share of the visual tokens that entered the LLM; without SharpV they are not counted."""
    if not pruning["enabled"]:
        return percent(1.0)
    total = pruning["tokens_total"]
    return percent(pruning["tokens_kept"] / total) if total else "no video"


def _read(pruning: dict[str, Any]) -> str:
    """Returns the share that a layer of the LLM reads on average, which methods inside it lower."""
    if not pruning["enabled"]:
        return percent(1.0)
    share = pruning["mean_layer_share"]
    return "no video" if share is None else percent(share)
