from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request

import pytest
from mlflow.tracking import MlflowClient

from ccar.errors import TrackingError, UserError
from ccar.tracking.address import check_tracking
from ccar.tracking.outbox import Outbox, sync
from ccar.tracking.run_content import PER_CLASS_FILE
from ccar.tracking.ui import serve
from ccar.tracking.web_server import Server
from tests.processes import command_of, family_of, listening_on
from tests.tracking.examples import ALL_POINTS, finished_study, key_of, num_points_in, put_study, train
from tests.waiting import SECONDS

pytestmark = pytest.mark.long


def complete(study, seeds):
    return {(study, key_of(seed)): [ALL_POINTS] for seed in seeds}


def points_of(study, database):
    return {trial: points for trial, points in num_points_in(database).items() if trial[0] == study}


def test_a_study_sent_to_a_server_arrives_whole_and_once(server, server_folder, tmp_path):
    store = finished_study(tmp_path / "store", "by-http", seeds=(0, 1))

    check_tracking(server.address)
    assert sync(store, server.address).points == 2 * ALL_POINTS
    assert sync(store, server.address).points == 0
    assert points_of("by-http", server_folder / "mlflow.db") == complete("by-http", (0, 1))


def test_a_run_deleted_on_the_server_between_two_deliveries_is_made_anew(server, server_folder, tmp_path):
    store = finished_study(tmp_path / "store", "half-wiped", seeds=(0,))
    study = put_study(store, "half-wiped", seeds=(0, 1))
    outbox = Outbox(store, server.address)
    train(store, 1, epochs=2, end="unfinished")
    outbox.deliver(study)
    client = MlflowClient(server.address)
    experiment = client.get_experiment_by_name("half-wiped")
    [run] = client.search_runs([experiment.experiment_id], f"tags.`ccar.trial_key` = '{key_of(1)}'")
    client.delete_run(run.info.run_id)
    train(store, 1)

    with pytest.raises(TrackingError, match="active"):
        outbox.deliver(study)
    outbox.deliver(study)

    assert points_of("half-wiped", server_folder / "mlflow.db") == complete("half-wiped", (0, 1))


def test_files_reach_the_page_through_the_server(server, tmp_path):
    store = finished_study(tmp_path / "store", "with-files", seeds=(0,))
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "report.md").write_text("# It helps")
    sync(store, server.address, report_dir=lambda _: tmp_path / "report")

    client = MlflowClient(server.address)
    experiment = client.get_experiment_by_name("with-files")
    runs = {run.data.tags["ccar.kind"]: run for run in client.search_runs([experiment.experiment_id])}
    table = f"{server.address}/get-artifact?path={PER_CLASS_FILE}&run_uuid={runs['trial'].info.run_id}"
    with urllib.request.urlopen(table, timeout=SECONDS) as answer:
        assert json.load(answer)["columns"] == ["class", "train_images", "val", "test", "test_best"]
    report = [file.path for file in client.list_artifacts(runs["study"].info.run_id, "report")]
    assert report == ["report/report.md"]


def test_the_page_shows_what_was_written_to_its_database_directly(server, server_folder, tmp_path):
    store = finished_study(server_folder, "direct", seeds=(0,))
    sync(store, f"sqlite:///{server_folder / 'mlflow.db'}")

    client = MlflowClient(server.address)
    experiment = client.get_experiment_by_name("direct")
    [run] = client.search_runs([experiment.experiment_id], "tags.`ccar.kind` = 'trial'")
    table = f"{server.address}/get-artifact?path={PER_CLASS_FILE}&run_uuid={run.info.run_id}"
    with urllib.request.urlopen(table, timeout=SECONDS) as answer:
        assert len(json.load(answer)["data"]) == 2


def test_it_listens_on_loopback_only_and_in_one_worker_process(server):
    assert listening_on(family_of(server._process.pid)) == {"127.0.0.1"}


def test_a_port_that_was_asked_for_and_is_taken_is_the_users_problem(server_folder):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with (
            pytest.raises(UserError, match=f"port {port} is taken"),
            serve("sqlite:///x.db", None, port=port),
        ):
            pass


def test_a_server_needs_no_second_one():
    with pytest.raises(UserError, match="is a server already"), serve("http://host:5000", None):
        pass


def test_a_server_that_dies_at_its_start_is_told_with_its_last_words():
    with tempfile.TemporaryFile() as output:
        dying = subprocess.Popen([sys.executable, "-c", "print('so long')"], stdout=output)
        with pytest.raises(TrackingError, match="did not come up: so long"):
            Server(dying, "the MLflow server", "http://127.0.0.1:9", output).wait_until_it_answers("/health")


@pytest.mark.parametrize("host", ["0.0.0.0", "0", "", "::"])
def test_a_page_is_called_by_one_address(monkeypatch, host):
    monkeypatch.setenv("MLFLOW_AUTH_ADMIN_PASSWORD", "correct horse battery")
    with pytest.raises(UserError, match="stands for all addresses"), serve("sqlite:///x.db", None, host=host):
        pass


def test_others_are_let_in_only_by_a_password(monkeypatch):
    monkeypatch.delenv("MLFLOW_AUTH_ADMIN_PASSWORD", raising=False)
    refused = pytest.raises(UserError, match=r"no password to ask for, .* on 127\.0\.0\.1 only: found")
    with refused, serve("sqlite:///x.db", None, host="127.0.0.2"):
        pass


def test_a_page_for_others_asks_for_the_password(monkeypatch, tmp_path, empty_database):
    shutil.copy(empty_database, tmp_path / "mlflow.db")
    monkeypatch.setenv("MLFLOW_AUTH_ADMIN_PASSWORD", "correct horse battery")
    # an address that is not 127.0.0.1, and that nobody else reaches either
    with serve(f"sqlite:///{tmp_path / 'mlflow.db'}", None, host="127.0.0.2") as server:
        with pytest.raises(UserError, match="does not let this user in"):
            check_tracking(server.address, seconds=SECONDS)
        monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "admin")
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "correct horse battery")
        check_tracking(server.address, seconds=SECONDS)


def test_the_address_of_the_database_which_may_hold_a_password_is_in_no_command_line(server, server_folder):
    processes = family_of(server._process.pid)
    assert not any(str(server_folder / "mlflow.db") in " ".join(command_of(process)) for process in processes)
