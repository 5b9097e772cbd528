"""Ends a process whose trial hangs: in a deadlock, a file system that does not answer, a kernel that never returns.

The file in which it then notes where the process stood is told of a crash, too.
"""

from __future__ import annotations

import faulthandler
import os
import time
import traceback
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import NoReturn, TextIO

from ccar.store.files import make_folder, store_errors

HANG_SECONDS = 900.0  # reading a large data set from a cold disk, or compiling kernels, takes minutes

_SECONDS_BETWEEN_ARMINGS = 1.0  # each starts a thread; a step may take a millisecond

_CRASHED = "Fatal Python error: "  # so Python's `faulthandler` begins, and then names the signal


class Watchdog:
    """A context manager around a trial: after too long without a sign of life, notes all stacks and ends the process.

    It is Python's own `faulthandler`, which needs neither the interpreter nor its lock for that.
    """

    def __init__(self, file: Path, seconds: float) -> None:
        """Nothing is watched yet.

        Args:
            file: for the stacks; there and empty while something is watched and does not hang.
            seconds: how long there may be no sign of life; up to a second less.
        """
        self._path = file
        self._seconds = seconds
        self._file: TextIO | None = None
        self._next_arming = 0.0
        self._was_enabled = False

    def __enter__(self) -> Watchdog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self.rest()
            faulthandler.disable()
            if self._was_enabled:  # by Ray, for stderr
                with suppress(OSError, RuntimeError):
                    faulthandler.enable(all_threads=False)
            self._file.close()
            self._file = None
            with suppress(OSError):  # an empty one says nothing
                self._path.unlink()

    def begin(self) -> None:
        """Watch from now on: the trial is ours, and so is its file.

        Raises:
            StoreError: the file cannot be written.
        """
        make_folder(self._path.parent)
        with store_errors("write", self._path):
            self._file = self._path.open("w", encoding="utf-8")
        self._was_enabled = faulthandler.is_enabled()
        faulthandler.enable(self._file, all_threads=False)
        self.sign_of_life()

    def sign_of_life(self) -> None:
        """The trial goes on. May be told after every step: most times it only looks at the clock.

        Nothing happens before `begin`.
        """
        now = time.monotonic()
        if now >= self._next_arming and self._file is not None:
            self._next_arming = now + _SECONDS_BETWEEN_ARMINGS
            faulthandler.dump_traceback_later(self._seconds, file=self._file, exit=True)

    def crash(self, error: BaseException) -> NoReturn:
        """End the process at once; the error is noted as `faulthandler` notes a crash."""
        if self._file is not None:
            frames = reversed(traceback.extract_tb(error.__traceback__))
            lines = [f'  File "{frame.filename}", line {frame.lineno} in {frame.name}' for frame in frames]
            what = str(error).partition("\n")[0]
            self._file.write("\n".join([f"{_CRASHED}{what}", *lines, ""]))
            self._file.flush()
        os._exit(1)

    def rest(self) -> None:
        """Nothing is expected until the next sign of life: it is the driver's turn."""
        faulthandler.cancel_dump_traceback_later()
        self._next_arming = 0.0


def last_words(file: Path) -> str | None:
    """Where a process stood that crashed or was ended, in a line; None when it has left nothing.

    Raises:
        StoreError: it cannot be read.
    """
    text = _left_in(file)
    return None if text is None else _in_a_line(text)


def take_stacks(file: Path) -> str | None:
    """What a process that was ended has left: where it stood, in a line; None when there is nothing of a hang.

    The file is set aside, so that the trial can be tried again.

    Raises:
        StoreError: it cannot be read or set aside.
    """
    text = _left_in(file)
    if text is None:
        return None
    kept = file.with_name("crash.txt" if _is_of_a_crash(text) else "hang.txt")
    with store_errors("write", kept):
        file.replace(kept)
    return None if _is_of_a_crash(text) else f"{_in_a_line(text)}; all stacks are in {kept}"


def _left_in(file: Path) -> str | None:
    try:
        with store_errors("read", file, unless=FileNotFoundError):
            text = file.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return None
    return text if text.strip() else None  # without a word that process was killed, or still works


def _is_of_a_crash(text: str) -> bool:
    return text.startswith(_CRASHED)


def _in_a_line(text: str) -> str:
    crashed = _is_of_a_crash(text)
    # Of a crash only the thread is told in which it was; of a hang all, and the oldest comes last.
    frames = text.splitlines() if crashed else text.rpartition("Thread ")[2].splitlines()
    where = next((line.strip() for line in frames if line.startswith("  File ")), "an unknown place")
    what = text.removeprefix(_CRASHED).partition("\n")[0] if crashed else "it hung and was ended"
    return f"{what}, at {where}"
