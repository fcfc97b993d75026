"""What was answered, clip by clip: JSON lines in a folder, from which an interrupted run goes on."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from sharpv.errors import InputError

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


class Records:
    """The records of a run, in memory and, with a folder, in `records.jsonl` there.

    Attributes:
        found: the records by clip and condition.
    """

    def __init__(self, folder: Path | None, settings: Mapping[str, Any]) -> None:
        """Opens a folder, or goes on in one that holds records of the same settings.

        Raises:
            InputError: the folder holds other settings or something else, or cannot be used.
        """
        self.found: dict[tuple[str, str], ClipRecord] = {}
        self._path = None if folder is None else folder / "records.jsonl"
        if folder is None or self._path is None:
            return
        try:
            folder.mkdir(parents=True, exist_ok=True)
            _same_settings(folder, json.loads(json.dumps(settings)))
            self._read(self._path)
        except OSError as error:
            raise InputError(f"cannot use {str(folder)!r}: {error.strerror}; give another folder") from error

    def add(self, record: ClipRecord) -> None:
        """Keeps a record, on disk before this returns."""
        self.found[record.key] = record
        if self._path is not None:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(record.to_json() + "\n")

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Writes the summary beside the records."""
        if self._path is not None:
            text = json.dumps(summary, indent=1, allow_nan=False) + "\n"
            self._path.with_name("summary.json").write_text(text, encoding="utf-8")

    def _read(self, path: Path) -> None:
        if not path.exists():
            return
        whole = path.read_bytes()
        # A run that was killed while it wrote leaves half a line, which is asked again.
        complete = whole[: whole.rfind(b"\n") + 1]
        if len(complete) < len(whole):
            path.write_bytes(complete)
        for number, line in enumerate(complete.decode().splitlines(), start=1):
            try:
                record = ClipRecord.from_json(line)
            except (ValueError, TypeError, KeyError) as error:
                raise InputError(
                    f"line {number} of {str(path)!r} is no record ({error}): take it out, or give another "
                    "folder"
                ) from error
            self.found[record.key] = record


def _same_settings(folder: Path, settings: dict[str, Any]) -> None:
    path = folder / "settings.json"
    if not path.exists():
        if any(folder.iterdir()):
            raise InputError(f"{str(folder)!r} holds other files than those of a run: give an empty folder")
        path.write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")
        return
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
        names = set(known) | set(settings)
    except (ValueError, TypeError) as error:
        raise InputError(f"cannot read {str(path)!r} ({error}): give another folder") from error
    other = sorted(name for name in names if known.get(name) != settings.get(name))
    if other:
        raise InputError(
            f"{str(folder)!r} holds a run with other settings ({', '.join(other)}): give another folder, or "
            "the same settings to go on"
        )
