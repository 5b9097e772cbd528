"""Processes that a test started, and those of Ray among them by the names that it gives them.

Each may end between two looks at it, and whatever is asked of it then raises NoSuchProcess.
"""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import psutil

from tests.waiting import SECONDS


def family_of(pid: int) -> list[psutil.Process]:
    """The process and all that it started, itself first."""
    process = psutil.Process(pid)
    return [process, *process.children(recursive=True)]


def alive_of(processes: Iterable[psutil.Process]) -> list[psutil.Process]:
    """Those that have not ended. A zombie has: nobody may be there to ask for its exit status."""
    found = []
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def wait_until_gone(processes: Iterable[psutil.Process], seconds: float = SECONDS) -> None:
    """All of these are to end by themselves."""
    deadline = time.monotonic() + seconds
    while left := alive_of(processes):
        assert time.monotonic() < deadline, [command_of(process) for process in left]
        time.sleep(0.1)


def send(number: int, processes: Iterable[psutil.Process]) -> None:
    """Send a signal to all that have not ended."""
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(number)


def freeze(pid: int) -> list[psutil.Process]:
    """Stop the process and all that it has started, also what is just being started; whom that concerns."""
    while moving := [one for one in alive_of(family_of(pid)) if not _is_stopped(one)]:
        send(signal.SIGSTOP, moving)
    return family_of(pid)


def _is_stopped(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return process.status() == psutil.STATUS_STOPPED
    return True


def end(processes: Iterable[psutil.Process], seconds: float = 5) -> None:
    """Nothing may outlive a test that fails: what has not ended by then is killed."""
    deadline = time.monotonic() + seconds
    while (left := alive_of(processes)) and time.monotonic() < deadline:
        time.sleep(0.1)
    for process in left:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    wait_until_gone(left)


@contextmanager
def ended(process: subprocess.Popen[Any]) -> Iterator[subprocess.Popen[Any]]:
    """For the time of the block a process; if it is not over by then, it is killed with all that it has started."""
    with process:  # closes its pipes
        try:
            yield process
        finally:
            if process.poll() is None:
                end(family_of(process.pid), seconds=0)


def command_of(process: psutil.Process) -> list[str]:
    """Its command line; one that has ended, or is just ending, has none."""
    with suppress(psutil.NoSuchProcess):
        return process.cmdline()
    return []


def environment_of(process: psutil.Process) -> Mapping[str, str]:
    """Its variables; one that has ended, or is just ending, has none."""
    with suppress(psutil.NoSuchProcess):
        return process.environ()
    return {}


def listening_on(processes: Iterable[psutil.Process]) -> set[str]:
    """The addresses at which they wait for others to connect."""
    found = set()
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            connections = process.net_connections("inet")
            found |= {connection.laddr.ip for connection in connections if connection.status == psutil.CONN_LISTEN}
    return found


def raylets_of(processes: Iterable[psutil.Process]) -> list[psutil.Process]:
    """Those of `processes` that are a Ray node's own, from which its workers and agents descend."""
    return [process for process in alive_of(processes) if "".join(command_of(process)[:1]).endswith("/raylet")]


def trial_processes(processes: Iterable[psutil.Process]) -> list[psutil.Process]:
    """Those of `processes` that hold a trial and are alive.

    tune.with_resources makes a ResourceTrainable of every trainable.
    """
    return [process for process in alive_of(processes) if "ResourceTrainable" in " ".join(command_of(process))]


def without_agents(processes: Iterable[psutil.Process]) -> list[psutil.Process]:
    """All but the agents of a Ray node, which give their last message to a head that is gone a minute to arrive."""
    return [process for process in processes if not "".join(command_of(process)[:1]).endswith("Agent")]
