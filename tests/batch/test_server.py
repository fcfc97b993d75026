"""A job that asks a server: what is sent, what comes back, and one that is busy, refuses or goes away."""

import base64
import json
import pickle
from dataclasses import asdict

import pytest

from sharpv.batch import server as module
from sharpv.batch.manifest import Row
from sharpv.batch.server import Served, ServedModel
from sharpv.batch.work import Unavailable, Worker
from sharpv.errors import InputError
from tests.batch.fakes import by_id, write_rows
from tests.batch.openai_server import Server, serving
from tests.cli.asking import refuse, run


@pytest.fixture
def server():
    with serving() as server:
        yield server


@pytest.fixture
def row(tmp_path) -> Row:
    (tmp_path / "clip.mp4").write_bytes(b"frames")
    return Row(0, "a", "clip.mp4", "what?", str(tmp_path / "clip.mp4"))


def worker(server: Server, model: str | None = None, keep: float | None = None) -> Worker:
    return Worker(Served(url=server.url, model=model, keep=keep, max_new_tokens=5).open(0, 1))


def test_what_is_sent_and_what_comes_back(server, row):
    line = worker(server, keep=0.25).answer(row).to_dict()
    (asked,) = server.asked
    assert asked["model"] == "the-model"
    assert asked["max_tokens"] == 5
    assert asked["temperature"] == 0
    assert asked["mm_processor_kwargs"] == {"sharpv_keep": 0.25}
    video, text = asked["messages"][0]["content"]
    assert text == {"type": "text", "text": "what?"}
    kind, _, data = video["video_url"]["url"].partition(",")
    assert kind == "data:video/mp4;base64"
    assert base64.b64decode(data) == b"frames"
    assert set(line.pop("milliseconds")) == {"read", "request"}
    assert line == {
        **{"id": "a", "video": "clip.mp4", "question": "what?", "answer": "WHAT?", "error": None},
        **{"frames": None, "prompt_tokens": 115, "prompt_tokens_kept": 40},
        **{"video_tokens": 100, "video_tokens_kept": 25, "patches": None, "patches_encoded": None},
        "notes": [],
    }


def test_a_server_that_decides_by_itself(server, row):
    worker(server).answer(row)
    assert "mm_processor_kwargs" not in server.asked[0]


class Impatient(Served):
    """Does not wait between tries, in whatever process it is."""

    def open(self, worker: int, workers: int) -> ServedModel:
        module.SECONDS_BETWEEN_TRIES = (0.0, 0.0)
        return super().open(worker, workers)


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(module, "SECONDS_BETWEEN_TRIES", (0.0, 0.0))
    monkeypatch.setattr(module, "Served", Impatient)


@pytest.mark.parametrize("code", [0, 429, 500, 502, 503, 504])
def test_a_server_in_trouble_is_asked_again_and_no_row_is_blamed(server, row, impatient, code):
    server.refusals = [code, code]
    assert worker(server).answer(row).answer == "WHAT?"
    server.refusals = [code, code, code]
    said = f"answered {code}: not this one" if code else "cannot be reached: "
    with pytest.raises(Unavailable, match=f"{said}.*; run the same command again"):
        worker(server).answer(row)
    assert len(server.asked) == 6


def test_a_refusal_belongs_to_its_row(server, row, impatient):
    server.refusals, server.says = [400], "not\nthis one" + "." * 1000
    error = worker(server).answer(row).error
    assert error.startswith("the server answered 400: not this one...")
    assert len(error) == len("the server answered 400: ") + 500
    assert len(server.asked) == 1


def test_a_server_in_trouble_ends_the_job_which_can_go_on(server, tmp_path, impatient):
    rows, out = write_rows(tmp_path / "rows.jsonl", 3), tmp_path / "out.jsonl"
    (tmp_path / "clip.mp4").write_bytes(b"frames")
    command = ("batch", rows, "-o", out, "--engine", "vllm", "--url", server.url)
    server.refusals = [500] * 9
    assert "the server answered 500" in refuse(*command)
    assert out.read_bytes() == b""
    server.refusals = []
    assert json.loads(run(*command, "--json").stdout)["errors"] == 0


@pytest.mark.parametrize("name", ["SHARPV_API_KEY", "OPENAI_API_KEY"])
def test_a_key_is_sent_and_written_nowhere(server, row, monkeypatch, name):
    monkeypatch.setenv("OPENAI_API_KEY", "other")
    monkeypatch.setenv(name, "secret")
    server.wants = "Bearer secret"
    assert worker(server).answer(row).answer == "WHAT?"
    engine = Served(url=server.url, model=None, keep=None, max_new_tokens=5)
    assert b"secret" not in pickle.dumps(engine)
    assert "secret" not in str(asdict(engine))


def test_a_server_that_wants_a_key(server, row, monkeypatch):
    monkeypatch.delenv("SHARPV_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    opened = worker(server)
    assert server.headers[0]["Authorization"] is None
    server.wants = "Bearer secret"
    with pytest.raises(Unavailable, match="set SHARPV_API_KEY or OPENAI_API_KEY to its key"):
        opened.answer(row)
    with pytest.raises(InputError, match="set SHARPV_API_KEY or OPENAI_API_KEY to its key"):
        worker(server)


def test_names_of_models_that_are_no_text(server):
    server.models = [1, 2]
    with pytest.raises(InputError, match="has the models 1, 2: name one of them"):
        worker(server)


def test_a_missing_clip_is_not_sent(server, row, tmp_path):
    (tmp_path / "clip.mp4").unlink()
    assert "no such file" in str(worker(server).answer(row).error)
    assert server.asked == []


def test_another_model_is_refused_by_name(server):
    with pytest.raises(InputError, match="has the models the-model: name one of them with -m"):
        worker(server, model="other")


def test_a_server_that_goes_away_ends_the_job_which_goes_on_when_it_is_back(server, tmp_path, impatient):
    rows, out = write_rows(tmp_path / "rows.jsonl", 6, r4="none"), tmp_path / "out.jsonl"
    (tmp_path / "clip.mp4").write_bytes(b"frames")
    command = (
        "batch",
        rows,
        "-o",
        out,
        "--engine",
        "vllm",
        "--url",
        server.url + "/v1/",
        "--max-new-tokens",
        5,
    )
    server.last = 3
    assert "run the same command again" in refuse(*command)
    found = by_id(out)
    assert 0 < len(found) <= 4
    assert all(line["error"] is None for name, line in found.items() if name != "r4")
    server.last = None
    said = json.loads(run(*command, "--json").stdout)
    assert (said["rows"], said["errors"], said["earlier"]) == (6, 1, len(found))
    assert by_id(out)["r5"]["answer"] == "WHAT R5"
    settings = json.loads((tmp_path / "out.jsonl.settings.json").read_text())
    assert (settings["engine"], settings["model"]) == ("vllm", "the-model")


def test_no_server(tmp_path):
    rows = write_rows(tmp_path / "rows.jsonl", 1)
    command = ("batch", rows, "-o", tmp_path / "out.jsonl", "--engine", "vllm", "--url", "http://127.0.0.1:1")
    assert "the --url of a vLLM server" in refuse(*command)
    assert not (tmp_path / "out.jsonl").exists()
