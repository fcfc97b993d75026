"""`sharpv serve`: an OpenAI-compatible server whose model reads only the tokens that carry news."""

import os
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Literal

import typer

from sharpv.cli import output
from sharpv.cli.options import (
    Bucket,
    ConfigFile,
    Debug,
    Device,
    Dtype,
    Fps,
    Frames,
    MemoryThreshold,
    Method,
    MinTokens,
    NoMemory,
    Retention,
    SpatialWeight,
    Threshold,
    VisionReuse,
)
from sharpv.cli.settings import pruning, sampling

__all__ = ["serve"]

VLLM_ONLY = ("keep", "gain", "dry_run")
VLLM_TOO = ("config", "dtype", "device")
"""Options of transformers' that vLLM may have by the same names: given with vLLM, they are for it."""

RULE = (
    *("retention", "threshold", "spatial_weight", "coverage", "bucket", "min_tokens_per_frame"),
    *("memory_threshold", "vision_reuse"),
)
TRANSFORMERS_ONLY = (
    *(name for name in RULE if name != "coverage"),
    *("method", "frames", "fps", "no_memory", "limit", "media_folder"),
)
# No option of vLLM 0.32 comes as near to one of ours.
_NEAR = 0.75


def serve(
    context: typer.Context,
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Directory or hub id.", show_default=False)],
    engine: Annotated[Literal["vllm", "transformers"], typer.Option(help="What serves it.")] = "vllm",
    keep: Annotated[
        str,
        typer.Option(help="vllm: share of a video's tokens, or 'auto' to estimate it from its pixels."),
    ] = "0.25",
    gain: Annotated[
        float, typer.Option(help="vllm: factor of the estimate, from `sharpv calibrate`; for 'auto' only.")
    ] = 1.0,
    coverage: Annotated[
        float, typer.Option(help="Share of each frame's tokens spent on fixed places.")
    ] = 0.0,
    diversity: Annotated[
        bool, typer.Option("--diversity", help="Choose tokens of a frame that are unlike each other.")
    ] = False,
    host: Annotated[str, typer.Option(help="Address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen at.")] = 8000,
    allow_private_media: Annotated[
        bool,
        typer.Option(
            "--allow-private-media", help="Fetch videos from addresses inside the server's network, too."
        ),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="vllm: print the command, and do not run it.")
    ] = False,
    frames: Frames = None,
    fps: Fps = None,
    config: ConfigFile = None,
    method: Method = "sharpv",
    retention: Retention = None,
    threshold: Threshold = None,
    spatial_weight: SpatialWeight = None,
    bucket: Bucket = None,
    min_tokens_per_frame: MinTokens = None,
    memory_threshold: MemoryThreshold = None,
    no_memory: NoMemory = False,
    vision_reuse: VisionReuse = None,
    limit: Annotated[
        list[str] | None, typer.Option(help="transformers: name=number, such as queue=16; see docs/serve.md.")
    ] = None,
    media_folder: Annotated[
        Path | None,
        typer.Option(
            file_okay=False, exists=True, help="transformers: folder that requests may read file: URLs from."
        ),
    ] = None,
    dtype: Dtype = "auto",
    device: Device = None,
    debug: Debug = False,
) -> None:
    """Serve a video LLM, with OpenAI's API.

    By vLLM, with SharpV before the LLM: further arguments are for `vllm serve`, such as
    --tensor-parallel-size 2. Or by transformers, one request at a time, with both stages: the options are
    those of `sharpv ask`, and the variable SHARPV_API_KEY holds the key that clients need, if any.
    """
    if engine == "vllm":
        _refuse(context, TRANSFORMERS_ONLY, "--engine transformers")
        _serve_by_vllm(context, model, host, port)
        return
    from sharpv.cli.serve_transformers import serve_by_transformers

    _refuse(context, VLLM_ONLY, "--engine vllm")
    if context.args:
        raise typer.BadParameter(f"got {' '.join(context.args)}, which only vLLM may know")
    given = {name: context.params[name] for name in RULE if _given(context, name)}
    serve_by_transformers(
        model,
        pruning(config, given | ({"diversity": True} if diversity else {}), no_memory=no_memory),
        method,
        sampling(frames, fps, model),
        limits=limit or (),
        allow_private=allow_private_media,
        folder=media_folder,
        host=host,
        port=port,
        dtype=dtype,
        device=device,
    )


def _serve_by_vllm(context: typer.Context, model: str, host: str, port: int) -> None:
    from sharpv.engines.vllm.command import serve_command
    from sharpv.engines.vllm.options import AUTO, Options
    from sharpv.engines.vllm.plugin import require_vllm
    from sharpv.errors import InputError

    if model.startswith("-"):
        raise typer.BadParameter(f"got the option {model}: put MODEL first", param_hint="MODEL")
    _check_names(context)
    given = context.params
    keep = given["keep"]
    values = {
        "keep": keep if keep == AUTO else _share(keep),
        "gain": given["gain"],
        "coverage": given["coverage"],
        "diversity": given["diversity"],
    }
    try:
        options = Options.from_dict(values)
    except ValueError as error:
        raise InputError(str(error)) from error
    shared = [(f"--{name}", str(given[name])) for name in VLLM_TOO if _given(context, name)]
    extra = [*context.args, *(word for pair in shared for word in pair)]
    command = serve_command(model, options, host, port, given["allow_private_media"], extra)
    if given["dry_run"]:
        output.answer(str(command))
        return
    require_vllm()
    output.progress(f"running {command}")
    os.execve(command.argv[0], command.argv, {**os.environ, **command.environment})


def _given(context: typer.Context, name: str) -> bool:
    # By its name, since releases of typer differ in whose click they use.
    source = context.get_parameter_source(name)
    return source is not None and source.name != "DEFAULT"


def _refuse(context: typer.Context, names: tuple[str, ...], engine: str) -> None:
    for name in names:
        if _given(context, name):
            raise typer.BadParameter(f"is for {engine}", param_hint=f"--{name.replace('_', '-')}")


def _check_names(context: typer.Context) -> None:
    """Refuses what is almost an option of ours, and would go to vLLM."""
    ours = [name for parameter in context.command.params for name in parameter.opts]
    for word in context.args:
        name = word.partition("=")[0]
        near = get_close_matches(name.replace("_", "-"), ours, n=1, cutoff=_NEAR)
        if name.startswith("--") and near:
            raise typer.BadParameter(f"no such option; did you mean {near[0]}?", param_hint=name)


def _share(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is neither a number nor 'auto'", param_hint="--keep") from None
