"""What a client is told when its request cannot be served: OpenAI's shape of an error."""

from typing import Any

from fastapi import HTTPException

__all__ = ["Refused", "error_body"]


class Refused(HTTPException):
    """A request that ends with a status and a reason.

    Attributes:
        code: a short name of the reason for programs.
    """

    def __init__(self, status: int, message: str, code: str | None = None) -> None:
        # 429 tells clients to come back, and the others may have gone by then.
        super().__init__(status, message, {"Retry-After": "1"} if status == 429 else None)
        self.code = code


def error_body(status: int, message: str, code: str | None = None) -> dict[str, Any]:
    """Returns the body of an error."""
    kind = "server_error" if status >= 500 else "invalid_request_error"
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}
