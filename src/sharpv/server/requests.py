"""What goes in, in OpenAI's shapes: the part of them that this server serves, and no more."""

from dataclasses import fields
from typing import Annotated, Any, Literal, Self, get_type_hints

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    create_model,
    model_validator,
)

from sharpv.config import SharpVConfig

__all__ = [
    "ChatRequest",
    "FilePart",
    "ImagePart",
    "Media",
    "Message",
    "Options",
    "Text",
    "VideoPart",
]


MOST_PARTS = 1024
"""Messages of a conversation, and parts of a message."""

MOST_METADATA = 16
MOST_CHARACTERS = 1024
"""Of a name, and of what is not read."""


def _sayable(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("half of a surrogate pair stands alone: send whole characters") from None
    return text


def _few(entries: Any) -> Any:
    # Before each of them is looked at, since each makes an error of its own.
    if isinstance(entries, dict) and len(entries) > MOST_METADATA:
        raise ValueError(f"got {len(entries)} entries: at most {MOST_METADATA} are taken")
    return entries


Words = Annotated[str, AfterValidator(_sayable)]


Short = Annotated[str, Field(max_length=MOST_CHARACTERS)]


class Asked(BaseModel):
    """What a client sends: a key that is not known is an error, not a wish that goes unheard."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _has_known_keys(cls, given: Any) -> Any:
        # The first ends it: pydantic would make an error of each, and a body has room for a million.
        if isinstance(given, dict):
            for key in given:
                if key not in cls.model_fields:
                    raise ValueError(f"got the unknown key {key[:60]!r}: leave it out")
        return given


class Text(Asked):
    """A part of a message."""

    type: Literal["text"]
    text: Words


class VideoUrl(Asked):
    """Where a video is."""

    url: Words = Field(min_length=1, description="http(s), or data:, also data:video/jpeg;base64,FRAME,FRAME")


class ImageUrl(Asked):
    """Where an image is."""

    url: Words = Field(min_length=1, description="http(s) or data:, a JPEG, PNG or WebP")
    detail: Literal["auto", "low", "high"] = Field(
        "auto", description="Not read: the model's processor decides."
    )


class FileId(Asked):
    """An uploaded video."""

    file_id: Short = Field(min_length=1, description="What POST /v1/files returned.")


class VideoPart(Asked):
    """A part of a message."""

    type: Literal["video_url"]
    video_url: VideoUrl


class ImagePart(Asked):
    """A part of a message."""

    type: Literal["image_url"]
    image_url: ImageUrl


class FilePart(Asked):
    """A part of a message."""

    type: Literal["file"]
    file: FileId


Media = VideoPart | ImagePart | FilePart
Part = Annotated[Text | Media, Field(discriminator="type")]


class Message(Asked):
    """One turn."""

    role: Literal["system", "developer", "user", "assistant"]
    content: Words | Annotated[list[Part], Field(min_length=1, max_length=MOST_PARTS, fail_fast=True)]
    name: Short | None = Field(None, description="Not read.")


def _asked_like(config: Any, *without: str) -> type[Asked]:
    """Returns what a client may send for a dataclass: its fields, their types and defaults.

    Args:
        config: the dataclass.
        without: fields that are not for clients as they are.
    """
    types = get_type_hints(config)
    given: dict[str, Any] = {
        item.name: (types[item.name], item.default) for item in fields(config) if item.name not in without
    }
    return create_model(config.__name__, __base__=Asked, __doc__=config.__doc__, **given)


class Options(_asked_like(SharpVConfig, "images_as_frames", "vision_reuse")):  # type: ignore[misc]
    """What SharpV keeps for this request, where it differs from the server's: fields of SharpVConfig."""

    method: Short = "sharpv"
    frames: int = Field(32, ge=1, description="Frames of each video, evenly spread.")
    fps: float = Field(1.0, gt=0, description="Frames per second, instead of frames.")
    vision_reuse: Literal["balanced", "safe"] | None = None


class VideoReading(Asked):
    """Which frames of each video are read, in vLLM's words."""

    num_frames: int = Field(ge=1, description="As frames of sharpv.")


class MediaReading(Asked):
    """How media are read, in vLLM's words."""

    video: VideoReading | None = None


class StreamOptions(Asked):
    """What a stream tells."""

    include_usage: bool = False


class ChatRequest(Asked):
    """POST /v1/chat/completions."""

    model: Short
    messages: list[Message] = Field(min_length=1, max_length=MOST_PARTS, fail_fast=True)
    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    temperature: float | None = Field(None, ge=0, le=2, description="Below 0.01 is greedy; 0 is the default.")
    top_p: float | None = Field(None, gt=0, le=1)
    seed: int | None = Field(None, ge=0, lt=1 << 63)
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    n: Literal[1] | None = 1
    stop: None = None
    tools: None = None
    logprobs: Literal[False] | None = None
    frequency_penalty: Literal[0] | None = None
    presence_penalty: Literal[0] | None = None
    user: Short | None = Field(None, description="Not read.")
    metadata: Annotated[dict[Short, Short] | None, BeforeValidator(_few)] = Field(
        None, description="Not read."
    )
    store: Literal[False] | None = None
    sharpv: Options | None = None
    media_io_kwargs: MediaReading | None = Field(
        None, description="What vLLM calls it, and its clients send."
    )

    @model_validator(mode="after")
    def _reads_frames(self) -> Self:
        """Takes vLLM's word for the number of frames as that of `sharpv`."""
        video = None if self.media_io_kwargs is None else self.media_io_kwargs.video
        if video is not None:
            given = {} if self.sharpv is None else self.sharpv.model_dump(exclude_unset=True)
            if "frames" in given or "fps" in given:
                raise ValueError("got media_io_kwargs.video and sharpv.frames or fps: give one of them")
            self.sharpv = Options(**given, frames=video.num_frames)
        return self
