"""`sharpv bench growth`: how time and memory grow with frames and rows, dense and pruned."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sharpv.cli import output
from sharpv.cli.growth_show import show_growth
from sharpv.cli.options import Debug, Device, Dtype
from sharpv.cli.timed import Layers, Out, made_clip, open_shape, require_folder, write
from sharpv.config import SharpVConfig

if TYPE_CHECKING:
    from sharpv.bench.growth_spec import GrowthSpec

__all__ = ["growth"]


def growth(
    shape: Annotated[
        str, typer.Option(help="A published size with random weights, as for bench latency.")
    ] = "llava-onevision-0.5b",
    layers: Layers = 2,
    frames: Annotated[
        list[int] | None,
        typer.Option(min=1, help="Frames of a single row, repeatable. [default: 8, 16, 32, 64, 128, 256]"),
    ] = None,
    batch: Annotated[
        list[int] | None,
        typer.Option(min=1, help="Rows of the fewest frames, repeatable. [default: 1, 2, 4, 8]"),
    ] = None,
    retention: Annotated[float, typer.Option(help="Share of tokens to keep.")] = 0.12,
    repeats: Annotated[int, typer.Option(min=1, help="Timed rounds of each point, at the most.")] = 5,
    new_tokens: Annotated[int, typer.Option(min=1, help="Tokens to generate.")] = 8,
    minutes: Annotated[
        float, typer.Option(help="Points that take long get fewer rounds, to end by then.")
    ] = 15,
    dtype: Dtype = "auto",
    device: Device = None,
    out: Out = None,
    json: Annotated[bool, typer.Option("--json", help="Print the line of JSON only.")] = False,
    debug: Debug = False,
) -> None:
    """Time the LLM's side of requests that grow, dense and pruned in turn, and count their bytes.

    The vision tower does not run: features are drawn. The bytes of the KV cache must be those predicted, or
    nothing is reported. The last line is JSON, for `sharpv compare`.
    """
    require_folder(out)
    given = {"frames": frames, "batches": batch}
    spec = _spec(
        retention,
        repeats=repeats,
        new_tokens=new_tokens,
        minutes=minutes,
        **{name: tuple(values) for name, values in given.items() if values},
    )
    from sharpv.bench.growth import run

    loaded = open_shape(shape, dtype, device, layers)
    with TemporaryDirectory(prefix="sharpv-bench-") as folder:
        path = made_clip(Path(folder), max(spec.frames))
        result = run(loaded, spec, path, log=output.progress)
    if not json:
        show_growth(result)
    write(result, out)


def _spec(retention: float, **given: Any) -> "GrowthSpec":
    """Builds the specification; what the user got wrong is a usage error."""
    from sharpv.bench.growth_spec import GrowthSpec

    try:
        return GrowthSpec(config=SharpVConfig(retention=retention, memory_threshold=None), **given)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
