from __future__ import annotations

import os
import subprocess
import sys
import time

import psutil
import pytest

from ccar.store.trial_store import TrialStore
from ccar.tracking.feeder import Feeder, _pause
from ccar.tracking.outbox import sync
from tests.processes import wait_until_gone
from tests.tracking.examples import (
    ALL_POINTS,
    finished_study,
    key_of,
    num_points_in,
    num_runs_in,
    put_study,
    train,
)
from tests.waiting import SECONDS, wait_until


@pytest.fixture
def store(database, tmp_path):
    """A store for studies; its default tracking URI is the prepared database."""
    return TrialStore(tmp_path / "store")


def complete(seeds):
    return {("study", key_of(seed)): [ALL_POINTS] for seed in seeds}


def test_what_a_running_study_commits_arrives_while_it_runs_and_the_rest_at_its_end(store, uri, database):
    put_study(store, seeds=range(3))
    feeder = Feeder.start(store, uri, "study")
    train(store, 0)
    wait_until(lambda: num_points_in(database) == complete([0]))
    train(store, 1)
    train(store, 2)

    assert feeder.finish(SECONDS) == 0
    assert num_points_in(database) == complete(range(3))


def test_what_a_wiped_database_has_lost_arrives_with_the_next_trial(store, uri, database, empty_database):
    finished_study(store.root, seeds=range(2))
    sync(store, uri)
    database.write_bytes(empty_database.read_bytes())
    put_study(store, seeds=range(3))
    train(store, 2)

    assert Feeder.start(store, uri, "study").finish(SECONDS) == 0

    assert num_points_in(database) == complete(range(3))


def test_killed_in_the_middle_of_delivering_nothing_is_lost_or_doubled(store, uri, database):
    num_trials = 30
    finished_study(store.root, seeds=range(num_trials))
    feeder = Feeder.start(store, uri, "study")
    wait_until(lambda: num_runs_in(database) > 2)
    feeder._process.kill()
    feeder.finish(SECONDS)
    assert num_runs_in(database) <= num_trials, "too late: it was done already"

    sync(store, uri, trust_cursor=True)

    assert num_points_in(database) == complete(range(num_trials))


def test_feeding_gets_no_more_of_a_processor_than_a_trial(store, uri):
    """The niceness of Ray's workers, and in their session: Linux compares priorities within one only."""
    put_study(store, seeds=range(1))
    feeder = Feeder.start(store, uri, "study")
    process = psutil.Process(feeder._process.pid)
    wait_until(lambda: process.nice() == min(os.nice(0) + 15, 19))
    assert os.getsid(process.pid) == os.getsid(0)
    assert os.getpgid(process.pid) != os.getpgid(0), "Ctrl-C would reach it"
    assert feeder.finish(SECONDS) == 0


def test_a_server_that_is_away_does_not_hold_the_driver_up(store, uri, database):
    finished_study(store.root, seeds=range(2))
    started = time.monotonic()
    feeder = Feeder.start(store, "http://127.0.0.1:9", "study")
    assert time.monotonic() - started < 2  # it takes that long to import MLflow, and to try again

    assert feeder.finish(SECONDS) == 2
    assert "http://127.0.0.1:9" in (store.root / "tracking" / "feeder.log").read_text()

    sync(store, uri)
    assert num_points_in(database) == complete(range(2))


def test_a_damaged_trial_does_not_hold_up_the_others_or_the_report(store, uri, database, tmp_path):
    finished_study(store.root, seeds=range(3))
    log = store.files.folder("trials", key_of(0)[:2], key_of(0), "log")
    log.replace(max(log.names()), b"damaged")
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "report.md").write_text("# It helps")
    feeder = Feeder.start(store, uri, "study", tmp_path / "report")

    assert feeder.finish(SECONDS) == 0, "a sync would not deliver it either"
    assert num_points_in(database) == complete([1, 2])
    (sent,) = (store.root / "mlartifacts").rglob("report.md")
    assert sent.read_text() == "# It helps"
    assert "damaged" in (store.root / "tracking" / "feeder.log").read_text()


def test_pauses_grow_with_failures_but_not_for_ever():
    assert [_pause(failures) for failures in (0, 1, 2, 50)] == [2, 4, 8, 60]


def test_a_feeder_that_does_not_get_done_is_ended(store, uri):
    finished_study(store.root, seeds=range(2))
    feeder = Feeder.start(store, uri, "study")

    assert feeder.finish(0.1) == 2
    assert feeder._process.poll() is not None


def test_a_driver_that_is_killed_takes_its_feeder_along_after_a_last_pass(store, uri, database):
    finished_study(store.root, seeds=range(2))
    driver = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import time; from pathlib import Path; from ccar.store.trial_store import TrialStore;"
            "from ccar.tracking.feeder import Feeder;"
            f"feeder = Feeder.start(TrialStore(Path({str(store.root)!r})), {uri!r}, 'study');"
            "print(feeder._process.pid, flush=True); time.sleep(600)",
        ],
        stdout=subprocess.PIPE,
    )
    feeder = psutil.Process(int(driver.stdout.readline()))
    driver.kill()
    driver.wait()
    driver.stdout.close()

    wait_until_gone([feeder])
    assert num_points_in(database) == complete(range(2))


def test_a_feeder_that_died_does_not_take_the_driver_with_it(store, uri):
    finished_study(store.root)
    feeder = Feeder.start(store, uri, "study")
    feeder._process.kill()
    feeder._process.wait()
    feeder.hurry()
    assert feeder.finish(SECONDS) > 0
