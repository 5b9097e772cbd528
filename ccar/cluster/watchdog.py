"""Ends a process whose trial hangs: in a deadlock, a file system that does not answer, a kernel that never returns."""

from __future__ import annotations

import faulthandler
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TextIO

from ccar.store.files import make_folder, store_errors

HANG_SECONDS = 900.0  # reading a large data set from a cold disk, or compiling kernels, takes minutes

_LONGEST_EPOCHS = 10.0


class Watchdog:
    """Used as a context manager around a trial: when no epoch ends in time, notes all stacks and ends the process.

    It is Python's own `faulthandler`, which needs neither the interpreter nor its lock for that.
    """

    def __init__(self, file: Path, seconds: float) -> None:
        """Nothing is watched yet.

        Args:
            file: for the stacks; there and empty while something is watched and does not hang.
            seconds: how long the first epoch may take, and any other one unless it is slow by nature.
        """
        self._path = file
        self._seconds = seconds
        self._file: TextIO | None = None

    def __enter__(self) -> Watchdog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self.rest()
            self._file.close()
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
        self.expect_epoch()

    def expect_epoch(self, last_seconds: float = 0.0) -> None:
        """An epoch is to end; the last one took `last_seconds`. Nothing happens before `begin`."""
        self._seconds = max(self._seconds, _LONGEST_EPOCHS * last_seconds)
        if self._file is not None:
            faulthandler.dump_traceback_later(self._seconds, file=self._file, exit=True)

    def rest(self) -> None:
        """Nothing is expected for a while: it is the driver's turn."""
        faulthandler.cancel_dump_traceback_later()


def take_stacks(file: Path) -> str | None:
    """What a process that was ended so has left: where it stood, in a line; None when there is nothing.

    The file is set aside, so that the trial can be tried again.

    Raises:
        StoreError: it cannot be read or set aside.
    """
    try:
        with store_errors("read", file, unless=FileNotFoundError):
            text = file.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return None
    if not text.strip():  # that process was killed, or still works
        return None
    kept = file.with_name("hang.txt")
    with store_errors("write", kept):
        file.replace(kept)
    main_thread = text.rpartition("Thread ")[2].splitlines()[1:]  # the oldest thread comes last
    where = main_thread[0].strip() if main_thread else "an unknown place"
    return f"it hung and was ended, at {where}; all stacks are in {kept}"
