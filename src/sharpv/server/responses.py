"""What comes out, in OpenAI's shapes."""

from typing import Any, Literal

from pydantic import BaseModel, Field

__all__ = [
    "Answer",
    "Choice",
    "Completion",
    "Deleted",
    "Failure",
    "Model",
    "Models",
    "StoredFile",
    "Usage",
]


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
