"""The one place that prints: answers on stdout, progress and problems on stderr."""

import io
import json
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["answer", "configure", "fail", "progress", "result", "table"]


def configure() -> None:
    """Sends the library's warnings to stderr, and keeps libraries that have not been imported yet quiet."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # an answer may hold what the terminal cannot show
    if not sys.stderr.isatty():
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("warning: %(message)s"))
    logger = logging.getLogger("sharpv")
    logger.handlers = [handler]
    logger.setLevel(logging.WARNING)


def progress(text: str) -> None:
    """Says what is going on."""
    print(text, file=sys.stderr, flush=True)


def answer(text: str) -> None:
    """Prints what was asked for."""
    print(text, flush=True)


def result(values: Mapping[str, Any]) -> None:
    """Prints a result as one line of JSON."""
    print(json.dumps(values, allow_nan=False), flush=True)


def fail(reason: str) -> None:
    """Prints why a command failed, on one line."""
    print(f"error: {' '.join(reason.split())}", file=sys.stderr, flush=True)


def table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Prints a plain table, which can be pasted into a bug report."""
    cells = [list(columns), *([str(cell) for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(columns))]
    cells.insert(1, ["-" * width for width in widths])
    for row in cells:
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print(line.rstrip(), flush=True)
