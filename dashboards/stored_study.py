"""One study as the store has it: its frames, brought up to date by reading only what has changed."""

from __future__ import annotations

import time
from collections.abc import Set
from dataclasses import dataclass

import pandas as pd

from ccar.errors import StoreError, StudyFileError
from ccar.evidence.frames import ValidationFrame, cost_frame, family_labels, validation_frame
from ccar.evidence.reliability import reliability_frame
from ccar.evidence.test_results import test_frame
from ccar.reports.report_input import ReportInput
from ccar.store.records import StudyRecord, TrialRecord
from ccar.store.trial_log import FINAL
from ccar.store.trial_store import TrialStore
from ccar.study.definition import Study, study_of_text
from ccar.study.expansion import PlannedTrial
from ccar.study.stored import num_to_suggest, stored_trials

RETRY_SECONDS = 30.0  # until what could not be read is read again: a server or a disk may have been away
_BATCH = 200  # trials turned into rows at a time


@dataclass(frozen=True, kw_only=True)
class StudyState:
    """A study as it was at one moment.

    Attributes:
        record: what the store remembers of it.
        study: its definition; None where that cannot be used here.
        trials: by name, in the order of the study.
        num_to_suggest: trials that its searcher has yet to suggest, as far as the study tells.
        validation: a row for each trial that was looked at, in that order.
        costs: the same trials.
        running: the keys of those that somebody works on.
        speeds: images per second of each of these in its last epoch.
        num_read: trials that were looked at; fewer than all of them until a large store was read once.
        problems: what could not be read, in words.
    """

    record: StudyRecord
    study: Study | None
    trials: dict[str, PlannedTrial]
    num_to_suggest: int
    validation: ValidationFrame
    costs: pd.DataFrame
    running: frozenset[str]
    speeds: dict[str, float]
    num_read: int
    problems: tuple[str, ...]

    @property
    def name(self) -> str:
        """The name of the study."""
        return self.record.name

    @property
    def num_trials(self) -> int:
        """Trials at the end of the study."""
        return len(self.trials) + self.num_to_suggest

    @property
    def is_whole(self) -> bool:
        """Whether every trial was looked at."""
        return self.num_read == len(self.trials)


class StoredStudy:
    """Reads one study. `remember` and `refresh` are called by one thread, `report_input` by another one."""

    def __init__(self, store: TrialStore, record: StudyRecord) -> None:
        self._store = store
        self._trials: dict[str, PlannedTrial] = {}  # by name, in the order of the study
        self._named: dict[str, list[str]] = {}  # the names under each key: two cells may be one training
        self._validation: pd.DataFrame = validation_frame((), {})  # by name, as are the costs
        self._costs = cost_frame((), {})
        self._lengths: dict[str, int] = {}  # of the logs of the trials, as they were read
        self._final: dict[str, str] = {}  # the versions of the logs of those that have ended for good
        self._distrusted: set[str] = set()  # of these, those to be looked at once more
        self._claimed: dict[str, TrialRecord] = {}  # those that somebody works on, or has left without a word
        self._running: dict[str, TrialRecord] = {}
        self._unreadable: dict[str, str] = {}  # keys, and why
        self._tried_at: dict[str, float] = {}  # when these were read, on the monotonic clock
        self._has_news = False
        self._class_counts: dict[float | str, tuple[int, ...]] = {}
        self._tests = test_frame({})
        self._reliability = reliability_frame({})
        self._tested: dict[str, str | None] = {}  # versions of the logs whose test results these are
        self.remember(record)

    def remember(self, record: StudyRecord) -> None:
        """Take up what the store says of the study now; what was read of its trials stays."""
        self._record = record
        self._study, self._problem = _definition(record)
        former = {name: trial.key for name, trial in self._trials.items()}
        planned = stored_trials(self._study, record.trials) if self._study else ()
        self._trials = {trial.name: trial for trial in planned}
        self._num_to_suggest = num_to_suggest(self._study, record.trials) if self._study else 0
        self._labels = family_labels(planned)
        self._named = {}
        for name, trial in self._trials.items():
            self._named.setdefault(trial.key, []).append(name)
            if former.get(name) != trial.key:
                self._lengths.pop(trial.key, None)
        # Whoever trains or holds what the study has no more goes on, and is nothing of its.
        self._lengths = {key: length for key, length in self._lengths.items() if key in self._named}
        self._claimed = {key: record for key, record in self._claimed.items() if key in self._lengths}
        self._running = {key: record for key, record in self._running.items() if key in self._claimed}
        self._unreadable = {key: problem for key, problem in self._unreadable.items() if key in self._lengths}
        self.state = self._snapshot()

    def distrust(self) -> None:
        """Look once more at what had ended: while nobody looked it may have been deleted, and begun anew."""
        self._distrusted = set(self._final)

    def refresh(self, begun: Set[str], seconds: float) -> bool:
        """Read what the store has got since.

        Args:
            begun: the keys of all trials in the store.
            seconds: stop after about this long; the next call goes on from there.

        Returns:
            Whether there is a new `state`.
        """
        deadline = time.monotonic() + seconds
        changed: dict[str, int] = {}
        for key in self._named:
            if key in begun and key in self._lengths and self._is_as_it_ended(key, deadline):
                continue
            length = self._store.num_records(key) if key in begun else 0
            if key not in self._final and self._lengths.get(key) == length and not self._is_to_be_retried(key):
                continue
            changed[key] = length
            if len(changed) == _BATCH:
                self._read(changed)
                changed = {}
                if time.monotonic() > deadline:
                    break
        if changed:
            self._read(changed)
        running = {key: record for key, record in self._claimed.items() if self._goes_on(record)}
        # Kept from a look that was broken off, whose news nobody has seen.
        self._has_news = self._has_news or running.keys() != self._running.keys()
        self._running = running
        if not self._has_news:
            return False
        self.state, self._has_news = self._snapshot(), False
        return True

    def report_input(self, state: StudyState) -> ReportInput:
        """What the numbers of the study's report are made of; reads the test results that are new."""
        assert state.study is not None
        finished = set(state.validation.loc[state.validation["status"] == "finished", "key"])
        versions = {key: self._final.get(key) for key in finished}
        new = [key for key, version in versions.items() if key not in self._tested or self._tested[key] != version]
        self._tests = self._tests[~self._tests["key"].isin(new)]
        self._reliability = self._reliability[~self._reliability["key"].isin(new)]
        for start in range(0, len(new), _BATCH):
            found = {key: self._store.read_test(key) for key in new[start : start + _BATCH]}
            self._tested |= {key: versions[key] for key, test in found.items() if test is not None}
            self._tests = pd.concat([self._tests, test_frame(found)], ignore_index=True)
            self._reliability = pd.concat([self._reliability, reliability_frame(found)], ignore_index=True)
        return ReportInput(
            study=state.record.name,
            question=state.study.question,
            baseline=state.study.baseline,
            validation=state.validation,
            tests=self._tests[self._tests["key"].isin(finished)],
            reliability=self._reliability[self._reliability["key"].isin(finished)],
            costs=state.costs,
            study_file=state.record.definition,
            configurations={},  # for files that no page shows
            entries={},
            submitted_at=state.record.submitted_at,
            class_counts=self._class_counts.copy(),
        )

    def _is_as_it_ended(self, key: str, deadline: float) -> bool:
        """Whether it has ended for good, and was not begun anew since, as far as there is time to look."""
        is_doubted = key in self._distrusted and time.monotonic() <= deadline
        if is_doubted and self._store.log_version(key) == self._final[key]:  # not by its length, which may be the same
            self._distrusted.discard(key)
            is_doubted = False
        return key in self._final and not is_doubted

    def _goes_on(self, record: TrialRecord) -> bool:
        """Whether somebody works on it, or has just left it in an order that is yet to be read."""
        if self._store.is_being_trained(record):
            return True
        return self._store.num_records(record.key) != self._lengths[record.key]

    def _is_to_be_retried(self, key: str) -> bool:
        return key in self._unreadable and time.monotonic() - self._tried_at[key] >= RETRY_SECONDS

    def _read(self, lengths: dict[str, int]) -> None:
        """Turn these trials into rows. Nothing is noted before all were read: whatever is raised, they are again."""
        records: dict[str, TrialRecord] = {}
        final: dict[str, str] = {}
        unreadable: dict[str, str] = {}
        for key in [key for key, length in lengths.items() if length]:
            try:
                version = self._store.log_version(key)
                records[key] = self._store.read(key)
                if records[key].status in FINAL:
                    final[key] = version
            except (StoreError, OSError) as error:  # also of one that is being deleted: the next look finds it gone
                unreadable[key] = str(error)
        as_before = {key for key, problem in unreadable.items() if self._unreadable.get(key) == problem}
        names = [name for key in lengths if key not in as_before for name in self._named[key]]
        trials = [self._trials[name] for name in names]
        self._validation = _with_rows(self._validation, validation_frame(trials, records), names)
        self._costs = _with_rows(self._costs, cost_frame(trials, records), names)
        for key, record in records.items():
            factor = self._trials[self._named[key][0]].config.data.imbalance_factor
            self._class_counts.setdefault(factor, record.class_counts)
        self._final = {key: version for key, version in self._final.items() if key not in lengths} | final
        self._distrusted -= lengths.keys()
        claimed = {key: record for key, record in records.items() if record.claim and record.status not in FINAL}
        self._claimed = {key: record for key, record in self._claimed.items() if key not in lengths} | claimed
        self._unreadable = {key: why for key, why in self._unreadable.items() if key not in lengths} | unreadable
        self._tried_at |= dict.fromkeys(unreadable, time.monotonic())
        self._lengths |= lengths
        self._has_news = self._has_news or bool(names)

    def _snapshot(self) -> StudyState:
        read = [name for name, trial in self._trials.items() if trial.key in self._lengths]
        validation = self._validation.reindex(read).reset_index(drop=True)
        # By all trials of the study: rows are made of a few at a time, and the plain loss may come after its omegas.
        families = [self._labels.get(training, training) for training in validation["training"]]
        validation["family"] = pd.Series(families, dtype="str")
        return StudyState(
            record=self._record,
            study=self._study,
            trials=self._trials,
            num_to_suggest=self._num_to_suggest,
            validation=ValidationFrame(validation),
            costs=self._costs.reindex(read).reset_index(drop=True),
            running=frozenset(self._running),
            speeds={
                key: record.epochs[-1].images_per_second or 0.0
                for key, record in self._running.items()
                if record.epochs
            },
            num_read=len(read),
            problems=tuple(problem for problem in (self._problem, *self._unreadable.values()) if problem),
        )


def _definition(record: StudyRecord) -> tuple[Study | None, str]:
    try:
        return study_of_text(record.definition, f"{record.name}.yaml"), ""
    except StudyFileError as error:
        return None, f"The study file cannot be used here: {error}"


def _with_rows(frame: pd.DataFrame, new: pd.DataFrame, names: list[str]) -> pd.DataFrame:
    """`frame` with the rows of these names taken from `new`."""
    kept = frame[~frame.index.isin(names)]
    return pd.concat([kept, new.set_axis(names)]) if len(kept) else new.set_axis(names)
