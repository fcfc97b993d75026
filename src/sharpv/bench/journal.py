"""The records of a run: JSON lines in a folder, from which an interrupted run goes on."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Generic, Protocol, Self, TypeVar

from sharpv.errors import InputError

__all__ = ["Journal", "Line"]


class Line(Protocol):
    """One record."""

    @property
    def key(self) -> tuple[str, str]:
        """What no other record of a run has: clip and condition."""

    def to_json(self) -> str:
        """Returns one line of JSON."""

    @classmethod
    def from_json(cls, line: str) -> Self:
        """Builds the record from `to_json()`."""


L = TypeVar("L", bound=Line)


class Journal(Generic[L]):
    """The records of a run, in memory and, with a folder, in `records.jsonl` there.

    Attributes:
        found: the records by clip and condition.
    """

    def __init__(self, folder: Path | None, settings: Mapping[str, Any], kind: type[L]) -> None:
        """Opens a folder, or goes on in one that holds records of the same settings.

        Raises:
            InputError: the folder holds other settings or something else, or cannot be used.
        """
        self.found: dict[tuple[str, str], L] = {}
        self._path = None if folder is None else folder / "records.jsonl"
        if folder is None or self._path is None:
            return
        try:
            folder.mkdir(parents=True, exist_ok=True)
            _same_settings(folder, json.loads(json.dumps(settings)))
            self._read(self._path, kind)
        except OSError as error:
            raise InputError(f"cannot use {str(folder)!r}: {error.strerror}; give another folder") from error

    def add(self, record: L) -> None:
        """Keeps a record, on disk before this returns."""
        self.found[record.key] = record
        if self._path is not None:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(record.to_json() + "\n")

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Writes the summary beside the records."""
        if self._path is not None:
            text = json.dumps(summary, indent=1, allow_nan=False) + "\n"
            self._path.with_name("summary.json").write_text(text, encoding="utf-8")

    def _read(self, path: Path, kind: type[L]) -> None:
        if not path.exists():
            return
        whole = path.read_bytes()
        # A run that was killed while it wrote leaves half a line, which is asked again.
        complete = whole[: whole.rfind(b"\n") + 1]
        if len(complete) < len(whole):
            path.write_bytes(complete)
        for number, line in enumerate(complete.decode().splitlines(), start=1):
            try:
                record = kind.from_json(line)
            except (ValueError, TypeError, KeyError) as error:
                raise InputError(
                    f"line {number} of {str(path)!r} is no record ({error}): take it out, or give another "
                    "folder"
                ) from error
            self.found[record.key] = record


def _same_settings(folder: Path, settings: dict[str, Any]) -> None:
    path = folder / "settings.json"
    if not path.exists():
        if any(folder.iterdir()):
            raise InputError(f"{str(folder)!r} holds other files than those of a run: give an empty folder")
        path.write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")
        return
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
        names = set(known) | set(settings)
    except (ValueError, TypeError) as error:
        raise InputError(f"cannot read {str(path)!r} ({error}): give another folder") from error
    other = sorted(name for name in names if known.get(name) != settings.get(name))
    if other:
        raise InputError(
            f"{str(folder)!r} holds a run with other settings ({', '.join(other)}): give another folder, or "
            "the same settings to go on"
        )
