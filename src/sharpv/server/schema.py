"""What goes in and out, in OpenAI's shapes: the part of them that this server serves, and no more."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

__all__ = [
    "Answer",
    "ChatRequest",
    "Choice",
    "Completion",
    "Deleted",
    "Failure",
    "FilePart",
    "ImagePart",
    "Media",
    "Message",
    "Model",
    "Models",
    "Options",
    "StoredFile",
    "Text",
    "Usage",
    "VideoPart",
]


MOST_PARTS = 1024
"""Messages of a conversation, and parts of a message."""

MOST_METADATA = 16


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

    file_id: str = Field(min_length=1, description="What POST /v1/files returned.")


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
    name: str | None = Field(None, description="Not read.")


class Options(Asked):
    """What SharpV keeps for this request, where it differs from the server's: fields of SharpVConfig."""

    method: str = "sharpv"
    frames: int = Field(32, ge=1, description="Frames of each video, evenly spread.")
    fps: float = Field(1.0, gt=0, description="Frames per second, instead of frames.")
    retention: Literal["adaptive"] | float = "adaptive"
    threshold: float | None = None
    spatial_weight: float = 1.0
    coverage: float = 0.0
    diversity: bool = False
    memory_threshold: float | None = 0.2
    min_tokens_per_frame: int = 1
    bucket: int = 1
    memory_probe: Literal["input", "output"] = "input"
    positions: Literal["original", "compact"] = "original"
    vision_reuse: Literal["balanced", "safe"] | None = None


class StreamOptions(Asked):
    """What a stream tells."""

    include_usage: bool = False


class ChatRequest(Asked):
    """POST /v1/chat/completions."""

    model: str
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
    user: str | None = Field(None, description="Not read.")
    metadata: Annotated[dict[str, str] | None, BeforeValidator(_few)] = Field(None, description="Not read.")
    store: Literal[False] | None = None
    sharpv: Options | None = None


class Usage(BaseModel):
    """Tokens of one request."""

    prompt_tokens: int = Field(description="What the LLM read.")
    completion_tokens: int
    total_tokens: int
    dense_prompt_tokens: int = Field(description="What it would have read without SharpV.")


class Answer(BaseModel):
    """What the model said."""

    role: Literal["assistant"] = "assistant"
    content: str


class Choice(BaseModel):
    """The one answer."""

    index: Literal[0] = 0
    message: Answer
    finish_reason: Literal["stop", "length"]
    logprobs: None = None


class Completion(BaseModel):
    """The answer to a chat request that does not stream."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[Choice]
    usage: Usage
    sharpv: dict[str, Any] = Field(description="What was kept, and what it cost: see docs/serve.md.")


class Model(BaseModel):
    """A model that is served."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: Literal["sharpv"] = "sharpv"


class Models(BaseModel):
    """GET /v1/models."""

    object: Literal["list"] = "list"
    data: list[Model]


class StoredFile(BaseModel):
    """An uploaded file."""

    id: str
    object: Literal["file"] = "file"
    bytes: int
    created_at: int
    expires_at: int
    filename: str
    purpose: str
    status: Literal["processed"] = "processed"


class Deleted(BaseModel):
    """What is left of a deleted file."""

    id: str
    object: Literal["file"] = "file"
    deleted: Literal[True] = True


class Reason(BaseModel):
    """Why a request was not served."""

    message: str
    type: str
    param: str | None
    code: str | None


class Failure(BaseModel):
    """The body of every error."""

    error: Reason
