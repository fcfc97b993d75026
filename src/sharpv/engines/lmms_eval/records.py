"""What pruning kept and cost, request by request, in files beside lmms-eval's results."""

import functools
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import torch
from lmms_eval.api.model import lmms
from lmms_eval.loggers.evaluation_tracker import EvaluationTracker

from sharpv._compat import versions
from sharpv._files import whole_file
from sharpv.errors import InputError
from sharpv.report import Report

__all__ = ["Doc", "Records", "record", "write_beside_results"]

logger = logging.getLogger(__name__)

SCHEMA_VERSION = 1
SIZES = ("cache_bytes", "dense_cache_bytes")
PHASES = ("vision", "scoring", "prefill", "decode")


class Doc(NamedTuple):
    """A document of a task.

    Attributes:
        task: name of the task.
        doc_id: its number there.
        padding: whether it is asked once more for nothing but that each process has as many.
    """

    task: str
    doc_id: int
    padding: bool = False

    def __str__(self) -> str:
        return f"{self.task} {self.doc_id}"


class Records:
    """The requests of one run.

    Attributes:
        about: what ran: base, model and settings.
        requests: one record each, in the order in which they were served; those of further processes behind.
    """

    def __init__(self, about: Mapping[str, Any]) -> None:
        self.about = about
        self.requests: list[dict[str, Any]] = []

    def gather(self) -> None:
        """Has the first of several processes hold the requests of all; each of them has to call this."""
        if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
            return
        parts: list[Any] = [None] * torch.distributed.get_world_size()
        torch.distributed.all_gather_object(parts, self.requests)
        self.requests = [each | {"rank": rank} for rank, part in enumerate(parts) for each in part]

    def summary(self, documents: int | None = None) -> dict[str, Any]:
        """Returns the settings, and the whole run in a few numbers; None where nothing was measured.

        Args:
            documents: how many were scored, if that is known; more than were served here if answers came from
                lmms-eval's cache.
        """
        shares = [kept / total for kept, total in map(_tokens, self.requests) if total]
        sizes = {name: [each[name] for each in self.requests] for name in SIZES}
        times = {phase: [each["milliseconds"][phase] for each in self.requests] for phase in PHASES}
        return {
            "schema_version": SCHEMA_VERSION,
            **self.about,
            "versions": dict(versions()),
            "documents": documents,
            "documents_served": self.served,
            "requests": len(self.requests),
            "requests_with_video": len(shares),
            "tokens_kept": sum(_tokens(each)[0] for each in self.requests),
            "tokens_total": sum(_tokens(each)[1] for each in self.requests),
            "kept_share": _spread(shares),
            "mean_layer_share": _mean([each["layer_share"] for each in self.requests if each["videos"]]),
            "seconds": sum(each["seconds"] for each in self.requests),
            "mean_milliseconds": {phase: _mean(found) for phase, found in times.items()},
            **{f"mean_{name}": _mean(found) for name, found in sizes.items()},
        }

    @property
    def served(self) -> int:
        """Number of documents that were served here."""
        return len({(doc["task"], doc["doc_id"]) for each in self.requests for doc in each["docs"]})

    def write(self, folder: Path, prefix: str, documents: int | None = None) -> None:
        """Writes `{prefix}_sharpv.json`, the summary, and `.jsonl`, a line for each request."""
        lines = "".join(json.dumps(each, allow_nan=False) + "\n" for each in self.requests)
        summary = json.dumps(self.summary(documents), allow_nan=False, indent=2)
        for ending, text in (("jsonl", lines), ("json", summary + "\n")):
            with whole_file(folder / f"{prefix}_sharpv.{ending}") as path:
                path.write_text(text, encoding="utf-8")


def record(
    docs: Sequence[Doc], inputs: Mapping[str, Any], output: Any, seconds: float, report: Report | None
) -> dict[str, Any]:
    """Returns the record of one request.

    Args:
        docs: what was asked, one for each row.
        inputs: of `generate()`.
        output: of `generate()`: token ids `[rows, length]`, the prompt first.
        seconds: that `generate()` took.
        report: of the session; None without SharpV, where only the prompt's length and the time are known.

    Raises:
        InputError: a base that embeds its prompts itself.
    """
    prompt = inputs.get("input_ids")
    if prompt is None:
        raise InputError("the base calls generate() without input_ids, which cannot be pruned: give another")
    mask = inputs.get("attention_mask")
    values: dict[str, Any] = {
        "docs": [{"task": doc.task, "doc_id": doc.doc_id} for doc in docs],
        "rank": 0,
        "prompt_tokens": [prompt.shape[1]] * len(prompt) if mask is None else mask.sum(1).tolist(),
        "new_tokens": [
            _until(row, inputs.get("eos_token_id")) for row in output[:, prompt.shape[1] :].tolist()
        ],
        "seconds": seconds,
    }
    if report is None:
        nothing = dict.fromkeys(("prompt_tokens_kept", "layer_share", "layers_dropped", *SIZES))
        return values | nothing | {"videos": [], "milliseconds": dict.fromkeys(PHASES), "notes": []}
    return values | {
        "prompt_tokens": list(report.prompt_tokens),
        "prompt_tokens_kept": list(report.prompt_tokens_kept),
        "videos": [
            {
                "row": video.row,
                "frames": video.frames,
                "tokens_total": video.tokens_total,
                "tokens_kept": video.tokens_kept,
                "ratios": list(video.ratios),
            }
            for video in report.videos
        ],
        "layer_share": report.layer_share,
        "layers_dropped": [layer.layer for layer in report.layers if any(layer.dropped)],
        "cache_bytes": report.cache_bytes,
        "dense_cache_bytes": report.dense_cache_bytes,
        "milliseconds": asdict(report.milliseconds),
        "notes": list(report.notes),
    }


_latest: list[Records] = []


def write_beside_results(records: Records) -> None:
    """Has lmms-eval write these records, and no earlier run's, where it next writes results.

    It says nowhere else where and under which name it writes them.
    """
    save = EvaluationTracker.save_results_aggregated
    if not hasattr(save, "also_saves_records"):
        EvaluationTracker.save_results_aggregated = _also_saving(save)
    _latest[:] = [records]


def _also_saving(save: Any) -> Any:
    @functools.wraps(save)
    def save_both(tracker: Any, results: Any, *args: Any, **kwargs: Any) -> None:
        save(tracker, results, *args, **kwargs)
        source = tracker.general_config_tracker.model_source
        records = _latest.pop() if _latest else None
        if records is None or not (source == "sharpv" or isinstance(source, lmms)):
            return
        # lmms-eval counts the documents before an offset, too.
        offset = results["config"]["offset"] or 0
        tasks = results["n-samples"].values()
        documents = sum(max(0, min(task["effective"], task["original"] - offset)) for task in tasks)
        if records.served < documents:
            logger.warning(
                "%d of %d documents were served: the other answers came from a cache, and what they kept is "
                "not counted",
                records.served,
                documents,
            )
        if tracker.output_path:
            folder = Path(tracker.output_path) / tracker.general_config_tracker.model_name_sanitized
            records.write(folder, tracker.date_id, documents)

    save_both.also_saves_records = True  # type: ignore[attr-defined]
    return save_both


def _until(tokens: Sequence[int], end: int | None) -> int:
    """Returns the number of tokens up to the end token and with it; what follows is padding."""
    return tokens.index(end) + 1 if end in tokens else len(tokens)


def _tokens(request: Mapping[str, Any]) -> tuple[int, int]:
    """Returns the visual tokens of a request: kept, and all of them."""
    videos = request["videos"]
    return sum(video["tokens_kept"] for video in videos), sum(video["tokens_total"] for video in videos)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


def _spread(shares: Sequence[float]) -> dict[str, float] | None:
    return {"mean": fmean(shares), "min": min(shares), "max": max(shares)} if shares else None
