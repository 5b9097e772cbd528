"""What a store in a folder does when its disk fails, or the server of a network file system loses an answer."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from ccar.errors import Damaged, Fenced, StoreError
from ccar.store.disk_folder import DiskFolder
from ccar.store.key import digest_of_parts
from ccar.store.trial_store import TrialStore
from ccar.store.turn import taken_turn
from tests.store.examples import CLASS_COUNTS, CONFIG, NUM_EPOCHS, PARTS, TEST, WORKER, epoch

KEY = digest_of_parts(PARTS)
UNREADABLE = Path("/proc/self/mem")  # nothing is mapped at its beginning, and reading it is an I/O error


@pytest.fixture
def folder(tmp_path):
    """A folder with one file."""
    made = DiskFolder(tmp_path / "folder")
    made.create("a", b"content")
    return made


@pytest.fixture
def store(tmp_path):
    return TrialStore(tmp_path / "store")


@pytest.fixture
def links_sent_twice(monkeypatch):
    """As NFS does when no answer comes to the first one, which was made."""
    link = os.link

    def twice(*names):
        link(*names)
        link(*names)

    monkeypatch.setattr(os, "link", twice)


def claim(store):
    return store.claim(CONFIG, PARTS, class_counts=CLASS_COUNTS, worker=WORKER)


def make_unreadable(file):
    file.unlink()
    file.symlink_to(UNREADABLE)


def test_a_folder_that_is_deleted_while_names_are_read_hides_no_other_one(folder, monkeypatch):
    names = ["b", "c", "d"]
    for name in names:
        folder.folder(name).create(f"in {name}", b"")
    listdir = os.listdir

    def and_delete_the_next(path):
        found = listdir(path)
        if gone := [name for name in names if name != Path(path).name][:1]:
            folder.folder(*gone).clear()
            names.clear()
        return found

    monkeypatch.setattr(os, "listdir", and_delete_the_next)
    assert len(folder.names(depth=2)) == 2


@pytest.mark.usefixtures("links_sent_twice")
def test_a_file_whose_link_was_made_and_never_answered_is_ours(folder):
    assert folder.create("b", b"first")
    assert not folder.create("b", b"second")
    assert folder.read("b") == b"first"
    assert sorted(folder.names()) == ["a", "b"]


@pytest.mark.usefixtures("links_sent_twice")
def test_a_trial_whose_last_link_was_never_answered_has_finished_with_all_its_files(store):
    taken = claim(store)
    taken.commit([epoch(1)], b"state 1")
    taken.finish(TEST, b"weights", [epoch(number) for number in range(2, NUM_EPOCHS + 1)])
    assert store.read(KEY).status == "finished"
    assert store.read_test(KEY) == TEST
    assert store.read_weights(KEY) == b"weights"


@pytest.mark.parametrize("code", [errno.EIO, errno.ESTALE])
@pytest.mark.parametrize(
    ("function", "use", "verb"),
    [
        ("listdir", lambda folder: folder.names(), "read"),
        ("scandir", lambda folder: folder.names(depth=2), "read"),
        ("scandir", lambda folder: folder.versions(), "read"),
        ("stat", lambda folder: folder.exists("a"), "read"),
        ("stat", lambda folder: folder.touched_at("a"), "read"),
        ("open", lambda folder: folder.touch("b"), "write"),
        ("unlink", lambda folder: folder.delete("a"), "delete"),
        ("fsync", lambda folder: folder.create("b", b""), "write"),
        ("link", lambda folder: folder.create("b", b""), "write"),
        ("replace", lambda folder: folder.replace("a", b""), "write"),
        ("mkdir", lambda folder: folder.folder("b").create("c", b""), "write"),
    ],
)
def test_an_error_of_the_disk_is_one_of_the_store_that_says_what_could_not_be_done(
    folder, monkeypatch, function, use, verb, code
):
    def fails(*_arguments, **_options):
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        patch.setattr(os, function, fails)
        with pytest.raises(StoreError, match=f"cannot {verb} {folder}") as caught:
            use(folder)
    assert os.strerror(code) in str(caught.value)
    assert "mended" in caught.value.hint
    assert folder.read("a") == b"content"
    assert not [name for name in folder.names() if name.startswith(".")]


def test_a_file_that_cannot_be_read_is_told_with_its_name(folder):
    make_unreadable(folder.path / "a")
    with pytest.raises(StoreError, match=r"cannot read .*/a: Input/output error"):
        folder.read("a")


def test_a_file_in_the_place_of_a_folder_is_told(folder):
    for use in (folder.folder("a").names, folder.folder("a").versions, lambda: folder.folder("a").read("b")):
        with pytest.raises(StoreError, match=r"cannot read .*/a.*: Not a directory") as caught:
            use()
        assert "--store" in caught.value.hint


def test_a_temporary_file_that_cannot_be_removed_does_not_undo_the_commit(folder, monkeypatch):
    def fails(*_arguments, **_options):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", fails)
        assert folder.create("b", b"content")
    assert folder.read("b") == b"content"


def test_a_commit_of_which_only_the_last_fsync_failed_is_there_for_the_next_worker(store, monkeypatch):
    taken = claim(store)
    taken.commit([epoch(1)], b"state 1")
    fsync = os.fsync

    def fails_for_logs(descriptor):
        if Path(f"/proc/self/fd/{descriptor}").readlink().name == "log":
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        fsync(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fails_for_logs)
        with pytest.raises(StoreError, match="cannot write") as caught:
            taken.commit([epoch(2)], b"state 2")
    assert not isinstance(caught.value, Fenced)
    taken.abandon()
    heir = claim(store)
    assert [each.epoch for each in heir.epochs] == [1, 2]
    assert heir.checkpoint() == b"state 2"
    heir.finish(TEST, b"weights", [epoch(3), epoch(4)])
    assert store.read(KEY).status == "finished"


def test_of_a_checkpoint_that_cannot_be_read_the_one_before_is_used(store):
    first = claim(store)
    first.commit([epoch(1)], b"state 1")
    first.commit([epoch(2)], b"state 2")
    first.release()
    trial = store.root / "trials" / KEY[:2] / KEY
    make_unreadable(sorted(trial.glob("checkpoint-*"))[-1])
    second = claim(store)
    assert second.checkpoint() == b"state 1"
    second.finish(TEST, b"weights", [epoch(3), epoch(4)])
    assert "could not be read" in store.read(KEY).error
    assert not list(trial.glob("checkpoint-*"))


def test_when_no_checkpoint_can_be_read_just_now_the_trial_waits_and_does_not_begin_again(store):
    first = claim(store)
    first.commit([epoch(1)], b"state 1")
    first.commit([epoch(2)], b"state 2")
    first.release()
    trial = store.root / "trials" / KEY[:2] / KEY
    kept = [(file, file.read_bytes()) for file in trial.glob("checkpoint-*")]
    for file, _ in kept:
        make_unreadable(file)
    second = claim(store)
    with pytest.raises(StoreError, match=r"cannot read .*: Input/output error"):
        second.checkpoint()
    second.abandon()
    for file, content in kept:  # the disk is mended
        file.unlink()
        file.write_bytes(content)
    assert claim(store).checkpoint() == b"state 2"


def test_a_log_that_cannot_be_read_is_an_error_and_no_reason_to_begin_again(store):
    claim(store).fail("some reason")
    make_unreadable(sorted((store.root / "trials" / KEY[:2] / KEY / "log").iterdir())[-1])
    for use in (lambda: store.read(KEY), lambda: claim(store)):
        with pytest.raises(StoreError, match=r"cannot read .*\.jsonl: Input/output error"):
            use()


def test_what_cannot_be_deleted_undoes_no_commit_and_no_end(store, monkeypatch):
    def fails(*_arguments, **_options):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    taken = claim(store)
    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", fails)
        for number in (1, 2, 3):
            taken.commit([epoch(number)], b"state %d" % number)
        taken.finish(TEST, b"weights", [epoch(4)])
    assert store.read(KEY).status == "finished"
    assert store.read_test(KEY) == TEST
    trial = store.files.folder("trials", KEY[:2], KEY)
    assert any(name.startswith("checkpoint-") for name in trial.names())
    store.sweep(KEY)
    assert sorted(name.split("-")[0] for name in trial.names()) == ["log", "test", "trial.json", "weights"]


def test_a_worker_that_was_taken_over_hears_of_that_even_where_its_file_cannot_be_deleted(store, monkeypatch):
    def fails(*_arguments, **_options):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    zombie = claim(store)
    heir = store.claim(CONFIG, PARTS, class_counts=CLASS_COUNTS, worker=WORKER, even_if_busy=True)
    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", fails)
        with pytest.raises(Fenced):
            zombie.commit([epoch(1)], b"zombie")
    zombie.abandon()
    heir.release()


def test_a_damaged_turn_is_told_with_what_to_do(folder):
    with taken_turn(folder, 5):
        pass
    folder.replace("000000001.turn", b"{}")
    with pytest.raises(Damaged, match=r"000000001\.turn is damaged") as caught, taken_turn(folder, 5):
        pass
    assert caught.value.hint == "delete that file"
    folder.delete("000000001.turn")
    with taken_turn(folder, 5):
        pass


def test_what_others_leave_beside_the_turns_is_neither_a_turn_nor_cleared_away(folder):
    lock = folder.folder("lock")
    others = ["notes.turn", "000000007 (conflicted copy).turn", "000000000-.beat"]
    for name in others:
        lock.replace(name, b"")
    for _ in range(2):
        with taken_turn(lock, 5):
            pass
    assert sorted(lock.names()) == sorted([*others, "000000002.turn"])


def test_what_file_managers_and_synchronisers_leave_in_a_store_is_no_trial_and_no_record(store):
    taken = claim(store)
    taken.commit([epoch(1)], b"state 1")
    taken.release()
    trials = store.root / "trials"
    log = trials / KEY[:2] / KEY / "log"
    for folder in (trials / "@eaDir" / "something", log / "@eaDir"):
        folder.mkdir(parents=True)
    for file in (trials / ".DS_Store", trials / KEY[:2] / ".DS_Store", log / "000003 (conflicted copy).jsonl"):
        file.touch()
    assert store.keys() == [KEY]
    assert [(record.key, record.num_records) for record in store.all_records()] == [(KEY, 3)]
    heir = claim(store)
    assert [each.epoch for each in heir.epochs] == [1]
    heir.finish(TEST, b"weights", [epoch(number) for number in range(2, NUM_EPOCHS + 1)])
    assert store.read(KEY).status == "finished"
