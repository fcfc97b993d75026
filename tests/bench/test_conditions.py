"""Which conditions there are, and what they need."""

import pytest

from sharpv.bench.conditions import CONDITIONS, Condition, choose_conditions
from sharpv.bench.spec import AccuracySpec


def test_without_names_there_are_all_of_them():
    assert tuple(condition.name for condition in choose_conditions()) == CONDITIONS
    assert len(set(CONDITIONS)) == len(CONDITIONS)


def test_a_condition_brings_what_it_needs_before_it():
    def names(*wanted: str) -> list[str]:
        return [condition.name for condition in choose_conditions(wanted)]

    assert names("dense") == ["dense"]
    assert names("blind") == ["dense", "blind"]
    assert names("uniform", "random") == ["dense", "sharpv", "random", "uniform"]
    assert names("random-budget") == ["dense", "sharpv-budget", "random-budget"]


def test_random_differs_from_sharpv_in_the_choice_of_tokens_only():
    by_name = {condition.name: condition for condition in choose_conditions()}
    for name, other in (("random", "sharpv"), ("uniform", "sharpv"), ("random-budget", "sharpv-budget")):
        assert by_name[name].config.memory_threshold == by_name[other].config.memory_threshold == 0.2
        assert by_name[name].match == other
    rivals = {condition.rival for condition in by_name.values()} - {None}
    assert rivals == {"random", "random-budget"}


def test_settings_reach_their_conditions():
    found = {condition.name: condition for condition in choose_conditions(retention=0.1, threshold=0.7)}
    assert found["sharpv-budget"].config.retention == 0.1
    assert found["sharpv-threshold"].config.threshold == 0.7


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"names": ["sharpv", "fastv", "evs"]}, "unknown methods evs, fastv: accepted are dense, sharpv"),
        ({"retention": 0.0}, "retention is 0.0"),
        ({"threshold": float("nan")}, "threshold is nan"),
    ],
)
def test_wrong_settings_are_named(given, message):
    with pytest.raises(ValueError, match=message):
        choose_conditions(**given)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"split": "dev"}, "split is 'dev': accepted are train"),
        ({"families": ()}, r"families is \(\): accepted are recog"),
        ({"families": ("recog", "colour")}, "accepted are recog"),
        ({"scene_types": ("zoom",)}, "accepted are static"),
        ({"source": "avi"}, "accepted are arrays, mp4"),
        ({"scoring": "logits"}, "accepted are options, generate"),
        ({"frames": 3}, "frames is 3: it must be a whole number from 4 to 32"),
        ({"frames": 8.0}, "frames is 8.0"),
        ({"size": 8}, "of at least 16"),
        ({"per_family": 0}, "per_family is 0"),
        ({"per_family": 5, "control_per_family": 6}, "from 1 to 5"),
        ({"rows": True}, "rows is True"),
        ({"seed": -1}, "seed is -1"),
        ({"conditions": ()}, "'dense' must be among them"),
        ({"conditions": (Condition(name="dense"),) * 2}, "'dense' stands twice"),
        ({"conditions": (Condition(name="dense"), Condition(name="r", match="sharpv"))}, "before 'sharpv'"),
    ],
    ids=str,
)
def test_a_wrong_specification_is_refused(given, message):
    with pytest.raises(ValueError, match=message):
        AccuracySpec(**given)
