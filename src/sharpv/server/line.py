"""The line of requests: who waits, who is next, and the one thread that answers."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, nullcontext
from typing import TypeVar

from sharpv.server.limits import Limits
from sharpv.server.refused import Refused

__all__ = ["Line"]

T = TypeVar("T")


class Line:
    """Lets requests in, in the order they came, and answers one at a time, as a session does.

    Attributes:
        length: requests that are served or wait.
    """

    def __init__(self, limits: Limits) -> None:
        self.length = 0
        self._most = limits.queue
        self._request_seconds = limits.request_seconds
        self._loaded = asyncio.Semaphore(limits.loaded)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="sharpv-model")
        self._running: tuple[float, threading.Event] | None = None

    @asynccontextmanager
    async def place(self, media: bool) -> AsyncIterator[None]:
        """Waits until a request may load its media; one without any does not wait for those of others.

        Args:
            media: whether it has any.

        Raises:
            Refused: too many wait.
        """
        if self.length >= self._most:
            raise Refused(429, f"{self.length} requests wait already (queue): try again later", "queue_full")
        self.length += 1
        try:
            async with self._loaded if media else nullcontext():
                yield
        finally:
            self.length -= 1

    async def run(self, job: Callable[[Callable[[], bool]], T]) -> T:
        """Runs a job in the thread of the model.

        Args:
            job: is given what tells whether nobody waits for it any more.
        """
        left, waiting = threading.Event(), [job]
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, self._run, waiting, left)
        finally:
            left.set()
            # What is cancelled stays in the thread's queue until its turn: without its frames.
            waiting.clear()

    def _run(self, waiting: list[Callable[[Callable[[], bool]], T]], left: threading.Event) -> T:
        """Runs a job, and notes since when, in the thread of the model."""
        job = waiting.pop()  # fails where the client leaves at this moment, and nobody hears of it
        self._running = time.monotonic(), left
        try:
            return job(left.is_set)
        finally:
            self._running = None

    def stuck(self) -> str | None:
        """Says why the model answers nobody: a job runs longer than any request may; None if none does."""
        running, most = self._running, self._request_seconds
        if running is None:
            return None
        began, left = running
        seconds = time.monotonic() - began
        if seconds <= most:
            return None
        awaited = "which was given up" if left.is_set() else "which is still waited for"
        return (
            f"the model has been at one request for {seconds:.0f} s, {awaited}; a request may take {most} s "
            "(request_seconds): restart the server if this lasts"
        )

    def close(self) -> None:
        """Lets the job that runs be the last."""
        self._thread.shutdown(wait=False, cancel_futures=True)
