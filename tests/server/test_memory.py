"""What a server and its processes take of memory while it is asked for the worst: the peak, not the end."""

import json
import os
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from sharpv.server.limits import MIB, Limits
from sharpv.tiny.clip import moving_square
from sharpv.video import write_video
from tests.server.running import data_url, image, picture_bytes, send, user, video, wait_for
from tests.server.test_bodies import END, FIELD, FILE, MULTIPART

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="/proc tells the memory of processes")

MODEL = "toy:default"
SIDE = 480
LIMITS = Limits(
    body_bytes=6 * MIB,
    held_bytes=64 * MIB,
    loaded=2,
    frames=16,
    pixels=SIDE * SIDE,
    total_pixels=16 * SIDE * SIDE,
    media_memory_bytes=400 * MIB,
    upload_bytes=16 * MIB,
    stored_bytes=16 * MIB,
)
AT_ONCE = 8


def of_process(pid, name):
    """Returns a line of bytes of /proc/PID/status, 0 if the process has gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return sum(int(line.split()[1]) << 10 for line in lines if line.startswith(f"{name}:"))


def children(pid):
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        return [int(child) for task in tasks for child in (task / "children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


def loads_media(pid):
    """Whether a process has begun: before, it shows the memory of the server as its own."""
    try:
        return b"sharpv.server.media_process" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return False


class Watch:
    """Looks at a server and its processes again and again."""

    def __init__(self, pid):
        self.pid = pid
        self.most_children = self.largest_child = self.together = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look)

    @property
    def peak(self):
        """The highest mark of the server's own process."""
        return of_process(self.pid, "VmHWM")

    def _look(self):
        while not self._ended.wait(0.002):
            found = {child: of_process(child, "VmRSS") for child in children(self.pid) if loads_media(child)}
            self.most_children = max(self.most_children, sum(map(bool, found.values())))
            self.largest_child = max(self.largest_child, *found.values(), 0, 0)
            self.together = max(self.together, of_process(self.pid, "VmRSS") + sum(found.values()))

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *error):
        self._ended.set()
        self._thread.join()


class Served:
    """`sharpv serve` in a process of its own."""

    def __init__(self, folder):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        default = Limits()
        limits = [
            f"--limit={field.name}={getattr(LIMITS, field.name)}"
            for field in fields(Limits)
            if getattr(LIMITS, field.name) != getattr(default, field.name)
        ]
        command = ("serve", MODEL, "--engine", "transformers", "--port", str(port), *limits)
        self.log = folder / "log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "sharpv.cli", *command],
                stderr=log,
                env=os.environ | {"OMP_NUM_THREADS": "1"},
            )
        self.url = f"http://127.0.0.1:{port}/v1"
        wait_for(lambda: self.process.poll() is not None or "startup complete" in self.log.read_text())

    def post(self, body, path="/chat/completions", kind="application/json"):
        return send(self.url + path, body, {"Content-Type": kind})

    def ask(self, *parts, **options):
        body = {"model": MODEL, "messages": [user(*parts)], "max_tokens": 2, **options}
        return self.post(json.dumps(body).encode())


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    server = Served(tmp_path_factory.mktemp("served"))
    yield server
    server.process.kill()
    server.process.wait()


@pytest.fixture(scope="module")
def largest(tmp_path_factory):
    """A clip of as many pixels as a request may have."""
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    write_video(moving_square(frames=16, height=SIDE, width=SIDE), path, fps=4)
    return video(data_url(path))


@pytest.fixture(scope="module")
def base(served, largest):
    """What the server takes that has answered once, without the pixels."""
    assert served.ask(video(data_url(picture_bytes(np.zeros((8, 8, 3), dtype=np.uint8)))))[0] == 200
    return of_process(served.process.pid, "VmRSS")


def filled(start, item, end):
    return (start + item * ((LIMITS.body_bytes - 1000) // len(item.encode())) + end).encode()


TALK = '{"model":"toy:default","max_tokens":1,"messages":[{"role":"user","content":'
BODIES = {
    "lists in lists": filled('{"x":[', "[[[[[[[[[]]]]]]]]],", "0]}"),
    "empty objects": filled('{"x":[', "{},", "0]}"),
    "keys": b'{"x":{' + b",".join(b'"%07d":0' % i for i in range(500_000)) + b"}}",
    "wide characters": filled(TALK + '"\U0001f600', "x", '"}]}'),
    "a URL of wide characters": filled(
        TALK + '[{"type":"video_url","video_url":{"url":"data:video/mp4;base64,\U0001f600', "x", '"}}]}]}'
    ),
    "no JSON": filled("", "[", ""),
}


@pytest.mark.parametrize("kind", BODIES)
def test_bodies_that_are_written_to_cost_memory(served, base, kind):
    with Watch(served.process.pid) as watch, ThreadPoolExecutor(AT_ONCE) as pool:
        statuses = {status for status, _ in pool.map(served.post, [BODIES[kind]] * AT_ONCE)}
    assert statuses == {400}
    assert watch.peak < base + own_bytes()
    assert served.ask()[0] == 200


def own_bytes():
    """Returns what the server's own process may take beside its model."""
    return LIMITS.memory_bytes - LIMITS.loaded * LIMITS.media_memory_bytes


def test_media_of_many_at_once(served, base, largest):
    bomb = image(data_url(picture_bytes(np.zeros((16_000, 16_000), dtype=bool))))
    asked = [[largest], [bomb], [largest, bomb], [largest, largest]] * 2
    with Watch(served.process.pid) as watch, ThreadPoolExecutor(len(asked)) as pool:
        statuses = [status for status, _ in pool.map(lambda parts: served.ask(*parts), asked)]
    assert set(statuses) <= {200, 400, 429}
    assert {200, 400} <= set(statuses)
    assert 0 < watch.most_children <= LIMITS.loaded
    assert watch.largest_child < LIMITS.media_memory_bytes
    assert watch.peak < base + own_bytes()
    assert watch.together < base + LIMITS.memory_bytes


def test_uploads_of_many_at_once(served, base):
    whole = FILE.replace(b"clip", b"x" * (4 * MIB)) % b"a" + END
    with Watch(served.process.pid) as watch, ThreadPoolExecutor(AT_ONCE) as pool:
        found = list(pool.map(lambda body: served.post(body, "/files", MULTIPART), [whole] * AT_ONCE))
    assert {status for status, _ in found} <= {200, 429}
    assert watch.peak < base + own_bytes()


def test_fields_of_a_form_are_not_kept(served, base):
    """The mark of the server alone: the client would hide 60 MiB among its own."""
    before = of_process(served.process.pid, "VmHWM")
    fields = FIELD % (b"x", b"1" * (2 * MIB))
    assert served.post(fields * 4 + END, "/files", MULTIPART)[0] == 400
    assert of_process(served.process.pid, "VmHWM") - before < 4 * MIB
