"""Serves the pages: `python -m dashboards`, which `ccar ui` starts beside MLflow."""

from __future__ import annotations

import argparse
import ctypes
import logging
import os
from contextlib import suppress
from pathlib import Path

import pyarrow
import waitress

from ccar.cli.places import Places
from ccar.errors import UserError
from ccar.tracking.ui import PASSWORD, check_host
from ccar.tracking.web_server import LOOPBACK
from dashboards.app import build_app
from dashboards.desk import Desk
from dashboards.guard import guard
from dashboards.library import Library

MLFLOW = "MLFLOW_TRACKING_URI"  # a variable and no argument: it may hold a password
_THREADS = 8
_NICENESS = 19  # trials on the same machine go first: those of Ray have 15
_SESSION_NICENESS = 10
_MEMORY = {-8: 1, -1: 2**20, -3: 2**20}  # M_ARENA_MAX, M_TRIM_THRESHOLD, M_MMAP_THRESHOLD of glibc's <malloc.h>


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
    _give_memory_back()
    places = Places.of(given.store, None)
    library = Library(places.store)
    app = build_app(Desk.on(library, places.cache_dir, os.environ.get(MLFLOW, "")))
    names = [given.host, "localhost"] if given.host == LOOPBACK else [given.host]
    password = os.environ.get(PASSWORD) or None  # on loopback too: other users of this machine reach it
    if password is None and given.host != LOOPBACK:
        parser.error(f"with --host {given.host} set {PASSWORD}")
    guard(app, names, given.port, password)
    library.start()
    waitress.serve(app.server, host=given.host, port=given.port, threads=_THREADS, ident=None)


def _let_others_go_first() -> None:
    """Linux compares niceness inside a session only, and sessions by one of their own."""
    os.nice(_NICENESS)
    if os.getsid(0) == os.getpid():
        with suppress(OSError):  # not on every kernel
            Path("/proc/self/autogroup").write_text(str(_SESSION_NICENESS))


def _give_memory_back() -> None:
    """As soon as it is free: else what pages of 20,000 trials take for a moment stays, and nearly doubles the whole."""
    pyarrow.set_memory_pool(pyarrow.system_memory_pool())  # where pandas has its texts
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        for option, value in _MEMORY.items():
            libc.mallopt(option, value)


if __name__ == "__main__":
    main()
