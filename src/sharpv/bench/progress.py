"""How far a long run is, said now and then."""

import time
from collections.abc import Callable

__all__ = ["Progress"]

SECONDS_BETWEEN_LINES = 5.0


class Progress:
    """Counts clips, and says every few seconds how many are done and how long the others will take."""

    def __init__(self, clips: int, log: Callable[[str], None]) -> None:
        self._clips, self._log = clips, log
        self._done = self._skipped = 0
        self._started = self._said = time.monotonic()

    def step(self, asked: bool) -> None:
        """Counts a clip; one that earlier runs had asked all about takes no part in the rate."""
        self._done += 1
        self._skipped += not asked
        now = time.monotonic()
        worked, last = self._done - self._skipped, self._done == self._clips
        if not worked or (now - self._said < SECONDS_BETWEEN_LINES and not last):
            return
        self._said = now
        each = (now - self._started) / worked
        minutes, seconds = divmod(round(each * (self._clips - self._done)), 60)
        self._log(f"clip {self._done} of {self._clips}, {each:.2f} s each, {minutes}:{seconds:02d} left")
