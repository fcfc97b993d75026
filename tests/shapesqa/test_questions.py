"""Answers follow from what is drawn, and are balanced."""

from collections import Counter
from itertools import islice

import numpy as np
import pytest

from sharpv.shapesqa import CAPTION, FAMILIES, caption, caption_facts, iterate
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
        asked = next(question for question in sample.questions if question.family == "caption")
        assert (asked.text, asked.answer) == (CAPTION, caption(scene))


def test_a_caption_that_contradicts_itself_equals_no_truth():
    facts = caption_facts("A red circle stays. a red circle moves left. the scene stays. what")
    assert facts == {"red": "circle stays; circle moves left", "scene": "stays"}


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


def test_places_are_asked_only_where_they_are_clear_and_differ(many):
    for sample in many[:500]:
        paths = {shape.colour: shape.path for shape in sample.scene.shapes}
        for question in sample.questions:
            if question.family in ("start_pos", "end_pos"):
                path = next(path for colour, path in paths.items() if colour in question.text.split())
                assert quadrant(path[0]) != quadrant(path[-1])
                place = path[0] if question.family == "start_pos" else path[-1]
                assert (np.abs(place % 0.5 - 0.25) <= 0.19 + 1e-9).all()
