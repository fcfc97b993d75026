"""The page on performance says what its results say, and what is estimated is marked and adds up."""

import json
import os
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MEASURED = ROOT / "docs/performance/llava-onevision-0.5b-cpu.json"


def page(folder: Path, name: str, content: str | None) -> str:
    """Writes a page with one table, made from a result, and returns it."""
    results = folder / "docs/performance"
    results.mkdir(parents=True, exist_ok=True)
    (folder / "docs/performance.md").write_text(
        f"<!-- {name} by docs/performance.py -->\nold\n<!-- end -->\n"
    )
    if content is not None:
        (results / name).write_text(content)
    assert run(folder, "performance.py").returncode == 0
    return (folder / "docs/performance.md").read_text()


def run(folder: Path, script: str, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "docs" / script), *options]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment)


def rows(text: str) -> dict[str, list[str]]:
    """Returns the cells of the rows of all tables by the first cell; of equal ones the first counts."""
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        if line.startswith("|"):
            name, *cells = (cell.strip() for cell in line.strip("|").split("|"))
            found.setdefault(name, cells)
    return found


def test_a_whole_model_has_no_estimate(tmp_path):
    made = page(tmp_path, "a.json", MEASURED.read_text())
    assert "stimate" not in made
    assert "old" not in made
    assert rows(made)["milliseconds"] == ["dense", "sharpv"]
    assert run(tmp_path, "performance.py", "--check").returncode == 0


def test_a_part_of_a_model_is_multiplied_up_and_says_so(tmp_path):
    result = json.loads(MEASURED.read_text())
    result["card"]["model"]["layers"] = [6, 24]
    table = rows(page(tmp_path, "a.json", json.dumps(result)))
    assert table["milliseconds"] == [
        "dense, 6 layers", "sharpv, 6 layers", "dense, estimate x 24/6", "sharpv, estimate x 24/6"
    ]  # fmt: skip
    medians = {name: spread[0] for name, spread in result["shared"]["ms"].items()}
    whole = {}
    for name, side in result["sides"].items():
        ms = {**medians, **{phase: side["ms"][phase][0] for phase in ("scoring", "prefill", "rest")}}
        whole[name] = {**ms, "prefill": 4 * ms["prefill"]}
    totals = {name: sum(ms.values()) for name, ms in whole.items()}
    assert table["LLM prefill"][2:] == [f"{ms['prefill']:,.0f}" for ms in whole.values()]
    assert table["vision tower"][2:] == [f"{medians['vision_tower']:,.0f}"] * 2
    assert table["**first token**"][2:] == [f"{total:,.0f}" for total in totals.values()]
    assert table["each later token"][2:] == ["", ""]
    assert table["KV bytes after the prefill"][2:] == [
        f"{4 * side['kv_bytes']:,}" for side in result["sides"].values()
    ]
    share = whole["dense"]["prefill"] / totals["dense"]
    assert table["largest share of the first token"][:3] == ["", "", f"{share:.0%} LLM prefill"]
    assert table["largest share of the first token"][3].endswith(" vision tower")
    prefill = result["sides"]["sharpv"]["speed_up"]["prefill"]
    assert table["sharpv: LLM prefill"][::2] == [f"{prefill['ideal']:.2f}", f"{prefill['share']:.0%}"]
    saved = whole["dense"]["prefill"] * (1 - 1 / prefill["ideal"])
    ideal = totals["dense"] / (totals["dense"] - saved)
    reached = totals["dense"] / totals["sharpv"]
    assert table["sharpv: **first token**, estimate"] == [
        f"{ideal:.2f}", f"{reached:.2f}", f"{reached / ideal:.0%}"
    ]  # fmt: skip


def side(prefill: float, kv: int, **given) -> dict:
    ms = {"scoring": [2.0, 1.0, 3.0], "prefill": [prefill, prefill - 1, prefill + 1], "rest": [3.0] * 3}
    return {
        "ms": {**ms, "per_token": None},
        "kv_bytes": kv,
        "kv_bytes_predicted": kv,
        "peak_bytes": None,
        "prefill_flops": prefill,
        **given,
    }


def growth() -> dict:
    points = [
        {
            "frames": frames,
            "batch": batch,
            "prompt_tokens": frames * 10 + 5,
            "rounds": 2,
            "scoring_ms_per_frame": 2.0 / frames / batch,
            "sides": {
                "dense": side(100.0 * frames, 1000 * frames, tokens_kept=None, tokens_total=None),
                "sharpv": side(20.0 * frames, 100 * frames, tokens_kept=frames, tokens_total=10 * frames),
            },
        }
        for frames, batch in ((4, 1), (8, 1), (4, 3))
    ]
    return {
        "bench": "growth",
        "spec": {"frames": [4, 8], "batches": [3], "config": {"retention": 0.1}},
        "card": {"model": {"name": "m", "dtype": "float32"}},
        "points": points,
        "device_name": "a machine",
        "threads": 1,
        "versions": {"torch": "1", "transformers": "2"},
        "commit": "c",
    }


def test_growth_has_a_table_along_frames_and_one_along_rows(tmp_path):
    made = page(tmp_path, "growth-m.json", json.dumps(growth()))
    assert "](performance/growth-m.svg)" in made
    table = rows(made)
    assert list(table)[::2] == ["frames of one row", "4", "rows of 4 frames"]
    assert table["8"][:4] == ["85 / 13", "800 (799-801) / 160 (159-161)", "5.0 of 5.0", "2.0 (1.0-3.0)"]
    assert table["3"][0] == "45 / 9"


def test_all_sizes_stand_in_one_table(tmp_path):
    whole = json.loads(MEASURED.read_text())
    part, idle = json.loads(MEASURED.read_text()), json.loads(MEASURED.read_text())
    part["card"]["model"] |= {"layers": [6, 24], "name": "m, 6 of 24 layers"}
    idle["spec"]["config"]["retention"] = 1.0
    results = tmp_path / "docs/performance"
    results.mkdir(parents=True)
    for name, result in {"a": whole, "b": part, "c": idle, "growth-d": growth()}.items():
        (results / f"{name}.json").write_text(json.dumps(result))
    table = rows(page(tmp_path, "remaining", None))
    name = whole["card"]["model"]["name"]
    assert list(table) == ["size", "---", name, "m (estimate from 6 of 24 layers)"]
    side, speed_up = whole["sides"]["sharpv"], whole["sides"]["sharpv"]["speed_up"]
    assert table[name][0] == str(whole["spec"]["frames"])
    assert table[name][2] == f"{speed_up['first_token']['reached'][0]:.2f}"
    assert table[name][3] == f"vision tower, {side['largest_phase']['share']:.0%} of the first token"
    assert float(table["m (estimate from 6 of 24 layers)"][2]) > float(table[name][2])


def test_what_was_not_counted_is_left_empty(tmp_path):
    result = json.loads(MEASURED.read_text())
    result["spec"]["config"]["retention"] = "adaptive"
    result["card"]["flops"] |= {"vision_tower": None, "pruned": None}
    table = rows(page(tmp_path, "a.json", json.dumps(result)))
    assert table["LLM prefill"][0] != ""
    assert table["prefill by the papers' formula, in MACs"][1] == ""
    for speed in result["sides"]["sharpv"]["speed_up"].values():
        speed |= {"ideal": None, "share": None}
    assert "sharpv: LLM prefill" not in rows(page(tmp_path, "a.json", json.dumps(result)))


def test_retention_1_shows_what_a_session_costs(tmp_path):
    result = json.loads(MEASURED.read_text())
    result["spec"]["config"]["retention"] = 1.0
    result["sides"]["dense"]["ms"]["prefill"] = [200.0, 190.0, 210.0]
    result["sides"]["sharpv"]["ms"]["prefill"] = [202.0, 190.0, 230.0]
    table = rows(page(tmp_path, "a.json", json.dumps(result)))
    assert table["LLM prefill"] == ["200 (190-210)", "202 (190-230)", "1.010"]


def test_scoring_is_given_in_reads(tmp_path):
    case = {"shape": [4, 9, 8], "dtype": "float32", "ms": {"sharpv": [2.0, 1.0, 3.0]}}
    case["times_sum"] = {"sharpv": [3.9, 3.5, 5.2], "whole_tensor": [42.0, 35.0, 46.0]}
    place = {name: growth()[name] for name in ("device_name", "threads", "versions", "commit")}
    result = {"bench": "scoring", "repeats": 9, "cases": [case], **place}
    table = rows(page(tmp_path, "a.json", json.dumps(result)))
    assert table["4 x 9 x 8"] == ["float32", "2.0 (1.0-3.0)", "3.9 (3.5-5.2)", "42 (35-46)"]


def test_no_result_yet_is_said(tmp_path):
    assert f"no {Path('docs/performance/growth-m.json')}" in page(tmp_path, "growth-m.json", None)
    assert run(tmp_path, "performance.py", "--check").returncode == 0


def test_a_picture_of_another_result_is_found(tmp_path):
    page(tmp_path, "growth-m.json", json.dumps(growth()))
    result, plot = (tmp_path / "docs/performance/growth-m" for _ in range(2))
    result, plot = result.with_suffix(".json"), plot.with_suffix(".svg")
    for content, fits in (
        (None, False),
        ("<svg/>", False),
        (sha256(result.read_bytes()).hexdigest(), True),
    ):
        if content is not None:
            plot.write_text(content)
        checked = run(tmp_path, "performance.py", "--check")
        assert (checked.returncode == 0) is fits
        assert ("growth-m.svg is not of" in checked.stderr) is not fits


def test_a_picture_is_drawn_the_same_each_time(tmp_path):
    pytest.importorskip("matplotlib", reason="of the extra viz")
    page(tmp_path, "growth-m.json", json.dumps(growth()))
    drawn = []
    for _ in range(2):
        made = run(tmp_path, "plots.py")
        assert made.returncode == 0, made.stderr
        drawn.append((tmp_path / "docs/performance/growth-m.svg").read_text())
    assert drawn[0] == drawn[1]
    for text in ("frames of one row", "rows of 4 frames", "prefill, pruned", "milliseconds"):
        assert text in drawn[0]
    assert run(tmp_path, "performance.py", "--check").returncode == 0
