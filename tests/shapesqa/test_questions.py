"""Answers follow from what is drawn, and are balanced."""

from collections import Counter
from itertools import islice

import numpy as np
import pytest

from sharpv.shapesqa import CAPTION, FAMILIES, Question, caption, caption_facts, iterate
from sharpv.shapesqa.questions import facts_right
from sharpv.shapesqa.scene import quadrant
from tests.shapesqa import twin


@pytest.fixture(scope="module")
def many():
    return list(islice(iterate("train", seed=11), 3000))


def test_every_answer_can_be_seen_in_the_drawn_clip(samples, drawn):
    families = Counter()
    for sample, (frames, shapes) in zip(samples, drawn, strict=True):
        for question in sample.questions:
            if question.family != "caption":
                families[question.family] += 1
                assert twin.answer(question, sample.scene, frames, shapes) == question.answer, sample.name
    assert set(families) == set(FAMILIES) - {"caption"}
    assert min(families.values()) >= 10


OPPOSITE = {"left": "right", "right": "left", "up": "down", "down": "up"}


def test_a_clip_that_runs_backwards_has_the_other_answer(samples, drawn):
    """So frames without their order do not tell it."""
    turned = Counter()
    for sample, (frames, shapes) in zip(samples, drawn, strict=True):
        last = sample.scene.frames - 1
        events = {s.colour for s in sample.scene.shapes if (s.first, s.last) != (0, last)}
        for question in sample.questions:
            if question.family not in ("direction", "start_pos", "end_pos", "order", "vanish"):
                continue
            turned[question.family] += 1
            found = twin.answer(question, sample.scene, frames[::-1], shapes[:, ::-1])
            if question.family == "direction":
                assert found == OPPOSITE[question.answer], sample.name
            elif question.family in ("order", "vanish"):
                assert {found} == events - {question.answer}, sample.name
            else:
                assert found != question.answer, sample.name
    assert min(turned.values()) >= 10


def test_every_question_offers_the_options_of_its_family(samples):
    for sample in samples:
        for question in sample.questions:
            assert question.options == FAMILIES[question.family]
            assert question.family == "caption" or question.answer in question.options


def test_no_question_is_asked_twice(samples):
    for sample in samples:
        texts = [question.text for question in sample.questions]
        assert len(set(texts)) == len(texts)


def test_a_caption_states_every_shape_and_the_scene(samples):
    actions = set()
    for sample in samples:
        scene = sample.scene
        facts = caption_facts(caption(scene))
        assert set(facts) == {shape.colour for shape in scene.shapes} | {"scene"}
        assert facts["scene"] == ("stays" if scene.cut is None else "changes")
        for shape in scene.shapes:
            came, went = shape.first > 0, shape.last < scene.frames - 1
            still = {
                (False, False): "stays",
                (True, False): "appears",
                (False, True): "disappears",
                (True, True): "comes and goes",
            }
            action = f"moves {shape.direction}" if shape.direction else still[came, went]
            assert facts[shape.colour] == f"{shape.kind} {action}"
            actions.add(action.removesuffix(f" {shape.direction}"))
        asked = next(question for question in sample.questions if question.family == "caption")
        assert (asked.text, asked.answer) == (CAPTION, caption(scene))
    assert actions == {"moves", "stays", "appears", "disappears", "comes and goes"}


def test_a_caption_that_contradicts_itself_equals_no_truth():
    facts = caption_facts("A red circle stays. a red circle moves left. the scene stays. what")
    assert facts == {"red": "circle stays; circle moves left", "scene": "stays"}


@pytest.mark.parametrize(
    ("said", "right"),
    [
        ("A red circle stays. A blue ring moves left. The scene stays.", 3),
        ("a blue ring moves left. the scene changes. a red circle stays. a white ring stays", 2),
        ("A red circle stays. A red circle moves left. A blue ring moves left.", 1),
        ("", 0),
    ],
)
def test_the_facts_of_a_caption_are_counted(said, right):
    truth = "A red circle stays. A blue ring moves left. The scene stays."
    assert facts_right(Question("caption", CAPTION, truth, ()), said) == (right, 3)


def test_answers_are_balanced(many):
    answers = {family: Counter() for family in FAMILIES if family != "caption"}
    for sample in many:
        for question in sample.questions:
            if question.options:
                answers[question.family][question.answer] += 1
    for family, counts in answers.items():
        assert set(counts) == set(FAMILIES[family])
        n, options = counts.total(), len(FAMILIES[family])
        assert max(counts.values()) / n < 1 / options + 0.03 + 3 * np.sqrt(0.25 / n / options), (
            family,
            counts,
        )


def test_a_start_says_nothing_of_the_direction(many):
    """Chi-squared of quadrant against direction, 9 degrees of freedom: 27.9 is exceeded once in 1000."""
    table = np.zeros((4, 4))
    ways = ("left", "right", "up", "down")
    quadrants = ("top-left", "top-right", "bottom-left", "bottom-right")
    for sample in many:
        for shape in sample.scene.shapes:
            if shape.direction:
                table[quadrants.index(quadrant(shape.path[0])), ways.index(shape.direction)] += 1
    expected = table.sum(1, keepdims=True) * table.sum(0) / table.sum()
    assert ((table - expected) ** 2 / expected).sum() < 27.9


def test_what_moves_is_not_asked_where_a_cut_moves_every_shape(many):
    families, seen = {"move_count", "moving_colour", "moving_shape"}, Counter()
    for sample in many:
        movers = sum(shape.direction is not None for shape in sample.scene.shapes)
        asked = families & {question.family for question in sample.questions}
        if sample.scene.cut_moves_shapes:
            assert not asked
        else:
            assert asked == (families if movers == 1 else {"move_count"})
        seen[sample.scene.cut_moves_shapes, movers == 1] += 1
    assert len(seen) == 4


def test_events_are_asked_of_shapes_that_really_come_and_go(many):
    seen = Counter()
    for sample in many:
        shapes, last = sample.scene.shapes, sample.scene.frames - 1
        asked = {question.family: question for question in sample.questions}
        visitors = [shape for shape in shapes if shape.first > 0 and shape.last < last]
        leavers = [shape for shape in shapes if shape.first == 0 and shape.last < last]
        assert ("order" in asked) == bool(visitors)
        assert ("vanish" in asked) == bool(leavers)
        if visitors:
            which = min if asked["order"].text == "Which colour appears first?" else max
            assert len({shape.first for shape in visitors}) == len(visitors) == 2
            assert asked["order"].answer == which(visitors, key=lambda shape: shape.first).colour
        if leavers:
            assert [shape.colour for shape in leavers] == [asked["vanish"].answer]
        seen[bool(visitors), bool(leavers)] += 1
    assert set(seen) == {(False, False), (True, False), (False, True)}


def test_places_are_asked_only_where_they_are_clear_and_differ(many):
    for sample in many[:500]:
        paths = {shape.colour: shape.path for shape in sample.scene.shapes}
        for question in sample.questions:
            if question.family in ("start_pos", "end_pos"):
                path = next(path for colour, path in paths.items() if colour in question.text.split())
                assert quadrant(path[0]) != quadrant(path[-1])
                place = path[0] if question.family == "start_pos" else path[-1]
                assert (np.abs(place % 0.5 - 0.25) <= 0.19 + 1e-9).all()
