"""A model that a running server holds, with SharpV inside: vLLM, or `sharpv serve --engine transformers`."""

import base64
import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http.client import HTTPException
from typing import Any, Literal

from sharpv.batch.line import Line
from sharpv.batch.manifest import Row
from sharpv.batch.work import Unavailable
from sharpv.errors import InputError
from sharpv.video import open_source

__all__ = ["Served", "ServedModel"]

SECONDS_BETWEEN_TRIES = (1.0, 2.0, 4.0, 8.0, 16.0)
MOST_OF_A_REASON = 500
KINDS = {
    "vllm": "a vLLM server, such as that of `sharpv serve MODEL`",
    "transformers": "the server of `sharpv serve MODEL --engine transformers`",
}
WANTS_A_KEY = "the server wants a key (401): set SHARPV_API_KEY or OPENAI_API_KEY to its key"


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """Which server to ask, and for what.

    Attributes:
        engine: what the server runs on.
        url: of the server, without /v1.
        model: its name there; None where the server has just one.
        options: of each request, beyond those of the OpenAI protocol: what is not in them is the server's.
        max_new_tokens: the most tokens of an answer.
        seconds: that the server may take to answer a request.
    """

    engine: Literal["vllm", "transformers"] = "vllm"
    url: str
    model: str | None
    options: Mapping[str, Any] = field(default_factory=dict)
    max_new_tokens: int
    seconds: float = 600.0

    @property
    def row_seconds(self) -> float:
        """Time after which a row hangs: its clip has had that of an answer, and so has each try."""
        return (len(SECONDS_BETWEEN_TRIES) + 2) * self.seconds + sum(SECONDS_BETWEEN_TRIES)

    def open(self, worker: int, workers: int) -> "ServedModel":
        """Asks the server which models it has.

        Raises:
            InputError: it cannot be reached, is another server, or has not this model.
        """
        wanted = KINDS[self.engine]
        try:
            with urllib.request.urlopen(_request(f"{self.url}/v1/models"), timeout=30) as answer:
                models = json.load(answer)["data"]
                names = [str(model["id"]) for model in models]
                ours = any(model.get("owned_by") == "sharpv" for model in models)
        except (OSError, HTTPException, ValueError, KeyError, TypeError, AttributeError) as error:
            if isinstance(error, urllib.error.HTTPError) and error.code == 401:
                raise InputError(WANTS_A_KEY) from error
            raise InputError(
                f"cannot ask {self.url!r} for its models: {error}; give the --url of {wanted}"
            ) from error
        if ours != (self.engine == "transformers"):
            other = "transformers" if ours else "vllm"
            raise InputError(f"{self.url!r} is not {wanted}: for {KINDS[other]} say --engine {other}")
        if (self.model is None and len(names) != 1) or (self.model is not None and self.model not in names):
            raise InputError(f"{self.url!r} has the models {', '.join(names)}: name one of them with -m")
        return ServedModel(self, self.model or names[0])


class ServedModel:
    """A model of a server that is there.

    Attributes:
        name: of the model.
    """

    def __init__(self, settings: Served, name: str) -> None:
        self._settings, self.name = settings, name

    def read(self, source: str) -> str:
        """Returns a clip as a data URL: the server need not share a disk with us.

        Raises:
            VideoError: it cannot be opened.
        """
        with open_source(source) as (file, _):
            return "data:video/mp4;base64," + base64.b64encode(file.read()).decode()

    def ask(self, clip: str, row: Row) -> Line:
        """Sends the question of a row with its clip.

        Raises:
            InputError: the server refuses this request.
            Unavailable: it is busy, broken or gone, or wants a key.
            TimeoutError: it takes too long.
        """
        start = time.perf_counter()
        headers, found = self._post(self._question(clip, row.question))
        milliseconds = 1000 * (time.perf_counter() - start)
        told = _told_by_sharpv(found) if self._settings.engine == "transformers" else _told(headers, found)
        return Line(
            id=row.id,
            video=row.video,
            question=row.question,
            answer=(found["choices"][0]["message"]["content"] or "").strip(),
            milliseconds={"request": milliseconds, **told.pop("milliseconds", {})},
            **told,
        )

    def lost(self) -> bool:
        """Whether the server is gone."""
        with suppress(InputError):
            self._settings.open(0, 1)
            return False
        return True

    def _question(self, clip: str, question: str) -> dict[str, Any]:
        content = [{"type": "video_url", "video_url": {"url": clip}}, {"type": "text", "text": question}]
        request = {
            "model": self.name,
            "messages": [{"role": "user", "content": content}],
            "max_tokens": self._settings.max_new_tokens,
            "temperature": 0,
        }
        return request | dict(self._settings.options)

    def _blames_row(self, code: int, reason: str) -> bool:
        """Whether our own server failed at this request, and is well."""
        return self._settings.engine == "transformers" and (code == 500 or "ran out of memory" in reason)

    def _post(self, request: Mapping[str, Any]) -> tuple[Mapping[str, str], dict[str, Any]]:
        """Sends a request, again where the server is in trouble that may pass."""
        url, seconds = f"{self._settings.url}/v1/chat/completions", self._settings.seconds
        data = json.dumps(request).encode()
        for pause in (*SECONDS_BETWEEN_TRIES, None):
            try:
                with urllib.request.urlopen(_request(url, data), timeout=seconds) as answer:
                    return answer.headers, json.load(answer)
            except urllib.error.HTTPError as error:
                if error.code == 401:
                    raise Unavailable(WANTS_A_KEY) from error
                reason = f"the server answered {error.code}: {_reason(error)}"
                if error.code != 429 and (error.code < 500 or self._blames_row(error.code, reason)):
                    raise InputError(reason) from error
            except TimeoutError:
                # The next row may have its time, too.
                raise TimeoutError(
                    f"the server gave no answer within {seconds:g} s, the time of a row"
                ) from None
            except (OSError, HTTPException) as error:
                reason = f"the server cannot be reached: {_short(str(error))}"
            if pause is not None:
                time.sleep(pause)
        raise Unavailable(f"{reason}; run the same command again when it is well")


def _told(headers: Mapping[str, str], found: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what vLLM says of the tokens of a request."""
    before, kept = (_number(headers, f"x-sharpv-video-tokens{end}") for end in ("", "-kept"))
    read = found["usage"]["prompt_tokens"]
    return {
        "prompt_tokens": None if before is None or kept is None else read + before - kept,
        "prompt_tokens_kept": read,
        "video_tokens": before,
        "video_tokens_kept": kept,
    }


def _told_by_sharpv(found: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what a server of ours says of a request."""
    usage, report = found["usage"], found["sharpv"]
    return {
        "frames": sum(video["frames"] for video in report["videos"]),
        "prompt_tokens": usage["dense_prompt_tokens"],
        "prompt_tokens_kept": usage["prompt_tokens"],
        "video_tokens": report["video_tokens"],
        "video_tokens_kept": report["video_tokens_kept"],
        "patches": report["patches"],
        "patches_encoded": report["patches_encoded"],
        "milliseconds": report["milliseconds"],
        "notes": tuple(report["notes"]),
    }


def _request(url: str, data: bytes | None = None) -> urllib.request.Request:
    """Builds a request, with the key that this process's environment has."""
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    key = (os.environ.get("SHARPV_API_KEY") or os.environ.get("OPENAI_API_KEY") or "").strip()
    if key:
        # A redirection may lead to somebody else.
        request.add_unredirected_header("Authorization", f"Bearer {key}")
    return request


def _reason(error: urllib.error.HTTPError) -> str:
    """Returns the message of an error of the OpenAI protocol, or what else the server said."""
    text = ""
    with suppress(OSError, HTTPException):
        text = error.read(10_000).decode(errors="replace")
    with suppress(ValueError, KeyError, TypeError):
        text = str(json.loads(text)["error"]["message"])
    return _short(text) or error.reason


def _short(reason: str) -> str:
    return " ".join(reason.split())[:MOST_OF_A_REASON]


def _number(headers: Mapping[str, str], name: str) -> int | None:
    value = headers.get(name)
    return None if value is None else int(value)
