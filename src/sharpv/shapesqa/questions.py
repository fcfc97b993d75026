"""Questions about a scene whose answers follow from it, and the caption that says it all."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sharpv.shapesqa.scene import COLOURS, DIRECTIONS, KINDS, QUADRANTS, SHAPES, Scene, Shape, quadrant

__all__ = [
    "CAPTION",
    "FAMILIES",
    "ORDER",
    "Question",
    "caption",
    "caption_facts",
    "facts_right",
    "is_clear",
    "is_right",
    "questions",
]

NUMBERS = ("zero", "one", "two", "three", "four", "five")
FAMILIES = {
    "recog": KINDS,
    "scene_change": ("yes", "no"),
    "start_pos": QUADRANTS,
    "end_pos": QUADRANTS,
    "direction": tuple(DIRECTIONS),
    "moving_colour": tuple(COLOURS),
    "moving_shape": KINDS,
    "move_count": NUMBERS[:4],
    "order": tuple(COLOURS),
    "vanish": tuple(COLOURS),
    "shape_count": NUMBERS[SHAPES[0] : SHAPES[1] + 1],
    "caption": (),
}
"""The families of questions, and the answers that each accepts; a caption is free text."""

CAPTION = "Describe the video."
ORDER = ("Which colour appears first?", "What is the last colour that appears?")
"""The two questions of `order`."""

CLEAR = 0.06


@dataclass(frozen=True, slots=True)
class Question:
    """A question and its answer.

    Attributes:
        family: one of `FAMILIES`.
        text: as a user would ask it.
        answer: one of `options`; of a caption, the whole text.
        options: what may be answered; empty for a caption.
    """

    family: str
    text: str
    answer: str
    options: tuple[str, ...]


def questions(scene: Scene, rng: np.random.Generator) -> list[Question]:
    """Returns every question that a scene answers beyond doubt, in no meaningful order.

    A place is asked only where it is clear (0.06 from the borders of the quadrants) and where start and end
    lie in different quadrants; a colour names its shape. Which shapes move, and how many, is asked only where
    no cut moves them all; `order` only of two shapes that come and go, `vanish` only of one that the first
    frame shows.

    Args:
        scene: what happens.
        rng: chooses which two shapes `recog` is about, and which end of `order` is asked.
    """
    found = [
        ("scene_change", "Does the scene change?", "no" if scene.cut is None else "yes"),
        ("shape_count", "How many shapes are there?", NUMBERS[len(scene.shapes)]),
        ("caption", CAPTION, caption(scene)),
    ]
    for i in rng.permutation(len(scene.shapes))[:2]:
        shape = scene.shapes[i]
        found.append(("recog", f"What shape is the {shape.colour} one?", shape.kind))
    found += _about_motion(scene) + _about_events(scene, rng)
    return [Question(family, text, answer, FAMILIES[family]) for family, text, answer in found]


def caption(scene: Scene) -> str:
    """Describes a scene: one sentence for each shape, in the order of `COLOURS`, and one for the scene."""
    colours = list(COLOURS)
    shapes = sorted(scene.shapes, key=lambda shape: colours.index(shape.colour))
    sentences = [
        f"{_article(shape.colour)} {shape.colour} {shape.kind} {_action(scene, shape)}" for shape in shapes
    ]
    sentences.append(f"the scene {'stays' if scene.cut is None else 'changes'}")
    return ". ".join(sentences) + "."


def caption_facts(text: str) -> dict[str, str]:
    """Reads a caption: what it states of each colour, and of the scene.

    Args:
        text: a caption, from `caption` or from a model.

    Returns:
        `{"red": "circle moves left", ..., "scene": "stays"}`; of two sentences about one thing both are kept,
        so that a contradiction equals no truth.
    """
    facts: dict[str, str] = {}
    for sentence in text.lower().split("."):
        words = sentence.split()
        if len(words) > 2:
            name, rest = words[1], " ".join(words[2:])
            facts[name] = f"{facts[name]}; {rest}" if name in facts else rest
    return facts


def is_right(question: Question, said: str) -> bool:
    """Whether an answer is the truth.

    A caption is right if it states all true facts and nothing else; any other answer if it is the same text
    but for case, spaces and a full stop.
    """
    if not question.options:
        return caption_facts(said) == caption_facts(question.answer)
    return _normal(said) == _normal(question.answer)


def facts_right(question: Question, said: str) -> tuple[int, int]:
    """Returns how many of a caption's true facts an answer states, and how many there are.

    Args:
        question: one without options.
        said: a caption, from a model.
    """
    truth, found = caption_facts(question.answer), caption_facts(said)
    return sum(found.get(name) == fact for name, fact in truth.items()), len(truth)


def _normal(text: str) -> str:
    return " ".join(text.lower().split()).rstrip(". ")


def _article(word: str) -> str:
    return "an" if word[0] in "aeiou" else "a"


def _action(scene: Scene, shape: Shape) -> str:
    if shape.direction:
        return f"moves {shape.direction}"
    comes, goes = shape.first > 0, shape.last < scene.frames - 1
    if comes and goes:
        return "comes and goes"
    return "appears" if comes else "disappears" if goes else "stays"


def _about_motion(scene: Scene) -> list[tuple[str, str, str]]:
    movers = [shape for shape in scene.shapes if shape.direction]
    found = []
    # Where a cut puts every shape elsewhere, "moves" could mean that as well.
    if not scene.cut_moves_shapes:
        found.append(("move_count", "How many shapes move?", NUMBERS[len(movers)]))
    if len(movers) == 1 and not scene.cut_moves_shapes:
        found.append(("moving_colour", "What colour is the shape that moves?", movers[0].colour))
        found.append(("moving_shape", "What shape is the one that moves?", movers[0].kind))
    for shape in movers:
        name, direction = f"the {shape.colour} shape", str(shape.direction)
        found.append(("direction", f"Which way does {name} move?", direction))
        start, end = shape.path[0], shape.path[-1]
        if scene.cut_moves_shapes or quadrant(start) == quadrant(end):
            continue
        if is_clear(start):
            found.append(("start_pos", f"Where does {name} start?", quadrant(start)))
        if is_clear(end):
            found.append(("end_pos", f"Where is {name} at the end?", quadrant(end)))
    return found


def _about_events(scene: Scene, rng: np.random.Generator) -> list[tuple[str, str, str]]:
    late = sorted((shape for shape in scene.shapes if shape.first > 0), key=lambda shape: shape.first)
    gone = [shape for shape in scene.shapes if shape.last < scene.frames - 1]
    if len(late) == 2:
        which = int(rng.random() >= 0.5)
        return [("order", ORDER[which], late[which].colour)]
    return [("vanish", "Which colour disappears?", shape.colour) for shape in gone]


def is_clear(point: NDArray[np.float64]) -> bool:
    """Whether a point is far from the borders of its quadrant, those of the frame included."""
    gap = np.abs((point + 0.25) % 0.5 - 0.25)
    return bool(gap.min() >= CLEAR)
