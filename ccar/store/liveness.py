"""Is the worker that claimed a trial still there? Its heartbeat tells; on its own host, the process table."""

from __future__ import annotations

import contextlib
import math
import os
import platform
import threading
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from ccar.errors import StoreError, UserError
from ccar.store.folder import Folder

_LEASE = "CCAR_LEASE_SECONDS"


def _lease_seconds(text: str) -> float:
    """See `LEASE_SECONDS`.

    Raises:
        UserError: it is no time, or so short that whoever lives would be taken for dead.
    """
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 1.0 <= seconds < math.inf:
        raise UserError(f"{_LEASE}: found {text!r}, expected seconds, at least 1", hint=f"unset {_LEASE} for 60")
    return seconds


# A worker that was silent for so long has lost its claim. All processes of a store must agree.
LEASE_SECONDS = _lease_seconds(os.environ.get(_LEASE, "60"))
HEARTBEAT_SECONDS = LEASE_SECONDS / 12


class Heartbeat:
    """Touches a file from a thread, until stopped."""

    def __init__(self, folder: Folder, name: str) -> None:
        self._folder, self._name = folder, name
        folder.touch(name)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="ccar-heartbeat", daemon=True)
        self._thread.start()

    def _beat(self) -> None:
        while not self._stop.wait(HEARTBEAT_SECONDS):
            try:
                self._folder.touch(self._name)
            except (OSError, StoreError):  # a full or vanished disk shows at the next commit, with a better message
                continue

    def stop(self) -> None:
        """End the thread; returns once no further beat can come."""
        self._stop.set()
        self._thread.join()

    def end(self) -> None:
        """Stop, and remove the file: whoever looks for it takes us for dead at once, and not after the lease."""
        self.stop()
        with contextlib.suppress(OSError, StoreError):
            self._folder.delete(self._name)


def this_process() -> dict[str, Any]:
    """Facts that tell this process from every other one, here or on another host."""
    return {
        "machine": _machine(),
        "host": platform.node(),
        "pid": os.getpid(),
        "process_started": _started(psutil.Process()),
    }


def is_alive(process: Mapping[str, Any], folder: Folder, heartbeat: str, *, now: float | None = None) -> bool:
    """Whether the process that these facts name may still be working.

    On the same machine a process that is certainly gone is dead at once; anywhere, one whose heartbeat is older than
    the lease is taken for dead (and should it wake up, the log refuses its writes).

    Args:
        process: from `this_process`.
        folder: where its heartbeat is.
        heartbeat: the file that it touches.
        now: Unix time; None: what the clock of that place says, which takes a file there to ask.
    """
    if _is_gone(process):
        return False
    try:
        clock = time_in(folder) if now is None else now
        return clock - folder.touched_at(heartbeat) < LEASE_SECONDS
    except FileNotFoundError:
        return False


class Watch:
    """Tells who is alive to somebody who looks again and again, and writes nothing to ask for the time of that place.

    A heartbeat that was renewed between two looks is no older than the first of them, however wrong our clock is.
    """

    def __init__(self) -> None:
        self._seen: dict[str, _Sight] = {}  # by the name of the heartbeat, which no other one has

    def is_alive(self, process: Mapping[str, Any], folder: Folder, heartbeat: str) -> bool:
        """See `is_alive`; at the first look by our clock."""
        if _is_gone(process):
            return False
        try:
            touched_at = folder.touched_at(heartbeat)
        except FileNotFoundError:
            self._seen.pop(heartbeat, None)
            return False
        now, before = time.monotonic(), self._seen.get(heartbeat)
        if before is not None and before.touched_at == touched_at:
            beat_at = before.beat_at
        else:
            beat_at = now - max(0.0, time.time() - touched_at)
            beat_at = beat_at if before is None else max(beat_at, before.looked_at)
        self._seen[heartbeat] = _Sight(touched_at, beat_at, now)
        return now - beat_at < LEASE_SECONDS


@dataclass(frozen=True, slots=True)
class _Sight:
    """A heartbeat as it was when it was looked at last."""

    touched_at: float  # by the clock of that place
    beat_at: float  # the same as far as it is known on our monotonic clock
    looked_at: float  # on our monotonic clock


def _is_gone(process: Mapping[str, Any]) -> bool:
    """Whether it was on this machine, and has certainly ended."""
    return bool(process["machine"] == _machine()) and not _is_running(process["pid"], process["process_started"])


def _is_running(pid: int, started: float) -> bool:
    """False only where the process is certainly gone: of one that does not show itself, its heartbeat tells."""
    try:
        found = psutil.Process(pid)
        return abs(_started(found) - started) < 1.0 and found.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return _is_hidden(pid)
    except psutil.AccessDenied:
        return True


def _is_hidden(pid: int) -> bool:
    """Whether it is there, and another user's: where /proc is mounted with hidepid, that shows one's own only."""
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except ProcessLookupError:
        pass
    return False


def _started(process: psutil.Process) -> float:
    """In seconds since this machine was started: by its clock it would be another time whenever that is set."""
    return float(process.create_time() - psutil.boot_time())


def time_in(folder: Folder) -> float:
    """Unix time by the clock that stamps files in `folder`: where it is reached by network the server's, not ours.

    Raises:
        StoreError: the folder cannot be written, which it takes to ask.
        FileNotFoundError: there is no such folder.
    """
    probe = f".clock.{uuid.uuid4().hex}"  # nobody else may remove it meanwhile
    folder.touch(probe)
    try:
        return folder.touched_at(probe)
    finally:
        folder.delete(probe)


def _machine() -> str:
    """Equal for two processes only if they can see each other in the process table."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        namespace = str(Path("/proc/self/ns/pid").readlink())
    except OSError:  # not Linux: the host's name and its start must do
        boot, namespace = str(psutil.boot_time()), ""
    return f"{platform.node()}/{boot}/{namespace}"
