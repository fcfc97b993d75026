"""`sharpv inspect`: what of a clip a model gets to read, as a page, pictures and a film."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit

import typer

from sharpv.cli import output
from sharpv.cli.opening import open_clip_and_model, toy_warnings
from sharpv.cli.options import (
    Bucket,
    ConfigFile,
    Coverage,
    Debug,
    Device,
    Diversity,
    Dtype,
    Fps,
    Frames,
    Json,
    MaxNewTokens,
    MaxSide,
    MemoryThreshold,
    MinTokens,
    Model,
    NoMemory,
    Retention,
    SpatialWeight,
    Threshold,
    VisionReuse,
)
from sharpv.cli.settings import is_toy, listed, pruning, sampling

if TYPE_CHECKING:
    from sharpv.viz.inspection import Inspection

__all__ = ["inspect"]

SCHEMA_VERSION = 1
DEFAULT_METHODS, NEW_TOKENS, DTYPE = ["sharpv"], 64, "auto"
LONGEST_NAME = 200
TOY_NOTE = "The model is a toy of a synthetic world: its answers and figures do not transfer to real models."

Question = Annotated[
    str | None, typer.Option("--question", "-q", help="To be answered from all tokens, and from those kept.")
]
Methods = Annotated[
    str, typer.Option(help="What chooses the tokens, with commas between: see `sharpv methods`.")
]
Output = Annotated[
    list[Path] | None,
    typer.Option(
        "--output",
        "-o",
        help="File to write, repeatable; its name says what: *.html the page, *.mp4 the clip with dropped "
        "tokens dimmed, layers*.svg and budget*.svg plots, any other *.png or *.jpg the frames. "
        "[default: the frames, in the terminal]",
    ),
]
AllFrames = Annotated[
    bool, typer.Option("--all-frames", help="Of the *.mp4: all frames of the clip, not only those read.")
]


def inspect(
    video: Annotated[str, typer.Argument(metavar="VIDEO", help="Path or URL of a clip.", show_default=False)],
    question: Question = None,
    output_files: Output = None,
    model: Model = None,
    methods: Methods = DEFAULT_METHODS[0],
    frames: Frames = None,
    fps: Fps = None,
    max_side: MaxSide = None,
    all_frames: AllFrames = False,
    config: ConfigFile = None,
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
    max_new_tokens: MaxNewTokens = NEW_TOKENS,
    dtype: Dtype = DTYPE,
    device: Device = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """See what of a clip a model gets to read: a page to play with, pictures, a film.

    Several methods are set side by side, on the same features. Without -m the model is the toy in the box,
    with 8 frames by default, as for `sharpv ask`.
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
    settings, names = pruning(config, given, no_memory=no_memory), list(dict.fromkeys(listed(methods)))
    if not names:
        raise typer.BadParameter("names no method", param_hint="--methods")
    if question is not None and not question.strip():
        raise typer.BadParameter("asks nothing: leave it out", param_hint="--question")
    rule = sampling(frames, fps, model)
    from sharpv.cli.inspect_files import plan, write

    files = plan(output_files or [], video, all_frames=all_frames)
    output.progress("starting ...")
    from sharpv.cli.inspect_run import check_methods, look

    check_methods(names, settings)
    clip, loaded = open_clip_and_model(video, model, rule, dtype=dtype, device=device, max_side=max_side)
    warnings = toy_warnings(model, clip, loaded, question or "")
    for warning in warnings:
        output.warn(warning)
    seen = look(loaded, clip, question, settings, names, max_new_tokens, output.progress)
    options = {
        "-q": question,
        "-m": model,
        "--methods": None if names == DEFAULT_METHODS else ",".join(names),
        "--frames": frames,
        "--fps": fps,
        "--max-side": max_side,
        "--max-new-tokens": None if question is None or max_new_tokens == NEW_TOKENS else max_new_tokens,
        "--dtype": None if dtype == DTYPE else dtype,
        "--device": device,
    }
    toy = [TOY_NOTE] if is_toy(model) else []
    found = replace(
        seen,
        clip=_name(video),
        command=_command(video, options),
        notes=(*toy, *warnings, *clip.warnings),
    )
    for file in files:
        output.progress(f"writing {file.path} ...")
        write(found, file, video)
    if json:
        output.result(_result(found))
    else:
        from sharpv.cli.inspect_show import show

        show(found, picture=not files)


def _command(video: str, options: Mapping[str, object]) -> tuple[str, ...]:
    """Returns the words of the command that looks at this clip again; the page adds the pruning options."""
    words = ["sharpv", "inspect", _shown(video)]
    for option, value in options.items():
        words += [] if value is None else [option, str(value)]
    return (*words, "-o", "report.html")


def _shown(video: str) -> str:
    """Returns a clip as a command may show it: a URL without what may be secret in it."""
    if len(video) > LONGEST_NAME or video[:5].lower() == "data:":
        return "VIDEO"
    if "://" in video:
        url = urlsplit(video)
        return f"{url.scheme}://{url.netloc.rpartition('@')[2]}{url.path}"
    return f"./{video}" if video.startswith("-") else video


def _name(video: str) -> str:
    """Returns what to call a clip: the name of its file, without folders, queries and passwords."""
    if video[:5].lower() == "data:":
        return "data: URL"
    path = urlsplit(video).path if "://" in video else video
    return (PurePath(path).name or video)[:LONGEST_NAME]


def _result(found: "Inspection") -> dict[str, Any]:
    return {
        "schema_version": SCHEMA_VERSION,
        "clip": found.clip,
        "frames": len(found.frames),
        "total_frames": found.total_frames,
        "timestamps": found.timestamps.tolist(),
        "model": found.model,
        "question": found.question,
        "dense_answer": found.dense_answer,
        "runs": [
            {"method": run.name, "answer": run.answer, "report": run.report.to_dict()} for run in found.runs
        ],
        "notes": list(found.notes),
    }
