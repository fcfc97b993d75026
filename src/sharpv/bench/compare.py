"""Two results of the same bench side by side: what changed, and whether the spreads tell it from noise."""

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sharpv.errors import InputError

__all__ = ["Comparison", "Row", "compare", "flat", "load_result"]

BENCHES = ("latency", "growth", "scoring")
SUITES = ("shapesqa",)
SUMMARY = "summary.json"
SETTINGS = {
    "latency": ("device", "device_name", "threads", "versions", "python", "commit", "spec", "card"),
    "growth": ("device", "device_name", "threads", "versions", "python", "commit", "spec", "card"),
    "scoring": ("device", "device_name", "threads", "versions", "python", "commit", "repeats", "seed"),
}
MEASURED = "ceilings"
"""What the card holds that is no setting."""

Spread = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Row:
    """One figure in both results.

    Attributes:
        name: what was measured.
        before: median, min and max, or the same number three times for what is counted.
        after: of the other result.
    """

    name: str
    before: Spread
    after: Spread

    @property
    def ratio(self) -> float | None:
        """The median after over the one before; None where that is 0."""
        return self.after[0] / self.before[0] if self.before[0] else None

    @property
    def overlaps(self) -> bool:
        """Whether the spreads touch, so that noise may explain the difference."""
        return self.before[1] <= self.after[2] and self.after[1] <= self.before[2]

    def to_dict(self) -> dict[str, Any]:
        """Returns the row as plain JSON values."""
        return {
            "name": self.name,
            "before": list(self.before),
            "after": list(self.after),
            "ratio": self.ratio,
            "overlaps": self.overlaps,
        }


@dataclass(frozen=True, slots=True)
class Comparison:
    """What two results have in common, and what they have not.

    Attributes:
        bench: that both are of.
        rows: figures that both hold.
        settings: name, value before and value after of all settings that differ.
        only_before: figures that the second lacks.
        only_after: figures that the first lacks.
    """

    bench: str
    rows: tuple[Row, ...]
    settings: tuple[tuple[str, Any, Any], ...]
    only_before: tuple[str, ...]
    only_after: tuple[str, ...]


def load_result(path: str | Path) -> dict[str, Any]:
    """Reads what a bench or `sharpv eval` wrote: one JSON object, alone or as the last line of its output.

    Args:
        path: of the file, or of the folder of `sharpv eval -o`.

    Returns:
        The result: of a bench with the key `bench`, of `sharpv eval` with the key `suite`.

    Raises:
        InputError: no such file, no JSON, or nothing that can be compared.
    """
    path = Path(path)
    if path.is_dir():
        path /= SUMMARY
    try:
        lines = path.read_text().strip().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(
            f"cannot read {str(path)!r}: {reason}; give a file that a bench wrote, or the folder of a "
            "`sharpv eval -o` that has ended"
        ) from error
    for text in ("\n".join(lines), lines[-1] if lines else ""):
        try:
            result = json.loads(text)
        except json.JSONDecodeError:
            continue
        if isinstance(result, dict) and (result.get("bench") in BENCHES or result.get("suite") in SUITES):
            return result
    accepted = [f"`sharpv bench {bench}`" for bench in BENCHES]
    accepted += [f"`sharpv eval --suite {suite}`" for suite in SUITES]
    raise InputError(
        f"got {str(path)!r}, which does not end in the JSON of {' or '.join(accepted)}: write one with -o, "
        "or redirect the command's stdout"
    )


def compare(before: Mapping[str, Any], after: Mapping[str, Any]) -> Comparison:
    """Sets the figures of two results against each other.

    Args:
        before: from `load_result`.
        after: the same bench again: another commit, machine, method or setting.

    Raises:
        InputError: results of different benches, with nothing in common, or not whole.
    """
    bench = before["bench"]
    if after["bench"] != bench:
        raise InputError(
            f"got results of `bench {bench}` and `bench {after['bench']}`: compare two of the same bench"
        )
    first, second = _figures(before), _figures(after)
    rows = tuple(Row(name, value, second[name]) for name, value in first.items() if name in second)
    if not rows:
        raise InputError(
            f"got two results of `bench {bench}` with no figure in common ({', '.join(first)} and "
            f"{', '.join(second)}): run both with the same cases"
        )
    settings = tuple(
        (name, old, new) for name, old, new in _pairs(_settings(before), _settings(after)) if old != new
    )
    return Comparison(
        bench,
        rows,
        settings,
        tuple(name for name in first if name not in second),
        tuple(name for name in second if name not in first),
    )


def _figures(result: Mapping[str, Any]) -> dict[str, Spread]:
    """Returns the figures of a result by name."""
    listed = {"latency": _latency_figures, "growth": _growth_figures, "scoring": _scoring_figures}[
        result["bench"]
    ]
    try:
        found = {name: _spread(value) for name, value in listed(result) if value is not None}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            f"got a result of `bench {result['bench']}` that is not whole ({type(error).__name__}: {error}): "
            "run the bench again"
        ) from error
    return found


def _latency_figures(result: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for phase, value in result["shared"]["ms"].items():
        yield f"{phase} ms", value
    for side, values in result["sides"].items():
        yield from _side_figures(side, values)
        for part, speed in values.get("speed_up", {}).items():
            yield f"{side}: {part} speed-up", speed["reached"]


def _growth_figures(result: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for point in result["points"]:
        for side, values in point["sides"].items():
            yield from _side_figures(f"{point['frames']} frames x {point['batch']}, {side}", values)


def _side_figures(name: str, values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for phase, value in values["ms"].items():
        yield f"{name}: {phase} ms", value
    yield f"{name}: KV bytes", values["kv_bytes"]
    yield f"{name}: peak bytes", values["peak_bytes"]


def _scoring_figures(result: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for case in result["cases"]:
        name = f"{'x'.join(map(str, case['shape']))} {case['dtype']}"
        for side, value in case["ms"].items():
            yield f"{name}: {side} ms", value
        for side, value in case["times_sum"].items():
            yield f"{name}: {side} / sum", value


def _spread(value: Any) -> Spread:
    if isinstance(value, list):
        middle, low, high = map(float, value)
        return middle, low, high
    return float(value), float(value), float(value)


def _settings(result: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what a result was measured with."""
    return flat({name: result.get(name) for name in SETTINGS[result["bench"]]}, without=(MEASURED,))


def flat(values: Mapping[str, Any], without: Collection[str] = ()) -> dict[str, Any]:
    """Returns values by name, those of inner mappings by names joined by dots.

    Args:
        values: nested as deep as they are.
        without: names that are left out, wherever they stand.
    """
    found: dict[str, Any] = {}
    for name, value in values.items():
        if name in without:
            continue
        if isinstance(value, Mapping):
            found |= {f"{name}.{key}": inner for key, inner in flat(value, without).items()}
        else:
            found[name] = value
    return found


def _pairs(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    for name in dict.fromkeys((*before, *after)):
        yield name, before.get(name), after.get(name)
