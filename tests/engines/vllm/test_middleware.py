"""What stands between a client and vLLM; no vLLM is needed."""

import asyncio
import json

import pytest

from sharpv.engines.vllm import middleware, tally
from sharpv.engines.vllm.middleware import SharpVMiddleware

CHAT = "/v1/chat/completions"


class Echo:
    """An application that remembers what reaches it, and notes tokens as the processor would."""

    def __init__(self, counts=None):
        self.counts = counts
        self.body = None

    async def __call__(self, scope, receive, send):
        self.scope = scope
        message = await receive()
        self.body = message["body"]
        self.then = await receive()
        if self.counts is not None:
            request = json.loads(self.body)["mm_processor_kwargs"][tally.REQUEST_ID]
            tally.note(request, *self.counts)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"a", b"b")]})
        await send({"type": "http.response.body", "body": b"done"})


def post(app, *parts, path=CHAT, kinds=(b"application/json",), length=None):
    """Sends a body in parts, and returns what comes back."""
    length = sum(map(len, parts)) if length is None else length
    headers = [*((b"content-type", kind) for kind in kinds), (b"content-length", str(length).encode())]
    scope = {"type": "http", "method": "POST", "path": path, "headers": headers}
    waiting = [
        {"type": "http.request", "body": part, "more_body": i + 1 < len(parts)}
        for i, part in enumerate(parts)
    ] + [{"type": "http.disconnect"}]
    sent = []

    async def receive():
        return waiting.pop(0)

    async def send(message):
        sent.append(message)

    asyncio.run(SharpVMiddleware(app)(scope, receive, send))
    return sent


def test_a_body_in_parts_arrives_whole_with_its_length_and_what_follows():
    app = Echo()
    post(app, b'{"mm_processor_kwargs": {"sharp', b'v_keep": 0.5}, "model": "m"}')
    asked = json.loads(app.body)
    assert asked["mm_processor_kwargs"]["sharpv_keep"] == 0.5
    assert asked["model"] == "m"
    assert dict(app.scope["headers"])[b"content-length"] == str(len(app.body)).encode()
    assert app.then == {"type": "http.disconnect"}


def test_an_answer_tells_the_tokens_that_were_noted_once():
    start, body = post(Echo((256, 31)), b'{"model": "m"}')
    assert start["headers"] == [
        (b"a", b"b"),
        (b"x-sharpv-video-tokens", b"256"),
        (b"x-sharpv-video-tokens-kept", b"31"),
    ]
    assert body["body"] == b"done"
    assert not tally._counts


@pytest.mark.parametrize("path", [CHAT, "/v1/responses", "/tokenize", "/v1/messages"])
@pytest.mark.parametrize(
    "body",
    [
        b'{"mm_processor_kwargs": {"fps": 60}}',
        b'{"mm_processor_kwargs": {}, "mm_processor_kwargs": {"size": 1}}',
        b'{"media_io_kwargs": {"video": {"num_frames": -1}}}',
        b'{"media_io_kwargs": {"sharpv_keep": 0.5}}',
    ],
)
def test_other_options_never_arrive(path, body):
    app = Echo()
    start, answer = post(app, body, path=path)
    assert start["status"] == 400
    assert "takes sharpv_keep in mm_processor_kwargs only" in json.loads(answer["body"])["error"]["message"]
    assert app.body is None


def test_of_a_key_given_twice_the_application_sees_what_was_checked():
    app = Echo()
    post(app, b'{"mm_processor_kwargs": {"fps": 60}, "mm_processor_kwargs": {"sharpv_keep": 1}}')
    assert app.body.count(b"mm_processor_kwargs") == 1
    assert b"fps" not in app.body


@pytest.mark.parametrize("body", [b"", b"{", b"[1]", b'"text"', b"[" * 10**5])
def test_what_is_no_object_is_for_vllm_to_answer(body):
    app = Echo()
    post(app, body)
    assert app.body == body


@pytest.mark.parametrize("path", ["/v1/audio/transcriptions", "/v1/audio/translations"])
def test_files_pass_unread(path):
    app = Echo()
    post(app, b"--x", b"y", path=path, kinds=[b"multipart/form-data; boundary=x"])
    assert app.body == b"--x"


JSON, PARTS = b"application/json", b"multipart/form-data; boundary=x"


@pytest.mark.parametrize("kinds", [(JSON, PARTS), (PARTS, JSON), (PARTS,), ()])
def test_whatever_kind_of_body_is_declared_other_options_never_arrive(kinds):
    app = Echo()
    start, _ = post(app, b'{"mm_processor_kwargs": {"fps": 60}}', kinds=kinds)
    assert start["status"] == 400
    assert app.body is None


@pytest.mark.parametrize("keep", [0, 7, "much", [0.5], None, pytest.param(10**400, id="huge")])
def test_a_bad_share_is_refused_where_there_is_no_video_too(keep):
    app = Echo()
    start, answer = post(app, json.dumps({"mm_processor_kwargs": {"sharpv_keep": keep}}).encode())
    assert start["status"] == 400
    assert "give a number in (0, 1], or 'auto'" in json.loads(answer["body"])["error"]["message"]
    assert app.body is None


def test_counts_that_come_after_a_request_was_given_up_leave_nothing():
    class GivenUp(Echo):
        async def __call__(self, scope, receive, send):
            asked = json.loads((await receive())["body"])
            self.request = asked["mm_processor_kwargs"][tally.REQUEST_ID]
            raise asyncio.CancelledError

    app = GivenUp()
    with pytest.raises(asyncio.CancelledError):
        post(app, b'{"model": "m"}')
    tally.note(app.request, 256, 31)
    assert tally.take(app.request) is None
    assert not tally._counts


@pytest.mark.parametrize(
    ("parts", "length"),
    [([b""], 101), ([b"x" * 60, b"x" * 60], 5), ([b"x" * 101], "many")],
    ids=["declared", "arrived", "misdeclared"],
)
def test_a_body_that_is_too_large_is_refused(monkeypatch, parts, length):
    monkeypatch.setattr(middleware, "MAX_BODY", 100)
    app = Echo()
    start, answer = post(app, *parts, length=length)
    assert start["status"] == 413
    assert "send the address of a video" in json.loads(answer["body"])["error"]["message"]
    assert app.body is None


def test_a_large_body_is_read_as_a_small_one_is():
    app = Echo()
    text = "x" * (2 * middleware.LARGE_BODY)
    post(app, json.dumps({"model": text, "mm_processor_kwargs": {"sharpv_keep": 1}}).encode())
    assert json.loads(app.body)["model"] == text
    start, _ = post(app, json.dumps({"model": text, "media_io_kwargs": {"fps": 1}}).encode())
    assert start["status"] == 400
