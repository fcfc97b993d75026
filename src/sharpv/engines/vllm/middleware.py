"""What `sharpv serve` puts before vLLM's server: which options a request may give, and what its answer tells.

vLLM lets requests give options to the processor of media only where all of them are trusted, since most cost
the server memory or time. Here a request may give its share of tokens and nothing else.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from uuid import uuid4

from sharpv.engines.vllm.options import REQUEST_KEY, checked_keep
from sharpv.engines.vllm.tally import REQUEST_ID, expect, take
from sharpv.errors import InputError

__all__ = ["KEPT_HEADER", "MAX_BODY", "TOKENS_HEADER", "SharpVMiddleware"]

TOKENS_HEADER, KEPT_HEADER = "x-sharpv-video-tokens", "x-sharpv-video-tokens-kept"
"""Headers of an answer about videos: their visual tokens, and how many of these the LLM read."""

MAX_BODY = 128 * 2**20
"""Bytes of the largest body that is taken. It is read before vLLM asks for a key, whoever sends it."""

LARGE_BODY = 2**20
"""Bytes from which a body is parsed in a thread: other requests would wait for it."""

# Those that take files, which only they read; they have no options for a processor.
_UPLOADS = ("/audio/transcriptions", "/audio/translations")

_GATED = ("mm_processor_kwargs", "media_io_kwargs")

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]


class SharpVMiddleware:
    """An ASGI application around another."""

    def __init__(self, app: App) -> None:
        self.app = app

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Passes a request on, unless it is too large or gives options that it may not."""
        if scope["type"] != "http" or scope["method"] != "POST" or scope["path"].endswith(_UPLOADS):
            await self.app(scope, receive, send)
            return
        body = await _read(scope, receive)
        if body is None:
            await _refuse(send, 413, f"got over {MAX_BODY} bytes: send the address of a video, or less of it")
            return
        asked = await _threaded(body, _object, body)
        if asked is None:
            await self.app(scope, _again(body, receive), send)
            return
        refused = _refused(asked)
        if refused is not None:
            await _refuse(send, 400, refused)
            return
        request = uuid4().hex
        if scope["path"].endswith("/chat/completions"):
            asked["mm_processor_kwargs"] = {**(asked.get("mm_processor_kwargs") or {}), REQUEST_ID: request}
        # Written anew, since a key that was given twice may be read otherwise by the next reader.
        body = await _threaded(body, _written, asked)
        scope = {**scope, "headers": _with_length(scope["headers"], len(body))}
        expect(request)
        try:
            await self.app(scope, _again(body, receive), _telling(request, send))
        finally:
            take(request)


async def _read(scope: Message, receive: Receive) -> bytes | None:
    """Returns a body, or None for one that is too large."""
    declared = dict(scope["headers"]).get(b"content-length", b"")
    if declared.isdigit() and int(declared) > MAX_BODY:
        return None
    parts, length, more = [], 0, True
    while more:
        message = await receive()
        parts.append(message.get("body", b""))
        length += len(parts[-1])
        if length > MAX_BODY:
            return None
        more = message.get("more_body", False)
    return b"".join(parts)


async def _threaded(body: bytes, work: Callable[[Any], Any], argument: Any) -> Any:
    """Works in a thread where the body is large."""
    return await asyncio.to_thread(work, argument) if len(body) > LARGE_BODY else work(argument)


def _object(body: bytes) -> dict[str, Any] | None:
    """Returns the JSON object of a body, or None for a body that is none, which vLLM answers."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _written(asked: dict[str, Any]) -> bytes:
    return json.dumps(asked).encode()


def _refused(asked: dict[str, Any]) -> str | None:
    """Says what a request gives that it may not."""
    for name in _GATED:
        given = asked.get(name)
        if given is None or given == {}:
            continue
        if not isinstance(given, dict):
            return f"got {name} of type {type(given).__name__}: give an object"
        others = sorted(set(given) - ({REQUEST_KEY} if name == "mm_processor_kwargs" else set()))
        if others:
            return f"got {others} in {name}: this server takes {REQUEST_KEY} in mm_processor_kwargs only"
        if REQUEST_KEY in given:
            try:
                checked_keep(given[REQUEST_KEY])
            except InputError as error:
                return str(error)
    return None


async def _refuse(send: Send, status: int, message: str) -> None:
    error = {"message": message, "type": "BadRequestError", "param": None, "code": status}
    body = json.dumps({"error": error}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _with_length(headers: list[tuple[bytes, bytes]], length: int) -> list[tuple[bytes, bytes]]:
    others = [
        (name, value) for name, value in headers if name not in (b"content-length", b"transfer-encoding")
    ]
    return [*others, (b"content-length", str(length).encode())]


def _again(body: bytes, receive: Receive) -> Receive:
    """Gives a body that has been read once more, and then what comes after it."""
    unread = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive_again() -> Message:
        return unread.pop() if unread else await receive()

    return receive_again


def _telling(request: str, send: Send) -> Send:
    """Adds the headers to the start of an answer."""

    async def send_told(message: Message) -> None:
        if message["type"] == "http.response.start" and (counts := take(request)) is not None:
            told = zip((TOKENS_HEADER, KEPT_HEADER), counts, strict=True)
            headers = [(name.encode(), str(count).encode()) for name, count in told]
            message = {**message, "headers": [*message.get("headers", ()), *headers]}
        await send(message)

    return send_told
