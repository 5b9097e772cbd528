"""Looks at a store that take longer the larger it is, and the farther away, are to take a small part of the time."""

from __future__ import annotations

import time

_TIMES_AS_LONG = 20.0


class Rest:
    """Measures what is done `with` it, which is to rest then for twenty times as long."""

    def __init__(self) -> None:
        self._began = self._ends = time.monotonic()

    @property
    def is_over(self) -> bool:
        """Whether it may be done again."""
        return time.monotonic() >= self._ends

    def __enter__(self) -> None:
        self._began = time.monotonic()

    def __exit__(self, *_: object) -> None:
        now = time.monotonic()
        self._ends = now + _TIMES_AS_LONG * (now - self._began)
