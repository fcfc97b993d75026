"""One model in service: from a chat request to the model's reply."""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from PIL.Image import Image

from sharpv.config import SharpVConfig
from sharpv.errors import InputError, SharpVError
from sharpv.hf.ask import VideoModel
from sharpv.hf.attach import check_fit
from sharpv.hf.chat import Decoding, Message, Part, Reply, chat
from sharpv.methods import find_pruner
from sharpv.server.line import Line
from sharpv.server.load import load_media
from sharpv.server.media import Access, Medium, check
from sharpv.server.metrics import Metrics
from sharpv.server.refused import Refused
from sharpv.server.requests import ChatRequest, FilePart, ImagePart, Media, Options, Text
from sharpv.server.uploads import Uploads
from sharpv.video import Sampling, Video

__all__ = ["Served", "Service", "Settings"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a server does where a request does not say, and what it takes.

    Attributes:
        config: what to keep.
        method: what chooses the tokens, as for `sharpv.attach`.
        sampling: which frames of a video are read.
        access: media and limits.
    """

    config: SharpVConfig = field(default_factory=SharpVConfig)
    method: str = "sharpv"
    sampling: Sampling = field(default_factory=Sampling)
    access: Access = field(default_factory=Access)

    def asked(self, options: Options | None) -> "Settings":
        """Returns the settings of one request.

        Raises:
            Refused: a value outside its range, or two that exclude each other.
        """
        given = {} if options is None else options.model_dump(exclude_unset=True)
        most = self.access.limits.frames
        method = given.pop("method", self.method)
        rule = {name: given.pop(name) for name in ("frames", "fps") if name in given}
        if rule.get("frames", 0) > most:
            raise Refused(
                400, f"got sharpv.frames={rule['frames']}: the server reads at most {most} (frames)"
            )
        try:
            sampling = self.sampling
            if rule:
                sampling = Sampling(**rule, max_frames=most if "fps" in rule else None)
            config = SharpVConfig.from_dict({**self._own(given), **given})
        except (ValueError, OverflowError) as error:
            raise Refused(400, str(error), "bad_options") from None
        return Settings(config=config, method=method, sampling=sampling, access=self.access)

    def _own(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the fields of the server's config, less what a request puts another rule in place of."""
        own = self.config.to_dict()
        if "retention" in given:
            own["threshold"] = None
        if given.get("threshold") is not None:
            own["retention"] = "adaptive"
        return own


@dataclass(frozen=True, slots=True)
class Served:
    """A reply, and what the videos' files were like.

    Attributes:
        reply: the model's.
        warnings: what was wrong with videos.
    """

    reply: Reply
    warnings: tuple[str, ...]


class Service:
    """A model, and the line of requests before it.

    Attributes:
        name: of the model, in requests and answers.
        started: when, in seconds since 1970.
        settings: where a request does not say.
        metrics: what has been served.
        uploads: files that requests may name.
        line: of the requests.
    """

    def __init__(self, loaded: VideoModel, name: str, settings: Settings) -> None:
        self.name = name
        self.started = int(time.time())
        self.settings = settings
        self.metrics = Metrics()
        limits = settings.access.limits
        self.uploads = Uploads(limits)
        self.line = Line(limits)
        self._loaded = loaded
        self._limits = limits

    async def answer(self, asked: ChatRequest, on_text: Callable[[str], object]) -> Served:
        """Answers a request when its turn has come.

        Args:
            asked: the request.
            on_text: is given the answer piece by piece, in this thread.

        Raises:
            Refused: it cannot be served.
        """
        settings, decoding, media = self._checked(asked)
        loop = asyncio.get_running_loop()
        came = time.monotonic()

        def say(text: str) -> None:
            loop.call_soon_threadsafe(on_text, text)

        try:
            async with asyncio.timeout(self._limits.request_seconds) as limit, self.line.place(bool(media)):
                let_in = time.monotonic()
                loaded = await load_media(media, settings.sampling, settings.access)
                ready = time.monotonic()
                messages = _conversation(asked, loaded)
                job = partial(self._reply, messages, settings, decoding, say)
                began, reply = await self.line.run(lambda stopped: (time.monotonic(), job(stopped)))
        except TimeoutError:
            if not limit.expired():
                raise
            seconds = self._limits.request_seconds
            raise Refused(408, f"not answered within {seconds} s (request_seconds)", "timeout") from None
        waited = {"queue": let_in - came + began - ready, "media": ready - let_in}
        self.metrics.add_report(reply.report, reply.tokens, waited)
        clips = [medium for medium in loaded if isinstance(medium, Video)]
        return Served(reply, tuple(warning for clip in clips for warning in clip.warnings))

    def close(self) -> None:
        """Answers no more."""
        self.line.close()
        self.uploads.close()

    def _checked(self, asked: ChatRequest) -> tuple[Settings, Decoding, list[Medium]]:
        """Refuses what can be refused before a request gets a place in the line."""
        if asked.model != self.name:
            raise Refused(
                404, f"got the model {asked.model[:60]!r}: this is {self.name!r}", "model_not_found"
            )
        limits = self._limits
        tokens = asked.max_completion_tokens or asked.max_tokens or limits.answer_tokens
        if tokens > limits.answer_tokens:
            raise Refused(
                400, f"got max_tokens={tokens}: the server writes {limits.answer_tokens} (answer_tokens)"
            )
        letters = sum(
            len(part)
            for message in asked.messages
            for part in _parts(message.content)
            if isinstance(part, str)
        )
        if letters > limits.text_characters:
            raise Refused(
                400, f"got {letters} characters: the server reads {limits.text_characters} (text_characters)"
            )
        media = [
            self._medium(part)
            for message in asked.messages
            for part in _parts(message.content)
            if not isinstance(part, str)
        ]
        if len(media) > limits.frames:
            raise Refused(
                400, f"got {len(media)} videos and images: the server reads {limits.frames} (frames)"
            )
        decoding = Decoding(
            max_new_tokens=tokens,
            temperature=asked.temperature or 0.0,
            top_p=1.0 if asked.top_p is None else asked.top_p,
            seed=asked.seed,
        )
        return self._asked_settings(asked), decoding, media

    def _asked_settings(self, asked: ChatRequest) -> Settings:
        settings = self.settings.asked(asked.sharpv)
        try:
            check_fit(self._loaded.model, settings.config, find_pruner(settings.method))
        except SharpVError as error:
            raise Refused(400, str(error), "bad_options") from None
        return settings

    def _medium(self, part: Media) -> Medium:
        if isinstance(part, FilePart):
            return Medium("video", path=self.uploads.path(part.file.file_id))
        if isinstance(part, ImagePart):
            medium = Medium("image", part.image_url.url)
        else:
            medium = Medium("video", part.video_url.url)
        try:
            check(medium, self.settings.access)
        except InputError as error:
            raise Refused(400, str(error), "bad_media") from None
        return medium

    def _reply(
        self,
        messages: list[Message],
        settings: Settings,
        decoding: Decoding,
        say: Callable[[str], object],
        stopped: Callable[[], bool],
    ) -> Reply:
        """Asks the model, in its thread; what goes wrong gets a status."""
        try:
            return chat(self._loaded, messages, settings.config, decoding, settings.method, say, stopped)
        except InputError as error:
            reason = " ".join(str(error).split())
            logger.warning("a request was refused: %s", reason, exc_info=error.__cause__)
            raise Refused(400, reason, "cannot_be_read") from None
        except Exception as error:
            if _is_want_of_memory(error):
                logger.error("out of memory: %s", error or type(error).__name__)
                reason = "the device ran out of memory: send fewer frames"
                raise Refused(503, reason, "out_of_memory") from None
            logger.exception("the model failed")
            raise Refused(
                500, f"the model failed ({type(error).__name__}): the server's log says why"
            ) from None


def _is_want_of_memory(error: Exception) -> bool:
    # torch has no type of its own for the CPU's.
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)


def _parts(content: str | list[Text | Media]) -> list[str | Media]:
    if isinstance(content, str):
        return [content]
    return [part.text if isinstance(part, Text) else part for part in content]


def _conversation(asked: ChatRequest, loaded: list[Video | Image]) -> list[Message]:
    """Puts the media that have been loaded in their places."""
    media = iter(loaded)
    messages = []
    for message in asked.messages:
        parts: tuple[Part, ...] = tuple(
            part if isinstance(part, str) else next(media) for part in _parts(message.content)
        )
        messages.append(Message("system" if message.role == "developer" else message.role, parts))
    return messages
