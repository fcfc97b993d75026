"""The application: its paths, and how each kind of failure is told."""

import asyncio
import json
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from fastapi import FastAPI, Request, Response
from fastapi.responses import PlainTextResponse, StreamingResponse
from starlette.exceptions import HTTPException

import sharpv
from sharpv.server.answers import completion, events
from sharpv.server.bodies import CHAT_BODY, UPLOAD_BODY, ChatBodies, chat_schemas, read_upload
from sharpv.server.gate import CHAT, FILES, HEALTH, LEFT, METRICS, MODELS, App, Gate
from sharpv.server.refused import Refused, error_body
from sharpv.server.responses import Completion, Deleted, Failure, Model, Models, StoredFile
from sharpv.server.service import Service

__all__ = ["create_app"]

T = TypeVar("T")

FAILURES: dict[int | str, dict[str, Any]] = {
    status: {"model": Failure, "description": description}
    for status, description in {
        400: "What was asked cannot be served.",
        401: "No key, or a wrong one.",
        404: "No such model or file.",
        408: "A limit of time.",
        413: "Too large.",
        429: "Too much at once: come back later.",
        500: "The server failed, and its log says why.",
        503: "No room: memory of the device, disk, open files or processes.",
    }.items()
}
STREAM = {"description": "The answer; with stream its events.", "content": {"text/event-stream": {}}}


def create_app(service: Service, key: str | None = None) -> App:
    """Builds the application around a service.

    Args:
        service: is closed with the application.
        key: what clients must show as `Authorization: Bearer KEY`, but for GET /health; None for none.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        service.close()

    app = FastAPI(
        title="SharpV", version=str(sharpv.__version__), lifespan=lifespan, docs_url=None, redoc_url=None
    )
    _tell_failures(app)
    _add_chat(app, service)
    _add_files(app, service)
    _add_facts(app, service)
    document = app.openapi()
    document["components"]["schemas"].update(chat_schemas())
    for path in document["paths"].values():
        for operation in path.values():
            operation["responses"].pop("422", None)  # FastAPI's own; here it is 400
    return Gate(app, service.settings.access.limits, service.metrics, key)


def _add_chat(app: FastAPI, service: Service) -> None:
    bodies = ChatBodies(service.settings.access.limits)

    @app.post(CHAT, response_model=Completion, responses={200: STREAM, **FAILURES}, openapi_extra=CHAT_BODY)
    async def chat(request: Request) -> Response:
        """Answers the last message of a conversation with videos and images."""
        asked = await bodies.read(request)
        texts: asyncio.Queue[str | None] = asyncio.Queue()
        task = _while_there(request, service.answer(asked, texts.put_nowait))
        task.add_done_callback(lambda _: texts.put_nowait(None))
        try:
            if not asked.stream:
                body = completion(service.name, await task).model_dump()
                return Response(json.dumps(body, allow_nan=False), media_type="application/json")
            first = await texts.get()
            if first is None:
                await task  # a failure before the first word has its status
            usage = asked.stream_options is not None and asked.stream_options.include_usage
            return _Stream(events(service.name, first, texts, task, usage), task)
        except asyncio.CancelledError:
            current = asyncio.current_task()
            if current is not None and current.cancelling():
                task.cancel()
                raise
            return Response(status_code=LEFT)


class _Stream(StreamingResponse):
    """The events of a request, which ends with them, also when they are not taken."""

    def __init__(self, content: AsyncIterator[str], task: "asyncio.Task[Any]") -> None:
        super().__init__(content, media_type="text/event-stream")
        self._task = task

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._task.cancel()


def _while_there(request: Request, work: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
    """Starts work that is cancelled when the client leaves."""

    async def wait_until_left() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass
        task.cancel()

    task = asyncio.create_task(work)
    watch = asyncio.create_task(wait_until_left())
    task.add_done_callback(lambda _: watch.cancel())
    return task


def _add_files(app: FastAPI, service: Service) -> None:
    uploads = service.uploads

    @app.post(FILES, responses=FAILURES, openapi_extra=UPLOAD_BODY)
    async def upload(request: Request) -> StoredFile:
        """Keeps a video for an hour, for parts of messages as `{"type": "file", "file": {"file_id": ID}}`."""
        async with read_upload(request) as (file, purpose):
            return await uploads.keep(file.size or 0, file.filename or "", purpose, file.file)

    @app.get(FILES + "/{file_id}", responses=FAILURES)
    async def describe(file_id: str) -> StoredFile:
        """Tells about an uploaded file."""
        return uploads.find(file_id)

    @app.delete(FILES + "/{file_id}", responses=FAILURES)
    async def delete(file_id: str) -> Deleted:
        """Deletes an uploaded file."""
        uploads.delete(file_id)
        return Deleted(id=file_id)


def _add_facts(app: FastAPI, service: Service) -> None:
    @app.get(MODELS, responses={401: FAILURES[401]})
    async def models() -> Models:
        """Names the one model."""
        return Models(data=[Model(id=service.name, created=service.started)])

    @app.get(HEALTH, responses={503: {"model": Failure, "description": "The model is stuck."}})
    async def health() -> Mapping[str, str]:
        """Tells that requests are answered; needs no key."""
        reason = service.line.stuck()
        if reason is not None:
            raise Refused(503, reason, "stuck")
        return {"status": "ok"}

    @app.get(METRICS, response_class=PlainTextResponse, responses={401: FAILURES[401]})
    async def metrics() -> str:
        """Counters in Prometheus' text format."""
        return service.metrics.text(service.line.length)


def _tell_failures(app: FastAPI) -> None:
    @app.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> Response:
        return _failure(error.status_code, error.detail, getattr(error, "code", None), error.headers)

    @app.exception_handler(Exception)
    async def failed(request: Request, error: Exception) -> Response:
        # The web server logs it.
        return _failure(500, f"the server failed ({type(error).__name__}): its log says why")


def _failure(
    status: int, message: str, code: str | None = None, headers: Mapping[str, str] | None = None
) -> Response:
    # As ASCII, since a client's own words may be no text that can be sent.
    body = json.dumps(error_body(status, message, code))
    return Response(body, status, headers, media_type="application/json")
