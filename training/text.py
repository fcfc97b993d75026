"""Turns of a training sequence: the questions of ShapesQA, and two more that tie attributes to colours."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from sharpv.shapesqa import Scene, Shape, questions
from sharpv.shapesqa.questions import ORDER, is_clear
from sharpv.shapesqa.scene import quadrant
from training.labels import lateness
from training.model import DETAILS, END, LISTS, START

__all__ = ["IGNORED", "Tokens", "Turn", "draw_turns", "make_tokens"]

IGNORED = -100
ANSWER_WEIGHT, TEXT_WEIGHT, END_WEIGHT = 2.0, 1.0, 0.2
LEARNED_LAST = {"order": 1.5, "move_count": 2.0, "shape_count": 2.0}
"""How much more the answers of some families count."""


@dataclass(frozen=True, slots=True)
class Turn:
    """A question, its answer, and the family that it counts for."""

    family: str
    question: str
    answer: str


class Tokens(NamedTuple):
    """Texts of a batch as `[b, text]` columns behind the shared prefix; rows are padded on the right.

    Attributes:
        ids: token ids.
        targets: the next token where it is learned, else `IGNORED`.
        weights: of each target in the loss.
        turns: number of the turn that a column belongs to; -1 in the padding.
        places: position within the turn, from 0.
        families: of each target, by index into the names given to `make_tokens`; -1 if it is no short answer.
    """

    ids: Tensor
    targets: Tensor
    weights: Tensor
    turns: Tensor
    places: Tensor
    families: Tensor


def draw_turns(scene: Scene, rng: np.random.Generator, *, ties: bool) -> list[Turn]:
    """Draws the turns of one video in random order.

    Args:
        scene: that the video shows.
        rng: draws the questions, and their order.
        ties: whether the two questions that only training asks are among them.
    """
    turns = [Turn(q.family, q.text, q.answer) for q in questions(scene, rng) if q.family != "order"]
    turns += _both_ends(scene)
    if ties:
        turns.append(Turn("details", DETAILS, _details(scene, rng)))
        turns.append(Turn("lists", LISTS, _lists(scene, rng)))
    return [turns[i] for i in rng.permutation(len(turns))]


def _both_ends(scene: Scene) -> list[Turn]:
    """Asks both questions of `order`, whose answers are each other's wrong ones."""
    late = sorted((shape for shape in scene.shapes if shape.first > 0), key=lambda shape: shape.first)
    if len(late) != 2:
        return []
    return [Turn("order", text, shape.colour) for text, shape in zip(ORDER, late, strict=True)]


def _details(scene: Scene, rng: np.random.Generator) -> str:
    """Says all of each shape; the order turns, so that each attribute gets to follow the colour directly."""
    sentences = []
    for i in rng.permutation(len(scene.shapes)):
        shape = scene.shapes[i]
        parts = [shape.kind, _life(scene, shape)]
        if not scene.cut_moves_shapes:
            ends = (("from", shape.path[0]), ("to", shape.path[-1]))
            parts += [f"{word} {quadrant(point)}" for word, point in ends if is_clear(point)]
        turn = int(rng.integers(len(parts)))
        sentences.append(" ".join((shape.colour, *parts[turn:], *parts[:turn])))
    return ". ".join(sentences) + "."


def _lists(scene: Scene, rng: np.random.Generator) -> str:
    """Sorts the colours by what the shapes do."""
    groups: dict[str, list[str]] = {name: [] for name in ("moves", "stays", "comes", "appears", "disappears")}
    shapes = [scene.shapes[i] for i in rng.permutation(len(scene.shapes))]
    for shape in sorted(shapes, key=lambda shape: shape.first):
        groups[_life(scene, shape).split()[0]].append(shape.colour)
    return " ".join(" ".join((name, *colours)) for name, colours in groups.items()) + "."


def _life(scene: Scene, shape: Shape) -> str:
    if shape.direction:
        return f"moves {shape.direction}"
    comes, goes = shape.first > 0, shape.last < scene.frames - 1
    if comes and goes:
        return f"comes {'first' if lateness(scene, shape) == 1 else 'last'}"
    return "appears" if comes else "disappears" if goes else "stays"


def make_tokens(
    batch: list[list[Turn]], tokenizer: PreTrainedTokenizerFast, families: list[str], *, chat: bool
) -> Tokens:
    """Lays turns out behind the video.

    Args:
        batch: turns of each video.
        tokenizer: of the model.
        families: names that short answers count for.
        chat: turns follow each other as in a chat; else each is a first turn of its own.
    """
    rows = [_columns(turns, tokenizer, families, chat) for turns in batch]
    width = max(len(row) for row in rows)
    fill = (tokenizer.pad_token_id, IGNORED, 0.0, -1, 0, -1)
    padded = [row + [fill] * (width - len(row)) for row in rows]
    return Tokens(
        *(torch.tensor([[column[i] for column in row] for row in padded]) for i in range(len(fill)))
    )


def _columns(
    turns: list[Turn], tokenizer: PreTrainedTokenizerFast, families: list[str], chat: bool
) -> list[tuple[float, ...]]:
    """Returns one (id, target, weight, turn, place, family) per token of a video's turns."""
    start, end, user, assistant = tokenizer.convert_tokens_to_ids([START, END, "user", "assistant"])
    columns: list[tuple[float, ...]] = []
    for number, turn in enumerate(turns):
        opening = [start, user] if chat and number else []
        question = [*opening, *tokenizer(turn.question).input_ids, end, start, assistant]
        answer = [*tokenizer(turn.answer).input_ids, end]
        short = turn.family in families
        weight = ANSWER_WEIGHT * LEARNED_LAST.get(turn.family, 1.0) if short else TEXT_WEIGHT
        family = families.index(turn.family) if short else -1
        # The last token of a question predicts the first of its answer; the last of the answer, nothing.
        learned = [(IGNORED, 0.0, -1)] * (len(question) - 1)
        learned += [(token, weight, family) for token in answer[:-1]]
        learned += [(end, END_WEIGHT, -1), (IGNORED, 0.0, -1)]
        first = len(columns) if chat else 0
        for place, (token, (target, loss, name)) in enumerate(
            zip(question + answer, learned, strict=True), start=first
        ):
            columns.append((token, target, loss, 0 if chat else number, place, name))
    return columns
