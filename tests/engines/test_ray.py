"""The same job on a Ray cluster gives the same lines, also where a worker is killed on the way."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from sharpv.batch.job import run
from sharpv.errors import InputError
from sharpv.tiny.clip import moving_square
from sharpv.video import write_video
from tests.batch.fakes import SETTINGS, Fake, by_id, job, lines, write_rows

ray = pytest.importorskip("ray", reason="Ray is not installed (the extra ray)")

from sharpv.engines.ray import Actors, connect  # noqa: E402


@pytest.fixture
def cluster():
    """A cluster with room for two workers."""
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


def test_a_worker_killed_on_the_way_changes_nothing(cluster, tmp_path):
    rows = write_rows(tmp_path / "rows.jsonl", 60, r7="bad", r31="odd")
    job(rows, tmp_path / "here.jsonl", ordered=True)
    fake, out, said = Fake(seconds=0.05, folder=str(tmp_path)), tmp_path / "ray.jsonl", []
    killer = threading.Thread(target=kill_one, args=(tmp_path, out))
    killer.start()
    run(rows, out, SETTINGS, lambda: Actors(fake, 2, gpu=False), ordered=True, log=said.append)
    killer.join()
    assert by_id(out) == by_id(tmp_path / "here.jsonl")
    assert [line["id"] for line in lines(out)] == [line["id"] for line in lines(tmp_path / "here.jsonl")]
    assert len([line for line in said if "died" in line and "is replaced" in line]) == 1
    assert len(list(tmp_path.glob("*.pid"))) == 3


def kill_one(folder: Path, out: Path) -> None:
    """Kills the first worker once ten rows are done."""
    while not out.exists() or out.read_bytes().count(b"\n") < 10:
        time.sleep(0.01)
    os.kill(int(next(folder.glob("*.pid")).stem), signal.SIGKILL)


def test_a_row_that_kills_every_worker_gets_an_error(cluster, tmp_path):
    rows, out = write_rows(tmp_path / "rows.jsonl", 6, r2="fatal"), tmp_path / "out.jsonl"
    run(rows, out, SETTINGS, lambda: Actors(Fake(), 1, gpu=False))
    found = by_id(out)
    assert len(found) == 6
    assert [name for name, line in found.items() if line["error"]] == ["r2"]
    assert found["r2"]["error"].startswith("3 workers died on this row alone (")


def test_a_model_that_cannot_be_opened_ends_the_job(cluster, tmp_path):
    rows = write_rows(tmp_path / "rows.jsonl", 3)
    with pytest.raises(InputError, match="no such model: take another"):
        run(rows, tmp_path / "o.jsonl", SETTINGS, lambda: Actors(Fake(broken="refuses"), 1, gpu=False))


def test_clips_are_read_while_the_model_works(cluster, tmp_path):
    rows, out = write_rows(tmp_path / "rows.jsonl", 6), tmp_path / "out.jsonl"
    run(rows, out, SETTINGS, lambda: Actors(Fake(seconds=0.05), 1, gpu=False))
    spans = [json.loads(line["notes"][0]) for line in lines(out)]
    asks = [span["ask"] for span in spans]
    assert any(a[0] < span["read"][1] and span["read"][0] < a[1] for a in asks for span in spans)


def test_the_command_says_the_same_as_without_ray(tmp_path):
    rows = write_rows(tmp_path / "rows.jsonl", 4, r2="none")
    write_video(moving_square(frames=8, height=64, width=64), tmp_path / "clip.mp4", fps=4)
    command = [sys.executable, "-m", "sharpv.cli", "batch", rows, "--max-new-tokens", "2", "--json", "-o"]
    subprocess.run([*command, tmp_path / "here.jsonl"], check=True, capture_output=True)
    ray_command = [*command, tmp_path / "ray.jsonl", "--ray-address", "local"]
    said = subprocess.run(ray_command, check=True, capture_output=True, text=True)
    assert json.loads(said.stdout)["errors"] == 1
    assert by_id(tmp_path / "ray.jsonl") == by_id(tmp_path / "here.jsonl")


def test_without_a_cluster_it_says_how_to_start_one(monkeypatch):
    """There may be one on this machine, hence the patch."""

    def none(**_):
        raise ConnectionError("Could not find any running Ray instance")

    monkeypatch.setattr(ray, "init", none)
    with pytest.raises(InputError, match=r"cannot join a Ray cluster at .*ray start --head"):
        connect("auto")
