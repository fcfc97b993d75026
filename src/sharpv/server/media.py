"""From what a request names to pictures in memory, within the server's limits."""

import base64
import binascii
import io
import tempfile
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Literal, cast
from urllib.parse import unquote_to_bytes, urlsplit

import numpy as np
from PIL.Image import Image

from sharpv.errors import InputError
from sharpv.server.fetch import check_url, fetch
from sharpv.server.limits import Limits
from sharpv.server.pictures import image_size, read_image
from sharpv.video import Sampling, Video, read_video, sample_indices
from sharpv.video.clip import open_clip
from sharpv.video.clock import read_clock
from sharpv.video.index import index_packets

__all__ = ["Access", "Gone", "Medium", "check", "load"]

JPEGS = "data:video/jpeg;base64,"
"""What begins a URL of single frames, which have commas between them."""

NAME = "the clip"


class Gone(InputError):
    """An uploaded file was deleted, or has expired, while its request waited."""


@dataclass(frozen=True, slots=True)
class Medium:
    """A video or an image of a request.

    Attributes:
        kind: which of the two.
        url: http, https, `data:` or, where the server allows a folder, `file:`.
        path: of an uploaded file, which goes before the URL.
    """

    kind: Literal["video", "image"]
    url: str = ""
    path: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """What media a server takes.

    Attributes:
        limits: of the server.
        allow_private: whether it fetches from addresses inside its own network.
        folder: the one from which `file:` URLs may be read; None for none.
    """

    limits: Limits = field(default_factory=Limits)
    allow_private: bool = False
    folder: str | None = None


def check(medium: Medium, access: Access) -> None:
    """Checks what can be told of a medium without looking at it.

    Raises:
        InputError: it would be refused.
    """
    if medium.path is not None:
        return
    scheme, head = _scheme(medium.url), medium.url[:60]
    if not medium.url.isascii():
        raise InputError("got a URL with characters that are not ASCII: percent-encode them")
    if scheme not in ("data", "file"):
        check_url(medium.url)
    if scheme == "file" and access.folder is None:
        raise InputError("got a file: URL: the server reads no files of its own; send the data")
    if scheme not in ("http", "https", "data", "file"):
        raise InputError(f"got the URL {head!r}: give http, https, or data: with base64")
    if scheme == "data" and not medium.url.partition(",")[0].lower().endswith(";base64"):
        raise InputError(f"got the data URL {head!r}: it must be base64")


def load(media: Sequence[Medium], sampling: Sampling, access: Access) -> list[Video | Image]:
    """Reads the media of a request, in their order.

    Raises:
        Gone: an uploaded file is no longer there.
        InputError: one is not to be had, or exceeds a limit.
        VideoError: a video cannot be decoded.
    """
    budget = _Budget(access.limits)
    loaded: list[Video | Image] = []
    for medium in media:
        check(medium, access)
        if medium.kind == "video" and medium.url[: len(JPEGS)].lower() == JPEGS:
            loaded.append(_frames(medium.url[len(JPEGS) :], budget))
            continue
        with _opened(medium, access) as file:
            if file.seek(0, io.SEEK_END) > access.limits.media_bytes:
                raise InputError(f"got media of more than {access.limits.media_bytes} bytes (media_bytes)")
            file.seek(0)
            loaded.append(_clip(file, sampling, budget) if medium.kind == "video" else _image(file, budget))
    return loaded


class _Budget:
    """The frames and pixels that a request may still have in memory."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._frames = limits.frames
        self._pixels = limits.total_pixels

    def take(self, pictures: int, width: int, height: int) -> None:
        """Counts pictures of one size.

        Raises:
            InputError: they are too many, or too large.
        """
        limits = self.limits
        if width * height > limits.pixels:
            raise InputError(
                f"got pictures of {width} x {height}: the server takes {limits.pixels} pixels (pixels)"
            )
        self._frames -= pictures
        self._pixels -= pictures * width * height
        if self._frames < 0:
            raise InputError(
                f"got more than {limits.frames} frames and images (frames): ask for fewer, as "
                "sharpv={'frames': 16}"
            )
        if self._pixels < 0:
            raise InputError(
                f"got more than {limits.total_pixels} pixels (total_pixels): send fewer or smaller frames"
            )

    def give_back(self, pictures: int, width: int, height: int) -> None:
        """Undoes `take`."""
        self._frames += pictures
        self._pixels += pictures * width * height


@contextmanager
def _opened(medium: Medium, access: Access) -> Iterator[BinaryIO]:
    scheme = _scheme(medium.url)
    if medium.path is not None:
        with _uploaded(medium.path) as uploaded:
            yield uploaded
    elif scheme == "data":
        yield io.BytesIO(_from_base64(medium.url.partition(",")[2]))
    elif scheme in ("http", "https"):
        with tempfile.TemporaryFile() as fetched:
            file = cast(BinaryIO, fetched)
            fetch(medium.url, file, access.limits.media_bytes, access.allow_private)
            file.seek(0)
            yield file
    elif access.folder is not None:
        with _local(medium.url, access.folder) as local:
            yield local


def _uploaded(path: str) -> BinaryIO:
    try:
        return open(path, "rb")
    except FileNotFoundError:
        raise Gone("an uploaded file was deleted, or has expired, before it was read") from None


def _scheme(url: str) -> str:
    return url[:10].partition(":")[0].lower()


def _local(url: str, folder: str) -> BinaryIO:
    """Opens the file of a `file:` URL that is inside the folder, also after its links are followed."""
    path = Path(urllib.request.url2pathname(urlsplit(url).path))
    try:
        path = path.resolve()
        if path.is_relative_to(Path(folder).resolve()) and path.is_file():
            return path.open("rb")
    except (OSError, ValueError):
        pass
    raise InputError("got a file: URL that is no file in the folder that the server allows")


def _from_base64(text: str) -> bytes:
    try:
        return base64.b64decode(unquote_to_bytes(text), validate=True)
    except (binascii.Error, ValueError) as error:
        raise InputError(f"got a data URL that is not base64 ({error})") from None


def _image(file: BinaryIO, budget: _Budget) -> Image:
    budget.take(1, *image_size(file))
    return read_image(file)


def _frames(texts: str, budget: _Budget) -> Video:
    """Reads single frames, which are taken to be a second apart, since nothing says when they were shown."""
    parts = texts.split(",", budget.limits.frames + 1)
    pictures = [_image(io.BytesIO(_from_base64(text)), budget) for text in parts]
    sizes = sorted({picture.size for picture in pictures})
    if len(sizes) > 1:
        raise InputError(f"got frames of {sizes[0]} and {sizes[1]} pixels in one video: give one size")
    n = len(pictures)
    frames = np.stack([np.asarray(picture) for picture in pictures])
    return Video(frames, np.arange(n, dtype=np.float64), np.arange(n), n, 1.0, float(n))


def _clip(file: BinaryIO, sampling: Sampling, budget: _Budget) -> Video:
    limits = budget.limits
    with open_clip(file, NAME, 0, threads=False) as clip:
        index = index_packets(clip)
        clock = read_clock(clip, index.pts.tolist() or [0], index.last_duration)
        seconds = max(clock.duration or 0.0, (clip.container.duration or 0) / 1e6)
        if seconds > limits.video_seconds:
            raise InputError(
                f"got a video of {seconds:.0f} s: the server takes {limits.video_seconds} (video_seconds)"
            )
        context = clip.stream.codec_context
        promised = len(sample_indices(sampling, clock.times)), context.width, context.height
        budget.take(*promised)
    video = read_video(file, sampling)
    n, height, width = video.frames.shape[:3]
    # Of a damaged clip, the header and the packets do not tell the truth.
    budget.give_back(*promised)
    budget.take(n, width, height)
    return video
