"""A job answers each row once, whatever happens to clips, workers and itself."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import sharpv
from sharpv.batch.job import run
from sharpv.batch.processes import Processes
from tests.batch.fakes import SETTINGS, Fake, by_id, job, lines, write_rows


def test_every_row_gets_a_line(tmp_path):
    rows = write_rows(tmp_path / "rows.jsonl", 12, r3="bad", r5="odd")
    summary = job(rows, tmp_path / "out.jsonl", workers=2)
    assert (summary.rows, summary.errors, summary.earlier) == (12, 2, 0)
    found = by_id(tmp_path / "out.jsonl")
    assert sorted(found) == sorted(f"r{number}" for number in range(12))
    assert found["r4"]["answer"] == "WHAT R4"
    assert found["r4"]["error"] is None
    assert found["r3"]["answer"] is None
    assert found["r3"]["error"] == f"cannot read {str(tmp_path / 'bad.mp4')!r}: it is bad"
    assert found["r5"]["error"] == "RuntimeError: an odd thing"


def test_clips_are_read_while_the_model_works(tmp_path):
    """And the model has one row at a time, and no more than three clips are in memory."""
    job(write_rows(tmp_path / "rows.jsonl", 8), tmp_path / "out.jsonl", Fake(seconds=0.05))
    found = lines(tmp_path / "out.jsonl")
    spans = [json.loads(line["notes"][0]) for line in found]
    reads, asks = [span["read"] for span in spans], [span["ask"] for span in spans]
    overlaps = [sum(a[0] < b[1] and b[0] < a[1] for b in asks) for a in asks]
    assert overlaps == [1] * 8
    assert sum(any(a[0] < r[1] and r[0] < a[1] for a in asks) for r in reads) >= 5
    held = [
        sum(read[0] <= start < ask[1] for read, ask in zip(reads, asks, strict=True)) for start, _ in reads
    ]
    assert max(held) == 3
    assert all(line["milliseconds"]["read"] >= 50 for line in found)


def test_a_finished_job_opens_no_model(tmp_path):
    rows, out = write_rows(tmp_path / "rows.jsonl", 3), tmp_path / "out.jsonl"
    job(rows, out)
    before = out.read_bytes()
    summary = run(rows, out, SETTINGS, lambda: pytest.fail("opened"))
    assert summary.earlier == 3
    assert out.read_bytes() == before


def test_rows_added_to_the_manifest_are_asked(tmp_path):
    out = tmp_path / "out.jsonl"
    job(write_rows(tmp_path / "rows.jsonl", 2), out)
    assert job(write_rows(tmp_path / "rows.jsonl", 5), out).earlier == 2
    assert len(by_id(out)) == 5


@pytest.mark.parametrize("change", ["reordered", "appended", "shortened"])
def test_a_manifest_that_changes_during_a_run_ends_it_and_spoils_no_row(tmp_path, change):
    rows, out = write_rows(tmp_path / "rows.jsonl", 6), tmp_path / "out.jsonl"
    before = rows.read_text().splitlines(keepends=True)
    after = {"reordered": before[::-1], "appended": [*before, before[0]], "shortened": before[:4]}[change]

    def pool() -> Processes:
        rows.write_text("".join(after))
        return Processes(Fake(), 1)

    with pytest.raises(sharpv.InputError, match="the manifest changed while the job ran: run the same"):
        run(rows, out, SETTINGS, pool)
    rows.write_text("".join(before))
    job(rows, out)
    assert len(by_id(out)) == 6


def test_killed_at_random_moments_nothing_is_lost_or_done_twice(tmp_path):
    rows = write_rows(tmp_path / "rows.jsonl", 150, r7="bad", r90="odd")
    job(rows, tmp_path / "whole.jsonl", workers=2, ordered=True)
    out, rng, kills = tmp_path / "out.jsonl", random.Random(9), 0
    command = [sys.executable, "-m", "tests.batch.fakes", str(rows), str(out)]
    for _ in range(3):
        before = out.stat().st_size if out.exists() else 0
        with subprocess.Popen(command, start_new_session=True) as process:
            while process.poll() is None and (not out.exists() or out.stat().st_size == before):
                time.sleep(0.005)
            time.sleep(rng.uniform(0, 0.2))
            kills += process.poll() is None
            process.kill()
        assert no_process_is_left(process.pid)
    assert kills >= 2
    with out.open("ab") as file:
        file.write(b'{"id": "r149", "vid')  # as of a kill in the middle of a write
    subprocess.run(command, check=True)
    assert by_id(out) == by_id(tmp_path / "whole.jsonl")
    assert [line["id"] for line in lines(out)] == [f"r{number}" for number in range(150)]


def no_process_is_left(group: int) -> bool:
    """Workers follow their parent within seconds."""
    for _ in range(1000):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.01)
    return False


def test_ctrl_c_ends_the_workers_and_can_be_gone_on_from(tmp_path):
    rows, out = write_rows(tmp_path / "rows.jsonl", 200), tmp_path / "out.jsonl"
    command = [sys.executable, "-m", "tests.batch.fakes", str(rows), str(out)]
    with subprocess.Popen(command, start_new_session=True, stderr=subprocess.PIPE, text=True) as process:
        while not out.exists() or out.stat().st_size == 0:
            time.sleep(0.005)
        os.killpg(process.pid, signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert process.returncode != 0
    assert said.count("Traceback") == 1  # the parent's own
    assert no_process_is_left(process.pid)
    assert 0 < len(by_id(out)) < 200
    subprocess.run(command, check=True)
    assert len(by_id(out)) == 200


@pytest.mark.parametrize("clip", ["once", "lost"], ids=["killed", "model-lost"])
def test_a_worker_that_dies_is_replaced_and_its_rows_are_answered(tmp_path, clip):
    rows, said = write_rows(tmp_path / "rows.jsonl", 10, r2=clip), []
    job(rows, tmp_path / "out.jsonl", Fake(folder=str(tmp_path)), log=said.append)
    found = by_id(tmp_path / "out.jsonl")
    assert len(found) == 10
    assert all(line["error"] is None for line in found.values())
    reason = "SIGKILL" if clip == "once" else "exit code 70"
    assert [line for line in said if "died" in line] == [f"worker 0 died ({reason}) and is replaced"]


def test_a_row_that_kills_every_worker_gets_an_error_and_the_others_do_not(tmp_path):
    rows = write_rows(tmp_path / "rows.jsonl", 10, r2="fatal")
    job(rows, tmp_path / "out.jsonl", workers=2)
    found = by_id(tmp_path / "out.jsonl")
    assert [name for name, line in found.items() if line["error"]] == ["r2"]
    assert found["r2"]["error"] == "3 workers died on this row alone (SIGKILL)"
    assert len(found) == 10


def test_a_worker_that_fails_outside_of_a_row_ends_instead_of_keeping_it(tmp_path):
    rows = write_rows(tmp_path / "rows.jsonl", 5, r2="odd")
    job(rows, tmp_path / "out.jsonl", Fake(broken="unsure"))
    found = by_id(tmp_path / "out.jsonl")
    assert len(found) == 5
    assert found["r2"]["error"] == "3 workers died on this row alone (exit code 70)"


def test_a_model_that_cannot_be_opened_ends_the_job_and_spoils_no_row(tmp_path):
    rows, out = write_rows(tmp_path / "rows.jsonl", 3), tmp_path / "out.jsonl"
    with pytest.raises(sharpv.InputError, match="no such model: take another"):
        job(rows, out, Fake(broken="refuses"))
    with pytest.raises(
        sharpv.SharpVError, match="3 tries in a row ended with SIGKILL; give them more memory"
    ):
        job(rows, out, Fake(broken="dies"))
    assert out.read_bytes() == b""
    assert job(rows, out).errors == 0


def test_a_worker_that_runs_out_of_memory_once_opens_its_model_later(tmp_path):
    rows, said = write_rows(tmp_path / "rows.jsonl", 3), []
    fake = Fake(broken="first time no memory", folder=str(tmp_path))
    assert job(rows, tmp_path / "out.jsonl", fake, log=said.append).errors == 0
    assert "worker 0 could not open the model (MemoryError: not enough) and tries again" in said


@pytest.mark.parametrize("what", ["refuses", "no memory", "dies"])
def test_a_worker_that_cannot_open_its_model_does_not_end_the_job(tmp_path, what):
    rows, out = write_rows(tmp_path / "rows.jsonl", 12, r3="bad"), tmp_path / "out.jsonl"
    assert job(rows, out, Fake(broken=f"second {what}"), workers=2).errors == 1
    assert len(by_id(out)) == 12


def test_a_row_that_hangs_gets_an_error_and_the_others_do_not(tmp_path):
    rows, out, said = write_rows(tmp_path / "rows.jsonl", 8, r2="hang"), tmp_path / "out.jsonl", []
    job(rows, out, workers=2, row_seconds=2.0, log=said.append)
    found = by_id(out)
    assert [name for name, line in found.items() if line["error"]] == ["r2"]
    assert found["r2"]["error"] == "no answer within 2 s, the time of a row"
    assert len(found) == 8
    assert len([line for line in said if line.endswith("took too long for a row and is replaced")]) >= 1


def test_a_job_of_a_script_without_a_guard_says_what_is_missing(tmp_path):
    rows, out = write_rows(tmp_path / "rows.jsonl", 2), tmp_path / "out.jsonl"
    call = f"job(Path({str(rows)!r}), Path({str(out)!r}))"
    script = tmp_path / "script.py"
    script.write_text(f"from pathlib import Path\nfrom tests.batch.fakes import job\n{call}\n")
    where = {**os.environ, "PYTHONPATH": os.pathsep.join([os.getcwd(), os.environ.get("PYTHONPATH", "")])}
    found = subprocess.run([sys.executable, script], capture_output=True, text=True, env=where)
    assert found.returncode != 0
    last = found.stderr.strip().splitlines()[-1]
    assert 'a script has to start its job under `if __name__ == "__main__":`' in last
    assert "memory" not in last


def test_ctrl_c_while_workers_start_shows_nothing_of_them(tmp_path):
    """They import for a second or so, and are hit at moments all over it."""
    rows = write_rows(tmp_path / "rows.jsonl", 200)
    for moment in range(6):
        out = tmp_path / f"out{moment}.jsonl"
        command = [sys.executable, "-m", "tests.batch.fakes", str(rows), str(out)]
        with subprocess.Popen(command, start_new_session=True, stderr=subprocess.PIPE, text=True) as process:
            assert process.stderr.readline() == "opening 2 models ...\n"
            time.sleep(0.05 * moment)
            os.killpg(process.pid, signal.SIGINT)
            _, said = process.communicate(timeout=60)
        assert process.returncode != 0
        assert said.count("Traceback") == 1, said  # the parent's own
        assert "spawn_main" not in said
        assert no_process_is_left(process.pid)
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    assert len(by_id(out)) == 200


def test_errors_are_asked_again_only_when_told(tmp_path):
    rows, out = write_rows(tmp_path / "rows.jsonl", 6, r1="odd", r4="bad"), tmp_path / "out.jsonl"
    job(rows, out, ordered=True)
    before = out.read_bytes()
    assert job(rows, out).errors == 2
    assert out.read_bytes() == before
    summary = job(rows, out, retry_errors=True)
    assert (summary.earlier, summary.errors) == (4, 2)
    assert [line["id"] for line in lines(out)][:4] == ["r0", "r2", "r3", "r5"]
    job(rows, out, retry_errors=True, ordered=True)
    assert [line["id"] for line in lines(out)] == [f"r{number}" for number in range(6)]


def test_a_long_job_says_how_far_it_is(tmp_path, monkeypatch):
    monkeypatch.setattr("sharpv.batch.progress.SECONDS_BETWEEN_LINES", 0.0)
    said: list[str] = []
    job(write_rows(tmp_path / "rows.jsonl", 4, r0="bad"), tmp_path / "out.jsonl", log=said.append)
    assert said[0] == "opening 1 model ..."
    assert said[-1].startswith("row 4 of 4, 1 with an error, ")
    assert said[-1].endswith(" rows/s, 0:00:00 left")
    job(write_rows(tmp_path / "rows.jsonl", 6, r0="bad"), tmp_path / "out.jsonl", log=said.append)
    assert said[-1].startswith("row 6 of 6, 1 with an error, ")  # of all runs, as the rows are


@pytest.mark.parametrize("folder", [Path("gone"), Path("rows.jsonl")])
def test_an_output_that_cannot_be_written_is_refused_first(tmp_path, folder):
    rows = write_rows(tmp_path / "rows.jsonl", 3)
    with pytest.raises(sharpv.InputError, match=r"cannot use .*give a file that can be written"):
        run(rows, tmp_path / folder / "out.jsonl", SETTINGS, lambda: pytest.fail("opened"))
