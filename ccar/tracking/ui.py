"""The MLflow web page on what has been run: a server of MLflow, for as long as it is wanted.

It is on loopback unless told otherwise. It asks for a password where one is given, which elsewhere it must be.
"""

from __future__ import annotations

import importlib.util
import ipaddress
import os
import secrets
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ccar.errors import UserError
from ccar.tracking.address import is_server, shown
from ccar.tracking.environment import MLFLOW_ENVIRONMENT
from ccar.tracking.web_server import LOOPBACK, Server, free_port, running

DEFAULT_PORT = 5000
PASSWORD = "MLFLOW_AUTH_ADMIN_PASSWORD"


@contextmanager
def serve(
    tracking_uri: str, artifacts: str | None, *, host: str = LOOPBACK, port: int | None = None
) -> Iterator[Server]:
    """Run the MLflow server on a database; it ends with the `with` block, by whatever way that is left.

    Args:
        tracking_uri: a database URI. A server has its page at its own address already.
        artifacts: URI of the folder for the files of runs (`ccar.tracking.address.artifact_root`).
        host: IP address to listen on, and the name of the page. It asks for the user admin and the password in the
            variable MLFLOW_AUTH_ADMIN_PASSWORD where that is set, and on any but loopback it must be.
        port: where to listen; None: 5000, or any free port when that is taken.

    Yields:
        The server, once it answers.

    Raises:
        UserError: the port is taken, the URI is a server's, or others could look and the pages have no one name or no
            password.
        TrackingError: it did not come up.
    """
    if is_server(tracking_uri):
        raise UserError(f"{shown(tracking_uri)} is a server already", hint="open that address in a browser")
    check_listening(host)
    chosen = free_port(host, port, DEFAULT_PORT)
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
    with tempfile.TemporaryDirectory(prefix="ccar-ui-") as private:
        if os.environ.get(PASSWORD):
            command += ["--app-name", "basic-auth"]
            environment |= _accounts(Path(private), host, chosen)
        with running(command, environment, "the MLflow server", f"http://{host}:{chosen}") as server:
            server.wait_until_it_answers("/health")
            yield server


def check_listening(host: str) -> None:
    """Make sure that pages may be served at this IP address: to other machines under one name, and for a password.

    Raises:
        UserError: what is missing.
    """
    if host != LOOPBACK:
        check_host(host)
        _check_password(host)
    if os.environ.get(PASSWORD) and importlib.util.find_spec("flask_wtf") is None:
        raise UserError("MLflow's accounts are not installed", hint="pip install 'mlflow[auth]'")


def check_host(host: str) -> None:
    """Make sure that the pages have one name: they answer under no other.

    Raises:
        UserError: it is not an address of a machine, or stands for all of its addresses.
    """
    hint = "give the one address of this machine by which others reach it, such as 192.0.2.7"
    try:
        found = {info[4][0] for info in socket.getaddrinfo(host or None, 0, flags=socket.AI_PASSIVE)}
    except OSError as error:
        raise UserError(f"{host} is not the address of a machine", hint=hint) from error
    if any(ipaddress.ip_address(address).is_unspecified for address in found):
        raise UserError(
            f"{host or repr(host)} stands for all addresses of this machine, and the pages answer under one", hint=hint
        )


def _check_password(host: str) -> None:
    """Make sure that there is a password to ask for.

    Raises:
        UserError: there is none.
    """
    if not os.environ.get(PASSWORD):
        raise UserError(
            f"there is no password to ask for, and without one pages are on {LOOPBACK} only: found --host {host}",
            hint=f"set {PASSWORD} (12 characters or more), or leave --host out and forward the port: ssh -L",
        )


def _accounts(folder: Path, host: str, port: int) -> dict[str, str]:
    """What MLflow needs to ask for a password: accounts of its own, which end with the server."""
    (folder / "basic_auth.ini").write_text(
        "[mlflow]\n"
        "default_permission = READ\n"
        f"database_uri = sqlite:///{folder / 'accounts.db'}\n"
        "admin_username = admin\n"
        "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
    )
    is_named = host == LOOPBACK or "MLFLOW_SERVER_ALLOWED_HOSTS" in os.environ  # MLflow knows those of loopback
    names = {} if is_named else {"MLFLOW_SERVER_ALLOWED_HOSTS": f"{host}:{port}"}
    return {
        "MLFLOW_AUTH_CONFIG_PATH": str(folder / "basic_auth.ini"),
        "MLFLOW_FLASK_SERVER_SECRET_KEY": secrets.token_hex(32),
        **names,
    }
