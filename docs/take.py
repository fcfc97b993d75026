"""What docs/results.py keeps of a summary of `sharpv eval`: what its page shows, and the command for it."""

import json
import shlex
import sys
from pathlib import Path
from typing import Any

from sharpv.bench.contest import ADAPTIVE, ALL_METHODS, BLIND, CONTESTANTS, choose_contest
from sharpv.bench.spec import AccuracySpec
from sharpv.hf.ask import DEFAULT_MODEL

DIGITS = 5
USAGE = (
    "python docs/results.py --take DIR/summary.json NAME ['the command that made it']; the command may be "
    "left out for `sharpv eval --methods ...`"
)
WHERE = ("suite", "schema_version", "model", "device_name", "threads", "versions", "python", "commit")
OPTIONS = ("split", "seed", "frames", "size", "source", "scoring", "rows")
"""Of `sharpv eval`, by the names of their settings."""

INTERVAL, DIFFERENCE = ("value", "low", "high"), ("difference", "low", "high")


def take(results: Path, *given: str) -> None:
    """Writes NAME.json into the folder of results.

    Args:
        results: the folder.
        given: path of a summary, NAME, and where it cannot be told from the settings the command.
    """
    if len(given) not in (2, 3):
        sys.exit(f"usage: {USAGE}")
    source, name, *command = given
    summary = json.loads(Path(source).read_text())
    kept = {key: summary[key] for key in (*WHERE, "clips", "questions")}
    kept["command"] = command[0] if command else contest_command(summary)
    if summary["suite"] == "clips":
        kept["conditions"] = {key: of_clips(found) for key, found in summary["conditions"].items()}
    else:
        settings = {key: value for key, value in summary["settings"].items() if key != "conditions"}
        kept |= {"settings": settings, "best_constant": summary["best_constant"]}
        kept["conditions"] = {
            key: of_contest(found, summary["best_constant"]) for key, found in summary["conditions"].items()
        }
    results.mkdir(exist_ok=True)
    text = json.dumps(rounded(kept), separators=(",", ":"), allow_nan=False) + "\n"
    (results / f"{name}.json").write_text(text)


def of_contest(found: dict[str, Any], best_constant: dict[str, float]) -> dict[str, Any]:
    """Returns what `sharpv.bench.contest_table` reads of a condition."""
    cost, times = found["cost"], found["cost"]["times"]
    kept = {
        key: found[key]
        for key in ("contestant", "budget", "seed", "macro", "macro_interval", "agreement", "caption_facts")
    }
    kept["micro"] = {key: found["micro"][key] for key in ("n", "clusters")}
    kept["families"] = {
        family: {key: share[key] for key in ("n", *INTERVAL)} for family, share in found["families"].items()
    }
    for other in ("against_dense", "against_random"):
        kept[other] = found[other] and {key: found[other][key] for key in DIFFERENCE}
    if found["against_whole"]:
        kept["against_whole"] = {key: found["against_whole"][key] for key in DIFFERENCE}
    if found["best_constant"] != best_constant:
        kept["best_constant"] = found["best_constant"]
    shares = {key: cost["flops"][key] for key in ("exact_of_dense", "paper_of_dense")}
    held = ("kept_share", "layer_share", "cache_bytes", "dense_cache_bytes", "dropped")
    held += ("patch_share",) if cost["patch_share"] else ()
    costs = {key: cost[key] for key in held}
    spent = {key: times[key] for key in ("scoring_ms", "prefill_of_dense")}
    return kept | {"cost": costs | {"flops": shares, "times": spent}}


def of_clips(found: dict[str, Any]) -> dict[str, Any]:
    """Returns what the table of real clips reads of a condition."""
    return {
        "kl": {key: found["kl"][key] for key in ("mean", "low", "high")},
        "agreement": {key: found["agreement"][key] for key in ("n", *INTERVAL)},
        "cost": {key: found["cost"][key] for key in ("kept_share", "layer_share")},
    }


def rounded(value: Any) -> Any:
    """Returns JSON values with as many digits as a page can need."""
    if isinstance(value, dict):
        return {key: rounded(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [rounded(inner) for inner in value]
    return round(value, DIGITS) if isinstance(value, float) else value


def contest_command(summary: dict[str, Any]) -> str:
    """Returns the `sharpv eval --methods ...` of a summary; exits where it was made by something else."""
    settings, default = summary["settings"], AccuracySpec().to_dict()
    entrants = [one for one in settings["conditions"] if one["contestant"] is not None]
    budgets = list(dict.fromkeys(one["budget"] for one in entrants))
    seeds = list(dict.fromkeys(one["seed"] for one in entrants if one["contestant"] == "random"))
    thresholds = {one["config"]["memory_threshold"] for one in entrants}
    words = ["sharpv", "eval", "--suite", summary["suite"]]
    if summary["model"] != DEFAULT_MODEL:
        words += ["-m", summary["model"]]
    words += ["--methods", methods_of(settings["conditions"], budgets, seeds, thresholds)]
    words += ["--budgets", ",".join(map(str, budgets)), "--per-family", str(settings["per_family"])]
    words += ["--seeds", ",".join(map(str, seeds))] if seeds != [0] else []
    words += ["--stage-2"] if thresholds != {None} else []
    for name in OPTIONS:
        words += [f"--{name}", str(settings[name])] if settings[name] != default[name] else []
    for option, name in (("--family", "families"), ("--scene-type", "scene_types")):
        if settings[name] != default[name]:
            words += [word for one in settings[name] for word in (option, one)]
    return shlex.join(words)


def methods_of(
    conditions: list[dict[str, Any]], budgets: list[Any], seeds: list[int], thresholds: set[float | None]
) -> str:
    """Returns what `--methods` was given, for which `choose_contest` has to give the same conditions."""
    # At "adaptive", sharpv takes part whether it is named or not.
    chosen = {one["contestant"] for one in conditions if budgets == [ADAPTIVE] or one["budget"] != ADAPTIVE}
    named = [name for name in CONTESTANTS if name in chosen and name not in BLIND] or [BLIND[0]]
    for methods in ([ALL_METHODS], named):
        try:
            contest = choose_contest(methods, budgets, seeds, *thresholds)
        except (ValueError, TypeError):
            continue
        if [one.to_dict() for one in contest] == conditions:
            return ",".join(methods)
    sys.exit(f"the command cannot be told from the settings of this summary: {USAGE}")
