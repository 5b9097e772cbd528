"""Serves the pages: `python -m dashboards`, which `ccar ui` starts beside MLflow."""

from __future__ import annotations

import argparse
import logging
import os
from contextlib import suppress
from pathlib import Path

import waitress

from ccar.cli.places import Places
from ccar.errors import UserError
from ccar.tracking.ui import check_host
from dashboards.app import build_app
from dashboards.desk import Desk
from dashboards.guard import guard
from dashboards.library import Library

TOKEN = "MLFLOW_AUTH_ADMIN_PASSWORD"  # one secret for both pages of `ccar ui`
MLFLOW = "MLFLOW_TRACKING_URI"  # a variable and no argument: it may hold a password
LOOPBACK = "127.0.0.1"
_THREADS = 8
_NICENESS = 19  # trials on the same machine go first: those of Ray have 15
_SESSION_NICENESS = 10


def main() -> None:
    """Serve until the process is ended."""
    parser = argparse.ArgumentParser(prog="python -m dashboards", description=__doc__)
    parser.add_argument("--store", required=True, help="folder of trials, or s3://BUCKET/PREFIX")
    parser.add_argument("--host", default=LOOPBACK, help="IP address to listen on")
    parser.add_argument("--port", type=int, required=True)
    given = parser.parse_args()
    try:
        check_host(given.host)
    except UserError as error:
        parser.error(f"{error}: {error.hint}")
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    _let_others_go_first()
    places = Places.of(given.store, None)
    library = Library(places.store)
    app = build_app(Desk(library=library, cache_dir=places.cache_dir, mlflow=os.environ.get(MLFLOW, "")))
    names = [given.host, "localhost"] if given.host == LOOPBACK else [given.host]
    token = None if given.host == LOOPBACK else os.environ.get(TOKEN, "")
    if token == "":
        parser.error(f"with --host {given.host} set {TOKEN}")
    guard(app, [f"{name}:{given.port}" for name in names], token)
    library.start()
    waitress.serve(app.server, host=given.host, port=given.port, threads=_THREADS, ident=None)


def _let_others_go_first() -> None:
    """Linux compares niceness inside a session only, and sessions by one of their own."""
    os.nice(_NICENESS)
    if os.getsid(0) == os.getpid():
        with suppress(OSError):  # not on every kernel
            Path("/proc/self/autogroup").write_text(str(_SESSION_NICENESS))


if __name__ == "__main__":
    main()
