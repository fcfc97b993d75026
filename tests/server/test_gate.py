"""What stands before the application: keys, and bodies of every size and speed."""

import json
import socket
import threading
import time
from pathlib import Path

import pytest

from sharpv.server.limits import Limits
from tests.server.running import chat_body, send

BODY_BYTES, BODY_S = 20_000, 0.5


@pytest.fixture(scope="module")
def tight(start):
    return start(Limits(body_bytes=BODY_BYTES, held_bytes=30_000, body_seconds=BODY_S, upload_bytes=1000))


def reason(body):
    return json.loads(body)["error"]["message"]


def test_without_the_key_only_health_is_told(start):
    locked = start(key="sésame")
    for path in ("/v1/models", "/metrics", "/openapi.json", "/nowhere"):
        assert send(locked.url + path)[0] == 401
    assert send(f"{locked.url}/health")[0] == 200
    for header in ("Bearer sesame", "Bearer", "Basic sésame", "sésame", "Bearer sésame2"):
        assert locked.post(chat_body(), Authorization=header.encode())[0] == 401
    assert locked.post(chat_body(max_tokens=1), Authorization="Bearer sésame".encode())[0] == 200


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff",
        b"[" * 10_000,
        b'{"model": "tiny"}',
        chat_body(messages=[]),
        chat_body(messages=[{"role": "user", "content": []}]),
        chat_body(messages=[{"role": "tool", "content": "x"}]),
        chat_body(messages=[{"role": "user", "content": "\ud800"}]),
        chat_body(**{"\ud800": 1}),
        chat_body(temperature=float("nan")),
        chat_body(max_tokens=10**30),
        chat_body(sharpv={"frames": 10**30}),
        chat_body(sharpv={"fps": 1e300, "coverage": 2}),
        chat_body(sharpv={"spatial_weight": 10**400}),
    ],
    ids=range(17),
)
def test_what_is_no_request_is_refused(tight, body):
    status, answer = tight.post(body)
    assert status == 400
    assert reason(answer)


def test_a_large_body_is_refused_before_it_is_read(tight):
    status, answer = tight.post(chat_body(user="x" * BODY_BYTES))
    assert status == 413
    assert str(BODY_BYTES) in reason(answer)


def upload(server, size):
    part = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n' + b"a" * size
    kind = {"Content-Type": "multipart/form-data; boundary=x"}
    return server.post(part + b"\r\n--x--\r\n", "/v1/files", **kind)


def test_a_large_upload_is_refused(tight):
    for size, mentioned in ((2000, "1000"), (3 << 20, "limit")):
        status, answer = upload(tight, size)
        assert status == 413
        assert mentioned in reason(answer)


def test_uploads_have_so_much_room_and_are_kept_so_long(start, monkeypatch):
    small = start(Limits(stored_bytes=2500, stored_seconds=60))
    assert [upload(small, 1000)[0] for _ in range(3)] == [200, 200, 429]
    assert upload(small, 3000)[0] == 429
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 61)
    status, answer = upload(small, 1000)
    assert status == 200
    kept = Path(small.service.uploads.path(json.loads(answer)["id"]))
    assert list(kept.parent.iterdir()) == [kept]


def slow_request(port, seconds):
    """Sends half a body, waits, and returns what the server says."""
    body = chat_body()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n"
    with socket.create_connection(("127.0.0.1", port), 10) as client:
        client.sendall(f"{head}Content-Type: application/json\r\n\r\n".encode() + body[:10])
        time.sleep(seconds)
        return client.recv(1000)


def test_a_slow_body_is_not_waited_for(tight):
    assert b" 408 " in slow_request(tight.port, BODY_S + 0.3).split(b"\r\n")[0]


def test_slow_clients_keep_nobody_from_asking(tight):
    slow = [threading.Thread(target=slow_request, args=(tight.port, BODY_S / 2)) for _ in range(20)]
    for thread in slow:
        thread.start()
    assert tight.post(chat_body(max_tokens=1))[0] == 200
    for thread in slow:
        thread.join()


def test_bodies_are_held_only_so_far(tight):
    """Two that fit alone do not fit together; when the first has gone, the next one does."""
    large = chat_body(user="x" * (BODY_BYTES - 2000), max_tokens=1)
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(large)}\r\n\r\n".encode()
    with socket.create_connection(("127.0.0.1", tight.port), 10) as first:
        first.sendall(head + large[:-1])
        time.sleep(0.1)
        status, answer = tight.post(large)
        assert status == 429
        assert "held_bytes" in reason(answer)
        first.recv(1000)
    assert tight.post(large)[0] == 200
