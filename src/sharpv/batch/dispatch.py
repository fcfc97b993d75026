"""Hands the rows of a job to workers, and replaces those that die."""

from collections import Counter, deque
from collections.abc import Callable, Iterator

from sharpv.batch.line import Line
from sharpv.batch.manifest import Row
from sharpv.batch.pool import Answered, Died, Pool, Ready
from sharpv.batch.work import AT_ONCE, Failed
from sharpv.errors import InputError, SharpVError

__all__ = ["dispatch"]

MOST_DEATHS = 3


def dispatch(
    rows: Iterator[Row],
    pool: Pool,
    keep: Callable[[int, Line], None],
    log: Callable[[str], None] = lambda text: None,
) -> None:
    """Has every row answered once.

    A worker that dies is replaced. The rows that it had are asked again, each by a worker that has nothing
    else to do; one that then takes three workers with it gets an error.

    Args:
        rows: taken one by one, when a worker has room.
        pool: of workers, none of which has been started.
        keep: takes the number of a row and its line, in the order in which they are done.
        log: is told of workers that die.

    Raises:
        InputError: a worker cannot open its model, or cannot go on for now.
        SharpVError: workers die while they open it.
    """
    _Dispatch(rows, pool, keep, log).run()


class _Dispatch:
    def __init__(
        self,
        rows: Iterator[Row],
        pool: Pool,
        keep: Callable[[int, Line], None],
        log: Callable[[str], None],
    ) -> None:
        self._rows, self._pool, self._keep, self._log = rows, pool, keep, log
        self._next = next(rows, None)
        self._held: dict[int, dict[int, Row]] = {}  # by ready worker, by number of the row
        self._suspects: deque[Row] = deque()
        self._alone: dict[int, Row] = {}
        self._deaths: Counter[int] = Counter()
        self._stillborn = 0

    def run(self) -> None:
        if self._next is None:
            return
        for worker in range(self._pool.workers):
            self._pool.start(worker)
        while self._left or any(self._held.values()):
            for event in self._pool.wait():
                match event:
                    case Ready(worker):
                        self._held[worker], self._stillborn = {}, 0
                    case Failed(_, reason):
                        raise InputError(reason)
                    case Answered(worker, number, line):
                        self._done(worker, number, line)
                    case Died(worker, reason):
                        self._bury(worker, reason)
            self._feed()

    @property
    def _left(self) -> bool:
        return self._next is not None or bool(self._suspects)

    def _feed(self) -> None:
        """Fills the workers evenly, up to `AT_ONCE` rows each; a suspect goes to an idle one, alone."""
        for depth in range(AT_ONCE):
            for worker, held in self._held.items():
                if len(held) != depth or worker in self._alone:
                    continue
                if self._suspects:
                    if depth == 0:
                        self._alone[worker] = self._suspects.popleft()
                        self._send(worker, self._alone[worker])
                elif self._next is not None:
                    row, self._next = self._next, next(self._rows, None)
                    self._send(worker, row)

    def _send(self, worker: int, row: Row) -> None:
        self._held[worker][row.number] = row
        self._pool.send(worker, row)

    def _done(self, worker: int, number: int, line: Line) -> None:
        del self._held[worker][number]
        self._alone.pop(worker, None)
        self._deaths.pop(number, None)
        self._keep(number, line)

    def _bury(self, worker: int, reason: str) -> None:
        held = self._held.pop(worker, None)
        alone = self._alone.pop(worker, None)
        if held is None:
            self._stillborn += 1
            if self._stillborn == MOST_DEATHS:
                raise SharpVError(
                    f"{MOST_DEATHS} workers died while they opened the model ({reason}): give them "
                    "more memory, or take fewer workers"
                )
        elif alone is not None:
            self._blame(alone, reason)
        else:
            self._suspects.extend(held.values())
        if self._left:
            self._log(f"worker {worker} died ({reason}) and is replaced")
            self._pool.start(worker)

    def _blame(self, row: Row, reason: str) -> None:
        self._deaths[row.number] += 1
        if self._deaths[row.number] < MOST_DEATHS:
            self._suspects.append(row)
            return
        del self._deaths[row.number]
        self._keep(row.number, Line.failed(row, f"{MOST_DEATHS} workers died on this row alone ({reason})"))
