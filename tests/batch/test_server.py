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


def worker(server: Server, model: str | None = None, **settings) -> Worker:
    return Worker(Served(url=server.url, model=model, max_new_tokens=5, **settings).open(0, 1))


def test_what_is_sent_and_what_comes_back(server, row):
    line = worker(server, options={"more": {"a": 1}}).answer(row).to_dict()
    (asked,) = server.asked
    assert asked["model"] == "the-model"
    assert asked["max_tokens"] == 5
    assert asked["temperature"] == 0
    assert asked["more"] == {"a": 1}
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
    engine = Served(url=server.url, model=None, max_new_tokens=5)
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


@pytest.mark.parametrize(
    ("options", "sent"), [((), None), (("--retention", "0.25"), 0.25), (("--retention", "adaptive"), "auto")]
)
def test_what_a_vllm_server_is_told_to_keep(server, tmp_path, options, sent):
    """Its own share, unless one is asked for."""
    rows, out = write_rows(tmp_path / "rows.jsonl", 1), tmp_path / "out.jsonl"
    (tmp_path / "clip.mp4").write_bytes(b"frames")
    run("batch", rows, "-o", out, "--engine", "vllm", "--url", server.url, *options)
    assert server.asked[0].get("mm_processor_kwargs") == (None if sent is None else {"sharpv_keep": sent})


def test_another_server_is_refused_by_what_it_lacks(server, tmp_path):
    rows, out = write_rows(tmp_path / "rows.jsonl", 1), tmp_path / "out.jsonl"
    assert "say --engine vllm" in refuse("batch", rows, "-o", out, "--url", server.url)


def test_no_server_is_asked_before_the_manifest_and_the_output_are_right(server, tmp_path):
    server.last = -1
    rows, out = write_rows(tmp_path / "rows.jsonl", 1), tmp_path / "out.jsonl"
    command = ("--engine", "vllm", "--url", server.url)
    out.write_text("dear\n")
    assert "holds something else" in refuse("batch", rows, "-o", out, *command)
    assert "No such file" in refuse("batch", tmp_path / "no.csv", "-o", out, *command)
    assert server.headers == []


def test_a_finished_job_needs_no_server(server, tmp_path):
    rows, out = write_rows(tmp_path / "rows.jsonl", 1), tmp_path / "out.jsonl"
    (tmp_path / "clip.mp4").write_bytes(b"frames")
    command = ("batch", rows, "-o", out, "--engine", "vllm", "--url")
    run(*command, server.url)
    run(*command, "http://127.0.0.1:1")
    assert "max_new_tokens was 64, is 5" in refuse(*command, "http://127.0.0.1:1", "--max-new-tokens", 5)


def test_a_server_that_takes_too_long(server, tmp_path, row):
    """For one row: it is asked for the next one."""
    server.slow.append("what?")
    asked = worker(server, seconds=1)
    assert asked.answer(row).error == "TimeoutError: the server gave no answer within 1 s, the time of a row"
    assert asked.answer(row).answer == "WHAT?"
    assert len(server.asked) == 2


def test_a_server_on_transformers_that_fails_at_a_row_is_well(server, row, impatient):
    server.owner = "sharpv"
    server.refusals = [500]
    assert worker(server, engine="transformers").answer(row).error == "the server answered 500: not this one"
    server.refusals, server.says = [503, 429], "the device ran out of memory: send fewer frames"
    assert "ran out of memory" in worker(server, engine="transformers").answer(row).error
    assert len(server.asked) == 3


def test_no_server(tmp_path):
    rows = write_rows(tmp_path / "rows.jsonl", 1)
    command = ("batch", rows, "-o", tmp_path / "out.jsonl", "--engine", "vllm", "--url", "http://127.0.0.1:1")
    assert "the --url of a vLLM server" in refuse(*command)
    assert (tmp_path / "out.jsonl").read_bytes() == b""
