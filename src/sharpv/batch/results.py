"""The lines of a job in a file that a later run goes on from, and the settings beside it."""

import json
import os
import stat
from collections.abc import Collection, Iterable, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Self

import numpy as np

from sharpv.batch.beside import Beside
from sharpv.batch.index import Index
from sharpv.errors import InputError

__all__ = ["Results"]

NOWHERE = -1


class Results:
    """The output of a job: a row is done when its whole line stands there.

    One run at a time holds it, by a lock on the file of settings that the system gives back when the process
    dies, however it does.

    Attributes:
        offsets: per row of the manifest, where in the file its line starts; -1 where it has none.
        failed: per row, whether its line says an error.
    """

    def __init__(
        self, path: Path, index: Index, settings: Mapping[str, Any], later: Collection[str] = ()
    ) -> None:
        """Starts a file, or goes on in one of the same settings; half a line at its end is cut off.

        Args:
            path: of the JSON lines; a link is followed.
            index: of the manifest.
            settings: whatever can change an answer, as plain JSON values, as far as it is known.
            later: names of settings that `settle` will bring.

        Raises:
            InputError: the file holds something else, is in use, or cannot be written.
        """
        self._path, self._index = Path(os.path.realpath(path)), index
        self.offsets = np.full(len(index), NOWHERE, np.int64)
        self.failed = np.zeros(len(index), bool)
        try:
            with ExitStack() as opened:
                self._beside = opened.enter_context(Beside(self._path, settings, later))
                self._file = opened.enter_context(self._path.open("a+b", buffering=0))
                self._read()
                opened.pop_all()
        except OSError as error:
            raise InputError(
                f"cannot use {str(path)!r}: {error.strerror}; give a file that can be written"
            ) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._beside.close()

    @property
    def done(self) -> int:
        """Number of rows with a line."""
        return int((self.offsets != NOWHERE).sum())

    @property
    def errors(self) -> int:
        """Number of rows whose line says an error."""
        return int(self.failed.sum())

    def settle(self, found: Mapping[str, Any]) -> None:
        """Takes the settings that were not known before. To be called before the first line is added.

        Raises:
            InputError: the lines that are there were made with others.
        """
        self._beside.settle(found)

    def add(self, number: int, line: Mapping[str, Any]) -> None:
        """Appends the line of a row, in the hands of the system before this returns.

        Raises:
            InputError: it cannot be written; the rows before it stay done.
        """
        data = (json.dumps(line, allow_nan=False) + "\n").encode()
        start = self._file.seek(0, os.SEEK_END)
        try:
            # A short write is that of a full disk: the next run cuts the half line off.
            if self._file.write(data) != len(data):
                raise OSError(0, "the disk is full")
        except OSError as error:
            raise InputError(
                f"cannot write to {str(self._path)!r}: {error.strerror}; make room, then run the same "
                "command to go on"
            ) from error
        self.offsets[number] = start
        self.failed[number] = line["error"] is not None

    def drop_errors(self) -> None:
        """Takes out the lines that say an error, so that their rows are asked again."""
        if not self.failed.any():
            return
        numbers = np.argsort(self.offsets)
        self._rewrite(numbers[(self.offsets[numbers] != NOWHERE) & ~self.failed[numbers]].tolist())
        self.offsets[self.failed] = NOWHERE
        self.failed[:] = False

    def sort(self) -> None:
        """Brings the lines into the order of the manifest, once all rows are done."""
        if (np.diff(self.offsets) < 0).any():
            self._rewrite(range(len(self.offsets)))

    def _rewrite(self, numbers: Iterable[int]) -> None:
        """Replaces the file by the lines of some rows, at once: a kill leaves the old file or the new one."""
        partial = self._path.with_name(self._path.name + ".part")
        try:
            with partial.open("wb") as target, self._path.open("rb") as source:
                os.fchmod(target.fileno(), stat.S_IMODE(os.fstat(source.fileno()).st_mode))
                for number in numbers:
                    source.seek(self.offsets[number])
                    self.offsets[number] = target.tell()
                    target.write(source.readline())
                target.flush()
                os.fsync(target.fileno())
            partial.replace(self._path)
            self._file.close()
            self._file = self._path.open("a+b", buffering=0)
        except OSError as error:
            with suppress(OSError):
                partial.unlink()
            raise InputError(
                f"cannot rewrite {str(self._path)!r}: {error.strerror}; make room, then run the same command "
                "to go on"
            ) from error

    def _read(self) -> None:
        self._file.seek(0)
        with open(self._file.fileno(), "rb", closefd=False) as file:
            start = 0
            for number, line in enumerate(file, start=1):
                if not line.endswith(b"\n"):
                    self._file.truncate(start)
                    break
                self._find(number, line, start)
                start += len(line)

    def _find(self, number: int, line: bytes, start: int) -> None:
        """Notes the row of a line."""
        place = f"line {number} of {str(self._path)!r}"
        try:
            found = json.loads(line)
            name, video, question = found["id"], found["video"], found["question"]
            row, failed = self._index.find(name), found["error"] is not None
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise InputError(f"{place} is no line of a batch: take it out, or give another output") from error
        if row is None:
            raise InputError(
                f"{place} has the id {name!r}, which the manifest has not: put the row back, or give another "
                "output"
            )
        if self.offsets[row] != NOWHERE:
            raise InputError(f"{place} has the id {name!r} again: take one of the two lines out")
        if not self._index.asks(row, name, video, question):
            raise InputError(
                f"{place} has the id {name!r} with another video or question than the manifest: give the new "
                "row another id, or give another output"
            )
        self.offsets[row], self.failed[row] = start, failed
