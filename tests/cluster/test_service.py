"""Studies submitted to a real Ray cluster over its job server, as from a laptop."""

from __future__ import annotations

import json
import os
import subprocess
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from ccar.cli.extend import extend_submission
from ccar.cli.fetch import fetch_report
from ccar.cli.listing import listing_of_cluster
from ccar.cli.pause import pause_submission
from ccar.cli.status import status_of
from ccar.cluster.jobs import JobServer
from ccar.cluster.local_cluster import start_cluster, stop_cluster
from ccar.cluster.seat import standing_of_drivers
from ccar.cluster.submissions import Request, _entrypoint, find, submissions, submit
from ccar.errors import CcarError, UserError
from ccar.store.records import StudyRecord
from ccar.store.trial_store import TrialStore
from ccar.study.definition import load_study
from tests.cli.test_commands import ccar
from tests.data.folders import write_image
from tests.tiny_study import write_tiny_study
from tests.waiting import SECONDS, wait_until

pytestmark = [pytest.mark.ray, pytest.mark.long]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """The folder of trials that the cluster names."""
    return TrialStore(tmp_path_factory.mktemp("cluster") / "store")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory, store):
    """The URL of a cluster's job server; the cluster says where its store is."""
    folder = tmp_path_factory.mktemp("noted")
    folder.chmod(0o700)
    with pytest.MonkeyPatch.context() as patch:  # start_cluster hands these on to the nodes
        patch.setenv("CCAR_STORE", str(store.root))
        started = start_cluster(folder, num_nodes=2, cpus_per_node=1)
    try:
        yield started.dashboard
    finally:
        stop_cluster(folder)


def study_named(name, folder, **shape):
    path = write_tiny_study(folder, **shape)
    path.write_text(path.read_text().replace("study: tiny", f"study: {name}"))
    return path


def test_a_study_goes_from_the_laptop_to_the_cluster_and_its_words_come_back(tmp_path, cluster, store):
    code, out, err = ccar("submit", study_named("short", tmp_path), "--address", cluster, cwd=tmp_path)
    assert (code, out) == (0, "short_1\n")
    assert "short: 2 trials" in err
    assert "ccar logs short_1 --follow" in err
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.yaml"]

    code, out, err = ccar("logs", "short_1", "--follow", "--address", cluster, cwd=tmp_path)
    assert code == 0
    assert "All trials finished." in out
    assert {store.read(trial.key).status for trial in store.study("short").trials} == {"finished"}
    _, again, _ = ccar("logs", "short", "--address", cluster, cwd=tmp_path)
    assert again == out

    code, out, err = ccar("status", "short", "--address", cluster, "--json", cwd=tmp_path)
    assert (code, err) == (0, "")
    (row,) = json.loads(out)
    assert (row["id"], row["state"], row["trials"], row["finished"], row["to go"]) == ("short_1", "done", 2, 2, 0)


def test_a_study_grows_from_another_machine_and_its_report_comes_back(tmp_path, cluster, store):
    """After the study of the test before: two trials are there."""
    former = {trial.key: store.read(trial.key).num_records for trial in store.study("short").trials}
    submission = extend_submission(cluster, "short", [0.9], "+1")
    assert submission.id == "short_2"
    server = JobServer.connect(cluster)
    wait_until(lambda: not server.job("short_2").is_active)
    assert "already done" in server.log("short_2")
    trials = store.study("short").trials
    assert {(trial.method, trial.seed) for trial in trials} == {
        (method, seed)
        for method in ("cross_entropy", "cross_entropy+ccar(omega=0.5)", "cross_entropy+ccar(omega=0.9)")
        for seed in (0, 1)
    }
    assert {store.read(trial.key).status for trial in trials} == {"finished"}
    assert {key: store.read(key).num_records for key in former} == former

    folder = fetch_report(cluster, "short", tmp_path / "report")
    names = {path.name for path in folder.iterdir()}
    assert {"report.html", "report.md", "cells.csv", "trials.csv", "figures", "study.yaml"} <= names
    ours, theirs = folder / "trials.csv", store.root / "reports" / "short" / "trials.csv"
    assert ours.read_bytes() == theirs.read_bytes()
    assert load_study(folder / "study.yaml").seeds == (0, 1)

    (row,) = listing_of_cluster("runs", cluster, None)
    assert (row["study"], row["finished"], row["to go"]) == ("short", 6, 0)


def test_an_extension_of_what_has_not_begun_yet_leaves_it_alone(tmp_path, cluster, store):
    """The store knows a former file of the study; the driver of the new one waits for an image."""
    former = study_named("changed", tmp_path, factors="[2]").read_text().replace("per_class: 10", "per_class: 1")
    store.put_study(StudyRecord(name="changed", definition=former, trials=(), submitted_at=1.0))
    images = [f"{part}/{name}/{number}.png" for part in ("train", "test") for name in "ab" for number in range(1, 5)]
    for image in images:
        write_image(tmp_path / "images" / image, np.zeros((8, 8, 3), np.uint8))
    awaited = tmp_path / "images" / "train" / "a" / "0.png"
    os.mkfifo(awaited)
    changed = former.replace("name: digits,", f"name: image_folder, root: {tmp_path / 'images'},")
    server = JobServer.connect(cluster)
    submission, _ = submit(server, Request(study="changed", text=changed))
    with pytest.raises(UserError, match="changed_1 has not begun yet") as refusal:
        extend_submission(cluster, "changed", [0.9], None)
    assert "ccar logs changed_1" in refusal.value.hint
    assert server.job("changed_1").is_active
    with awaited.open("wb"):  # the driver is there by now; it gets no image, and nothing at this path any more
        awaited.unlink()
    wait_until(lambda: not server.job("changed_1").is_active)
    assert [known.id for known in submissions(server) if known.study == "changed"] == [submission.id]


def test_a_study_gets_the_number_after_that_of_a_job_which_somebody_else_named_so(tmp_path, cluster):
    server = JobServer.connect(cluster)
    (tmp_path / "nothing").mkdir()
    assert server.submit("foreign_1", "true", folder=tmp_path / "nothing", environment={}, metadata={})
    submission, is_new = submit(server, Request(study="foreign", text="study: foreign"))
    assert (submission.id, is_new) == ("foreign_2", True)
    wait_until(lambda: not server.job("foreign_2").is_active)  # its file is refused


def test_a_study_submitted_twice_at_once_runs_once_and_stops_without_losing_an_epoch(tmp_path, cluster, store):
    text = study_named("long", tmp_path, epochs=4000).read_text()
    request = Request(study="long", text=text)
    servers = [JobServer.connect(cluster) for _ in range(4)]
    with ThreadPoolExecutor(4) as threads:
        submitted = list(threads.map(lambda server: submit(server, request), servers))
    assert {submission.id for submission, _ in submitted} == {"long_1"}
    assert sorted(is_new for _, is_new in submitted) == [False, False, False, True]
    server = servers[0]
    assert [known.study for known in submissions(server)].count("long") == 1

    with pytest.raises(UserError, match="long_1 is under way with another version") as other:
        submit(server, Request(study="long", text=text + "# changed"))
    assert "ccar stop long_1" in other.value.hint

    wait_until(lambda: store.study("long") and any(store.read(t.key).epochs for t in store.study("long").trials))
    ((row,), trouble) = status_of(cluster, "long")
    assert (row["state"], row["trials"], row["finished"], trouble) == ("running", 2, 0, [])

    begun = time.monotonic()
    code, out, _ = ccar("stop", "long", "--address", cluster, cwd=tmp_path)
    assert (code, out) == (0, "long_1 stopped\n")
    assert time.monotonic() - begun < 45  # measured on an idle machine: 9 s
    assert "interrupted; run the same command again" in server.log("long_1")
    records = [store.read(trial.key) for trial in store.study("long").trials]
    assert {record.status for record in records} <= {"unfinished", "absent"}
    begun_ones = [record for record in records if record.epochs]
    assert begun_ones
    for record in begun_ones:  # given back by its worker, not left behind by a dead one
        last = sorted((store.root / "trials" / record.key[:2] / record.key / "log").iterdir())[-1]
        assert json.loads(last.read_text().splitlines()[0])["type"] == "released"
    code, out, _ = ccar("stop", "long", "--address", cluster, cwd=tmp_path)
    assert (code, out) == (0, "long_1 had ended before: stopped\n")


def test_an_extension_that_cannot_be_submitted_says_how_the_study_stands_and_what_goes_on(
    tmp_path, cluster, store, monkeypatch
):
    """After the test before: the store knows the study."""
    server = JobServer.connect(cluster)
    assert submit(server, Request(study="long", text=store.study("long").definition))[0].id == "long_2"

    def is_lost(server, request):
        raise CcarError("the job server did not do it")

    with monkeypatch.context() as patched:
        patched.setattr("ccar.cli.extend.submit", is_lost)
        with pytest.raises(
            CcarError, match="long_2 was told to stop, and the larger study was not submitted: the job"
        ) as failure:
            extend_submission(cluster, "long", [], "+1")
    assert "no epoch is lost" in failure.value.hint
    assert not server.job("long_2").is_active


def test_two_studies_share_the_cluster_by_priority_and_one_is_paused_and_goes_on(tmp_path, cluster, store):
    server = JobServer.connect(cluster)

    def standing(name):
        return standing_of_drivers(store.drivers.alive()).get(find(server, name).driver, {})

    text = study_named("urgent", tmp_path, epochs=4000).read_text()
    submit(server, Request(study="urgent", text=text, options=["--priority=5"]))
    wait_until(lambda: standing("urgent_1").get("running") == 2)
    submit(server, Request(study="second", text=text.replace("study: urgent", "study: second")))
    behind = {"state": "waiting", "why": "place 1 of 1: behind urgent_1 (priority 5)", "running": 0}
    wait_until(lambda: standing("second_1") == behind)
    ((row,), _) = status_of(cluster, "second")
    assert (row["state"], row["why"], row["under way"]) == ("waiting", behind["why"], 0)

    assert pause_submission(cluster, "urgent") == "urgent_1"
    wait_until(lambda: standing("urgent_1").get("state") == "paused" and standing("second_1").get("running") == 2)
    epochs = sum(len(store.read(trial.key).epochs) for trial in store.study("urgent").trials)

    code, out, _ = ccar("resume", "urgent", "--address", cluster, cwd=tmp_path)
    assert (code, out) == (0, "urgent_1 goes on\n")
    wait_until(lambda: standing("urgent_1").get("why") == "place 1 of 1: a trial of second_1 has to end")
    server.stop("second_1")
    wait_until(lambda: sum(len(store.read(trial.key).epochs) for trial in store.study("urgent").trials) > epochs)
    server.stop("urgent_1")
    wait_until(lambda: not any(server.job(name).is_active for name in ("urgent_1", "second_1")))
    wait_until(lambda: store.drivers.alive() == {})
    assert "second_1 waits, place 1 of 1: behind urgent_1 (priority 5)" in server.log("second_1")


def test_an_urgent_study_gets_what_trials_of_another_one_set_free_and_that_goes_on_after_it(tmp_path, cluster, store):
    server = JobServer.connect(cluster)
    seeds = str(list(range(40)))
    submit(server, Request(study="patient", text=study_named("patient", tmp_path, epochs=60, seeds=seeds).read_text()))
    patient = lambda: [store.read(trial.key) for trial in store.study("patient").trials]  # noqa: E731
    wait_until(lambda: store.study("patient") and sum(record.status == "finished" for record in patient()) > 1)
    text = study_named(
        "hurried", tmp_path, epochs=600, seeds="[100]"
    ).read_text()  # 2 trials, longer than a process starts
    submit(server, Request(study="hurried", text=text, options=["--priority=5"]))
    wait_until(lambda: not server.job("hurried_1").is_active, seconds=600)
    hurried = [store.read(trial.key) for trial in store.study("hurried").trials]
    assert {record.status for record in hurried} == {"finished"}
    # While both of its trials were under way, they had all CPUs: the other study began none.
    both, one = max(record.started_at for record in hurried), min(record.ended_at for record in hurried)
    assert both < one
    assert not [record for record in patient() if record.started_at and both < record.started_at < one]
    assert server.job("patient_1").is_active
    server.stop("patient_1")
    wait_until(lambda: not server.job("patient_1").is_active)


def test_who_is_not_at_work_cannot_be_paused(tmp_path, cluster):
    """After the test before."""
    with pytest.raises(UserError, match="second_1 has ended"):
        pause_submission(cluster, "second")


def test_no_secret_goes_into_the_runtime_environment(cluster):
    token = Path(os.environ["RAY_AUTH_TOKEN_PATH"]).read_text()
    request = urllib.request.Request(f"{cluster}/api/jobs/", headers={"Authorization": f"Bearer {token}"})
    with urllib.request.urlopen(request, timeout=SECONDS) as answer:
        listed = answer.read().decode()
    assert "runtime_env" in listed
    assert token not in listed


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"RAY_AUTH_MODE": "", "RAY_AUTH_TOKEN_PATH": ""}, "asks for a token, and this machine has none"),
        ({"RAY_AUTH_TOKEN": "0" * 64}, "does not accept the token of this machine"),
        ({"RAY_AUTH_TOKEN_PATH": "/nowhere/token"}, "token cannot be read"),
    ],
)
def test_without_the_right_token_everything_is_refused_within_15_seconds(tmp_path, cluster, environment, words):
    begun = time.monotonic()
    code, out, err = ccar("status", "--address", cluster, cwd=tmp_path, HOME=str(tmp_path), **environment)
    assert time.monotonic() - begun < 15
    assert (code, out) == (2, "")
    assert words in err
    assert "~/.ray/auth_token" in err


def test_an_address_where_no_cluster_is_is_refused(tmp_path):
    code, _, err = ccar("submit", write_tiny_study(tmp_path), "--address", "http://127.0.0.1:9", cwd=tmp_path)
    assert code == 2
    assert "no Ray cluster answers at http://127.0.0.1:9" in err


@pytest.mark.parametrize("address", ["ray://127.0.0.1:10001", "http://", "http://user:word@host:8265", "http://h:x"])
def test_an_address_that_is_none_is_refused(address):
    with pytest.raises(UserError, match="cannot use the address"):
        JobServer.connect(address)


@pytest.mark.parametrize("seeds", [None, "2", "+0", "+"])
def test_an_extension_by_nothing_is_refused_before_anybody_is_asked(seeds):
    with pytest.raises(UserError, match=r"nothing to add|cannot add the seeds"):
        extend_submission("http://127.0.0.1:9", "short", [], seeds)


def test_an_unknown_id_names_those_there_are(tmp_path, cluster):
    with pytest.raises(UserError, match="knows no submission 'lnog'") as error:
        find(JobServer.connect(cluster), "lnog")
    assert "urgent_1" in error.value.hint


def test_more_than_the_given_device_hours_are_refused_before_anything_is_submitted(tmp_path, cluster, store):
    path = study_named("costly", tmp_path, epochs=2, omegas="[0.25, 0.5, 0.75]", seeds="[0, 1, 2]")
    given = ("--store", store.root, "--max-device-hours", "0.0000001")
    code, out, err = ccar("submit", path, "--address", cluster, *given, cwd=tmp_path)
    assert (code, out) == (2, "")
    assert "costly would take about" in err
    assert "more than --max-device-hours 1e-07" in err


def test_a_cluster_that_does_not_say_where_its_store_is_refuses(tmp_path):
    environment = {name: value for name, value in os.environ.items() if name != "CCAR_STORE"}
    done = subprocess.run(["sh", "-c", _entrypoint([])], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "start its head with CCAR_STORE=FOLDER" in done.stderr
