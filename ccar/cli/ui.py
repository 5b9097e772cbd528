"""`ccar ui`: the dashboard and MLflow's pages together, under one address."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from ccar.cli.options import talk
from ccar.cli.places import Places
from ccar.errors import UserError
from ccar.tracking.address import is_server, without_credentials
from ccar.tracking.ui import DEFAULT_PORT, PASSWORD, check_listening, serve
from ccar.tracking.web_server import NUM_PORTS, Server, free_port, running


@contextmanager
def serve_pages(places: Places, host: str, port: int | None) -> Iterator[Server]:
    """Run the dashboard, and MLflow's server unless there is one already; both end with the `with` block.

    In a store that may only be read MLflow cannot start, which writes into its database: the dashboard comes alone.

    Args:
        places: the store and MLflow.
        host: IP address to listen on. Both ask for the password in MLFLOW_AUTH_ADMIN_PASSWORD where that is set, and on
            any but loopback it must be.
        port: of the dashboard; None: 5000, or any free port when that is taken.

    Yields:
        The dashboard, once both answer.

    Raises:
        UserError: the port is taken, or no port of this host can be; or others could look and the pages have no one
            name or no password.
        StoreError: there is no store yet, and its folder cannot be created.
        TrackingError: one of them did not come up.
    """
    host = host.lower()  # as browsers say it, whatever was typed
    check_listening(host)
    own = free_port(host, port, DEFAULT_PORT)
    theirs: int | None = None  # the port of MLflow's pages, where they are ours to serve
    mlflow, problem = places.tracking_uri, ""
    has_server = is_server(mlflow)
    if not has_server:
        places.store.make_private()  # MLflow would make it open to everybody, and what it has lies in there
        mlflow, problem = "", _why_no_mlflow(places)
        if not problem:
            theirs = free_port(host, None, (own + 1) % NUM_PORTS)
            mlflow = f"http://{host}:{theirs}"
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
        if theirs is not None:
            both.enter_context(serve(places.tracking_uri, places.artifacts, host=host, port=theirs))
        dashboard.wait_until_it_answers("/")
        if problem:
            said = f"MLflow's pages are left out, since its database in the store cannot be written: {problem}"
            talk.print(said, style="yellow", markup=False, highlight=False, soft_wrap=True)
        else:
            talk.print(f"MLflow's pages: {without_credentials(mlflow)[0]}", soft_wrap=True)
        yield dashboard


def _why_no_mlflow(places: Places) -> str:
    """Why its database cannot be written; empty where it can."""
    try:
        if places.tracks_in_store:
            places.store.check_writable()
    except UserError as error:
        return str(error)
    return ""
