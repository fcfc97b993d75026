"""From the body of a request to what it asks, at a cost that no stranger can drive up."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import Request
from pydantic import ValidationError
from python_multipart.multipart import parse_options_header
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from sharpv.server.gate import LEFT
from sharpv.server.limits import Limits
from sharpv.server.refused import Refused
from sharpv.server.requests import ChatRequest
from sharpv.server.uploads import unsaved

__all__ = ["CHAT_BODY", "UPLOAD_BODY", "ChatBodies", "chat_schemas", "read_upload"]

MOST_SIGNS = 1 << 18
"""Commas and brackets of a body, beside the characters of its texts."""

SHOWN_ERRORS = 5
SHOWN_CHARACTERS = 200
SCHEMAS = "#/components/schemas/"


def _documented(kind: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"requestBody": {"required": True, "content": {kind: {"schema": schema}}}}


CHAT_BODY = _documented("application/json", {"$ref": f"{SCHEMAS}{ChatRequest.__name__}"})
UPLOAD_BODY = _documented(
    "multipart/form-data",
    {
        "type": "object",
        "required": ["file"],
        "properties": {"file": {"type": "string", "format": "binary"}, "purpose": {"type": "string"}},
    },
)


def chat_schemas() -> dict[str, Any]:
    """Returns what `CHAT_BODY` refers to in an OpenAPI document, by names."""
    schema = ChatRequest.model_json_schema(ref_template=SCHEMAS + "{model}")
    return {**schema.pop("$defs"), ChatRequest.__name__: schema}


class ChatBodies:
    """Reads chat requests; a thread of its own validates them, one at a time, since that takes memory."""

    def __init__(self, limits: Limits) -> None:
        self._most = limits.text_characters + MOST_SIGNS
        self._one = asyncio.Lock()

    async def read(self, request: Request) -> ChatRequest:
        """Returns what a request asks; its body is not kept.

        Raises:
            Refused: it asks nothing that can be understood.
        """
        body = bytearray()  # not a list, since a client chooses how small its pieces are
        try:
            async for piece in request.stream():
                body += piece
        except ClientDisconnect:
            raise Refused(LEFT, "the client has left") from None
        kind, _ = parse_options_header(request.headers.get("Content-Type"))
        if kind != b"application/json":
            raise Refused(400, "got a body that is not application/json: say so in Content-Type", "malformed")
        async with self._one:
            return await asyncio.to_thread(_chat, body, self._most)


def _chat(body: bytearray, most: int) -> ChatRequest:
    # Each makes an object, of up to 100 times its size. Base64 has none of them.
    signs = sum(map(body.count, (b",", b"[", b"{")))
    if signs > most:
        raise Refused(
            400, f"got a body of {signs} commas and brackets: at most {most} are taken", "malformed"
        )
    try:
        return ChatRequest.model_validate(json.loads(body))
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False, include_input=False)
        places = [".".join(map(str, item["loc"])) or "body" for item in found[:SHOWN_ERRORS]]
        told = "; ".join(
            f"{place[:SHOWN_CHARACTERS]}: {item['msg'][:SHOWN_CHARACTERS]}"
            for place, item in zip(places, found, strict=False)
        )
        raise Refused(400, told, "malformed") from None
    except (ValueError, RecursionError) as error:
        reason = str(error)[:SHOWN_CHARACTERS]
        raise Refused(400, f"got a body that is no JSON ({reason})", "malformed") from None


@asynccontextmanager
async def read_upload(request: Request) -> AsyncIterator[tuple[UploadFile, str]]:
    """Reads an upload: its file, which is closed in the end, and its purpose.

    Raises:
        Refused: it is none.
    """
    kind, options = parse_options_header(request.headers.get("Content-Type"))
    if kind != b"multipart/form-data":
        raise Refused(400, "got a body that is not multipart/form-data", "malformed")
    # Some of Python's codecs take time that grows with the square of the text.
    if options.get(b"charset", b"utf-8").lower() != b"utf-8":
        raise Refused(400, "got a charset other than utf-8: leave it out", "malformed")
    try:
        form = await request.form(max_files=1, max_fields=4, max_part_size=4096)
    except HTTPException:
        raise
    except OSError as error:
        raise unsaved(error) from None
    except ClientDisconnect:
        raise Refused(LEFT, "the client has left") from None
    except Exception as error:  # whatever a stranger's headers make the parser do
        raise Refused(400, f"cannot read the form ({type(error).__name__})", "malformed") from None
    try:
        file, purpose = form.get("file"), form.get("purpose", "")
        if not isinstance(file, UploadFile) or not isinstance(purpose, str):
            raise Refused(400, "got no file: send it as the field file; purpose is text", "malformed")
        yield file, purpose
    finally:
        await form.close()
