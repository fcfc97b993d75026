"""Uploaded files: kept for a while, found by an id that nobody can guess."""

import asyncio
import logging
import shutil
import tempfile
import time
from pathlib import Path
from secrets import token_hex
from typing import BinaryIO

from sharpv.server.limits import Limits
from sharpv.server.refused import Refused
from sharpv.server.responses import StoredFile

__all__ = ["Uploads", "unsaved"]

logger = logging.getLogger(__name__)

NAME_LENGTH = 255
LEAST_BYTES = 1 << 16
"""What a small file counts as, so that there cannot be millions of them."""


class Uploads:
    """Files in a folder that goes with the server. For the thread of the event loop."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._folder = tempfile.TemporaryDirectory(prefix="sharpv-uploads-")
        self._files: dict[str, StoredFile] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._taken = 0

    async def keep(self, size: int, filename: str, purpose: str, content: BinaryIO) -> StoredFile:
        """Keeps a file until it expires.

        Args:
            size: its bytes.
            filename: as the client calls it.
            purpose: as the client says.
            content: is read by a thread of its own.

        Raises:
            Refused: it is too large, no room is left, or it cannot be written.
        """
        self._take(size)
        file_id = f"file-{token_hex(16)}"
        try:
            await asyncio.to_thread(_copy, content, self._path(file_id))
        except BaseException as error:
            self._remove(file_id, size)
            if not isinstance(error, OSError):
                raise
            raise unsaved(error) from None
        now, seconds = int(time.time()), self._limits.stored_seconds
        self._files[file_id] = StoredFile(
            id=file_id,
            bytes=size,
            created_at=now,
            expires_at=now + int(seconds),
            filename=filename[:NAME_LENGTH],
            purpose=purpose[:NAME_LENGTH],
        )
        self._timers[file_id] = asyncio.get_running_loop().call_later(seconds, self._forget, file_id)
        return self._files[file_id]

    def find(self, file_id: str) -> StoredFile:
        """Returns a file.

        Raises:
            Refused: there is none of this id.
        """
        if file_id not in self._files:
            raise Refused(
                404, f"got the file {file_id[:60]!r}: there is none, or it has expired", "file_not_found"
            )
        return self._files[file_id]

    def path(self, file_id: str) -> str:
        """Returns where a file is.

        Raises:
            Refused: there is none of this id.
        """
        return str(self._path(self.find(file_id).id))

    def delete(self, file_id: str) -> None:
        """Forgets a file.

        Raises:
            Refused: there is none of this id.
        """
        self._forget(self.find(file_id).id)

    def close(self) -> None:
        """Deletes all files."""
        for timer in self._timers.values():
            timer.cancel()
        self._folder.cleanup()

    def _take(self, size: int) -> None:
        most = self._limits.upload_bytes
        if size > most:
            raise Refused(413, f"got a file of {size} bytes: the server takes {most} (upload_bytes)")
        if self._taken + max(size, LEAST_BYTES) > self._limits.stored_bytes:
            raise Refused(
                429,
                "no room is left for files (stored_bytes): delete some, or try again later",
                "storage_full",
            )
        self._taken += max(size, LEAST_BYTES)

    def _forget(self, file_id: str) -> None:
        self._timers.pop(file_id).cancel()
        self._remove(file_id, self._files.pop(file_id).bytes)

    def _remove(self, file_id: str, size: int) -> None:
        self._taken -= max(size, LEAST_BYTES)
        self._path(file_id).unlink(missing_ok=True)

    def _path(self, file_id: str) -> Path:
        return Path(self._folder.name) / file_id


def unsaved(error: OSError) -> Refused:
    """Logs that an upload cannot be written, and returns what its client is told."""
    logger.error("an upload cannot be written: %s", error)
    return Refused(
        503, "the server cannot write the file, perhaps for want of room: try again later", "no_room"
    )


def _copy(content: BinaryIO, path: Path) -> None:
    with path.open("xb") as target:
        shutil.copyfileobj(content, target)
