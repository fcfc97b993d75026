"""The figures of the page as rows of text."""

from dataclasses import dataclass, replace
from typing import Any

from sharpv.config import SharpVConfig
from sharpv.report import ReuseReport
from sharpv.viz.inspection import Inspection, Run
from sharpv.viz.page_data import short_config

__all__ = ["Figure", "figures", "frame_rows", "layer_rows", "setting_rows"]

UNKNOWN = "–"


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure of a run: what it is with all tokens, what it is pruned, and a remark."""

    name: str
    dense: str
    pruned: str
    remark: str = ""


def figures(run: Run) -> list[Figure]:
    """Returns what the run saved."""
    report, video = run.report, run.video
    tokens = _count("Video tokens", video.tokens_total, video.tokens_kept, "kept")
    if video.kept_inside is not None:
        tokens = replace(tokens, remark=f"{tokens.remark}; {sum(map(sum, run.kept)):,} to the last layer")
    prompt = report.prompt_tokens[video.row], report.prompt_tokens_kept[video.row]
    return [
        *_patches(video.reuse),
        tokens,
        _count("Prompt tokens", *prompt, "of the prompt"),
        _cache(report.dense_cache_bytes, report.cache_bytes),
        _layers(run),
    ]


def frame_rows(inspection: Inspection, cuts: tuple[int, ...]) -> list[dict[str, Any]]:
    """Returns one row per frame of the LLM: number, seconds, r, cut, patches encoded, tokens kept per run.

    Patches are None where it is not known which were encoded.
    """
    video, m = inspection.runs[0].video, len(inspection.frames)
    each, reuse = video.source_frames, video.reuse
    rows = []
    for t, ratio in enumerate(inspection.scores.ratios.tolist()):
        first, last = t * each, min((t + 1) * each, m) - 1
        rows.append(
            {
                "frame": f"{first + 1}" if first == last else f"{first + 1} to {last + 1}",
                "time": f"{inspection.timestamps[first]:.2f}",
                "ratio": f"{ratio:.3f}",
                "cut": "yes" if t in cuts else "no",
                "encoded": sum(reuse.computed[t]) if reuse is not None and reuse.computed else None,
                "counts": [sum(run.kept[t]) for run in inspection.runs],
            }
        )
    return rows


def layer_rows(runs: tuple[Run, ...]) -> list[tuple[int, list[str]]]:
    """Returns one row per decoder layer that stage 2 looked at, with what it found in each run."""
    found: dict[int, list[str]] = {}
    for place, run in enumerate(runs):
        for layer in run.report.layers:
            similarity, dropped = layer.similarity[run.video.row], layer.dropped[run.video.row]
            text = UNKNOWN if similarity is None else f"{similarity:.3f}"
            cells = found.setdefault(layer.layer, [UNKNOWN] * len(runs))
            cells[place] = f"{text}, dropped" if dropped else text
    return sorted(found.items())


def setting_rows(runs: tuple[Run, ...]) -> list[tuple[str, list[str]]]:
    """Returns one row per field of the configuration, with each run's value, marked where it was set."""
    default = short_config(SharpVConfig())
    configs = [short_config(run.report.config) for run in runs]
    return [
        (name, [f"{config[name]!r}{'' if config[name] == value else ' (set)'}" for config in configs])
        for name, value in default.items()
    ]


def _count(name: str, total: int, kept: int, word: str) -> Figure:
    return Figure(name, f"{total:,}", f"{kept:,}", f"{_percent(kept, total)} {word}")


def _patches(reuse: ReuseReport | None) -> list[Figure]:
    if reuse is None or not reuse.computed:
        return []
    return [_count("Patches encoded", reuse.rows_total, reuse.rows_computed, "of the patches")]


def _cache(dense: int | None, held: int | None) -> Figure:
    name = "KV cache after the prefill"
    if dense is None or held is None:
        return Figure(name, UNKNOWN, UNKNOWN, "not measured")
    size, unit = (1e6, "MB") if dense >= 1e6 else (1e3, "kB")
    return Figure(
        name,
        f"{dense / size:.1f} {unit}",
        f"{held / size:.1f} {unit}",
        f"{_percent(held, dense)} of its bytes",
    )


def _layers(run: Run) -> Figure:
    name, threshold = "Layers that hold the video", run.report.config.memory_threshold
    looked = len(run.report.layers)
    if not looked:
        remark = "stage 2 is off" if threshold is None else "stage 2 did not run"
        return Figure(name, UNKNOWN, UNKNOWN, remark)
    dropped = sum(layer.dropped[run.video.row] for layer in run.report.layers)
    return Figure(name, f"{looked}", f"{looked - dropped}", f"{dropped} dropped it, at M = {threshold:g}")


def _percent(part: int, whole: int) -> str:
    return f"{part / max(whole, 1):.1%}".replace("%", "\N{NO-BREAK SPACE}%")
