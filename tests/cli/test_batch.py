"""`sharpv batch` answers as `sharpv ask` does, and survives kills with a real model.

`tests/batch` kills jobs more often, where it costs less. SHARPV_BATCH_ROWS=200 SHARPV_BATCH_KILLS=3 makes a
long job of this one. It is killed at moments drawn anew each time; SHARPV_BATCH_SEED draws those of before.
"""

import json
import logging
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sharpv.hf.ask import load_model
from tests.batch.clips import SHORT, bad, by_id, count, lines, write_manifest
from tests.cli.asking import refuse, run
from tests.server.running import Running

logger = logging.getLogger(__name__)

ROWS = int(os.environ.get("SHARPV_BATCH_ROWS", "24"))
KILLS = int(os.environ.get("SHARPV_BATCH_KILLS", "1"))
SEED = int(os.environ.get("SHARPV_BATCH_SEED", random.randrange(1 << 32)))


@pytest.fixture(scope="module")
def manifest(tmp_path_factory) -> Path:
    """Rows, each with a clip of its own."""
    return write_manifest(tmp_path_factory.mktemp("batch"), ROWS)


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
    assert [line["id"] for line in lines(out)] == [f"r{number}" for number in range(ROWS)]
    return by_id(out)


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
    (line,) = lines(tmp_path / "out.jsonl")
    asked = json.loads(run("ask", manifest.parent / "clips/0.mp4", "What?", *options, "--json").stdout)
    (video,) = asked["report"]["videos"]
    assert (line["patches"], line["patches_encoded"]) == (6 * 64, video["reuse"]["rows_computed"])
    assert line["patches_encoded"] < line["patches"]


def test_times_of_every_phase(whole, manifest):
    line = lines(manifest.parent / "whole.jsonl")[0]
    assert set(line["milliseconds"]) == {"read", "vision", "scoring", "prefill", "decode"}
    assert all(ms > 0 for ms in line["milliseconds"].values())


def test_killed_at_random_moments_it_ends_as_if_nothing_had_been(whole, manifest, model):
    out, rng = manifest.parent / "killed.jsonl", random.Random(SEED)
    logger.warning("SHARPV_BATCH_SEED=%d", SEED)  # shown where the test fails
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
            while process.poll() is None and count(out) < wait_for:
                time.sleep(0.01)
            time.sleep(rng.uniform(0, 0.05))
            assert process.poll() is None
            process.kill()
        logger.warning("killed with %d of %d lines", count(out), ROWS)
    result = run(*command[3:], "--json")
    assert 0 < json.loads(result.stdout)["earlier"] < ROWS
    assert by_id(out) == whole


def test_ctrl_c_says_that_the_job_can_go_on(manifest, model, tmp_path, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("sharpv.batch.job.run", interrupted)
    result = run("batch", manifest, "-o", tmp_path / "out.jsonl", "-m", model, ok=130)
    assert "the same command goes on from there" in result.stderr


@pytest.mark.parametrize(
    ("options", "seconds"), [((), 5), (("--url", "http://x"), 66), (("--engine", "vllm"), 66)]
)
def test_no_clip_holds_a_worker_for_ever(manifest, tmp_path, monkeypatch, options, seconds):
    """Of a server too: it has 5 s at each of six tries, half a minute between them, and the clip has 5."""
    given = {}

    def run_job(*_, row_seconds=None, **__):
        given["row_seconds"] = row_seconds
        raise KeyboardInterrupt

    monkeypatch.setattr("sharpv.batch.job.run", run_job)
    run("batch", manifest, "-o", tmp_path / "out.jsonl", "--row-timeout", "5", *options, ok=130)
    assert given == {"row_seconds": seconds}


def test_ctrl_c_while_models_are_opened_is_130_and_the_job_can_go_on(manifest, model, whole, tmp_path):
    out = tmp_path / "out.jsonl"
    job = ("batch", str(manifest), "-o", str(out), "-m", model, *SHORT)
    command = [sys.executable, "-m", "sharpv.cli", *job, "--workers", "2"]
    with subprocess.Popen(command, start_new_session=True, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr.readline() == "opening 2 models ...\n"
        os.killpg(process.pid, signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert said.splitlines() == [
        f"what is done stands in {out}: the same command goes on from there",
        "error: interrupted",
    ]
    run(*job)
    assert by_id(out) == whole


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
        (("--url", "http://x", "--dtype", "float16"), "--dtype would have no effect: that goes with a model"),
        (("--row-timeout", "0"), "--row-timeout"),
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


@pytest.fixture(scope="module")
def server(model):
    """`sharpv serve --engine transformers`, in this process."""
    running = Running(load_model(model))
    yield running
    running.stop()


def test_a_server_on_transformers_answers_as_a_model_here_does(whole, manifest, model, server, tmp_path):
    out = tmp_path / "out.jsonl"
    command = ("batch", manifest, "-o", out, "--url", server.url, *SHORT, "--workers", "2")
    assert json.loads(run(*command, "--json").stdout)["errors"] == sum(map(bad, range(ROWS)))
    found = by_id(out)
    assert found.keys() == whole.keys()
    for name, line in found.items():
        if line["error"] is None:
            assert line == whole[name]
        else:
            assert whole[name]["error"] is not None
            assert line["error"].startswith("the server answered 4")
    assert set(lines(out)[0]["milliseconds"]) == {"read", "request", "vision", "scoring", "prefill", "decode"}


@pytest.mark.parametrize(
    ("options", "sent"),
    [
        ((), None),
        (("--retention", "adaptive"), {"retention": "adaptive"}),
        (("--retention", "0.5", "--no-memory"), {"retention": 0.5, "memory_threshold": None}),
        (
            ("--dense", "--frames", "5"),
            {
                **{"retention": 1.0, "memory_threshold": None, "frames": 5},
                **{"method": "sharpv", "vision_reuse": None},  # whatever the server's are
            },
        ),
        (
            ("--method", "vidcom2", "--fps", "2", "--retention", "0.5"),
            {"method": "vidcom2", "fps": 2.0, "retention": 0.5},
        ),
        (("--vision-reuse", "safe"), {"vision_reuse": "safe"}),
    ],
)
def test_what_a_server_on_transformers_is_asked(manifest, server, tmp_path, options, sent):
    out = tmp_path / "out.jsonl"
    (tmp_path / "row.csv").write_text(f"id,video,question\na,{manifest.parent / 'clips' / '0.mp4'},q\n")
    command = ("batch", tmp_path / "row.csv", "-o", out, "--url", server.url, "--max-new-tokens", "1")
    run(*command, *options)
    (line,) = lines(out)
    assert line["error"] is None
    settings = json.loads((tmp_path / "out.jsonl.settings.json").read_text())
    assert settings["options"] == ({} if sent is None else {"sharpv": sent})
    if "--dense" in options:
        assert line["video_tokens"] == line["video_tokens_kept"] == 5 * 16
    assert (line["patches"] is not None) == ("--vision-reuse" in options)


def test_another_server_is_refused_by_its_own_sign(manifest, server, tmp_path):
    command = ("batch", manifest, "-o", tmp_path / "out.jsonl", "--engine", "vllm", "--url", server.url)
    assert "say --engine transformers" in refuse(*command)
