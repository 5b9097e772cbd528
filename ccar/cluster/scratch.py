"""A private folder for as long as a process needs it, even if the process is killed."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_PREFIX = "ccar-scratch-"
_PARENT = Path("/tmp")  # not TMPDIR: the paths of Ray's sockets may not be longer than 107 characters


@contextmanager
def scratch_folder(parent: Path = _PARENT) -> Iterator[Path]:
    """A new folder of mode 700 for the time of the block; what killed processes have left is removed first.

    Its owner holds a lock on the folder, which the kernel lets go when the owner dies, however it dies.

    Args:
        parent: where to make it.
    """
    for former in parent.glob(f"{_PREFIX}*"):
        with _lock(former, wait=False) as is_ours:
            if is_ours:
                shutil.rmtree(former, ignore_errors=True)
    while True:
        folder = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-", dir=parent))
        with _lock(folder, wait=True) as is_ours:
            if not is_ours:  # taken for a dead process's before it was locked
                continue
            try:
                yield folder
            finally:
                shutil.rmtree(folder, ignore_errors=True)  # some process of Ray's may still be at its last words
            return


@contextmanager
def _lock(folder: Path, *, wait: bool) -> Iterator[bool]:
    """Hold the lock on a folder; False when somebody else holds it, or the folder is gone."""
    descriptor = None
    with suppress(OSError):  # gone meanwhile, or another user's
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    if descriptor is None:
        yield False
        return
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
            return
        yield folder.exists()
    finally:
        os.close(descriptor)
