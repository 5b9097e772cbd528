from __future__ import annotations

import subprocess
import sys

import pytest

from ccar.errors import TrackingError, UserError
from ccar.store.trial_store import TrialStore
from ccar.tracking.address import default_tracking_uri, digest
from ccar.tracking.outbox import Outbox, sync
from tests.tracking.examples import (
    ALL_POINTS,
    POINTS_PER_EPOCH,
    finished_study,
    key_of,
    num_points_in,
    num_runs_in,
    points_in,
    put_study,
    train,
)

SEEDS = (0, 1, 2)
COMPLETE = {("study", key_of(seed)): [ALL_POINTS] for seed in SEEDS}


@pytest.fixture
def store(database, tmp_path):
    """A store whose only study has finished."""
    return finished_study(tmp_path / "store", seeds=SEEDS)


def test_a_finished_study_arrives_whole(store, uri, database):
    report = sync(store, uri)

    assert (report.studies, report.trials, report.points) == (1, 3, 3 * ALL_POINTS)
    assert num_points_in(database) == COMPLETE
    assert num_runs_in(database) == len(SEEDS) + 1


def test_the_second_sync_sends_nothing(store, uri, database):
    sync(store, uri)

    for trust_cursor in (True, False):
        assert sync(store, uri, trust_cursor=trust_cursor).points == 0
    assert num_points_in(database) == COMPLETE


def test_when_nothing_is_new_mlflow_is_not_even_imported(store, uri):
    sync(store, uri)
    look = (
        "import sys; from pathlib import Path; from ccar.store.trial_store import TrialStore;"
        "from ccar.tracking.outbox import sync;"
        f"report = sync(TrialStore(Path({str(store.root)!r})), {uri!r}, trust_cursor=True);"
        "assert report.points == 0; assert not {'mlflow', 'torch'} & set(sys.modules)"
    )

    subprocess.run([sys.executable, "-c", look], check=True, timeout=60)


def test_losing_the_cursor_doubles_nothing(store, uri, database):
    sync(store, uri)
    before = points_in(database)
    (store.root / "tracking" / digest(uri) / "study.json").unlink()

    sync(store, uri, trust_cursor=True)

    assert points_in(database) == before


@pytest.mark.parametrize("content", [b"", b"[]", b'{"plan": null, "trials": {"a": 1}}', b"\xff"])
def test_a_cursor_that_cannot_be_read_counts_as_lost(store, uri, database, content):
    sync(store, uri)
    (store.root / "tracking" / digest(uri) / "study.json").write_bytes(content)

    assert sync(store, uri, trust_cursor=True).points == 0
    assert num_points_in(database) == COMPLETE


def test_a_wiped_database_is_built_again_by_the_same_call(store, uri, database, empty_database):
    sync(store, uri)
    before = points_in(database)
    database.write_bytes(empty_database.read_bytes())

    sync(store, uri)

    assert points_in(database) == before


def test_a_database_that_is_gone_is_noticed_without_asking(store, uri, database):
    sync(store, uri)
    study = store.study("study")
    database.unlink()

    assert len(Outbox(store, uri).pending(study)) == len(SEEDS)


def test_a_run_that_a_user_deleted_comes_back(store, uri, database, client):
    sync(store, uri)
    before = points_in(database)
    [run] = client.search_runs(["1"], f"tags.`ccar.trial_key` = '{key_of(1)}'")
    client.delete_run(run.info.run_id)

    assert sync(store, uri).trials == 1
    assert points_in(database) == before


def test_an_experiment_that_a_user_deleted_comes_back(store, uri, database, client):
    sync(store, uri)
    client.delete_experiment("1")

    sync(store, uri)

    assert client.get_experiment_by_name("study").lifecycle_stage == "active"
    assert num_points_in(database) == COMPLETE


def test_two_studies_that_share_a_trial_show_it_once_each(store, uri, database):
    put_study(store, "other", seeds=(2, 3))
    train(store, 3)

    sync(store, uri)

    shared = {("other", key_of(seed)): [ALL_POINTS] for seed in (2, 3)}
    assert num_points_in(database) == COMPLETE | shared


def test_a_trial_under_two_names_in_one_study_is_one_run_and_settles(store, uri, database):
    study = put_study(store, seeds=(0, 1, 2, 0))

    sync(store, uri)

    assert num_points_in(database) == COMPLETE
    assert Outbox(store, uri).is_current(study)


def test_only_the_named_studies_are_sent(store, uri, database):
    put_study(store, "other", seeds=(0,))

    sync(store, uri, ["other"])

    assert {study for study, _ in num_points_in(database)} == {"other"}


def test_an_unknown_study_is_named_with_the_nearest_one(store, uri):
    with pytest.raises(UserError, match="no study 'studdy'") as caught:
        sync(store, uri, ["studdy"])
    assert caught.value.hint == "did you mean 'study'?"


def test_two_processes_that_take_turns_double_nothing(store, uri, database):
    study = put_study(store, seeds=range(6))
    first, second = Outbox(store, uri), Outbox(store, uri)
    first.deliver(study)

    train(store, 3, epochs=2, end="unfinished")
    second.deliver(study)
    train(store, 3)
    first.deliver(study)
    train(store, 4)
    first.deliver(study)
    train(store, 5)
    second.deliver(study)

    assert num_points_in(database) == {("study", key_of(seed)): [ALL_POINTS] for seed in range(6)}


def test_who_delivers_keeps_others_waiting(store, uri):
    study = store.study("study")
    slow, waiting = Outbox(store, uri), Outbox(store, uri)

    with slow._turn(0), pytest.raises(TrackingError, match="another process is delivering"):
        waiting.deliver(study, seconds_to_wait=0.1)


def test_a_damaged_trial_is_reported_and_the_others_arrive(store, uri, database):
    for record in (store.root / "trials" / key_of(1)[:2] / key_of(1) / "log").iterdir():
        record.write_bytes(b"{}")

    report = sync(store, uri)

    assert [key_of(1) in problem for problem in report.damaged] == [True]
    assert set(num_points_in(database)) == set(COMPLETE) - {("study", key_of(1))}


def test_a_database_that_cannot_be_opened_is_one_error_of_ours(store, tmp_path):
    (tmp_path / "not-a-database.db").write_bytes(b"something else" * 100)

    with pytest.raises(TrackingError, match=r"MLflow at sqlite:.*not-a-database\.db") as caught:
        sync(store, f"sqlite:///{tmp_path / 'not-a-database.db'}")
    assert "ccar sync" in caught.value.hint


def test_a_server_that_is_away_takes_seconds_and_loses_nothing(store, uri, database):
    with pytest.raises(TrackingError, match=r"http://127\.0\.0\.1:9"):
        sync(store, "http://127.0.0.1:9")

    sync(store, uri)
    assert num_points_in(database) == COMPLETE


def test_a_study_that_has_just_begun_is_shown_already(database, uri, tmp_path):
    store = TrialStore(tmp_path / "store")
    put_study(store)
    train(store, 0, epochs=1, end="unfinished")

    sync(store, uri)

    assert num_points_in(database) == {("study", key_of(0)): [POINTS_PER_EPOCH]}


def test_a_trial_that_has_just_begun_can_wait_but_one_that_has_ended_does_not(database, uri, tmp_path):
    store = TrialStore(tmp_path / "store")
    study = put_study(store)
    train(store, 0, epochs=1, end="unfinished")
    train(store, 1)
    outbox = Outbox(store, uri)

    outbox.deliver(study, min_age=3600)
    assert set(num_points_in(database)) == {("study", key_of(1))}

    outbox.deliver(study)
    assert set(num_points_in(database)) == {("study", key_of(0)), ("study", key_of(1))}


def test_the_default_database_is_made_in_the_store_and_nothing_elsewhere(tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    store = finished_study(tmp_path / "store", seeds=(0,))

    sync(store, default_tracking_uri(store.root))

    assert list((tmp_path / "elsewhere").iterdir()) == []
    assert {"mlflow.db", "mlartifacts"} <= {path.name for path in store.root.iterdir()}
