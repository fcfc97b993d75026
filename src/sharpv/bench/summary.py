"""From what was answered to what it says: shares, intervals, comparisons, and what was kept."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from itertools import takewhile
from statistics import fmean
from typing import Any

from sharpv.bench.conditions import DENSE, Condition
from sharpv.bench.records import Answered, ClipRecord
from sharpv.bench.statistics import Share, clustered, compare
from sharpv.shapesqa import FAMILIES, SCENE_TYPES

__all__ = ["summarise"]

Key = tuple[str, str, str]
"""Clip, family and text of a question: what it is in every condition."""

Asked = Mapping[Key, Answered]


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

        - `families`, `scene_types`, and `micro` over all questions: a `Share` each;
        - `macro`, the mean over the families, and `macro_interval`;
        - `caption_facts`: the mean share of true facts stated;
        - `agreement`: the share of questions answered as "dense" does;
        - `against_dense` and `against_random`: `Comparison`, in all and by family;
        - `cost`: means over the clips that were asked about. What is given by scene is of `clips_by_scene`
          clips only: the first of the dataset, up to one that was not asked about. Later ones are there for a
          question that they can answer, and so do not stand for their type of scene.
    """
    rows: dict[str, list[ClipRecord]] = {condition.name: [] for condition in conditions}
    for record in records:
        if record.condition in rows:
            rows[record.condition].append(record)
    asked = {name: _asked(group) for name, group in rows.items()}
    dense = asked[DENSE]
    return {
        "clips": len(rows[DENSE]),
        "questions": len(dense),
        "best_constant": _best_constant(dense, lambda answered: answered.family),
        "best_constant_by_question": _best_constant(dense, lambda answered: answered.question),
        "conditions": {
            condition.name: _of_condition(condition, rows[condition.name], asked, drawn)
            for condition in conditions
            if rows[condition.name]
        },
    }


def _asked(records: Iterable[ClipRecord]) -> dict[Key, Answered]:
    return {
        (record.clip, answered.family, answered.question): answered
        for record in records
        for answered in record.answers
    }


def _of_condition(
    condition: Condition, records: Sequence[ClipRecord], asked: Mapping[str, Asked], drawn: Sequence[str]
) -> dict[str, Any]:
    mine = asked[condition.name]
    scenes = {record.clip: record.scene_type for record in records}
    mean = _share(mine, [family for _, family, _ in mine])
    facts = [answered.facts for answered in mine.values() if answered.facts is not None]
    same = [answered.said == asked[DENSE][key].said for key, answered in mine.items() if key in asked[DENSE]]
    rival = asked.get(condition.rival or "")
    return {
        "families": _shares(mine, FAMILIES, lambda key: key[1]),
        "scene_types": _shares(mine, SCENE_TYPES, lambda key: scenes[key[0]]),
        "micro": asdict(_share(mine)),
        "macro": mean.value,
        "macro_interval": {"low": mean.low, "high": mean.high},
        "caption_facts": fmean(facts) if facts else None,
        "agreement": fmean(same) if same else None,
        "against_dense": None if condition.name == DENSE else _against(mine, asked[DENSE]),
        "against_random": _against(mine, rival) if rival else None,
        "cost": _cost(records, drawn),
    }


def _shares(asked: Asked, groups: Iterable[str], group_of: Callable[[Key], str]) -> dict[str, dict[str, Any]]:
    """Returns the share of right answers of each group that was asked about."""
    found = {
        group: {key: answered for key, answered in asked.items() if group_of(key) == group}
        for group in groups
    }
    return {group: asdict(_share(answers)) for group, answers in found.items() if answers}


def _share(asked: Asked, groups: Sequence[str] | None = None) -> Share:
    right = [answered.right for answered in asked.values()]
    return clustered(right, [clip for clip, _, _ in asked], groups)


def _against(mine: Asked, other: Asked) -> dict[str, Any] | None:
    """Compares two conditions on the questions that both were asked, in all and by family."""
    keys = [key for key in mine if key in other]
    groups = {None: keys} | {family: [key for key in keys if key[1] == family] for family in FAMILIES}
    found = {
        group: asdict(
            compare(
                [mine[key].right for key in members],
                [other[key].right for key in members],
                [key[0] for key in members],
            )
        )
        for group, members in groups.items()
        if members
    }
    whole = found.pop(None, None)
    return None if whole is None else whole | {"families": found}


def _best_constant(asked: Asked, group_of: Callable[[Answered], str]) -> dict[str, float]:
    """Returns, per family with options, the share that the most frequent answer of each group would get."""
    groups: dict[tuple[str, str], Counter[str]] = {}
    for answered in asked.values():
        if answered.facts is None:
            groups.setdefault((answered.family, group_of(answered)), Counter())[answered.truth] += 1
    best, whole = Counter[str](), Counter[str]()
    for (family, _), answers in groups.items():
        best[family] += max(answers.values())
        whole[family] += answers.total()
    return {family: best[family] / whole[family] for family in FAMILIES if family in whole}


def _cost(records: Sequence[ClipRecord], drawn: Sequence[str]) -> dict[str, Any]:
    """Returns what was kept and held: token counts and bytes are means over clips, each clip once."""
    watched = [record for record in records if record.tokens_total]
    shares = [record.tokens_kept / record.tokens_total for record in watched]
    by_scene = _by_scene(watched, drawn)
    return {
        "tokens_kept": fmean(record.tokens_kept for record in watched) if watched else 0.0,
        "kept_share": {"mean": fmean(shares), "min": min(shares), "max": max(shares)} if watched else None,
        "clips_by_scene": {scene: len(group) for scene, group in by_scene.items()},
        "kept_share_by_scene": {
            scene: fmean(record.tokens_kept / record.tokens_total for record in group)
            for scene, group in by_scene.items()
        },
        "ratios_by_scene": {scene: _ratios(group) for scene, group in by_scene.items() if group[0].ratios},
        "similarity": _by_layer([record.similarity for record in records]),
        "dropped": _by_layer([record.dropped for record in records]),
        "cache_bytes": fmean(record.cache_bytes or 0.0 for record in records),
        "dense_cache_bytes": fmean(record.dense_cache_bytes or 0.0 for record in records),
        "seconds": sum(record.seconds for record in records),
    }


def _by_scene(records: Sequence[ClipRecord], drawn: Sequence[str]) -> dict[str, list[ClipRecord]]:
    """Returns the records of each scene type, of the clips up to the first that was left out."""
    known = {record.clip: record for record in records}
    groups: dict[str, list[ClipRecord]] = {}
    for name in takewhile(known.__contains__, drawn):
        groups.setdefault(known[name].scene_type, []).append(known[name])
    return {scene: groups[scene] for scene in SCENE_TYPES if scene in groups}


def _ratios(records: Sequence[ClipRecord]) -> dict[str, float]:
    """Returns r of the first frame, and mean and largest r of the later ones, as means over clips."""
    return {
        "first": fmean(record.ratios[0] for record in records),
        "later": fmean(fmean(record.ratios[1:]) for record in records),
        "largest": fmean(max(record.ratios[1:]) for record in records),
    }


def _by_layer(values: Sequence[tuple[float, ...]]) -> list[float]:
    """Returns the mean of each layer."""
    return [fmean(layer) for layer in zip(*values, strict=True)]
