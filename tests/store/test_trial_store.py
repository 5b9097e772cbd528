from __future__ import annotations

import dataclasses
import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from ccar.errors import Damaged, Fenced, StoreError, TrialBusy, UserError
from ccar.store import liveness
from ccar.store.key import digest_of_parts
from ccar.store.records import StudyRecord, StudyTrial
from ccar.store.seal import sealed, unseal
from ccar.store.trial_log import TrialLog
from ccar.store.trial_store import TrialStore
from ccar.training.result import EpochResult
from tests.small_disk import small_disk
from tests.store.examples import CLASS_COUNTS, CONFIG, NUM_EPOCHS, PARTS, TEST, WORKER, epoch

KEY = digest_of_parts(PARTS)
OTHER_PARTS = {**PARTS, "seed": 1}
OTHER_KEY = digest_of_parts(OTHER_PARTS)


@pytest.fixture
def store(place):
    """An empty store, in a folder or in a bucket."""
    return TrialStore(place)


def trial_folder(store):
    """Where the trial of these tests is kept."""
    return store.files.folder("trials", KEY[:2], KEY)


def names(store, beginning):
    """The files of the trial whose names begin so, in their order."""
    return sorted(name for name in trial_folder(store).names() if name.startswith(beginning))


def claim(store, **options):
    return store.claim(CONFIG, PARTS, class_counts=CLASS_COUNTS, worker=WORKER, **options)


def finish(store):
    taken = claim(store)
    for number in range(1, NUM_EPOCHS + 1):
        taken.commit([epoch(number)], b"state %d" % number)
    taken.finish(TEST, b"weights")


def test_a_trial_that_nobody_began_is_absent(store):
    assert store.read(KEY).status == "absent"
    assert store.read_test(KEY) is None


def test_a_finished_trial_reads_back_as_it_was_committed(store):
    finish(store)
    record = store.read(KEY)
    assert record.status == "finished"
    assert record.config == CONFIG
    assert record.class_counts == CLASS_COUNTS
    assert [e.epoch for e in record.epochs] == [1, 2, 3, 4]
    assert record.epochs[-1] == epoch(NUM_EPOCHS)
    assert record.seconds == pytest.approx(0.5 * NUM_EPOCHS)
    assert record.worker["device"] == "cpu"
    assert store.read_test(KEY) == TEST
    assert store.read_weights(KEY) == b"weights"


def test_an_ended_trial_keeps_per_class_accuracies_of_its_best_and_last_epoch_only(store):
    finish(store)
    assert [len(e.validation.per_class) for e in store.read(KEY).epochs] == [0, 0, 0, 2]
    assert [e.validation.reliability is None for e in store.read(KEY).epochs] == [True, True, True, False]


def test_epochs_of_a_version_that_measured_no_calibration_are_read():
    stored = dataclasses.asdict(epoch(1))
    for name in ("ece", "reliability"):
        del stored["validation"][name]
    (read,) = TypeAdapter(tuple[EpochResult, ...]).validate_python([stored])
    assert (read.validation.ece, read.validation.accuracy) == (None, 0.1)


def test_a_finished_trial_leaves_no_checkpoint_and_no_heartbeat_behind(store):
    finish(store)
    assert store.keys() == [KEY]
    assert {name.split("-")[0] for name in trial_folder(store).names()} == {"trial.json", "log", "test", "weights"}


def types_in_log(store):
    """What the records are that the trial's log still has, in their order; fails on anything that is none."""
    log = trial_folder(store).folder("log")
    return [unseal(log, name)["type"] for name in sorted(log.names())]


@pytest.mark.parametrize("end", ["finish", "diverge"])
def test_a_trial_that_has_ended_for_good_keeps_no_commit_and_counts_its_records_as_before(store, end):
    taken = claim(store)
    for number in range(1, NUM_EPOCHS):
        taken.commit([epoch(number)], b"state %d" % number)
    taken.release()
    taken = claim(store)
    taken.commit([epoch(NUM_EPOCHS)], b"state")
    taken.finish(TEST, b"weights") if end == "finish" else taken.diverge("loss is nan")
    assert types_in_log(store) == ["claim", "released", "claim", "finished" if end == "finish" else "diverged"]
    record = store.read(KEY)
    assert [one.epoch for one in record.epochs] == list(range(1, NUM_EPOCHS + 1))
    assert record.num_records == store.num_records(KEY) == NUM_EPOCHS + 4


def test_the_next_worker_goes_on_from_the_last_commit(store):
    first = claim(store)
    first.commit([epoch(1), epoch(2)], b"state 2")
    first.release()
    second = claim(store)
    assert [e.epoch for e in second.epochs] == [1, 2]
    assert second.checkpoint() == b"state 2"
    second.release()


def test_releasing_a_trial_that_has_ended_changes_nothing(store):
    taken = claim(store)
    taken.finish(TEST, b"weights", [epoch(number) for number in range(1, NUM_EPOCHS + 1)])
    taken.release()
    record = store.read(KEY)
    assert (record.status, len(record.epochs)) == ("finished", NUM_EPOCHS)


def test_a_trial_that_somebody_alive_trains_is_busy(store):
    first = claim(store)
    with pytest.raises(TrialBusy, match=f"process {os.getpid()}"):
        claim(store)
    first.release()


def test_a_finished_trial_cannot_be_claimed(store):
    finish(store)
    with pytest.raises(TrialBusy, match="finished"):
        claim(store)


def test_a_worker_that_was_taken_over_can_write_nothing_any_more(store):
    zombie = claim(store)
    zombie.commit([epoch(1)], b"state 1")
    heir = claim(store, even_if_busy=True)
    files = store.files.folder("trials", KEY[:2], KEY)
    before = set(files.names())
    with pytest.raises(Fenced):
        zombie.commit([epoch(2)], b"zombie")
    with pytest.raises(Fenced):
        zombie.finish(TEST, b"zombie")
    assert set(files.names()) == before
    heir.commit([epoch(2)], b"heir")
    assert heir.checkpoint() == b"heir"
    assert [e.epoch for e in store.read(KEY).epochs] == [1, 2]
    zombie.abandon()
    heir.release()


def does_late(monkeypatch, call, work):
    """`work` happens in the middle of this process's `call`-th write to come, counted by what it waits for."""
    sync, calls = os.fsync, iter(range(1, 100))

    def sync_late(descriptor):
        if next(calls) == call:
            monkeypatch.undo()
            work()
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", sync_late)


def kinds_of_finished(store):
    """The kinds of files that a finished trial has, and no other one."""
    kinds = sorted(name.split("-")[0] for name in trial_folder(store).names())
    return kinds == ["log", "test", "trial.json", "weights"]


@pytest.mark.parametrize("write", [1, 2, 3])
def test_a_worker_that_is_frozen_in_the_middle_of_a_commit_is_refused_when_it_wakes_up(tmp_path, monkeypatch, write):
    """Even if all its temporary files are gone: who ends a trial clears them away."""
    store = TrialStore(tmp_path)
    zombie = claim(store)

    def another_one_ends_it():
        claim(store, even_if_busy=True).finish(TEST, b"weights", [epoch(number) for number in (1, 2, 3, 4)])

    does_late(monkeypatch, write, another_one_ends_it)
    with pytest.raises(Fenced):
        zombie.commit([epoch(1)], b"state 1")
    zombie.abandon()
    assert store.read(KEY).status == "finished"
    assert kinds_of_finished(store)
    assert types_in_log(store) == ["claim", "claim", "finished"]


@pytest.mark.parametrize("write", [1, 2, 3, 4, 5])
def test_a_worker_that_is_frozen_at_the_end_of_a_trial_leaves_the_results_of_the_one_that_ended_it(
    tmp_path, monkeypatch, write
):
    store = TrialStore(tmp_path)
    zombie = claim(store)
    zombie.commit([epoch(1)], b"state 1")

    def another_one_ends_it():
        heir = claim(store, even_if_busy=True)
        for number in (2, 3, 4):
            heir.commit([epoch(number)], b"state %d" % number)
        heir.finish(TEST, b"weights")

    does_late(monkeypatch, write, another_one_ends_it)
    with pytest.raises(Fenced):
        zombie.finish(dataclasses.replace(TEST, best_epoch_index=1), b"zombie", [epoch(2), epoch(3), epoch(4)])
    zombie.abandon()
    assert (store.read_test(KEY), store.read_weights(KEY)) == (TEST, b"weights")
    assert kinds_of_finished(store)
    assert types_in_log(store) == ["claim", "claim", "finished"]


def test_who_claims_a_trial_so_late_that_it_has_ended_meanwhile_is_told_so(tmp_path, monkeypatch):
    """The number of the claim was that of a commit, which the last record has replaced: nobody has it any more."""
    store = TrialStore(tmp_path)
    owner = claim(store)
    owner.commit([epoch(1)], b"state 1")

    def its_owner_ends_it():
        for number in (2, 3, 4):
            owner.commit([epoch(number)], b"state %d" % number)
        owner.finish(TEST, b"weights")

    does_late(monkeypatch, 1, its_owner_ends_it)
    with pytest.raises(TrialBusy, match="finished meanwhile"):
        claim(store, even_if_busy=True)
    assert store.read_test(KEY) == TEST
    assert kinds_of_finished(store)
    assert types_in_log(store) == ["claim", "finished"]


def test_a_worker_whose_trial_was_deleted_and_trained_again_can_write_nothing_any_more(tmp_path, monkeypatch):
    """Even where what it would write next was a commit of the other one, which the last record has replaced."""
    store = TrialStore(tmp_path)
    zombie = claim(store)
    delete_trial(store)
    finish(store)
    with pytest.raises(Fenced):
        zombie.commit([epoch(1)], b"zombie")
    with pytest.raises(Fenced):
        zombie.finish(TEST, b"zombie")
    zombie.abandon()
    assert store.read_weights(KEY) == b"weights"
    assert kinds_of_finished(store)
    assert types_in_log(store) == ["claim", "finished"]


@pytest.mark.parametrize("call", [3, 4])
def test_a_commit_that_was_written_counts_though_another_worker_took_over_in_that_moment(tmp_path, monkeypatch, call):
    store = TrialStore(tmp_path)
    slow, heirs = claim(store), []
    does_late(monkeypatch, call, lambda: heirs.append(claim(store, even_if_busy=True)))
    if call == 3:  # just before the record
        with pytest.raises(Fenced):
            slow.commit([epoch(1)], b"state 1")
    else:
        slow.commit([epoch(1)], b"state 1")
    slow.abandon()
    (heir,) = heirs
    assert [one.epoch for one in heir.epochs] == ([] if call == 3 else [1])
    assert heir.checkpoint() == (None if call == 3 else b"state 1")
    heir.release()


def trial_that_ends_after(store, monkeypatch, moment):
    """A trial of two commits that is finished right after the next call of this method of its log."""
    taken = claim(store)
    for number in (1, 2):
        taken.commit([epoch(number)], f"state {number}".encode())
    method = getattr(TrialLog, moment)

    def and_then_it_ends(self, *arguments):
        found = method(self, *arguments)
        monkeypatch.undo()
        taken.finish(TEST, b"weights", [epoch(number) for number in (3, 4)])
        return found

    monkeypatch.setattr(TrialLog, moment, and_then_it_ends)


@pytest.mark.parametrize("moment", ["length", "read"])
def test_a_trial_that_ends_while_it_is_read_is_no_damaged_one(store, monkeypatch, moment):
    trial_that_ends_after(store, monkeypatch, moment)
    record = store.read(KEY)
    assert (record.status, [one.epoch for one in record.epochs]) == ("finished", [1, 2, 3, 4])


@pytest.mark.parametrize("moment", ["length", "read"])
def test_a_trial_that_ends_while_somebody_would_take_it_over_is_no_damaged_one(store, monkeypatch, moment):
    trial_that_ends_after(store, monkeypatch, moment)
    with pytest.raises(TrialBusy, match="finished meanwhile"):
        claim(store, even_if_busy=True)
    assert types_in_log(store) == ["claim", "finished"]


@pytest.mark.parametrize("look", [TrialStore.read_test, TrialStore.read_weights, TrialStore.sweep])
def test_a_trial_that_ends_while_its_results_are_asked_for_is_no_damaged_one(store, monkeypatch, look):
    trial_that_ends_after(store, monkeypatch, "length")
    assert look(store, KEY) == {"read_test": TEST, "read_weights": b"weights"}.get(look.__name__)


def test_a_trial_of_a_version_that_kept_all_records_is_read_and_none_of_it_is_deleted(store, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(TrialLog, "tidy", lambda *_: None)
        finish(store)
    change(store, "log/000005.jsonl", drop("replaces"))
    kept = ["claim", *["commit"] * NUM_EPOCHS, "finished"]
    assert types_in_log(store) == kept
    record = store.read(KEY)
    assert (record.status, len(record.epochs), record.num_records) == ("finished", NUM_EPOCHS, NUM_EPOCHS + 2)
    assert store.read_test(KEY) == TEST
    store.sweep(KEY)
    claim_in_vain(store, KEY)
    assert types_in_log(store) == kept


def test_a_silent_worker_on_another_machine_loses_its_claim_after_the_lease(store, monkeypatch):
    monkeypatch.setattr(liveness, "_machine", lambda: "another machine")
    lost = claim(store)
    monkeypatch.undo()
    with pytest.raises(TrialBusy):
        claim(store)
    lost._heartbeat.stop()
    monkeypatch.setattr(liveness, "LEASE_SECONDS", 0.5)
    time.sleep(1.6)  # the clock of a bucket counts seconds
    heir = claim(store)
    assert len(names(store, "heartbeat-")) == 1
    heir.release()


def test_a_stopped_trial_keeps_its_state_and_can_be_trained_on(store):
    first = claim(store)
    first.commit([epoch(1)], b"state 1")
    first.stop("asha")
    assert store.read(KEY).status == "stopped"
    second = claim(store)
    assert second.checkpoint() == b"state 1"
    second.commit([epoch(2)], b"state 2")
    assert len(store.read(KEY).epochs[0].validation.per_class) == 2
    second.release()


def test_a_failed_trial_says_why_and_is_tried_again(store):
    claim(store).fail("ValueError: bad")
    assert (store.read(KEY).status, store.read(KEY).error) == ("failed", "ValueError: bad")
    claim(store).release()
    assert store.read(KEY).status == "unfinished"


def test_a_diverged_trial_keeps_its_good_epochs(store):
    claim(store).diverge("loss is nan in epoch 3", [epoch(1), epoch(2)])
    record = store.read(KEY)
    assert record.status == "diverged"
    assert [e.epoch for e in record.epochs] == [1, 2]


@pytest.mark.parametrize("victim", ["log/000005.jsonl", "trial.json"])
def test_an_altered_record_is_noticed(store, victim):
    finish(store)
    *folders, name = victim.split("/")
    folder = trial_folder(store).folder(*folders)
    content = folder.read(name)
    folder.replace(name, content.replace(b"0.1", b"0.9", 1))
    assert content != folder.read(name)
    with pytest.raises(StoreError, match="damaged"):
        store.read(KEY)


def test_altered_test_results_are_noticed(store):
    finish(store)
    folder, (name,) = trial_folder(store), names(store, "test-")
    folder.replace(name, folder.read(name).replace(b"0.4", b"0.9", 1))
    with pytest.raises(StoreError, match="damaged"):
        store.read_test(KEY)


@pytest.mark.parametrize("damage", ["truncated", "bit flipped", "swapped with another trial's", "gone"])
def test_of_a_damaged_checkpoint_the_one_before_is_used_and_committed_epochs_stay_as_they_were(store, damage):
    first = claim(store)
    first.commit([epoch(1)], b"state 1")
    first.commit([epoch(2)], b"state 2")
    first.commit([epoch(3)], b"state 3")
    first.release()
    folder, (kept, last) = trial_folder(store), names(store, "checkpoint-")
    content = folder.read(last)
    match damage:
        case "truncated":
            folder.replace(last, content[:-1])
        case "bit flipped":
            folder.replace(last, bytes([content[0] ^ 1]) + content[1:])
        case "swapped with another trial's":
            folder.replace(last, b"state 3 of another trial")
        case "gone":
            folder.delete(last)
    second = claim(store)
    assert second.checkpoint() == b"state 2"
    before = second.epochs
    second.commit([epoch(3)], b"state 3 again")  # trained once more, only to get there
    assert second.epochs == before
    second.finish(TEST, b"weights", [epoch(3), epoch(4)])
    record = store.read(KEY)
    assert [one.epoch for one in record.epochs] == [1, 2, 3, 4]
    assert f"{last} was damaged" in record.error
    assert not folder.exists(kept)


def test_two_damages_in_a_row_do_not_begin_a_trial_again(store):
    first = claim(store)
    first.commit([epoch(1)], b"state 1")
    first.commit([epoch(2)], b"state 2")
    first.release()
    trial_folder(store).replace(names(store, "checkpoint-")[-1], b"other")
    second = claim(store)
    assert second.checkpoint() == b"state 1"
    second.commit([epoch(2), epoch(3)], b"state 3")
    second.release()
    trial_folder(store).replace(names(store, "checkpoint-")[-1], b"other")
    third = claim(store)
    assert third.checkpoint() == b"state 1"  # the good one was kept, not the damaged one
    assert [one.epoch for one in third.epochs] == [1, 2, 3]
    third.finish(TEST, b"weights", [epoch(4)])
    assert store.read(KEY).error.count("was damaged") == 2
    assert names(store, "checkpoint-") == []


def test_with_both_checkpoints_damaged_a_trial_begins_again_and_says_so(store):
    first = claim(store)
    first.commit([epoch(1)], b"state 1")
    first.commit([epoch(2)], b"state 2")
    first.fail("some reason")
    for name in names(store, "checkpoint-"):
        trial_folder(store).replace(name, b"other")
    second = claim(store)
    assert second.checkpoint() is None
    assert [one.epoch for one in second.epochs] == [1, 2]
    second.commit([epoch(3)], b"state 3")
    second.release()
    third = claim(store)  # what was found is not forgotten with the worker that found it
    third.finish(TEST, b"weights", [epoch(4)])
    assert store.read(KEY).error.count("was damaged") == 2


def test_proving_that_a_store_can_be_written_leaves_nothing_behind(tmp_path):
    TrialStore(tmp_path / "new" / "store").check_writable()
    assert list(tmp_path.iterdir()) == []


def test_a_store_inside_a_file_is_refused_with_a_hint(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError) as caught:
        TrialStore(tmp_path / "file").check_writable()
    assert "--store" in caught.value.hint


def test_of_some_trials_those_that_were_begun_are_told(store):
    finish(store)
    assert store.begun([KEY, KEY[:2] + "0" * 62, "f" * 64]) == {KEY}


def test_studies_are_remembered_by_name(store):
    record = StudyRecord(
        name="s",
        definition="study: s",
        trials=(StudyTrial(cell="c", method="m", seed=0, key=KEY),),
        submitted_at=1.0,
    )
    store.put_study(record)
    assert store.studies() == [record] == [store.study("s")]
    assert store.study("t") is None
    before = store.study_versions()
    store.put_study(dataclasses.replace(record, submitted_at=2.0))
    assert before.keys() == {"s"}
    assert before != store.study_versions()


def test_a_store_that_is_there_already_stays_as_open_as_it_is(tmp_path):
    folder = tmp_path / "shared"
    folder.mkdir()
    folder.chmod(0o770)
    TrialStore(folder).put_study(StudyRecord(name="s", definition="study: s", trials=(), submitted_at=1.0))
    assert folder.stat().st_mode & 0o777 == 0o770


def test_a_store_has_a_name_of_its_own_that_stays(store):
    assert store.id() == store.id() == TrialStore(store.address).id()
    assert len(store.id()) == 32


def test_suggestions_are_replayed_in_their_order_and_never_written_twice(store):
    log = store.search_log("s")
    log.record("if10/focal", 0, {"omega": 0.5})
    log.record("if10/focal", 1, {"omega": 0.25})
    assert log.asked("if10/focal") == [{"omega": 0.5}, {"omega": 0.25}]
    assert log.asked("if10/ldam") == []
    with pytest.raises(Fenced):
        log.record("if10/focal", 1, {"omega": 0.75})


def test_a_kill_at_any_moment_of_the_commit_protocol_loses_and_doubles_nothing(place):
    """Runs a whole trial again and again, killed at its 1st, 2nd, 3rd ... change of the store."""
    script = Path(__file__).with_name("kill_at_every_write.py")
    done = subprocess.run(
        [sys.executable, str(script), place],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert done.returncode == 0, done.stderr
    windows, orphans = map(int, done.stdout.split())
    assert windows > (15 if "://" in place else 30)
    assert orphans == 0


def test_on_a_full_disk_a_commit_fails_with_a_hint_and_what_was_committed_stays(tmp_path):
    """Needs a file system of its own that can be filled."""
    with small_disk(tmp_path / "small", "size=256k") as small:
        store = TrialStore(small / "store")
        taken = claim(store)
        taken.commit([epoch(1)], b"state 1")
        with pytest.raises(StoreError, match="no space left") as caught:
            taken.commit([epoch(2)], os.urandom(300_000))
        assert "again" in caught.value.hint
        taken.abandon()
        assert [e.epoch for e in store.read(KEY).epochs] == [1]
        again = claim(store)
        assert again.checkpoint() == b"state 1"
        again.commit([epoch(2)], b"state 2")
        again.release()


def finish_another(store):
    """A second trial, that has finished."""
    other = store.claim(CONFIG.model_copy(update={"seed": 1}), OTHER_PARTS, class_counts=CLASS_COUNTS, worker=WORKER)
    other.finish(TEST, b"weights", [epoch(number) for number in range(1, NUM_EPOCHS + 1)])


def change(store, victim, edit):
    """Write a sealed file of the trial anew, with other content; returns its bytes."""
    *folders, name = victim.split("/")
    folder = trial_folder(store).folder(*folders)
    content = unseal(folder, name)
    edit(content)
    folder.replace(name, sealed(content))
    return sealed(content)


def delete_trial(store):
    """As a user would who wants it to be trained again."""
    trial_folder(store).clear()


@pytest.mark.parametrize("victim", ["log/000001.jsonl", "log/000002.jsonl", "trial.json"])
def test_a_missing_record_is_told_with_what_to_do_and_hides_no_other_trial(store, victim):
    first = claim(store)
    first.commit([epoch(1)], b"state 1")
    first.commit([epoch(2)], b"state 2")
    first.release()
    finish_another(store)
    *folders, name = victim.split("/")
    trial_folder(store).folder(*folders).delete(name)
    with pytest.raises(Damaged, match=f"{name} is missing") as caught:
        store.read(KEY)
    assert "delete the trial's folder" in caught.value.hint
    assert [record.key for record in store.all_records()] == [OTHER_KEY]


def test_a_trial_with_a_missing_record_cannot_be_claimed_and_says_so(store):
    first = claim(store)
    first.commit([epoch(1)], b"state 1")
    first.release()
    trial_folder(store).folder("log").delete("000001.jsonl")
    with pytest.raises(Damaged, match=r"000001\.jsonl is missing"):
        claim(store)


def test_the_next_worker_writes_what_a_trial_is_made_of_where_that_is_missing(store):
    claim(store).release()
    trial_folder(store).delete("trial.json")
    claim(store).release()
    assert store.read(KEY).config == CONFIG


def test_a_worker_whose_trial_was_deleted_can_write_nothing_any_more(store):
    taken = claim(store)
    taken.commit([epoch(1)], b"state 1")
    delete_trial(store)
    with pytest.raises(Fenced, match="was deleted"):
        taken.commit([epoch(2)], b"state 2")
    with pytest.raises(Fenced, match="was deleted"):
        taken.finish(TEST, b"weights")
    taken.abandon()
    assert store.read(KEY).status == "absent"
    assert names(store, "") == []
    heir = claim(store)
    assert heir.epochs == ()
    heir.finish(TEST, b"weights", [epoch(number) for number in range(1, NUM_EPOCHS + 1)])
    assert store.read(KEY).status == "finished"


def drop(name):
    return lambda content: content.pop(name)


def put(name, value):
    return lambda content: content.update({name: value})


@pytest.mark.parametrize(
    ("end", "victim", "edit"),
    [
        ("finish", "trial.json", drop("parts")),
        ("finish", "trial.json", put("config", {"of": "the future"})),
        ("finish", "trial.json", put("class_counts", None)),
        ("finish", "log/000002.jsonl", drop("epochs")),
        ("finish", "log/000002.jsonl", drop("type")),
        ("finish", "log/000002.jsonl", drop("worker")),
        ("finish", "log/000002.jsonl", put("epochs", [{"epoch": 1}])),
        ("release", "log/000000.jsonl", drop("worker")),
        ("release", "log/000001.jsonl", put("epochs", [])),
        ("release", "log/000001.jsonl", put("epochs", [{"epoch": 1}])),
    ],
)
def test_a_trial_of_another_version_is_told_as_one_and_hides_no_other_trial(store, end, victim, edit):
    taken = claim(store)
    taken.commit([epoch(1)], b"state 1")
    if end == "finish":
        taken.finish(TEST, b"weights", [epoch(number) for number in range(2, NUM_EPOCHS + 1)])
    else:
        taken.release()
    finish_another(store)
    change(store, victim, edit)
    with pytest.raises(StoreError, match=f"trial {KEY[:12]} was stored by another version of ccar"):
        store.read(KEY)
    if end == "release":
        with pytest.raises(StoreError, match="another version of ccar"):
            claim(store)
    assert [record.key for record in store.all_records()] == [OTHER_KEY]


def test_test_results_of_another_version_are_told_as_such(store):
    finish(store)
    (name,) = names(store, "test-")
    content = change(store, name, drop("last_epoch"))
    digest = hashlib.sha256(content).hexdigest()
    change(store, "log/000005.jsonl", lambda record: record["test"].update(sha256=digest))
    with pytest.raises(StoreError, match="another version of ccar"):
        store.read_test(KEY)


def leave_orphans(store):
    """Files as they are left by workers that die before a record names them, or before they could tidy up."""
    named = ("checkpoint-000001-0a.pt", "test-000002-0b.jsonl", "weights-000002-0c.pt", "heartbeat-000001-0d")
    for name in (*named, "stacks.txt"):
        trial_folder(store).replace(name, b"orphan")
    trial_folder(store).folder("log").replace(".000001.jsonl.0e", b"orphan")


def kinds_of_files(store):
    """The files of the trial, by the beginnings of their names, and those of its log that are no records."""
    temporary = [name for name in trial_folder(store).folder("log").names() if name.startswith(".")]
    return sorted(name.split("-")[0] for name in trial_folder(store).names()) + temporary


def test_a_trial_that_has_finished_keeps_no_file_that_its_last_record_does_not_name(store):
    leave_orphans(store)
    finish(store)
    assert kinds_of_files(store) == ["log", "test", "trial.json", "weights"]
    assert (store.read_test(KEY), store.read_weights(KEY)) == (TEST, b"weights")


def test_a_trial_that_has_diverged_keeps_no_checkpoint_and_no_other_file_that_nobody_reads(store):
    leave_orphans(store)
    taken = claim(store)
    taken.commit([epoch(1)], b"state 1")
    taken.commit([epoch(2)], b"state 2")
    taken.diverge("loss is nan in epoch 3")
    assert kinds_of_files(store) == ["log", "trial.json"]
    assert [e.epoch for e in store.read(KEY).epochs] == [1, 2]


def claim_in_vain(store, key):
    with pytest.raises(TrialBusy):
        claim(store)


@pytest.mark.parametrize("look", [TrialStore.sweep, claim_in_vain])
def test_what_a_worker_left_that_died_at_the_end_of_a_trial_goes_when_that_is_given_out_again(store, look):
    finish(store)
    leave_orphans(store)
    look(store, KEY)
    assert kinds_of_files(store) == ["log", "test", "trial.json", "weights"]
    assert store.read_weights(KEY) == b"weights"


@pytest.mark.parametrize("end", ["stop", "fail"])
def test_of_a_trial_that_may_be_trained_on_nothing_is_swept_away(store, end):
    taken = claim(store)
    taken.commit([epoch(1)], b"state 1")
    getattr(taken, end)("some reason")
    before = kinds_of_files(store)
    store.sweep(KEY)
    assert kinds_of_files(store) == before


@pytest.mark.parametrize("lost", [0, 1])
def test_a_lost_suggestion_is_told_with_what_to_do(store, lost):
    log = store.search_log("s")
    for index in range(3):
        log.record("if10/focal", index, {"omega": index / 4})
    folder = log._group("if10/focal")
    folder.delete(f"{lost:06d}.jsonl")
    with pytest.raises(Damaged, match=f"{lost:06d}.jsonl is missing") as caught:
        log.asked("if10/focal")
    assert f"delete {folder} to search anew" in caught.value.hint
