"""`sharpv ask`: a question about a clip, answered by a video LLM that reads only what carries news."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sharpv.cli import output
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
    Model,
    NoMemory,
    Retention,
    Threshold,
)
from sharpv.config import SharpVConfig
from sharpv.tiny.load import TOY_PREFIX

if TYPE_CHECKING:
    from sharpv.report import Report
    from sharpv.video import Sampling, Video

__all__ = ["ask"]

SCHEMA_VERSION = 1
TOY_FRAMES = 8
NO_MODEL = "no model given (-m): "
TOY = "loading {}, which knows only clips and questions of its synthetic world (see `sharpv demo`) ..."
FOREIGN_CLIP = "this clip is not of the toy's world of moving shapes: take its answer for noise"


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
    coverage: Coverage = None,
    diversity: Diversity = False,
    bucket: Bucket = None,
    memory_threshold: MemoryThreshold = None,
    no_memory: NoMemory = False,
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
        "coverage": coverage,
        "diversity": diversity or None,
        "bucket": bucket,
        "memory_threshold": memory_threshold,
    }
    settings = _settings(
        config, {name: value for name, value in given.items() if value is not None}, no_memory, dense
    )
    toy = model is None or model.startswith(TOY_PREFIX)
    if toy and frames is None and fps is None:
        frames = TOY_FRAMES
    sampling = _sampling(frames, fps)

    from sharpv.video import read_video

    output.progress("reading the video ...")
    clip = read_video(video, sampling)
    output.progress(_loading(model))
    from sharpv.hf.ask import DEFAULT_MODEL, load_model, unknown_words
    from sharpv.hf.ask import ask as ask_model

    loaded = load_model(DEFAULT_MODEL if model is None else model, dtype, device)
    if toy:
        _warn_of_the_toy(clip, unknown_words(loaded, question))
    output.progress(f"answering from {len(clip.frames)} of {clip.total_frames} frames ...")
    answered = ask_model(loaded, clip, question, settings, max_new_tokens, method)
    if json:
        output.result(_result(video, question, loaded.name, clip, answered.text, answered.report))
    else:
        output.answer(_printable(answered.text))
        output.progress(_summary(answered.report))


def _loading(model: str | None) -> str:
    if model is None:
        return NO_MODEL + TOY.format("the toy in the box")
    return TOY.format(model) if model.startswith(TOY_PREFIX) else f"loading {model} ..."


def _warn_of_the_toy(clip: "Video", unknown: list[str]) -> None:
    """Says what of the request lies outside the toy's world."""
    from sharpv.shapesqa.files import MARK

    if not (clip.comment or "").startswith(MARK):
        output.warn(FOREIGN_CLIP)
    if unknown:
        words = ", ".join(repr(word) for word in unknown)
        output.warn(f"the toy does not know {words}: ask in the words of its world, as `sharpv demo` does")


def _settings(path: Path | None, given: dict[str, Any], no_memory: bool, dense: bool) -> SharpVConfig:
    """Builds the configuration; what the user got wrong is a usage error."""
    if dense and (given or no_memory or path):
        raise typer.BadParameter(
            "prunes nothing, so no other pruning option goes with it", param_hint="--dense"
        )
    if dense:
        return SharpVConfig(retention=1.0, memory_threshold=None)
    if no_memory and "memory_threshold" in given:
        raise typer.BadParameter("excludes --memory-threshold", param_hint="--no-memory")
    if given.get("retention", "adaptive") != "adaptive":
        given["retention"] = _share(given["retention"])
    if no_memory:
        given["memory_threshold"] = None
    try:
        return SharpVConfig.from_dict(_from_file(path) | given)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


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


def _sampling(frames: int | None, fps: float | None) -> "Sampling":
    from sharpv.video import Sampling

    try:
        return Sampling(frames=frames, fps=fps)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--frames, --fps") from None


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
    return "; ".join(parts) + f"\n{spent}"


def _printable(text: str) -> str:
    """Keeps control characters of a model's answer off the terminal."""
    return "".join(
        letter if letter.isprintable() or letter in "\n\t" else "\N{REPLACEMENT CHARACTER}" for letter in text
    )
