"""Whole studies through `ccar run`: real training, real Ray, real SQLite for MLflow."""

from __future__ import annotations

import csv
import io
import json
import os
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from contextlib import ExitStack, closing
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import torch
from rich.console import Console

from ccar.cli.places import Places
from ccar.cli.run import _feeding
from ccar.cli.study_view import StudyView
from ccar.cluster.in_process import run_in_process
from ccar.cluster.interruption import Interruption
from ccar.cluster.trial_worker import TrialWorker
from ccar.store.trial_store import TrialStore
from tests.changed_training import change_training
from tests.cli.test_commands import CCAR, ccar
from tests.cluster.test_trial_worker import Silent
from tests.processes import (
    command_of,
    end,
    ended,
    family_of,
    freeze,
    listening_on,
    send,
    trial_processes,
    wait_until_gone,
    without_agents,
)
from tests.tiny_study import write_tiny_study
from tests.waiting import wait_until
from tests.written import written_in

pytestmark = pytest.mark.ray
CPU = torch.device("cpu")


def counts(folder):
    """How many runs MLflow has by kind, and how many points there are and would be without doubles."""
    with closing(sqlite3.connect(folder / "ccar-store" / "mlflow.db")) as database:
        runs = dict(database.execute("select value, count(*) from tags where key = 'ccar.kind' group by value"))
        points = database.execute("select count(*) from metrics").fetchone()[0]
        distinct = database.execute(
            "select count(*) from (select distinct run_uuid, key, step from metrics)"
        ).fetchone()[0]
    return runs, points, distinct


def log_of(store, key):
    """The records of a trial as they lie in a store that is a folder."""
    files = sorted(store.root.joinpath("trials", key[:2], key, "log").iterdir())
    return [json.loads(file.read_text().splitlines()[0]) for file in files]


def tables(folder):
    """The tables that must be the same however often the run was interrupted, as bytes; hours of training left out."""
    report = folder / "ccar-store" / "reports" / "tiny"
    found = {name: (report / name).read_bytes() for name in ("cells.csv", "trials.csv", "report.md", "report.tex")}
    return found | {name: without_hours(found[name]) for name in ("report.md", "report.tex")}


def without_hours(report):
    """The report with every device-hours figure, and the padding around it, made the same."""
    return re.sub(
        rb" +|-{3,}", b" ", re.sub(rb"(&lt;|<|\\textless(\{\})?|\$<\$)?[ ~]*[0-9]+\.[0-9]+[ ~]h\b", b" HOURS ", report)
    )


def train_here(path):
    """The study without Ray, in this process, into the store beside it."""
    view = StudyView.open(path, Places.of(path.parent / "ccar-store", None))
    source, worker = view.source(), TrialWorker(view.places.store, view.places.cache_dir, device=CPU, threads=1)
    view.remember(source.known)
    run_in_process(source, worker, Silent())


NOTING_ITS_MODULES = """
import atexit, pathlib, sys
atexit.register(lambda: pathlib.Path("modules.txt").write_text("\\n".join(sys.modules)))
from ccar.cli.app import main
main()
"""


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A folder in which the tiny study has been run once: 8 trials; with what was printed."""
    folder = tmp_path_factory.mktemp("finished")
    path = write_tiny_study(folder, bases="[cross_entropy, ldam]", seeds="[0, 1]")
    return folder, path, ccar("run", path, cwd=folder, command=(sys.executable, "-c", NOTING_ITS_MODULES))


def test_the_store_that_a_run_makes_is_its_owners_alone(finished):
    assert (finished[0] / "ccar-store").stat().st_mode & 0o777 == 0o700


def test_a_run_prints_the_table_on_stdout_and_talks_on_stderr(finished):
    folder, _, (code, out, err) = finished
    assert code == 0
    assert "cross_entropy" in out
    assert "ldam" in out
    assert "tiny: 8 trials" in err
    assert str(folder / "ccar-store" / "reports" / "tiny" / "report.html") in err


def test_the_driver_of_a_run_never_imports_torch_or_mlflow(finished):
    """A second each, before the first trial or after the last; Tune imports mlflow by itself when given a callback."""
    folder, _, _ = finished
    modules = set((folder / "modules.txt").read_text().split())
    assert "ray.tune" in modules
    assert not {"torch", "mlflow"} & modules


def test_a_run_writes_the_report_its_tables_and_its_figures(finished):
    folder, _, _ = finished
    report = folder / "ccar-store" / "reports" / "tiny"
    names = {path.name for path in report.iterdir()}
    assert {"report.md", "report.html", "report.tex", "cells.csv", "trials.csv", "figures"} <= names
    assert {path.suffix for path in (report / "figures").iterdir()} == {".png", ".svg", ".pdf"}
    with (report / "trials.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 8
    assert {row["status"] for row in rows} == {"finished"}


def test_the_report_says_how_many_images_each_class_has(finished):
    folder, _, _ = finished
    with (folder / "ccar-store" / "reports" / "tiny" / "classes.csv").open() as file:
        rows = [tuple(row.values()) for row in csv.DictReader(file)]
    # Of at least 134 images of each digit 10 are held out; the tail then falls from 124 to a tenth of it.
    assert rows[0] == ("10.0", "0", "0", "124", "10", "40")
    assert rows[9] == ("10.0", "9", "9", "12", "10", "40")


def test_mlflow_has_one_run_per_trial_under_one_for_the_study_and_no_point_twice(finished):
    folder, _, _ = finished
    runs, points, distinct = counts(folder)
    assert runs == {"study": 1, "trial": 8}
    assert points == distinct > 0


def test_the_files_of_the_report_are_artifacts_of_the_study_s_run(finished):
    folder, _, _ = finished
    with closing(sqlite3.connect(folder / "ccar-store" / "mlflow.db")) as database:
        (address,) = database.execute(
            "select artifact_uri from runs join tags using (run_uuid) where key = 'ccar.kind' and value = 'study'"
        ).fetchone()
    sent, written = Path(urlsplit(address).path) / "report", folder / "ccar-store" / "reports" / "tiny"
    names = {path.relative_to(written) for path in written.rglob("*")}
    assert {path.relative_to(sent) for path in sent.rglob("*")} == names
    assert (sent / "cells.csv").read_bytes() == (written / "cells.csv").read_bytes()


def test_running_it_again_trains_nothing_and_prints_the_same(finished):
    folder, path, (_, first, _) = finished
    code, out, err = ccar("run", path, cwd=folder)
    assert (code, out) == (0, first)
    assert "nothing to train" in err


def test_the_plan_knows_what_is_done_and_what_an_added_omega_takes(finished, tmp_path):
    folder, path, _ = finished
    _, out, _ = ccar("plan", path, "--json", cwd=folder)
    plan = json.loads(out)
    assert (plan["total"], plan["done"], plan["to_run"]) == (8, 8, 0)
    more = write_tiny_study(tmp_path, bases="[cross_entropy, ldam]", seeds="[0, 1]", omegas="[0.5, 1.0]")
    _, out, _ = ccar("plan", more, "--json", "--store", folder / "ccar-store", cwd=tmp_path)
    plan = json.loads(out)
    assert (plan["total"], plan["done"], plan["to_run"]) == (12, 8, 4)
    assert plan["device_hours"] > 0


def test_why_names_the_part_of_the_key_that_differs(finished, tmp_path):
    folder, path, _ = finished
    _, out, _ = ccar("why", path, "if10/ldam", cwd=folder)
    assert "would not run again" in out
    other = write_tiny_study(tmp_path, bases="[cross_entropy, ldam]", omegas="[0.75]")
    trial = "if10/ldam+ccar(omega=0.75)"
    _, out, _ = ccar("why", other, trial, "--store", folder / "ccar-store", cwd=tmp_path)
    assert "reweighting.omega: 0.5 -> 0.75" in out
    assert len(out.splitlines()) == 3


def test_list_runs_shows_the_study(finished):
    folder, _, _ = finished
    _, out, _ = ccar("list", "runs", "--json", cwd=folder)
    (row,) = json.loads(out)
    assert (row["study"], row["trials"], row["finished"], row["to go"]) == ("tiny", 8, 8, 0)


def test_a_trial_that_cannot_be_read_is_counted_beside_the_others(finished, tmp_path):
    store = shutil.copytree(finished[0] / "ccar-store", tmp_path / "ccar-store")
    next(store.glob("trials/*/*/trial.json")).write_text("{}")
    _, out, _ = ccar("list", "runs", "--json", cwd=tmp_path)
    (row,) = json.loads(out)
    assert (row["trials"], row["finished"], row["unreadable"]) == (8, 7, 1)


def test_a_study_that_another_version_has_stored_is_listed_beside_the_others(finished, tmp_path):
    store = shutil.copytree(finished[0] / "ccar-store", tmp_path / "ccar-store")
    (store / "studies" / "later.json").write_text('{"name": "later"}')
    _, out, _ = ccar("list", "runs", "--json", cwd=tmp_path)
    later, tiny = json.loads(out)
    assert (later["study"], later["trials"]) == ("later", "")
    assert later["last activity"] == "the study later was stored by another version of ccar"
    assert (tiny["study"], tiny["finished"], later.keys()) == ("tiny", 8, tiny.keys())


def test_report_goes_where_it_is_told(finished, tmp_path):
    folder, path, (_, first, _) = finished
    code, out, _ = ccar("report", path, "--out", tmp_path / "out", cwd=folder)
    assert (code, out) == (0, first)
    assert (tmp_path / "out" / "report.html").exists()


def test_a_report_of_a_store_without_a_trial_of_the_study_is_refused_and_creates_nothing(tmp_path):
    code, _, err = ccar("report", path := write_tiny_study(tmp_path), cwd=tmp_path)
    assert code == 2
    assert f"the store {tmp_path / 'ccar-store'} has no trial of tiny yet" in err
    assert f"`ccar run {path}` trains them; --store DIR names another store" in err
    assert not (tmp_path / "ccar-store").exists()


def test_a_store_that_cannot_be_read_at_the_end_of_a_run_does_not_change_how_the_run_has_ended(tmp_path):
    view = StudyView.open(write_tiny_study(tmp_path), Places.of(tmp_path / "ccar-store", None))
    view.remember(view.source().known)
    talk = Console(file=io.StringIO(), width=400)
    with _feeding(view, talk, Interruption(lambda: None)):
        record = tmp_path / "ccar-store" / "studies" / "tiny.json"
        record.unlink()
        record.symlink_to("/proc/self/mem")  # reading it is an I/O error
    assert "may not have all trials yet, cannot read" in talk.file.getvalue()
    assert "`ccar sync` delivers them" in talk.file.getvalue()


def test_sync_rebuilds_a_tracking_database_that_was_lost(finished, tmp_path):
    folder, _, _ = finished
    before = counts(folder)
    (folder / "ccar-store" / "mlflow.db").unlink()
    code, out, _ = ccar("sync", cwd=folder)
    assert code == 0
    assert "8 trials" in out
    assert counts(folder) == before


@pytest.fixture
def under_way(tmp_path):
    """The processes of a run that trains in the folder of the test, the driver first."""
    command = [CCAR, "run", write_tiny_study(tmp_path, epochs=4000)]
    with (
        (tmp_path / "said").open("wb") as said,
        ended(subprocess.Popen(command, cwd=tmp_path, stdout=said, stderr=said, start_new_session=True)) as driver,
    ):
        _wait_for_a_commit(tmp_path, driver)
        yield family_of(driver.pid)


@pytest.mark.long
def test_a_run_listens_on_loopback_only_and_rays_token_is_in_no_command_line_log_or_report(
    under_way, finished, tmp_path
):
    assert trial_processes(under_way)
    listening = listening_on(under_way)
    assert listening
    assert listening <= {"127.0.0.1", "::ffff:127.0.0.1"}

    token = Path(os.environ["RAY_AUTH_TOKEN_PATH"]).read_text()
    assert not [process for process in under_way if token in " ".join(command_of(process))]
    places = [*Path("/tmp").glob(f"ccar-scratch-{under_way[0].pid}-*"), tmp_path, finished[0]]
    written = written_in(*places)
    assert {"raylet.out", "said", "feeder.log", "report.html"} <= {path.name for path in written}
    assert not [path for path, content in written.items() if token.encode() in content]


@pytest.mark.long
def test_trials_that_fail_are_told_and_give_exit_code_1_while_the_others_finish(tmp_path, monkeypatch):
    fails = """
if self.config.reweighting is not None:
    from ccar.errors import CcarError
    raise CcarError("omega is of no use")
"""
    change_training(fails, tmp_path, monkeypatch)
    code, out, err = ccar("run", write_tiny_study(tmp_path), cwd=tmp_path)
    assert code == 1
    assert "1 failed" in out
    assert "if10/cross_entropy+ccar(omega=0.5) seed 0: failed: omega is of no use" in err
    states = Counter(record.status for record in TrialStore(tmp_path / "ccar-store").all_records())
    assert states == {"finished": 1, "failed": 1}


def test_a_recipe_that_does_not_fit_the_images_is_refused_before_anything_runs(tmp_path):
    path = write_tiny_study(tmp_path)
    more_images_than_there_are = "{name: digits_quick, epochs: 2, batch_size: 4096, drop_last: true}"
    path.write_text(re.sub(r"recipe: .*", f"recipe: {more_images_than_there_are}", path.read_text()))
    code, out, err = ccar("run", path, cwd=tmp_path)
    assert (code, out) == (2, "")
    assert f"{path}:5: recipe trains on no batch at imbalance factor 10: found batch_size 4096" in err
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.long
def test_a_study_goes_on_while_its_tracking_server_does_not_answer(tmp_path):
    """As that of a job that was requeued during an outage; `ccar run` of a new study is refused then."""
    train_here(write_tiny_study(tmp_path))
    path = write_tiny_study(tmp_path, seeds="[0, 1]")
    code, out, err = ccar("run", path, "--tracking-uri", "http://127.0.0.1:9", cwd=tmp_path)
    assert (code, "cross_entropy" in out) == (0, True)
    assert "http://127.0.0.1:9 does not answer" in err
    assert "the study goes on" in err
    assert "does not have 4 trials yet" in err
    code, out, _ = ccar("sync", cwd=tmp_path)
    assert (code, "4 trials sent" in out) == (0, True)


@pytest.mark.long
def test_two_drivers_on_one_store_share_the_work_and_train_nothing_twice(tmp_path):
    path = write_tiny_study(tmp_path, epochs=4, seeds="[0, 1, 2]")
    command = [str(CCAR), "run", str(path)]
    with ExitStack() as stack:
        drivers = [
            stack.enter_context(
                ended(
                    subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
                )
            )
            for _ in range(2)
        ]
        outputs = [driver.communicate() for driver in drivers]
    assert [driver.returncode for driver in drivers] == [0, 0], outputs
    assert outputs[0][0] == outputs[1][0]
    runs, points, distinct = counts(tmp_path)
    assert runs == {"study": 1, "trial": 6}
    assert points == distinct
    for log in (tmp_path / "ccar-store" / "trials").glob("??/*/log"):
        records = [json.loads(file.read_text().splitlines()[0]) for file in sorted(log.iterdir())]
        assert [epoch["epoch"] for epoch in records[-1]["epochs"]] == [1, 2, 3, 4]
        assert sum(record["type"] == "claim" for record in records) == 1


@pytest.mark.long
def test_of_two_drivers_one_is_frozen_past_the_lease_and_each_trial_has_one_result(tmp_path):
    """It wakes up when the other one, which has an MLflow of its own, has taken its trials over and ended them."""
    path = write_tiny_study(tmp_path, epochs=200)  # none of its trials is to end before it is frozen
    store = TrialStore(tmp_path / "ccar-store")
    lease = {"CCAR_LEASE_SECONDS": "6"}
    process = subprocess.Popen(
        [CCAR, "run", path],
        cwd=tmp_path,
        env={**os.environ, "COLUMNS": "120", **lease},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    with ended(process) as frozen:
        _wait_for_a_commit(tmp_path, frozen)
        family = freeze(frozen.pid)
        held = [record for record in store.all_records() if record.claim is not None]
        code, out, err = ccar("run", path, "--tracking-uri", f"sqlite:///{tmp_path}/other.db", cwd=tmp_path, **lease)
        assert code == 0, err
        keys = store.keys()
        lengths = [store.num_records(key) for key in keys]
        send(signal.SIGCONT, family)
        assert frozen.communicate() == (out, None)
        assert frozen.returncode == 0
    assert held
    for key in keys:
        records = log_of(store, key)
        types = [record["type"] for record in records]
        assert types.count("claim") == (2 if key in {record.key for record in held} else 1)
        assert types[-1] == "finished"
        assert [epoch["epoch"] for epoch in records[-1]["epochs"]] == list(range(1, 201))
    assert [store.num_records(key) for key in keys] == lengths  # who was fenced off wrote nothing
    files = Counter(file.name.partition("-")[0] for file in store.root.glob("trials/??/*/[!l]*"))
    assert files == {"trial.json": 2, "test": 2, "weights": 2}  # and left nothing


@pytest.mark.long
def test_killed_again_and_again_the_study_ends_with_the_same_tables_bit_for_bit(tmp_path):
    """SIGKILL of the driver or of a worker at random moments, then the study is run to its end. A minute after each,
    no process of that run is left.

    The calm one trains in this process: where a trial runs does not change its bits.
    """
    shape = {"epochs": 60, "bases": "[cross_entropy, logit_adjustment]", "seeds": "[0, 1]"}
    calm, stormy = tmp_path / "calm", tmp_path / "stormy"
    for folder in (calm, stormy):
        folder.mkdir()
    in_peace = write_tiny_study(calm, **shape)
    train_here(in_peace)
    assert ccar("run", in_peace, cwd=calm)[0] == 0  # nothing to train: the tables

    path = write_tiny_study(stormy, **shape)
    moments = random.Random(0)
    for victim in ("driver", "worker"):
        with ended(_driver(path)) as driver:
            _wait_for_a_commit(stormy, driver)
            time.sleep(moments.uniform(0.0, 1.0))
            family = family_of(driver.pid)
            to_go = without_agents(family)
            victims = family[:1] if victim == "driver" else trial_processes(family)
            assert victims
            send(signal.SIGKILL, victims)
            driver.wait()
        try:
            wait_until_gone(to_go, seconds=60)
        finally:
            end(family)
    assert ccar("run", path, cwd=stormy)[0] == 0
    assert tables(stormy) == tables(calm)
    runs, points, distinct = counts(stormy)
    assert runs == {"study": 1, "trial": 8}
    assert points == distinct == counts(calm)[1]


@pytest.mark.long
@pytest.mark.parametrize(
    "rule", ["{algorithm: asha, grace_epochs: 1, reduction_factor: 2}", "{algorithm: median, grace_epochs: 2}"]
)
def test_a_search_that_is_killed_again_and_again_suggests_and_stops_the_same(tmp_path, rule):
    """SIGKILL of the driver in the middle of trials, one at a time, then the study is run to its end."""
    calm, stormy = tmp_path / "calm", tmp_path / "stormy"
    search = "{algorithm: tpe, num_samples: 5, omega: [0.1, 1.0]}"
    for folder in (calm, stormy):
        folder.mkdir()
        path = write_tiny_study(
            folder,
            epochs=9,
            bases="[cross_entropy, focal]",
            more=f"search: {search}\nearly_stopping: {rule}",
        )
        path.write_text(path.read_text().replace("{omega: [0.5]}", "{}"))
    one_at_a_time = ("--trials-at-once", "1")
    with _driver(calm / "tiny.yaml", *one_at_a_time) as undisturbed:
        for num_records in (20, 25):
            driver = _driver(stormy / "tiny.yaml", *one_at_a_time)
            _wait_for_a_commit(stormy, driver, num_records)
            family = family_of(driver.pid)
            os.kill(driver.pid, signal.SIGKILL)
            assert driver.wait() == -signal.SIGKILL
            end(family)
        assert ccar("run", stormy / "tiny.yaml", *one_at_a_time, cwd=stormy)[0] == 0
    assert undisturbed.returncode == 0, (calm / "tiny.log").read_text()
    ends = _ends(calm)
    assert {status for _, status, _, _ in ends} == {"finished", "stopped"}
    assert _ends(stormy) == ends
    assert tables(stormy) == tables(calm)


ENDING = "ending: trials stop at their last checkpoint"


@pytest.mark.long
@pytest.mark.parametrize("signals", [1, 2])
def test_one_signal_ends_a_run_in_order_and_a_second_one_at_once(tmp_path, signals):
    process = subprocess.Popen(
        [str(CCAR), "run", str(write_tiny_study(tmp_path, epochs=4000))],
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    with ended(process) as driver:
        _wait_for_a_commit(tmp_path, driver)
        family = family_of(driver.pid)
        try:
            sent = time.monotonic()
            os.kill(driver.pid, signal.SIGTERM)
            words = "".join(_until(ENDING, driver.stderr))
            if signals == 2:
                sent = time.monotonic()
                os.kill(driver.pid, signal.SIGTERM)
            words += driver.communicate()[1]
            assert time.monotonic() - sent < (25 if signals == 1 else 5)
            assert driver.returncode == 130
            assert ENDING in words
            assert ("run the same command again" in words) == (signals == 1)
            wait_until_gone(family)
        finally:
            end(family)
    logs = [sorted(log.iterdir())[-1] for log in (tmp_path / "ccar-store" / "trials").glob("??/*/log")]
    lasts = {json.loads(log.read_text().splitlines()[0])["type"] for log in logs}
    assert lasts == {"released"} if signals == 1 else lasts <= {"claim", "commit"}


def _until(words, lines):
    """The lines to that with these words."""
    for line in lines:
        yield line
        if words in line:
            return


def _ends(folder):
    """Of every trial in the order of the study, suggestions included: how it ended, and after how many epochs."""
    store = TrialStore(folder / "ccar-store")
    records = {trial.cell: store.read(trial.key) for trial in store.study("tiny").trials}
    return [(cell, record.status, len(record.epochs), record.error) for cell, record in records.items()]


def _driver(path, *options):
    """`ccar run` in a process group of its own; what it says lies beside the study file."""
    with path.with_suffix(".log").open("ab") as log:
        return subprocess.Popen(
            [str(CCAR), "run", str(path), *options],
            cwd=path.parent,
            stdout=subprocess.DEVNULL,
            stderr=log,
            start_new_session=True,
        )


def _wait_for_a_commit(folder, driver, num_records=2):
    """Until this driver's workers have written more than so many records."""
    store = TrialStore(folder / "ccar-store")
    before = _num_records(store)
    wait_until(
        lambda: _num_records(store) > before + num_records,
        meanwhile=lambda: driver.poll() is None,
        told=lambda: "it has ended, or trains nothing",
    )


def _num_records(store):
    """How many records the logs of all trials have had so far."""
    return sum(map(store.num_records, store.keys()))
