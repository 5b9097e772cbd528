"""`ccar ui`: the dashboard and MLflow's pages together, under one address."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from ccar.cli.options import talk
from ccar.cli.places import Places
from ccar.tracking.address import is_server, without_credentials
from ccar.tracking.ui import DEFAULT_PORT, PASSWORD, check_listening, serve
from ccar.tracking.web_server import Server, free_port, running


@contextmanager
def serve_pages(places: Places, host: str, port: int | None) -> Iterator[Server]:
    """Run the dashboard, and MLflow's server unless there is one already; both end with the `with` block.

    Args:
        places: the store and MLflow.
        host: IP address to listen on. Both ask for the password in MLFLOW_AUTH_ADMIN_PASSWORD where that is set, and on
            any but loopback it must be.
        port: of the dashboard; None: 5000, or any free port when that is taken.

    Yields:
        The dashboard, once both answer.

    Raises:
        UserError: the port is taken, or others could look and the pages have no one name or no password.
        TrackingError: one of them did not come up.
    """
    check_listening(host)
    own = free_port(host, port, DEFAULT_PORT)
    has_server = is_server(places.tracking_uri)
    theirs = 0 if has_server else free_port(host, None, own + 1)
    mlflow = places.tracking_uri if has_server else f"http://{host}:{theirs}"
    command = [
        sys.executable,
        "-m",
        "dashboards",
        "--store",
        places.store.address,
        "--host",
        host,
        "--port",
        str(own),
    ]
    environment = {**os.environ, "MLFLOW_TRACKING_URI": mlflow}  # a variable and no argument: it may hold a password
    password = os.environ.get(PASSWORD)
    if password and not has_server:  # a server of others has accounts of its own, and no business with this password
        environment |= {"MLFLOW_TRACKING_USERNAME": "admin", "MLFLOW_TRACKING_PASSWORD": password}
    with ExitStack() as both:
        address = f"http://{host}:{own}"
        dashboard = both.enter_context(running(command, environment, "the dashboard", address))
        if not has_server:
            both.enter_context(serve(places.tracking_uri, places.artifacts, host=host, port=theirs))
        dashboard.wait_until_it_answers("/")
        talk.print(f"MLflow's pages: {without_credentials(mlflow)[0]}", soft_wrap=True)
        yield dashboard
