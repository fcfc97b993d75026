"""`sharpv batch` answers as `sharpv ask` does, and survives kills with a real model.

`tests/batch` kills jobs more often, where it costs less. SHARPV_BATCH_ROWS=200 SHARPV_BATCH_KILLS=3 makes a
long job of this one.
"""

import csv
import json
import logging
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sharpv.tiny.clip import moving_square
from sharpv.video import write_video
from tests.cli.asking import refuse, run

logger = logging.getLogger(__name__)

ROWS = int(os.environ.get("SHARPV_BATCH_ROWS", "24"))
KILLS = int(os.environ.get("SHARPV_BATCH_KILLS", "1"))
SHORT = ("--frames", "6", "--max-new-tokens", "2")


def bad(number: int) -> bool:
    """One clip of twenty cannot be read."""
    return number % 20 == 7


@pytest.fixture(scope="module")
def manifest(tmp_path_factory) -> Path:
    """Rows, each with a clip of its own."""
    folder = tmp_path_factory.mktemp("batch")
    (folder / "clips").mkdir()
    with (folder / "rows.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "video", "question"])
        for number in range(ROWS):
            path = folder / "clips" / f"{number}.mp4"
            write_video(moving_square(frames=6 + number % 3, height=96, width=128, seed=number), path, fps=6)
            if bad(number):
                path.write_bytes(path.read_bytes()[:400])
            writer.writerow([f"r{number}", f"clips/{number}.mp4", f"What moves in {number}?"])
    return folder / "rows.csv"


@pytest.fixture(scope="module")
def whole(manifest, model) -> dict[str, dict]:
    """Lines of a run that nobody disturbed."""
    out = manifest.parent / "whole.jsonl"
    result = run("batch", manifest, "-o", out, "-m", model, *SHORT, "--ordered", "--json")
    errors = sum(map(bad, range(ROWS)))
    said = json.loads(result.stdout)
    assert (said["rows"], said["errors"], said["earlier"]) == (ROWS, errors, 0)
    assert "opening 1 model ..." in result.stderr
    assert f"row {ROWS} of {ROWS}, {errors} with an error, " in result.stderr
    assert [line["id"] for line in read(out)] == [f"r{number}" for number in range(ROWS)]
    return by_id(out)


def read(out: Path) -> list[dict]:
    return [json.loads(line) for line in out.read_text().splitlines()]


def by_id(out: Path) -> dict[str, dict]:
    """Lines by id, each once, without their times."""
    found = read(out)
    kept = {line["id"]: {k: v for k, v in line.items() if k != "milliseconds"} for line in found}
    assert len(kept) == len(found)
    return kept


def test_lines_say_what_ask_says(whole, manifest, model):
    for number in (0, 5):
        line = whole[f"r{number}"]
        clip = manifest.parent / line["video"]
        result = run("ask", clip, line["question"], "-m", model, *SHORT, "--json")
        found = json.loads(result.stdout)
        report = found["report"]
        assert line["answer"] == found["answer"]
        assert line["frames"] == found["video"]["frames"]
        assert [line["prompt_tokens"]] == report["prompt_tokens"]
        assert [line["prompt_tokens_kept"]] == report["prompt_tokens_kept"]
        assert (line["video_tokens"], line["video_tokens_kept"]) == (96, report["tokens_kept"])
    for number in range(ROWS):
        line = whole[f"r{number}"]
        assert (line["error"] is not None, line["answer"] is None) == (bad(number), bad(number))
    assert "7.mp4" in whole["r7"]["error"]


def test_lines_say_what_the_vision_tower_encoded(whole, manifest, model, tmp_path):
    assert {(line["patches"], line["patches_encoded"]) for line in whole.values()} == {(None, None)}
    (tmp_path / "rows.csv").write_text(f"id,video,question\na,{manifest.parent / 'clips/0.mp4'},What?\n")
    options = ("-m", model, *SHORT, "--vision-reuse", "balanced")
    run("batch", tmp_path / "rows.csv", "-o", tmp_path / "out.jsonl", *options)
    (line,) = read(tmp_path / "out.jsonl")
    asked = json.loads(run("ask", manifest.parent / "clips/0.mp4", "What?", *options, "--json").stdout)
    (video,) = asked["report"]["videos"]
    assert (line["patches"], line["patches_encoded"]) == (6 * 64, video["reuse"]["rows_computed"])
    assert line["patches_encoded"] < line["patches"]


def test_times_of_every_phase(whole, manifest):
    line = read(manifest.parent / "whole.jsonl")[0]
    assert set(line["milliseconds"]) == {"read", "vision", "scoring", "prefill", "decode"}
    assert all(ms > 0 for ms in line["milliseconds"].values())


def test_killed_at_random_moments_it_ends_as_if_nothing_had_been(whole, manifest, model):
    out, rng = manifest.parent / "killed.jsonl", random.Random()
    command = [
        sys.executable,
        "-m",
        "sharpv.cli",
        "batch",
        str(manifest),
        "-o",
        str(out),
        "-m",
        model,
        *SHORT,
    ]
    for kill in range(1, KILLS + 1):
        # Also while models are loaded, where earlier runs got so far.
        wait_for = rng.randint(1, ROWS // 2 * kill // KILLS)
        with subprocess.Popen([*command, "--workers", "2"], stderr=subprocess.DEVNULL) as process:
            while process.poll() is None and (not out.exists() or out.read_bytes().count(b"\n") < wait_for):
                time.sleep(0.01)
            time.sleep(rng.uniform(0, 0.05))
            assert process.poll() is None
            process.kill()
        logger.info("killed with %d of %d lines", out.read_bytes().count(b"\n"), ROWS)
    result = run(*command[3:], "--json")
    assert 0 < json.loads(result.stdout)["earlier"] < ROWS
    assert by_id(out) == whole


def test_ctrl_c_says_that_the_job_can_go_on(manifest, model, tmp_path, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("sharpv.batch.job.run", interrupted)
    result = run("batch", manifest, "-o", tmp_path / "out.jsonl", "-m", model, ok=130)
    assert "the same command goes on from there" in result.stderr


def test_a_finished_job_loads_nothing_and_shows_how_it_stands(whole, manifest, model):
    out = manifest.parent / "whole.jsonl"
    result = run("batch", manifest, "-o", out, "-m", model, *SHORT)
    errors = sum(map(bad, range(ROWS)))
    assert result.stdout == f"{ROWS} rows in {out}: {ROWS - errors} answered, {errors} with an error\n"
    assert "opening" not in result.stderr
    assert "--retry-errors" in result.stderr


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--frames", "4"), "sampling was"),
        (("--frames", "6", "--max-new-tokens", "3"), "max_new_tokens was 2, is 3"),
        ((*SHORT, "--retention", "0.5"), "config was"),
        ((*SHORT, "--dtype", "bfloat16"), "dtype was 'auto', is 'bfloat16'"),
    ],
)
def test_other_settings_do_not_mix_with_what_is_there(whole, manifest, model, options, reason):
    out = manifest.parent / "whole.jsonl"
    before = out.read_bytes()
    assert reason in refuse("batch", manifest, "-o", out, "-m", model, *options)
    assert out.read_bytes() == before


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--workers", "0"), "--workers"),
        (("--engine", "other"), "transformers"),
        (("--url", "http://127.0.0.1:1"), "--url would have no effect: that goes with --engine vllm"),
        (("--engine", "vllm", "--frames", "8", "--dense"), "--frames, --dense would have no effect"),
        (("--engine", "vllm", "--vision-reuse", "safe"), "--vision-reuse would have no effect"),
        (("--engine", "vllm", "--url", "ftp://x"), "no http:// or https:// address"),
        (("--engine", "vllm", "--url", "http://me:secret@x"), "holds a name or a password"),
        (("--dense", "--coverage", "0.5"), "prunes nothing"),
    ],
)
def test_wrong_options_are_usage_errors(tmp_path, options, reason):
    result = run("batch", tmp_path / "m.jsonl", "-o", tmp_path / "out.jsonl", *options, ok=2)
    assert reason in " ".join(result.stderr.split())


def test_what_is_refused_before_a_model_is_loaded(tmp_path, manifest):
    assert "No such file" in refuse("batch", tmp_path / "m.jsonl", "-o", tmp_path / "out.jsonl")
    assert "cannot use" in refuse("batch", manifest, "-o", tmp_path / "no" / "out.jsonl")
    assert "cannot use device" in refuse("batch", manifest, "-o", tmp_path / "o.jsonl", "--device", "cuda:99")


def test_ray_that_is_not_installed(tmp_path, manifest, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.delitem(sys.modules, "sharpv.engines.ray", raising=False)
    options = ("-o", tmp_path / "out.jsonl", "--ray-address", "auto")
    assert "pip install 'sharpv[ray]'" in refuse("batch", manifest, *options)


def test_a_model_that_is_not_there(tmp_path, manifest):
    out = tmp_path / "out.jsonl"
    assert "config.json" in refuse("batch", manifest, "-o", out, "-m", tmp_path / "none")
    assert out.read_bytes() == b""


def test_a_method_that_does_not_go_with_the_model_spoils_no_row(tmp_path, manifest, model):
    out = tmp_path / "out.jsonl"
    options = ("--method", "fastv", "--threshold", "1")
    assert "fastv" in refuse("batch", manifest, "-o", out, "-m", model, *options)
    assert out.read_bytes() == b""
