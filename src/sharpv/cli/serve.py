"""`sharpv serve`: an OpenAI-compatible server whose model reads only the tokens that carry news."""

import os
from difflib import get_close_matches
from typing import Annotated, Literal

import typer

from sharpv.cli import output
from sharpv.cli.options import Debug

__all__ = ["serve"]

# No option of vLLM 0.32 comes as near to one of ours.
_NEAR = 0.75


def serve(
    context: typer.Context,
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Directory or hub id.", show_default=False)],
    engine: Annotated[Literal["vllm"], typer.Option(help="What serves it.")] = "vllm",
    keep: Annotated[
        str, typer.Option(help="Share of a video's tokens to keep, or 'auto' to estimate it from its pixels.")
    ] = "0.25",
    gain: Annotated[
        float, typer.Option(help="Factor of the estimate, from `sharpv calibrate`; for 'auto' only.")
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
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the command, and do not run it.")] = False,
    debug: Debug = False,
) -> None:
    """Serve a video LLM by vLLM, with SharpV before the LLM.

    Further arguments are for `vllm serve`, such as --tensor-parallel-size 2.
    """
    from sharpv.engines.vllm.command import serve_command
    from sharpv.engines.vllm.options import AUTO, Options
    from sharpv.engines.vllm.plugin import require_vllm
    from sharpv.errors import InputError

    if model.startswith("-"):
        raise typer.BadParameter(f"got the option {model}: put MODEL first", param_hint="MODEL")
    _check_names(context)
    values = {
        "keep": keep if keep == AUTO else _share(keep),
        "gain": gain,
        "coverage": coverage,
        "diversity": diversity,
    }
    try:
        options = Options.from_dict(values)
    except ValueError as error:
        raise InputError(str(error)) from error
    command = serve_command(model, options, host, port, allow_private_media, context.args)
    if dry_run:
        output.answer(str(command))
        return
    require_vllm()
    output.progress(f"running {command}")
    os.execve(command.argv[0], command.argv, {**os.environ, **command.environment})


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
