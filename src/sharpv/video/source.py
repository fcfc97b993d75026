"""Turns what the caller names (a path, bytes, a file, a URL) into one seekable binary file."""

import base64
import binascii
import http.client
import io
import os
import re
import tempfile
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from sharpv.errors import VideoError

__all__ = ["Source", "open_source"]

Source = str | os.PathLike[str] | bytes | BinaryIO

URL_TIMEOUT = 30.0  # seconds without data
URL_MAX_BYTES = 4 << 30
SPOOL_BYTES = 64 << 20  # larger downloads go to disk
CHUNK_BYTES = 1 << 20
SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")


@contextmanager
def open_source(source: Source) -> Iterator[tuple[BinaryIO, str]]:
    """Opens a source for reading from its start.

    Yields:
        A seekable binary file, and a short name of the source for messages. What was opened here is closed on
        exit; the caller's own file stays open.

    Raises:
        VideoError: The source is missing, empty, unreachable or not of a known kind.
    """
    file, name, ours = _open(source)
    try:
        if file.seek(0, io.SEEK_END) == 0:
            raise VideoError(f"cannot read {name}: it is empty (0 bytes); give a video file")
        file.seek(0)
        yield file, name
    finally:
        if ours:
            file.close()


def _open(source: Source) -> tuple[BinaryIO, str, bool]:
    if isinstance(source, bytes | bytearray | memoryview):
        return io.BytesIO(source), f"video of {len(source)} bytes", True
    if isinstance(source, str):
        if source[:5].lower() == "data:":
            return io.BytesIO(_data_url(source)), "data: URL", True
        scheme = SCHEME.match(source)
        if scheme and scheme[1].lower() in ("http", "https"):
            return _download(source), _public(source), True
        if scheme:
            raise VideoError(
                f"cannot open {_public(source)}: {scheme[1]}:// is not supported; "
                "give a path, bytes, a binary file, or an http://, https:// or data: URL"
            )
    if isinstance(source, str | os.PathLike):
        return _open_path(Path(source)), repr(str(source)), True
    if hasattr(source, "read"):
        file, ours = _caller_file(source)
        return file, f"video file object {getattr(source, 'name', type(source).__name__)!r}", ours
    raise VideoError(
        f"cannot read a video from {type(source).__name__}; "
        "give a path, bytes, a binary file, or an http://, https:// or data: URL"
    )


def _open_path(path: Path) -> BinaryIO:
    try:
        if path.is_dir():
            raise VideoError(f"cannot open {str(path)!r}: it is a directory; name one video file in it")
        if path.exists() and not path.is_file():
            raise VideoError(f"cannot open {str(path)!r}: it is not a regular file; give its bytes instead")
        return path.open("rb")
    except FileNotFoundError:
        raise VideoError(f"cannot open {str(path)!r}: no such file; check the path") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise VideoError(f"cannot open {str(path)!r}: {reason}; check the path and its permissions") from None


def _caller_file(file: BinaryIO) -> tuple[BinaryIO, bool]:
    """The caller's file from its start, or a copy where it cannot seek (a pipe, a socket)."""
    try:
        if not isinstance(file.read(0), bytes):
            raise VideoError("cannot read a video from a text file object; open it in binary mode ('rb')")
        if hasattr(file, "seek") and (not hasattr(file, "seekable") or file.seekable()):
            return file, False
        return _spool(file, "video file object"), True
    except (OSError, ValueError) as error:
        raise VideoError(f"cannot read the video file object: {error}; give an open binary file") from None


def _data_url(url: str) -> bytes:
    header, comma, payload = url.partition(",")
    if not comma or not header.lower().endswith(";base64"):
        raise VideoError(
            f"bad data: URL {header[:60]!r}: it must read 'data:video/mp4;base64,' followed by base64 text"
        )
    try:
        return base64.b64decode(b"".join(urllib.parse.unquote_to_bytes(payload).split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise VideoError(f"bad data: URL {header[:60]!r}: {error}; encode the video as base64") from None


def _download(url: str) -> BinaryIO:
    # FFmpeg could read the URL itself, but counting frames reads every byte anyway; one download serves
    # counting and decoding, also from servers without byte ranges, verifies TLS, and FFmpeg gets no network.
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler,
        urllib.request.HTTPHandler,
        urllib.request.HTTPSHandler,
        urllib.request.HTTPRedirectHandler,
        urllib.request.HTTPDefaultErrorHandler,
        urllib.request.HTTPErrorProcessor,
    ):
        opener.add_handler(handler())
    try:
        request = urllib.request.Request(url, headers={"User-Agent": "sharpv"})
        response = opener.open(request, timeout=URL_TIMEOUT)
        if response is None:  # a redirect to a scheme without a handler, such as ftp
            raise VideoError(f"cannot fetch {_public(url)}: it leads to a scheme other than http or https")
        with response:
            return _spool(response, _public(url), response.headers.get("Content-Length"))
    except urllib.error.HTTPError as error:
        reason = f"the server answered {error.code} {error.reason}"
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = str(getattr(error, "reason", None) or error) or type(error).__name__
    raise VideoError(f"cannot fetch {_public(url)}: {_one_line(reason)}; check the URL and the network")


def _spool(reader: BinaryIO, name: str, length: str | None = None) -> BinaryIO:
    file = cast(BinaryIO, tempfile.SpooledTemporaryFile(max_size=SPOOL_BYTES))  # noqa: SIM115 - the caller closes it
    total = 0
    try:
        while chunk := reader.read(CHUNK_BYTES):
            total += len(chunk)
            if total > URL_MAX_BYTES:
                raise VideoError(f"{name} is larger than {URL_MAX_BYTES} bytes; save it to a file first")
            file.write(chunk)
        # http.client ends a read(n) quietly when the connection drops.
        if length is not None and length.isdigit() and total < int(length):
            raise VideoError(
                f"cannot fetch {name}: the connection ended after {total} of {length} bytes; try again"
            )
    except BaseException:
        file.close()
        raise
    return file


def _public(url: str) -> str:
    """The URL for messages: no password, no query (it may hold a signature)."""
    try:
        parts = urllib.parse.urlsplit(url)
        return repr(f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"[:200])
    except ValueError:
        return "URL"


def _one_line(text: str) -> str:
    return " ".join(text.split())
