"""The MLflow server for teams as cluster/ starts it: PostgreSQL behind it, a password before it, nothing mocked."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from ccar.errors import UserError
from ccar.tracking.address import check_tracking
from tests.tiny_study import write_tiny_study
from tests.tracking.postgres import connect, free_port, is_installed, postgres

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(not is_installed(), reason="PostgreSQL is not installed: `make system` installs it"),
]

MLFLOW = Path(__file__).parents[2] / "cluster" / "mlflow"
BIN = Path(sys.executable).parent


@dataclass(frozen=True)
class TeamServer:
    address: str
    secrets: Path
    postgres_port: int
    log: Path
    process: psutil.Process

    def secret(self, name):
        return (self.secrets / name).read_text()

    @property
    def client(self):
        """The environment of somebody who has an account."""
        return {"MLFLOW_TRACKING_USERNAME": "admin", "MLFLOW_TRACKING_PASSWORD": self.secret("mlflow_admin_password")}

    def count(self, table):
        with connect(self.postgres_port, self.secret("postgres_password"), "mlflow") as connection:
            [(count,)] = connection.execute(f"SELECT count(*) FROM {table}").fetchall()
        return count


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("team")
    secrets = folder / "secrets"
    subprocess.run(["sh", MLFLOW / "make_secrets.sh", secrets], check=True, stdout=subprocess.DEVNULL)
    with (
        postgres((secrets / "postgres_password").read_text(), "mlflow") as port,
        serving(folder, secrets, port) as team,
    ):
        yield team


@contextmanager
def serving(folder, secrets, postgres_port):
    port = free_port()
    (folder / "tmp").mkdir()
    environment = {
        "PATH": f"{BIN}:{os.environ['PATH']}",
        "HOME": str(folder),
        "TMPDIR": str(folder / "tmp"),
        "SECRETS": str(secrets),
        "MLFLOW_BACKEND_STORE_URI": f"postgresql+psycopg://ccar@127.0.0.1:{postgres_port}/mlflow",
        "MLFLOW_ARTIFACTS_DESTINATION": str(folder / "artifacts"),
        "MLFLOW_SERVER_ALLOWED_HOSTS": f"127.0.0.1:{port}",
        "MLFLOW_PORT": str(port),
    }
    log = folder / "log"
    with (
        log.open("wb") as output,
        subprocess.Popen(
            ["sh", MLFLOW / "serve.sh"],
            env=environment,
            cwd=folder,
            stdout=output,
            stderr=output,
            start_new_session=True,
        ) as process,
    ):
        try:
            deadline = time.monotonic() + 150
            while not answers(f"http://127.0.0.1:{port}/health"):
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.3)
            yield TeamServer(f"http://127.0.0.1:{port}", secrets, postgres_port, log, psutil.Process(process.pid))
            process.send_signal(signal.SIGTERM)
            process.wait(30)
            assert list((folder / "tmp").glob("*/pgpass")) == []
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


def answers(url):
    try:
        with urllib.request.urlopen(url, timeout=2):
            return True
    except OSError:
        return False


def status(request):
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        error.close()
        return error.code


@pytest.mark.ray
def test_a_study_is_tracked_in_postgresql(server, tmp_path):
    path = write_tiny_study(tmp_path, epochs=2)
    command = [
        sys.executable,
        "-m",
        "ccar",
        "run",
        path,
        "--store",
        tmp_path / "store",
        "--tracking-uri",
        server.address,
    ]
    done = subprocess.run(
        command, env={**os.environ, **server.client}, check=False, capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 0, done.stderr
    assert "does not have" not in done.stderr  # MLflow has everything
    assert server.count("runs") == 3  # the study and its two trials
    assert server.count("metrics") > 0
    assert server.secret("mlflow_admin_password") not in done.stdout + done.stderr
    report = b"".join(file.read_bytes() for file in (tmp_path / "store" / "reports").rglob("*") if file.is_file())
    assert server.secret("mlflow_admin_password").encode() not in report


@pytest.mark.parametrize("password", [None, "wrong"])
def test_who_has_not_the_password_is_told_before_anything_runs(server, monkeypatch, password):
    if password is not None:
        monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "admin")
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", password)
    with pytest.raises(UserError, match="does not let this user in") as refused:
        check_tracking(server.address, seconds=20)
    assert "MLFLOW_TRACKING_PASSWORD" in refused.value.hint


def test_the_password_may_also_be_in_the_address(server):
    password = server.secret("mlflow_admin_password")
    check_tracking(server.address.replace("//", f"//admin:{password}@"), seconds=20)


def test_a_name_that_was_not_allowed_gets_no_answer(server):
    request = urllib.request.Request(f"{server.address}/api/2.0/mlflow/experiments/search")
    request.add_header("Host", "evil.example.org")
    assert status(request) == 403


def test_secrets_are_in_no_command_line_and_in_no_log_and_files_are_their_owners(server):
    processes = [server.process, *server.process.children(recursive=True)]
    lines = [" ".join(process.cmdline()) for process in processes]
    log = server.log.read_text()
    for file in server.secrets.iterdir():
        assert file.stat().st_mode & 0o077 == 0
        assert not any(file.read_text() in line for line in lines)
        assert file.read_text() not in log
    assert server.secrets.stat().st_mode & 0o077 == 0


def test_it_runs_no_jobs_loads_no_pickles_and_listens_on_loopback(server):
    processes = [server.process, *server.process.children(recursive=True)]
    assert not any("huey" in " ".join(process.cmdline()) for process in processes)
    workers = [process for process in processes if "MLFLOW_SERVER_ENABLE_JOB_EXECUTION" in process.environ()]
    assert workers
    for process in workers:
        assert process.environ()["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] == "false"
        assert process.environ()["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] == "false"
    listening = {
        connection.laddr.ip
        for process in processes
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }
    assert listening == {"127.0.0.1"}
