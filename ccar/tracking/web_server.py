"""A web server as a process of its own, for as long as it is wanted."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import IO

import psutil

from ccar.errors import TrackingError, UserError

LOOPBACK = "127.0.0.1"
_SECONDS_TO_ANSWER = 120.0  # importing a server takes 5 s on an idle machine, more on a busy one
_SECONDS_TO_STOP = 5.0


class Server:
    """A running server."""

    def __init__(self, process: subprocess.Popen[bytes], name: str, address: str, output: IO[bytes]) -> None:
        self._process = process
        self._name = name
        self._output = output
        self.address = address

    def wait_until_it_answers(self, path: str) -> None:
        """Return as soon as it does.

        Args:
            path: that is asked for; any answer will do.

        Raises:
            TrackingError: it ended before that, or takes too long; with its last words.
        """
        deadline = time.monotonic() + _SECONDS_TO_ANSWER
        while self.is_running and time.monotonic() < deadline:
            try:
                with urllib.request.urlopen(f"{self.address}{path}", timeout=1):
                    answered = True
            except urllib.error.HTTPError:
                answered = True
            except OSError:
                answered = False
            if answered and self._listens():  # else it was another program, on a port it took meanwhile
                return
            time.sleep(0.1)
        self._output.seek(0)
        last_line = self._output.read().decode(errors="replace").strip().rpartition("\n")[2]
        raise TrackingError(f"{self._name} did not come up: {last_line or 'it said nothing'}")

    def _listens(self) -> bool:
        """Whether it is one of our processes that has the port: two who start at once may have found the same one."""
        port = urllib.parse.urlsplit(self.address).port
        try:
            server = psutil.Process(self._process.pid)
            family = [server, *server.children(recursive=True)]
            found = [each for process in family for each in process.net_connections("tcp")]
        except psutil.Error:  # one of them has just ended
            return False
        return any(each.status == psutil.CONN_LISTEN and each.laddr.port == port for each in found)

    def wait(self) -> None:
        """Return when the server ends by itself; Ctrl-C raises KeyboardInterrupt as everywhere."""
        self._process.wait()

    @property
    def is_running(self) -> bool:
        """Whether the process is still there."""
        return self._process.poll() is None


@contextmanager
def running(command: Sequence[str], environment: Mapping[str, str], name: str, address: str) -> Iterator[Server]:
    """Run a server; it and its children end with the `with` block, by whatever way that is left.

    Args:
        command: that starts it.
        environment: of the process, all of it.
        name: for messages.
        address: where it will answer.
    """
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,  # a process group of its own: it may have worker processes
        )
        try:
            yield Server(process, name, address, output)
        finally:
            _end_group(process)


def free_port(host: str, wanted: int | None, default: int) -> int:
    """The port that is wanted; without one the default, or any that is free when that is taken.

    Raises:
        UserError: the port is taken.
    """
    for port in (default, 0) if wanted is None else (wanted,):
        with socket.socket() as probe:
            # As the server will do it: a port in TIME_WAIT from the last server is free.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError:
                continue
            found: int = probe.getsockname()[1]
            return found
    raise UserError(f"port {wanted} is taken", hint="choose another one, or none: then a free one is found")


def _end_group(process: subprocess.Popen[bytes]) -> None:
    for signal_number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, signal_number)  # its own session: the group has its number
        except ProcessLookupError:
            break
        try:
            process.wait(_SECONDS_TO_STOP)
        except subprocess.TimeoutExpired:
            continue
    process.wait()
