"""How far a job is, said now and then."""

import time
from collections.abc import Callable

__all__ = ["Progress"]

SECONDS_BETWEEN_LINES = 5.0


class Progress:
    """Counts rows, and says every few seconds how many are done, how fast, and for how long it goes on."""

    def __init__(self, rows: int, done: int, errors: int, log: Callable[[str], None]) -> None:
        """Starts a run.

        Args:
            rows: of the manifest.
            done: by earlier runs; they take no part in the rate.
            errors: rows of those whose line says an error.
            log: takes a line of text.
        """
        self._rows, self._done, self._log = rows, done, log
        self._errors, self._worked = errors, 0
        self._started = self._said = -1.0  # before the first row

    def step(self, failed: bool) -> None:
        """Counts a row. The rate is over the time since the first, so loading the model is not in it."""
        now = time.monotonic()
        self._done += 1
        self._errors += failed
        if self._started < 0:
            self._started = self._said = now
            return
        self._worked += 1
        if now - self._said < SECONDS_BETWEEN_LINES and self._done < self._rows:
            return
        self._said = now
        rate = self._worked / max(now - self._started, 1e-9)
        minutes, seconds = divmod(round((self._rows - self._done) / rate), 60)
        hours, minutes = divmod(minutes, 60)
        self._log(
            f"row {self._done} of {self._rows}, {self._errors} with an error, {rate:.2f} rows/s, "
            f"{hours}:{minutes:02d}:{seconds:02d} left"
        )
