"""`sharpv bench`: what SharpV costs on this machine. Every bench ends in one line of JSON."""

from typing import Annotated

import typer

from sharpv.cli import output
from sharpv.cli.audit import audit
from sharpv.cli.growth import growth
from sharpv.cli.latency import latency
from sharpv.cli.options import Debug
from sharpv.cli.run import command

__all__ = ["bench"]

bench = typer.Typer(help="Measure what SharpV costs on this machine.", no_args_is_help=True)


@bench.callback()
def root() -> None:
    """Measure what SharpV costs on this machine."""


def scoring(
    shape: Annotated[
        list[str] | None,
        typer.Option(help="FRAMESxTOKENSxCHANNELS, repeatable. [default: the three of the docs]"),
    ] = None,
    dtype: Annotated[
        list[str] | None, typer.Option(help="float32 or bfloat16, repeatable. [default: both]")
    ] = None,
    repeats: Annotated[int, typer.Option(min=1, help="Timed rounds.")] = 9,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads.")] = 1,
    device: Annotated[str, typer.Option(help="Such as cpu or cuda.")] = "cpu",
    seed: Annotated[int, typer.Option(help="Of the made features.")] = 0,
    json: Annotated[bool, typer.Option("--json", help="Accepted; a bench always ends in JSON.")] = True,
    debug: Debug = False,
) -> None:
    """Time scoring and selecting against one read of the same features."""
    shapes = [_shape(text) for text in shape or []]
    from sharpv.bench.scoring import DTYPES, SHAPES, run
    from sharpv.hf.ask import find_device

    find_device(device)
    for name in dtype or []:
        if name not in DTYPES:
            raise typer.BadParameter(f"{name!r} is none of {', '.join(DTYPES)}", param_hint="--dtype")
    output.result(run(shapes or SHAPES, dtype or DTYPES, repeats, threads, device, seed, log=output.progress))


def reading(
    clips: Annotated[list[str], typer.Argument(metavar="CLIP...", help="Paths.", show_default=False)],
    frames: Annotated[int, typer.Option(min=1, help="Frames to read, evenly spread.")] = 32,
    max_side: Annotated[int, typer.Option(min=1, help="Longer side of the scaled frames, in pixels.")] = 384,
    repeats: Annotated[int, typer.Option(min=1, help="Timed rounds, at least 7 to publish.")] = 7,
    json: Annotated[bool, typer.Option("--json", help="Accepted; a bench always ends in JSON.")] = True,
    debug: Debug = False,
) -> None:
    """Time reading the sampled frames of clips against decoding them in order."""
    from sharpv.bench.reading import run

    output.result(run(clips, frames, max_side, repeats, log=output.progress))


def _shape(text: str) -> tuple[int, int, int]:
    numbers = [int(part) if part.isdecimal() else 0 for part in text.split("x")]
    if len(numbers) != 3 or min(numbers) < 1:
        raise typer.BadParameter(
            f"{text!r}: give FRAMESxTOKENSxCHANNELS, such as 32x196x896", param_hint="--shape"
        )
    return numbers[0], numbers[1], numbers[2]


for function in (audit, growth, latency, reading, scoring):
    bench.command()(command(function))
