"""The rows of a job, (id, video, question), from JSON lines, CSV or Parquet."""

import csv
import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from sharpv.errors import InputError

try:
    from pyarrow import ArrowException
    from pyarrow.parquet import ParquetFile
except ImportError:
    ParquetFile = None

__all__ = ["COLUMNS", "Row", "read_manifest"]

COLUMNS = ("id", "video", "question")
URL = re.compile(r"data:|[a-z][a-z0-9+.-]+://", re.IGNORECASE)

Raw = Iterator[tuple[str, Any]]


@dataclass(frozen=True, slots=True)
class Row:
    """One question about one clip.

    Attributes:
        number: of the row in its manifest, from 0.
        id: what no other row has; a number is taken as its text.
        video: path or URL, as in the manifest.
        question: in the user's words.
        source: what to open: a relative path is one from the manifest's folder.
    """

    number: int
    id: str
    video: str
    question: str
    source: str


def read_manifest(path: Path) -> Iterator[Row]:
    """Yields the rows of a manifest one by one; other columns are left alone.

    Args:
        path: ends in .jsonl (or .ndjson), .csv or .parquet.

    Raises:
        InputError: it cannot be read, a row lacks a column or holds something else than text there.
    """
    kind = path.suffix.lower()
    if kind not in KINDS:
        raise InputError(f"got {str(path)!r}: a manifest ends in {', '.join(KINDS)}")
    folder, number = path.absolute().parent, 0
    try:
        for place, values in KINDS[kind](path):
            where = f"{place} of {str(path)!r}"
            if not isinstance(values, Mapping):
                raise InputError(f'{where} is no object: write {{"id": ..., "video": ..., "question": ...}}')
            name, video, question = (_text(values, column, where) for column in COLUMNS)
            source = video if URL.match(video) else str(folder / video)
            yield Row(number, name, video, question, source)
            number += 1
    except UnicodeDecodeError as error:
        raise InputError(f"{str(path)!r} is not UTF-8 ({error}): save it as UTF-8") from error
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"cannot read the manifest {str(path)!r}: {reason}; check its path") from error


def _check_columns(path: Path, found: Sequence[str]) -> None:
    needs = f"a manifest needs {', '.join(COLUMNS)}, each once"
    if any(found.count(column) != 1 for column in COLUMNS):
        # In some countries a spreadsheet writes semicolons.
        commas = "; put commas between columns" if len(found) == 1 else ""
        raise InputError(f"{str(path)!r} has the columns {', '.join(found)}: {needs}{commas}")


def _text(values: Mapping[str, Any], column: str, where: str) -> str:
    value = values.get(column)
    if column == "id" and type(value) is int:
        return str(value)
    if value is None:
        raise InputError(f"{where} has no {column}: every row needs {', '.join(COLUMNS)}")
    if not isinstance(value, str) or not value.strip():
        kind = "text or a whole number" if column == "id" else "text"
        raise InputError(f"{where} has the {column} {value!r}: it must be {kind}, and not empty")
    return value


def _json_lines(path: Path) -> Raw:
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                yield f"line {number}", json.loads(line)
            except ValueError as error:
                raise InputError(f"line {number} of {str(path)!r} is no JSON: {error}; mend it") from error


def _csv(path: Path) -> Raw:
    # A clip may stand in a field, as a data: URL. The module has but one limit for all readers.
    csv.field_size_limit(sys.maxsize)
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, strict=True)
        try:
            if reader.fieldnames is not None:
                _check_columns(path, reader.fieldnames)
            for values in reader:
                if None in values:
                    raise InputError(
                        f"line {reader.line_num} of {str(path)!r} has more fields than there are columns: "
                        'put text with commas between "'
                    )
                yield f"line {reader.line_num}", values
        except csv.Error as error:
            # DictReader's own count stops at the last whole row.
            raise InputError(
                f"line {reader.reader.line_num} of {str(path)!r} is no CSV: {error}; mend it"
            ) from error


def _parquet(path: Path) -> Raw:
    if ParquetFile is None:
        raise InputError(
            f"cannot read {str(path)!r} without pyarrow: pip install 'sharpv[parquet]', or write it as .jsonl"
        )
    try:
        with ParquetFile(path) as file:
            _check_columns(path, file.schema_arrow.names)
            batches = file.iter_batches(batch_size=1024, columns=list(COLUMNS))
            rows = chain.from_iterable(batch.to_pylist() for batch in batches)
            for number, values in enumerate(rows, start=1):
                yield f"row {number}", values
    except ArrowException as error:
        raise InputError(f"cannot read {str(path)!r} as Parquet: {error}; write it again") from error


KINDS = {".jsonl": _json_lines, ".ndjson": _json_lines, ".csv": _csv, ".parquet": _parquet}
