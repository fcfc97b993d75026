"""Writes the tables of docs/vision-reuse.md from the results beside it, or checks that they say so.

Run from the repository's root: `python docs/reuse.py`, or with `--check`. What is measured, on any clips:

- `python docs/reuse.py shares CLIP...`: which share of the patches is encoded; minutes.
- `python docs/reuse.py text`: which digits are missed, and noise; a minute.
- `python docs/reuse.py speed CLIP... [-- OPTION...]`: `sharpv bench latency` on each clip, with more options
  of it after `--`. On a machine with nothing else to do; clips that have a result are left out, so that a run
  that was ended goes on.
"""

import json
import sys
from pathlib import Path
from typing import Any

from pages import write_or_check
from tables import head, measured_with, milliseconds, row

SCRIPT, PAGE, RESULTS = "docs/reuse.py", Path("docs/vision-reuse.md"), Path("docs/vision-reuse")
TOY = Path("docs/results/reuse.json")
CONTENT = {
    "asl-walk": "static camera, a person signs",
    "big_buck_bunny_0_30": "animation, the camera moves",
    "bottle-detection": "static camera, hands and bottles",
    "car-detection": "static camera, cars pass",
    "flower": "static camera, time lapse",
    "nasa_13013": "slow camera, one cut",
}


def read(name: str) -> dict[str, Any]:
    """Returns a result in docs/vision-reuse/."""
    found: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text())
    return found


def share(value: float) -> str:
    """Returns a share with two digits, as the text has them."""
    return f"{value:.2f}".removeprefix("0") if value < 1 else "1"


def shares_table() -> list[str]:
    """The share of patches by clip, rule and sampling."""
    found = read("shares")
    lines = head(
        "clip",
        "what it shows",
        *("32 frames: cells at 8 alone", "**balanced**", "safe"),
        *("balanced, 2 frames per second", "8 per second", "Qwen2.5-VL, 32 frames, balanced"),
    )
    for name, by_sampling in sorted(found["clips"].items(), key=_order):
        uniform, two, eight, qwen = by_sampling.values()
        cells = [share(uniform["share"][rule]) for rule in ("cells at 8 alone", "balanced", "safe")]
        cells[1] = f"**{cells[1]}**"
        cells += [f"{share(one['share']['balanced'])} of {one['frames']}" for one in (two, eight)]
        cells.append(share(qwen["share"]["balanced"]))
        lines.append(row((Path(name).stem, CONTENT.get(Path(name).stem, ""), *cells)))
    return lines[1:]


def _order(item: tuple[str, dict[str, Any]]) -> float:
    uniform = next(iter(item[1].values()))
    return float(uniform["share"]["balanced"])


def text_table() -> list[str]:
    """Which changes of one digit are noticed, by its height and contrast."""
    seen = read("text")["noticed"]
    contrasts = list(next(iter(seen.values())))
    lines = head("height of the digit", *(f"contrast {contrast}" for contrast in contrasts))
    for height, by_contrast in seen.items():
        cells = [" / ".join(f"{100 * value:.0f}" for value in by_contrast[c].values()) for c in contrasts]
        lines.append(row((f"{height} px", *(f"{cell} %" for cell in cells))))
    return lines[1:]


def noise_line() -> list[str]:
    """The share of a still picture with noise."""
    found = read("text")
    parts = [
        f"{' / '.join(map(share, by_rule.values()))} at sigma {sigma}"
        for sigma, by_rule in found["noise"].items()
    ]
    n = found["still_frames"]
    return [f"Of {n} frames of a still picture (ideal: 1/{n} = {share(1 / n)}): {', '.join(parts)}."]


def speed_table() -> list[str]:
    """Time of the vision tower and to the first token, by clip."""
    results = sorted(
        (json.loads(path.read_text()) for path in RESULTS.glob("speed-*.json")),
        key=lambda result: float(result["reuse"]["share"]),
    )
    if not results:
        return [f"Not measured yet: no {RESULTS}/speed-*.json."]
    first = results[0]
    lines = [
        f"{first['card']['model']['name']} with random weights in {first['card']['model']['dtype']}, "
        f"{first['spec']['frames']} frames, 12 % of the tokens kept. Median (smallest-largest) of the "
        f"rounds. Measured with {'; or '.join(dict.fromkeys(map(measured_with, results)))}.",
        *head(
            *("clip", "rounds", "patches", "in full"),
            *("tower, all patches, ms", "with reuse, ms", "reuse / all"),
            *("first token faster: pruned", "pruned + reuse", "without reading: pruned", "pruned + reuse"),
        ),
    ]
    return [*lines, *map(speed_row, results)]


def speed_row(result: dict[str, Any]) -> str:
    """Returns the line of one clip."""
    reuse, sides = result["reuse"], result["sides"]
    middle, low, high = reuse["tower_times_dense"]
    ratio = f"{middle:.2f}" if low == high else f"{middle:.2f} ({low:.2f}-{high:.2f})"
    both = ("sharpv", "sharpv+reuse")
    fell = reuse["fallback"] is not None
    cells = [
        Path(result["spec"]["video"]).stem,
        str(result["spec"]["repeats"]),
        "all: fell back" if fell else share(reuse["share"]),
        "all" if fell else str(reuse["full_frames"]),
        *(milliseconds(reuse["ms"][kind]) for kind in ("whole", "reuse")),
        ratio,
        *(f"{sides[side]['speed_up']['first_token']['reached'][0]:.2f}x" for side in both),
        *(f"{reuse['without_reading'][side]['faster'][0]:.2f}x" for side in both),
    ]
    return row(cells)


def toy_table() -> list[str]:
    """The toy's accuracy with reuse and without."""
    found = json.loads(TOY.read_text())
    lines = head("toy", "patches encoded", "accuracy, all tokens", "difference", "with SharpV", "difference")
    names = ["", *(name for name in found["conditions"] if name.startswith(("reuse", "random-patches")))]
    for name in names:
        pair = [found["conditions"][other] for other in _pair(name)]
        patches = pair[0]["cost"].get("patch_share")
        cells = [name or "all patches", f"{100 * patches['mean']:.1f} %" if patches else "100 %"]
        for one in pair:
            cells.append(f"{100 * one['macro']:.1f}")
            gap = one.get("against_whole")
            cells.append(
                "" if not gap else "{:+.1f} ({:+.1f} to {:+.1f})".format(*(100 * gap[end] for end in ENDS))
            )
        lines.append(row(cells))
    return [*lines[1:], "", f"{found['questions']} questions, by `{found['command']}`."]


ENDS = ("difference", "low", "high")


def _pair(name: str) -> tuple[str, str]:
    return (name, f"sharpv+{name}") if name else ("dense", "sharpv")


PARTS = {
    "shares": shares_table,
    "text": text_table,
    "noise": noise_line,
    "speed": speed_table,
    "toy": toy_table,
}


def part(what: str) -> str:
    """Returns what a marker names."""
    return "\n".join(PARTS[what]()) + "\n"


def main() -> None:
    """Writes the page, checks it with `--check`, or measures."""
    if sys.argv[1:2] and sys.argv[1] in ("shares", "text", "speed"):
        import reuse_measure  # noqa: PLC0415 - the page needs no torch, measuring does

        kind, *given = sys.argv[1:]
        end = given.index("--") if "--" in given else len(given)
        if kind == "speed":
            reuse_measure.speed(RESULTS, given[:end], given[end + 1 :])
            return
        result = reuse_measure.shares(given) if kind == "shares" else reuse_measure.text()
        reuse_measure.save(RESULTS / f"{kind}.json", result)
        return
    write_or_check(PAGE, SCRIPT, part)


if __name__ == "__main__":
    main()
