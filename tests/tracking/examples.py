"""Studies in a real store, without training, and a look into MLflow's tables that does not use MLflow."""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from contextlib import closing

from ccar.store.key import digest_of_parts, key_parts
from ccar.store.records import StudyRecord, StudyTrial
from ccar.store.trial_store import TrialStore
from ccar.training.config import Reweighting
from tests.store.examples import CONFIG, NUM_EPOCHS, TEST, WORKER, epoch

CELL = "if10/cross_entropy"
POINTS_PER_EPOCH = 10  # four of training, six of validation: the example has no class with many images
POINTS_OF_TEST = 12  # six for the last epoch, six for the best
ALL_POINTS = NUM_EPOCHS * POINTS_PER_EPOCH + POINTS_OF_TEST


def config_of(seed):
    """The example's configuration with this seed, and with something nested to show."""
    return CONFIG.model_copy(update={"seed": seed, "reweighting": Reweighting(omega=0.75)})


def key_of(seed):
    return digest_of_parts(key_parts(config_of(seed), "ab" * 32))


def claim(store, seed):
    config = config_of(seed)
    return store.claim(config, key_parts(config, "ab" * 32), class_counts=(20, 2), worker=WORKER)


def train(store, seed, *, epochs=NUM_EPOCHS, end="finished"):
    """Leave a trial in the store as training would: `epochs` in all, then one way to end, or none."""
    taken = claim(store, seed)
    for number in range(len(taken.epochs) + 1, epochs + 1):
        taken.commit([epoch(number)], b"state")
    if end == "finished":
        taken.finish(TEST, b"weights")
    elif end == "unfinished":
        taken.release()
    else:
        {"failed": taken.fail, "diverged": taken.diverge, "stopped": taken.stop}[end]("what happened")


def put_study(store, name="study", seeds=(0, 1, 2), *, cell=CELL):
    """Submit a study of one cell."""
    trials = tuple(StudyTrial(cell=cell, method="cross_entropy", seed=seed, key=key_of(seed)) for seed in seeds)
    record = StudyRecord(name=name, definition=f"name: {name}\n", trials=trials, submitted_at=900.0)
    store.put_study(record)
    return record


def finished_study(root, name="study", seeds=(0, 1, 2)):
    """A store with one study whose trials have all finished."""
    store = TrialStore(root)
    put_study(store, name, seeds)
    for seed in seeds:
        train(store, seed)
    return store


def points_in(database):
    """Every point of every run that is not deleted, by (study, trial key); one list a run."""
    runs = _query(
        database,
        "select r.run_uuid, s.value, k.value from runs r "
        "join tags s on s.run_uuid = r.run_uuid and s.key = 'ccar.study' "
        "join tags k on k.run_uuid = r.run_uuid and k.key = 'ccar.trial_key' "
        "where r.lifecycle_stage = 'active'",
    )
    points = defaultdict(list)
    for run, study, key in runs:
        found = _query(
            database,
            "select key, step, timestamp, value from metrics where run_uuid = ? order by 1, 2, 3, 4",
            run,
        )
        points[study, key].append(found)
    return dict(points)


def num_points_in(database):
    """How many points each run has: `{(study, key): [number]}`, with more numbers if a run is doubled."""
    return {trial: [len(run) for run in runs] for trial, runs in points_in(database).items()}


def num_runs_in(database):
    return _query(database, "select count(*) from runs where lifecycle_stage = 'active'")[0][0]


def _query(database, sql, *values):
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        return connection.execute(sql, values).fetchall()
