"""Asking many questions about one clip in padded batches, and reading the answers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from sharpv.bench.spec import AccuracySpec
from sharpv.errors import InputError
from sharpv.hf.ask import VideoModel, build_inputs
from sharpv.shapesqa import Question, caption_facts
from sharpv.shapesqa.files import FPS
from sharpv.shapesqa.questions import is_right
from sharpv.video import Video

__all__ = ["Batch", "Choices", "answer", "as_video", "batches", "grade"]

Tokens = tuple[int, ...]


class Choices:
    """The answers that one question accepts, as tokens, for constrained greedy decoding.

    Attributes:
        longest: tokens of the longest answer.
    """

    def __init__(self, tokenizer: Any, options: Sequence[str], ends: Sequence[int]) -> None:
        self._ends = list(ends)
        self._options: dict[Tokens, str] = {}
        for option in options:
            ids = tuple(tokenizer(option, add_special_tokens=False).input_ids)
            if not ids or ids in self._options:
                raise InputError(
                    f"the model's tokenizer cannot tell {option!r} from another of {', '.join(options)}: use "
                    'scoring="generate"'
                )
            self._options[ids] = option
        self._next: dict[Tokens, list[int]] = {ids: list(ends) for ids in self._options}
        for ids in self._options:
            for length in range(len(ids)):
                following = self._next.setdefault(ids[:length], [])
                following += [ids[length]] if ids[length] not in following else []
        self.longest = max(map(len, self._options))

    def allowed(self, new: Sequence[int]) -> list[int]:
        """Returns the tokens that may follow the new tokens of an answer; after its end, the end again."""
        return self._next.get(tuple(new), self._ends)

    def read(self, new: Sequence[int]) -> str:
        """Returns the answer that the new tokens spell, up to the end of it."""
        return self._options[tuple(takewhile(lambda token: token not in self._ends, new))]


@dataclass(frozen=True, slots=True)
class Batch:
    """Questions that are asked together.

    Attributes:
        questions: one per row.
        inputs: what the processor returned for them, on the model's device.
        choices: of each row, or None where any text may be answered.
        max_new_tokens: the most tokens of an answer.
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
    """Builds the requests for some questions about one clip.

    Args:
        loaded: the model.
        video: the clip, the same in each row; None asks without one.
        questions: in any order.
        spec: its `scoring`, `rows` and `max_new_tokens` count here.

    Raises:
        InputError: the tokenizer cannot tell two options apart, or the model has no end token.
    """
    ends = _ends(loaded.model)
    chosen = [question for question in questions if spec.scoring == "options" and question.options]
    free = [question for question in questions if question not in chosen]
    made = []
    for group in (chosen, free):
        for start in range(0, len(group), spec.rows):
            asked = tuple(group[start : start + spec.rows])
            choices, longest = None, spec.max_new_tokens
            if group is chosen:
                tokenizer = loaded.processor.tokenizer
                choices = tuple(Choices(tokenizer, question.options, ends) for question in asked)
                longest = max(choice.longest for choice in choices)
            inputs = build_inputs(loaded.processor, video, *(question.text for question in asked))
            inputs = dict(inputs.to(loaded.model.device, loaded.model.dtype))
            made.append(Batch(asked, inputs, choices, longest))
    return made


def answer(loaded: VideoModel, batch: Batch) -> list[str]:
    """Returns the model's greedy answers, one per question.

    With choices, each step takes the likeliest of the tokens with which an option can go on; where every
    option is one token, that is the likeliest option.
    """
    constraint = {} if batch.choices is None else {"prefix_allowed_tokens_fn": _constraint(batch.choices)}
    output = loaded.model.generate(
        **batch.inputs,
        max_new_tokens=batch.max_new_tokens,
        do_sample=False,
        num_beams=1,
        repetition_penalty=1.0,
        **constraint,
    )
    new = output[:, batch.inputs["input_ids"].shape[1] :]
    if batch.choices is None:
        texts = loaded.processor.tokenizer.batch_decode(new, skip_special_tokens=True)
        return [text.strip() for text in texts]
    return [choice.read(row) for choice, row in zip(batch.choices, new.tolist(), strict=True)]


def grade(question: Question, said: str) -> tuple[bool, float | None]:
    """Compares an answer with the truth.

    Returns:
        Whether it is right, and of a caption the share of the true facts that it states.
    """
    if question.options:
        return is_right(question, said), None
    truth, found = caption_facts(question.answer), caption_facts(said)
    return is_right(question, said), sum(found.get(name) == fact for name, fact in truth.items()) / len(truth)


def _ends(model: Any) -> list[int]:
    end = model.generation_config.eos_token_id
    if end is None:
        raise InputError("the model's generation_config names no eos_token_id: set it, so that answers end")
    return list(end) if isinstance(end, list) else [end]


def _constraint(choices: Sequence[Choices]) -> Callable[[int, Tensor], list[int]]:
    """Returns the `prefix_allowed_tokens_fn` of a batch.

    What it sees starts with a prompt that SharpV may have shortened: its length is that of the first call.
    """
    prompt: list[int] = []

    def allowed(row: int, ids: Tensor) -> list[int]:
        if not prompt:
            prompt.append(len(ids))
        return choices[row].allowed(ids[prompt[0] :].tolist())

    return allowed
