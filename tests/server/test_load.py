"""Whose fault it is that media are not loaded: the client's is told, the server's is logged too."""

import logging
import signal
import sys
import tempfile
from contextlib import ExitStack
from types import SimpleNamespace

import pytest

from sharpv.server import load as loading
from sharpv.server.limits import Limits
from sharpv.tiny.clip import moving_square
from sharpv.video import write_video
from tests.server.running import data_url, video

MAIN = "from sharpv.server import media_process as process; import errno, sys\n{}\nsys.exit(process.main())"


def raising(error):
    """Returns the code of a media process whose loading fails."""
    return MAIN.format(f"def fail(*args): raise {error}\nprocess.load = fail")


@pytest.fixture
def failing(server, clip, monkeypatch, caplog):
    """Asks a server whose media process runs other code; returns status, reason and what was logged."""

    def failing(code):
        monkeypatch.setattr(loading, "COMMAND", (sys.executable, "-c", code))
        with caplog.at_level(logging.WARNING, "sharpv.server"):
            status, reason = server.refuse(video(data_url(clip)))
        monkeypatch.undo()
        assert server.ask(max_tokens=1).usage.completion_tokens == 1
        return status, reason, caplog.text

    return failing


@pytest.mark.parametrize(
    ("code", "status", "told", "logged"),
    [
        ("import sys; sys.exit('no codec here')", 500, "exit code 1", "no codec here"),
        ("import sys; sys.modules['av'] = None; " + MAIN.format(""), 500, "exit code 1", "import of av"),
        (raising("ImportError('No module named spline')"), 500, "exit code 1", "spline"),
        (raising("OSError(errno.EIO, 'a bad disk')"), 500, "exit code 1", "a bad disk"),
        (raising("OSError(errno.ENOSPC, 'the disk is full')"), 503, "no room", "the disk is full"),
        (raising("process.Unsaved('the disk is full')"), 503, "no room", "the disk is full"),
        (raising("OSError(errno.EMFILE, 'too many files')"), 503, "no room", "too many files"),
        ("import os; os.kill(os.getpid(), 9)", 503, "SIGKILL", "SIGKILL"),
        ("import os; os.kill(os.getpid(), 15)", 500, "SIGTERM", "SIGTERM"),
    ],
)
def test_the_servers_own_faults_are_5xx_with_a_reason_and_a_line_in_the_log(
    failing, code, status, told, logged
):
    found, reason, log = failing(code)
    assert found == status
    assert told in reason
    assert logged in log
    assert "Traceback" not in reason


@pytest.mark.parametrize(
    ("code", "told", "logged"),
    [
        (raising("IndexError('of a decoder')"), "IndexError", "of a decoder"),
        ("import sys, os; print('odd frame', file=sys.stderr); os.abort()", "SIGABRT", "odd frame"),
        (f"import os; os.kill(os.getpid(), {signal.SIGSEGV})", "SIGSEGV", "SIGSEGV"),
    ],
)
def test_what_media_do_to_a_decoder_is_4xx_and_logged_too(failing, code, told, logged):
    status, reason, log = failing(code)
    assert status == 400
    assert told in reason
    assert logged in log


def test_what_is_logged_of_a_process_is_short_and_keeps_its_lines(failing):
    code = r"import sys; sys.stderr.write('begin' + 'x\x1b\r' * 100_000 + '\nINFO: forged'); sys.exit(1)"
    log = failing(code)[2]
    assert len(log) < 2 * loading.TAIL_BYTES
    assert "begin" not in log
    assert not {"\x1b", "\r"} & set(log)
    assert "\nINFO: forged" not in log
    assert "INFO: forged" in log


@pytest.mark.parametrize("full", [0, 1], ids=["the task", "the answer"])
def test_a_full_disk_is_told(server, clip, monkeypatch, caplog, full):
    with ExitStack() as opened:
        files = [opened.enter_context(tempfile.TemporaryFile()) for _ in range(2)]
        files[full] = opened.enter_context(open("/dev/full", "w+b", buffering=0))
        scratch = SimpleNamespace(TemporaryFile=iter(files).__next__)
        monkeypatch.setattr(loading, "tempfile", scratch)
        status, reason = server.refuse(video(data_url(clip)))
    assert (status, "no room" in reason) == (503, True)
    assert "No space left" in caplog.text


def test_a_process_that_cannot_be_started_is_told(server, clip, monkeypatch, caplog):
    monkeypatch.setattr(loading, "COMMAND", ("/nowhere/python",))
    status, reason = server.refuse(video(data_url(clip)))
    assert (status, "cannot be started" in reason) == (503, True)
    assert "/nowhere/python" in caplog.text
    assert "/nowhere" not in reason


def test_a_limit_of_memory_that_holds_no_process_is_the_servers_fault(start, clip, caplog):
    poor = start(Limits(media_memory_bytes=1 << 20))
    status, reason = poor.refuse(video(data_url(clip)))
    assert (status, "exit code 1" in reason) == (500, True)
    assert "media_memory_bytes" in caplog.text
    assert poor.ask().usage.prompt_tokens > 0


def test_media_that_take_more_memory_than_they_may_are_told_the_limit(start, tmp_path):
    path = tmp_path / "large.mkv"
    write_video(moving_square(frames=48, height=720, width=1280), path, fps=4)
    limited = start(Limits(media_memory_bytes=340 << 20))
    status, reason = limited.refuse(video(data_url(path)), sharpv={"frames": 48})
    assert (status, "media_memory_bytes" in reason) == (400, True)


def test_the_process_is_given_none_of_the_servers_secrets(server, clip, monkeypatch):
    secrets = ("SHARPV_API_KEY", "HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "GOOGLE_APPLICATION_CREDENTIALS")
    for name in (*secrets, "http_proxy"):
        monkeypatch.setenv(name, "a secret")
    monkeypatch.setenv("SSL_CERT_FILE", "/certificates")
    tell = f"import os, sys; print(*os.environ, os.environ['SSL_CERT_FILE']); sys.exit({loading.REFUSED})"
    monkeypatch.setattr(loading, "COMMAND", (sys.executable, "-c", tell))
    names = server.refuse(video(data_url(clip)))[1].split()
    assert names.pop() == "/certificates"
    assert set(names) <= {*loading.KEPT, *loading.ENVIRONMENT, "LC_CTYPE"}
    assert "PATH" in names
    assert not {*secrets, "http_proxy"} & {*loading.KEPT, *names}
