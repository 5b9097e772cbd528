"""The MLflow web page on what has been run: a server of MLflow on loopback, for as long as it is wanted."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from ccar.errors import TrackingError, UserError
from ccar.tracking.address import is_server, shown
from ccar.tracking.environment import MLFLOW_ENVIRONMENT

DEFAULT_PORT = 5000

_HOST = "127.0.0.1"
_SECONDS_TO_ANSWER = 120.0  # importing the server takes 5 s on an idle machine, more on a busy one
_SECONDS_TO_STOP = 5.0


@contextmanager
def serve(tracking_uri: str, artifacts: str | None, *, port: int | None = None) -> Iterator[Server]:
    """Run the MLflow server on a database; it ends with the `with` block, by whatever way that is left.

    Args:
        tracking_uri: a database URI. A server has its page at its own address already.
        artifacts: URI of the folder for the files of runs (`ccar.tracking.address.artifact_root`).
        port: where to listen; None: 5000, or any free port when that is taken.

    Yields:
        The server, once it answers.

    Raises:
        UserError: the port is taken, or the URI is a server's.
        TrackingError: it did not come up.
    """
    if is_server(tracking_uri):
        raise UserError(f"{shown(tracking_uri)} is a server already", hint="open that address in a browser")
    chosen = _free_port(port)
    command = [
        sys.executable,
        "-m",
        "mlflow",
        "server",
        "--host",
        _HOST,
        "--port",
        str(chosen),
        "--workers",
        "1",
    ]
    command += ["--backend-store-uri", tracking_uri]
    if artifacts is not None:
        command += ["--artifacts-destination", artifacts]
    # Job execution would start two helper processes for features that are not used here.
    environment = {**MLFLOW_ENVIRONMENT, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", **os.environ}
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,  # a process group of its own: it has a worker process
        )
        try:
            server = Server(process, f"http://{_HOST}:{chosen}")
            _wait_until_it_answers(server, output)
            yield server
        finally:
            _end_group(process)


class Server:
    """A running MLflow server."""

    def __init__(self, process: subprocess.Popen[bytes], address: str) -> None:
        self._process = process
        self.address = address

    def wait(self) -> None:
        """Return when the server ends by itself; Ctrl-C raises KeyboardInterrupt as everywhere."""
        self._process.wait()

    @property
    def is_running(self) -> bool:
        """Whether the process is still there."""
        return self._process.poll() is None


def _free_port(wanted: int | None) -> int:
    for port in (DEFAULT_PORT, 0) if wanted is None else (wanted,):
        with socket.socket() as probe:
            # As the server will do it: a port in TIME_WAIT from the last server is free.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((_HOST, port))
            except OSError:
                continue
            found: int = probe.getsockname()[1]
            return found
    raise UserError(f"port {wanted} is taken", hint="choose another one, or none: then a free one is found")


def _wait_until_it_answers(server: Server, output: IO[bytes]) -> None:
    deadline = time.monotonic() + _SECONDS_TO_ANSWER
    while server.is_running and time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"{server.address}/health", timeout=1):
                if server.is_running:  # else it was another program that answered, on a port it took meanwhile
                    return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    output.seek(0)
    last_line = output.read().decode(errors="replace").strip().rpartition("\n")[2]
    raise TrackingError(f"the MLflow server did not come up: {last_line or 'it said nothing'}")


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
