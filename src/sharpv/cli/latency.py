"""`sharpv bench latency`: where the time to first token goes, dense and pruned."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sharpv.cli import output
from sharpv.cli.options import Bucket, ConfigFile, Debug, Device, Dtype, Model, VisionReuse
from sharpv.cli.settings import pruning
from sharpv.cli.timed import Layers, Out, made_clip, open_shape, require_folder, write
from sharpv.config import SharpVConfig

if TYPE_CHECKING:
    from sharpv.bench.latency_spec import LatencySpec
    from sharpv.hf.ask import VideoModel

__all__ = ["latency"]

DEFAULTS = {"retention": 0.12, "memory_threshold": None}
"""Those of `LatencySpec`."""


def latency(
    shape: Annotated[
        str | None,
        typer.Option(
            help="A published size with random weights: llava-onevision-0.5b, llava-onevision-7b, "
            "qwen2.5-vl-3b, qwen2.5-vl-7b or qwen3-vl-4b."
        ),
    ] = None,
    layers: Layers = None,
    model: Model = None,
    frames: Annotated[int, typer.Option(min=1, help="Frames to read, evenly spread.")] = 32,
    batch: Annotated[int, typer.Option(min=1, help="Rows, each with the whole clip.")] = 1,
    config: ConfigFile = None,
    retention: Annotated[
        str | None, typer.Option(help="Share of tokens to keep, or 'adaptive'. [default: 0.12]")
    ] = None,
    method: Annotated[
        list[str] | None,
        typer.Option(
            help="What chooses the tokens, repeatable (sharpv, random, uniform, evs, vidcom2, vcast, dycoke, "
            "divprune, prunevid, holitom, framefusion, flashvid). [default: sharpv]"
        ),
    ] = None,
    memory_threshold: Annotated[
        float | None,
        typer.Option(help="Layers less similar than this drop their video. [default: off]"),
    ] = None,
    bucket: Bucket = None,
    vision_reuse: VisionReuse = None,
    repeats: Annotated[int, typer.Option(min=1, help="Timed rounds, at least 7 to publish.")] = 7,
    new_tokens: Annotated[int, typer.Option(min=1, help="Tokens to generate.")] = 16,
    minutes: Annotated[
        float, typer.Option(help="Past this, later rounds no longer encode the clip anew.")
    ] = 13.0,
    video: Annotated[
        str | None, typer.Option(help="A clip of your own. [default: a made one, 640 x 360]")
    ] = None,
    dtype: Dtype = "auto",
    device: Device = None,
    out: Out = None,
    json: Annotated[bool, typer.Option("--json", help="Print the line of JSON only.")] = False,
    debug: Debug = False,
) -> None:
    """Time each phase up to the first token, and each token after it: dense and pruned, in turn.

    Checks first that SharpV that drops nothing is exactly the dense model. Random weights are as fast as
    trained ones, but which tokens move is noise to them: set the share of tokens by --retention. With
    --vision-reuse, the clip is encoded both ways in turn, and what is spared depends on the clip: give one of
    yours by --video. The last line is JSON, for `sharpv compare`.
    """
    if (shape is None) == (model is None):
        raise typer.BadParameter("give one of the two: a published size, or -m", param_hint="--shape")
    if layers is not None and shape is None:
        raise typer.BadParameter("it needs --shape, and -m is whole", param_hint="--layers")
    require_folder(out)
    given = {
        "retention": None if retention is None else _retention(retention),
        "memory_threshold": memory_threshold,
        "bucket": bucket,
        "vision_reuse": vision_reuse,
    }
    spec = _spec(
        pruning(config, given, defaults=DEFAULTS),
        frames=frames,
        batch=batch,
        methods=tuple(method or ["sharpv"]),
        repeats=repeats,
        new_tokens=new_tokens,
        minutes=minutes,
        video=Path(video).name if video else None,
    )
    from sharpv.bench.latency import run
    from sharpv.cli.latency_show import show_card, show_result

    loaded = open_shape(shape, dtype, device, layers) if shape else _load(str(model), dtype, device)
    with TemporaryDirectory(prefix="sharpv-bench-") as folder:
        path = video or made_clip(Path(folder), frames)
        result = run(loaded, spec, path, on_card=_nothing if json else show_card, log=output.progress)
    if not json:
        show_result(result, random_weights=shape is not None)
    write(result, out)


def _spec(config: SharpVConfig, **given: Any) -> "LatencySpec":
    """Builds the specification; what the user got wrong is a usage error."""
    from sharpv.bench.latency_spec import LatencySpec
    from sharpv.methods import find_pruner

    try:
        spec = LatencySpec(config=config, **given)
        for method in spec.methods:
            find_pruner(method).check(spec.config)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    return spec


def _nothing(card: dict[str, Any]) -> None:
    """Shows no card."""


def _retention(text: str) -> Any:
    try:
        value: Any = text if text == "adaptive" else float(text)
        SharpVConfig(retention=value)
    except ValueError:
        raise typer.BadParameter(
            f"{text!r}: give a number in (0, 1], or 'adaptive'", param_hint="--retention"
        ) from None
    return value


def _load(model: str, dtype: str, device: str | None) -> "VideoModel":
    from sharpv.hf.ask import load_model

    output.progress(f"loading {model} ...")
    return load_model(model, dtype, device)
