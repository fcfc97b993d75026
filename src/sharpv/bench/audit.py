"""What vision reuse changes in a model's features, on clips of the user's own."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sharpv.bench.where import where
from sharpv.config import SharpVConfig
from sharpv.errors import InputError
from sharpv.hf.ask import VideoModel, ask
from sharpv.report import ReuseReport
from sharpv.video import Sampling, Video, read_video

__all__ = ["LEAST_COSINE", "LEAST_OVERLAP", "AuditedClip", "run"]

SCHEMA_VERSION = 1
LEAST_COSINE, LEAST_OVERLAP = 0.98, 0.90
"""Of the mean cosine, and of the kept sets: below them, reuse is not to be trusted unseen."""

QUESTION = "What happens in this video?"
"""Nothing that is measured depends on it."""


@dataclass(frozen=True, slots=True)
class AuditedClip:
    """One clip.

    Attributes:
        clip: name of its file.
        frames: that were read.
        reuse: what was encoded, with the audit; without one where reuse fell back, or every frame is encoded
            in full.
    """

    clip: str
    frames: int
    reuse: ReuseReport

    @property
    def doubts(self) -> tuple[str, ...]:
        """What is below the least that is trusted, in words."""
        audit = self.reuse.audit
        if audit is None:
            return ()
        found = []
        if not audit.cosine_mean >= LEAST_COSINE:
            found.append(f"a mean cosine of {audit.cosine_mean:.3f} is below {LEAST_COSINE}")
        if audit.kept_overlap is not None and audit.kept_overlap < LEAST_OVERLAP:
            found.append(
                f"only {audit.kept_overlap:.1%} of the kept tokens stay, less than {LEAST_OVERLAP:.0%}"
            )
        return tuple(found)

    def to_dict(self) -> dict[str, Any]:
        """Returns plain JSON values; not which patches were encoded."""
        reuse = self.reuse
        return {
            "clip": self.clip,
            "frames": self.frames,
            "rows_computed": reuse.rows_computed,
            "rows_total": reuse.rows_total,
            "share": reuse.share,
            "full_frames": reuse.full_frames,
            "plan_milliseconds": reuse.plan_milliseconds,
            "fallback": reuse.fallback,
            "audit": None if reuse.audit is None else asdict(reuse.audit),
            "doubts": list(self.doubts),
        }


def run(
    loaded: VideoModel,
    paths: Sequence[Path],
    config: SharpVConfig,
    sampling: Sampling,
    max_side: int | None = None,
    on_clip: Callable[[AuditedClip], None] = lambda clip: None,
    log: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Asks about each clip with vision reuse, and audits what that changed.

    Args:
        loaded: the model.
        paths: of the clips, at least one.
        config: with `vision_reuse`, whose `audit` says how many frames of each clip are compared.
        sampling: which frames to read.
        max_side: as for `read_video`.
        on_clip: takes each clip when it is done.
        log: takes one line per step.

    Returns:
        A dictionary for JSON: `config`; `clips`, as `AuditedClip.to_dict` has them; and where this was run.

    Raises:
        InputError: no clip, a configuration that audits nothing, or what the method cannot follow.
        UnsupportedModelError: a model whose vision tower reuses no patches.
        VideoError: a clip that cannot be read.
    """
    if not paths or config.reuse is None or not config.reuse.audit:
        raise InputError(
            f"got {len(paths)} clips and vision_reuse={config.vision_reuse!r}: give clips, and a VisionReuse "
            "with audit of at least 1"
        )
    clips = []
    for path in paths:
        log(f"{path.name} ...")
        video = read_video(path, sampling, max_side=max_side)
        clips.append(_audited(loaded, path.name, video, config))
        on_clip(clips[-1])
    return {
        "bench": "audit",
        "schema_version": SCHEMA_VERSION,
        "model": loaded.name,
        "config": config.to_dict(),
        "clips": [clip.to_dict() for clip in clips],
        **where(str(loaded.model.device)),
    }


def _audited(loaded: VideoModel, name: str, video: Video, config: SharpVConfig) -> AuditedClip:
    reuse = ask(loaded, video, QUESTION, config, max_new_tokens=1).report.videos[0].reuse
    assert reuse is not None
    return AuditedClip(name, len(video.frames), reuse)
