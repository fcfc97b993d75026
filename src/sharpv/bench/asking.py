"""Asking many questions about one clip in padded batches, and reading the answers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sharpv.bench.spec import AccuracySpec
from sharpv.errors import InputError
from sharpv.hf.ask import VideoModel, build_inputs
from sharpv.shapesqa import Question
from sharpv.shapesqa.files import FPS
from sharpv.shapesqa.questions import facts_right, is_right
from sharpv.video import Video

__all__ = ["Batch", "Choices", "answer", "as_video", "batches", "grade", "spell"]

Choices = dict[str, tuple[int, ...]]
"""The options of one question, each with the tokens that spell it."""

Rows = list[tuple[Question, Choices]]


@dataclass(frozen=True, slots=True)
class Batch:
    """Questions that are asked together.

    Attributes:
        questions: one per row.
        inputs: what the processor returned for them, on the model's device.
        choices: the options of each row, or None where any text may be answered. Either all of them are one
            token, or each row has longer ones.
        max_new_tokens: the most tokens of an answer, without its end.
    """

    questions: tuple[Question, ...]
    inputs: dict[str, Any]
    choices: tuple[Choices, ...] | None
    max_new_tokens: int


def as_video(frames: NDArray[np.uint8]) -> Video:
    """Returns the frames of a ShapesQA clip, RGB uint8 `[n, h, w, 3]`, with the times they are shown at."""
    n = len(frames)
    indices = np.arange(n)
    return Video(frames, indices / FPS, indices, total_frames=n, fps=FPS, duration=n / FPS)


def batches(
    loaded: VideoModel, video: Video | None, questions: Sequence[Question], spec: AccuracySpec
) -> list[Batch]:
    """Builds the requests for some questions about one clip, those of one kind of answer together.

    Args:
        loaded: the model.
        video: the clip, the same in each row; None asks without one.
        questions: in any order.
        spec: its `scoring`, `rows` and `max_new_tokens` count here.

    Raises:
        InputError: the tokenizer cannot tell two options apart, or the model has no end token.
    """
    _ends(loaded.model)
    one_token: Rows = []
    longer: Rows = []
    free: Rows = []
    for question in questions:
        if spec.scoring == "generate" or not question.options:
            free.append((question, {}))
            continue
        choices = spell(loaded.processor.tokenizer, question.options)
        (one_token if _longest(choices) == 1 else longer).append((question, choices))
    made = []
    for group in (one_token, longer, free):
        for start in range(0, len(group), spec.rows):
            asked, choices_of_rows = zip(*group[start : start + spec.rows], strict=True)
            inputs = build_inputs(loaded.processor, video, *(question.text for question in asked))
            inputs = dict(inputs.to(loaded.model.device, loaded.model.dtype))
            if group is free:
                made.append(Batch(asked, inputs, None, spec.max_new_tokens))
            else:
                made.append(Batch(asked, inputs, choices_of_rows, max(map(_longest, choices_of_rows))))
    return made


def spell(tokenizer: Any, options: Sequence[str]) -> Choices:
    """Returns the tokens of each option.

    Raises:
        InputError: the tokenizer cannot tell two options apart.
    """
    choices: Choices = {}
    for option in options:
        ids = tuple(tokenizer(option, add_special_tokens=False).input_ids)
        if not ids or ids in choices.values():
            raise InputError(
                f"the model's tokenizer cannot tell {option!r} from another of {', '.join(options)}: use "
                'scoring="generate"'
            )
        choices[option] = ids
    return choices


def answer(loaded: VideoModel, batch: Batch) -> list[str]:
    """Returns the model's answers, one per question.

    Without choices, that is text, greedily decoded. With choices, it is the likeliest option: by its only
    token, where all options have one; else by the sum of the log-probabilities of its tokens and of the end
    after them, not divided by their number. For that the model is asked again for each option.
    """
    if batch.choices is None:
        prompt = batch.inputs["input_ids"].shape[1]
        new = _generate(loaded, batch, batch.max_new_tokens).sequences[:, prompt:]
        texts = loaded.processor.tokenizer.batch_decode(new, skip_special_tokens=True)
        return [text.strip() for text in texts]
    if batch.max_new_tokens > 1:
        return _likeliest(loaded, batch, batch.choices)
    allowed = [[ids[0] for ids in choices.values()] for choices in batch.choices]
    output = _generate(loaded, batch, 1, prefix_allowed_tokens_fn=lambda row, ids: allowed[row])
    return [
        next(option for option, ids in choices.items() if ids == (token,))
        for choices, token in zip(batch.choices, output.sequences[:, -1].tolist(), strict=True)
    ]


def grade(question: Question, said: str) -> tuple[bool, float | None]:
    """Compares an answer with the truth.

    Returns:
        Whether it is right, and of a caption the share of the true facts that it states.
    """
    if question.options:
        return is_right(question, said), None
    right, total = facts_right(question, said)
    return is_right(question, said), right / total


def _ends(model: Any) -> list[int]:
    end = model.generation_config.eos_token_id
    if end is None:
        raise InputError("the model's generation_config names no eos_token_id: set it, so that answers end")
    return list(end) if isinstance(end, list) else [end]


def _longest(choices: Choices) -> int:
    return max(map(len, choices.values()))


def _generate(loaded: VideoModel, batch: Batch, max_new_tokens: int, **given: Any) -> Any:
    return loaded.model.generate(
        **batch.inputs,
        max_new_tokens=max_new_tokens,
        do_sample=False,
        num_beams=1,
        repetition_penalty=1.0,
        return_dict_in_generate=True,
        **given,
    )


def _likeliest(loaded: VideoModel, batch: Batch, rows: Sequence[Choices]) -> list[str]:
    """Returns the likeliest option of each row, its end included; of equals the first."""
    ends = _ends(loaded.model)
    scores: list[dict[str, float]] = [{} for _ in rows]
    for turn in range(max(map(len, rows))):
        # A row with fewer options than others says its last one again.
        forced = [list(choices.items())[min(turn, len(choices) - 1)] for choices in rows]
        output = _generate(
            loaded,
            batch,
            batch.max_new_tokens + 1,
            prefix_allowed_tokens_fn=_says([[*ids, ends[0]] for _, ids in forced]),
            output_logits=True,
        )
        steps = torch.stack(output.logits).float().log_softmax(-1)
        for row, (option, ids) in enumerate(forced):
            said = sum(float(steps[step, row, token]) for step, token in enumerate(ids))
            scores[row][option] = said + float(steps[len(ids), row, ends].logsumexp(0))
    return [max(chances, key=chances.__getitem__) for chances in scores]


def _says(forced: Sequence[Sequence[int]]) -> Callable[[int, Tensor], list[int]]:
    """Returns the `prefix_allowed_tokens_fn` with which each row says these tokens, and then the last again.

    What it sees starts with a prompt that SharpV may have shortened: its length is that of the first call.
    """
    prompt: list[int] = []

    def allowed(row: int, ids: Tensor) -> list[int]:
        if not prompt:
            prompt.append(len(ids))
        return [forced[row][min(len(ids) - prompt[0], len(forced[row]) - 1)]]

    return allowed
