"""`sharpv serve --engine transformers`: a process that serves until it is told to stop."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request

import pytest

from sharpv.cli import serve_transformers as serving
from sharpv.errors import SharpVError
from tests.cli.asking import ask, refuse, run
from tests.server.running import data_url, send, video, wait_for

ENGINE = ("--engine", "transformers")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def served(model, tmp_path):
    """A server of one's own options and a key, its address, and its process."""
    port = free_port()
    options = ("--frames", "6", "--retention", "0.25", "--limit", "answer_tokens=8")
    process = subprocess.Popen(
        [sys.executable, "-m", "sharpv.cli", "serve", model, *ENGINE, "--port", str(port), *options],
        stderr=(tmp_path / "log").open("w"),
        env={**os.environ, "SHARPV_API_KEY": "secret\n"},
    )
    try:
        wait_for(lambda: process.poll() is not None or "startup complete" in (tmp_path / "log").read_text())
        assert "up to 23.8 GiB" in (tmp_path / "log").read_text()
        yield f"http://127.0.0.1:{port}", process
    finally:
        process.kill()
        process.wait()


def test_it_answers_as_ask_does_and_ends_when_interrupted(served, model, clip):
    url, process = served
    expected = ask(clip, model, "--frames", 6, "--retention", 0.25)
    name = model.rpartition("/")[2]
    content = [video(data_url(clip)), {"type": "text", "text": "What moves?"}]
    body = {"model": name, "messages": [{"role": "user", "content": content}], "max_tokens": 2}
    headers = {"Content-Type": "application/json", "Authorization": "Bearer secret"}
    request = urllib.request.Request(f"{url}/v1/chat/completions", json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=60) as answer:
        found = json.load(answer)
    assert found["choices"][0]["message"]["content"] == expected["answer"]
    assert found["sharpv"]["video_tokens_kept"] == expected["report"]["tokens_kept"]
    assert found["usage"]["prompt_tokens"] == expected["report"]["prompt_tokens_kept"][0]
    assert send(f"{url}/v1/models")[0] == 401
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 130


@pytest.mark.parametrize(
    ("option", "engine"),
    [
        (("--keep", "0.5"), "vllm"),
        (("--gain", "2"), "vllm"),
        (("--dry-run",), "vllm"),
        (("--tensor-parallel-size", "2"), "vLLM"),
    ],
)
def test_options_of_vllm_are_a_wrong_use(model, option, engine):
    assert engine in run("serve", model, *ENGINE, *option, ok=2).output


@pytest.mark.parametrize(
    "option", [("--retention", "0.5"), ("--limit", "queue=3"), ("--no-memory",), ("--vision-reuse", "safe")]
)
def test_so_are_its_own_for_vllm(model, option):
    assert "--engine transformers" in " ".join(run("serve", model, *option, ok=2).output.split())


def test_names_that_both_have_go_to_vllm(model, tmp_path):
    command = run("serve", model, "--dtype", "bfloat16", "--dry-run").stdout
    assert re.search(r"--dtype bfloat16\b", command)
    assert "--dtype" not in run("serve", model, "--dry-run").stdout


@pytest.mark.parametrize(
    ("option", "reason"),
    [
        (("--limit", "que=3"), "one of body_bytes"),
        (("--limit", "queue=many"), "give a number"),
        (("--limit", "queue=0"), "above 0"),
        (("--frames", "200"), "raise the limit"),
        (("--method", "vidcom2"), "retention"),
        (("--method", "best"), "best"),
    ],
)
def test_a_wrong_setting_is_told_before_the_model_is_loaded(option, reason):
    assert reason in refuse("serve", "nobody/nothing", *ENGINE, *option)


@pytest.mark.parametrize(
    ("given", "key"),
    [("secret", "secret"), (" two words\t\r\n", "two words"), ("clé", "clé"), ("", None), (None, None)],
)
def test_a_key_has_no_spaces_around_it(monkeypatch, given, key):
    monkeypatch.delenv(serving.KEY_VARIABLE, raising=False)
    if given is not None:
        monkeypatch.setenv(serving.KEY_VARIABLE, given)
    assert serving._key() == key


@pytest.mark.parametrize(("given", "told"), [("  ", "only spaces"), ("a\nb", "not printable")])
def test_a_key_that_nobody_can_send_is_refused_at_the_start(monkeypatch, given, told):
    monkeypatch.setenv(serving.KEY_VARIABLE, given)
    assert told in refuse("serve", "nobody/nothing", *ENGINE)


def test_what_a_system_cannot_limit_is_said(capsys):
    serving._check_system("linux")
    assert not capsys.readouterr().err
    serving._check_system("darwin")
    assert "media_memory_bytes" in capsys.readouterr().err
    with pytest.raises(SharpVError, match="WSL"):
        serving._check_system("win32")


def test_without_the_extra_the_way_to_it_is_said(model, monkeypatch):
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert "pip install 'sharpv[serve]'" in refuse("serve", model, *ENGINE)
