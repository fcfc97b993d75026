"""Summaries of `sharpv eval --methods` without a model: answers are drawn, but the same each time."""

import json
from itertools import count
from random import Random
from zlib import crc32

from sharpv.bench.conditions import Condition
from sharpv.bench.contest import choose_contest
from sharpv.bench.records import Answered, ClipRecord
from sharpv.bench.spec import AccuracySpec
from sharpv.bench.summary import summarise

FAMILIES = ("direction", "move_count", "vanish")
CLIPS, TOKENS, BYTES = 6, 512, 1e6
INSIDE = "vcast"
"""Stands for a method that acts inside the LLM: all tokens enter it, half of its layers read fewer."""

_runs = count(1)


def contest(
    methods=("evs", "sharpv-coverage", "vcast"), budgets=(0.12, 0.25, "adaptive"), seeds=(0,), **other
):
    """Returns the summary of a contest; runs of it differ in their times only.

    `other` are settings, or what else a summary holds at the top.
    """
    conditions = choose_contest(list(methods), list(budgets), list(seeds))
    return summary_of(conditions, **other)


def summary_of(conditions: tuple[Condition, ...], **other) -> dict:
    """Returns the summary of any conditions."""
    top = {"suite": "shapesqa", "schema_version": 2, "model": "toy:default", "device_name": "a machine"}
    top |= {"device": "cpu", "threads": 1, "versions": {"torch": "2", "transformers": "5"}, "python": "3.11"}
    top["commit"] = "c"
    spec = AccuracySpec(conditions=conditions, per_family=CLIPS, control_per_family=CLIPS, families=FAMILIES)
    settings = spec.to_dict() | {"questions": "0a", "weights": "ff", "versions": top["versions"]}
    for name, value in other.items():
        (top if name in top else settings)[name] = value
    run = Random(next(_runs))
    records = [
        _record(f"clip{clip}", condition, settings["seed"], run)
        for clip in range(CLIPS)
        for condition in conditions
    ]
    made = top | {"settings": settings} | summarise(records, conditions, [])
    return json.loads(json.dumps(made))


def _record(clip: str, condition: Condition, seed: int, run: Random) -> ClipRecord:
    drawn = Random(crc32(f"{clip} {condition.name} {seed}".encode()))
    dense = condition.name == "dense"
    share = 1.0 if dense else condition.budget
    if share == "adaptive" or share is None:
        share = 0.1 + 0.02 * int(clip[-1])
    inside = condition.contestant == INSIDE
    layers = (TOKENS, TOKENS * share) if inside else (TOKENS * share,) * 2
    answers = tuple(
        Answered(family=family, question="?", truth="a", said=said, right=said == "a")
        for family in FAMILIES
        for said in ["a" if drawn.random() < (0.95 if dense else 0.5 + share) else "b"]
    )
    return ClipRecord(
        clip=clip,
        scene_type="slow",
        condition=condition.name,
        answers=answers,
        tokens_total=TOKENS,
        tokens_kept=TOKENS if inside else round(TOKENS * share),
        layer_tokens=layers,
        cache_bytes=BYTES * share,
        dense_cache_bytes=BYTES,
        flops=1e9 * share,
        paper_flops=9e8 * share,
        scoring_ms=None if dense else 1 + run.random(),
        prefill_ms=50 * share + run.random(),
        seconds=run.random(),
    )
