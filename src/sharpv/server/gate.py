"""What stands before the application: the key, the size of bodies, and patience with slow clients."""

import asyncio
import hmac
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from typing import Any

from fastapi.responses import JSONResponse

from sharpv.server.limits import MIB, Limits
from sharpv.server.metrics import Metrics
from sharpv.server.refused import Refused, error_body

__all__ = ["CHAT", "FILES", "HEALTH", "LEFT", "METRICS", "MODELS", "App", "Gate"]

CHAT, MODELS, FILES = "/v1/chat/completions", "/v1/models", "/v1/files"
HEALTH, METRICS = "/health", "/metrics"
PATHS = (CHAT, MODELS, FILES, HEALTH, METRICS)
# Around the file in an upload's body.
MULTIPART_BYTES = MIB
LEFT = 499
"""The status of a request whose client has left; nobody is sent it."""

Event = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Event]]
Send = Callable[[Event], Awaitable[None]]
App = Callable[[Event, Receive, Send], Awaitable[None]]


class Gate:
    """An ASGI application around another."""

    def __init__(self, app: App, limits: Limits, metrics: Metrics, key: str | None = None) -> None:
        self.app = app
        self._limits = limits
        self._metrics = metrics
        self._key = None if key is None else key.encode()
        self._held = {False: 0, True: 0}

    async def __call__(self, scope: Event, receive: Receive, send: Send) -> None:
        """Lets a request through that has the key; its body is counted as it comes."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        passage = _Passage(self, scope, receive, send)
        try:
            if scope["path"] != HEALTH and not self._has_key(scope):
                await _answer(
                    scope, passage, Refused(401, "this server needs its API key (Bearer)", "invalid_api_key")
                )
            else:
                await self.app(scope, passage.receive, passage.send)
        except _Stalled:
            pass  # there is nobody to tell; the web server closes the connection
        finally:
            self._held[passage.upload] -= passage.held
            path = scope["path"] if scope["path"] in PATHS else "other"
            self._metrics.add("sharpv_requests_total", path=path, status=passage.status)

    def _has_key(self, scope: Event) -> bool:
        if self._key is None:
            return True
        given = dict(scope["headers"]).get(b"authorization", b"")
        scheme, _, key = given.partition(b" ")
        return hmac.compare_digest(key.strip(), self._key) and scheme.lower() == b"bearer"

    def hold(self, size: int, upload: bool) -> bool:
        """Takes note of bytes in memory, or of an upload on disk; says whether there is room for them."""
        self._held[upload] += size
        return self._held[upload] <= (self._limits.stored_bytes if upload else self._limits.held_bytes)


class _Stalled(Exception):
    """The client takes nothing of its answer."""


class _Passage:
    """One request on its way in, and its answer on the way out."""

    def __init__(self, gate: Gate, scope: Event, receive: Receive, send: Send) -> None:
        self.status = LEFT
        self.held = 0
        self._gate, self._receive, self._send = gate, receive, send
        self.upload = scope["path"] == FILES
        limits = gate._limits
        self._seconds = limits.body_seconds
        self._most = limits.upload_bytes + MULTIPART_BYTES if self.upload else limits.body_bytes
        self._deadline = asyncio.get_running_loop().time() + self._seconds
        self._size = 0
        self._whole = False

    async def receive(self) -> Event:
        """Returns the next piece of the body.

        Raises:
            Refused: the body is too large, too slow, or there is no room for it.
        """
        if self._whole:
            return await self._receive()
        event = await self._next()
        size = len(event.get("body", b""))
        self._size += size
        if self._size > self._most:
            await self._drain()
            raise Refused(413, f"got a body of more than {self._most} bytes, the server's limit", "too_large")
        self.held += size
        if not self._gate.hold(size, self.upload):
            await self._drain()
            limit = "stored_bytes" if self.upload else "held_bytes"
            raise Refused(429, f"the server holds too many bodies ({limit}): try again later", "busy")
        return event

    async def _next(self) -> Event:
        try:
            async with asyncio.timeout_at(self._deadline):
                event = await self._receive()
        except TimeoutError:
            raise Refused(
                408, f"the body took longer than {self._seconds} s (body_seconds)", "timeout"
            ) from None
        self._whole = not event.get("more_body", False)
        return event

    async def _drain(self) -> None:
        """Reads on without keeping, since clients hear an answer only when they have sent all."""
        while not self._whole:
            await self._next()

    async def send(self, event: Event) -> None:
        """Sends a piece of the answer.

        Raises:
            _Stalled: the client does not take it.
        """
        if event["type"] == "http.response.start":
            self.status = event["status"]
            if self._size and not self._whole:  # what has come so far was enough to refuse it
                with suppress(Refused):
                    await self._drain()
        try:
            async with asyncio.timeout(self._seconds):
                await self._send(event)
        except TimeoutError:
            raise _Stalled from None


async def _answer(scope: Event, passage: _Passage, refused: Refused) -> None:
    body = error_body(refused.status_code, refused.detail, refused.code)
    headers = {"WWW-Authenticate": "Bearer"}
    await JSONResponse(body, refused.status_code, headers)(scope, passage.receive, passage.send)
