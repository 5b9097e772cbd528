"""A PostgreSQL server of Debian's for tests: in a temporary folder, on loopback, as a user who is not root."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import psycopg

from ccar.tracking.web_server import LOOPBACK, free_port

_BINARIES = max(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name), default=None)
_SECONDS_TO_START = 300


def is_installed():
    """Whether there is one, and a user to run it by if we are root."""
    return _BINARIES is not None and (os.geteuid() != 0 or shutil.which("runuser") is not None)


@contextmanager
def postgres(password, database):
    """Run a server with an empty database, whose owner is `ccar`; yields the port."""
    port = free_port(LOOPBACK)
    folder = Path(tempfile.mkdtemp(prefix="ccar-postgres-", dir="/tmp"))
    (folder / "password").write_text(password)
    become = []
    if os.geteuid() == 0:
        become = ["runuser", "--user", "postgres", "--"]
        for path in (folder, folder / "password"):
            shutil.chown(path, "postgres")
    data = folder / "data"
    init = [_BINARIES / "initdb", f"--pgdata={data}", "--username=ccar", f"--pwfile={folder / 'password'}"]
    init += ["--auth=scram-sha-256", "--no-sync"]
    serve = [_BINARIES / "postgres", "-D", data, "-h", "127.0.0.1", "-p", str(port), "-k", folder, "-F"]
    try:
        subprocess.run([*become, *init], check=True, cwd="/", stdout=subprocess.DEVNULL)
        with (
            (folder / "log").open("wb") as log,
            subprocess.Popen([*become, *serve], cwd="/", stdout=log, stderr=log),
        ):
            try:
                _create(port, password, database)
                yield port
            finally:
                subprocess.run(
                    [*become, _BINARIES / "pg_ctl", "stop", "-D", data, "-m", "fast", "-s"], check=True, cwd="/"
                )
    finally:
        shutil.rmtree(folder)


def connect(port, password, database):
    """A connection as the owner."""
    return psycopg.connect(
        host="127.0.0.1", port=port, user="ccar", password=password, dbname=database, autocommit=True
    )


def _create(port, password, database):
    deadline = time.monotonic() + _SECONDS_TO_START
    while True:
        try:
            with connect(port, password, "postgres") as connection:
                connection.execute(f"CREATE DATABASE {database}")
            return
        except psycopg.OperationalError:
            assert time.monotonic() < deadline
            time.sleep(0.1)
