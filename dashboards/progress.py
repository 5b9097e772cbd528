"""How far a study is: the state of every trial and cell, its pace, and what is left. Pure functions of its frames."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import pandas as pd

from ccar.evidence.frames import rows_of
from ccar.reports.results import setting_label
from ccar.reports.variants import variants
from ccar.store.records import TrialRecord
from dashboards.stored_study import StudyState

State = Literal["failed", "running", "interrupted", "waiting", "diverged", "stopped", "finished"]
STATES: tuple[State, ...] = get_args(State)  # the one that a cell with several of them shows, first
MEANING: Mapping[State, str] = {
    "failed": "its code raised an error; the next run tries it again",
    "running": "somebody works on it",
    "interrupted": "begun and left; the next run goes on from its last epoch",
    "waiting": "not begun",
    "diverged": "a loss or a weight of it was no longer finite",
    "stopped": "ended early by the study's rule",
    "finished": "trained to its end and tested",
}
TO_GO: frozenset[State] = frozenset({"failed", "running", "interrupted", "waiting"})
_WORDS = {"absent": "waiting", "unfinished": "interrupted"}  # for what the store calls it; the rest are its words
_RECENT_SECONDS = 600.0
PLAIN = "plain"


def trial_states(state: StudyState) -> pd.Series[str]:
    """The state of each trial, on the index of `state.validation`."""
    status = state.validation["status"]
    words = status.map(_WORDS).fillna(status)
    return words.mask(state.validation["key"].isin(state.running), "running").astype("str")


def num_done(counts: Mapping[State, int] | Mapping[str, int]) -> int:
    """How many need no more work, of so many in each state."""
    return sum(number for state, number in counts.items() if state not in TO_GO)


def trial_state(record: TrialRecord, state: StudyState) -> str:
    """The same of one trial, whose record may be newer than `state`."""
    return "running" if record.key in state.running else _WORDS.get(record.status, record.status)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How fast a study goes on. Times in seconds; None: cannot be told."""

    trials_per_hour: float | None
    images_per_second: float  # of what runs now, added up
    seconds_left: float | None


def pace(state: StudyState, states: pd.Series[str], now: float | None = None) -> Pace:
    """By what ended in the last ten minutes, or by what a trial takes on average and how many run at once.

    The latter before two have ended, and where one takes longer than these minutes: then they end in waves.
    """
    moment = time.time() if now is None else now
    costs = state.costs
    open_trials = states.isin(list(TO_GO))
    ended = costs["ended_at"].where(~open_trials)
    recent = ended[ended > moment - _RECENT_SECONDS]
    to_go = int(open_trials.sum()) + state.num_trials - state.num_read
    usual = float(costs["seconds"][states.isin(["finished", "stopped"])].mean())  # NaN before the first
    rate = None
    if state.running and len(recent) > 1 and not usual > _RECENT_SECONDS:
        begun = max(moment - _RECENT_SECONDS, float(costs.loc[recent.index, "started_at"].min()))
        rate = len(recent) / max(moment - begun, 1e-3)
    elif state.running and usual > 0:
        rate = len(state.running) / usual
    return Pace(
        trials_per_hour=None if rate is None else 3600 * rate,
        images_per_second=sum(state.speeds.values()),
        seconds_left=0.0 if not to_go else None if rate is None else to_go / rate,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class CellProgress:
    """One cell of the matrix: how many of its seeds are in which state."""

    cell: str
    counts: Mapping[State, int]

    @property
    def state(self) -> State:
        """The one that asks for most attention."""
        return next(state for state in STATES if self.counts.get(state))

    @property
    def done(self) -> int:
        """Seeds that need no more work."""
        return num_done(self.counts)

    @property
    def planned(self) -> int:
        """All seeds."""
        return sum(self.counts.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Matrix:
    """The cells of one imbalance factor: base losses by omega. A place may hold several cells."""

    setting: str
    columns: tuple[str, ...]
    rows: Mapping[str, Mapping[str, tuple[CellProgress, ...]]]  # by base loss and switches, then by column


def matrices(state: StudyState, states: pd.Series[str], *, base: str) -> list[Matrix]:
    """One for each imbalance factor, of all base losses or of one family."""
    trials = state.validation.assign(state=states)
    if base:
        trials = trials[trials["family"] == base]
    counts: dict[str, Counter[State]] = {}
    for cell, trial_state in zip(trials["cell"], trials["state"], strict=True):
        counts.setdefault(cell, Counter())[trial_state] += 1
    cells = trials.drop_duplicates("cell")
    switches, labels = variants(cells[cells["omega"].notna()])
    made: dict[str, tuple[dict[str, float], dict[str, dict[str, list[CellProgress]]]]] = {}
    for index, cell in zip(cells.index, rows_of(cells), strict=True):
        columns, rows = made.setdefault(setting_label(cell.imbalance_factor), ({}, {}))
        plain = math.isnan(cell.omega)
        column = PLAIN if plain else f"{cell.omega:g}"
        columns[column] = -1.0 if plain else cell.omega
        row = rows.setdefault(cell.family if plain or not switches else f"{cell.family}: {labels[index]}", {})
        row.setdefault(column, []).append(CellProgress(cell=cell.cell, counts=counts[cell.cell]))
    return [
        Matrix(
            setting=setting,
            columns=tuple(sorted(columns, key=lambda name: columns[name])),
            rows={name: {column: tuple(cells) for column, cells in row.items()} for name, row in rows.items()},
        )
        for setting, (columns, rows) in made.items()
    ]
