"""Replies in OpenAI's shapes: whole, and as a stream of events."""

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator
from dataclasses import asdict
from typing import Any
from uuid import uuid4

from sharpv.report import Report
from sharpv.server.refused import Refused, error_body
from sharpv.server.responses import Answer, Choice, Completion, Usage
from sharpv.server.service import Served

__all__ = ["completion", "events"]

logger = logging.getLogger(__name__)


def completion(model: str, served: Served) -> Completion:
    """Returns the body of an answer that is sent whole."""
    reply = served.reply
    return Completion(
        id=_id(),
        created=int(time.time()),
        model=model,
        choices=[Choice(message=Answer(content=reply.text), finish_reason=_finish(served))],
        usage=_usage(served),
        sharpv=_summary(reply.report, served.warnings),
    )


async def events(
    model: str,
    text: str | None,
    texts: "asyncio.Queue[str | None]",
    task: "asyncio.Task[Served]",
    usage: bool,
) -> AsyncIterator[str]:
    """Yields the events of a stream.

    Args:
        model: its name.
        text: the first piece of the answer, or None for an empty one.
        texts: the other pieces, and None after the last.
        task: the request.
        usage: whether to tell the tokens at the end.
    """
    frame = {"id": _id(), "object": "chat.completion.chunk", "created": int(time.time()), "model": model}
    try:
        yield _event(frame | {"choices": [_delta({"role": "assistant", "content": ""})]})
        while text is not None:
            yield _event(frame | {"choices": [_delta({"content": text})]})
            text = await texts.get()
        served = await task
        summary = _summary(served.reply.report, served.warnings)
        yield _event(frame | {"choices": [_delta({}, _finish(served))], "sharpv": summary})
        if usage:
            yield _event(frame | {"choices": [], "usage": _usage(served).model_dump()})
        yield "data: [DONE]\n\n"
    except Refused as refused:
        yield _event(error_body(refused.status_code, refused.detail, refused.code))
    except Exception:
        logger.exception("a request failed in its stream")
        yield _event(error_body(500, "the server failed: its log says why"))


def _summary(report: Report, warnings: tuple[str, ...]) -> dict[str, Any]:
    """Returns what a report says, without the tokens one by one."""
    return {
        "method": report.method,
        "video_tokens": report.tokens_total,
        "video_tokens_kept": report.tokens_kept,
        "patches": report.patches_total,
        "patches_encoded": report.patches_encoded,
        "layer_share": report.layer_share,
        "layers": len(report.layers),
        "layers_dropped": sum(any(layer.dropped) for layer in report.layers),
        "cache_bytes": report.cache_bytes,
        "dense_cache_bytes": report.dense_cache_bytes,
        "milliseconds": asdict(report.milliseconds),
        "videos": [
            {
                "frames": video.frames,
                "tokens_per_frame": video.tokens_per_frame,
                "kept_per_frame": [sum(frame) for frame in video.kept],
                "merged": video.merged,
            }
            for video in report.videos
        ],
        "notes": [*report.notes, *warnings],
    }


def _usage(served: Served) -> Usage:
    report, tokens = served.reply.report, served.reply.tokens
    read = sum(report.prompt_tokens_kept)
    return Usage(
        prompt_tokens=read,
        completion_tokens=tokens,
        total_tokens=read + tokens,
        dense_prompt_tokens=sum(report.prompt_tokens),
    )


def _finish(served: Served) -> Any:
    return "stop" if served.reply.finished else "length"


def _delta(delta: dict[str, str], finish: str | None = None) -> dict[str, Any]:
    return {"index": 0, "delta": delta, "finish_reason": finish, "logprobs": None}


def _event(values: dict[str, Any]) -> str:
    return f"data: {json.dumps(values, allow_nan=False)}\n\n"


def _id() -> str:
    return f"chatcmpl-{uuid4().hex}"
