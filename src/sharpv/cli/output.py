"""The one place that prints: answers on stdout, progress and problems on stderr."""

import io
import json
import logging
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

__all__ = [
    "Terminal",
    "answer",
    "configure",
    "fail",
    "printable",
    "progress",
    "result",
    "show",
    "table",
    "terminal",
    "warn",
]


@dataclass(frozen=True, slots=True)
class Terminal:
    """What stdout can show.

    Attributes:
        width: columns.
        colours: whether it shows the colours of a picture: 256 or more.
        unicode: whether it shows more than ASCII.
    """

    width: int
    colours: bool
    unicode: bool


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


def printable(text: str) -> str:
    """Keeps control characters of others' text off the terminal."""
    return "".join(
        letter if letter.isprintable() or letter in "\n\t" else "\N{REPLACEMENT CHARACTER}" for letter in text
    )


def result(values: Mapping[str, Any]) -> None:
    """Prints a result as one line of JSON."""
    print(json.dumps(values, allow_nan=False), flush=True)


def warn(text: str) -> None:
    """Says that something may not be as expected, on one line."""
    print(f"warning: {' '.join(text.split())}", file=sys.stderr, flush=True)


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


def terminal() -> Terminal:
    """Says what stdout can show; off a terminal, and with NO_COLOR set, no colours."""
    console = _console()
    return Terminal(
        width=console.width,
        colours=console.color_system in ("256", "truecolor"),
        unicode=console.encoding.lower().startswith("utf"),
    )


def show(items: "Iterable[RenderableType]", width: int | None = None) -> None:
    """Prints texts, and the tables and pictures of rich.

    Args:
        items: from top to bottom.
        width: columns after which lines break; None takes the terminal's.
    """
    console = _console(width)
    with console.capture() as page:
        for item in items:
            console.print(item)
    # The spaces that fill a line would be in the way of whoever pastes it.
    print("\n".join(line.rstrip() for line in page.get().splitlines()), flush=True)


def _console(width: int | None = None) -> "Console":
    from rich.console import Console

    coloured = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    return Console(
        file=sys.stdout,
        width=width,
        color_system="auto" if coloured else None,
        highlight=False,
        markup=False,
        emoji=False,
    )
