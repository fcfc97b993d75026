"""Asking about one clip under one condition: what was said, what was kept, and what that cost."""

import time
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

import torch
from torch import Tensor

from sharpv.bench.asking import Batch, answer, grade
from sharpv.bench.chosen import on_clip
from sharpv.bench.clock import seconds
from sharpv.bench.conditions import Condition
from sharpv.bench.flops import PrefillFlops
from sharpv.bench.records import Answered, ClipRecord
from sharpv.config import SharpVConfig
from sharpv.hf.ask import VideoModel
from sharpv.hf.attach import attach
from sharpv.methods import InLLMPruner, Selection, TokenPruner, needs_attention
from sharpv.report import Report, ReuseReport
from sharpv.shapesqa import Sample

__all__ = ["ask_clip"]


def ask_clip(
    loaded: VideoModel,
    sample: Sample,
    condition: Condition,
    made: Sequence[Batch],
    known: Mapping[tuple[str, str], ClipRecord],
    flops: PrefillFlops,
    encoded: ReuseReport | None = None,
) -> ClipRecord:
    """Asks all batches of questions about a clip under one condition.

    Args:
        loaded: the model.
        sample: the clip.
        condition: how it is pruned.
        made: from `batches`, of the questions that the condition asks.
        known: records by clip and condition; that of `condition.match` among them.
        flops: of the model.
        encoded: what was encoded of the clip; None where all of it was.
    """
    matched = None
    if condition.match is not None:
        other = known[sample.name, condition.match]
        matched = other.tokens_kept / other.tokens_total
    config, pruner = on_clip(condition, sample.name, matched)
    once = None if isinstance(pruner, InLLMPruner) else Once(pruner)
    started = time.perf_counter()
    answers, reports = [], []
    with attach(loaded.model, config, method=once or pruner) as session:
        for batch in made:
            for question, said in zip(batch.questions, answer(loaded, batch), strict=True):
                right, facts = grade(question, said)
                answers.append(
                    Answered(
                        family=question.family,
                        question=question.text,
                        truth=question.answer,
                        said=said,
                        right=right,
                        facts=facts,
                    )
                )
            reports.append(session.reports[-1])
    return ClipRecord(
        clip=sample.name,
        scene_type=sample.scene.type,
        condition=condition.name,
        answers=tuple(answers),
        seconds=round(time.perf_counter() - started, 4),
        scoring_ms=None if once is None else once.milliseconds,
        patches_total=0 if encoded is None else encoded.rows_total,
        patches_encoded=0 if encoded is None else encoded.rows_computed,
        **_cost(reports, flops),
    )


class Once:
    """A pruner that looks at a clip once, however many questions about it come, and takes the time of that.

    Attributes:
        milliseconds: what scoring and selecting took; None before the first clip.
    """

    def __init__(self, pruner: TokenPruner) -> None:
        self.name = pruner.name
        self.check = pruner.check
        self.needs_attention = needs_attention(pruner)
        self.milliseconds: float | None = None
        self._pruner = pruner
        self._seen: tuple[Tensor, Selection] | None = None

    def select(
        self, features: Tensor, config: SharpVConfig, grid: tuple[int, int] | None = None, *attention: Tensor
    ) -> Selection:
        """Returns what the pruner selects, or what it selected of the same features before."""
        if self._seen is not None and torch.equal(self._seen[0], features):
            return self._seen[1]
        started = seconds(features.device)
        chosen = self._pruner.select(features, config, grid, *attention)
        self.milliseconds = round(1e3 * (seconds(features.device) - started), 4)
        self._seen = features, chosen
        return chosen


def _cost(reports: Sequence[Report], flops: PrefillFlops) -> dict[str, Any]:
    """Returns what the requests of one clip kept and cost, as the fields of a record."""
    rows = sum(len(report.prompt_tokens) for report in reports)
    layers = list(zip(*(report.layers for report in reports), strict=True))
    similar = [
        [value for part in layer for value in part.similarity if value is not None] for layer in layers
    ]
    cost: dict[str, Any] = {
        "similarity": tuple(fmean(values) for values in similar if values),
        "dropped": tuple(sum(sum(part.dropped) for part in layer) / rows for layer in layers),
        "prefill_ms": round(sum(report.milliseconds.prefill or 0.0 for report in reports) / rows, 4),
    }
    for name in ("cache_bytes", "dense_cache_bytes"):
        cost[name] = sum(getattr(report, name) or 0 for report in reports) / rows
    first = reports[0]
    if first.videos:
        cost |= {
            "tokens_total": first.videos[0].tokens_total,
            "tokens_kept": first.videos[0].tokens_kept,
            "ratios": first.videos[0].ratios,
            "layer_tokens": tuple(tokens / len(first.videos) for tokens in first.layer_tokens),
        }
    prompts = [kept for report in reports for kept in report.prompt_tokens_kept]
    entered = cost.get("tokens_kept", 0)
    layers_read = cost.get("layer_tokens") or (entered,)
    read = [[prompt - entered + tokens for tokens in layers_read] for prompt in prompts]
    counted = [count for tokens in read if (count := flops.exact(tokens)) is not None]
    cost["flops"] = fmean(counted) if counted else None
    cost["paper_flops"] = fmean(map(flops.paper, read))
    return cost
