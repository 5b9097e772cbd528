"""What explains the accuracies of a study, found when somebody asks and remembered until more trials have finished."""

from __future__ import annotations

import threading

import pandas as pd

from ccar.evidence.importance import Importance, importance


class Importances:
    """One for each setting that was asked for."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], tuple[tuple[str, ...], Importance | None]] = {}
        self._lock = threading.Lock()  # who asks at the same time waits instead of computing it too

    def of(self, study: str, setting: str, trials: pd.DataFrame) -> Importance | None:
        """As `importance`, of the trials of this setting of this study."""
        finished = tuple(trials.loc[trials["status"] == "finished", "key"])  # a key gives one result
        with self._lock:
            known = self._known.get((study, setting))
            if known is None or known[0] != finished:
                known = self._known[study, setting] = finished, importance(trials)
        return known[1]
