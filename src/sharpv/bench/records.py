"""What was answered, clip by clip."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from sharpv.bench.journal import Journal

__all__ = ["Answered", "ClipRecord", "Records"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """One question and what the model said.

    Attributes:
        family: of questions.
        question: its text.
        truth: the right answer.
        said: the model's.
        right: whether it counts as right.
        facts: of a caption, the share of the true facts that it states; else None.
    """

    family: str
    question: str
    truth: str
    said: str
    right: bool
    facts: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipRecord:
    """All questions about one clip under one condition.

    Attributes:
        clip: its name.
        scene_type: what kind of scene it is.
        condition: name of the condition.
        answers: one per question.
        tokens_total: visual tokens of the clip; 0 without video.
        tokens_kept: those that the LLM read.
        ratios: r_t per frame; empty for a method that has none, and where nothing was to be dropped.
        similarity: per layer, mean over the questions; empty where stage 2 is off.
        dropped: per layer, share of the questions for which it gave up the video.
        cache_bytes: of the KV cache after the prefill, per question.
        dense_cache_bytes: what the dense model would have held.
        patches_total: of the clip, for the vision tower; 0 without `vision_reuse`.
        patches_encoded: those that the vision tower encoded.
        layer_tokens: visual tokens that each decoder layer read, per question; empty without video.
        flops: of a question's prefill, counted, with the head on its last token; a mean over the questions.
        paper_flops: the same by the formula that papers on pruning use.
        scoring_ms: of scoring and selecting the tokens of the clip once; None where nothing was.
        prefill_ms: per question, of the requests together.
        seconds: spent on answering, without the vision tower.
    """

    clip: str
    scene_type: str
    condition: str
    answers: tuple[Answered, ...]
    tokens_total: int = 0
    tokens_kept: int = 0
    patches_total: int = 0
    patches_encoded: int = 0
    ratios: tuple[float, ...] = ()
    similarity: tuple[float, ...] = ()
    dropped: tuple[float, ...] = ()
    cache_bytes: float | None = None
    dense_cache_bytes: float | None = None
    layer_tokens: tuple[float, ...] = ()
    flops: float | None = None
    paper_flops: float | None = None
    scoring_ms: float | None = None
    prefill_ms: float | None = None
    seconds: float = 0.0

    @property
    def key(self) -> tuple[str, str]:
        """What no other record of a run has."""
        return self.clip, self.condition

    def to_json(self) -> str:
        """Returns one line of JSON."""
        return json.dumps(asdict(self), allow_nan=False)

    @classmethod
    def from_json(cls, line: str) -> Self:
        """Builds the record from `to_json()`."""
        values = json.loads(line)
        values["answers"] = tuple(Answered(**answered) for answered in values["answers"])
        for name in ("ratios", "similarity", "dropped", "layer_tokens"):
            values[name] = tuple(values[name])
        return cls(**values)


class Records(Journal[ClipRecord]):
    """The records of an accuracy run."""

    def __init__(self, folder: Path | None, settings: Mapping[str, Any]) -> None:
        """Opens a folder, as `Journal` does."""
        super().__init__(folder, settings, ClipRecord)
