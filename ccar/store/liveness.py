"""Is the worker that claimed a trial still there? Its heartbeat tells; on its own host, the process table."""

from __future__ import annotations

import os
import platform
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil

# A worker that was silent for so long has lost its claim. All processes of a store must agree.
LEASE_SECONDS = float(os.environ.get("CCAR_LEASE_SECONDS", "60"))
HEARTBEAT_SECONDS = LEASE_SECONDS / 12


class Heartbeat:
    """Renews a file's modification time from a thread, until stopped."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._path.touch()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="ccar-heartbeat", daemon=True)
        self._thread.start()

    def _beat(self) -> None:
        while not self._stop.wait(HEARTBEAT_SECONDS):
            try:
                self._path.touch()
            except OSError:  # a full or vanished disk shows at the next commit, with a better message
                continue

    def stop(self) -> None:
        """End the thread; returns once no further beat can come."""
        self._stop.set()
        self._thread.join()


def this_process() -> dict[str, Any]:
    """Facts that tell this process from every other one, here or on another host."""
    return {
        "machine": _machine(),
        "host": platform.node(),
        "pid": os.getpid(),
        "process_started": psutil.Process().create_time(),
    }


def is_alive(process: Mapping[str, Any], heartbeat: Path, *, now: float | None = None) -> bool:
    """Whether the process that these facts name may still be working.

    On the same machine a process that is gone is dead at once; anywhere, one whose heartbeat is older than
    the lease is taken for dead (and should it wake up, the log refuses its writes).

    Args:
        process: from `this_process`.
        heartbeat: the file that it renews.
        now: Unix time; None: what the clock of the file system says, which takes a file there to ask.
    """
    if process["machine"] == _machine() and not _is_running(process["pid"], process["process_started"]):
        return False
    try:
        clock = _file_system_time(heartbeat.parent) if now is None else now
        return clock - heartbeat.stat().st_mtime < LEASE_SECONDS
    except FileNotFoundError:
        return False


def _is_running(pid: int, started: float) -> bool:
    try:
        found = psutil.Process(pid)
        return abs(found.create_time() - started) < 1.0 and found.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _file_system_time(folder: Path) -> float:
    """The clock that stamps files in `folder`: on a network file system it is the server's, not ours."""
    probe = folder / f".clock.{os.getpid()}.{threading.get_ident()}"
    probe.touch()
    try:
        return probe.stat().st_mtime
    finally:
        probe.unlink(missing_ok=True)


def _machine() -> str:
    """Equal for two processes only if they can see each other in the process table."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        namespace = str(Path("/proc/self/ns/pid").readlink())
    except OSError:  # not Linux: the host's name and its start must do
        boot, namespace = str(psutil.boot_time()), ""
    return f"{platform.node()}/{boot}/{namespace}"
