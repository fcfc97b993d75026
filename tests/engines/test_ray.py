"""The same job on a Ray cluster gives the same lines, also where a worker is killed on the way.

SHARPV_BATCH_ROWS=200 SHARPV_BATCH_KILLS=3 makes a long job of the last one.
"""

import json
import logging
import os
import random
import signal
import subprocess
import sys
import threading
import time

import pytest

from sharpv.batch.job import run
from sharpv.errors import InputError
from tests.batch import clips
from tests.batch.fakes import SETTINGS, Fake, by_id, job, lines, write_rows
from tests.cli.asking import refuse
from tests.cli.asking import run as command

ray_cluster = pytest.importorskip(
    "tests.engines.ray_cluster", reason="Ray is not installed (the extra ray)", exc_type=ImportError
)
ray = pytest.importorskip("ray")

from sharpv.engines.ray import Actors, connect  # noqa: E402

logger = logging.getLogger(__name__)

ROWS = int(os.environ.get("SHARPV_BATCH_ROWS", "24"))
KILLS = int(os.environ.get("SHARPV_BATCH_KILLS", "1"))
SEED = int(os.environ.get("SHARPV_BATCH_SEED", random.randrange(1 << 32)))


@pytest.fixture(scope="module")
def cluster():
    ray_cluster.stay_on_loopback()
    with ray_cluster.cluster() as started:
        yield started


@pytest.fixture
def joined(cluster):
    assert connect(cluster.address) == 0  # no GPU, whatever this machine has
    yield cluster
    ray.shutdown()


def on_ray(rows, out, fake, workers=1, **options):
    return run(rows, out, SETTINGS, lambda: Actors(fake, workers, gpu=False), **options)


def test_a_worker_killed_on_the_way_changes_nothing(joined, tmp_path):
    rows = write_rows(tmp_path / "rows.jsonl", 60, r7="bad", r31="odd")
    job(rows, tmp_path / "here.jsonl", ordered=True)
    fake, out, said = Fake(seconds=0.05, folder=str(tmp_path)), tmp_path / "ray.jsonl", []
    killer = threading.Thread(target=kill_one, args=(tmp_path, out))
    killer.start()
    on_ray(rows, out, fake, 2, ordered=True, log=said.append)
    killer.join()
    assert by_id(out) == by_id(tmp_path / "here.jsonl")
    assert [line["id"] for line in lines(out)] == [line["id"] for line in lines(tmp_path / "here.jsonl")]
    assert len([line for line in said if "died" in line and "is replaced" in line]) == 1
    assert len(list(tmp_path.glob("*.pid"))) == 3


def kill_one(folder, out):
    """Kills the first worker once ten rows are done."""
    while clips.count(out) < 10:
        time.sleep(0.01)
    os.kill(int(next(folder.glob("*.pid")).stem), signal.SIGKILL)


def test_a_row_that_kills_every_worker_gets_an_error(joined, tmp_path):
    rows, out = write_rows(tmp_path / "rows.jsonl", 6, r2="fatal"), tmp_path / "out.jsonl"
    on_ray(rows, out, Fake())
    found = by_id(out)
    assert len(found) == 6
    assert [name for name, line in found.items() if line["error"]] == ["r2"]
    assert found["r2"]["error"].startswith("3 workers died on this row alone (")


def test_a_row_that_hangs_gets_an_error(joined, tmp_path):
    rows, out, said = write_rows(tmp_path / "rows.jsonl", 4, r1="hang"), tmp_path / "out.jsonl", []
    on_ray(rows, out, Fake(), row_seconds=2.0, log=said.append)
    assert {name: line["error"] for name, line in by_id(out).items()} == {
        **{"r0": None, "r1": "no answer within 2 s, the time of a row", "r2": None, "r3": None},
    }
    assert "worker 0 took too long for a row and is replaced" in said


def test_a_model_that_cannot_be_opened_ends_the_job(joined, tmp_path):
    rows = write_rows(tmp_path / "rows.jsonl", 3)
    with pytest.raises(InputError, match="no such model: take another"):
        on_ray(rows, tmp_path / "o.jsonl", Fake(broken="refuses"), 2)


def test_a_worker_that_cannot_open_its_model_is_left_out(joined, tmp_path):
    rows, out = write_rows(tmp_path / "rows.jsonl", 20, r3="bad"), tmp_path / "out.jsonl"
    assert on_ray(rows, out, Fake(broken="second no memory"), 2).errors == 1
    assert len(by_id(out)) == 20


def test_a_server_that_is_away_ends_the_job_and_no_row_is_blamed(joined, tmp_path):
    rows, out = write_rows(tmp_path / "rows.jsonl", 5, r3="away"), tmp_path / "out.jsonl"
    with pytest.raises(InputError, match="the server is away"):
        on_ray(rows, out, Fake())
    assert all(line["error"] is None for line in lines(out))
    assert "r3" not in by_id(out)


def test_clips_are_read_while_the_model_works(joined, tmp_path):
    rows, out = write_rows(tmp_path / "rows.jsonl", 6), tmp_path / "out.jsonl"
    on_ray(rows, out, Fake(seconds=0.05))
    spans = [json.loads(line["notes"][0]) for line in lines(out)]
    asks = [span["ask"] for span in spans]
    assert any(a[0] < span["read"][1] and span["read"][0] < a[1] for a in asks for span in spans)


def test_the_manifest_and_the_output_are_looked_at_before_a_cluster_is_joined(tmp_path, monkeypatch):
    monkeypatch.setattr("sharpv.engines.ray.connect", lambda address: pytest.fail("joined"))
    options = ("-o", tmp_path / "out.jsonl", "--ray-address", "auto")
    (tmp_path / "rows.csv").write_text("id,video\na,b\n")
    assert "has the columns id, video" in refuse("batch", tmp_path / "rows.csv", *options)


def test_a_cluster_of_ones_own_has_no_dashboard(monkeypatch):
    taken: dict = {}
    monkeypatch.setattr(ray, "init", lambda **options: taken.update(options))
    monkeypatch.setattr(ray, "cluster_resources", dict)
    assert connect("local") == 0
    assert (taken["address"], taken["include_dashboard"]) == ("local", False)
    taken.clear()
    connect("auto")
    assert "include_dashboard" not in taken


def test_without_a_cluster_it_says_how_to_start_one(monkeypatch):
    """There may be one on this machine, hence the patch."""

    def none(**_):
        raise ConnectionError("Could not find any running Ray instance")

    monkeypatch.setattr(ray, "init", none)
    with pytest.raises(InputError, match=r"cannot join a Ray cluster at .*ray start --head"):
        connect("auto")


def test_real_clips_and_a_real_model_with_everything_killed_once(cluster, tmp_path):
    """The job itself, at random moments, and in the end a worker of it."""
    rows, out, rng = clips.write_manifest(tmp_path, ROWS), tmp_path / "ray.jsonl", random.Random(SEED)
    logger.warning("SHARPV_BATCH_SEED=%d", SEED)  # shown where the test fails
    command("batch", rows, "-o", tmp_path / "here.jsonl", *clips.SHORT)
    whole = clips.by_id(tmp_path / "here.jsonl")
    assert [whole[f"r{number}"]["error"] is not None for number in range(ROWS)] == list(
        map(clips.bad, range(ROWS))
    )
    on_cluster = ["batch", str(rows), "-o", str(out), *clips.SHORT, "--ray-address", cluster.address]
    arguments = [sys.executable, "-m", "tests.engines.ray_cluster", *on_cluster, "--workers", "2", "--json"]
    for kill in range(1, KILLS + 1):
        enough = rng.randint(1, ROWS // 2 * kill // KILLS)
        with subprocess.Popen(arguments, stderr=subprocess.DEVNULL) as process:
            wait(process, lambda enough=enough: clips.count(out) >= enough)
            process.kill()
        logger.warning("killed with %d of %d lines", clips.count(out), ROWS)
    before, others = clips.count(out), set(cluster.workers())
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        wait(process, lambda: kill_one_at_work(cluster, others))
        said, progress = process.communicate()
    assert process.returncode == 0
    assert " died (" in progress
    assert json.loads(said)["earlier"] == before
    assert clips.by_id(out) == whole


def kill_one_at_work(cluster, others) -> bool:
    """Kills an actor, other than some, that has rows; those of a toy would be done while we look."""
    ours = set(cluster.workers()) - others
    for pid in ours:
        os.kill(pid, signal.SIGSTOP)
    busy = [pid for pid, does in cluster.workers().items() if pid in ours and does == "_Actor.answer"]
    if busy:
        os.kill(busy[0], signal.SIGKILL)
    for pid in ours - set(busy[:1]):
        os.kill(pid, signal.SIGCONT)
    return bool(busy)


def wait(process, condition):
    while process.poll() is None and not condition():
        time.sleep(0.01)
    assert process.poll() is None
