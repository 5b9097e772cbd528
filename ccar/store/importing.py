"""Into a store with trials that were trained elsewhere: each by a claim of its own, as if it were trained here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ccar.errors import TrialBusy
from ccar.store.trial_file import TrainedTrial
from ccar.store.trial_log import FINAL
from ccar.store.trial_store import TrialStore


@dataclass(frozen=True, slots=True)
class Import:
    """What became of the trials of a file."""

    imported: int
    already_there: int
    in_the_way: tuple[str, ...]  # of each trial that the store has begun: what it has instead


def import_trials(store: TrialStore, trials: Sequence[TrainedTrial]) -> Import:
    """Put into the store what it does not have; what it has stays as it is.

    A trial that the store has begun is left alone: its first epochs would be of one device, its last ones of another.

    A store that is not there yet becomes its owner's alone.

    Args:
        store: to put them into.
        trials: from `read_trials`, which has checked them.

    Raises:
        StoreError: the store cannot be read or written. The same import goes on from there.
    """
    imported = already_there = 0
    in_the_way = []
    for trial in trials:
        record = store.read(trial.key)
        if record.status in FINAL:
            already_there += 1
        elif record.epochs:
            in_the_way.append(f"trial {trial.key[:12]} is {record.status} here after {len(record.epochs)} epochs")
        else:
            try:
                _put(store, trial)
                imported += 1
            except TrialBusy as error:
                in_the_way.append(str(error))
    return Import(imported, already_there, tuple(in_the_way))


def _put(store: TrialStore, trial: TrainedTrial) -> None:
    store.make_private()
    claim = store.claim(trial.config, trial.parts, class_counts=trial.class_counts, worker=trial.worker)
    if trial.test is not None:
        claim.finish(trial.test, None, trial.epochs)
    else:
        claim.diverge(trial.error or "its loss was no longer finite", trial.epochs)
