"""Manifests of real clips, one of twenty of which is cut short, and what came of them."""

import csv
import json
from pathlib import Path

from sharpv.tiny.clip import moving_square
from sharpv.video import write_video

SHORT = ("--frames", "6", "--max-new-tokens", "2")
"""Options of a job that is soon done."""


def bad(number: int) -> bool:
    """Whether the clip of a row cannot be read."""
    return number % 20 == 7


def write_manifest(folder: Path, rows: int) -> Path:
    """Writes rows, each with a clip of its own."""
    (folder / "clips").mkdir()
    with (folder / "rows.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "video", "question"])
        for number in range(rows):
            path = folder / "clips" / f"{number}.mp4"
            write_video(moving_square(frames=6 + number % 3, height=96, width=128, seed=number), path, fps=6)
            if bad(number):
                path.write_bytes(path.read_bytes()[:400])
            writer.writerow([f"r{number}", f"clips/{number}.mp4", f"What moves in {number}?"])
    return folder / "rows.csv"


def lines(out: Path) -> list[dict]:
    return [json.loads(line) for line in out.read_text().splitlines()]


def by_id(out: Path) -> dict[str, dict]:
    """Lines by id, each once, without their times."""
    found = lines(out)
    kept = {line["id"]: {k: v for k, v in line.items() if k != "milliseconds"} for line in found}
    assert len(kept) == len(found)
    return kept


def count(out: Path) -> int:
    """Number of lines, half a one left out; 0 where there is no file."""
    return out.read_bytes().count(b"\n") if out.exists() else 0
