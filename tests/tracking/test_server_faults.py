"""A real MLflow server behind a bad network: whatever happens on the way, in the end it has what the store has."""

from __future__ import annotations

import sqlite3
from contextlib import closing, suppress

import pytest

from ccar.errors import TrackingError
from ccar.tracking.feeder import Feeder
from ccar.tracking.mlflow_projection import Projection
from ccar.tracking.outbox import Outbox, sync
from tests.chaos.checker import wrong_in_mlflow
from tests.tracking.examples import finished_study, key_of, num_points_in, put_study, train
from tests.tracking.faulty_proxy import Fault, faulty_proxy
from tests.waiting import SECONDS, wait_until

pytestmark = pytest.mark.long

CREATE = "/runs/create"
WIPED = ("experiment_tags", "experiments", "inputs", "latest_metrics", "metrics", "params", "runs", "tags")


@pytest.fixture
def proxy(server):
    """A way to the server that can be made worse."""
    with faulty_proxy(server.address) as running:
        yield running


@pytest.fixture
def database(server_folder):
    return server_folder / "mlflow.db"


def sync_until_it_is_done(store, address):
    """As somebody does who is told to run it again."""
    for _ in range(20):
        with suppress(TrackingError):
            sync(store, address)
            return
    raise AssertionError("there is no end to it")


def num_deleted(database, study):
    """How many runs of a study were deleted."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        [(number,)] = connection.execute(
            "select count(*) from runs join tags using (run_uuid) "
            "where tags.key = 'ccar.study' and tags.value = ? and lifecycle_stage = 'deleted'",
            (study,),
        )
    return number


@pytest.mark.parametrize(
    ("fault", "num_doubled"),
    [
        (Fault("lost", CREATE, lambda number: number % 2 == 0), 3),  # of the study and of each trial
        (Fault("late", CREATE, lambda number: number == 1), 1),
    ],
    ids=["lost", "late"],
)
def test_a_run_whose_creation_was_not_answered_is_there_once_after_the_same_delivery(
    proxy, database, tmp_path, monkeypatch, fault, num_doubled
):
    study = f"created-{fault.kind}"
    store = finished_study(tmp_path / "store", study, seeds=(0, 1))
    if fault.kind == "late":
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")  # seconds, below LATE_SECONDS
    proxy.fault = fault

    sync(store, proxy.address)  # MLflow's client sends such a request again

    assert proxy.num_struck == num_deleted(database, study) == num_doubled
    assert wrong_in_mlflow(store.root, study, database) == []


def test_runs_whose_creation_was_given_up_are_there_once_after_the_next_delivery(proxy, database, tmp_path):
    store = finished_study(tmp_path / "store", "given-up", seeds=(0, 1))
    proxy.fault = Fault("lost", CREATE, lambda number: number < 4)  # of the study, and of one trial
    with pytest.raises(TrackingError, match=CREATE):
        sync(store, proxy.address)

    sync_until_it_is_done(store, proxy.address)

    assert proxy.num_struck == 4
    assert num_deleted(database, "given-up") == 2
    assert wrong_in_mlflow(store.root, "given-up", database) == []


def test_with_every_third_answer_lost_everything_arrives_once(proxy, database, tmp_path):
    store = finished_study(tmp_path / "store", "third-lost", seeds=(0, 1))
    proxy.fault = Fault("lost", strikes=lambda number: number % 3 == 2)

    sync_until_it_is_done(store, proxy.address)

    assert proxy.num_struck > 5
    assert wrong_in_mlflow(store.root, "third-lost", database) == []


def test_a_server_that_was_wiped_is_built_again_by_sync(proxy, database, tmp_path):
    store = finished_study(tmp_path / "store", "wiped", seeds=(0, 1))
    sync(store, proxy.address)
    with closing(sqlite3.connect(database)) as connection, connection:
        for table in WIPED:
            connection.execute(f"delete from {table}")
    assert wrong_in_mlflow(store.root, "wiped", database) != []

    sync(store, proxy.address)

    assert wrong_in_mlflow(store.root, "wiped", database) == []


def test_a_trial_that_is_refused_holds_up_neither_other_studies_nor_the_reports(proxy, database, tmp_path):
    store = finished_study(tmp_path / "store", "refused", seeds=(0, 1))
    put_study(store, "untouched", seeds=(0, 1))
    reports = tmp_path / "reports"
    for name in ("refused", "untouched"):
        (reports / name).mkdir(parents=True)
        (reports / name / "report.md").write_text(name)
    proxy.fault = Fault("unavailable", "/runs/log-inputs", lambda number: number < 2)  # MLflow's client asks twice

    with pytest.raises(TrackingError, match="log-inputs"):
        sync(store, proxy.address, report_dir=lambda name: reports / name)

    assert wrong_in_mlflow(store.root, "untouched", database) == []
    sent = [path.read_text() for path in database.parent.rglob("report.md")]
    assert {"refused", "untouched"} <= set(sent)


def test_trials_that_are_refused_for_good_keep_no_other_trial_out(proxy, database, tmp_path):
    store = finished_study(tmp_path / "store", "for-good", seeds=range(5))
    refused = [key_of(seed).encode() for seed in range(3)]
    proxy.fault = Fault("refused", CREATE, concerns=lambda body: any(key in body for key in refused))
    outbox = Outbox(store, proxy.address)

    for _ in range(2):
        with pytest.raises(TrackingError, match="400"):
            outbox.deliver(store.study("for-good"))

    assert {key for study, key in num_points_in(database) if study == "for-good"} == {key_of(3), key_of(4)}
    proxy.fault = None
    outbox.deliver(store.study("for-good"))
    assert wrong_in_mlflow(store.root, "for-good", database) == []


def test_of_two_that_deliver_without_taking_turns_each_run_stays_once_and_whole(server, database, tmp_path):
    """They know the server by names that nobody can tell are one server's, so that neither waits for the other."""
    store = finished_study(tmp_path / "store", "at-once", seeds=(0, 1))
    study = store.study("at-once")
    names = (server.address, server.address.replace("127.0.0.1", "localhost"))
    views = [Projection(name, None, store.id()).study(study) for name in names]
    for trial in study.trials:
        for view in views:
            view.deliver(trial, store.read(trial.key), store.read_test(trial.key))
    for view in views:
        view.settle(study.trials)

    assert wrong_in_mlflow(store.root, "at-once", database) == []


def test_through_an_outage_errors_and_slowness_a_running_study_arrives_whole(proxy, database, tmp_path):
    store = finished_study(tmp_path / "store", "outage", seeds=(0,))
    put_study(store, "outage", seeds=range(4))
    log = store.root / "tracking" / "feeder.log"
    proxy.fault = Fault("gone")
    feeder = Feeder.start(store, proxy.address, "outage")
    wait_until(lambda: log.read_text().count("MLflow at") >= 1)
    proxy.fault = Fault("unavailable")
    train(store, 1)
    feeder.hurry()  # it need not wait for its next look
    wait_until(lambda: proxy.num_struck and log.read_text().count("MLflow at") >= 2)
    proxy.fault = Fault("late", CREATE, lambda number: number == 1)
    train(store, 2)
    feeder.hurry()
    wait_until(lambda: proxy.num_struck == 1)
    proxy.fault = None
    train(store, 3)

    assert feeder.finish(SECONDS) == 0
    assert wrong_in_mlflow(store.root, "outage", database) == []
