from __future__ import annotations

import contextlib
import io
import os
import platform
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from ccar.cluster.in_process import run_in_process
from ccar.cluster.remaining import RemainingTrials
from ccar.cluster.trial_worker import TrialWorker
from ccar.cluster.watchdog import last_words
from ccar.errors import DataError, StoreError
from ccar.store.trial_store import Claim, TrialStore
from ccar.study.definition import load_study
from ccar.study.expansion import load_data
from ccar.study.search import trial_source
from tests.small_disk import small_disk
from tests.tiny_study import write_tiny_study


class Silent:
    """A listener that only remembers how trials ended."""

    def __init__(self):
        self.ends = []

    def started(self, trial):
        pass

    def progressed(self, trial, progress):
        if progress.ended:
            self.ends.append(progress)

    def lost_worker(self, trial, cause):
        pass

    def waits_for(self, what):
        pass

    def all_ended(self, summary):
        pass


@pytest.fixture
def store(tmp_path):
    return TrialStore(tmp_path / "store")


@pytest.fixture
def cache():
    """The cache of decoded images that all tests share."""
    return Path(os.environ["CCAR_CACHE"])


@pytest.fixture
def worker(store, cache):
    """A worker of `store` in this process."""
    return TrialWorker(store, cache, device=torch.device("cpu"), threads=1)


def source_of(path, store, cache):
    study = load_study(path)
    return trial_source(study, load_data(study, cache), store.search_log(study.name))


def first_trial(tmp_path, store, cache, **changes):
    return source_of(write_tiny_study(tmp_path, **changes), store, cache).next()


def last(iterator):
    return list(iterator)[-1]


def numbers(record):
    """What must not depend on interruptions: everything but the times."""
    return [(e.epoch, e.train_loss, e.learning_rate, e.validation) for e in record.epochs]


def test_a_trial_is_trained_to_its_end_and_its_test_results_lie_apart(tmp_path, store, cache, worker):
    trial = first_trial(tmp_path, store, cache, epochs=3)
    end = last(worker.run(trial.config, trial.key))
    assert (end.status, end.epoch, end.num_epochs) == ("finished", 3, 3)
    record = store.read(trial.key)
    assert record.status == "finished"
    assert end.accuracies["balanced_accuracy"] == record.epochs[-1].validation.balanced_accuracy
    assert store.read_test(trial.key).last_epoch.num_images == 400
    assert record.class_counts[0] > record.class_counts[-1]


def test_the_stored_weights_are_those_that_were_tested(tmp_path, store, cache, worker):
    trial = first_trial(tmp_path, store, cache)
    last(worker.run(trial.config, trial.key))
    weights = torch.load(io.BytesIO(store.read_weights(trial.key)), weights_only=True)["model"]
    assert all(isinstance(value, torch.Tensor) for value in weights.values())


def test_a_finished_trial_is_not_trained_again(tmp_path, store, cache, worker):
    trial = first_trial(tmp_path, store, cache)
    last(worker.run(trial.config, trial.key))
    length = store.read(trial.key).num_records
    replayed = list(worker.run(trial.config, trial.key, every_epoch=True))
    assert [progress.epoch for progress in replayed] == [1, 2]
    assert replayed[-1].status == "finished"
    assert store.read(trial.key).num_records == length


def test_what_a_process_left_that_died_at_the_end_of_a_trial_goes_with_the_next_one_that_is_given_it(
    tmp_path, store, cache, worker
):
    trial = first_trial(tmp_path, store, cache)
    last(worker.run(trial.config, trial.key))
    folder = store.files.folder("trials", trial.key[:2], trial.key)
    before = sorted(folder.names())
    folder.replace("checkpoint-000001-0a.pt", b"a state")
    assert last(worker.run(trial.config, trial.key)).status == "finished"
    assert sorted(folder.names()) == before


@pytest.mark.parametrize(("long", "at_once"), [(0.0, [1, 1, 1]), (1e9, [])])
def test_a_long_epoch_is_committed_at_once_and_short_ones_together(
    tmp_path, store, cache, worker, monkeypatch, long, at_once
):
    monkeypatch.setattr("ccar.cluster.trial_worker.LONG_EPOCH_SECONDS", long)
    monkeypatch.setattr("ccar.cluster.trial_worker.COMMIT_SHARE_OF_LONG_EPOCHS", float("inf"))
    monkeypatch.setattr("ccar.cluster.trial_worker.EXPECTED_COMMIT_SECONDS", 1e9)
    monkeypatch.setattr("ccar.cluster.trial_worker.COMMIT_SHARE", 1.0)
    committed, commit = [], Claim.commit

    def noted(claim, epochs, state):
        committed.append(len(epochs))
        commit(claim, epochs, state)

    monkeypatch.setattr(Claim, "commit", noted)
    trial = first_trial(tmp_path, store, cache, epochs=3)
    assert last(worker.run(trial.config, trial.key)).status == "finished"
    assert committed == at_once


def test_a_trial_that_was_left_in_the_middle_ends_as_if_it_never_had_been(tmp_path, cache, monkeypatch):
    monkeypatch.setattr("ccar.cluster.trial_worker.COMMIT_SHARE", float("inf"))  # commit every epoch
    whole, halved = TrialStore(tmp_path / "whole"), TrialStore(tmp_path / "halved")
    trial = first_trial(tmp_path, whole, cache, epochs=4)
    last(TrialWorker(whole, cache, device=torch.device("cpu"), threads=1).run(trial.config, trial.key))
    for _ in range(3):  # three workers that are lost after two epochs each
        attempt = TrialWorker(halved, cache, device=torch.device("cpu"), threads=1)
        steps = attempt.run(trial.config, trial.key, every_epoch=True)
        for _ in range(2):
            if next(steps).ended:
                break
        steps.close()
    last(TrialWorker(halved, cache, device=torch.device("cpu"), threads=1).run(trial.config, trial.key))
    assert numbers(halved.read(trial.key)) == numbers(whole.read(trial.key))
    assert halved.read_test(trial.key) == whole.read_test(trial.key)


def test_a_trial_whose_checkpoint_is_damaged_goes_on_from_the_one_before_to_the_same_bits(tmp_path, cache):
    whole, damaged = TrialStore(tmp_path / "whole"), TrialStore(tmp_path / "damaged")
    trial = first_trial(tmp_path, whole, cache, epochs=5)
    last(TrialWorker(whole, cache, device=torch.device("cpu"), threads=1).run(trial.config, trial.key))
    steps = TrialWorker(damaged, cache, device=torch.device("cpu"), threads=1).run(
        trial.config, trial.key, every_epoch=True
    )
    for _ in range(3):
        next(steps)
    steps.close()
    checkpoint = sorted(damaged.root.glob("trials/??/*/checkpoint-*"))[-1]
    checkpoint.write_bytes(checkpoint.read_bytes()[:-1])
    again = TrialWorker(damaged, cache, device=torch.device("cpu"), threads=1)
    told = list(again.run(trial.config, trial.key, every_epoch=True))
    assert [progress.epoch for progress in told] == [1, 2, 3, 4, 5]
    assert numbers(damaged.read(trial.key)) == numbers(whole.read(trial.key))
    assert damaged.read_test(trial.key) == whole.read_test(trial.key)
    assert damaged.read_weights(trial.key) == whole.read_weights(trial.key)
    assert f"{checkpoint.name} was damaged" in damaged.read(trial.key).error


def test_a_trial_that_goes_on_tells_which_of_its_epochs_are_decided(tmp_path, store, cache, worker):
    trial = first_trial(tmp_path, store, cache, epochs=5)
    steps = worker.run(trial.config, trial.key, every_epoch=True)
    for _ in range(3):
        next(steps)
    steps.close()
    told = [(progress.epoch, progress.replayed) for progress in worker.run(trial.config, trial.key, every_epoch=True)]
    assert told == [(1, True), (2, True), (3, False), (4, False), (5, False)]


def test_the_images_that_it_tells_of_are_those_it_trained_on_and_none_that_it_validated_on(
    tmp_path, store, cache, worker
):
    trial = first_trial(tmp_path, store, cache, epochs=3)
    told = sum(progress.new_images for progress in worker.run(trial.config, trial.key))
    assert told == 3 * sum(store.read(trial.key).class_counts)


def test_a_trial_whose_loss_explodes_ends_as_diverged_and_is_not_tried_again(tmp_path, store, cache, worker):
    trial = first_trial(tmp_path, store, cache, learning_rate="1.0e+30")
    end = last(worker.run(trial.config, trial.key))
    assert end.status == "diverged"
    assert "epoch 1" in end.error
    assert store.read(trial.key).status == "diverged"
    assert last(worker.run(trial.config, trial.key)).status == "diverged"


def test_a_trial_whose_code_raises_fails_with_its_traceback(tmp_path, store, cache, worker, monkeypatch):
    trial = first_trial(tmp_path, store, cache)

    def broken(self):
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr("ccar.training.loop.Training.epochs", broken)
    end = last(worker.run(trial.config, trial.key))
    assert end.status == "failed"
    assert "ZeroDivisionError: a bug" in end.error
    assert store.read(trial.key).status == "failed"
    monkeypatch.undo()
    assert last(worker.run(trial.config, trial.key)).status == "finished"


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 MiB."),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        torch.AcceleratorError("CUDA error: out of memory\nCUDA kernel errors might be reported asynchronously"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_trial_for_which_the_gpu_has_no_memory_left_says_so(tmp_path, store, cache, worker, monkeypatch, error):
    trial = first_trial(tmp_path, store, cache)

    def full(self):
        raise error

    monkeypatch.setattr("ccar.training.loop.Training.epochs", full)
    assert last(worker.run(trial.config, trial.key)).status == "out_of_memory"


WATCHED = """\
import os, sys, time
from pathlib import Path
import torch
from ccar.cluster.trial_worker import TrialWorker
from ccar.store.trial_store import TrialStore
from ccar.training.loop import Training
from tests.cluster.test_trial_worker import first_trial

folder, cache = Path(sys.argv[1]), Path(os.environ["CCAR_CACHE"])

def run(seed, **watched):
    store = TrialStore(folder / "store")
    trial = first_trial(folder, store, cache, seeds=f"[{{seed}}]")
    worker = TrialWorker(store, cache, device=torch.device("cpu"), threads=1, **watched)
    list(worker.run(trial.config, trial.key))

run(1)  # the first steps of a process import half of torch, which can take long
{change}
run(0, hang_seconds=6.0)
"""

HANGS = """\
train = Training._run_epoch

def hangs_here(self, epoch):
    while epoch == 2:
        time.sleep(1000)
    return train(self, epoch)

Training._run_epoch = hangs_here
"""

CRASHES = """\
import signal
train = Training._run_epoch

def crashes_here(self, epoch):
    if epoch == 2:
        os.kill(os.getpid(), signal.SIGSEGV)
    return train(self, epoch)

Training._run_epoch = crashes_here
"""

FAILS_ON_THE_GPU = """\
train = Training._run_epoch

def fails_here(self, epoch):
    if epoch == 2:
        raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered\\nand more")
    return train(self, epoch)

Training._run_epoch = fails_here
"""

SLOW = """\
step = Training._step

def slow(self, batch, generator):
    time.sleep(0.6)
    return step(self, batch, generator)

Training._step = slow
"""


def watched(change, folder):
    """Train a trial in a process of its own, which ends itself after 6 s without a sign of life."""
    command = [sys.executable, "-c", WATCHED.format(change=change), str(folder)]
    return subprocess.run(command, check=False, capture_output=True, text=True)


@pytest.mark.long
def test_a_trial_that_hangs_is_ended_with_its_stacks_noted_and_can_be_tried_again(tmp_path, store, cache):
    died = watched(HANGS, tmp_path)
    assert died.returncode == 1, died.stderr
    trial = first_trial(tmp_path, store, cache)
    next_one = TrialWorker(store, cache, device=torch.device("cpu"), threads=1, hang_seconds=600.0)
    end = last(next_one.run(trial.config, trial.key))  # as Ray does at once: it would hang again
    assert end.status == "failed"
    assert "it hung and was ended, at File " in end.error
    assert "in hangs_here; all stacks are in " in end.error
    assert "hangs_here" in Path(end.error.rpartition(" are in ")[2]).read_text()
    assert last(next_one.run(trial.config, trial.key)).status == "finished"  # in the next run
    assert not store.stacks_file(trial.key).exists()


@pytest.mark.long
def test_a_trial_whose_epochs_take_longer_than_a_hang_goes_on_as_long_as_its_batches_come(tmp_path, store, cache):
    slow = watched(SLOW, tmp_path)
    assert slow.returncode == 0, slow.stderr
    record = store.read(first_trial(tmp_path, store, cache).key)
    assert record.status == "finished"
    assert record.epochs[0].seconds > 6.0


@pytest.mark.long
def test_where_a_process_crashed_is_noted_and_its_trial_goes_on_in_the_next_one(tmp_path, store, cache):
    assert watched(CRASHES, tmp_path).returncode == -signal.SIGSEGV
    trial = first_trial(tmp_path, store, cache)
    left = store.stacks_file(trial.key)
    assert re.fullmatch(r'Segmentation fault, at File "[^"]*", line \d+ in crashes_here', last_words(left))
    next_one = TrialWorker(store, cache, device=torch.device("cpu"), threads=1, hang_seconds=600.0)
    assert last(next_one.run(trial.config, trial.key)).status == "finished"
    assert "crashes_here" in left.with_name("crash.txt").read_text()
    assert not left.exists()


@pytest.mark.long
def test_after_an_error_of_the_gpu_the_process_ends_and_its_trial_goes_on_in_the_next_one(tmp_path, store, cache):
    died = watched(FAILS_ON_THE_GPU, tmp_path)
    assert died.returncode == 1, died.stderr
    trial = first_trial(tmp_path, store, cache)
    said = last_words(store.stacks_file(trial.key))
    expected = r'CUDA error: an illegal memory access was encountered, at File "[^"]*", line \d+ in fails_here'
    assert re.fullmatch(expected, said)
    next_one = TrialWorker(store, cache, device=torch.device("cpu"), threads=1, hang_seconds=600.0)
    assert last(next_one.run(trial.config, trial.key)).status == "finished"


def test_who_finds_a_trial_busy_leaves_the_file_for_its_stacks_alone(tmp_path, store, cache):
    trial = first_trial(tmp_path, store, cache, epochs=3)
    one, other = (TrialWorker(store, cache, device=torch.device("cpu"), threads=1, hang_seconds=600.0) for _ in "ab")
    held = one.run(trial.config, trial.key, every_epoch=True)
    next(held)
    store.stacks_file(trial.key).write_text("where it hung, on a node whose lease is not over\n")
    assert last(other.run(trial.config, trial.key)).status == "busy"
    assert store.stacks_file(trial.key).read_text().startswith("where it hung")
    held.close()


def test_what_was_trained_since_the_last_commit_is_kept_when_the_process_is_to_end(
    tmp_path, store, cache, worker, monkeypatch
):
    monkeypatch.setattr("ccar.cluster.trial_worker.EXPECTED_COMMIT_SECONDS", 1e9)  # short epochs wait for others
    monkeypatch.setattr("ccar.cluster.trial_worker.LONG_EPOCH_SECONDS", 1e9)
    monkeypatch.setattr("ccar.cluster.trial_worker.PROGRESS_SECONDS", 0.0)
    trial = first_trial(tmp_path, store, cache, epochs=4)
    progress = worker.run(trial.config, trial.key)
    assert [next(progress).epoch for _ in range(2)] == [1, 2]
    assert store.read(trial.key).epochs == ()
    progress.close()
    record = store.read(trial.key)
    assert (record.status, [epoch.epoch for epoch in record.epochs], record.claim) == ("unfinished", [1, 2], None)


def test_a_trial_that_another_worker_holds_is_busy(tmp_path, store, cache, worker):
    trial = first_trial(tmp_path, store, cache, epochs=3)
    other = TrialWorker(store, cache, device=torch.device("cpu"), threads=1)
    held = other.run(trial.config, trial.key, every_epoch=True)
    next(held)
    assert last(worker.run(trial.config, trial.key)).status == "busy"
    assert last(held).status == "finished"


def test_a_worker_with_other_images_than_the_driver_refuses(tmp_path, store, cache, worker):
    trial = first_trial(tmp_path, store, cache)
    end = last(worker.run(trial.config, "0" * 64))
    assert end.status == "refused"
    assert f"on node {platform.node()} differ from the driver's" in end.error
    assert "give all of them the same images" in end.error
    assert store.read("0" * 64).status == "absent"


def test_a_node_that_has_not_got_the_images_ends_the_run_and_spoils_no_trial(
    tmp_path, store, cache, worker, monkeypatch
):
    def lost(*given, **named):
        raise DataError("nothing is mounted at /images")

    monkeypatch.setattr("ccar.cluster.trial_worker.load_source", lost)
    summary = run_in_process(source_of(write_tiny_study(tmp_path), store, cache), worker, Silent())
    assert f"node {platform.node()} cannot give the images: nothing is mounted at /images" in summary.refusal
    assert (summary.failures, summary.is_cut_short) == ([], True)
    assert list(store.keys()) == []


def test_a_store_that_cannot_be_written_ends_the_run_and_says_why(tmp_path, store, cache, worker, monkeypatch):
    def full(self, *arguments):
        raise StoreError("no space left to write x", hint="free some space")

    monkeypatch.setattr(Claim, "finish", full)
    source = source_of(write_tiny_study(tmp_path), store, cache)
    summary = run_in_process(source, worker, Silent())
    assert "no space left" in summary.store_error
    assert "free some space" in summary.store_error
    monkeypatch.undo()
    again = source_of(write_tiny_study(tmp_path), store, cache)
    assert run_in_process(again, worker, Silent()).finished == 2


@pytest.mark.parametrize("victim", ["log/000001.jsonl", "stacks.txt"])
def test_a_file_of_the_store_that_cannot_be_read_ends_the_run_and_says_why(tmp_path, store, cache, victim):
    path = write_tiny_study(tmp_path)
    worker = TrialWorker(store, cache, device=torch.device("cpu"), threads=1, hang_seconds=600.0)
    trial = source_of(path, store, cache).next()
    steps = worker.run(trial.config, trial.key, every_epoch=True)
    next(steps)
    steps.close()
    file = store.stacks_file(trial.key).parent / victim
    file.touch()  # that of the stacks is there only while the trial is trained
    kept = file.rename(tmp_path / "kept")
    file.symlink_to("/proc/self/mem")  # reading it is an I/O error
    summary = run_in_process(source_of(path, store, cache), worker, Silent())
    assert re.fullmatch(rf"cannot read {file}: Input/output error \(nothing committed is lost.*\)", summary.store_error)
    kept.replace(file)
    assert run_in_process(source_of(path, store, cache), worker, Silent()).finished == 2


def test_a_disk_without_room_even_for_the_watchdog_s_file_ends_the_run_and_says_why(tmp_path, cache):
    with small_disk(tmp_path / "disk", "size=16m,nr_inodes=200") as disk:
        store = TrialStore(disk / "store")
        path = write_tiny_study(tmp_path)
        watched = TrialWorker(store, cache, device=torch.device("cpu"), threads=1, hang_seconds=600.0)
        names = [disk / str(number) for number in range(200)]
        with contextlib.suppress(OSError):
            for name in names:
                name.touch()
        summary = run_in_process(source_of(path, store, cache), watched, Silent())
        assert "no space left to write" in summary.store_error
        assert (summary.failures, store.keys()) == ([], [])
        for name in names:
            name.unlink(missing_ok=True)
        assert run_in_process(source_of(path, store, cache), watched, Silent()).finished == 2


def test_what_the_store_has_is_not_handed_out_again(tmp_path, store, cache, worker):
    path = write_tiny_study(tmp_path)
    run_in_process(source_of(path, store, cache), worker, Silent())
    more = write_tiny_study(tmp_path, omegas="[0.5, 0.75]", seeds="[0, 1]")
    remaining = RemainingTrials(source_of(more, store, cache), store, stops_early=False)
    assert (remaining.num_done, remaining.num_trials) == (2, 4)
    names = []
    while not remaining.exhausted:
        names.append(remaining.next().name)
    assert names == [
        "if10/cross_entropy seed 1",
        "if10/cross_entropy+ccar(omega=0.5) seed 1",
        "if10/cross_entropy+ccar(omega=0.75) seed 0",
        "if10/cross_entropy+ccar(omega=0.75) seed 1",
    ]


def test_a_search_that_is_run_again_trains_nothing_and_finds_the_same(tmp_path, store, cache, worker):
    path = write_tiny_study(
        tmp_path,
        more="search: {algorithm: tpe, num_samples: 3, omega: [0.1, 1.0], max_concurrent: 1}",
    )
    path.write_text(path.read_text().replace("reweighting: {omega: [0.5]}", "reweighting: {}"))
    first = source_of(path, store, cache)
    assert run_in_process(first, worker, Silent()).finished == 4
    again = RemainingTrials(source_of(path, store, cache), store, stops_early=False)
    assert again.exhausted
    assert [trial.name for trial in again.known] == [trial.name for trial in first.known]
