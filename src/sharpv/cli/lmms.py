"""`sharpv eval --suite lmms:TASK`: a task of lmms-eval, without SharpV and with it."""

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from sharpv.cli import output
from sharpv.cli.percent import percent
from sharpv.cli.settings import TOY_FRAMES, is_toy
from sharpv.errors import SharpVError

if TYPE_CHECKING:
    from sharpv.bench.conditions import Condition

__all__ = ["DEFAULT", "evaluate_lmms"]

DEFAULT = ("dense", "sharpv")
FRAMES = 32
"""Of each clip, as in the papers."""


def evaluate_lmms(
    task: str,
    conditions: "Sequence[Condition]",
    extra: Sequence[str],
    *,
    frames: int | None = None,
    model: str | None = None,
    dtype: str | None = None,
    device: str | None = None,
    out: Path | None = None,
    json: bool = False,
) -> None:
    """Runs lmms-eval once for each condition, and prints what they scored and kept.

    Args:
        task: of lmms-eval, or several with commas between.
        conditions: that show the clips as they are, and match no other condition.
        extra: more arguments for lmms-eval.
        frames: the most of each clip; None is 32, and for a toy what it was trained on.
        model: as for `load_model`; None is the toy in the box.
        dtype: as for `load_model`; None is float32 for a toy, else the checkpoint's own.
        device: as for `load_model`.
        out: folder with one folder of results for each condition; None keeps no files.
        json: whether to print JSON. What lmms-eval prints then goes to stderr.

    Raises:
        BadParameter: a condition that lmms-eval cannot run.
        SharpVError: the model cannot be run, or lmms-eval failed.
    """
    from sharpv.engines.lmms_eval.command import RESULTS, eval_command, read_results, require_lmms_eval
    from sharpv.hf.ask import DEFAULT_MODEL

    refused = [each.name for each in conditions if each.match or each.control]
    if refused:
        raise typer.BadParameter(f"{', '.join(refused)}: lmms-eval runs dense and those of sharpv only")
    require_lmms_eval()
    if is_toy(model):
        frames, dtype = frames or TOY_FRAMES, dtype or "float32"
    found: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for each in conditions:
            folder = (out or Path(scratch)) / each.name
            command = eval_command(
                model or DEFAULT_MODEL,
                task,
                None if each.name == "dense" else each.config,
                frames=frames or FRAMES,
                output=folder,
                dtype=dtype,
                device=device,
                extra=extra,
            )
            output.progress(f"running lmms-eval, {each.name} ...")
            older = list(folder.rglob(RESULTS))
            code = subprocess.run(command, stdout=sys.stderr if json else None, check=False).returncode
            if code:
                raise SharpVError(f"lmms-eval ended with exit code {code}: what it printed says why")
            found[each.name] = read_results(folder, older)
    if json:
        output.result({"suite": f"lmms:{task}", "conditions": found})
    else:
        _show(found)


def _show(found: dict[str, dict[str, Any]]) -> None:
    """Prints a row for each score, with what was kept and the seconds that `generate()` took."""
    rows = []
    for name, results in found.items():
        pruning = results["pruning"]
        cost = (_kept(pruning), f"{pruning['seconds']:.1f}")
        for task, scores in results["scores"].items():
            rows += [(name, task, metric, f"{score:.4g}", *cost) for metric, score in scores.items()]
    output.table(("condition", "task", "metric", "score", "tokens %", "generating s"), rows)


def _kept(pruning: dict[str, Any]) -> str:
    """Returns the share of the visual tokens that the LLM read; without SharpV they are not counted."""
    if not pruning["enabled"]:
        return percent(1.0)
    total = pruning["tokens_total"]
    return percent(pruning["tokens_kept"] / total) if total else "no video"
