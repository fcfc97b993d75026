"""How many visual tokens the videos of a request have and keep: from the processor to the server's answer."""

__all__ = ["REQUEST_ID", "note", "take"]

REQUEST_ID = "sharpv_request"
"""The name under which the server gives a request its number, in `mm_processor_kwargs`."""

# The processor works in threads, each request in one; a single assignment or removal needs no lock.
_counts: dict[str, tuple[int, int]] = {}


def note(request: str, tokens: int, kept: int) -> None:
    """Notes the visual tokens of a request, all and kept, until they are taken."""
    _counts[request] = tokens, kept


def take(request: str) -> tuple[int, int] | None:
    """Returns what has been noted of a request, and forgets it."""
    return _counts.pop(request, None)
