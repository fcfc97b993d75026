"""The settings that an output was begun with, in a file beside it that is also its lock."""

import fcntl
import json
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Self

from sharpv.errors import InputError

__all__ = ["Beside"]


class Beside:
    """The file `OUT.settings.json`, held by one run at a time."""

    def __init__(self, path: Path, settings: Mapping[str, Any], later: Collection[str] = ()) -> None:
        """Locks the file, and compares what it says where the output holds lines.

        Args:
            path: of the output.
            settings: whatever can change an answer, as plain JSON values, as far as it is known.
            later: names of settings that are not.

        Raises:
            InputError: the output is in use, is none of a batch, or was begun with other settings.
            OSError: the file cannot be used.
        """
        self._path, self._settings = path, dict(settings)
        self._place = path.with_name(path.name + ".settings.json")
        if self._begun() and not self._place.exists():
            raise InputError(
                f"{str(path)!r} holds something else than the lines of a batch: give another output"
            )
        self._file = self._place.open("a+", encoding="utf-8", errors="replace")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Asked again: another run may have written until its lock ended.
            if self._begun():
                self._compare(self._settings, frozenset(later))
        except BlockingIOError:
            self.close()
            raise InputError(
                f"another run is writing to {str(path)!r}: wait for it, stop it, or give another output"
            ) from None
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Lets others have the output."""
        self._file.close()

    def settle(self, found: Mapping[str, Any]) -> None:
        """Compares all settings where the output holds lines, else puts them on the disk.

        Args:
            found: those that were not known before.

        Raises:
            InputError: the output was begun with others, or these cannot be written.
        """
        settings = self._settings | dict(found)
        if self._begun():
            self._compare(settings, frozenset())
            return
        try:
            self._file.truncate(0)
            self._file.write(json.dumps(settings, indent=1) + "\n")
            self._file.flush()
            os.fsync(self._file.fileno())
            _sync(self._place.parent)
        except OSError as error:
            raise InputError(
                f"cannot write {str(self._place)!r}: {error.strerror}; make room, or give another output"
            ) from error

    def _begun(self) -> bool:
        return self._path.exists() and self._path.stat().st_size > 0

    def _compare(self, settings: Mapping[str, Any], unknown: frozenset[str]) -> None:
        known = self._read()
        given = json.loads(json.dumps(settings))
        names = sorted((set(known) | set(given)) - unknown)
        other = [name for name in names if known.get(name) != given.get(name)]
        if other:
            was = "; ".join(f"{name} was {known.get(name)!r}, is {given.get(name)!r}" for name in other)
            raise InputError(
                f"{str(self._path)!r} was begun with other settings ({was}): give another output, or the "
                "same settings to go on"
            )

    def _read(self) -> dict[str, Any]:
        self._file.seek(0)
        text = self._file.read()
        if not text.strip("\0\n "):
            raise InputError(
                f"{str(self._place)!r} is empty, as after a power failure, and says no more what "
                f"{str(self._path)!r} was begun with: begin the same command with another output, stop it, "
                "and copy that one's .settings.json over this; or give another output"
            )
        try:
            known = json.loads(text)
            return dict(known.items())
        except (ValueError, AttributeError) as error:
            raise InputError(
                f"cannot read the settings in {str(self._place)!r} ({error}): give another output"
            ) from error


def _sync(folder: Path) -> None:
    """Puts on the disk which files a folder has."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
