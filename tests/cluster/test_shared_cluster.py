"""Two studies on one small cluster, each with a driver of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import contextmanager

import pytest

from ccar.cluster.local_cluster import start_cluster, stop_cluster
from ccar.cluster.ray_session import cluster_id, ray_session
from ccar.store.trial_store import TrialStore
from tests.changed_training import WAITS, change_training
from tests.tiny_study import write_tiny_study
from tests.waiting import wait_until

pytestmark = [pytest.mark.ray, pytest.mark.long]


@contextmanager
def cluster_of(folder, **size):
    folder.mkdir(mode=0o700)
    try:
        yield start_cluster(folder, **size)
    finally:
        stop_cluster(folder)


@contextmanager
def driver(cluster, store, folder, name, **shape):
    """`ccar run` of a study of this name, as a process of its own."""
    (folder / name).mkdir()
    path = write_tiny_study(folder / name, **shape)
    path.write_text(path.read_text().replace("study: tiny", f"study: {name}"))
    command = [sys.executable, "-m", "ccar", "run", path, "--address", cluster.address, "--store", store.root]
    with (folder / name / "log").open("wb") as log:
        process = subprocess.Popen(command, env={**os.environ, **cluster.environment}, stdout=log, stderr=log)
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


def states(store, name):
    study = store.study(name)
    return [store.read(trial.key).status for trial in study.trials] if study else []


def wait_for(condition, drivers):
    wait_until(condition, seconds=600, meanwhile=lambda: all(process.poll() in (None, 0) for process in drivers))


def test_two_studies_take_turns_on_a_single_cpu_and_each_lets_go_of_it_for_the_other(tmp_path, monkeypatch):
    """Tune would keep it for ten minutes, at every turn. No trial ends before both studies have something to do."""
    both_are_there = tmp_path / "both_are_there"
    change_training(WAITS.format(path=str(both_are_there)), tmp_path, monkeypatch)
    store = TrialStore(tmp_path / "store")
    shape = {"omegas": "[0.25, 0.5]", "epochs": 20}  # 3 trials
    with (
        cluster_of(tmp_path / "cluster", num_nodes=1, cpus_per_node=1) as cluster,
        driver(cluster, store, tmp_path, "one", **shape, seeds="[0]") as one,
        driver(cluster, store, tmp_path, "two", **shape, seeds="[1]") as two,
    ):
        wait_for(lambda: sum(note.get("left", 0) > 0 for note in store.drivers.alive().values()) == 2, [one, two])
        both_are_there.touch()
        wait_for(lambda: one.poll() == two.poll() == 0, [one, two])
    assert states(store, "one") == states(store, "two") == ["finished"] * 3
    begun = {name: [store.read(trial.key).started_at for trial in store.study(name).trials] for name in ("one", "two")}
    assert max(min(times) for times in begun.values()) < min(max(times) for times in begun.values())  # by turns


def test_a_trial_that_needs_a_whole_node_gets_one_beside_a_study_of_smaller_trials(tmp_path):
    store = TrialStore(tmp_path / "store")
    seeds = str(list(range(100)))
    with (
        cluster_of(tmp_path / "cluster", num_nodes=2, cpus_per_node=2) as cluster,
        driver(cluster, store, tmp_path, "small", epochs=40, seeds=seeds) as small,
    ):
        wait_for(lambda: "finished" in states(store, "small"), [small])
        with driver(cluster, store, tmp_path, "large", seeds="[1000]", more="resources: {cpus: 2}") as large:
            wait_for(lambda: large.poll() == 0, [small, large])
        assert small.poll() is None, "the test needs more small trials"
    assert states(store, "large") == ["finished"] * 2


def test_a_cluster_is_the_same_by_whatever_address_a_driver_gets_there(local_cluster):
    found = set()
    for host in (local_cluster.host, "LOCALHOST"):  # Ray itself knows that "localhost" is the same
        with ray_session(f"{host}:{local_cluster.port}"):
            found.add(cluster_id())
    assert len(found) == 1
