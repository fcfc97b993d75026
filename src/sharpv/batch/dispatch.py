"""Hands the rows of a job to workers, and replaces those that die or hang."""

import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from sharpv.batch.line import Line
from sharpv.batch.manifest import Row
from sharpv.batch.pool import MORE_MEMORY, Answered, Died, Event, Halted, Pool, Ready
from sharpv.batch.staff import Staff
from sharpv.batch.work import AT_ONCE, Failed
from sharpv.errors import InputError

__all__ = ["dispatch"]

MOST_DEATHS = 3


def dispatch(
    rows: Iterator[Row],
    pool: Pool,
    keep: Callable[[int, Line], None],
    log: Callable[[str], None] = lambda text: None,
    row_seconds: float | None = None,
) -> None:
    """Has every row answered once.

    A worker that dies is replaced. The rows that it had are asked again, each by a worker that has nothing
    else to do; one that then takes three workers with it, or more than its time, gets an error.

    Args:
        rows: taken one by one, when a worker has room.
        pool: of workers, none of which has been started.
        keep: takes the number of a row and its line, in the order in which they are done.
        log: is told of workers that die, or that cannot open their models.
        row_seconds: that a worker may take for a row, before it is ended; None for any time. A row that
            shares its worker may wait for two others, and has three times as long.

    Raises:
        InputError: no worker can open its model, or go on for now.
        SharpVError: all workers die while they open it.
    """
    _Dispatch(rows, pool, keep, log, row_seconds).run()


@dataclass(frozen=True, slots=True)
class _Sent:
    """A row in the hands of a worker, and since when, by the monotonic clock."""

    row: Row
    since: float


class _Dispatch:
    def __init__(
        self,
        rows: Iterator[Row],
        pool: Pool,
        keep: Callable[[int, Line], None],
        log: Callable[[str], None],
        row_seconds: float | None,
    ) -> None:
        self._rows, self._pool, self._keep, self._log = rows, pool, keep, log
        self._row_seconds = row_seconds
        self._next = next(rows, None)
        self._staff = Staff(pool, log)
        self._held: dict[int, dict[int, _Sent]] = {}  # by ready worker, by number of the row
        self._suspects: deque[Row] = deque()
        self._alone: dict[int, Row] = {}
        self._deaths: Counter[int] = Counter()

    def run(self) -> None:
        if self._next is None:
            return
        for worker in range(self._pool.workers):
            self._staff.start(worker)
        while self._left or any(self._held.values()):
            self._staff.check()
            events = self._pool.wait(self._seconds_left())
            for event in events:
                self._take(event)
            if not events:  # else the answer of a row that seems late may be the next
                self._end_overdue()
            self._feed()

    @property
    def _left(self) -> bool:
        return self._next is not None or bool(self._suspects)

    def _take(self, event: Event) -> None:
        match event:
            case Ready(worker):
                self._held[worker] = {}
                self._staff.opened(worker)
            case Failed(worker, reason, passing):
                self._pool.end(worker)
                self._staff.failed(worker, reason, MORE_MEMORY if passing else None)
            case Halted(_, reason):
                raise InputError(reason)
            case Answered(worker, number, line):
                self._done(worker, number, line)
            case Died(worker, reason, remedy) if worker not in self._held:
                self._staff.failed(worker, reason, remedy)
            case Died(worker, reason):
                self._bury(worker, f"died ({reason})", lambda row: self._blame(row, reason))

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
        self._held[worker][row.number] = _Sent(row, time.monotonic())
        self._pool.send(worker, row)

    def _done(self, worker: int, number: int, line: Line) -> None:
        del self._held[worker][number]
        self._alone.pop(worker, None)
        self._deaths.pop(number, None)
        self._keep(number, line)

    def _bury(self, worker: int, how: str, judge: Callable[[Row], None]) -> None:
        """Replaces a worker that had opened its model; a row that it had alone is judged."""
        held = self._held.pop(worker)
        self._staff.lost(worker)
        alone = self._alone.pop(worker, None)
        if alone is not None:
            judge(alone)
        else:
            self._suspects.extend(sent.row for sent in held.values())
        if self._left:
            self._log(f"worker {worker} {how} and is replaced")
            self._staff.start(worker)

    def _blame(self, row: Row, reason: str) -> None:
        self._deaths[row.number] += 1
        if self._deaths[row.number] < MOST_DEATHS:
            self._suspects.append(row)
            return
        self._give_up(row, f"{MOST_DEATHS} workers died on this row alone ({reason})")

    def _give_up(self, row: Row, reason: str) -> None:
        self._deaths.pop(row.number, None)
        self._keep(row.number, Line.failed(row, reason))

    def _deadlines(self) -> Iterator[tuple[int, float]]:
        """Yields workers that have rows, and when by the monotonic clock they are to be ended."""
        if self._row_seconds is None:
            return
        for worker, held in self._held.items():
            if held:
                seconds = self._row_seconds * (1 if worker in self._alone else AT_ONCE)
                yield worker, min(sent.since for sent in held.values()) + seconds

    def _seconds_left(self) -> float | None:
        first = min((deadline for _, deadline in self._deadlines()), default=None)
        return None if first is None else max(first - time.monotonic(), 0.0)

    def _end_overdue(self) -> None:
        now = time.monotonic()
        late = f"no answer within {self._row_seconds:g} s, the time of a row" if self._row_seconds else ""
        for worker, deadline in list(self._deadlines()):
            if now >= deadline:
                self._pool.end(worker)
                self._bury(worker, "took too long for a row", lambda row: self._give_up(row, late))
