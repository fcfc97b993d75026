"""What the options of pruning and reading make: a configuration, and frames to read. Errors are of usage."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import typer

from sharpv.config import SharpVConfig
from sharpv.tiny.load import TOY_PREFIX

if TYPE_CHECKING:
    from sharpv.video import Sampling

__all__ = ["TOY_FRAMES", "is_given", "is_toy", "listed", "pruning", "pruning_or_dense", "sampling"]

TOY_FRAMES = 8


def pruning(
    path: Path | None,
    given: Mapping[str, Any],
    *,
    no_memory: bool = False,
    defaults: Mapping[str, Any] = MappingProxyType({}),
) -> SharpVConfig:
    """Builds the configuration: what a YAML file says, then what options say.

    Args:
        path: of the file, or None.
        given: values of options by field of `SharpVConfig`; None where an option was not given, and
            `retention` as text.
        no_memory: whether stage 2 is off.
        defaults: of a command, for fields of which neither says anything.

    Raises:
        typer.BadParameter: what the user got wrong.
    """
    values = {name: value for name, value in given.items() if value is not None}
    if no_memory and "memory_threshold" in values:
        raise typer.BadParameter("excludes --memory-threshold", param_hint="--no-memory")
    if values.get("retention", "adaptive") != "adaptive":
        values["retention"] = _share(values["retention"])
    if no_memory:
        values["memory_threshold"] = None
    try:
        return SharpVConfig.from_dict({**defaults, **_from_file(path), **values})
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def pruning_or_dense(
    path: Path | None, given: Mapping[str, Any], *, no_memory: bool, dense: bool
) -> SharpVConfig:
    """Builds the configuration as `pruning` does, or that of the dense model.

    Raises:
        typer.BadParameter: what the user got wrong.
    """
    if not dense:
        return pruning(path, given, no_memory=no_memory)
    if no_memory or path or any(value is not None for value in given.values()):
        raise typer.BadParameter(
            "prunes nothing, so no other pruning option goes with it", param_hint="--dense"
        )
    return SharpVConfig(retention=1.0, memory_threshold=None)


def _share(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise typer.BadParameter(
            f"{text!r} is neither 'adaptive' nor a number in (0, 1]", param_hint="--retention"
        ) from None


def _from_file(path: Path | None) -> dict[str, Any]:
    import yaml

    if path is None:
        return {}
    try:
        values = yaml.safe_load(path.read_text()) or {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise typer.BadParameter(f"cannot read {path}: {reason}", param_hint="--config") from None
    if not isinstance(values, dict):
        raise typer.BadParameter(f"{path} holds no mapping of SharpVConfig fields", param_hint="--config")
    return values


def sampling(frames: int | None, fps: float | None, model: str | None) -> "Sampling":
    """Says which frames to read; without a rule, as many as the toy was trained on where it is the model.

    Raises:
        typer.BadParameter: two rules at once, or an impossible one.
    """
    from sharpv.video import Sampling

    if is_toy(model) and frames is None and fps is None:
        frames = TOY_FRAMES
    try:
        return Sampling(frames=frames, fps=fps)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--frames, --fps") from None


def is_toy(model: str | None) -> bool:
    """Whether `--model` names a toy in the box, as it does where it is left out."""
    return model is None or model.startswith(TOY_PREFIX)


def is_given(ctx: typer.Context, name: str) -> bool:
    """Whether a parameter stands on the command line."""
    source = ctx.get_parameter_source(name)
    # By its name: the class is typer's own copy of click's, or click's, by the release.
    return source is not None and source.name == "COMMANDLINE"


def listed(text: str) -> list[str]:
    """Returns the parts of a text with commas between."""
    return [part.strip() for part in text.split(",") if part.strip()]
