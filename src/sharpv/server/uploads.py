"""Uploaded files: kept for a while, found by an id that nobody can guess."""

import shutil
import tempfile
import time
from pathlib import Path
from secrets import token_hex
from typing import BinaryIO

from sharpv.server.limits import Limits
from sharpv.server.refused import Refused
from sharpv.server.schema import StoredFile

__all__ = ["Uploads"]

NAME_LENGTH = 255


class Uploads:
    """Files in a folder that goes with the server."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._folder = tempfile.TemporaryDirectory(prefix="sharpv-uploads-")
        self._files: dict[str, StoredFile] = {}

    def reserve(self, size: int, filename: str, purpose: str) -> StoredFile:
        """Makes room for a file, which `write` fills.

        Raises:
            Refused: it is too large, or no room is left.
        """
        self._forget_old()
        if size > self._limits.upload_bytes:
            raise Refused(
                413,
                f"got a file of {size} bytes: the server takes {self._limits.upload_bytes} (upload_bytes)",
            )
        if size + sum(file.bytes for file in self._files.values()) > self._limits.stored_bytes:
            raise Refused(
                429,
                "no room is left for files (stored_bytes): delete some, or try again later",
                "storage_full",
            )
        now = int(time.time())
        file = StoredFile(
            id=f"file-{token_hex(16)}",
            bytes=size,
            created_at=now,
            expires_at=now + int(self._limits.stored_seconds),
            filename=filename[:NAME_LENGTH],
            purpose=purpose[:NAME_LENGTH],
        )
        self._files[file.id] = file
        return file

    def write(self, file: StoredFile, content: BinaryIO) -> None:
        """Writes what has been reserved.

        Raises:
            OSError: the disk is full.
        """
        try:
            with self._path(file.id).open("wb") as target:
                shutil.copyfileobj(content, target)
        except OSError:
            self.delete(file.id)
            raise

    def find(self, file_id: str) -> StoredFile:
        """Returns a file.

        Raises:
            Refused: there is none of this id.
        """
        self._forget_old()
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
        del self._files[self.find(file_id).id]
        self._path(file_id).unlink(missing_ok=True)

    def close(self) -> None:
        """Deletes all files."""
        self._folder.cleanup()

    def _path(self, file_id: str) -> Path:
        return Path(self._folder.name) / file_id

    def _forget_old(self) -> None:
        for old in [file.id for file in self._files.values() if file.expires_at <= time.time()]:
            del self._files[old]
            self._path(old).unlink(missing_ok=True)
