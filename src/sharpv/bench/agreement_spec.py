"""What an agreement run compares: which questions, under which conditions."""

from dataclasses import dataclass
from typing import Any

from sharpv.bench.conditions import Condition, require_order
from sharpv.methods import InLLMPruner, find_pruner
from sharpv.shapesqa.questions import CAPTION, ORDER
from sharpv.tiny.load import TOY_PREFIX

__all__ = ["QUESTIONS", "TOY_QUESTIONS", "AgreementSpec", "asks_the_prompt", "default_questions"]

QUESTIONS = (
    "Describe the video.",
    "What is shown in the video?",
    "What happens in the video?",
    "What changes between the beginning and the end of the video?",
)

TOY_QUESTIONS = {
    "recog": "What shape is the red one?",
    "scene_change": "Does the scene change?",
    "start_pos": "Where does the red shape start?",
    "end_pos": "Where is the red shape at the end?",
    "direction": "Which way does the red shape move?",
    "moving_colour": "What colour is the shape that moves?",
    "moving_shape": "What shape is the one that moves?",
    "move_count": "How many shapes move?",
    "order": ORDER[0],
    "vanish": "Which colour disappears?",
    "shape_count": "How many shapes are there?",
    "caption": CAPTION,
}
"""A question of each family of ShapesQA, in the only words that the toys know."""


def default_questions(model: str) -> tuple[str, ...]:
    """Returns what a model is asked by default.

    Args:
        model: its name, as for `load_model`.
    """
    return tuple(TOY_QUESTIONS.values()) if model.startswith(TOY_PREFIX) else QUESTIONS


def asks_the_prompt(condition: Condition) -> bool:
    """Says whether a method chooses by the last token of the pass, which here is one of the answer."""
    pruner = find_pruner(condition.method)
    return isinstance(pruner, InLLMPruner) and pruner.reads_attention


@dataclass(frozen=True, slots=True, kw_only=True)
class AgreementSpec:
    """What is asked about every clip, and under what.

    Attributes:
        conditions: from `choose_contest`. Prompt and answer are read in one pass, so those with stage 2 are
            refused, which acts on what is read after the pass of the video, and those with `asks_the_prompt`.
        questions: at least one, each once.
        frames: of each clip, at least 1.
        max_new_tokens: the most tokens of an answer, its end included.

    Raises:
        ValueError: a value outside its range.
    """

    conditions: tuple[Condition, ...]
    questions: tuple[str, ...] = QUESTIONS
    frames: int = 8
    max_new_tokens: int = 8

    def __post_init__(self) -> None:
        if not self.questions or len(set(self.questions)) < len(self.questions):
            raise ValueError(f"questions are {list(self.questions)}: give at least one, each once")
        if not all(question.strip() for question in self.questions):
            raise ValueError(f"questions are {list(self.questions)}: none may be empty")
        for name in ("frames", "max_new_tokens"):
            given = getattr(self, name)
            if type(given) is not int or given < 1:
                raise ValueError(f"{name} is {given!r}: it must be a whole number of at least 1")
        require_order(self.conditions)
        for condition in self.conditions:
            if condition.control:
                raise ValueError(
                    f"condition {condition.name!r} shows {condition.frames!r} of the frames: all conditions "
                    "must show the whole clip, so that the same tokens are there to keep"
                )
            if condition.config.memory_threshold is not None:
                raise ValueError(
                    f"condition {condition.name!r} has memory_threshold={condition.config.memory_threshold}, "
                    "which acts only on what is read after the pass of the video: set it to None"
                )
            if asks_the_prompt(condition):
                raise ValueError(
                    f"condition {condition.name!r} chooses by the prompt's last token, but prompt and answer "
                    "are read in one pass here: leave it out"
                )

    def to_dict(self) -> dict[str, Any]:
        """Returns the fields as plain JSON values."""
        return {
            "conditions": [condition.to_dict() for condition in self.conditions],
            "questions": list(self.questions),
            "frames": self.frames,
            "max_new_tokens": self.max_new_tokens,
        }
