"""A web server as a process of its own, for as long as it is wanted."""

from __future__ import annotations

import errno
import http.client
import os
import random
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
NUM_PORTS = 65536
# Below those that the system hands out to connections, one of which could take a port before its server is up.
PORTS_OF_SERVERS = range(20_000, 32_768)
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
            except (OSError, http.client.HTTPException):  # the latter of another program, on a port it took meanwhile
                answered = False
            if answered and self._listens():  # else it was such a program
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


def free_port(host: str, wanted: int | None = None, default: int | None = None) -> int:
    """A port to listen on.

    Args:
        host: IP address of this machine.
        wanted: this one and no other.
        default: without one that is wanted, this one if it is free. Else any of `PORTS_OF_SERVERS`.

    Raises:
        UserError: the port is taken, or nobody can listen there.
    """
    if wanted is not None:
        ports = [wanted]
    else:
        ports = random.sample(PORTS_OF_SERVERS, len(PORTS_OF_SERVERS))
        if default is not None:
            ports.insert(0, default)
    for port in ports:
        with socket.socket() as probe:
            # As the server will do it: a port in TIME_WAIT from the last server is free.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError as error:
                if error.errno == errno.EADDRINUSE:
                    continue
                raise UserError(
                    f"cannot listen on {host}, port {port}: {error.strerror}",
                    hint="expected an IPv4 address of this machine, and a port that this user may have",
                ) from error
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
