"""The MLflow web page on what has been run: a server of MLflow, for as long as it is wanted.

It is on loopback unless told otherwise; elsewhere it asks for a password, which must be given.
"""

from __future__ import annotations

import importlib.util
import os
import secrets
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
from pathlib import Path
from typing import IO

from ccar.errors import TrackingError, UserError
from ccar.tracking.address import is_server, shown
from ccar.tracking.environment import MLFLOW_ENVIRONMENT

DEFAULT_PORT = 5000

LOOPBACK = "127.0.0.1"
PASSWORD = "MLFLOW_AUTH_ADMIN_PASSWORD"
_SECONDS_TO_ANSWER = 120.0  # importing the server takes 5 s on an idle machine, more on a busy one
_SECONDS_TO_STOP = 5.0


@contextmanager
def serve(
    tracking_uri: str, artifacts: str | None, *, host: str = LOOPBACK, port: int | None = None
) -> Iterator[Server]:
    """Run the MLflow server on a database; it ends with the `with` block, by whatever way that is left.

    Args:
        tracking_uri: a database URI. A server has its page at its own address already.
        artifacts: URI of the folder for the files of runs (`ccar.tracking.address.artifact_root`).
        host: IP address to listen on. On any but loopback the page asks for the user admin and the password in
            the variable MLFLOW_AUTH_ADMIN_PASSWORD.
        port: where to listen; None: 5000, or any free port when that is taken.

    Yields:
        The server, once it answers.

    Raises:
        UserError: the port is taken, the URI is a server's, or others could look and there is no password.
        TrackingError: it did not come up.
    """
    if is_server(tracking_uri):
        raise UserError(f"{shown(tracking_uri)} is a server already", hint="open that address in a browser")
    if host != LOOPBACK:
        _check_password(host)
    chosen = _free_port(host, port)
    command = [sys.executable, "-m", "mlflow", "server", "--host", host, "--port", str(chosen), "--workers", "1"]
    if artifacts is not None:
        command += ["--artifacts-destination", artifacts]
    environment = {
        **MLFLOW_ENVIRONMENT,
        # Job execution would start two helper processes for features that are not used here.
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
        **os.environ,
        # A variable and no argument: it may hold a password.
        "MLFLOW_BACKEND_STORE_URI": tracking_uri,
    }
    with tempfile.TemporaryFile() as output, tempfile.TemporaryDirectory(prefix="ccar-ui-") as private:
        if host != LOOPBACK:
            command += ["--app-name", "basic-auth"]
            environment |= _accounts(Path(private), host, chosen)
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,  # a process group of its own: it has a worker process
        )
        try:
            server = Server(process, f"http://{host}:{chosen}")
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


def _check_password(host: str) -> None:
    if not os.environ.get(PASSWORD):
        raise UserError(
            f"the page on {host} can be opened from other machines, and there is no password to ask them for",
            hint=f"set {PASSWORD} (12 characters or more), or leave --host out and forward the port: ssh -L",
        )
    if importlib.util.find_spec("flask_wtf") is None:
        raise UserError("MLflow's accounts are not installed", hint="pip install 'mlflow[auth]'")


def _accounts(folder: Path, host: str, port: int) -> dict[str, str]:
    """What MLflow needs to ask for a password: accounts of its own, which end with the server."""
    (folder / "basic_auth.ini").write_text(
        "[mlflow]\n"
        "default_permission = READ\n"
        f"database_uri = sqlite:///{folder / 'accounts.db'}\n"
        "admin_username = admin\n"
        "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
    )
    names = {} if "MLFLOW_SERVER_ALLOWED_HOSTS" in os.environ else {"MLFLOW_SERVER_ALLOWED_HOSTS": f"{host}:{port}"}
    return {
        "MLFLOW_AUTH_CONFIG_PATH": str(folder / "basic_auth.ini"),
        "MLFLOW_FLASK_SERVER_SECRET_KEY": secrets.token_hex(32),
        **names,
    }


def _free_port(host: str, wanted: int | None) -> int:
    for port in (DEFAULT_PORT, 0) if wanted is None else (wanted,):
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
