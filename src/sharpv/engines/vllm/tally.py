"""How many visual tokens the videos of a request have and keep: from the processor to the server's answer."""

from threading import Lock

__all__ = ["REQUEST_ID", "expect", "note", "take"]

REQUEST_ID = "sharpv_request"
"""The name under which the server gives a request its number, in `mm_processor_kwargs`."""

# The processor works in threads, and may end after the request that it works for has been given up.
_lock = Lock()
_counts: dict[str, tuple[int, int] | None] = {}


def expect(request: str) -> None:
    """Lets the counts of a request be noted, from here until they are taken."""
    with _lock:
        _counts[request] = None


def note(request: str, tokens: int, kept: int) -> None:
    """Notes the visual tokens of a request, all and kept, if they are expected."""
    with _lock:
        if request in _counts:
            _counts[request] = tokens, kept


def take(request: str) -> tuple[int, int] | None:
    """Returns what has been noted of a request, and forgets it."""
    with _lock:
        return _counts.pop(request, None)
