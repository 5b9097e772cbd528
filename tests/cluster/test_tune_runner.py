"""Ray Tune for real: a Ray cluster on this machine, and real trials on digits."""

from __future__ import annotations

import os
import shutil
import signal
import threading
import time
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import psutil
import pytest
import torch

from ccar.cluster.allowance import Allowance, Limits
from ccar.cluster.control import Unlimited
from ccar.cluster.events import TrialProgress
from ccar.cluster.in_process import run_in_process
from ccar.cluster.interruption import interruption
from ccar.cluster.remaining import RemainingTrials
from ccar.cluster.trial_worker import TrialWorker
from ccar.cluster.tune_runner import Place, _SourceSearcher, run_on_ray
from ccar.errors import UserError
from ccar.store.trial_store import TrialStore
from ccar.study.definition import load_study
from ccar.study.expansion import load_data
from ccar.study.search import trial_source
from tests.changed_training import change_training
from tests.cluster.test_trial_worker import Silent, numbers
from tests.tiny_study import write_tiny_study
from tests.trial_processes import trial_processes

pytestmark = pytest.mark.ray

CACHE = "CCAR_CACHE"


@pytest.fixture(scope="module")
def cluster(local_cluster):
    """The address of a running Ray cluster of two CPUs, on two nodes."""
    return local_cluster.address


def run(path, store, listener, *, address=None, replays=False, control=None):
    """What `ccar run` does between reading the file and the report."""
    study = load_study(path)
    cache = Path(os.environ[CACHE])
    source = trial_source(study, load_data(study, cache), store.search_log(study.name))
    if not replays:
        source = RemainingTrials(source, store, stops_early=study.early_stopping is not None)
    place = Place(store=store.address, cache_dir=cache, resources=study.resources, address=address)
    return run_on_ray(source, place, study.early_stopping, listener, control)


def run_here(path, store):
    """The same in this process, without Ray."""
    study = load_study(path)
    cache = Path(os.environ[CACHE])
    source = trial_source(study, load_data(study, cache), store.search_log(study.name))
    worker = TrialWorker(store, cache, device=torch.device("cpu"), threads=1)
    return run_in_process(source, worker, Silent())


def trials_of(path, store):
    study = load_study(path)
    source = trial_source(study, load_data(study, Path(os.environ[CACHE])), store.search_log(study.name))
    return source.known


class CountsLostWorkers(Silent):
    """A listener that also counts the workers that were lost."""

    lost = 0

    def lost_worker(self, trial):
        self.lost += 1


@contextmanager
def after_the_first_commit(store, key, do):
    """Call `do` with the trial's record, once, as soon as it has a committed epoch; from a thread."""

    def watch():
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            record = store.read(key)
            if record.epochs:
                assert record.status == "unfinished", "the trial is too short for this test"
                do(record)
                return
            time.sleep(0.02)

    thread = threading.Thread(target=watch)
    thread.start()
    yield
    thread.join()


def test_ray_and_the_in_process_twin_give_the_same_bits(tmp_path):
    path = write_tiny_study(tmp_path, bases="[cross_entropy, ldam]", seeds="[0, 1]")
    on_ray, in_process = TrialStore(tmp_path / "ray"), TrialStore(tmp_path / "process")
    listener = Silent()
    summary = run(path, on_ray, listener)
    assert (summary.finished, summary.failures, summary.interrupted) == (8, [], False)
    assert sorted(end.key for end in listener.ends) == sorted(trial.key for trial in trials_of(path, on_ray))

    assert run_here(path, in_process).finished == 8
    for trial in trials_of(path, on_ray):
        assert numbers(on_ray.read(trial.key)) == numbers(in_process.read(trial.key))
        assert on_ray.read_test(trial.key) == in_process.read_test(trial.key)
    # warm actors: as many processes as slots, not as trials
    assert len({on_ray.read(trial.key).worker["pid"] for trial in trials_of(path, on_ray)}) <= 2


@pytest.mark.long
def test_a_trial_whose_process_is_killed_goes_on_and_ends_with_the_same_bits(tmp_path, cluster):
    path = write_tiny_study(tmp_path, epochs=60, omegas="[0.5]")
    undisturbed, disturbed = TrialStore(tmp_path / "undisturbed"), TrialStore(tmp_path / "disturbed")
    keys = [trial.key for trial in trials_of(path, disturbed)]

    listener = CountsLostWorkers()
    with after_the_first_commit(disturbed, keys[0], lambda record: os.kill(record.worker["pid"], signal.SIGKILL)):
        summary = run(path, disturbed, listener, address=cluster)
    assert listener.lost == 1
    assert (summary.finished, summary.failures) == (2, [])
    assert run_here(path, undisturbed).finished == 2
    for key in keys:
        assert numbers(disturbed.read(key)) == numbers(undisturbed.read(key))
        assert disturbed.read_test(key) == undisturbed.read_test(key)


class OneAfterTheOther(RemainingTrials):
    """Has its last trial only after a while, in which a process waits for it."""

    def next(self):
        if self.num_handed_out == 1 and not self.may_go_on():
            return None
        trial = super().next()
        self.num_handed_out += trial is not None
        return trial


@pytest.mark.long
def test_a_trial_that_meets_a_process_that_died_while_it_waited_is_no_worse_off(tmp_path, monkeypatch):
    path = write_tiny_study(tmp_path)
    store = TrialStore(tmp_path / "store")
    first, second = (trial.key for trial in trials_of(path, store))
    killed = []

    def may_go_on():
        record = store.read(first)
        if record.status == "finished" and not killed:
            os.kill(record.worker["pid"], signal.SIGKILL)
            killed.append(time.monotonic())
        return bool(killed)

    monkeypatch.setattr(OneAfterTheOther, "num_handed_out", 0, raising=False)
    monkeypatch.setattr(OneAfterTheOther, "may_go_on", staticmethod(may_go_on), raising=False)
    study = load_study(path)
    cache = Path(os.environ[CACHE])
    source = trial_source(study, load_data(study, cache), store.search_log(study.name))
    place = Place(store=store.address, cache_dir=cache, resources=study.resources)
    listener = CountsLostWorkers()
    summary = run_on_ray(OneAfterTheOther(source, store, stops_early=False), place, None, listener)
    assert (summary.finished, summary.failures) == (2, [])
    assert listener.lost <= 1
    assert store.read(second).worker["pid"] != store.read(first).worker["pid"]


@pytest.mark.long
def test_early_stopping_stops_what_falls_behind_but_never_the_baseline(tmp_path, cluster):
    path = write_tiny_study(
        tmp_path,
        epochs=9,
        bases="[cross_entropy, focal, logit_adjustment]",
        omegas="[0.25, 1.0]",
        more="early_stopping: {algorithm: asha, grace_epochs: 1, reduction_factor: 2}",
    )
    store = TrialStore(tmp_path / "store")
    summary = run(path, store, Silent(), address=cluster)
    assert summary.failures == []
    assert summary.finished + summary.stopped == 9
    assert summary.stopped > 0
    status = {trial.cell.method: store.read(trial.key).status for trial in trials_of(path, store)}
    assert status["cross_entropy"] == "finished"
    stopped = [trial for trial in trials_of(path, store) if store.read(trial.key).status == "stopped"]
    for trial in stopped:
        record = store.read(trial.key)
        assert record.error == f"stopped after epoch {len(record.epochs)} of 9"
    assert all(0 < len(store.read(trial.key).epochs) < 9 for trial in stopped)
    assert all(store.read_test(trial.key) is None for trial in stopped)
    # again: what was stopped is done in this study, and is replayed without training
    records = {trial.key: store.read(trial.key).num_records for trial in trials_of(path, store)}
    again = run(path, store, Silent(), address=cluster, replays=True)
    assert (again.finished, again.stopped) == (summary.finished, summary.stopped)
    assert {key: store.read(key).num_records for key in records} == records


@pytest.mark.long
def test_the_median_rule_stops_a_trial_that_learns_nothing_but_never_the_baseline(tmp_path, cluster):
    path = write_tiny_study(
        tmp_path,
        epochs=4,
        bases="[cross_entropy, focal]",
        omegas="[0.5, 1.0]",
        more="early_stopping: {algorithm: median, grace_epochs: 1}",
    )
    extra = "  extra: [{base: cross_entropy, loss_factor: 1.0e-6, label: learns nothing}]\n"
    path.write_text(path.read_text().replace("seeds:", f"{extra}seeds:"))
    store = TrialStore(tmp_path / "store")
    summary = run(path, store, Silent(), address=cluster)
    assert summary.failures == []
    assert summary.finished + summary.stopped == 7
    records = {trial.cell.method: store.read(trial.key) for trial in trials_of(path, store)}
    assert records["cross_entropy"].status == "finished"
    hopeless = records["learns nothing"]
    assert (hopeless.status, len(hopeless.epochs) < 4) == ("stopped", True)
    assert hopeless.error == f"stopped after epoch {len(hopeless.epochs)} of 4"


@pytest.mark.long
@pytest.mark.parametrize("reached", [4, 5])
def test_a_trial_that_went_on_is_not_stopped_at_a_rung_that_it_had_passed(tmp_path, cluster, reached):
    """Rungs are after epochs 1, 2, 4 and 8. At its last one of these, nothing says that it was to go on."""
    path = write_tiny_study(
        tmp_path,
        epochs=9,
        bases="[cross_entropy, focal]",
        omegas="[0.25, 1.0]",
        more="early_stopping: {algorithm: asha, grace_epochs: 1, reduction_factor: 2}",
    )
    store = TrialStore(tmp_path / "store")
    run_here(path, store)
    compared = {trial.key: trial for trial in trials_of(path, store) if trial.cell.may_stop}
    accuracies = {key: [epoch.validation.balanced_accuracy for epoch in store.read(key).epochs] for key in compared}
    last = min(compared, key=lambda key: accuracies[key][3])
    shutil.rmtree(next(store.root.glob(f"trials/??/{last}")))
    steps = TrialWorker(store, Path(os.environ[CACHE]), device=torch.device("cpu"), threads=1).run(
        compared[last].config, last, every_epoch=True
    )
    for _ in range(reached):
        next(steps)
    steps.close()
    assert run(path, store, Silent(), address=cluster).failures == []
    record = store.read(last)
    if reached == 4:
        assert (record.status, record.error, len(record.epochs)) == ("stopped", "stopped after epoch 4 of 9", 4)
    else:
        assert len(record.epochs) in (8, 9)
        assert record.error in (None, "stopped after epoch 8 of 9")


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_ends_soon_and_leaves_no_worker_behind(tmp_path, number):
    path = write_tiny_study(tmp_path, epochs=400, seeds="[0, 1]")
    store = TrialStore(tmp_path / "store")

    signalled_at = []
    training = []

    def send(record):
        training.extend(trial_processes(psutil.Process().children(recursive=True)))
        signalled_at.append(time.monotonic())
        os.kill(os.getpid(), number)

    key = trials_of(path, store)[0].key
    with (
        interruption(lambda: None) as interrupted,
        interrupted.being_watched(),
        after_the_first_commit(store, key, send),
    ):
        summary = run(path, store, Silent(), control=Allowance(Limits(), interrupted, seat=None))
    assert summary.interrupted
    assert training
    assert time.monotonic() - signalled_at[0] < 25
    statuses = [store.read(trial.key).status for trial in trials_of(path, store)]
    assert "unfinished" in statuses
    assert set(statuses) <= {"unfinished", "absent", "finished"}
    deadline = time.monotonic() + 30
    while trial_processes(training) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert trial_processes(training) == []


@pytest.mark.long
def test_a_trial_held_by_another_driver_is_waited_for(tmp_path, cluster):
    path = write_tiny_study(tmp_path, epochs=2)
    store = TrialStore(tmp_path / "store")
    trial = trials_of(path, store)[0]
    worker = TrialWorker(store, Path(os.environ[CACHE]), device=torch.device("cpu"), threads=1)
    held = worker.run(trial.config, trial.key, every_epoch=True)
    next(held)
    finish = threading.Timer(8, lambda: list(held))
    finish.start()
    summary = run(path, store, Silent(), address=cluster)
    finish.join()
    assert summary.failures == []
    assert all(store.read(trial.key).status == "finished" for trial in trials_of(path, store))
    assert [e.epoch for e in store.read(trial.key).epochs] == [1, 2]


@pytest.mark.long
def test_a_search_for_omega_asks_again_only_for_what_is_new(tmp_path, cluster):
    search = "search: {{algorithm: tpe, num_samples: {}, omega: [0.1, 1.0], max_concurrent: 1}}"
    store = TrialStore(tmp_path / "store")

    def study(num_samples):
        path = write_tiny_study(tmp_path, more=search.format(num_samples))
        path.write_text(path.read_text().replace("reweighting: {omega: [0.5]}", "reweighting: {}"))
        return path

    assert run(study(2), store, Silent(), address=cluster).finished == 3
    names = [trial.name for trial in trials_of(study(2), store)]
    assert len(names) == 3
    assert run(study(3), store, Silent(), address=cluster).finished == 1
    assert [trial.name for trial in trials_of(study(3), store)][:3] == names


EXITS = """\
if self.config.reweighting is None and epoch == 2:
    os._exit(7)
"""


@pytest.mark.long
def test_code_that_ends_its_process_fails_its_own_trial_and_no_other(tmp_path, monkeypatch):
    change_training(EXITS, tmp_path, monkeypatch)
    monkeypatch.setattr("ccar.cluster.tune_runner.MAX_LOST_WORKERS", 1)
    summary = run(write_tiny_study(tmp_path), TrialStore(tmp_path / "store"), Silent())
    assert summary.finished == 1
    ((trial, error),) = summary.failures
    assert trial.cell.method == "cross_entropy"
    assert error == "the process that trained it died, or could not be started, 2 times"


HANGS = """\
while self.config.reweighting is None and epoch == 2:
    time.sleep(1000)
"""


@pytest.mark.long
def test_a_trial_that_hangs_is_ended_and_tried_again_once_and_the_others_finish(tmp_path, monkeypatch):
    change_training(HANGS, tmp_path, monkeypatch)
    monkeypatch.setattr("ccar.cluster.tune_runner.HANG_SECONDS", 20.0)
    store, listener = TrialStore(tmp_path / "store"), CountsLostWorkers()
    summary = run(write_tiny_study(tmp_path), store, listener)
    assert (summary.finished, listener.lost) == (1, 1)
    ((trial, error),) = summary.failures
    assert trial.cell.method == "cross_entropy"
    assert "it hung and was ended, at File " in error
    assert "in run_epoch" in Path(error.rpartition(" are in ")[2]).read_text()
    assert store.read(trial.key).error == error


@pytest.mark.long
def test_more_than_any_node_has_is_refused_and_not_waited_for(tmp_path, cluster):
    path = write_tiny_study(tmp_path, more="resources: {cpus: 4096}")
    with pytest.raises(UserError, match="no node has the 4096 CPUs"):
        run(path, TrialStore(tmp_path / "store"), Silent(), address=cluster)


class OneSlot:
    """A cluster with room for one trial; nobody can make any more."""

    slots = 1

    def follow(self, num_waiting):
        return self.slots


def test_a_trial_that_somebody_held_is_asked_for_again_before_new_ones_and_ever_more_seldom(tmp_path, monkeypatch):
    path, store = write_tiny_study(tmp_path, seeds="[0, 1]"), TrialStore(tmp_path / "store")
    study, cache = load_study(path), Path(os.environ[CACHE])
    source = trial_source(study, load_data(study, cache), store.search_log(study.name))
    place = Place(store=store.address, cache_dir=cache, resources=study.resources)
    searcher = _SourceSearcher(source, place, False, OneSlot(), Silent(), Unlimited())
    clock = 0.0
    monkeypatch.setattr("ccar.cluster.tune_runner.time.monotonic", lambda: clock)
    asked = []
    for number, clock in enumerate([0.0, 1.0, 2.0, 3.0, 5.9, 6.0]):  # noqa: B007  # the lambda above reads it
        config = searcher.suggest(str(number))
        if config is not None:
            asked.append(config["key"])
            status = "busy" if config["key"] == asked[0] else "finished"
            searcher.on_trial_complete(str(number), asdict(TrialProgress(key=config["key"], status=status)))
    first, second, third, fourth = (trial.key for trial in source.known)
    assert asked == [first, second, first, third, fourth, first]
