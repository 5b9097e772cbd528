"""Kill a worker at its n-th change of the store, for every n, and look at what the next worker finds.

Run as a script by test_trial_store.py, in a process without threads, since it forks; so whatever speaks with a server
does so in a child. Prints the number of moments tried and the number of files left behind that nobody needs once the
trial has finished.
"""

from __future__ import annotations

import itertools
import os
import signal
import sys

from ccar.store.disk_folder import DiskFolder
from ccar.store.key import digest_of_parts
from ccar.store.seal import unseal
from ccar.store.trial_store import TrialStore
from tests.store.examples import CLASS_COUNTS, CONFIG, NUM_EPOCHS, PARTS, TEST, WORKER, epoch

KEY = digest_of_parts(PARTS)


def train(store: TrialStore) -> None:
    """What a worker does with a trial, from its last commit to its end."""
    claim = store.claim(CONFIG, PARTS, class_counts=CLASS_COUNTS, worker=WORKER)
    done = len(claim.epochs)
    expected = b"state %d" % done if done else None
    assert claim.checkpoint() == expected, "epochs and state were committed together"
    for number in range(done + 1, NUM_EPOCHS + 1):
        claim.commit([epoch(number)], b"state %d" % number)
    claim.finish(TEST, b"weights")


def killed_at(moment: int, store: TrialStore) -> bool:
    """Train in a child that kills itself before its `moment`-th change; False when it got through."""
    child = os.fork()
    if child == 0:
        changes = itertools.count()

        def killing(change):
            def wrapper(*arguments, **options):
                if next(changes) == moment:
                    os.kill(os.getpid(), signal.SIGKILL)
                return change(*arguments, **options)

            return wrapper

        for module, name in changes_of(store):
            setattr(module, name, killing(getattr(module, name)))
        train(store)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return True
    assert os.WEXITSTATUS(status) == 0
    return False


def changes_of(store: TrialStore):
    """The functions by which a store is changed, with the modules that have them."""
    if isinstance(store.files, DiskFolder):
        return [(os, name) for name in ("fsync", "link", "unlink", "replace")]
    import obstore

    return [(obstore, name) for name in ("put", "delete")]


def orphans_after_the_next_worker(store: TrialStore) -> int:
    """Finish the trial, unless it is, and look at what came of it; the number of files too many that are left."""
    before = store.read(KEY)
    assert [e.epoch for e in before.epochs] == list(range(1, len(before.epochs) + 1))
    if before.status != "finished":
        assert store.read_test(KEY) is None
        train(store)
    else:
        store.sweep(KEY)  # as the worker does that it is given to
    after = store.read(KEY)
    assert after.status == "finished"
    assert [e.epoch for e in after.epochs] == list(range(1, NUM_EPOCHS + 1))
    assert [e.train_loss for e in after.epochs] == [epoch(n).train_loss for n in range(1, NUM_EPOCHS + 1)]
    assert store.read_test(KEY) == TEST
    folder = store.files.folder("trials", KEY[:2], KEY)
    kinds = {name.split("-")[0] for name in folder.names()}
    assert kinds == {"trial.json", "log", "test", "weights"}, kinds
    log = folder.folder("log")
    types = [unseal(log, name)["type"] for name in log.names() if not name.startswith(".")]
    assert set(types) == {"claim", "finished"}, types  # at most two workers have claimed it
    assert store.num_records(KEY) == NUM_EPOCHS + len(types), "commits keep their numbers when they are gone"
    return len(folder.names()) - len(kinds) + len(log.names()) - len(types)


def in_a_child(work) -> int:
    """The small number that comes of some work."""
    child = os.fork()
    if child == 0:
        os._exit(work())  # 1 after an error, which is printed
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def main(address: str) -> None:
    orphans = 0
    for moment in itertools.count():
        store = TrialStore(f"{address}/{moment}")
        killed = killed_at(moment, store)
        orphans += in_a_child(lambda store=store: orphans_after_the_next_worker(store))
        if not killed:
            print(moment, orphans)
            return


if __name__ == "__main__":
    main(sys.argv[1])
