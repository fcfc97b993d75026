"""What a server spends on others at the most."""

from collections.abc import Iterable
from dataclasses import dataclass, fields
from math import inf
from typing import Self

from sharpv.errors import InputError

__all__ = ["CONNECTIONS", "Limits"]

MIB = 1 << 20
CONNECTIONS = 1024
"""Above it, connections are answered 503 at once."""

CONNECTION_BYTES = 128 << 10
SPOOL_BYTES = MIB
"""Of an upload, what is beyond goes to disk as it comes."""

BODY_COPIES = 10
"""Of the one body that is being read: as bytes, as text of up to 4 bytes a character, twice."""

BYTES_PER_PIXEL = 3
MODEL_COPIES = 6
"""Of the frames that are being prepared for the model: as they come, turned, and as float32."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds, all above 0. What exceeds one is refused, and told which.

    Attributes:
        body_bytes: of the JSON of a request.
        held_bytes: of all bodies that are held at once.
        body_seconds: for a body to arrive, and for a client to take a piece of an answer.
        text_characters: of all texts of a conversation.
        answer_tokens: of an answer, also where a request does not say.
        queue: requests that are served or wait.
        loaded: requests whose media are in memory: one is answered, the others are ready.
        request_seconds: from the place in the queue to the end of the answer.
        media_bytes: of a video or an image, sent or fetched.
        media_seconds: to fetch and decode the media of a request.
        media_memory_bytes: of the process that does so (Linux).
        video_seconds: of a video.
        frames: of all videos of a request, sampled, and its images.
        pixels: of a frame or an image.
        total_pixels: of all of them.
        upload_bytes: of an uploaded file.
        stored_bytes: of all uploaded files.
        stored_seconds: for which an uploaded file is kept.
    """

    body_bytes: int = 32 * MIB
    held_bytes: int = 512 * MIB
    body_seconds: float = 30
    text_characters: int = 100_000
    answer_tokens: int = 1024
    queue: int = 128
    loaded: int = 4
    request_seconds: float = 600
    media_bytes: int = 256 * MIB
    media_seconds: float = 60
    media_memory_bytes: int = 4096 * MIB
    video_seconds: float = 3600
    frames: int = 128
    pixels: int = 4096 * 2304
    total_pixels: int = 200_000_000
    upload_bytes: int = 256 * MIB
    stored_bytes: int = 2048 * MIB
    stored_seconds: float = 3600

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            whole = isinstance(field.default, int) and not field.name.endswith("seconds")
            if isinstance(value, bool) or not isinstance(value, int if whole else int | float):
                raise InputError(f"limit {field.name} is {value!r}: give a {'whole ' * whole}number")
            if not 0 < value < inf:
                raise InputError(f"limit {field.name} is {value!r}: give a number above 0")

    @property
    def memory_bytes(self) -> int:
        """The most memory that requests take beside the loaded model and the answer that it is at."""
        decoded = self.total_pixels * BYTES_PER_PIXEL
        waiting = self.held_bytes + BODY_COPIES * self.body_bytes
        at_media = self.media_memory_bytes + decoded + 2 * self.body_bytes
        uploads = min(self.stored_bytes, CONNECTIONS * SPOOL_BYTES)
        model = MODEL_COPIES * decoded
        return waiting + self.loaded * at_media + model + uploads + CONNECTIONS * CONNECTION_BYTES

    @classmethod
    def from_texts(cls, texts: Iterable[str]) -> Self:
        """Builds the limits from texts such as `queue=16`; the others stay at their defaults.

        Raises:
            InputError: an unknown name, or no number above 0.
        """
        known, given = [field.name for field in fields(cls)], {}
        for text in texts:
            name, _, value = text.partition("=")
            if name not in known:
                raise InputError(f"got the limit {text!r}: give name=number, with one of {', '.join(known)}")
            try:
                given[name] = float(value) if "." in value else int(value)
            except ValueError:
                raise InputError(f"limit {name} is {value!r}: give a number") from None
        return cls(**given)  # type: ignore[arg-type]
