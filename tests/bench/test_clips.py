"""Which clips a run is about, and which of their frames a condition shows."""

import numpy as np
import pytest

import sharpv
from sharpv.bench.accuracy import draw, run, show
from sharpv.bench.conditions import choose_conditions
from sharpv.shapesqa import iterate
from tests.bench.conftest import small


def test_what_a_scene_costs_is_of_the_clips_before_the_first_that_was_left_out(toy):
    spec = small(conditions=choose_conditions(("dense", "blind")), families=("recog", "vanish"), per_family=3)
    samples = draw(spec, 3)
    first = list(zip(samples, iterate(frames=4), strict=False))
    apart = [index for index, (one, other) in enumerate(first) if one.name != other.name]
    assert apart, "a clip has to be left out, or this shows nothing"
    cost = run(toy, spec)["conditions"]["dense"]["cost"]
    assert sum(cost["clips_by_scene"].values()) == apart[0] < len(samples)


def test_what_the_controls_show():
    clip = np.arange(5, dtype=np.uint8).reshape(5, 1, 1, 1).repeat(3, 3)
    shown = {name: show(clip, name, "clip") for name in ("all", "first", "middle", "last", "shuffled")}
    numbers = {name: frames[:, 0, 0, 0].tolist() for name, frames in shown.items()}
    assert numbers["all"] == [0, 1, 2, 3, 4]
    assert (numbers["first"], numbers["middle"], numbers["last"]) == ([0] * 5, [2] * 5, [4] * 5)
    assert sorted(numbers["shuffled"]) == numbers["all"] != numbers["shuffled"]
    assert show(clip, "none", "clip") is None
    for seed in range(200):
        four = show(clip[:4], "shuffled", f"clip-{seed}")
        assert four[:, 0, 0, 0].tolist() != [0, 1, 2, 3]


def test_fewer_questions_are_the_first_of_more():
    spec = small(families=("recog", "vanish"))
    more = {sample.name: sample.questions for sample in draw(spec, 6)}
    for sample in draw(spec, 3):
        assert set(sample.questions) <= set(more[sample.name])


def test_only_the_scene_types_that_were_asked_for():
    spec = small(families=("recog",), scene_types=("slow", "fast"))
    assert {sample.scene.type for sample in draw(spec, 20)} == {"slow", "fast"}


def test_questions_that_no_scene_asks_are_refused():
    spec = small(families=("recog", "direction"), scene_types=("static",))
    with pytest.raises(
        sharpv.InputError, match="scene types static do not hold 1 questions of each of recog"
    ):
        draw(spec, 1)
