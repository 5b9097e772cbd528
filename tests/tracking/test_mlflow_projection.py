from __future__ import annotations

import dataclasses
import json
import shutil

import mlflow.data
import pytest

from ccar.errors import TrackingError
from ccar.store.trial_store import TrialStore
from ccar.tracking.outbox import Outbox, sync
from ccar.tracking.run_content import PER_CLASS_FILE
from dashboards.address import address
from tests.store.examples import NUM_EPOCHS
from tests.tracking.examples import (
    ALL_POINTS,
    CELL,
    POINTS_PER_EPOCH,
    finished_study,
    key_of,
    num_points_in,
    num_runs_in,
    points_in,
    put_study,
    train,
)


@pytest.fixture
def store(database, tmp_path):
    """A store for studies; its default tracking URI is the prepared database."""
    return TrialStore(tmp_path / "store")


def run_of(client, seed, study="study"):
    experiment = client.get_experiment_by_name(study)
    [run] = client.search_runs([experiment.experiment_id], f"tags.`ccar.trial_key` = '{key_of(seed)}'")
    return run


def parent_of(client, study="study"):
    experiment = client.get_experiment_by_name(study)
    [run] = client.search_runs([experiment.experiment_id], "tags.`ccar.kind` = 'study'")
    return run


def milliseconds(seconds):
    return round(1000 * seconds)


def test_the_run_of_a_study_names_its_page_in_the_dashboard(store, uri, client):
    finished_study(store.root, seeds=(0,))
    sync(store, uri)
    assert f"`ccar ui`, page `{address('/study', study='study')}`" in parent_of(client).data.tags["mlflow.note.content"]


def test_a_trial_is_a_run_with_the_names_times_and_values_of_the_store(store, uri, client):
    finished_study(store.root, seeds=(0,))
    sync(store, uri)

    run, record = run_of(client, 0), store.read(key_of(0))
    assert run.info.run_name == f"{CELL} seed 0"
    assert (run.info.status, run.info.start_time, run.info.end_time) == (
        "FINISHED",
        milliseconds(record.started_at),
        milliseconds(record.ended_at),
    )
    assert run.data.params["reweighting.omega"] == "0.75"
    expected = {"ccar.study": "study", "ccar.cell": CELL, "ccar.method": "cross_entropy", "ccar.seed": "0"}
    assert expected.items() <= run.data.tags.items()
    assert run.data.metrics["test_best.balanced_accuracy"] == 0.5
    history = client.get_metric_history(run.info.run_id, "val.balanced_accuracy")
    assert [(point.step, point.value, point.timestamp) for point in history] == [
        (epoch.epoch, epoch.validation.balanced_accuracy, milliseconds(epoch.finished_at)) for epoch in record.epochs
    ]


def test_mlflow_reads_the_per_class_table_and_the_data_set_back(store, uri, client, monkeypatch):
    finished_study(store.root, seeds=(0,))
    sync(store, uri)

    run = run_of(client, 0)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)  # load_table asks there, whatever its client is bound to
    table = client.load_table(run.info.experiment_id, PER_CLASS_FILE, [run.info.run_id])
    assert table.to_dict("list") == {
        "class": [0, 1],
        "train_images": [20, 2],
        "val": [0.4, 0.4],
        "test": [0.4, 0.4],
        "test_best": [0.5, 0.5],
    }
    [logged] = run.inputs.dataset_inputs
    assert (logged.dataset.name, logged.dataset.digest) == ("digits IF 10", ("ab" * 32)[:36])
    assert {tag.key: tag.value for tag in logged.tags} == {"mlflow.data.context": "training"}
    assert mlflow.data.get_source(logged.dataset).to_dict() == {"tags": {"mlflow.source.name": "ccar digits"}}


def test_the_study_is_the_parent_of_its_trials_and_carries_its_file_and_plan(store, uri, client, tmp_path):
    study = put_study(finished_study(store.root))
    sync(store, uri)

    parent = parent_of(client)
    assert (parent.info.run_name, parent.info.status, parent.info.start_time) == (
        "study",
        "FINISHED",
        900_000,
    )
    assert parent.info.end_time == max(milliseconds(store.read(trial.key).ended_at) for trial in study.trials)
    children = client.search_runs([parent.info.experiment_id], f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'")
    assert len(children) == len(study.trials)
    folder = client.download_artifacts(parent.info.run_id, "", dst_path=str(tmp_path))
    assert (tmp_path / "study.yaml").read_text() == study.definition, folder
    assert json.loads((tmp_path / "plan.json").read_text()) == [dataclasses.asdict(t) for t in study.trials]


def test_a_report_goes_into_the_parent_run(store, uri, client, tmp_path):
    finished_study(store.root, seeds=(0,))
    (tmp_path / "report" / "figures").mkdir(parents=True)
    (tmp_path / "report" / "report.md").write_text("# It helps")
    (tmp_path / "report" / "figures" / "omega.svg").write_text("<svg/>")

    Outbox(store, uri).deliver_report(store.study("study"), tmp_path / "report")

    run_id = parent_of(client).info.run_id
    found = [file.path for file in client.list_artifacts(run_id, "report")]
    assert found == ["report/figures", "report/report.md"]


def test_what_a_later_report_does_not_have_any_more_is_removed(store, uri, client, tmp_path):
    study = finished_study(store.root, seeds=(0,)).study("study")
    report = tmp_path / "report"
    for name in ("figures/omega.svg", "figures/curves.svg", "tables/gain.csv", "report.md"):
        (report / name).parent.mkdir(parents=True, exist_ok=True)
        (report / name).write_text("former")
    Outbox(store, uri).deliver_report(study, report)
    (report / "figures" / "curves.svg").unlink()
    shutil.rmtree(report / "tables")
    Outbox(store, uri).deliver_report(study, report)

    run_id = parent_of(client).info.run_id
    found = [file.path for path in ("report", "report/figures") for file in client.list_artifacts(run_id, path)]
    assert found == ["report/figures", "report/report.md", "report/figures/omega.svg"]


def test_a_place_of_files_that_does_not_let_us_in_is_told_without_a_traceback(store, uri, client, monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, "/dev/null")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    finished_study(store.root, seeds=(0,))
    client.create_experiment("study", "s3://of-somebody-else/runs")
    with pytest.raises(TrackingError, match=r"cannot use s3://of-somebody-else/runs/.*, where the files of runs are: "):
        sync(store, uri)


def test_the_parent_run_says_how_far_the_study_is_and_what_it_has_found(store, uri, client, tmp_path):
    put_study(store, seeds=(0, 1))
    train(store, 0)
    sync(store, uri)
    assert parent_of(client).data.tags["ccar.progress"] == "1 of 2"
    train(store, 1)
    found = [
        {"data": "digits", "imbalance_factor": factor, "method": method, "validation_balanced_accuracy": accuracy}
        for factor, method, accuracy in [(10.0, "ce", 0.91), (10.0, "la", 0.925), (100.0, "ce", 0.8)]
    ]
    report = tmp_path / "report"
    report.mkdir()
    (report / "report.json").write_text(json.dumps({"recommendations": found, "costs": {"hours": 0.25}}))
    sync(store, uri, report_dir=lambda _: report)
    tags = parent_of(client).data.tags
    assert [tags[f"ccar.{name}"] for name in ("progress", "best", "hours")] == [
        "2 of 2",
        "IF 10: la 92.50 %; IF 100: ce 80.00 %",
        "0.25",
    ]


@pytest.mark.parametrize("content", [b"", b'{"recommendations": [{"data"', b"[]", b"\xff", b'{"recommendations": 1}'])
def test_a_report_that_is_cut_off_or_foreign_is_sent_and_says_nothing(store, uri, client, tmp_path, content):
    study = put_study(store)
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "report.json").write_bytes(content)

    Outbox(store, uri).deliver_report(study, tmp_path / "report")

    parent = parent_of(client)
    assert [file.path for file in client.list_artifacts(parent.info.run_id, "report")] == ["report/report.json"]
    assert not {"ccar.best", "ccar.hours"} & set(parent.data.tags)


def test_a_running_trial_grows_epoch_by_epoch_without_doubles(store, uri, client, database):
    study = put_study(store, seeds=(0,))
    outbox = Outbox(store, uri)
    for epochs in range(1, NUM_EPOCHS):
        train(store, 0, epochs=epochs, end="unfinished")
        assert outbox.deliver(study).points == POINTS_PER_EPOCH
        assert run_of(client, 0).info.status == parent_of(client).info.status == "RUNNING"
    train(store, 0)
    outbox.deliver(study)

    assert num_points_in(database) == {("study", key_of(0)): [ALL_POINTS]}
    assert run_of(client, 0).info.status == parent_of(client).info.status == "FINISHED"


def test_a_resumed_trial_sent_by_a_process_that_knows_nothing_is_not_doubled(store, uri, database):
    put_study(store, seeds=(0,))
    for epochs, end in ((1, "unfinished"), (2, "failed"), (3, "stopped"), (NUM_EPOCHS, "finished")):
        train(store, 0, epochs=epochs, end=end)
        sync(store, uri)

    assert num_points_in(database) == {("study", key_of(0)): [ALL_POINTS]}


def test_a_failed_trial_that_is_tried_again_opens_and_loses_its_error(store, uri, client):
    put_study(store, seeds=(0,))
    train(store, 0, epochs=1, end="failed")
    sync(store, uri)
    failed = run_of(client, 0)
    assert (failed.info.status, failed.data.tags["ccar.error"]) == ("FAILED", "what happened")
    assert parent_of(client).info.status == "FAILED"

    train(store, 0, epochs=2, end="unfinished")
    sync(store, uri)
    assert run_of(client, 0).info.status == parent_of(client).info.status == "RUNNING"

    train(store, 0)
    sync(store, uri)
    finished = run_of(client, 0)
    assert (finished.info.status, finished.data.tags.get("ccar.error")) == ("FINISHED", None)
    assert parent_of(client).info.status == "FINISHED"


def test_a_study_that_is_extended_runs_on_in_the_same_parent(store, uri, client, database):
    finished_study(store.root, seeds=(0,))
    sync(store, uri)
    put_study(store, seeds=(0, 1))
    sync(store, uri)
    assert parent_of(client).info.status == "RUNNING"

    train(store, 1)
    sync(store, uri)

    assert parent_of(client).info.status == "FINISHED"
    assert num_runs_in(database) == 3


def test_a_renamed_cell_renames_the_run_and_sends_no_point_again(store, uri, client, database):
    finished_study(store.root, seeds=(0,))
    sync(store, uri)
    put_study(store, seeds=(0,), cell="if10/plain")

    assert sync(store, uri).points == 0
    run = run_of(client, 0)
    assert (run.data.tags["ccar.cell"], run.info.run_name) == ("if10/plain", "if10/plain seed 0")


def test_a_trial_that_was_deleted_and_trained_anew_replaces_its_run(store, uri, client, database):
    finished_study(store.root, seeds=(0,))
    sync(store, uri)
    shutil.rmtree(store.root / "trials")
    train(store, 0)

    sync(store, uri)

    assert num_points_in(database) == {("study", key_of(0)): [ALL_POINTS]}
    assert run_of(client, 0).info.start_time == milliseconds(store.read(key_of(0)).started_at)


def test_of_two_runs_that_show_the_same_the_one_that_got_further_stays(store, uri, client, database):
    finished_study(store.root, seeds=(0,))
    sync(store, uri)
    kept = [parent_of(client), run_of(client, 0)]
    for run in kept:  # as a request does that was sent again
        client.create_run(run.info.experiment_id, run.info.start_time, run.data.tags)
    assert num_runs_in(database) == 4

    assert sync(store, uri).points == 0

    assert [parent_of(client).info.run_id, run_of(client, 0).info.run_id] == [run.info.run_id for run in kept]
    assert num_points_in(database) == {("study", key_of(0)): [ALL_POINTS]}


def test_of_two_runs_that_have_nothing_one_gets_everything(store, uri, client, database):
    finished_study(store.root, seeds=(0,))
    sync(store, uri)
    run = run_of(client, 0)
    client.delete_run(run.info.run_id)
    for _ in range(2):
        client.create_run(run.info.experiment_id, run.info.start_time, run.data.tags)

    sync(store, uri)

    assert num_points_in(database) == {("study", key_of(0)): [ALL_POINTS]}
    assert run_of(client, 0).info.status == "FINISHED"


class CutOff(BaseException):
    """The process dies here."""


class Cutting:
    """MLflow's client, until its n-th call."""

    def __init__(self, client, calls_until_cut):
        self._client = client
        self._left = calls_until_cut

    def __getattr__(self, name):
        call = getattr(self._client, name)

        def cutting(*args, **kwargs):
            self._left -= 1
            if self._left == 0:
                raise CutOff
            return call(*args, **kwargs)

        return cutting


def test_cut_off_before_any_call_the_next_sync_makes_it_whole(store, empty_database, tmp_path):
    finished_study(store.root, seeds=(0,))
    train(store, 1, epochs=2, end="failed")
    study = put_study(store, seeds=(0, 1))
    sync(store, f"sqlite:///{shutil.copy(empty_database, tmp_path / 'whole.db')}")
    expected = points_in(tmp_path / "whole.db")
    assert num_points_in(tmp_path / "whole.db")["study", key_of(0)] == [ALL_POINTS]

    num_calls = 0
    while True:
        num_calls += 1
        database = tmp_path / f"{num_calls}.db"
        uri = f"sqlite:///{shutil.copy(empty_database, database)}"
        outbox = Outbox(store, uri)
        projection = outbox._open(study.name)
        projection._client = Cutting(projection._client, num_calls)
        try:
            outbox.deliver(study)
        except CutOff:
            sync(store, uri, trust_cursor=True)
        else:
            break
        assert points_in(database) == expected, f"cut off before call {num_calls}"
        assert num_runs_in(database) == 3
    assert num_calls > 10


def test_a_pass_that_is_cut_off_has_noted_what_it_has_delivered(store, uri, database, monkeypatch):
    study = put_study(finished_study(store.root))
    monkeypatch.setattr("ccar.tracking.outbox._SECONDS_BETWEEN_SAVES", 0.0)
    outbox = Outbox(store, uri)
    projection = outbox._open(study.name)
    projection._client = Cutting(projection._client, 14)  # some for the study, and a few for each trial
    with pytest.raises(CutOff):
        outbox.deliver(study)

    assert 0 < len(Outbox(store, uri).pending(study)) < len(study.trials)
