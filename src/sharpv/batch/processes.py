"""Workers as processes of this machine."""

import logging
import multiprocessing
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from threading import Lock

from sharpv.batch.manifest import Row
from sharpv.batch.pool import Answered, Died, Event, Ready
from sharpv.batch.work import AT_ONCE, LOST, Engine, Failed, Unavailable, open_worker

__all__ = ["Processes"]

logger = logging.getLogger(__name__)

SECONDS_TO_END = 10.0


class Processes:
    """A process for each worker, with a pipe to it.

    A process that loses its parent ends, so that no GPU stays taken, and only the parent writes to files.
    """

    def __init__(self, engine: Engine, workers: int) -> None:
        """Starts nothing yet.

        Args:
            engine: what each worker opens.
            workers: how many, at least 1.
        """
        self._engine, self.workers = engine, workers
        # A fork would share CUDA and locks that other threads hold.
        self._context = multiprocessing.get_context("spawn")
        self._running: dict[Connection, tuple[int, SpawnProcess]] = {}
        self._pipes: dict[int, Connection] = {}

    def start(self, worker: int) -> None:
        """Starts a process, which opens the model."""
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=_work, args=(theirs, worker, self.workers), daemon=True)
        process.start()
        theirs.close()
        self._running[ours], self._pipes[worker] = (worker, process), ours
        with suppress(OSError):
            ours.send(self._engine)

    def send(self, worker: int, row: Row) -> None:
        """Sends a row, which waits in the pipe until the process takes it."""
        with suppress(OSError):
            self._pipes[worker].send(row)

    def wait(self) -> list[Event]:
        """Waits for messages, and for the end of a process."""
        events: list[Event] = []
        for pipe in wait(list(self._running)):
            assert isinstance(pipe, Connection)
            try:
                events.append(pipe.recv())
            except (EOFError, OSError):
                worker, process = self._running.pop(pipe)
                events.append(Died(worker, _end(pipe, process)))
        return events

    def close(self) -> None:
        """Ends all processes."""
        for _, process in self._running.values():
            process.terminate()
        for pipe, (_, process) in self._running.items():
            _end(pipe, process)
        self._running.clear()


def _end(pipe: Connection, process: SpawnProcess) -> str:
    """Waits for a process that is about to end; returns how it ended."""
    pipe.close()
    process.join(SECONDS_TO_END)
    if process.exitcode is None:
        process.kill()
        process.join()
    code = process.exitcode or 0
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"


def _work(pipe: Connection, number: int, workers: int) -> None:
    """The life of a worker's process."""
    # Ctrl-C reaches the whole group; the parent decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # What the library warns of stands in the lines.
    logging.getLogger("sharpv").setLevel(logging.ERROR)
    worker = open_worker(pipe.recv(), number, workers)
    if isinstance(worker, Failed):
        pipe.send(worker)
        return
    sending = Lock()

    def answer(row: Row) -> None:
        try:
            try:
                event: Event = Answered(number, row.number, worker.answer(row))
            except Unavailable as error:
                event = Failed(number, str(error))
            with sending:
                pipe.send(event)
        except BaseException:
            # The thread would keep it, and the parent wait for the row without end.
            logger.exception("worker %d cannot go on", number)
            os._exit(LOST)

    pipe.send(Ready(number))
    with ThreadPoolExecutor(AT_ONCE) as threads:
        while True:
            try:
                row = pipe.recv()
            except (EOFError, OSError):
                os._exit(0)  # the parent is gone: nobody takes what the threads are working on
            threads.submit(answer, row)
