"""What a pool of workers can do, and what it tells."""

from dataclasses import dataclass
from typing import Protocol

from sharpv.batch.line import Line
from sharpv.batch.manifest import Row
from sharpv.batch.work import Failed

__all__ = ["MORE_MEMORY", "Answered", "Died", "Event", "Halted", "Pool", "Ready"]

MORE_MEMORY = "give them more memory, or take fewer workers"


@dataclass(frozen=True, slots=True)
class Ready:
    """A worker has opened its model and takes rows."""

    worker: int


@dataclass(frozen=True, slots=True)
class Answered:
    """A worker is done with a row."""

    worker: int
    number: int
    line: Line


@dataclass(frozen=True, slots=True)
class Halted:
    """A worker says that no row can be answered for now, by whatever worker."""

    worker: int
    reason: str


@dataclass(frozen=True, slots=True)
class Died:
    """A worker is gone, and the rows that it had with it.

    Attributes:
        worker: which.
        reason: how it ended.
        remedy: what to do where workers end so while they open their models.
    """

    worker: int
    reason: str
    remedy: str = MORE_MEMORY


Event = Ready | Failed | Answered | Halted | Died


class Pool(Protocol):
    """Workers, numbered from 0."""

    @property
    def workers(self) -> int:
        """How many there are."""

    def start(self, worker: int) -> None:
        """Starts a worker that is not there: it will be `Ready`, `Failed` or `Died`."""

    def send(self, worker: int, row: Row) -> None:
        """Gives a row to a worker that is ready; if it has just died, `wait` will say so."""

    def wait(self, seconds: float | None = None) -> list[Event]:
        """Waits until something happens; the events of a worker come in order, `Died` last.

        Args:
            seconds: after which nothing has happened; None waits on.
        """

    def end(self, worker: int) -> None:
        """Ends a worker at once, whatever it does; `wait` tells nothing more of it."""

    def close(self) -> None:
        """Ends all workers at once."""
