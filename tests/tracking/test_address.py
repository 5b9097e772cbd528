from __future__ import annotations

import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from sqlalchemy.engine import make_url

from ccar.errors import UserError
from ccar.tracking.address import (
    absolute,
    artifact_root,
    check_tracking,
    default_tracking_uri,
    digest,
    shown,
    sqlite_file,
    without_secrets,
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


@pytest.mark.parametrize("name", ["what?", "100%", "a%20b", "a b", "a#b"])
def test_the_default_is_the_file_that_sqlalchemy_opens_whatever_the_store_is_called(tmp_path, name):
    uri, file = default_tracking_uri(tmp_path / name), tmp_path / name / "mlflow.db"
    assert make_url(uri).database == str(file)
    assert sqlite_file(uri) == file
    assert absolute(uri) == uri


def test_options_of_a_database_are_no_part_of_its_file(tmp_path):
    uri = f"sqlite:///{tmp_path}/runs.db?timeout=60"
    assert sqlite_file(uri) == tmp_path / "runs.db"
    assert absolute(uri) == uri


def test_files_of_a_database_lie_in_the_store_and_those_of_a_server_where_it_says(tmp_path):
    assert artifact_root(tmp_path, "postgresql://host/runs") == f"file://{tmp_path}/mlartifacts"
    assert artifact_root(tmp_path, "https://host") is None


def test_a_relative_database_is_the_same_one_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    assert absolute("sqlite:///runs.db") == f"sqlite:///{tmp_path}/runs.db"
    assert digest("sqlite:///runs.db") == digest(f"sqlite:///{tmp_path}/runs.db")
    assert absolute("http://host:5000") == "http://host:5000"


@pytest.mark.parametrize(
    ("address", "shows"),
    [
        ("postgresql://me:secret@host:5432/runs", "postgresql://me:***@host:5432/runs"),
        ("postgresql://host/runs?user=me&password=secret", "postgresql://host/runs?user=***&password=***"),
        ("mysql://me:secret@host/runs?ssl_ca=secret;x=secret", "mysql://me:***@host/runs?ssl_ca=***;x=***"),
        ("postgresql://me:se/cr?e=t#@host/runs?a=b", "postgresql://me:***@host/runs?a=***"),
        ("postgresql://me:se@cret@host/runs", "postgresql://me:***@host/runs"),
        ("https://:secret@host", "https://:***@host"),
        ("http://me@host:5000", "http://me@host:5000"),
        ("http://host:5000", "http://host:5000"),
        ("sqlite:////folder/runs.db", "sqlite:////folder/runs.db"),
    ],
)
def test_a_password_is_never_shown(address, shows):
    assert shown(address) == shows


@pytest.mark.parametrize(
    ("address", "said", "shows"),
    [
        (
            "http://me:secret@host:5000/",
            "to http://me:secret@host:5000/api failed",
            "to http://me:***@host:5000/api failed",
        ),
        ("http://me:a%20b@host", "for url: http://me:a%20b@host/x", "for url: http://me:***@host/x"),
        ("http://me:a%20b@host", "no URL: //me:a b@host/x", "no URL: //me:***@host/x"),
        ("http://me:a!b@host", "for url: //me:a%21b@host/x", "for url: //me:***@host/x"),
        (
            "postgresql://host/runs?password=secret",
            "bad: postgresql://host/runs?password=secret",
            "bad: postgresql://host/runs?password=***",
        ),
        ("http://host:5000", "http://host:5000/api, says me@host", "http://host:5000/api, says me@host"),
    ],
)
def test_a_password_is_not_shown_either_where_somebody_else_repeats_the_address(address, said, shows):
    assert without_secrets(said, address) == shows


def test_a_place_is_the_same_for_each_of_its_users_and_however_it_is_spelt():
    spellings = ("http://host:5000", "http://host:5000/", "http://HOST:5000", "http://me:secret@host:5000/")
    assert len({digest(address) for address in spellings}) == 1
    databases = ("postgresql://me:secret@host/runs", "postgresql://you@host/runs", "postgresql://host/runs")
    assert len({digest(address) for address in databases}) == 1
    others = ("http://host:5001", "https://host:5000", "http://host:5000/a", "postgresql://host/Runs", *databases[:1])
    assert len({digest(address) for address in (*spellings, *others)}) == 1 + len(others)


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


@pytest.mark.parametrize("uri", ["http://127.0.0.1:50oo", "http://[::1", "http://127.0.0.1:5000000", "http://"])
def test_an_address_that_is_none_is_told_as_a_server_that_does_not_answer(uri):
    with pytest.raises(UserError, match="does not answer"):
        check_tracking(uri)


def test_the_port_of_something_that_speaks_no_http_is_told_as_a_server_that_does_not_answer():
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def greet():
            connection, _ = listener.accept()
            with connection:
                connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")
                connection.recv(1 << 16)

        greeting = threading.Thread(target=greet)
        greeting.start()
        with pytest.raises(UserError, match=r"does not answer: SSH-2\.0"):
            check_tracking(f"http://127.0.0.1:{listener.getsockname()[1]}", seconds=30)
        greeting.join()


def test_a_server_that_says_nothing_does_not_hold_us_up(silent_port):
    started = time.monotonic()
    with pytest.raises(UserError, match="does not answer"):
        check_tracking(f"http://127.0.0.1:{silent_port}", seconds=0.3)
    assert time.monotonic() - started < 10  # without an answer it would never end


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
