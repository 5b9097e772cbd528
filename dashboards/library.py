"""All studies of a store, kept up to date by one thread, however many people look."""

from __future__ import annotations

import logging
import math
import secrets
import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYet
from dataclasses import dataclass
from typing import Any

from ccar.errors import StoreError
from ccar.reports.results import Results, summarise
from ccar.store.trial_store import TrialStore
from dashboards.stored_study import RETRY_SECONDS, StoredStudy, StudyState

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.6  # between two looks at the store
READ_SECONDS = 0.5  # of reading, before what was read is shown
ASLEEP_AFTER_SECONDS = 30.0  # without a request nobody looks
WAIT_SECONDS = 1.0  # for the sums of a study; after that the page says that they are under way
REST = 4.0  # times as long as summing up a study took, until that is done again: a fifth of a processor
MOST_REST_SECONDS = 30.0
_POLL_SECONDS = 0.1
AWAKE_SECONDS = 2.0  # to wait at most for a look after nobody has looked for long


@dataclass(slots=True)
class _Sums:
    """The summing up of one study, under way or done."""

    state: StudyState
    future: Future[Results | None]
    begun_at: float  # on the monotonic clock
    rests_until: float = math.inf
    is_wanted: bool = False  # whether somebody was given these though there may be better ones


class Library:
    """What the pages read. `version` grows with everything that a page might show differently."""

    def __init__(self, store: TrialStore) -> None:
        self.store = store
        self.version = 0
        self.has_looked = False  # once: until then nothing is known, not even that the store is empty
        self.problem = ""  # why the store cannot be read
        self.unreadable: dict[str, str] = {}  # studies, and why
        self.unsummed: dict[str, str] = {}  # studies whose numbers cannot be summed up, and why
        self.waiting: dict[str, str] = {}  # studies that wait on a cluster, and why, as their drivers say
        self._born = secrets.token_hex(8)
        self._versions: dict[str, str] = {}
        self._tried_at: dict[str, float] = {}  # when the unreadable ones were read, on the monotonic clock
        self._studies: dict[str, StoredStudy] = {}
        self._sums: dict[str, _Sums] = {}
        self._done: dict[str, Results] = {}
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="ccar-sums")
        self._lock = threading.Lock()
        self._counting = threading.Lock()
        self._has_looked_again = threading.Event()
        self._asked_at = time.monotonic()
        self._has_slept = False  # since the store was looked at
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look, name="ccar-look", daemon=True)

    def start(self) -> None:
        """Begin to look at the store, for as long as somebody asks."""
        self._thread.start()

    def close(self) -> None:
        """Look no more."""
        self._stop.set()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def is_asked(self) -> None:
        """Somebody is looking at a page."""
        self._has_slept = self._has_slept or not self._is_awake
        self._asked_at = time.monotonic()

    def wake_up(self) -> None:
        """Somebody wants what is in the store now: if nobody has looked for long, wait for a look."""
        was_asleep = not self._is_awake
        self._has_looked_again.clear()
        self.is_asked()
        if was_asleep:
            self._has_looked_again.wait(AWAKE_SECONDS)

    @property
    def _is_awake(self) -> bool:
        return time.monotonic() - self._asked_at < ASLEEP_AFTER_SECONDS

    def touch(self) -> None:
        """Something has changed that pages show; call it after the change, since pages are kept by `edition`."""
        with self._counting:
            self.version += 1

    @property
    def edition(self) -> str:
        """The version, told from those of a server that was here before."""
        return f"{self._born} {self.version}"

    @property
    def states(self) -> list[StudyState]:
        """All studies, by name."""
        return [stored.state for _, stored in sorted(self._studies.copy().items())]

    def state(self, name: str) -> StudyState | None:
        """The study of this name; None: the store has none."""
        found = self._studies.get(name)
        return None if found is None else found.state

    def results(self, name: str, seconds: float = WAIT_SECONDS) -> Results | None:
        """The numbers of the study's report; None while they are summed up for the first time, or cannot be.

        Those of a moment ago where summing up newer ones takes longer than so many seconds.
        """
        stored = self._studies.get(name)
        if stored is None or stored.state.study is None or not stored.state.is_whole:
            return None
        with self._lock:
            sums = self._sums.get(name)
            if sums is None or self._may_replace(sums, stored.state):
                sums = self._begin_sums(stored)
            sums.is_wanted = self._are_stale(sums, stored.state)
        try:
            return sums.future.result(seconds)
        except NotYet:
            return self._done.get(name)

    def results_of_now(self, name: str, seconds: float) -> Results | None:
        """Of all that is known of the study when it is called; None where there is more to read, or it takes longer."""
        asked_at, asked = time.monotonic(), self.state(name)
        while True:
            self.results(name)
            sums = self._sums.get(name)
            if sums is None or (sums.future.done() and name in self.unsummed):
                return None
            if sums.future.done() and (sums.state is asked or sums.begun_at >= asked_at):
                return sums.future.result()
            if time.monotonic() - asked_at >= seconds:
                return None
            time.sleep(_POLL_SECONDS)

    def is_behind(self, name: str) -> bool:
        """Whether the numbers that `results` gave last are to be followed by newer ones."""
        sums, stored = self._sums.get(name), self._studies.get(name)
        return sums is not None and stored is not None and (sums.state is not stored.state or not sums.future.done())

    def refresh(self) -> None:
        """Look at the store once."""
        versions = self.store.study_versions()
        begun = frozenset(self.store.keys())
        for name in self._versions.keys() - versions.keys():
            self._forget(name)
            self.touch()
        for name, version in versions.items():
            if self._versions.get(name) != version or self._is_to_be_retried(name):
                self._open(name, version)
        has_slept, self._has_slept = self._has_slept, False
        for stored in list(self._studies.values()):
            if has_slept:
                stored.distrust()
            if stored.refresh(begun, READ_SECONDS):
                self.touch()
        with self._lock:
            for name, sums in list(self._sums.items()):
                study = self._studies.get(name)
                if study is not None and sums.is_wanted and self._may_replace(sums, study.state):
                    self._begin_sums(study)
        waiting = _waiting(self.store.drivers.alive(now=time.time()))
        if waiting != self.waiting:
            self.waiting = waiting
            self.touch()
        if not self.has_looked:
            self.has_looked = True
            self.touch()

    def _is_to_be_retried(self, name: str) -> bool:
        return name in self.unreadable and time.monotonic() - self._tried_at[name] >= RETRY_SECONDS

    def _open(self, name: str, version: str) -> None:
        """Read a study. The version is noted last: whatever else is raised, it is read again."""
        former = self._versions.get(name), self.unreadable.get(name)
        problem = None
        try:
            record = self.store.study(name)
        except StoreError as error:
            self.unreadable[name] = problem = str(error)
            self._tried_at[name] = time.monotonic()
        else:
            if name in self._studies and record is not None:
                self._studies[name].remember(record)
            elif record is not None:  # else it was deleted since
                self._studies[name] = StoredStudy(self.store, record)
            self.unreadable.pop(name, None)
        self._versions[name] = version
        if (version, problem) != former:
            self.touch()

    def _forget(self, name: str) -> None:
        for known in (self._studies, self._versions, self._sums, self._done, self.unreadable, self.unsummed):
            known.pop(name, None)

    def _are_stale(self, sums: _Sums, state: StudyState) -> bool:
        """Whether there may be better ones, of `state`."""
        return sums.state is not state or state.name in self.unsummed

    def _may_replace(self, sums: _Sums, state: StudyState) -> bool:
        return self._are_stale(sums, state) and time.monotonic() >= sums.rests_until

    def _begin_sums(self, stored: StoredStudy) -> _Sums:
        begun_at, state = time.monotonic(), stored.state
        sums = self._sums[state.name] = _Sums(state, self._pool.submit(self._sum_up, stored, state), begun_at)
        return sums

    def _sum_up(self, stored: StoredStudy, state: StudyState) -> Results | None:
        begun, former, problem = time.monotonic(), self.unsummed.get(state.name), None
        try:
            self._done[state.name] = summarise(stored.report_input(state))
            self.unsummed.pop(state.name, None)
        except Exception as error:  # deleted or damaged meanwhile, or our mistake: whoever looks is told
            self.unsummed[state.name] = problem = _words_of(error)
            if problem != former:  # else it was logged before
                log.exception("the numbers of %s cannot be summed up", state.name)
        ended = time.monotonic()
        rest = min(REST * (ended - begun), MOST_REST_SECONDS) if problem is None else MOST_REST_SECONDS
        with self._lock:
            if (sums := self._sums.get(state.name)) is not None:
                sums.rests_until = ended + rest
        if problem is None or problem != former:
            self.touch()
        return self._done.get(state.name)

    def _look(self) -> None:
        while not self._stop.is_set():
            has_read = self._is_awake and self._can_read()
            goes_on = has_read and not all(state.is_whole for state in self.states)  # in the middle of a large store
            self._stop.wait(0.0 if goes_on else LOOK_SECONDS)

    def _can_read(self) -> bool:
        """Look at the store once; whatever is wrong with it, the pages go on and say so."""
        problem = ""
        try:
            self.refresh()
        except Exception as error:
            problem = _words_of(error)
            if problem != self.problem:  # else it was logged before
                log.exception("the store cannot be read")
        self._has_looked_again.set()
        if problem != self.problem:
            self.problem = problem
            self.touch()
        return not problem


def _words_of(error: Exception) -> str:
    return str(error) or type(error).__name__


def _waiting(notes: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """From what drivers note: paused, or the place in the queue; nothing of one that another version of ccar wrote."""
    return {
        note["study"]: "paused" if note["paused"] else f"waits, {note['waits_for']}"
        for note in notes.values()
        if {"study", "paused", "waits_for"} <= note.keys() and (note["paused"] or note["waits_for"])
    }
