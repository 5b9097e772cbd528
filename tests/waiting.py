"""Waiting for what another process or thread does."""

from __future__ import annotations

import time
from collections.abc import Callable

SECONDS = 300.0  # so that a wait in vain fails at its own line; how fast anything is, is not said by it


def wait_until(
    condition: Callable[[], object],
    *,
    seconds: float = SECONDS,
    meanwhile: Callable[[], object] = lambda: True,
    told: Callable[[], object] = lambda: "waited in vain",
) -> None:
    """Return as soon as the condition holds.

    Args:
        condition: is asked ten times a second.
        seconds: to wait at most.
        meanwhile: what has to hold until then, such as that a process lives.
        told: what a wait in vain is explained by, such as a log.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        assert meanwhile(), told()
        assert time.monotonic() < deadline, told()
        time.sleep(0.1)
