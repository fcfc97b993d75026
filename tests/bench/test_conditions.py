"""Which conditions there are, and what they need."""

from dataclasses import replace

import pytest

from sharpv.bench.conditions import ALL, CONDITIONS, DEFAULT, Condition, choose_conditions
from sharpv.bench.spec import AccuracySpec

PEERS = ("sharpv", "random", "uniform")


def names(*wanted: str) -> list[str]:
    return [condition.name for condition in choose_conditions(wanted)]


def test_without_names_there_are_few():
    assert [condition.name for condition in choose_conditions()] == list(DEFAULT)
    assert set(DEFAULT) < set(CONDITIONS)


def test_all_of_them_can_be_had():
    assert names(ALL) == names("blind", ALL) == list(CONDITIONS)
    assert len(set(CONDITIONS)) == len(CONDITIONS)


def test_a_condition_brings_what_it_needs_before_it():
    assert names() == names("dense") == ["dense"]
    assert names("blind") == ["dense", "blind"]
    assert names("uniform", "random") == ["dense", "sharpv", "random", "uniform"]
    assert names("random-budget") == names("sharpv-budget") == ["dense", "sharpv-budget", "random-budget"]
    assert names("uniform-no-memory") == ["dense", *(f"{name}-no-memory" for name in PEERS)]


def test_a_condition_brings_its_rival_and_what_that_matches():
    assert names("sharpv-coverage") == ["dense", "sharpv", "random", "sharpv-coverage"]
    twin = names("sharpv-coverage-no-memory")
    assert twin == ["dense", "sharpv-no-memory", "random-no-memory", "sharpv-coverage-no-memory"]


@pytest.mark.parametrize("name", [name for name in CONDITIONS if name.startswith(PEERS)])
def test_every_way_to_prune_is_there_with_and_without_stage_2(name):
    by_name = {condition.name: condition for condition in choose_conditions((ALL,))}
    twin = by_name[name.removesuffix("-no-memory") if name.endswith("-no-memory") else f"{name}-no-memory"]
    mine, other = by_name[name].config, twin.config
    assert {mine.memory_threshold, other.memory_threshold} == {0.2, None}
    assert replace(mine, memory_threshold=None) == replace(other, memory_threshold=None)


@pytest.mark.parametrize("name", [name for name in CONDITIONS if name.startswith(("sharpv", "uniform"))])
def test_a_rival_differs_in_the_choice_of_tokens_only(name):
    by_name = {condition.name: condition for condition in choose_conditions((ALL,))}
    mine = by_name[name]
    rival = by_name[mine.rival]
    assert rival.method == "random"
    assert rival.config.memory_threshold == mine.config.memory_threshold
    assert rival.config.memory_threshold == (None if "no-memory" in name else 0.2)
    # How many tokens coverage keeps is "sharpv"'s number: the runs show it.
    assert rival.match == (mine.match or name.replace("-coverage", ""))


def test_memory_only_keeps_every_token():
    (condition,) = (condition for condition in choose_conditions((ALL,)) if condition.name == "memory-only")
    assert (condition.config.retention, condition.config.memory_threshold) == (1.0, 0.2)
    assert condition.rival is None


def test_settings_reach_their_conditions():
    chosen = choose_conditions((ALL,), retention=0.1, threshold=0.7)
    found = {condition.name: condition for condition in chosen}
    for ending in ("", "-no-memory"):
        assert found[f"sharpv-budget{ending}"].config.retention == 0.1
        assert found[f"sharpv-threshold{ending}"].config.threshold == 0.7


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"names": ["sharpv", "fastv"]}, "unknown conditions fastv: accepted are all, dense, sharpv"),
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
