"""What explains the accuracies of a study, found when somebody asks and remembered until more trials have finished."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from ccar.evidence.importance import Importance, importance

AGAIN_SECONDS = 30.0  # at least, until it is found again: it takes seconds, and trials may end all the time


@dataclass(frozen=True, slots=True)
class _Known:
    """Of which finished trials it was found, and when on the monotonic clock."""

    finished: Sequence[str]
    found_at: float
    importance: Importance | None


class Importances:
    """One for each setting that was asked for."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], _Known] = {}
        self._locks: dict[tuple[str, str], threading.Lock] = {}

    def of(self, study: str, setting: str, trials: pd.DataFrame) -> Importance | None:
        """As `importance`, of the trials of this setting of this study."""
        place = study, setting
        finished = list(trials.loc[trials["status"] == "finished", "key"])  # a key gives one result
        with self._locks.setdefault(place, threading.Lock()):  # who asks at the same time waits for it
            known = self._known.get(place)
            if known is None or (known.finished != finished and time.monotonic() - known.found_at >= AGAIN_SECONDS):
                found = importance(trials)
                known = self._known[place] = _Known(finished, time.monotonic(), found)
        return known.importance
