"""What an MLflow server has from other stores, while it answers, is gone, and talks nonsense."""

from __future__ import annotations

import http.server
import json
import threading
import time
from contextlib import contextmanager

import pytest

from dashboards import elsewhere as asking
from dashboards.elsewhere import Elsewhere

RUN = {
    "info": {"run_name": "of-others", "status": "FINISHED", "start_time": 1000, "end_time": 3000, "experiment_id": "7"},
    "data": {"tags": [{"key": "ccar.question", "value": "Which omega?"}, {"key": "ccar.progress", "value": "2 of 2"}]},
}
ANSWERS = {"experiments/search": {"experiments": [{"experiment_id": "7"}]}, "runs/search": {"runs": [RUN]}}


@contextmanager
def server_that_says(answers):
    """Answers to what is asked, by the last parts of the path."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.dumps(answers["/".join(self.path.split("/")[-2:])]).encode()
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_arguments):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def _ask_at_any_time(monkeypatch):
    monkeypatch.setattr(asking, "ASK_SECONDS", 0.0)


def ask(elsewhere, changes, number):
    """Ask, and wait until it has changed so often."""
    elsewhere.is_asked()
    deadline = time.monotonic() + 30
    while len(changes) < number:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_server_that_is_gone_is_told_and_what_it_had_stays():
    changes = []
    with server_that_says(ANSWERS) as address:
        elsewhere = Elsewhere(address, lambda: changes.append(1))
        ask(elsewhere, changes, 1)
    (study,) = elsewhere.studies
    page = f"{address}/#/experiments/7"
    assert study == ("of-others", "Which omega?", "FINISHED", "2 of 2", "", "", 1.0, 3.0, page)
    ask(elsewhere, changes, 2)
    assert "does not answer" in elsewhere.problem
    assert list(elsewhere.studies) == [study]


@pytest.mark.parametrize("nonsense", [[], {"experiments": [{}]}, "text"])
def test_an_answer_that_is_not_mlflows_is_told(nonsense):
    changes = []
    with server_that_says({"experiments/search": nonsense}) as address:
        elsewhere = Elsewhere(address, lambda: changes.append(1))
        ask(elsewhere, changes, 1)
    assert elsewhere.problem == "MLflow's answer was not understood"


def test_the_same_answer_changes_nothing_and_without_a_server_nobody_is_asked():
    changes = []
    with server_that_says({"experiments/search": {}}) as address:
        elsewhere = Elsewhere(address, lambda: changes.append(1))
        elsewhere._ask()
    Elsewhere("", lambda: changes.append(1)).is_asked()
    assert changes == []
