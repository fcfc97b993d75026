"""Workers of a job on a Ray cluster: an actor each, on a GPU of its own where there are any."""

from contextlib import suppress
from typing import Any

import ray
from ray.exceptions import RayError

from sharpv.batch.manifest import Row
from sharpv.batch.pool import Answered, Died, Event, Halted, Ready
from sharpv.batch.work import AT_ONCE, Engine, Failed, Unavailable, Worker, open_worker
from sharpv.errors import InputError

__all__ = ["Actors", "connect"]


class Actors:
    """An actor for each worker.

    sharpv has to be installed on every machine of the cluster, and clips and model have to be found there
    under the same paths.
    """

    def __init__(self, engine: Engine, workers: int, *, gpu: bool) -> None:
        """Starts nothing yet.

        Args:
            engine: what each worker opens.
            workers: how many, at least 1; those that find no place wait for one.
            gpu: whether each needs one.
        """
        self._engine, self.workers = engine, workers
        options = {"num_cpus": 1, "num_gpus": int(gpu), "max_concurrency": AT_ONCE, "max_restarts": 0}
        self._kind = ray.remote(**options)(_Actor)
        self._actors: dict[int, Any] = {}
        self._pending: dict[Any, int] = {}

    def start(self, worker: int) -> None:
        """Asks the cluster for an actor, which opens the model."""
        actor = self._kind.remote(self._engine, worker, self.workers)
        self._actors[worker] = actor
        self._pending[actor.open.remote()] = worker

    def send(self, worker: int, row: Row) -> None:
        """Sends a row."""
        self._pending[self._actors[worker].answer.remote(row)] = worker

    def wait(self, seconds: float | None = None) -> list[Event]:
        """Waits for one answer, and takes what else is there."""
        done, _ = ray.wait(list(self._pending), num_returns=1, timeout=seconds)
        more, _ = ray.wait(list(self._pending), num_returns=len(self._pending), timeout=0)
        events: list[Event] = []
        dead: list[Event] = []
        for reference in dict.fromkeys([*done, *more]):
            worker = self._pending.pop(reference, None)
            if worker is None:
                continue  # of an actor whose death was noticed by another row
            try:
                events.append(ray.get(reference))
            except RayError as error:
                self.end(worker)
                dead.append(Died(worker, _first_line(error)))
        return events + dead

    def end(self, worker: int) -> None:
        """Kills an actor."""
        with suppress(RayError):
            ray.kill(self._actors.pop(worker))
        self._pending = {ref: owner for ref, owner in self._pending.items() if owner != worker}

    def close(self) -> None:
        """Ends all actors, and leaves the cluster."""
        for actor in self._actors.values():
            with suppress(RayError):
                ray.kill(actor)
        ray.shutdown()


def _first_line(error: RayError) -> str:
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"


class _Actor:
    """A worker in a process of the cluster."""

    def __init__(self, engine: Engine, number: int, workers: int) -> None:
        self._engine, self._number, self._workers = engine, number, workers
        self._worker: Worker | None = None

    def open(self) -> Event:
        opened = open_worker(self._engine, self._number, self._workers)
        if isinstance(opened, Failed):
            return opened
        self._worker = opened
        return Ready(self._number)

    def answer(self, row: Row) -> Event:
        assert self._worker is not None
        try:
            return Answered(self._number, row.number, self._worker.answer(row))
        except Unavailable as error:
            return Halted(self._number, str(error))


def connect(address: str) -> int:
    """Joins a cluster.

    Args:
        address: "auto" for the cluster that runs on this machine, or host:port; "local" starts one.

    Returns:
        The number of its GPUs.

    Raises:
        InputError: there is none.
    """
    # A dashboard would be one more thing that listens.
    how = {"include_dashboard": False} if address == "local" else {}
    try:
        # Its lines would mix with answers on stdout.
        ray.init(address=address, log_to_driver=False, configure_logging=False, **how)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise InputError(
            f"cannot join a Ray cluster at {address!r}: {error}; start one with `ray start --head`"
        ) from error
    return int(ray.cluster_resources().get("GPU", 0))
