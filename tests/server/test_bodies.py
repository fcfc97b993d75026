"""Bodies that are written to cost much cost little."""

import asyncio
import json
import time
import tracemalloc
from pathlib import Path

import pytest
from fastapi import Request

from sharpv.server import service as serving
from sharpv.server.bodies import ChatBodies
from sharpv.server.limits import Limits
from sharpv.server.load import load_media
from tests.server.running import chat_body, scope
from tests.server.test_hostile import resident_bytes

SIZE = 4 << 20
GROWTH_BYTES = 100 << 20
SECONDS = 2
MULTIPART = "multipart/form-data; boundary=x"
FILE = b'--x\r\nContent-Disposition: form-data; name="file"; filename="%s"\r\n\r\nclip\r\n'
FIELD = b'--x\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n'
END = b"--x--\r\n"


def keys(size=SIZE):
    return ",".join(f'"{i:07}":0' for i in range(size // 12))


def with_items(start, end):
    return start + "0," * (SIZE // 2) + "0" + end


def message(**values):
    return {"role": "user", "content": "Hi", **values}


@pytest.mark.parametrize(
    "body",
    [
        with_items('{"model":"tiny","messages":[', "]}"),
        with_items('{"model":"tiny","messages":[{"role":"user","content":[', "]}]}"),
        f"{{{keys()}}}",
        f'{{"model":"tiny","messages":[{{{keys()}}}]}}',
        f'{{"model":"tiny","messages":[{{"role":"user","content":"Hi"}}],"metadata":{{{keys()}}}}}',
    ],
    ids=["messages", "parts", "keys", "keys of a message", "metadata"],
)
def test_what_is_wrong_a_million_times_costs_as_if_it_were_once(server, body):
    server.post(b"{}")
    before, start = resident_bytes(), time.monotonic()
    status, answer = server.post(body.encode())
    assert status == 400
    assert time.monotonic() - start < SECONDS
    assert resident_bytes() - before < GROWTH_BYTES
    assert len(answer) < 4096


@pytest.mark.parametrize(
    "wrong",
    [
        {"messages": [message()] * 1025},
        {"messages": [message(content=[{"type": "text", "text": ""}] * 1025)]},
        {"metadata": {str(i): "" for i in range(17)}},
        {"metadata": {"x" * 1025: ""}},
        {"user": "x" * 1025},
        {"model": "x" * 1025},
        {"messages": [message(name="x" * 1025)]},
        {"sharpv": {"framse": 3}},
        {"messages": [message(content=[{"type": "x" * 10_000}])]},
    ],
)
def test_lists_have_bounds_and_errors_are_short(server, wrong):
    status, answer = server.post(chat_body(**wrong))
    assert status == 400
    assert len(answer) < 1000


def test_as_much_as_is_taken_is_taken(server):
    whole = chat_body(metadata={str(i): "" for i in range(16)}, max_tokens=1)
    assert server.post(whole)[0] == 200


def test_a_body_in_pieces_takes_no_more_than_a_whole_one():
    """A client chooses how small the pieces are."""
    body = chat_body() + b" " * 400_000
    places = iter(range(0, len(body), 2))

    async def receive():
        at = next(places)
        return {"type": "http.request", "body": body[at : at + 2], "more_body": at + 2 < len(body)}

    request = Request(scope("/v1/chat/completions"), receive)
    tracemalloc.start()
    try:
        asyncio.run(ChatBodies(Limits()).read(request))
        assert tracemalloc.get_traced_memory()[1] < 8 * len(body)
    finally:
        tracemalloc.stop()


def test_a_body_that_is_not_called_json_is_refused(server):
    assert server.post(chat_body(), **{"Content-Type": "text/plain"})[0] == 400


def upload(server, *parts, kind=MULTIPART):
    return server.post(b"".join(parts) + END, "/v1/files", **{"Content-Type": kind})


@pytest.mark.parametrize("charset", ["utf-7", "punycode", "idna", "utf-16", '"utf-7"', "UTF-7"])
def test_a_form_is_utf8(server, charset):
    start = time.monotonic()
    large = FIELD % (b"purpose", b"a-" + b"9" * 4000)
    status, answer = upload(server, FILE % b"+2AA-", large, kind=f"{MULTIPART}; charset={charset}")
    assert status == 400
    assert b"utf-8" in answer
    assert time.monotonic() - start < SECONDS


@pytest.mark.parametrize("charset", ["", "; charset=UTF-8", "; charset=utf-8"])
def test_names_in_a_form_are_told_as_they_are(server, charset):
    name = "clé.mp4"
    status, answer = upload(server, FILE % name.encode(), kind=MULTIPART + charset)
    assert status == 200
    assert json.loads(answer)["filename"] == name


def test_names_that_are_no_text_can_be_told(server):
    odd = b"\xed\xa0\x80\xff"
    status, answer = upload(server, FILE % odd, FIELD % (b"purpose", odd))
    assert status == 200
    assert json.loads(answer)["filename"]


@pytest.mark.parametrize(
    "parts",
    [
        [FILE % b"a", *[FIELD % (b"x", b"1")] * 5],
        [FILE % b"a", FIELD % (b"purpose", b"x" * 5000)],
        [FILE % b"a", FILE % b"b"],
        [FIELD % (b"file", b"clip")],
        [FIELD % (b"purpose", b"vision")],
    ],
    ids=["fields", "a large field", "files", "text", "no file"],
)
def test_a_form_has_one_file_and_little_else(server, parts):
    assert upload(server, *parts)[0] == 400


def test_an_upload_that_is_deleted_while_its_request_waits_is_not_found(server, monkeypatch):
    file_id = json.loads(upload(server, FILE % b"a")[1])["id"]
    path = Path(server.service.uploads.path(file_id))

    async def load_later(*args):
        server.service.uploads.delete(file_id)
        return await load_media(*args)

    monkeypatch.setattr(serving, "load_media", load_later)
    part = {"type": "file", "file": {"file_id": file_id}}
    status, answer = server.post(chat_body(messages=[message(content=[part])]))
    assert status == 404
    assert json.loads(answer)["error"]["code"] == "file_not_found"
    assert str(path.parent).encode() not in answer
