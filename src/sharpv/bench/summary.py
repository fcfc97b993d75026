"""From what was answered to what it says: shares, intervals, comparisons, and what was kept."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from statistics import fmean
from typing import Any

from sharpv.bench.conditions import DENSE, Condition
from sharpv.bench.cost import cost
from sharpv.bench.records import Answered, ClipRecord
from sharpv.bench.statistics import Share, clustered, compare
from sharpv.shapesqa import FAMILIES, SCENE_TYPES

__all__ = ["summarise"]

Key = tuple[str, str, str]
"""Clip, family and text of a question: what it is in every condition."""

Answers = Mapping[Key, Answered]


def summarise(
    records: Sequence[ClipRecord], conditions: Sequence[Condition], drawn: Sequence[str]
) -> dict[str, Any]:
    """Sums a run up, as plain JSON values.

    Args:
        records: those of all conditions.
        conditions: "dense" among them.
        drawn: names of the first clips of the dataset, in order, whether asked about or not.

    Returns:
        `clips` and `questions` (of "dense"); `best_constant`, per family what the best single answer would
        get, and `best_constant_by_question`, what the best answer per text of a question would (too high
        where few questions share a text); and per condition in `conditions`:

        - `families`, `scene_types` (asked different questions each: they do not compare with each other), and
          `micro` over all questions: a `Share` each;
        - `macro`, the mean over the families, and `macro_interval`;
        - `caption_facts`: the mean share of true facts stated; `agreement`: the share of questions answered
          as "dense" does; `best_constant`: as above, of the questions that this condition was asked;
        - `against_dense`, `against_random` and `against_whole`: `Comparison`, in all, by family, and by scene
          type;
        - `cost`: from `cost`;
        - `contestant`, `budget` and `seed`: of a contest.
    """
    rows = {each.name: [record for record in records if record.condition == each.name] for each in conditions}
    answers = {name: _answers(group) for name, group in rows.items()}
    dense = answers[DENSE]
    dense_records = {record.clip: record for record in rows[DENSE]}
    return {
        "clips": len(rows[DENSE]),
        "questions": len(dense),
        "best_constant": _best_constant(dense, lambda answered: answered.family),
        "best_constant_by_question": _best_constant(dense, lambda answered: answered.question),
        "conditions": {
            condition.name: _of_condition(condition, rows[condition.name], answers)
            | {"cost": cost(rows[condition.name], dense_records, drawn)}
            for condition in conditions
            if rows[condition.name]
        },
    }


def _answers(records: Iterable[ClipRecord]) -> dict[Key, Answered]:
    return {
        (record.clip, answered.family, answered.question): answered
        for record in records
        for answered in record.answers
    }


def _of_condition(
    condition: Condition,
    records: Sequence[ClipRecord],
    answers: Mapping[str, Answers],
) -> dict[str, Any]:
    mine, dense = answers[condition.name], answers[DENSE]
    rival, whole = answers.get(condition.rival or "", {}), answers.get(condition.whole or "", {})
    scene_of = {record.clip: record.scene_type for record in records}
    mean = _share(mine, mine, [family for _, family, _ in mine])
    facts = [answered.facts for answered in mine.values() if answered.facts is not None]
    same = [answered.said == dense[key].said for key, answered in mine.items() if key in dense]
    families, scene_types = _groups(mine, scene_of)
    return {
        "contestant": condition.contestant,
        "budget": condition.budget,
        "seed": condition.seed,
        "families": {family: asdict(_share(mine, keys)) for family, keys in families.items()},
        "scene_types": {scene: asdict(_share(mine, keys)) for scene, keys in scene_types.items()},
        "micro": asdict(_share(mine, mine)),
        "macro": mean.value,
        "macro_interval": {"low": mean.low, "high": mean.high},
        "caption_facts": fmean(facts) if facts else None,
        "agreement": fmean(same) if same else None,
        "best_constant": _best_constant(mine, lambda answered: answered.family),
        "against_dense": None if condition.name == DENSE else _against(mine, dense, scene_of),
        "against_random": _against(mine, rival, scene_of),
        "against_whole": _against(mine, whole, scene_of),
    }


def _groups(
    keys: Iterable[Key], scene_of: Mapping[str, str]
) -> tuple[dict[str, list[Key]], dict[str, list[Key]]]:
    """Returns the questions of each family, and those of each type of scene, that there are."""
    families: dict[str, list[Key]] = {family: [] for family in FAMILIES}
    scene_types: dict[str, list[Key]] = {scene: [] for scene in SCENE_TYPES}
    for clip, family, question in keys:
        families[family].append((clip, family, question))
        scene_types[scene_of[clip]].append((clip, family, question))
    groups = [{name: group for name, group in kind.items() if group} for kind in (families, scene_types)]
    return groups[0], groups[1]


def _share(answers: Answers, keys: Iterable[Key], groups: Sequence[str] | None = None) -> Share:
    asked = list(keys)
    return clustered([answers[key].right for key in asked], [clip for clip, _, _ in asked], groups)


def _against(mine: Answers, other: Answers, scene_of: Mapping[str, str]) -> dict[str, Any] | None:
    """Compares two conditions on the questions that both were asked, in all and by group."""
    both = [key for key in mine if key in other]
    if not both:
        return None

    def comparison(keys: Sequence[Key]) -> dict[str, Any]:
        first, second = ([answers[key].right for key in keys] for answers in (mine, other))
        return asdict(compare(first, second, [clip for clip, _, _ in keys]))

    families, scene_types = _groups(both, scene_of)
    return comparison(both) | {
        "families": {family: comparison(keys) for family, keys in families.items()},
        "scene_types": {scene: comparison(keys) for scene, keys in scene_types.items()},
    }


def _best_constant(answers: Answers, group_of: Callable[[Answered], str]) -> dict[str, float]:
    """Returns, per family with options, the share that the most frequent answer of each group would get."""
    truths: dict[tuple[str, str], Counter[str]] = {}
    for answered in answers.values():
        if answered.facts is None:
            truths.setdefault((answered.family, group_of(answered)), Counter())[answered.truth] += 1
    best, whole = Counter[str](), Counter[str]()
    for (family, _), counts in truths.items():
        best[family] += max(counts.values())
        whole[family] += counts.total()
    return {family: best[family] / whole[family] for family in FAMILIES if family in whole}
