"""`sharpv batch`: questions about thousands of clips, in a job that survives bad clips and kills."""

import sys
from collections.abc import Mapping
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from sharpv.cli import output
from sharpv.cli.opening import NO_MODEL, TOY
from sharpv.cli.options import (
    Bucket,
    ConfigFile,
    Coverage,
    Debug,
    Dense,
    Device,
    Diversity,
    Dtype,
    Fps,
    Frames,
    Json,
    MaxNewTokens,
    MaxSide,
    MemoryThreshold,
    Method,
    MinTokens,
    Model,
    NoMemory,
    Retention,
    SpatialWeight,
    Threshold,
    VisionReuse,
)
from sharpv.cli.settings import is_given, is_toy, pruning_or_dense, sampling

if TYPE_CHECKING:
    from sharpv.batch.job import Summary
    from sharpv.batch.pool import Pool
    from sharpv.cli.batch_plan import Plan
    from sharpv.config import SharpVConfig

__all__ = ["batch"]

SCHEMA_VERSION = 1
# What a server decides for all that ask it: any, and vLLM.
NOT_OF_A_REQUEST = ("max_side", "config", "dtype", "device")
NOT_OF_VLLM = (
    *("frames", "fps", "method", "threshold", "spatial_weight", "coverage", "diversity", "bucket"),
    *("min_tokens_per_frame", "memory_threshold", "no_memory", "dense", "vision_reuse"),
)

Manifest = Annotated[
    Path,
    typer.Argument(
        metavar="MANIFEST",
        help="Rows with id, video and question: .jsonl, .csv or .parquet. Relative paths of videos start at "
        "its folder.",
        show_default=False,
    ),
]
Output = Annotated[
    Path,
    typer.Option(
        "--output", "-o", metavar="OUT.jsonl", help="Where a line for each row goes.", show_default=False
    ),
]
EngineName = Annotated[
    Literal["transformers", "vllm"],
    typer.Option(
        help="transformers: here, both stages, or with --url by a server of `sharpv serve MODEL --engine "
        "transformers`; vllm: by a vLLM server."
    ),
]
Url = Annotated[
    str | None,
    typer.Option(
        help="Of the server; its key, if it wants one, is read from SHARPV_API_KEY or OPENAI_API_KEY. "
        "[default: with vllm http://127.0.0.1:8000]"
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(min=1, help="Models that work at once. [default: 1; on a Ray cluster one per GPU]"),
]
RayAddress = Annotated[
    str | None,
    typer.Option(help="Run on a Ray cluster: 'auto' for the one of this machine, or host:port."),
]
RowTimeout = Annotated[
    float,
    typer.Option(
        min=1,
        metavar="SECONDS",
        help="A worker that takes longer for a row is replaced, and the row gets an error.",
    ),
]
Ordered = Annotated[bool, typer.Option("--ordered", help="At the end, put the lines into the rows' order.")]
RetryErrors = Annotated[bool, typer.Option("--retry-errors", help="Ask rows again that ended with an error.")]


def batch(
    ctx: typer.Context,
    manifest: Manifest,
    output_file: Output,
    model: Model = None,
    engine: EngineName = "transformers",
    url: Url = None,
    workers: Workers = None,
    ray_address: RayAddress = None,
    ordered: Ordered = False,
    retry_errors: RetryErrors = False,
    row_timeout: RowTimeout = 1800.0,
    frames: Frames = None,
    fps: Fps = None,
    max_side: MaxSide = None,
    config: ConfigFile = None,
    method: Method = "sharpv",
    retention: Retention = None,
    threshold: Threshold = None,
    spatial_weight: SpatialWeight = None,
    coverage: Coverage = None,
    diversity: Diversity = False,
    bucket: Bucket = None,
    min_tokens_per_frame: MinTokens = None,
    memory_threshold: MemoryThreshold = None,
    no_memory: NoMemory = False,
    vision_reuse: VisionReuse = None,
    dense: Dense = False,
    max_new_tokens: MaxNewTokens = 64,
    dtype: Dtype = "auto",
    device: Device = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Ask about many clips, and write a line of JSON for each row: answer, tokens, timings, or the error.

    However a run ends, the same command goes on where it was: a row is done when its line is written. A bad
    clip gets an error and stops nothing.
    """
    given = {
        "retention": retention,
        "threshold": threshold,
        "spatial_weight": spatial_weight,
        "coverage": coverage,
        "diversity": diversity or None,
        "bucket": bucket,
        "min_tokens_per_frame": min_tokens_per_frame,
        "memory_threshold": memory_threshold,
        "vision_reuse": vision_reuse,
    }
    settings = pruning_or_dense(config, given, no_memory=no_memory, dense=dense)
    rule = sampling(frames, fps, model)
    asks_server = engine == "vllm" or url is not None
    _check_options(ctx, engine, asks_server)
    from sharpv.cli.batch_plan import find_place, loaded, served

    place = find_place(workers, ray_address, "cpu" if asks_server else device)
    how: dict[str, Any] = {"ordered": ordered, "retry_errors": retry_errors, "log": output.progress}
    if asks_server:
        options = _options(ctx, engine, settings)
        plan = served(place, engine, url, model, options, max_new_tokens, row_timeout)
    else:
        about = {"method": method, "max_new_tokens": max_new_tokens, "dtype": dtype, "device": device}
        plan = loaded(place, model, row_timeout, config=settings, sampling=rule, max_side=max_side, **about)
    notice = _toy_notice(model) if not asks_server and is_toy(model) else None
    summary = _run(manifest, output_file, plan, notice, how)
    if json:
        output.result({"schema_version": SCHEMA_VERSION, "output": str(output_file), **summary.to_dict()})
    else:
        _show(output_file, summary)


def _options(ctx: typer.Context, engine: str, settings: "SharpVConfig") -> dict[str, Any]:
    """Returns what a request says of pruning: what stands on the command line; the rest is the server's."""
    if engine == "vllm":
        # The plug-in lays prompts out before it has the features, so it estimates the adaptive share.
        keep = "auto" if settings.retention == "adaptive" else settings.retention
        return {"mm_processor_kwargs": {"sharpv_keep": keep}} if is_given(ctx, "retention") else {}
    dense = is_given(ctx, "dense")
    by_name = ("method", "frames", "fps", "vision_reuse")
    fields = settings.to_dict().keys() - {*by_name}
    names = sorted(name for name in fields if name in ctx.params and is_given(ctx, name))
    if is_given(ctx, "no_memory") or dense:
        names.append("memory_threshold")
    if dense:
        names.append("retention")
    values = {name: getattr(settings, name) for name in names}
    values |= {name: ctx.params[name] for name in by_name if is_given(ctx, name)}
    if dense:  # whatever the server does with others
        values |= {name: ctx.params[name] for name in ("method", "vision_reuse")}
    return {"sharpv": values} if values else {}


def _run(manifest: Path, out: Path, plan: "Plan", notice: str | None, how: Mapping[str, Any]) -> "Summary":
    """Runs the job; the notice is given where models are opened."""
    from sharpv.batch.job import run

    def pool() -> "Pool":
        if notice is not None:
            output.progress(notice)
        return plan.pool()

    try:
        # Ray prints there what its daemons report, and only the result belongs there.
        with redirect_stdout(sys.stderr):
            return run(
                manifest,
                out,
                plan.settings,
                pool,
                find=plan.find,
                later=plan.later,
                row_seconds=plan.row_seconds,
                **how,
            )
    except KeyboardInterrupt:
        output.progress(f"what is done stands in {out}: the same command goes on from there")
        raise


def _toy_notice(model: str | None) -> str:
    return (NO_MODEL if model is None else "") + TOY.format(model or "the toy in the box")


def _check_options(ctx: typer.Context, engine: str, asks_server: bool) -> None:
    """Refuses options that would have no effect."""
    idle = (*NOT_OF_VLLM, *NOT_OF_A_REQUEST) if engine == "vllm" else NOT_OF_A_REQUEST
    given = [f"--{name.replace('_', '-')}" for name in idle if is_given(ctx, name)]
    if asks_server and given:
        other = "--engine transformers" if engine == "vllm" else "a model here, without --url"
        raise typer.BadParameter(f"{', '.join(given)} would have no effect: that goes with {other}")


def _show(path: Path, summary: "Summary") -> None:
    answered = summary.rows - summary.errors
    output.answer(f"{summary.rows} rows in {path}: {answered} answered, {summary.errors} with an error")
    if summary.errors:
        output.progress("--retry-errors asks those with an error again")
