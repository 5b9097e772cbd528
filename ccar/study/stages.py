"""Two-stage trials wait for their stage one."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING

from ccar.study.expansion import PlannedTrial

if TYPE_CHECKING:
    from ccar.study.search import TrialSource


class InStages:
    """A source that holds a trial back until the trial that it starts from has ended, however it ended.

    What a trial does whose stage one reached no end is not decided here: the worker says so and fails it.
    """

    def __init__(self, source: TrialSource) -> None:
        self._source = source
        self._waiting: deque[PlannedTrial] = deque()
        self._not_ended = {trial.key for trial in source.known}

    @property
    def num_trials(self) -> int:
        return self._source.num_trials

    @property
    def known(self) -> tuple[PlannedTrial, ...]:
        return self._source.known

    @property
    def exhausted(self) -> bool:
        return not self._waiting and self._source.exhausted

    def next(self) -> PlannedTrial | None:
        for trial in self._waiting:
            if self._is_ready(trial):
                self._waiting.remove(trial)
                return trial
        while (trial := self._source.next()) is not None:  # type: ignore[assignment]  # it may be None here
            if self._is_ready(trial):
                return trial
            self._waiting.append(trial)
        return None

    def tell(self, trial: PlannedTrial, accuracies: Mapping[str, float] | None) -> None:
        self._not_ended.discard(trial.key)
        self._source.tell(trial, accuracies)

    def _is_ready(self, trial: PlannedTrial) -> bool:
        return trial.stage_one_key not in self._not_ended
