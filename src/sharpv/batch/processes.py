"""Workers as processes of this machine."""

import logging
import multiprocessing
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from threading import Lock, current_thread, main_thread

from sharpv.batch.manifest import Row
from sharpv.batch.pool import MORE_MEMORY, Answered, Died, Event, Halted, Ready
from sharpv.batch.work import AT_ONCE, LOST, Engine, Failed, Unavailable, open_worker

__all__ = ["Processes"]

logger = logging.getLogger(__name__)

SECONDS_TO_END = 10.0
SAID_ABOVE = 'what they said stands above; a script has to start its job under `if __name__ == "__main__":`'


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
        with _interrupts_later():
            process.start()
            self._running[ours], self._pipes[worker] = (worker, process), ours
        theirs.close()
        with suppress(OSError):
            ours.send(self._engine)

    def send(self, worker: int, row: Row) -> None:
        """Sends a row, which waits in the pipe until the process takes it."""
        with suppress(OSError):
            self._pipes[worker].send(row)

    def wait(self, seconds: float | None = None) -> list[Event]:
        """Waits for messages, and for the end of a process."""
        events: list[Event] = []
        for pipe in wait(list(self._running), seconds):
            assert isinstance(pipe, Connection)
            try:
                events.append(pipe.recv())
            except (EOFError, OSError):
                worker, process = self._running.pop(pipe)
                events.append(_died(worker, _end(pipe, process)))
        return events

    def end(self, worker: int) -> None:
        """Kills a process."""
        pipe = self._pipes[worker]
        _, process = self._running.pop(pipe)
        process.kill()
        _end(pipe, process)

    def close(self) -> None:
        """Ends all processes."""
        for _, process in self._running.values():
            process.terminate()
        for pipe, (_, process) in self._running.items():
            _end(pipe, process)
        self._running.clear()


@contextmanager
def _interrupts_later() -> Iterator[None]:
    """Puts Ctrl-C off, which reaches the whole group: a process would say where in its imports it was.

    What is started here has the signal blocked, as this thread has. Another thread may take it, hence the
    handler: half a start would leave a process that reads half a message.
    """
    caught: list[int] = []
    ours = current_thread() is main_thread()
    resource_tracker.ensure_running()  # which unblocks the signal when it starts
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    handler = signal.signal(signal.SIGINT, lambda number, _: caught.append(number)) if ours else None
    try:
        yield
    finally:
        if ours:
            signal.signal(signal.SIGINT, handler or signal.default_int_handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    if caught:
        signal.raise_signal(signal.SIGINT)


def _end(pipe: Connection, process: SpawnProcess) -> int:
    """Waits for a process that is about to end; returns its exit code, below 0 that of a signal."""
    pipe.close()
    process.join(SECONDS_TO_END)
    if process.exitcode is None:
        process.kill()
        process.join()
    return process.exitcode or 0


def _died(worker: int, code: int) -> Died:
    if code < 0:
        return Died(worker, signal.Signals(-code).name, MORE_MEMORY)
    return Died(worker, f"exit code {code}", SAID_ABOVE)


def _work(pipe: Connection, number: int, workers: int) -> None:
    """The life of a worker's process."""
    # The parent decides about Ctrl-C; programs that the worker starts would inherit the block.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    # What the library warns of stands in the lines.
    logging.getLogger("sharpv").setLevel(logging.ERROR)
    try:
        engine = pipe.recv()
    except (EOFError, OSError):
        return  # the parent is gone
    worker = open_worker(engine, number, workers)
    if isinstance(worker, Failed):
        pipe.send(worker)
        return
    sending = Lock()

    def answer(row: Row) -> None:
        try:
            try:
                event: Event = Answered(number, row.number, worker.answer(row))
            except Unavailable as error:
                event = Halted(number, str(error))
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
