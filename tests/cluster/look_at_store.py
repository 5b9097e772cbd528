"""What a store holds, seen from a host of its own:

python -m tests.cluster.look_at_store STORE
"""

from __future__ import annotations

import json
import sys
from contextlib import suppress

from ccar.store.trial_store import TrialStore


def look(address):
    """By the key of each trial: whose claims it has, which epochs are committed, how it stands, and its results."""
    store = TrialStore(address)
    keys = store.keys()
    return {key: _trial(store, key) for key in keys}


def _trial(store, key):
    log = store.files.folder("trials", key[:2], key, "log")
    records = []
    for name in sorted(log.names()):
        with suppress(FileNotFoundError):  # a commit, of a trial that has ended just now
            records.append(json.loads(log.read(name).splitlines()[0]))
    trial = store.read(key)
    results = [(epoch.epoch, epoch.train_loss, epoch.learning_rate, epoch.validation) for epoch in trial.epochs]
    return {
        "claims": [record["worker"]["machine"] for record in records if record["type"] == "claim"],
        "committed": [epoch.epoch for epoch in trial.epochs],
        "status": trial.status,
        "results": repr((results, store.read_test(key))),
    }


if __name__ == "__main__":
    print(json.dumps(look(sys.argv[1])))
