"""What one worker does with a row, wherever it runs."""

import logging
import os
import time
from dataclasses import dataclass, replace
from threading import Lock
from typing import Any, Protocol

from sharpv.batch.line import Line
from sharpv.batch.manifest import Row
from sharpv.errors import SharpVError

__all__ = ["AT_ONCE", "LOST", "Engine", "Failed", "Model", "Unavailable", "Worker", "open_worker"]

logger = logging.getLogger(__name__)

AT_ONCE = 3
"""Rows in a worker: one with the model, and two being read or waiting with their frames in memory."""

LOST = 70
"""Exit code of a worker that can answer no more rows."""


class Unavailable(Exception):
    """No row can be answered for now, and another worker would not change that."""


class Model(Protocol):
    """Something that answers questions about clips."""

    def read(self, source: str) -> Any:
        """Returns what `ask` needs of a clip; several may be read at once."""

    def ask(self, clip: Any, row: Row) -> Line:
        """Answers one row; never two at once.

        Raises:
            Unavailable: neither this row nor any other can be answered.
        """

    def lost(self) -> bool:
        """Whether nothing can be answered any more after an unforeseen error."""


class Engine(Protocol):
    """Says, and can be sent to a worker to say, which model to open there."""

    def open(self, worker: int, workers: int) -> Model:
        """Opens the model of one of several workers, numbered from 0."""


@dataclass(frozen=True, slots=True)
class Failed:
    """A worker cannot open its model.

    Attributes:
        worker: which.
        reason: why.
        passing: whether another try may end otherwise, as where memory ran out.
    """

    worker: int
    reason: str
    passing: bool = False


class Worker:
    """An opened model, which reads clips for later rows while it answers one."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._turn = Lock()

    def answer(self, row: Row) -> Line:
        """Answers a row; whatever goes wrong with it becomes its line. For `AT_ONCE` threads.

        Ends the process where the model is lost, since all later rows would fail, too.

        Raises:
            Unavailable: the job cannot go on.
        """
        start = time.perf_counter()
        try:
            clip = self._model.read(row.source)
            read = time.perf_counter() - start
            with self._turn:
                line = self._model.ask(clip, row)
        except SharpVError as error:
            return Line.failed(row, str(error))
        except Unavailable:
            raise
        except Exception as error:
            if self._model.lost():
                logger.error("the model is lost: %s", describe(error))
                os._exit(LOST)
            return Line.failed(row, describe(error))
        return replace(line, milliseconds={"read": 1000 * read, **line.milliseconds})


def open_worker(engine: Engine, number: int, workers: int) -> Worker | Failed:
    """Opens the model of a worker, or says why that cannot be done."""
    try:
        return Worker(engine.open(number, workers))
    except SharpVError as error:
        return Failed(number, str(error))
    except Exception as error:
        return Failed(number, describe(error), passing=True)


def describe(error: Exception) -> str:
    """Returns an error in words; the kind of one that is not ours belongs to them."""
    return str(error) if isinstance(error, SharpVError) else f"{type(error).__name__}: {error}"
