"""The MLflow server for teams as cluster/ starts it: PostgreSQL behind it, a password before it, nothing mocked."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from ccar.errors import UserError
from ccar.tracking.address import check_tracking
from ccar.tracking.web_server import LOOPBACK, free_port
from tests.processes import command_of, environment_of, family_of, listening_on
from tests.tiny_study import write_tiny_study
from tests.tracking.postgres import connect, is_installed, postgres
from tests.waiting import SECONDS, wait_until

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
    port = free_port(LOOPBACK)
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
            wait_until(
                lambda: answers(f"http://127.0.0.1:{port}/health"),
                meanwhile=lambda: process.poll() is None,
                told=log.read_text,
            )
            yield TeamServer(f"http://127.0.0.1:{port}", secrets, postgres_port, log, psutil.Process(process.pid))
            process.send_signal(signal.SIGTERM)
            process.wait()
            assert list((folder / "tmp").glob("*/pgpass")) == []
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.parametrize("own", [None, "AKIA"])
def test_the_keys_of_a_bucket_of_ones_own_are_left_alone(tmp_path, own):
    """Stands in for MLflow with a script that says what it was given."""
    subprocess.run(["sh", MLFLOW / "make_secrets.sh", tmp_path / "secrets"], check=True, stdout=subprocess.DEVNULL)
    stand_in = tmp_path / "mlflow"
    stand_in.write_text('#!/bin/sh\necho "$AWS_ACCESS_KEY_ID $AWS_SECRET_ACCESS_KEY"\n')
    stand_in.chmod(0o755)
    environment = {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "SECRETS": str(tmp_path / "secrets"),
        "MLFLOW_BACKEND_STORE_URI": "postgresql://host/mlflow",
        "MLFLOW_ARTIFACTS_DESTINATION": "s3://bucket",
        "MLFLOW_SERVER_ALLOWED_HOSTS": "127.0.0.1",
        **({"AWS_ACCESS_KEY_ID": own, "AWS_SECRET_ACCESS_KEY": "theirs"} if own else {}),
    }
    said = subprocess.run(
        ["sh", MLFLOW / "serve.sh"], env=environment, check=True, capture_output=True, text=True
    ).stdout
    made = (tmp_path / "secrets" / "s3_secret_key").read_text().strip()
    assert said == (f"{own} theirs\n" if own else f"mlflow {made}\n")


def answers(url):
    try:
        with urllib.request.urlopen(url, timeout=2):
            return True
    except OSError:
        return False


def status(request):
    try:
        with urllib.request.urlopen(request, timeout=SECONDS) as answer:
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
    done = subprocess.run(command, env={**os.environ, **server.client}, check=False, capture_output=True, text=True)
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
        check_tracking(server.address, seconds=SECONDS)
    assert "MLFLOW_TRACKING_PASSWORD" in refused.value.hint


def test_the_password_may_also_be_in_the_address(server):
    password = server.secret("mlflow_admin_password")
    check_tracking(server.address.replace("//", f"//admin:{password}@"), seconds=SECONDS)


def test_a_name_that_was_not_allowed_gets_no_answer(server):
    request = urllib.request.Request(f"{server.address}/api/2.0/mlflow/experiments/search")
    request.add_header("Host", "evil.example.org")
    assert status(request) == 403


def test_secrets_are_in_no_command_line_and_in_no_log_and_files_are_their_owners(server):
    lines = [" ".join(command_of(process)) for process in family_of(server.process.pid)]
    log = server.log.read_text()
    for file in server.secrets.iterdir():
        assert file.stat().st_mode & 0o077 == 0
        assert not any(file.read_text() in line for line in lines)
        assert file.read_text() not in log
    assert server.secrets.stat().st_mode & 0o077 == 0


def test_it_runs_no_jobs_loads_no_pickles_and_listens_on_loopback(server):
    processes = family_of(server.process.pid)
    assert not any("huey" in " ".join(command_of(process)) for process in processes)
    found = [environment_of(process) for process in processes]
    workers = [environment for environment in found if "MLFLOW_SERVER_ENABLE_JOB_EXECUTION" in environment]
    assert workers
    for environment in workers:
        assert environment["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] == "false"
        assert environment["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] == "false"
    assert listening_on(processes) == {"127.0.0.1"}
