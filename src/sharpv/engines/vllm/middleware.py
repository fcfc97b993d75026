"""What `sharpv serve` puts before vLLM's server: which options a request may give, and what its answer tells.

vLLM lets requests give options to the processor of media only where all of them are trusted, since most cost
the server memory or time. Here a request may give its share of tokens and nothing else.
"""

import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from uuid import uuid4

from sharpv.engines.vllm.options import REQUEST_KEY
from sharpv.engines.vllm.tally import REQUEST_ID, take

__all__ = ["KEPT_HEADER", "TOKENS_HEADER", "SharpVMiddleware"]

TOKENS_HEADER, KEPT_HEADER = "x-sharpv-video-tokens", "x-sharpv-video-tokens-kept"
"""Headers of an answer about videos: their visual tokens, and how many of these the LLM read."""

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
        """Passes a request on, unless it gives options that it may not."""
        if scope["type"] != "http" or scope["method"] != "POST" or _has_parts(scope):
            await self.app(scope, receive, send)
            return
        body = await _read(receive)
        asked = _object(body)
        if asked is None:
            await self.app(scope, _again(body, receive), send)
            return
        refused = _refused(asked)
        if refused is not None:
            await _refuse(send, refused)
            return
        request = uuid4().hex
        if scope["path"].endswith("/chat/completions"):
            asked["mm_processor_kwargs"] = {**(asked.get("mm_processor_kwargs") or {}), REQUEST_ID: request}
        # Written anew, since a key that was given twice may be read otherwise by the next reader.
        body = json.dumps(asked).encode()
        scope = {**scope, "headers": _with_length(scope["headers"], len(body))}
        try:
            await self.app(scope, _again(body, receive), _telling(request, send))
        finally:
            take(request)


def _has_parts(scope: Message) -> bool:
    return any(
        name == b"content-type" and value.lower().startswith(b"multipart/")
        for name, value in scope["headers"]
    )


async def _read(receive: Receive) -> bytes:
    parts, more = [], True
    while more:
        message = await receive()
        parts.append(message.get("body", b""))
        more = message.get("more_body", False)
    return b"".join(parts)


def _object(body: bytes) -> dict[str, Any] | None:
    """Returns the JSON object of a body, or None for a body that is none, which vLLM answers."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


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
    return None


async def _refuse(send: Send, message: str) -> None:
    error = {"message": message, "type": "BadRequestError", "param": None, "code": 400}
    body = json.dumps({"error": error}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 400, "headers": headers})
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
