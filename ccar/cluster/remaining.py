"""The part of a study that is still to be trained."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

from ccar.cluster.events import accuracies_of
from ccar.store.records import TrialRecord
from ccar.store.trial_log import FINAL
from ccar.store.trial_store import TrialStore
from ccar.study.expansion import PlannedTrial
from ccar.study.search import TrialSource


class RemainingTrials:
    """A source without the trials that the store has: their results are told, and the next one is handed out.

    Attributes:
        num_done: of the trials that were known at the start, how many the store had then.
    """

    def __init__(self, source: TrialSource, store: TrialStore, *, stops_early: bool) -> None:
        """Look up what is done.

        Args:
            source: all trials of the study.
            store: says which of them have ended.
            stops_early: whether the study stops trials early. Then one that was stopped counts as done, and what
                another driver has ended meanwhile is handed out all the same, for the rule to hear of it.
        """
        self._source = source
        self._store = store
        self._stops_early = stops_early
        self._done = FINAL | ({"stopped"} if stops_early else set())
        self._ahead: deque[PlannedTrial] = deque()
        records = (store.read(key) for key in dict.fromkeys(trial.key for trial in source.known))
        self._had = {record.key: _reached(record) for record in records if record.status in self._done}
        self.num_done = sum(trial.key in self._had for trial in source.known)
        self._num_left_out = self.num_done  # of all trials, how many are not handed out
        self._look_ahead()

    @property
    def num_trials(self) -> int:
        return self._source.num_trials - self._num_left_out

    @property
    def known(self) -> tuple[PlannedTrial, ...]:
        return self._source.known

    @property
    def exhausted(self) -> bool:
        return not self._ahead and self._source.exhausted

    def next(self) -> PlannedTrial | None:
        trial = self._ahead.popleft() if self._ahead else None
        self._look_ahead()
        return trial

    def tell(self, trial: PlannedTrial, accuracies: Mapping[str, float] | None) -> None:
        self._source.tell(trial, accuracies)
        self._look_ahead()

    def _look_ahead(self) -> None:
        """Keep one trial in hand, so that `exhausted` is true as soon as nothing is left to train."""
        while not self._ahead and (trial := self._source.next()) is not None:
            if trial.key not in self._had:
                # Again: another driver may have been faster.
                record = None if self._stops_early else self._store.read(trial.key)
                if record is None or record.status not in self._done:
                    self._ahead.append(trial)
                    break
                self._had[trial.key] = _reached(record)
                self._num_left_out += 1
            self._source.tell(trial, self._had[trial.key])


def _reached(record: TrialRecord) -> Mapping[str, float] | None:
    return accuracies_of(record.epochs[-1]) if record.status == "finished" else None
