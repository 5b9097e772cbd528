from __future__ import annotations

import dataclasses
import shutil
import subprocess
import sys

import pytest
from mlflow.tracking import MlflowClient

from ccar.errors import StoreError, TrackingError, UserError
from ccar.store.trial_store import TrialStore
from ccar.tracking.address import default_tracking_uri, digest
from ccar.tracking.outbox import Outbox, sync
from tests.cli.test_commands import CCAR
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


@pytest.fixture
def calls(monkeypatch):
    """The calls of one method from now on, which does what it always does: `calls(TrialStore, "read")`."""

    def record(owner, name):
        made, method = [], getattr(owner, name)
        monkeypatch.setattr(owner, name, lambda *args, **options: (made.append(args[1:]), method(*args, **options))[1])
        return made

    return record


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

    subprocess.run([sys.executable, "-c", look], check=True)


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


def test_a_cursor_that_cannot_be_read_just_now_is_not_lost_and_nothing_is_sent_again(store, uri, calls):
    sync(store, uri)
    file = store.root / "tracking" / digest(uri) / "study.json"
    kept = file.rename(file.with_name("kept"))
    file.symlink_to("/proc/self/mem")  # reading it is an I/O error
    searches = calls(MlflowClient, "search_runs")

    for look in (
        lambda: sync(store, uri, trust_cursor=True),
        lambda: Outbox(store, uri).pending(store.study("study")),
    ):
        with pytest.raises(StoreError, match=r"cannot read .*study\.json: Input/output error"):
            look()
    kept.replace(file)
    assert sync(store, uri, trust_cursor=True).points == 0
    assert searches == []


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


def test_a_run_that_a_user_deleted_comes_back_with_the_next_trial(store, uri, database, client):
    sync(store, uri)
    [run] = client.search_runs(["1"], f"tags.`ccar.trial_key` = '{key_of(1)}'")
    client.delete_run(run.info.run_id)
    put_study(store, seeds=(*SEEDS, 3))
    train(store, 3)

    assert sync(store, uri, trust_cursor=True).trials == 2
    assert num_points_in(database) == COMPLETE | {("study", key_of(3)): [ALL_POINTS]}


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


def test_a_study_that_cannot_be_read_is_named_and_the_others_arrive_with_their_reports(store, uri, database):
    (store.root / "studies" / "later.json").write_text('{"name": "later"}')
    (store.root / "reports" / "study").mkdir(parents=True)
    (store.root / "reports" / "study" / "report.md").write_text("# It helps")

    command = [sys.executable, "-m", "ccar", "sync", "--store", store.root, "--tracking-uri", uri]
    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.returncode == 1
    assert "the study later was stored by another version" in done.stderr
    assert num_points_in(database) == COMPLETE
    assert [path.read_text() for path in (store.root / "mlartifacts").rglob("report.md")] == ["# It helps"]


def test_a_study_that_mlflow_does_not_take_does_not_hold_up_the_next_one(store, uri, database):
    put_study(store, "refused")
    (store.root / "mlartifacts").mkdir()
    (store.root / "mlartifacts" / "refused").touch()  # where its folder should be

    with pytest.raises(TrackingError, match="refused"):
        sync(store, uri)

    assert COMPLETE.items() <= num_points_in(database).items()


def test_a_server_that_is_away_is_asked_for_one_study_only(store, calls):
    put_study(store, "other")
    delivered = calls(Outbox, "deliver")
    with pytest.raises(TrackingError, match=r"http://127\.0\.0\.1:9"):
        sync(store, "http://127.0.0.1:9")
    assert [study.name for (study,) in delivered] == ["other"]


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


def test_two_studies_that_are_delivered_in_turns_are_looked_up_once_each(store, uri, database, calls):
    studies = [put_study(store, name, seeds=range(6)) for name in ("one", "other")]
    outboxes = [Outbox(store, uri) for _ in studies]
    searches = calls(MlflowClient, "search_runs")

    for seed in range(3, 6):
        train(store, seed)
        for outbox, study in zip(outboxes, studies, strict=True):
            outbox.deliver(study)

    assert len(searches) == len(studies)
    assert num_points_in(database) == {
        (study.name, key_of(seed)): [ALL_POINTS] for study in studies for seed in range(6)
    }


def test_of_a_study_that_goes_on_only_what_is_open_is_looked_at_once(store, uri, calls):
    study = put_study(store, seeds=range(10))
    train(store, 3, epochs=1, end="unfinished")
    outbox = Outbox(store, uri)
    outbox.deliver(study)
    train(store, 3, epochs=2, end="unfinished")

    looks = calls(TrialStore, "num_records")
    assert outbox.deliver(study).trials == 1
    assert looks == [(key_of(3),)], "not what has yet to begin, and not what never changes again"

    looks.clear()
    assert outbox.deliver(study).trials == 0
    assert looks == [(key_of(3),)]


def test_the_plan_of_a_study_that_is_followed_is_digested_once(store, uri, calls):
    outbox = Outbox(store, uri)
    outbox.deliver(put_study(store, seeds=range(4)))
    train(store, 3)

    dumps = calls(dataclasses, "asdict")
    assert [outbox.deliver(store.study("study")).trials for _ in range(2)] == [1, 0]
    assert dumps == []


def test_of_a_finished_study_that_was_delivered_no_log_is_looked_at(store, uri, calls):
    sync(store, uri)
    study, looks = store.study("study"), calls(TrialStore, "num_records")

    assert Outbox(store, uri).is_current(study)
    assert Outbox(store, uri).pending(study) == []
    assert looks == []


@pytest.mark.parametrize("times_as_long", [0.0, 1e9])
def test_while_training_goes_on_stopped_trials_and_those_to_come_are_looked_at_every_now_and_then(
    database, uri, tmp_path, calls, monkeypatch, times_as_long
):
    monkeypatch.setattr("ccar.tracking.rest._TIMES_AS_LONG", times_as_long)
    store = TrialStore(tmp_path / "store")
    study, outbox = put_study(store), Outbox(store, uri)
    train(store, 0, epochs=2, end="stopped")
    train(store, 1, epochs=1, end="unfinished")
    outbox.deliver(study, min_age=1e-9)
    train(store, 0)  # for a study without early stopping
    train(store, 1)
    train(store, 2)
    logs, folders = calls(TrialStore, "num_records"), calls(TrialStore, "begun")

    assert outbox.deliver(study, min_age=1e-9).trials == (1 if times_as_long else 3)
    assert ((key_of(0),) in logs, bool(folders)) == ((False, False) if times_as_long else (True, True))
    assert ("study", key_of(1)) in num_points_in(database)
    assert outbox.deliver(study).trials == (2 if times_as_long else 0), "at the end of all, nothing waits"
    assert num_points_in(database) == COMPLETE


def test_a_trial_that_was_deleted_is_delivered_anew_once_it_has_been_trained_again(store, uri, database):
    sync(store, uri)
    study, outbox = store.study("study"), Outbox(store, uri)
    shutil.rmtree(store.root / "trials" / key_of(1)[:2] / key_of(1))
    assert outbox.deliver(study).trials == 0
    train(store, 1)

    assert outbox.deliver(study).trials == 1
    assert num_points_in(database) == COMPLETE


def test_who_delivers_keeps_others_waiting(store, uri, monkeypatch):
    study = store.study("study")
    monkeypatch.setattr("ccar.tracking.outbox._SECONDS_TO_WAIT", 0.1)
    slow, waiting = Outbox(store, uri), Outbox(store, uri)

    for name in ("study", "other"):  # SQLite has one writer at a time, whatever is written
        with slow._turn(name), pytest.raises(TrackingError, match="another process is delivering"):
            waiting.deliver(study)


def test_to_a_server_two_studies_are_delivered_side_by_side(store, monkeypatch):
    monkeypatch.setattr("ccar.tracking.outbox._SECONDS_TO_WAIT", 0.1)
    first, second = (Outbox(store, "http://127.0.0.1:9") for _ in range(2))
    with first._turn("study"), second._turn("other"):
        pass
    with first._turn("study"), pytest.raises(TrackingError, match="another process"), second._turn("study"):
        pass


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


def test_the_password_of_a_server_that_is_away_is_not_in_the_error(store):
    with pytest.raises(TrackingError, match=r"http://me:\*\*\*@127\.0\.0\.1:9") as caught:
        sync(store, "http://me:se%20cret@127.0.0.1:9")
    assert "cret" not in f"{caught.value} {caught.value.hint}"


def test_after_a_store_was_moved_its_former_place_is_not_made_anew_and_one_is_told_what_to_do(store, uri, tmp_path):
    sync(store, uri)
    moved = TrialStore(store.root.rename(tmp_path / "moved"))

    with pytest.raises(TrackingError, match=f"were in {store.root}/mlartifacts/study, which is not there") as caught:
        sync(moved, default_tracking_uri(moved.root))
    assert "Delete mlflow.db" in caught.value.hint
    (moved.root / "mlflow.db").unlink()
    command = [CCAR, "sync", "--store", moved.root]  # this process has the former database open
    subprocess.run(command, check=True, capture_output=True, cwd=tmp_path)

    assert num_points_in(moved.root / "mlflow.db") == COMPLETE
    assert not store.root.exists()


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
