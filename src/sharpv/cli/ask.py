"""`sharpv ask`: a question about a clip, answered by a video LLM that reads only what carries news."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sharpv.cli import output
from sharpv.cli.opening import open_clip_and_model, toy_warnings
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
from sharpv.cli.reuse_show import reuse_lines
from sharpv.cli.settings import pruning_or_dense, sampling

if TYPE_CHECKING:
    from sharpv.report import Report
    from sharpv.video import Video

__all__ = ["ask"]

SCHEMA_VERSION = 1


def ask(
    video: Annotated[str, typer.Argument(metavar="VIDEO", help="Path or URL of a clip.", show_default=False)],
    question: Annotated[
        str, typer.Argument(metavar="QUESTION", help="What to ask about it.", show_default=False)
    ],
    model: Model = None,
    frames: Frames = None,
    fps: Fps = None,
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
    """Ask a video LLM a question about a clip.

    Without -m, the toy in the box answers from 8 frames by default. It knows only ShapesQA, the synthetic
    world of `sharpv demo`, and says so where the clip or a word is not of it.
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
    clip, loaded = open_clip_and_model(video, model, sampling(frames, fps, model), dtype=dtype, device=device)
    from sharpv.hf.ask import ask as ask_model

    for warning in toy_warnings(model, clip, loaded, question):
        output.warn(warning)
    output.progress(f"answering from {len(clip.frames)} of {clip.total_frames} frames ...")
    answered = ask_model(loaded, clip, question, settings, max_new_tokens, method)
    if json:
        output.result(_result(video, question, loaded.name, clip, answered.text, answered.report))
    else:
        output.answer(output.printable(answered.text))
        output.progress(_summary(answered.report))


def _result(
    source: str, question: str, model: str, clip: "Video", answer: str, report: "Report"
) -> dict[str, Any]:
    return {
        "schema_version": SCHEMA_VERSION,
        "question": question,
        "answer": answer,
        "model": model,
        "video": {
            "source": source if len(source) <= 200 else source[:200] + "...",
            "frames": len(clip.frames),
            "total_frames": clip.total_frames,
            "height": clip.frames.shape[1],
            "width": clip.frames.shape[2],
            "fps": clip.fps,
            "duration": clip.duration,
            "indices": clip.indices.tolist(),
            "timestamps": clip.timestamps.tolist(),
            "warnings": list(clip.warnings),
        },
        "report": report.to_dict(),
    }


def _summary(report: "Report") -> str:
    share = report.tokens_kept / max(report.tokens_total, 1)
    dropped = sum(any(layer.dropped) for layer in report.layers)
    parts = [f"kept {report.tokens_kept} of {report.tokens_total} video tokens ({share:.1%})"]
    if report.layer_share is not None and report.layer_share < share:
        parts.append(f"{report.layer_share:.1%} of them in the mean layer")
    if report.cache_bytes is not None and report.dense_cache_bytes:
        unit, name = (1e6, "MB") if report.dense_cache_bytes >= 1e6 else (1e3, "kB")
        held, dense = report.cache_bytes / unit, report.dense_cache_bytes / unit
        parts.append(f"KV cache {held:.1f} of {dense:.1f} {name}")
    if report.layers:
        parts.append(f"{dropped} of {len(report.layers)} layers dropped their video")
    phases = asdict(report.milliseconds).items()
    spent = ", ".join(f"{name} {value:.0f} ms" for name, value in phases if value is not None)
    return "\n".join(["; ".join(parts), *reuse_lines(report), spent])
