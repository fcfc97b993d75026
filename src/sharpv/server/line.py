"""The line of requests: who waits, who is next, and the one thread that answers."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
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
        self._loaded = asyncio.Semaphore(limits.loaded)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="sharpv-model")

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """Waits until a request may load its media.

        Raises:
            Refused: too many wait.
        """
        if self.length >= self._most:
            raise Refused(429, f"{self.length} requests wait already (queue): try again later", "queue_full")
        self.length += 1
        try:
            async with self._loaded:
                yield
        finally:
            self.length -= 1

    async def run(self, job: Callable[[Callable[[], bool]], T]) -> T:
        """Runs a job in the thread of the model.

        Args:
            job: is given what tells whether nobody waits for it any more.
        """
        left = threading.Event()
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, job, left.is_set)
        finally:
            left.set()

    def close(self) -> None:
        """Lets the job that runs be the last."""
        self._thread.shutdown(wait=False, cancel_futures=True)
