"""What one frame of a scene tells of an answer: honest guesses, and rules that should not beat them.

A rule sees the truth of a single frame (which shapes are visible, where, how large, in which order they were
drawn) and the question. It is a table: for each key, such as the quadrant of the asked shape, the guess that
was right most often on other clips.
"""

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from sharpv.shapesqa.questions import Question
from sharpv.shapesqa.scene import (
    COLOURS,
    DIRECTIONS,
    DISPLACEMENT,
    SEPARATION,
    Scene,
    Shape,
    axis_gaps,
    quadrant,
)

__all__ = ["HONEST", "TELLING", "Rule", "View"]

Floats = NDArray[np.float64]
Guess = Callable[[Question, "View"], Floats]
Key = Callable[[Question, "View"], Hashable]
WAYS = tuple(DIRECTIONS)
# How far each way and each motion may go: [ways, motions, reaches, 2].
REACHES = np.stack([np.linspace(*reach, 4) for reach in DISPLACEMENT.values()])
STEPS = REACHES[None, :, :, None] * np.array(list(DIRECTIONS.values()))[:, None, None]


@dataclass(frozen=True)
class View:
    """One frame of a scene.

    Attributes:
        scene: what happens, of which only this frame may be used.
        time: the frame's number.
    """

    scene: Scene
    time: int

    @cached_property
    def shapes(self) -> tuple[Shape, ...]:
        """The visible shapes, in drawing order."""
        return tuple(shape for shape in self.scene.shapes if shape.first <= self.time <= shape.last)

    @cached_property
    def places(self) -> Floats:
        """Where they are: (x, y), `[v, 2]`."""
        return np.array([shape.path[self.time] for shape in self.shapes]).reshape(-1, 2)

    @cached_property
    def gaps(self) -> Floats:
        """How far each visible shape is from each other one on the torus, `[v, v]`; 1 from itself."""
        gaps = distances(self.places, self.places)
        np.fill_diagonal(gaps, 1.0)
        return gaps

    @cached_property
    def room(self) -> Floats:
        """How freely each visible shape could go: `[v, ways, motions]`; ways as in `DIRECTIONS`, slow, fast.

        The share of a motion's reaches after which the shape would be apart from all others. The generator
        keeps shapes apart in the first and the last frame, so a way that ends on another shape was less
        likely taken: the only thing that a frame tells of a direction.
        """
        ends = (self.places[:, None, None, None] + STEPS) % 1.0
        gaps = distances(ends.reshape(-1, 2), self.places).reshape(*ends.shape[:-1], len(self.shapes))
        for index, mine in enumerate(gaps):
            mine[..., index] = 1.0
        free: Floats = (gaps.min(-1, initial=1.0) >= SEPARATION).mean(-1)
        return free

    def asked(self, question: Question) -> int | None:
        """Returns the index among `shapes` of the one that the question names; None: none, or not visible."""
        words = question.text.split()
        return next((i for i, shape in enumerate(self.shapes) if shape.colour in words), None)


@dataclass(frozen=True, slots=True)
class Rule:
    """A table of guesses.

    Attributes:
        key: what the table looks up.
        guesses: what it chooses from, each the options' probabilities; empty for the options themselves.
    """

    key: Key
    guesses: tuple[Guess, ...] = ()

    def scores(self, question: Question, view: View) -> Floats:
        """Returns how probable each guess makes the right answer."""
        answer = question.options.index(question.answer)
        if not self.guesses:
            return np.eye(len(question.options))[answer]
        return np.array([guess(question, view)[answer] for guess in self.guesses])


def distances(here: Floats, there: Floats) -> Floats:
    """Returns how far points are apart on the torus: `[a, 2]`, `[b, 2]` to `[a, b]`."""
    return np.hypot(*np.moveaxis(axis_gaps(here[:, None], there[None]), -1, 0))


def _always(question: Question, view: View) -> Hashable:
    return None


def _number(question: Question, view: View) -> Hashable:
    return len(view.shapes)


def _word(question: Question, view: View) -> Hashable:
    return question.text.split()[-1], len(view.shapes)


def _quadrant(question: Question, view: View) -> Hashable:
    asked = view.asked(question)
    return None if asked is None else quadrant(view.places[asked])


def _ninth(question: Question, view: View) -> Hashable:
    asked = view.asked(question)
    return None if asked is None else tuple((view.places[asked] * 3).astype(int))


def _closeness(question: Question, view: View) -> Hashable:
    closest = float(view.gaps.min(initial=1.0))
    return len(view.shapes), int(np.searchsorted((SEPARATION, 0.3), closest))


def _ahead(question: Question, view: View) -> Floats:
    asked = view.asked(question)
    free = np.ones(len(WAYS)) if asked is None else view.room[asked].mean(1)
    return _shared(1.0 * (free == free.max()))


def _behind(question: Question, view: View) -> Floats:
    # In DIRECTIONS a way and its opposite are neighbours.
    return _ahead(question, view)[[1, 0, 3, 2]]


def _shared(weights: Floats) -> Floats:
    total = weights.sum()
    return weights / total if total else np.full(len(weights), 1 / len(weights))


def _looks(question: Question, view: View, chosen: Floats) -> Floats:
    """Spreads weights of the visible shapes over the options: their colours or their kinds."""
    weights = np.zeros(len(question.options))
    for shape, weight in zip(view.shapes, chosen, strict=True):
        weights[question.options.index(shape.colour if "red" in question.options else shape.kind)] += weight
    return weights


def _visible(question: Question, view: View) -> Floats:
    return _shared(_looks(question, view, np.ones(len(view.shapes))))


def _hidden(question: Question, view: View) -> Floats:
    return _shared(1.0 * (_looks(question, view, np.ones(len(view.shapes))) == 0))


def _most_common(question: Question, view: View) -> Floats:
    counts = _looks(question, view, np.ones(len(view.shapes)))
    return _shared(1.0 * (counts == counts.max()))


def _pick(value: Callable[[View], Floats]) -> Guess:
    """Makes the guess at the visible shape of which a value is largest."""

    def guess(question: Question, view: View) -> Floats:
        if not view.shapes:
            return _shared(np.ones(len(question.options)))
        return _looks(question, view, np.eye(len(view.shapes))[int(np.argmax(value(view)))])

    return guess


def _as_seen(question: Question, view: View) -> Floats:
    asked = view.asked(question)
    if asked is None:
        return _shared(np.ones(len(question.options)))
    return 1.0 * (np.array(question.options) == view.shapes[asked].kind)


PLACES = (
    _pick(lambda view: -np.abs(view.places - 0.5).max(1)),
    _pick(lambda view: np.abs(view.places - 0.5).max(1)),
    _pick(lambda view: view.gaps.min(1, initial=1.0)),
    _pick(lambda view: -view.gaps.min(1, initial=1.0)),
)
LOOKS = (
    _pick(lambda view: np.arange(len(view.shapes), dtype=np.float64)),
    _pick(lambda view: -np.arange(len(view.shapes), dtype=np.float64)),
    _pick(lambda view: np.array([shape.radius for shape in view.shapes])),
    _pick(lambda view: -np.array([shape.radius for shape in view.shapes])),
    _pick(lambda view: np.array([list(COLOURS).index(shape.colour) for shape in view.shapes])),
)

CONSTANT = Rule(_always)
HONEST = {
    "move_count": Rule(_number),
    "moving_colour": Rule(_always, (_visible,)),
    "moving_shape": Rule(_always, (_most_common,)),
    "order": Rule(_word, (_visible, _hidden)),
    "vanish": Rule(_word, (_visible, _hidden)),
    **dict.fromkeys(("recog", "scene_change", "start_pos", "end_pos", "direction", "shape_count"), CONSTANT),
}
"""What may be had from one frame by fair means: a guess among the shapes that are (or are not) visible, the
most common kind, the most common number of movers among so many shapes, else the most common answer."""

PICKS = {"place": Rule(_word, PLACES), "look": Rule(_word, LOOKS)}
TELLING: dict[str, dict[str, Rule]] = {
    "recog": {"as seen": Rule(_always, (_as_seen,))},
    "shape_count": {"as many as seen": Rule(_number)},
    "start_pos": {"quadrant": Rule(_quadrant)},
    "end_pos": {"quadrant": Rule(_quadrant)},
    "direction": {
        "quadrant": Rule(_quadrant),
        "ninth": Rule(_ninth),
        "room": Rule(_always, (_ahead, _behind)),
    },
    "scene_change": {"number": Rule(_number), "closeness": Rule(_closeness)},
    "move_count": {"closeness": Rule(_closeness)},
    **dict.fromkeys(("moving_colour", "moving_shape", "order", "vanish"), PICKS),
}
"""The rules of each family. Those of families that need one frame show that the right frame suffices."""
