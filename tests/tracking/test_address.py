from __future__ import annotations

import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from ccar.errors import UserError
from ccar.tracking.address import (
    absolute,
    artifact_root,
    check_tracking,
    default_tracking_uri,
    digest,
    shown,
)


@pytest.fixture
def silent_port():
    """A port that accepts connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def answering(status):
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    return server


def test_the_default_is_a_file_in_the_store(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    assert default_tracking_uri(Path("store")) == f"sqlite:///{tmp_path}/store/mlflow.db"


def test_files_of_a_database_lie_in_the_store_and_those_of_a_server_where_it_says(tmp_path):
    assert artifact_root(tmp_path, "postgresql://host/runs") == f"file://{tmp_path}/mlartifacts"
    assert artifact_root(tmp_path, "https://host") is None


def test_a_relative_database_is_the_same_one_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    assert absolute("sqlite:///runs.db") == f"sqlite:///{tmp_path}/runs.db"
    assert digest("sqlite:///runs.db") == digest(f"sqlite:///{tmp_path}/runs.db")
    assert absolute("http://host:5000") == "http://host:5000"


def test_a_password_is_never_shown():
    assert shown("postgresql://me:secret@host:5432/runs") == "postgresql://me:***@host:5432/runs"
    assert shown("http://host:5000") == "http://host:5000"


def test_a_server_that_answers_is_fine():
    server = answering(200)
    check_tracking(f"http://127.0.0.1:{server.server_port}/")
    server.shutdown()
    server.server_close()


def test_a_server_of_something_else_is_refused():
    server = answering(404)
    with pytest.raises(UserError, match="answered 404 Not Found: is it an MLflow server"):
        check_tracking(f"http://127.0.0.1:{server.server_port}")
    server.shutdown()
    server.server_close()


def test_a_server_that_is_not_there_is_told_at_once_with_what_to_do():
    with pytest.raises(UserError, match=r"127\.0\.0\.1:9 does not answer: .*refused") as caught:
        check_tracking("http://127.0.0.1:9")
    assert "ccar sync" in caught.value.hint


def test_a_server_that_says_nothing_does_not_hold_us_up(silent_port):
    started = time.monotonic()
    with pytest.raises(UserError, match="does not answer"):
        check_tracking(f"http://127.0.0.1:{silent_port}", seconds=0.3)
    assert time.monotonic() - started < 2


@pytest.mark.parametrize("uri", ["localhost:5000", "mlruns", "file:///tmp/mlruns", "", "htp://host", "sqlite"])
def test_an_address_that_mlflow_cannot_open_is_refused(uri):
    with pytest.raises(UserError, match="cannot use the tracking URI") as caught:
        check_tracking(uri)
    assert "sqlite:///FILE" in caught.value.hint


@pytest.mark.parametrize("uri", ["sqlite://", "sqlite:///"])
def test_a_database_in_memory_or_without_a_file_is_refused(uri):
    with pytest.raises(UserError, match="cannot use the tracking URI"):
        check_tracking(uri)


def test_a_database_file_need_not_exist_yet(tmp_path):
    check_tracking(f"sqlite:///{tmp_path}/new/folder/mlflow.db")

    assert list(tmp_path.iterdir()) == []


def test_a_database_in_a_place_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").touch()

    with pytest.raises(UserError, match="cannot write the tracking database"):
        check_tracking(f"sqlite:///{tmp_path}/file/mlflow.db")
