"""What an MLflow server has from other stores, while it answers, is gone, and talks nonsense."""

from __future__ import annotations

import http.server
import json
import threading
from contextlib import contextmanager

import pytest

from ccar.store.trial_store import TrialStore
from dashboards import elsewhere as asking
from dashboards.app import build_app
from dashboards.desk import Desk
from dashboards.elsewhere import Elsewhere
from dashboards.library import Library
from tests.dashboards.made_up_store import put_study
from tests.waiting import wait_until

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
            body = json.dumps(answers["/".join(self.path.partition("?")[0].split("/")[-2:])]).encode()
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

        def do_GET(self):
            self.do_POST()

        def log_message(self, *_arguments):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(autouse=True)
def _ask_at_any_time(monkeypatch):
    monkeypatch.setattr(asking, "ASK_SECONDS", 0.0)


def ask(elsewhere, changes, number):
    """Ask, and wait until it has changed so often."""
    elsewhere.is_asked()
    wait_until(lambda: len(changes) >= number)


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


@pytest.mark.parametrize(
    "answers",
    [
        {"experiments/get-by-name": {"message": "who are you?"}},
        {"experiments/get-by-name": {"experiment": {"experiment_id": "7"}}, "runs/search": {"runs": [{}]}},
    ],
)
def test_the_way_to_a_run_says_that_an_answer_is_not_mlflows(tmp_path, answers):
    store = TrialStore(tmp_path / "store")
    trial = put_study(store)[0]
    with server_that_says(answers) as address:
        library = Library(store)
        library.refresh()
        client = build_app(Desk.on(library, store.root, address)).server.test_client()
        answer = client.get(f"/mlflow?study=made-up&key={trial.key}")
    assert (answer.status_code, answer.text.strip()) == (503, "MLflow's answer was not understood")
    library.close()


def test_the_same_answer_changes_nothing_and_without_a_server_nobody_is_asked():
    changes = []
    with server_that_says({"experiments/search": {}}) as address:
        elsewhere = Elsewhere(address, lambda: changes.append(1))
        elsewhere._ask()
    Elsewhere("", lambda: changes.append(1)).is_asked()
    assert changes == []
