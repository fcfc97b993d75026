"""The line of output that a row becomes."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

from sharpv.batch.manifest import Row

__all__ = ["Line"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """What came of one row; None where it is not known.

    Attributes:
        id: of the row.
        video: as in the manifest.
        question: as in the manifest.
        answer: of the model; None where the row failed.
        error: why it failed; None where it did not.
        frames: frames that were read of the clip.
        prompt_tokens: tokens of the prompt before pruning.
        prompt_tokens_kept: tokens of the prompt that the LLM read.
        video_tokens: visual tokens before pruning.
        video_tokens_kept: visual tokens that the LLM read.
        patches: of the video, where the vision tower was to encode some of them only.
        patches_encoded: patches that it encoded.
        milliseconds: by phase: read, vision, scoring, prefill, decode; or read and request.
        notes: what is odd about the clip, and what did not run as configured.
    """

    id: str
    video: str
    question: str
    answer: str | None = None
    error: str | None = None
    frames: int | None = None
    prompt_tokens: int | None = None
    prompt_tokens_kept: int | None = None
    video_tokens: int | None = None
    video_tokens_kept: int | None = None
    patches: int | None = None
    patches_encoded: int | None = None
    milliseconds: Mapping[str, float | None]
    notes: tuple[str, ...] = ()

    @classmethod
    def failed(cls, row: Row, reason: str) -> Self:
        """Builds the line of a row that cannot be answered."""
        return cls(id=row.id, video=row.video, question=row.question, error=reason, milliseconds={})

    def to_dict(self) -> dict[str, Any]:
        """Returns plain JSON values."""
        rounded = {phase: None if ms is None else round(ms, 3) for phase, ms in self.milliseconds.items()}
        return asdict(self) | {"milliseconds": rounded, "notes": list(self.notes)}
