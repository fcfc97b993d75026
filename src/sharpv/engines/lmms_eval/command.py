"""The command that runs a task of lmms-eval, and what it leaves behind."""

import json
import sys
from collections.abc import Collection, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from sharpv.config import SharpVConfig
from sharpv.engines.checkpoint import read_config
from sharpv.engines.lmms_eval.settings import PREFIX
from sharpv.engines.lmms_eval.tested import BASES, base_for
from sharpv.errors import InputError, SharpVError
from sharpv.tiny.load import TOY_PREFIX, toy_path

__all__ = ["RESULTS", "eval_command", "read_results", "require_lmms_eval"]

RESULTS = "*_results.json"
"""Names of the files with lmms-eval's results."""


SPLIT_AT = ",\"'{}[]"
"""What lmms-eval reads in model_args as more than a letter."""

OURS = ("--model", "--model_args", "--tasks", "--output_path", "--config")
"""Options of lmms-eval that `eval_command` sets, and one that would set them again."""


def require_lmms_eval() -> None:
    """Checks that lmms-eval is there.

    Raises:
        SharpVError: it is not.
    """
    if find_spec("lmms_eval") is None:
        raise SharpVError('lmms-eval is not installed: pip install "sharpv[eval]"')


def eval_command(
    model: str,
    task: str,
    config: SharpVConfig | None,
    *,
    frames: int,
    output: Path,
    method: str = "sharpv",
    batch_size: int = 1,
    dtype: str | None = None,
    device: str | None = None,
    extra: Sequence[str] = (),
) -> list[str]:
    """Builds the command that runs a task, for this Python.

    Args:
        model: a directory, a hub id, or a toy in the box.
        task: of lmms-eval, or several with commas between.
        config: what to keep; None runs without SharpV.
        frames: the most of each clip.
        output: folder for the results.
        method: what chooses the tokens.
        batch_size: the most documents of a request; some models of lmms-eval take one at a time.
        dtype: of the model; None is the checkpoint's own.
        device: for example "cpu"; None takes CUDA where there is one.
        extra: more arguments for lmms-eval.

    Raises:
        InputError: there is no such model, its base cannot set the dtype, the configuration holds more than
            model_args can say, or an option of lmms-eval's is set already.
        UnsupportedModelError: no base is known for the model.
    """
    name = _base(model)
    base = BASES[name]
    _refuse_what_is_set(extra)
    if dtype is not None and not base.takes_dtype:
        raise InputError(f"got dtype {dtype!r}: lmms-eval's {name} chooses that itself, so leave it out")
    arguments: dict[str, Any] = {"base": name, "pretrained": model, base.frames: frames}
    if dtype is not None:
        arguments["dtype"] = dtype
    if config is None:
        arguments[f"{PREFIX}enabled"] = False
    else:
        reuse = config.reuse and config.reuse.shorthand
        if isinstance(reuse, dict):
            raise InputError(
                f"got vision_reuse={reuse}: lmms-eval's model_args take 'balanced' or 'safe' only"
            )
        values = config.to_dict() | {"vision_reuse": reuse}
        values |= {"images_as_frames": True} if base.shows_images else {}
        arguments |= {f"{PREFIX}{field}": value for field, value in ({"method": method} | values).items()}
    line = [sys.executable, "-m", "lmms_eval", "--model", "sharpv"]
    line += ["--model_args", ",".join(f"{field}={value}" for field, value in arguments.items())]
    line += ["--tasks", task, "--batch_size", str(batch_size), "--output_path", str(output)]
    return [*line, *(["--device", device] if device is not None else []), *extra]


def _refuse_what_is_set(extra: Sequence[str]) -> None:
    again = [word for word in extra if word.partition("=")[0] in OURS]
    if again:
        raise InputError(
            f"got {', '.join(again)} for lmms-eval, which sharpv eval sets: leave it out, or run lmms-eval "
            "itself, with --model sharpv"
        )


def read_results(output: Path, older: Collection[Path] = ()) -> dict[str, Any]:
    """Returns the scores of the last run in a folder, and our summary of what was kept and what it cost.

    Args:
        output: as for `eval_command`.
        older: files of results that were there before the run.

    Returns:
        `scores`, by task and metric, and `pruning`, as `Records.summary` makes it.

    Raises:
        SharpVError: there are none: lmms-eval failed, which its exit code does not always say; or ours are
            missing.
    """
    found = sorted(set(output.rglob(RESULTS)) - set(older), key=lambda path: path.name)
    if not found:
        raise SharpVError("lmms-eval left no results: what it printed says why")
    beside = found[-1].with_name(found[-1].name.replace("_results.json", "_sharpv.json"))
    if not beside.exists():
        raise SharpVError(f"there is no {beside.name} beside lmms-eval's results: what it printed says why")
    results = json.loads(found[-1].read_text(encoding="utf-8"))["results"]
    scores = {
        task: {
            name.removesuffix(",none"): value
            for name, value in values.items()
            if isinstance(value, int | float) and "stderr" not in name and "," in name
        }
        for task, values in results.items()
    }
    return {"scores": scores, "pruning": json.loads(beside.read_text(encoding="utf-8"))}


def _base(model: str) -> str:
    if any(mark in model for mark in SPLIT_AT):
        raise InputError(f"got the model {model!r}: lmms-eval would split it, so rename or link its folder")
    folder = str(toy_path(model.removeprefix(TOY_PREFIX))) if model.startswith(TOY_PREFIX) else model
    return base_for(read_config(folder).get("model_type"))
