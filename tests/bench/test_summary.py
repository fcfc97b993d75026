"""Sums that can be done by hand."""

import json
from dataclasses import asdict, replace

import pytest

from sharpv.bench.conditions import choose_conditions
from sharpv.bench.records import Answered, ClipRecord
from sharpv.bench.statistics import clustered, wilson
from sharpv.bench.summary import summarise

CONDITIONS = choose_conditions(["sharpv", "random"])


def record(clip: str, condition: str, said: list[str], scene: str = "slow", **cost) -> ClipRecord:
    """A clip with three questions, whose answers are "up", "two" and a caption of two facts."""
    truths = [("direction", "Which way?", "up"), ("move_count", "How many?", "two")]
    answers = [
        Answered(family=family, question=text, truth=truth, said=one, right=one == truth)
        for (family, text, truth), one in zip(truths, said, strict=False)
    ]
    right = said[2] == "all"
    answers.append(
        Answered(
            family="caption",
            question="Describe.",
            truth="t",
            said=said[2],
            right=right,
            facts=1 if right else 0.5,
        )
    )
    return ClipRecord(clip=clip, scene_type=scene, condition=condition, answers=tuple(answers), **cost)


DENSE = {"tokens_total": 100, "tokens_kept": 100, "ratios": (0.4, 0.1, 0.2), "cache_bytes": 50.0}
PRUNED = DENSE | {"similarity": (1.0, 0.5), "dropped": (0.0, 1.0), "dense_cache_bytes": 50.0}
RECORDS = [
    record("a", "dense", ["up", "two", "all"], **DENSE),
    record("b", "dense", ["up", "one", "half"], "cut", **DENSE),
    record("a", "sharpv", ["up", "one", "half"], **PRUNED | {"tokens_kept": 10, "cache_bytes": 5.0}),
    record(
        "b",
        "sharpv",
        ["down", "two", "half"],
        "cut",
        **PRUNED | {"tokens_kept": 30, "dropped": (0.0, 0.5), "ratios": (0.6, 0.3, 0.1), "cache_bytes": 15.0},
    ),
    record("a", "random", ["down", "one", "half"], **PRUNED | {"tokens_kept": 10, "ratios": ()}),
    record("b", "random", ["down", "one", "half"], "cut", **PRUNED | {"tokens_kept": 30, "ratios": ()}),
    record("a", "blind", ["up", "two", "all"]),  # of a condition that nobody asks for here
]


@pytest.fixture(scope="module")
def summary() -> dict:
    made = summarise(RECORDS, CONDITIONS, ["a", "b", "c"])
    assert json.loads(json.dumps(made, allow_nan=False)) == made
    return made


def test_shares(summary):
    assert (summary["clips"], summary["questions"]) == (2, 6)
    assert list(summary["conditions"]) == ["dense", "sharpv", "random"]
    dense, pruned = summary["conditions"]["dense"], summary["conditions"]["sharpv"]
    assert {name: share["right"] for name, share in dense["families"].items()} == {
        "direction": 2,
        "move_count": 1,
        "caption": 1,
    }
    assert {name: share["n"] for name, share in dense["scene_types"].items()} == {"slow": 3, "cut": 3}
    assert dense["scene_types"]["slow"]["value"] == 1
    assert dense["micro"]["value"] == dense["macro"] == pytest.approx(4 / 6)
    right, clips, families = [True, True, True, True, False, False], [*"aaabbb"], ["d", "m", "c"] * 2
    assert dense["micro"] == asdict(clustered(right, clips))
    mean = clustered(right, clips, families)
    assert dense["macro_interval"] == {"low": mean.low, "high": mean.high}
    slow, direction = dense["scene_types"]["slow"], dense["families"]["direction"]
    assert (slow["clusters"], slow["low"], slow["high"]) == (1, *wilson(1, 1))
    assert (direction["clusters"], direction["low"], direction["high"]) == (2, *wilson(1, 2))
    assert pruned["micro"]["value"] == pytest.approx(2 / 6)
    assert (dense["caption_facts"], pruned["caption_facts"]) == (0.75, 0.5)


def test_agreement_counts_the_same_words_right_or_wrong(summary):
    assert summary["conditions"]["dense"]["agreement"] == 1
    assert summary["conditions"]["sharpv"]["agreement"] == pytest.approx(2 / 6)


def test_comparisons_are_on_the_same_questions(summary):
    against = summary["conditions"]["sharpv"]["against_dense"]
    assert (against["n"], against["clusters"], against["better"], against["worse"]) == (6, 2, 1, 3)
    assert against["difference"] == pytest.approx(-2 / 6)
    assert against["families"]["direction"]["worse"] == 1
    assert summary["conditions"]["dense"]["against_dense"] is None
    scenes = against["scene_types"]
    assert {name: (found["n"], found["difference"]) for name, found in scenes.items()} == {
        "slow": (3, pytest.approx(-2 / 3)),
        "cut": (3, 0),
    }
    rival = summary["conditions"]["sharpv"]["against_random"]
    assert {name: found["better"] for name, found in rival["scene_types"].items()} == {"slow": 1, "cut": 1}
    assert (rival["better"], rival["worse"], rival["p"]) == (2, 0, 0.5)
    assert summary["conditions"]["random"]["against_random"] is None


def test_costs(summary):
    cost = summary["conditions"]["sharpv"]["cost"]
    assert cost["tokens_kept"] == 20
    assert cost["kept_share"] == pytest.approx({"mean": 0.2, "min": 0.1, "max": 0.3})
    assert cost["clips_by_scene"] == {"slow": 1, "cut": 1}
    assert cost["kept_share_by_scene"] == pytest.approx({"slow": 0.1, "cut": 0.3})
    assert cost["ratios_by_scene"]["slow"] == pytest.approx({"first": 0.4, "later": 0.15, "largest": 0.2})
    assert cost["similarity"] == [1.0, 0.5]
    assert cost["dropped"] == [0, 0.75]
    assert (cost["cache_bytes"], cost["dense_cache_bytes"]) == (10, 50)
    assert summary["conditions"]["random"]["cost"]["ratios_by_scene"] == {}


def test_what_a_scene_costs_is_of_clips_that_no_question_chose():
    made = summarise(RECORDS, CONDITIONS, ["a", "left out", "b"])["conditions"]["sharpv"]["cost"]
    assert made["clips_by_scene"] == {"slow": 1}
    assert made["kept_share_by_scene"] == pytest.approx({"slow": 0.1})
    assert made["kept_share"]["mean"] == pytest.approx(0.2)
    none = summarise(RECORDS, CONDITIONS, ["left out", "a", "b"])["conditions"]["sharpv"]["cost"]
    assert none["clips_by_scene"] == none["kept_share_by_scene"] == none["ratios_by_scene"] == {}


def test_the_best_constant_needs_no_video():
    truths = [("up", "Which way is red?"), ("up", "Which way is red?"), ("down", "Which way is blue?")]
    clips = [
        ClipRecord(
            clip=str(index),
            scene_type="slow",
            condition="dense",
            answers=(Answered(family="direction", question=text, truth=truth, said="", right=False),),
        )
        for index, (truth, text) in enumerate(truths)
    ]
    made = summarise(clips, CONDITIONS, [])
    assert made["best_constant"] == {"direction": pytest.approx(2 / 3)}
    assert made["best_constant_by_question"] == {"direction": 1}
    assert list(made["conditions"]) == ["dense"]
    assert made["conditions"]["dense"]["cost"]["kept_share"] is None
    assert "caption" not in made["best_constant"]


def test_the_best_constant_of_a_control_is_of_its_own_questions():
    """Of four clips that go up, up, down and down, a control was asked about the first three."""
    asked = {"dense": "up up down down", "blind": "up up down"}
    clips = [
        record(str(index), condition, [truth, "two", "all"])
        for condition, truths in asked.items()
        for index, truth in enumerate(truths.split())
    ]
    clips = [
        replace(clip, answers=(replace(clip.answers[0], truth=clip.answers[0].said), *clip.answers[1:]))
        for clip in clips
    ]
    made = summarise(clips, choose_conditions(["blind"]), [])
    assert made["best_constant"] == {"direction": 0.5, "move_count": 1}
    assert made["conditions"]["dense"]["best_constant"] == made["best_constant"]
    assert made["conditions"]["blind"]["best_constant"] == {
        "direction": pytest.approx(2 / 3),
        "move_count": 1,
    }


def test_a_record_survives_json():
    for made in RECORDS:
        assert ClipRecord.from_json(made.to_json()) == made
