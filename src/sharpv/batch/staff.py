"""The workers of a job that open their models: which are at it, which have given up."""

from collections import Counter
from collections.abc import Callable

from sharpv.batch.pool import Pool
from sharpv.errors import InputError, SharpVError

__all__ = ["Staff"]

MOST_TRIES = 3


class Staff:
    """Starts workers, and starts them again where what stopped them may pass.

    A worker that cannot open its model is left out, with a word in the log as soon as there is another that
    can.
    """

    def __init__(self, pool: Pool, log: Callable[[str], None]) -> None:
        """Starts nothing yet.

        Args:
            pool: of the workers.
            log: is told of workers that are left out, or tried again.
        """
        self._pool, self._log = pool, log
        self._opening: set[int] = set()
        self._open: set[int] = set()
        self._tries: Counter[int] = Counter()
        self._unsaid: list[str] = []
        self._error: SharpVError | None = None

    def start(self, worker: int) -> None:
        """Starts a worker that is not there, or no more."""
        self._opening.add(worker)
        self._pool.start(worker)

    def opened(self, worker: int) -> None:
        """Notes that a worker has opened its model."""
        self._opening.discard(worker)
        self._open.add(worker)
        self._tries.pop(worker, None)
        self._say()

    def lost(self, worker: int) -> None:
        """Notes that a worker is gone that had opened its model."""
        self._open.discard(worker)

    def failed(self, worker: int, reason: str, remedy: str | None) -> None:
        """Notes that a worker, which is gone, has not opened its model.

        Args:
            worker: which.
            reason: why.
            remedy: what may help; None where another try would not.
        """
        self._opening.discard(worker)
        self._tries[worker] += 1
        if remedy is not None and self._tries[worker] < MOST_TRIES:
            self._log(f"worker {worker} could not open the model ({reason}) and tries again")
            self.start(worker)
            return
        self._unsaid.append(f"worker {worker} cannot open the model ({reason}): the others go on without it")
        if remedy is None:
            self._error = InputError(reason)
        else:
            self._error = SharpVError(
                f"no worker could open the model: {MOST_TRIES} tries in a row ended with {reason}; {remedy}"
            )
        if self._open:
            self._say()

    def check(self) -> None:
        """Ends a job that has no worker.

        Raises:
            SharpVError: what the last of them failed of.
        """
        if self._error is not None and not self._open and not self._opening:
            raise self._error

    def _say(self) -> None:
        while self._unsaid:
            self._log(self._unsaid.pop(0))
