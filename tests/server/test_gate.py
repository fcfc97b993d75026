"""What stands before the application: keys, and bodies of every size and speed."""

import asyncio
import json
import socket
import threading
import time

import pytest

from sharpv.server.app import create_app
from sharpv.server.limits import Limits
from sharpv.server.media import Access
from sharpv.server.service import Service, Settings
from tests.server.running import NAME, PATIENCE_S, chat_body, scope, send, wait_for

BODY_BYTES, BODY_S = 20_000, 0.5
ENDLESS = 20_000


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


def test_bodies_are_held_only_so_far(start):
    """Two that fit alone do not fit together; when the first has gone, the next one does."""
    server = start(Limits(body_bytes=BODY_BYTES, held_bytes=30_000))
    large = chat_body(max_tokens=1) + b" " * (BODY_BYTES - 2000)
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(large)}\r\n\r\n".encode()
    with socket.create_connection(("127.0.0.1", server.port), 10) as first:
        first.sendall(head + large[:-1])
        wait_for(lambda: server.app._held[False] == len(large) - 1)
        status, answer = server.post(large)
        assert status == 429
        assert "held_bytes" in reason(answer)
    wait_for(lambda: server.app._held[False] == 0)
    assert server.post(large)[0] == 200


async def ask_and_take(service, taken, **values):
    """Asks, takes so many pieces of the answer and then no more; returns when the server gives up."""
    body, ended = chat_body(**values), asyncio.Event()
    pieces = []

    async def receive():
        if pieces or body in given:
            await ended.wait()
        given.append(body)
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(event):
        pieces.append(event)
        if len(pieces) > taken:
            await ended.wait()

    given = []
    await create_app(service)(scope("/v1/chat/completions"), receive, send)
    while service.line.length:
        await asyncio.sleep(0)
    return await service.line.run(lambda left: "the model is free")


@pytest.mark.parametrize(("stream", "taken"), [(True, 0), (True, 3), (False, 1)])
def test_who_takes_nothing_of_an_answer_is_given_up(talker, stream, taken):
    access = Access(limits=Limits(body_seconds=0.2, answer_tokens=ENDLESS))
    service = Service(talker, NAME, Settings(access=access))
    asked = ask_and_take(service, taken, stream=stream, max_tokens=ENDLESS if stream else 1)

    async def ask():
        async with asyncio.timeout(PATIENCE_S):
            return await asked

    assert asyncio.run(ask()) == "the model is free"
    path = 'path="/v1/chat/completions",status="200"'
    assert f"sharpv_requests_total{{{path}}} 1.0" in service.metrics.text(0)
    service.close()
