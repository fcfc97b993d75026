"""A model that a running vLLM server holds, with SharpV inside."""

import base64
import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any

from sharpv.batch.line import Line
from sharpv.batch.manifest import Row
from sharpv.batch.work import Unavailable
from sharpv.errors import InputError
from sharpv.video import open_source

__all__ = ["Served", "ServedModel"]

SECONDS_FOR_AN_ANSWER = 600.0
SECONDS_BETWEEN_TRIES = (1.0, 2.0, 4.0, 8.0, 16.0)
MOST_OF_A_REASON = 500
WANTS_A_KEY = "the server wants a key (401): set SHARPV_API_KEY or OPENAI_API_KEY to its key"


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """Which server to ask, and for what.

    Attributes:
        url: of the server, without /v1.
        model: its name there; None where the server has just one.
        keep: share of the video's tokens to keep; None leaves it to the server.
        max_new_tokens: the most tokens of an answer.
    """

    url: str
    model: str | None
    keep: float | None
    max_new_tokens: int

    def open(self, worker: int, workers: int) -> "ServedModel":
        """Asks the server which models it has.

        Raises:
            InputError: it cannot be reached, or has not this model.
        """
        try:
            with urllib.request.urlopen(_request(f"{self.url}/v1/models"), timeout=30) as answer:
                names = [str(model["id"]) for model in json.load(answer)["data"]]
        except (OSError, HTTPException, ValueError, KeyError, TypeError) as error:
            if isinstance(error, urllib.error.HTTPError) and error.code == 401:
                raise InputError(WANTS_A_KEY) from error
            raise InputError(
                f"cannot ask {self.url!r} for its models: {error}; give the --url of a vLLM server, such as "
                "that of `sharpv serve`"
            ) from error
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
        before, kept = (
            _number(headers, "x-sharpv-video-tokens"),
            _number(headers, "x-sharpv-video-tokens-kept"),
        )
        read = found["usage"]["prompt_tokens"]
        return Line(
            id=row.id,
            video=row.video,
            question=row.question,
            answer=(found["choices"][0]["message"]["content"] or "").strip(),
            prompt_tokens=None if before is None or kept is None else read + before - kept,
            prompt_tokens_kept=read,
            video_tokens=before,
            video_tokens_kept=kept,
            milliseconds={"request": milliseconds},
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
        if self._settings.keep is not None:
            request["mm_processor_kwargs"] = {"sharpv_keep": self._settings.keep}
        return request

    def _post(self, request: Mapping[str, Any]) -> tuple[Mapping[str, str], dict[str, Any]]:
        """Sends a request, again where the server is in trouble that may pass."""
        url = f"{self._settings.url}/v1/chat/completions"
        data = json.dumps(request).encode()
        for pause in (*SECONDS_BETWEEN_TRIES, None):
            try:
                with urllib.request.urlopen(_request(url, data), timeout=SECONDS_FOR_AN_ANSWER) as answer:
                    return answer.headers, json.load(answer)
            except urllib.error.HTTPError as error:
                if error.code == 401:
                    raise Unavailable(WANTS_A_KEY) from error
                reason = f"the server answered {error.code}: {_reason(error)}"
                if error.code != 429 and error.code < 500:
                    raise InputError(reason) from error
            except TimeoutError:
                raise  # it had its ten minutes, and may have them for this row alone
            except (OSError, HTTPException) as error:
                reason = f"the server cannot be reached: {_short(str(error))}"
            if pause is not None:
                time.sleep(pause)
        raise Unavailable(f"{reason}; run the same command again when it is well")


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
