"""Ray Tune for real: a Ray cluster on this machine, and real trials on digits."""

from __future__ import annotations

import io
import itertools
import os
import platform
import re
import shutil
import signal
import threading
import time
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path

import psutil
import pytest
import torch
from ray.tune.execution import insufficient_resources_manager
from ray.tune.execution.tune_controller import TuneController
from rich.console import Console

from ccar.cli.progress import ProgressDisplay
from ccar.cluster.allowance import Allowance, Limits
from ccar.cluster.control import Unlimited
from ccar.cluster.death import Death
from ccar.cluster.events import TrialProgress
from ccar.cluster.in_process import run_in_process
from ccar.cluster.interruption import interruption
from ccar.cluster.remaining import RemainingTrials
from ccar.cluster.seat import Seat
from ccar.cluster.trial_worker import TrialWorker
from ccar.cluster.tune_runner import (
    MAX_LOST_WORKERS,
    MAX_SILENT_DEATHS,
    SECONDS_TO_PLACE,
    Place,
    _SourceSearcher,
    run_on_ray,
    trial_worker,
)
from ccar.cluster.worker import Workplace
from ccar.errors import UserError, WrongNode
from ccar.store.trial_store import TrialStore
from ccar.study.definition import load_study
from ccar.study.expansion import load_data
from ccar.study.search import trial_source
from tests.changed_training import change_training
from tests.cluster.test_fair_share import Signals
from tests.cluster.test_trial_worker import Silent, numbers
from tests.cluster.test_two_stages import STUDY as STUDY_IN_STAGES
from tests.processes import trial_processes, wait_until_gone
from tests.tiny_study import write_tiny_study
from tests.waiting import wait_until

pytestmark = pytest.mark.ray

CACHE = "CCAR_CACHE"


@pytest.fixture(scope="module")
def cluster(local_cluster):
    """The address of a running Ray cluster of two CPUs, on two nodes."""
    return local_cluster.address


def run(path, store, listener, *, address=None, replays=False, control=None, new_worker=trial_worker):
    """What `ccar run` does between reading the file and the report."""
    study = load_study(path)
    cache = Path(os.environ[CACHE])
    source = trial_source(study, load_data(study, cache), store.search_log(study.name))
    if not replays:
        source = RemainingTrials(source, store, stops_early=study.early_stopping is not None)
    place = Place(store=store.address, cache_dir=cache, resources=study.resources, address=address)
    return run_on_ray(source, place, study.early_stopping, listener, control, new_worker=new_worker)


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


class HearsOfDeaths(Silent):
    """A listener that also remembers what the processes died of."""

    def __init__(self):
        super().__init__()
        self.causes = []

    def lost_worker(self, trial, cause):
        self.causes.append(cause)


@contextmanager
def after_the_first_commit(store, key, do):
    """Call `do` with the trial's record as soon as it has a committed epoch, once in the block; from a thread."""
    statuses, is_over = [], threading.Event()

    def watch():
        while not statuses and not is_over.wait(0.02):
            record = store.read(key)
            if record.epochs:
                statuses.append(record.status)
                do(record)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()
    assert statuses == ["unfinished"], "the trial never began, or is too short for this test"


class Holds:
    """Its trials go on after their first commit when there is a certain file: until then there is time to strike."""

    def __init__(self, workplace, go_on):
        self._worker = trial_worker(workplace)
        self._go_on = go_on

    def run(self, config, key, *, every_epoch=False):
        for progress in self._worker.run(config, key, every_epoch=True):
            yield progress
            while not self._go_on.exists():
                time.sleep(0.05)


@pytest.mark.long
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
    path = write_tiny_study(tmp_path, epochs=6, omegas="[0.5]")
    undisturbed, disturbed = TrialStore(tmp_path / "undisturbed"), TrialStore(tmp_path / "disturbed")
    keys = [trial.key for trial in trials_of(path, disturbed)]
    go_on = tmp_path / "go_on"

    def kill(record):
        os.kill(record.worker["pid"], signal.SIGKILL)
        go_on.touch()

    listener = HearsOfDeaths()
    with after_the_first_commit(disturbed, keys[0], kill):
        summary = run(path, disturbed, listener, address=cluster, new_worker=partial(Holds, go_on=go_on))
    assert re.fullmatch(r"process [0-9]+ on [0-9.]+: it ended without a word, .*", "; ".join(listener.causes))
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
    listener = HearsOfDeaths()
    summary = run_on_ray(OneAfterTheOther(source, store, stops_early=False), place, None, listener)
    assert (summary.finished, summary.failures) == (2, [])
    assert len(listener.causes) <= 1
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
    wait_until_gone(training)


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


CRASHES = """\
import signal
if self.config.reweighting is None and epoch == 2:
    os.kill(os.getpid(), signal.SIGSEGV)
"""


@pytest.mark.long
def test_code_that_crashes_fails_its_own_trial_and_no_other_and_the_user_hears_where(tmp_path, monkeypatch):
    change_training(CRASHES, tmp_path, monkeypatch)
    monkeypatch.setattr("ccar.cluster.tune_runner.MAX_LOST_WORKERS", 1)
    listener = HearsOfDeaths()
    summary = run(write_tiny_study(tmp_path), TrialStore(tmp_path / "store"), listener)
    assert summary.finished == 1
    ((trial, error),) = summary.failures
    assert trial.cell.method == "cross_entropy"
    (first,) = listener.causes
    cause = r'process [0-9]+ on [0-9.]+: Segmentation fault, at File "[^"]*", line [0-9]+ in run_epoch'
    assert re.fullmatch(cause, first)
    words = r"the process that trained it died, or could not be started, 2 times without a commit in between"
    assert re.fullmatch(f"{words}; the last time: {cause}", error)


HANGS = """\
while self.config.reweighting is None and epoch == 2:
    time.sleep(1000)
"""


@pytest.mark.long
def test_a_trial_that_hangs_is_ended_and_tried_again_once_and_the_others_finish(tmp_path, monkeypatch):
    change_training(HANGS, tmp_path, monkeypatch)
    monkeypatch.setattr("ccar.cluster.tune_runner.HANG_SECONDS", 20.0)
    store, listener = TrialStore(tmp_path / "store"), HearsOfDeaths()
    summary = run(write_tiny_study(tmp_path), store, listener)
    assert (summary.finished, len(listener.causes)) == (1, 1)
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
    what = "1 CPUs and 0 GPUs"

    def follow(self, num_waiting):
        return self.slots


class Recorded(Unlimited):
    """A run that is alone, and remembers what it told of itself."""

    def __init__(self):
        self.told = []

    def trials_at_once(self, running, left, unplaced):
        self.told.append((running, left, unplaced))
        return super().trials_at_once(running, left, unplaced)


def searcher_of(path, store, *, room=None, listener=None, control=None):
    """What Tune asks for trials, where it asks by hand."""
    study, cache = load_study(path), Path(os.environ[CACHE])
    source = trial_source(study, load_data(study, cache), store.search_log(study.name))
    place = Place(store=store.address, cache_dir=cache, resources=study.resources)
    return _SourceSearcher(source, place, False, room or OneSlot(), listener or Silent(), control or Unlimited())


def test_a_study_that_no_node_can_run_claims_nothing_of_a_cluster(tmp_path):
    path, room, control = write_tiny_study(tmp_path, seeds="[0, 1]"), OneSlot(), Recorded()
    searcher = searcher_of(path, TrialStore(tmp_path / "store"), room=room, control=control)
    assert searcher.suggest("0") is not None
    searcher.placed({"0"})
    searcher.may_start(0)
    assert control.told[-1] == (1, 3, 1)
    room.slots = 0  # and the trial that waits for a process will find none
    assert not searcher.may_start(0)
    assert control.told[-1] == (0, 0, 0)


def test_a_trial_that_was_deleted_when_it_is_to_stop_early_is_trained_anew(tmp_path):
    store, listener = TrialStore(tmp_path / "store"), Silent()
    searcher = searcher_of(write_tiny_study(tmp_path, epochs=3), store, listener=listener)
    (trial, *_), config = searcher._source.known, searcher.suggest("0")
    steps = TrialWorker(store, Path(os.environ[CACHE]), device=torch.device("cpu"), threads=1).run(
        trial.config, config["key"], every_epoch=True
    )
    reached = asdict(next(steps))
    shutil.rmtree(store.root / "trials")
    steps.close()
    searcher.on_trial_complete("0", reached)
    (end,) = listener.ends
    assert (end.status, end.error) == ("busy", f"trial {trial.key[:12]} was deleted while it was trained")
    assert searcher.summary.stopped == 0
    assert not searcher.cannot_go_on()
    assert [again.key for _, again in searcher._again] == [trial.key]
    assert list(store.keys()) == []


class LongInComing(Unlimited):
    """Others train for a while."""

    num_asked = 0

    def trials_at_once(self, running, left, unplaced):
        self.num_asked += 1
        return 0 if self.num_asked <= 30 else super().trials_at_once(running, left, unplaced)


@pytest.mark.long
def test_a_study_may_wait_for_its_first_turn_as_long_as_it_takes(tmp_path, cluster, monkeypatch):
    """Tune would break off after half an hour in which there was no trial; here it has no patience at all."""
    monkeypatch.setattr(TuneController._update_trial_queue, "__defaults__", (False, 0))
    for name in ("TUNE_WARN_INSUFFICENT_RESOURCE_THRESHOLD_S", "TUNE_WARN_INSUFFICENT_RESOURCE_THRESHOLD_S_AUTOSCALER"):
        monkeypatch.setenv(name, "0.5")
    insufficient_resources_manager._get_insufficient_resources_warning_threshold.cache_clear()
    control = LongInComing()
    summary = run(
        write_tiny_study(tmp_path), TrialStore(tmp_path / "store"), Silent(), address=cluster, control=control
    )
    assert (summary.finished, summary.failures) == (2, [])


def test_a_trial_that_somebody_held_is_asked_for_again_before_new_ones_and_ever_more_seldom(tmp_path, monkeypatch):
    path, store = write_tiny_study(tmp_path, seeds="[0, 1]"), TrialStore(tmp_path / "store")
    searcher = searcher_of(path, store)
    clock = 0.0
    monkeypatch.setattr("ccar.cluster.tune_runner.time.monotonic", lambda: clock)
    asked = []
    for number, clock in enumerate([0.0, 1.0, 2.0, 3.0, 5.9, 6.0]):  # noqa: B007  # the lambda above reads it
        config = searcher.suggest(str(number))
        if config is not None:
            asked.append(config["key"])
            status = "busy" if config["key"] == asked[0] else "finished"
            searcher.on_trial_complete(str(number), asdict(TrialProgress(key=config["key"], status=status)))
    first, second, third, fourth = (trial.key for trial in trials_of(path, store))
    assert asked == [first, second, first, third, fourth, first]


SAID_BY_RAY = """\
Failure # 1 (occurred at 2026-11-24_21-00-02)
The actor died unexpectedly before finishing this task.
\tclass_name: _TrialActor
\tactor_id: 5a
\tpid: 4711
\tnamespace: 5b
\tip: 10.0.0.7
{}
"""
KILLED = SAID_BY_RAY.format(
    "The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR Worker exit detail: Worker "
    "unexpectedly exits with a connection error code 2. End of file. Some common causes include: (1) the process was "
    "killed by the OOM killer due to high memory usage, (2) ray stop --force was called."
)
NODE_LOST = SAID_BY_RAY.format(
    "The actor died because its node has died. Node Id: 5c\n\tit was terminated unexpectedly"
)
NOT_STARTED = (
    "Failure # 1\nThe actor died because of an error raised in its creation task, ray::_TrialActor.__init__() "
    '(pid=4711, ip=10.0.0.7, actor_id=5a)\n  File "x.py", line 1, in __init__\nImportError: libcuda.so.1: cannot open'
)


@pytest.mark.parametrize(
    ("told", "cause", "node_has_gone"),
    [
        (
            KILLED,
            "process 4711 on 10.0.0.7: it ended without a word, as when the kernel kills it for want of memory",
            False,
        ),
        (NODE_LOST, "process 4711 on 10.0.0.7: The actor died because its node has died. Node Id: 5c", True),
        (NOT_STARTED, "process 4711 on 10.0.0.7: ImportError: libcuda.so.1: cannot open", False),
        ("", "Ray does not say of what", False),
    ],
    ids=["killed", "node lost", "not started", "nothing"],
)
def test_of_all_that_ray_says_of_a_death_the_user_hears_what_it_was(told, cause, node_has_gone):
    death = Death.told(told)
    assert (death.cause, death.node_has_gone) == (cause, node_has_gone)


def hand_out_and_lose(searcher, trial_id, *, told=KILLED, **progress):
    """One life of a trial's process, which told `progress` of it."""
    key = searcher.suggest(trial_id)["key"]
    searcher.placed(())
    if progress:
        searcher.on_trial_result(trial_id, asdict(TrialProgress(key=key, status="running", **progress)))
    searcher.died(trial_id, Death.told(told))
    searcher.on_trial_complete(trial_id, error=True)
    return key


def test_a_trial_that_gets_on_between_the_deaths_of_its_processes_does_not_fail_by_them(tmp_path):
    searcher = searcher_of(write_tiny_study(tmp_path), TrialStore(tmp_path / "store"))
    keys = {hand_out_and_lose(searcher, str(number), new_epochs=1, new_commits=1) for number in range(9)}
    assert (len(keys), searcher.summary.failures) == (1, [])
    # Epochs that were not committed are trained again and again.
    keys |= {hand_out_and_lose(searcher, str(number), new_epochs=1) for number in range(9, 11)}
    assert len(keys) == 1
    ((trial, error),) = searcher.summary.failures
    assert trial.key in keys
    assert error.endswith("3 times without a commit in between; the last time: " + Death.told(KILLED).cause)


def test_a_run_ends_where_one_trial_after_the_other_dies_before_it_says_anything(tmp_path):
    path = write_tiny_study(tmp_path, seeds="[0, 1, 2, 3]")
    searcher = searcher_of(path, TrialStore(tmp_path / "store"))
    ids = map(str, itertools.count())
    while not searcher.is_over():
        hand_out_and_lose(searcher, next(ids))
    assert len(searcher.summary.failures) == MAX_SILENT_DEATHS - 1
    assert searcher.summary.cut_short_by.startswith(
        "5 trials in a row died before they had trained an epoch, the last one by process 4711 on 10.0.0.7: it"
    )


@pytest.mark.parametrize("life", [{"told": NODE_LOST}, {"epoch": 1}], ids=["node lost", "trained"])
def test_a_run_goes_on_where_nodes_are_lost_or_trials_die_after_they_have_trained(tmp_path, life):
    path = write_tiny_study(tmp_path, seeds="[0, 1, 2, 3]")
    searcher = searcher_of(path, TrialStore(tmp_path / "store"))
    for number in range(8 * (MAX_LOST_WORKERS + 1)):
        hand_out_and_lose(searcher, str(number), **life)
    assert (len(searcher.summary.failures), searcher.done, searcher.is_over()) == (8, True, False)


class ManySlots(OneSlot):
    """A cluster with room for eight trials."""

    slots = 8


def test_trials_without_a_process_are_not_said_to_run_and_the_user_hears_that_there_is_no_room(tmp_path, monkeypatch):
    clock = 100.0
    monkeypatch.setattr("ccar.cluster.tune_runner.time.monotonic", lambda: clock)
    said = io.StringIO()
    with ProgressDisplay(Console(file=said, width=200), total=4, already_done=0) as display:
        path, store = write_tiny_study(tmp_path, seeds="[0, 1]"), TrialStore(tmp_path / "store")
        searcher = searcher_of(path, store, room=ManySlots(), listener=display)
        for trial_id in "01":
            searcher.suggest(trial_id)
            searcher.placed({"0", "1"})
        assert display._running == set()
        clock += SECONDS_TO_PLACE
        for trial_id in "23":
            searcher.suggest(trial_id)
        assert (
            said.getvalue().count("waits for room: no trial has a process yet, and each takes 1 CPUs and 0 GPUs") == 1
        )
        searcher.placed({"2", "3"})
        assert display._running == {searcher._running[trial_id].key for trial_id in "01"}


def test_a_study_that_waits_for_results_of_its_own_leaves_the_rest_of_the_cluster_to_one_of_lower_priority(tmp_path):
    """Eight slots; two backbones, and four trials that start from each of them."""
    path, store = tmp_path / "stages.yaml", TrialStore(tmp_path / "store")
    path.write_text(STUDY_IN_STAGES.format(learning_rate=0.1))
    with (
        Seat(store.drivers, "stages_1", study="stages", priority=1, at_once=None, say=print) as own,
        Seat(store.drivers, "other_1", study="other", priority=0, at_once=None, say=print) as other,
    ):
        control = Allowance(Limits(), Signals(), seat=own)
        searcher = searcher_of(path, store, room=ManySlots(), control=control)
        control.begin("here:1", 8, 1)
        other.take("here:1", 8)
        ids = map(str, itertools.count())

        def start_all():
            while searcher.suggest(next(ids)) is not None:
                pass
            searcher.placed(())
            return len(searcher._running)

        wait_until(lambda: start_all() == 2)
        wait_until(lambda: other.may_run(0, 100, 0.0) == 6)
        assert searcher.may_start(1)  # its process is kept: what ends may be what others wait for
        assert not searcher.may_start(0)
        trial_id, backbone = next(iter(searcher._running.items()))
        searcher.on_trial_complete(trial_id, asdict(TrialProgress(key=backbone.key, status="finished")))
        wait_until(lambda: start_all() == 1 + 4)
        wait_until(lambda: other.may_run(0, 100, 0.0) == 3)


def test_a_node_whose_gpu_torch_cannot_use_is_named_and_trains_nothing_on_its_cpus(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)  # as under a driver that is too old,
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)  # which knows its GPUs
    workplace = Workplace(store=str(tmp_path), cache_dir=tmp_path, cpus=1, has_gpu=True, hang_seconds=900.0)
    with pytest.raises(WrongNode, match=f"node {platform.node()} has a GPU that torch cannot use"):
        trial_worker(workplace)
