"""How far pruning moves what a model says about clips without labels: its logits against the dense model's.

It says how much a method changes the model, not whether the answers are right. That holds most of all for
the toys, which know only moving shapes: on a clip of the real world their answers are noise, and the figures
tell how stable that noise is.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from sharpv.bench.agreement_records import AgreementRecord, Compared
from sharpv.bench.agreement_spec import AgreementSpec
from sharpv.bench.chosen import on_clip
from sharpv.bench.clips import Clip
from sharpv.bench.conditions import Condition
from sharpv.bench.encode_once import encode_once
from sharpv.bench.journal import Journal
from sharpv.bench.progress import Progress
from sharpv.bench.settings import of_model
from sharpv.bench.statistics import clustered, clustered_mean
from sharpv.bench.where import where
from sharpv.errors import InputError, UnsupportedModelError
from sharpv.hf.ask import VideoModel, build_inputs
from sharpv.hf.attach import attach
from sharpv.hf.families import require_family
from sharpv.methods import find_pruner, needs_attention
from sharpv.video import Sampling, Video, read_video

__all__ = ["run"]

SCHEMA_VERSION = 1
MEDIA_TOKENS = ("image_token_id", "video_token_id", "audio_token_id")
Request = dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Turn:
    """A question and the dense model's answer to it.

    Attributes:
        question: its text.
        said: the answer as text.
        inputs: of the prompt with the answer behind it, one row.
        steps: tokens of the answer.
        dense: float64 `[steps, vocabulary]` on the CPU, log-probabilities of the answer's tokens.
    """

    question: str
    said: str
    inputs: Request
    steps: int
    dense: Tensor


def run(
    loaded: VideoModel,
    clips: Sequence[Clip],
    spec: AgreementSpec,
    folder: Path | None = None,
    log: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Compares the logits of every condition with those of the dense model, on the dense model's answers.

    Without SharpV the model answers each question greedily. Under each condition it then reads prompt and
    answer in one pass, and its predictions of the answer's tokens, the end among them, are held against those
    that it makes without SharpV. "dense" is attached like all others, so that it shows what attaching alone
    changes: nothing. Each question is a row of its own, so that no other one, and no padding, has a part in
    its logits. The vision tower runs once for each clip.

    With a folder, the records are written as they come, and a run goes on where one ended whose `settings`
    were the same.

    Args:
        loaded: the model.
        clips: from `check_clips`, with the same number of frames.
        spec: what is asked, under which conditions.
        folder: for `records.jsonl`, `settings.json` and `summary.json`; None writes nothing.
        log: takes a line now and then, with the rate and the time left.

    Returns:
        A dictionary for JSON: where and with what (`settings`); `clips`, `questions` about each, and `tokens`
        of all answers; and per condition in `conditions` its `contestant`, `budget` and `seed`, `kl` (a
        `Mean` over the tokens, in nats, its interval cut at 0), `agreement` (a `Share` of the tokens: those
        that are the likeliest for both), and `cost`: `kept_share`, mean, min and max over the clips, and
        `seconds`.

    Raises:
        InputError: the folder holds a run with other settings, a method cannot follow its configuration, the
            model cannot be asked about a clip, or its logits are not finite.
        VideoError: a clip can no longer be read.
        UnsupportedModelError: a model, or a release of transformers, that is not supported; or a family that
            cannot read a pruned prompt and an answer in one pass.
        AttachError: a session is attached to the model.
    """
    _require_one_pass(loaded)
    place = where(str(loaded.model.device))
    own = spec.to_dict() | {"clips": {clip.name: clip.digest for clip in clips}} | of_model(loaded, place)
    journal = Journal(folder, own, AgreementRecord)
    progress = Progress(len(clips), log)
    for clip in clips:
        missing = [each for each in spec.conditions if (clip.name, each.name) not in journal.found]
        if missing:
            _compare(loaded, spec, journal, clip, missing)
        progress.step(bool(missing))
    summary = {"suite": "clips", "schema_version": SCHEMA_VERSION, "model": loaded.name, **place}
    summary |= {"settings": own, **_summarise(journal.found, clips, spec)}
    journal.finish(summary)
    return summary


def _require_one_pass(loaded: VideoModel) -> None:
    family = require_family(loaded.model.config.model_type)
    if family.stage_1_only:
        raise UnsupportedModelError(
            f"got {loaded.name!r}, which cannot read a pruned prompt and an answer in one pass, since "
            f"{family.stage_1_only}: compare a model of another family, of those that `sharpv models` lists"
        )


@torch.no_grad()
def _compare(
    loaded: VideoModel,
    spec: AgreementSpec,
    journal: Journal[AgreementRecord],
    clip: Clip,
    conditions: Sequence[Condition],
) -> None:
    """Adds the records of one clip."""
    requests = _requests(loaded, read_video(clip.path, Sampling(frames=spec.frames)), spec.questions)
    attention = any(needs_attention(find_pruner(condition.method)) for condition in conditions)
    with encode_once(loaded.model, requests[0], attention=attention):
        turns = [
            _answered(loaded, clip, question, request, spec.max_new_tokens)
            for question, request in zip(spec.questions, requests, strict=True)
        ]
        for condition in conditions:
            matched = None
            if condition.match is not None:
                matched = journal.found[clip.name, condition.match].kept_share
            journal.add(_record(loaded, clip, condition, matched, turns))


def _requests(loaded: VideoModel, video: Video, questions: Sequence[str]) -> list[Request]:
    """Builds the prompts about a clip, one row each; all hold the same tensor of pixels."""
    model, pixels = loaded.model, require_family(loaded.model.config.model_type).pixels
    requests: list[Request] = []
    for question in questions:
        request = dict(build_inputs(loaded.processor, video, question).to(model.device, model.dtype))
        requests.append(request | {pixels: (requests or [request])[0][pixels]})
    return requests


def _answered(loaded: VideoModel, clip: Clip, question: str, request: Request, max_new_tokens: int) -> _Turn:
    """Lets the dense model answer a question, and notes how it predicts its own answer."""
    known = (getattr(loaded.model.config, name, None) for name in MEDIA_TOKENS)
    output = loaded.model.generate(
        **request,
        max_new_tokens=max_new_tokens,
        do_sample=False,
        num_beams=1,
        repetition_penalty=1.0,
        # In a prompt, they would stand for pictures that are not there.
        suppress_tokens=[token for token in known if token is not None],
    )
    answer = output[:, request["input_ids"].shape[1] :]
    inputs, steps = _followed_by(request, answer), answer.shape[1]
    said = loaded.processor.tokenizer.decode(answer[0], skip_special_tokens=True).strip()
    dense = _predictions(loaded, inputs, steps)
    _require_finite(dense, f"{loaded.name} on {clip.name!r}")
    return _Turn(question, said, inputs, steps, dense)


def _followed_by(request: Mapping[str, Any], answer: Tensor) -> Request:
    """Returns a request whose prompt `[1, L]` goes on with an answer `[1, steps]`."""
    prompt, steps = request["input_ids"], answer.shape[1]
    of_tokens = {
        name: F.pad(value, (0, steps), value=int(name == "attention_mask"))
        for name, value in request.items()
        if isinstance(value, Tensor) and value.shape == prompt.shape
    }
    return {**request, **of_tokens, "input_ids": torch.cat([prompt, answer], dim=1)}


def _predictions(loaded: VideoModel, inputs: Request, steps: int) -> Tensor:
    """Returns float64 `[steps, vocabulary]` on the CPU: log-probabilities of the last tokens of a request."""
    # Those of a long prompt over a large vocabulary take gigabytes. Families that cannot leave them out give
    # all, of which the same are taken.
    logits = loaded.model(**inputs, use_cache=False, logits_to_keep=steps + 1).logits
    return logits[0, -steps - 1 : -1].cpu().double().log_softmax(-1)


def _require_finite(predictions: Tensor, what: str) -> None:
    if not bool(predictions.isfinite().all()):
        raise InputError(
            f"got logits of {what} that are not finite, which cannot be compared: load the model in another "
            "dtype, bfloat16 or float32"
        )


def _record(
    loaded: VideoModel, clip: Clip, condition: Condition, matched: float | None, turns: Sequence[_Turn]
) -> AgreementRecord:
    """Reads all answers under one condition."""
    started = time.perf_counter()
    config, pruner = on_clip(condition, clip.name, matched)
    answers = []
    with attach(loaded.model, config, method=pruner) as session:
        for turn in turns:
            found = _predictions(loaded, turn.inputs, turn.steps)
            _require_finite(found, f"{loaded.name} on {clip.name!r} under {condition.name!r}")
            # Rounding can take it below 0, by as little as 1e-16.
            kl = (turn.dense.exp() * (turn.dense - found)).sum(-1).clamp(min=0)
            same = turn.dense.argmax(-1) == found.argmax(-1)
            answers.append(
                Compared(
                    question=turn.question,
                    said=turn.said,
                    kl=tuple(kl.tolist()),
                    same=tuple(same.tolist()),
                )
            )
        report = session.reports[-1]
        (video,) = report.videos
    return AgreementRecord(
        clip=clip.name,
        condition=condition.name,
        answers=tuple(answers),
        tokens_total=video.tokens_total,
        tokens_kept=video.tokens_kept,
        layer_share=report.layer_share or 0.0,
        seconds=round(time.perf_counter() - started, 4),
    )


def _summarise(
    found: Mapping[tuple[str, str], AgreementRecord], clips: Sequence[Clip], spec: AgreementSpec
) -> dict[str, Any]:
    rows = {
        condition.name: [found[clip.name, condition.name] for clip in clips] for condition in spec.conditions
    }
    conditions = {
        condition.name: {
            "contestant": condition.contestant,
            "budget": condition.budget,
            "seed": condition.seed,
            **_of_condition(rows[condition.name]),
        }
        for condition in spec.conditions
    }
    some = next(iter(conditions.values()))
    return {
        "clips": len(clips),
        "questions": len(spec.questions),
        "tokens": some["agreement"]["n"],
        "conditions": conditions,
    }


def _of_condition(records: Sequence[AgreementRecord]) -> dict[str, Any]:
    """Sums up the records of one condition, one per clip."""
    tokens = [
        (record.clip, kl, same)
        for record in records
        for answer in record.answers
        for kl, same in zip(answer.kl, answer.same, strict=True)
    ]
    names, divergences, agreed = zip(*tokens, strict=True)
    mean = clustered_mean(divergences, names)
    if mean.low is not None:
        mean = replace(mean, low=max(mean.low, 0.0))
    kept, layers = ([getattr(record, name) for record in records] for name in ("kept_share", "layer_share"))
    return {
        "kl": asdict(mean),
        "agreement": asdict(clustered(agreed, names)),
        "cost": {
            "kept_share": {"mean": fmean(kept), "min": min(kept), "max": max(kept)},
            "layer_share": {"mean": fmean(layers), "min": min(layers), "max": max(layers)},
            "seconds": sum(record.seconds for record in records),
        },
    }
