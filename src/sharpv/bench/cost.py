"""What the records of one condition say of its cost: tokens, bytes, time, operations."""

from collections.abc import Mapping, Sequence
from itertools import takewhile
from statistics import fmean, quantiles
from typing import Any

from sharpv.bench.records import ClipRecord
from sharpv.shapesqa import SCENE_TYPES

__all__ = ["cost"]


def cost(
    records: Sequence[ClipRecord], dense: Mapping[str, ClipRecord], drawn: Sequence[str]
) -> dict[str, Any]:
    """Returns what was kept, held and spent, as plain JSON values; each clip counts once.

    Args:
        records: of the condition.
        dense: records of the dense model by clip.
        drawn: names of the first clips of the dataset, in order, whether asked about or not.

    Returns:
        Means over clips, of which `kept_share` is of the tokens that entered the LLM, `layer_share` the mean
        over its layers of those that each read, and `patch_share` of the patches that the vision tower
        encoded, None without `vision_reuse`. `flops` of a question's prefill, exact and by the
        papers' formula, and their shares of dense. `times`: `seconds` of all clips; `scoring_ms` of a clip
        and `prefill_ms` of a question as medians over clips, with quartiles, and so `prefill_of_dense`, the
        ratio clip by clip, since conditions take turns on each clip. What is given by scene is of
        `clips_by_scene` clips only: the first of the dataset, up to one that was not asked about.
    """
    watched = [record for record in records if record.tokens_total]
    by_scene = _by_scene(watched, drawn)
    return {
        "tokens_kept": fmean(record.tokens_kept for record in watched) if watched else 0.0,
        "kept_share": _range([record.tokens_kept / record.tokens_total for record in watched]),
        "patch_share": _range(
            [record.patches_encoded / record.patches_total for record in watched if record.patches_total]
        ),
        "layer_share": _range([_layer_share(record) for record in watched]),
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
        "flops": _flops(records, dense),
        "times": _times(records, dense),
    }


def _times(records: Sequence[ClipRecord], dense: Mapping[str, ClipRecord]) -> dict[str, Any]:
    """Returns all that no second run gives again."""
    return {
        "seconds": sum(record.seconds for record in records),
        "scoring_ms": _quartiles([record.scoring_ms for record in records if record.scoring_ms is not None]),
        "prefill_ms": _quartiles([record.prefill_ms for record in records if record.prefill_ms is not None]),
        "prefill_of_dense": _quartiles(_ratios_to(dense, records, "prefill_ms")),
    }


def _layer_share(record: ClipRecord) -> float:
    read = record.layer_tokens or (float(record.tokens_kept),)
    return fmean(read) / record.tokens_total


def _range(values: Sequence[float]) -> dict[str, float] | None:
    return {"mean": fmean(values), "min": min(values), "max": max(values)} if values else None


def _quartiles(values: Sequence[float]) -> dict[str, float] | None:
    if not values:
        return None
    low, median, high = quantiles(values, n=4, method="inclusive") if len(values) > 1 else 3 * [values[0]]
    return {"median": median, "low": low, "high": high}


def _ratios_to(dense: Mapping[str, ClipRecord], records: Sequence[ClipRecord], name: str) -> list[float]:
    """Returns a figure of each clip over that of the dense model, where both are known."""
    pairs = [
        (getattr(record, name), getattr(dense[record.clip], name))
        for record in records
        if record.clip in dense
    ]
    return [mine / other for mine, other in pairs if mine and other]


def _flops(records: Sequence[ClipRecord], dense: Mapping[str, ClipRecord]) -> dict[str, float | None]:
    """Returns means over clips, and means of the shares of dense."""
    found: dict[str, float | None] = {}
    for name, of in (("exact", "flops"), ("paper", "paper_flops")):
        found[name] = _mean([value for record in records if (value := getattr(record, of)) is not None])
        found[f"{name}_of_dense"] = _mean(_ratios_to(dense, records, of))
    return found


def _mean(values: Sequence[float]) -> float | None:
    return fmean(values) if values else None


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
