"""The page on vision reuse says what its results say."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PARTS = ("shares", "text", "noise", "speed", "toy")


def run(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "docs/reuse.py"), *options]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment)


@pytest.fixture
def folder(tmp_path) -> Path:
    """A page with all parts, beside the results of the repository."""
    (tmp_path / "docs").mkdir()
    for name in ("vision-reuse", "results"):
        (tmp_path / "docs" / name).symlink_to(ROOT / "docs" / name)
    markers = "\n".join(f"<!-- {part} by docs/reuse.py -->\nold\n<!-- end -->" for part in PARTS)
    (tmp_path / "docs/vision-reuse.md").write_text(markers)
    return tmp_path


def with_speed(folder: Path, *results: dict) -> Path:
    """Puts results of bench latency in the place of the repository's."""
    own = folder / "docs/vision-reuse"
    own.unlink()
    own.mkdir()
    for name in ("shares", "text"):
        (own / f"{name}.json").symlink_to(ROOT / f"docs/vision-reuse/{name}.json")
    for result in results:
        (own / f"speed-{Path(result['spec']['video']).stem}.json").write_text(json.dumps(result))
    return folder


def measured(clip: str, share: float, fallback: str | None = None) -> dict:
    sides = {
        name: {"speed_up": {"first_token": {"reached": [2.5, 2.0, 3.0]}}}
        for name in ("sharpv", "sharpv+reuse")
    }
    return {
        "card": {"model": {"name": "shape", "dtype": "bfloat16"}},
        "spec": {"frames": 32, "repeats": 3, "video": clip},
        "device_name": "a machine",
        "threads": 2,
        "versions": {"torch": "2", "transformers": "5"},
        "commit": "c",
        "sides": sides,
        "reuse": {
            "share": share,
            "full_frames": 4,
            "fallback": fallback,
            "ms": {"whole": [1000.0, 900.0, 1100.0], "reuse": [250.0, 250.0, 250.0]},
            "tower_times_dense": [0.25, 0.2, 0.3],
            "without_reading": {name: {"faster": [3.25, 3.0, 3.5]} for name in sides},
        },
    }


def test_all_parts_are_written_and_a_change_is_found(folder):
    assert run(folder).returncode == 0
    page = folder / "docs/vision-reuse.md"
    made = page.read_text()
    assert "old" not in made
    assert run(folder, "--check").returncode == 0
    shares = json.loads((ROOT / "docs/vision-reuse/shares.json").read_text())["clips"]
    assert all(Path(clip).stem in made for clip in shares)
    assert "random-patches=0.3" in made
    page.write_text(made.replace("random-patches=0.3", "random-patches=0.4"))
    checked = run(folder, "--check")
    assert checked.returncode == 1
    assert "run `python docs/reuse.py`" in checked.stderr


def test_clips_stand_by_their_share_and_a_fall_back_says_so(folder):
    with_speed(folder, measured("b.mp4", 1.0, "too much"), measured("c.webm", 0.5), measured("a.mkv", 0.125))
    assert run(folder).returncode == 0
    lines = [line for line in (folder / "docs/vision-reuse.md").read_text().splitlines() if "2.50x" in line]
    assert [line.split("|")[1].strip() for line in lines] == ["a", "c", "b"]
    cells = [cell.strip() for cell in lines[0].strip("|").split("|")]
    assert cells[1:4] == ["3", ".12", "4"]
    assert cells[4:7] == ["1,000 (900-1,100)", "250", "0.25 (0.20-0.30)"]
    assert cells[7:] == ["2.50x", "2.50x", "3.25x", "3.25x"]
    assert "all: fell back" in lines[2]


def test_without_times_the_page_says_that_none_were_measured(folder):
    with_speed(folder)
    assert run(folder).returncode == 0
    assert (
        "Not measured yet: no docs/vision-reuse/speed-*.json."
        in (folder / "docs/vision-reuse.md").read_text()
    )
