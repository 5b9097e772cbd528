"""Ctrl-C and SIGTERM: the first one ends a run cleanly within 25 s, the second one at once."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

import psutil

SECONDS_TO_END = 24.0  # what sends SIGTERM sends SIGKILL after 30 s
EXIT_CODE = 130

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interruption:
    """What has come of signals.

    A first signal raises KeyboardInterrupt, as Ctrl-C does anywhere, except while a run goes on that looks at
    `is_over` by itself (`being_watched`). A second one, or `SECONDS_TO_END` after the first, ends this process and
    all that it has started: what the store has committed is all that counts.
    """

    def __init__(self, on_first: Callable[[], None]) -> None:
        self._on_first = on_first
        self._num_signals = 0
        self._is_watched = False

    @property
    def is_over(self) -> bool:
        """Whether a signal has come."""
        return self._num_signals > 0

    @contextmanager
    def being_watched(self) -> Iterator[None]:
        """For the time of the block somebody looks at `is_over`, and nothing is raised."""
        self._is_watched = True
        try:
            yield
        finally:
            self._is_watched = False

    def handle(self, number: int, frame: FrameType | None) -> None:
        """Python's part: runs between two steps of the main thread."""
        if not self._is_watched:
            raise KeyboardInterrupt

    def listen(self, signals: socket.socket) -> None:
        """Our own part, in a thread: the main thread may hang in Ray. Returns when the other end is closed."""
        timer: threading.Timer | None = None
        while number := signals.recv(1):
            if number[0] not in _SIGNALS:  # Ray and Tune have handlers of their own, for others
                continue
            self._num_signals += 1
            if timer is not None:
                end_now()
            timer = threading.Timer(SECONDS_TO_END, end_now)
            timer.start()
            self._on_first()
        if timer is not None:
            timer.cancel()


@contextmanager
def interruption(on_first: Callable[[], None]) -> Iterator[Interruption]:
    """Take care of signals for the time of the block; in a thread other than the main one nothing changes.

    Args:
        on_first: is called once, from a thread, when the first signal comes.
    """
    found = Interruption(on_first)
    if threading.current_thread() is not threading.main_thread():
        yield found
        return
    ours, pythons = socket.socketpair()
    pythons.setblocking(False)
    former = {number: signal.signal(number, found.handle) for number in _SIGNALS}
    former_wakeup = signal.set_wakeup_fd(pythons.fileno(), warn_on_full_buffer=False)
    thread = threading.Thread(target=found.listen, args=(ours,), name="ccar-signals", daemon=True)
    thread.start()
    try:
        yield found
    finally:
        signal.set_wakeup_fd(former_wakeup)
        for number, handler in former.items():
            signal.signal(number, handler)
        pythons.close()
        thread.join()
        ours.close()


def end_now() -> None:
    """End this process and everything below it, without a farewell."""
    try:
        for process in psutil.Process().children(recursive=True):
            with suppress(psutil.Error):  # it has just ended by itself, as they all may by now
                process.kill()
    finally:
        os._exit(EXIT_CODE)
