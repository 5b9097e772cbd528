"""How many requests are answered in a second, whoever asks: the processors belong to the trials."""

from __future__ import annotations

import threading
import time


class Pace:
    """Lets callers go on at a bounded rate; who comes too early waits, so that asking again at once gains nothing."""

    def __init__(self, per_second: float, burst: int) -> None:
        """Nobody has called yet.

        Args:
            per_second: callers that may go on, in the long run.
            burst: callers beyond that which need not wait after a quiet time, such as all files of a first page.
        """
        self._interval = 1.0 / per_second
        self._credit = burst * self._interval
        self._due = 0.0  # when the next caller may go on, on the monotonic clock
        self._lock = threading.Lock()

    def wait(self) -> None:
        """Return when it is this caller's turn."""
        now = time.monotonic()
        with self._lock:
            due = max(self._due, now - self._credit)
            self._due = due + self._interval
        time.sleep(max(0.0, due - now))
