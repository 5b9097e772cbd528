"""Several drivers that share a bucket deliver to one MLflow server in turns; a database of one machine is its own."""

from __future__ import annotations

import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from ccar.tracking.outbox import Outbox, sync
from ccar.tracking.ui import serve
from ccar.tracking.web_server import LOOPBACK, free_port
from tests.store.places import bucket
from tests.tracking.examples import ALL_POINTS, finished_study, key_of, num_points_in, num_runs_in

__all__ = ["bucket"]
pytestmark = pytest.mark.long

SEEDS = (0, 1, 2)
COMPLETE = {("study", key_of(seed)): [ALL_POINTS] for seed in SEEDS}
REPOSITORY = Path(__file__).parents[2]
SYNC = """
import sys
from ccar.store.trial_store import TrialStore
from ccar.tracking.outbox import sync
store, uri = TrialStore(sys.argv[1]), sys.argv[2]
print("ready", flush=True)
sys.stdin.readline()
print(sync(store, uri, trust_cursor=True).trials)
"""


@pytest.fixture
def store(bucket):
    """A store in a bucket whose only study has finished."""
    return finished_study(f"{bucket}/{uuid.uuid4().hex}", seeds=SEEDS)


def test_two_drivers_that_deliver_at_once_double_nothing(store, database):
    port = free_port(LOOPBACK)  # two tests that take the default at once would find the same
    with serve(f"sqlite:///{database}", database.parent.as_uri(), port=port) as server:
        drivers = [
            subprocess.Popen(
                [sys.executable, "-c", SYNC, store.address, server.address],
                cwd=REPOSITORY,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for _ in range(2)
        ]
        for driver in drivers:
            assert driver.stdout.readline() == "ready\n"
        sent = [int(driver.communicate("go\n")[0]) for driver in drivers]
        assert sorted(sent) == [0, len(SEEDS)]
        assert sync(store, server.address).points == 0  # asks the server, whatever the notes say
    assert num_points_in(database) == COMPLETE
    assert num_runs_in(database) == len(SEEDS) + 1


def test_what_one_machine_has_in_a_file_another_one_has_not(store, uri, database, tmp_path, monkeypatch):
    sync(store, uri)
    assert num_points_in(database) == COMPLETE
    assert Outbox(store, uri).pending(store.study("study")) == []
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "another machine"))
    there = type(store)(store.address)
    assert len(Outbox(there, uri).pending(there.study("study"))) == len(SEEDS)
