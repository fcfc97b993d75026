"""Who is started again, who is left out, and when a job ends for want of workers."""

from collections import deque
from collections.abc import Iterable

import pytest

from sharpv.batch.dispatch import dispatch
from sharpv.batch.line import Line
from sharpv.batch.manifest import Row
from sharpv.batch.pool import Answered, Died, Event, Ready
from sharpv.batch.work import Failed
from sharpv.errors import InputError, SharpVError

REFUSED = Failed(1, "no such model")
OUT_OF_MEMORY = Failed(1, "MemoryError: not enough", passing=True)
KILLED = Died(1, "SIGKILL")


class Scripted:
    """Workers that open their models as a script says, and answer at once; all events come one by one.

    Attributes:
        started: numbers of the workers, in the order of their starts.
        ended: those that were told to end.
    """

    def __init__(self, *scripts: Iterable[Event]):
        self.workers = len(scripts)
        self.started: list[int] = []
        self.ended: list[int] = []
        self._scripts = [deque(script) for script in scripts]
        self._events: deque[Event] = deque()
        self._dead: set[int] = set()

    def start(self, worker: int) -> None:
        self.started.append(worker)
        self._dead.discard(worker)
        script = self._scripts[worker]
        self._events.append(script.popleft() if script else Ready(worker))

    def send(self, worker: int, row: Row) -> None:
        if worker in self._dead:
            return
        if row.id == "fatal":
            self._dead.add(worker)
            self._events.append(Died(worker, "SIGKILL"))
        else:
            line = Line(id=row.id, video=row.video, question=row.question, answer="a", milliseconds={})
            self._events.append(Answered(worker, row.number, line))

    def wait(self, seconds: float | None = None) -> list[Event]:
        assert self._events, "nobody is left, and the job waits"
        return [self._events.popleft()]

    def end(self, worker: int) -> None:
        self.ended.append(worker)


def run(pool: Scripted, *ids: str) -> tuple[dict[str, str | None], list[str]]:
    """Errors by row, and what was said."""
    found: dict[str, str | None] = {}
    said: list[str] = []
    rows = [Row(number, name, "v", "q", "v") for number, name in enumerate(ids)]
    dispatch(iter(rows), pool, lambda _, line: found.update({line.id: line.error}), said.append)
    return found, said


ROWS = tuple(f"r{number}" for number in range(30))


@pytest.mark.parametrize("event", [OUT_OF_MEMORY, KILLED], ids=["out-of-memory", "killed"])
def test_a_worker_that_may_open_its_model_later_is_tried_again(event):
    pool = Scripted([], [event, event])
    found, said = run(pool, *ROWS)
    assert found == dict.fromkeys(ROWS)
    assert pool.started == [0, 1, 1, 1]
    assert said == [f"worker 1 could not open the model ({event.reason}) and tries again"] * 2


@pytest.mark.parametrize(
    "event", [OUT_OF_MEMORY, KILLED, REFUSED], ids=["out-of-memory", "killed", "refused"]
)
def test_a_worker_that_cannot_open_its_model_is_left_out(event):
    tries = 1 if event is REFUSED else 3
    pool = Scripted([], [event] * tries)
    found, said = run(pool, *ROWS)
    assert found == dict.fromkeys(ROWS)
    assert pool.started == [0] + [1] * tries
    assert said[-1] == f"worker 1 cannot open the model ({event.reason}): the others go on without it"
    assert pool.ended == ([] if event is KILLED else [1] * tries)  # none is left with half a model


def test_it_is_left_out_too_where_it_fails_first():
    pool = Scripted([REFUSED], [])
    pool._scripts[0] = deque([Failed(0, "no such model")])
    found, said = run(pool, *ROWS)
    assert found == dict.fromkeys(ROWS)
    assert said == ["worker 0 cannot open the model (no such model): the others go on without it"]


def test_a_job_without_workers_ends_with_what_the_last_failed_of_and_no_word_of_others():
    said: list[str] = []
    pool = Scripted([Failed(0, "no such model")], [REFUSED])
    with pytest.raises(InputError, match=r"^no such model$"):
        dispatch(iter([Row(0, "r", "v", "q", "v")]), pool, lambda *_: None, said.append)
    assert said == []
    pool = Scripted([Failed(0, "no such model")], [KILLED] * 3)
    with pytest.raises(
        SharpVError, match="3 tries in a row ended with SIGKILL; give them more memory, or take"
    ):
        run(pool, "r")


def test_a_job_ends_where_the_last_worker_dies_and_cannot_be_replaced():
    pool = Scripted([Ready(0), *[Died(0, "SIGKILL")] * 3], [REFUSED])
    with pytest.raises(SharpVError, match="3 tries in a row ended with SIGKILL"):
        run(pool, "r0", "fatal", "r2")
    assert pool.started == [0, 1, 0, 0, 0]


def test_a_worker_that_died_with_nothing_left_does_not_count_as_there():
    """Worker 0 dies without a row; then worker 1 with one, and nobody can take it."""
    pool = Scripted([Ready(0), *[Died(0, "SIGKILL")] * 3], [Ready(1), *[KILLED] * 3])
    pool.wait = lambda seconds=None, wait=pool.wait: [
        event for first in wait() for event in ([first, Died(0, "SIGKILL")] if first == Ready(1) else [first])
    ]
    with pytest.raises(SharpVError, match="3 tries in a row ended with SIGKILL"):
        run(pool, "fatal")


def test_an_early_death_does_not_count_against_a_worker_that_opened_later():
    pool = Scripted([*[Died(0, "SIGKILL")] * 2, Ready(0), *[Died(0, "SIGKILL")] * 2, Ready(0)])
    found, _ = run(pool, "r0", "r1", "fatal")
    assert found["r0"] is found["r1"] is None
    assert found["fatal"] == "3 workers died on this row alone (SIGKILL)"


def test_a_row_whose_answer_waits_to_be_taken_is_not_late(monkeypatch):
    """As where this process was held up, by a slow disk for one."""
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    pool, found = Scripted([]), []

    def keep(number: int, line: Line) -> None:
        found.append((line.id, line.error))
        now[0] += 100

    rows = [Row(number, name, "v", "q", "v") for number, name in enumerate(("a", "b", "c"))]
    dispatch(iter(rows), pool, keep, row_seconds=10)
    assert found == [("a", None), ("b", None), ("c", None)]
    assert (pool.started, pool.ended) == ([0], [])
