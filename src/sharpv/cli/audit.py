"""`sharpv bench audit`: what vision reuse changes in the features of a model, on clips of the user's own."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from sharpv.cli import output
from sharpv.cli.options import (
    ConfigFile,
    Debug,
    Device,
    Dtype,
    Fps,
    Frames,
    MaxSide,
    Model,
    Retention,
)
from sharpv.cli.settings import pruning, sampling
from sharpv.cli.timed import Out, require_folder, write
from sharpv.config import SharpVConfig

if TYPE_CHECKING:
    from sharpv.bench.audit import AuditedClip

__all__ = ["audit"]

COLUMNS = (
    *("clip", "frames", "patches %", "in full", "audited"),
    *("cosine", "5th percentile", "error of T", "kept the same %"),
)
NOTES = (
    "patches %: of the clip's, that the vision tower encoded; in full: frames of which it encoded all",
    "cosine: of the audited frames' features with reuse to those without, mean over their tokens",
    "kept the same: tokens of the audited frames that are kept with reuse and without, of those kept without",
)
TRY_SAFE = "try --vision-reuse safe, or leave vision reuse off for clips like this"
LEAVE_OFF = "leave vision reuse off for clips like this"
NOT_ALL = (
    "these are the audited frames only: what answers lose is for `sharpv eval` on questions of yours to say"
)


def audit(
    clips: Annotated[list[Path], typer.Argument(metavar="CLIP...", help="Video files.", show_default=False)],
    model: Model = None,
    vision_reuse: Annotated[
        Literal["balanced", "safe"] | None, typer.Option(help="The rule to audit. [default: balanced]")
    ] = None,
    frames_audited: Annotated[
        int | None,
        typer.Option("--audit", min=1, help="Frames of each clip to compare. [default: 4]"),
    ] = None,
    config: ConfigFile = None,
    retention: Retention = None,
    frames: Frames = None,
    fps: Fps = None,
    max_side: MaxSide = None,
    dtype: Dtype = "auto",
    device: Device = None,
    out: Out = None,
    json: Annotated[bool, typer.Option("--json", help="Print the line of JSON only.")] = False,
    debug: Debug = False,
) -> None:
    """Compare features with vision reuse to those without, on a model and clips of yours.

    A few frames of each clip are encoded in full besides. Warns where their features are far from those with
    reuse, or where other tokens would be kept. Clips like those that you will ask about say most.
    """
    require_folder(out)
    settings = _audited(
        pruning(
            config,
            {"retention": retention, "vision_reuse": vision_reuse},
            defaults={"vision_reuse": "balanced", "memory_threshold": None},
        ),
        frames_audited,
    )
    sampled = sampling(frames, fps, model)
    from sharpv.bench.audit import run
    from sharpv.hf.ask import DEFAULT_MODEL, load_model

    name = DEFAULT_MODEL if model is None else model
    output.progress(f"loading {name} ...")
    loaded = load_model(name, dtype, device)
    done: list[AuditedClip] = []
    result = run(loaded, clips, settings, sampled, max_side, on_clip=done.append, log=output.progress)
    if not json:
        output.table(COLUMNS, [_row(clip) for clip in done])
        for note in (*NOTES, NOT_ALL):
            output.answer(note)
    safe = settings.vision_reuse == SharpVConfig(vision_reuse="safe").vision_reuse
    for clip in done:
        _warn(clip, LEAVE_OFF if safe else TRY_SAFE)
    write(result, out)


def _audited(config: SharpVConfig, frames: int | None) -> SharpVConfig:
    """Returns a configuration that audits so many frames; None takes its own number, or 4."""
    if config.reuse is None:
        raise typer.BadParameter(
            "has vision_reuse: null, so there is nothing to audit", param_hint="--config"
        )
    count = frames or config.reuse.audit or 4
    return replace(config, vision_reuse=replace(config.reuse, audit=count))


def _row(clip: "AuditedClip") -> list[str]:
    reuse, found = clip.reuse, clip.reuse.audit
    start = [clip.clip, str(clip.frames), f"{100 * reuse.share:.1f}"]
    if found is None:
        return [*start, str(reuse.full_frames) if reuse.fallback is None else "all", "0", *["-"] * 4]
    overlap = "-" if found.kept_overlap is None else f"{100 * found.kept_overlap:.1f}"
    return [
        *start,
        str(reuse.full_frames),
        str(found.frames),
        f"{found.cosine_mean:.4f}",
        f"{found.cosine_p5:.4f}",
        f"{found.temporal_error:.4f}",
        overlap,
    ]


def _warn(clip: "AuditedClip", remedy: str) -> None:
    """Says on stderr what is not to be trusted, and what was not audited."""
    if clip.reuse.fallback is not None:
        output.warn(f"{clip.clip}: nothing to audit, all patches were encoded: {clip.reuse.fallback}")
    elif clip.reuse.audit is None:
        output.warn(f"{clip.clip}: nothing to audit, every frame was encoded in full")
    for doubt in clip.doubts:
        output.warn(f"{clip.clip}: {doubt}: {remedy}")
