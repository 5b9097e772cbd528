"""Ends a process whose trial hangs: in a deadlock, a file system that does not answer, a kernel that never returns."""

from __future__ import annotations

import faulthandler
from pathlib import Path
from types import TracebackType

from ccar.store.files import make_folder, store_error

HANG_SECONDS = 900.0  # reading a large data set from a cold disk, or compiling kernels, takes minutes

_LONGEST_EPOCHS = 10.0


class Watchdog:
    """Used as a context manager around a trial: when no epoch ends in time, notes all stacks and ends the process.

    It is Python's own `faulthandler`, which needs neither the interpreter nor its lock for that.
    Entering it raises StoreError where the file for the stacks cannot be made.
    """

    def __init__(self, file: Path, seconds: float) -> None:
        """Nothing is watched yet.

        Args:
            file: for the stacks; there and empty as long as nothing hangs.
            seconds: how long the first epoch may take, and any other one unless it is slow by nature.
        """
        self._path = file
        self._seconds = seconds

    def __enter__(self) -> Watchdog:
        make_folder(self._path.parent)
        try:
            self._file = self._path.open("w", encoding="utf-8")
        except OSError as error:
            raise store_error(self._path, error) from error
        self.expect_epoch()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.rest()
        self._file.close()
        self._path.unlink(missing_ok=True)

    def expect_epoch(self, last_seconds: float = 0.0) -> None:
        """From now on, an epoch is to end; the last one took `last_seconds`."""
        self._seconds = max(self._seconds, _LONGEST_EPOCHS * last_seconds)
        faulthandler.dump_traceback_later(self._seconds, file=self._file, exit=True)

    def rest(self) -> None:
        """Nothing is expected for a while: it is the driver's turn."""
        faulthandler.cancel_dump_traceback_later()


def take_stacks(file: Path) -> str | None:
    """What a process that was ended so has left: where it stood, in a line; None when there is nothing.

    The file is set aside, so that the trial can be tried again.
    """
    try:
        text = file.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return None
    if not text.strip():  # that process was killed, or still works
        return None
    kept = file.with_name("hang.txt")
    file.replace(kept)
    main_thread = text.rpartition("Thread ")[2].splitlines()[1:]  # the oldest thread comes last
    where = main_thread[0].strip() if main_thread else "an unknown place"
    return f"it hung and was ended, at {where}; all stacks are in {kept}"
