"""What MLflow does not have yet, and how it gets there.

The store is the truth. A cursor per tracking URI and study remembers what has been delivered, so that a
finished study costs nothing: not even the import of MLflow. Losing one costs time, never a doubled point.
"""

from __future__ import annotations

import difflib
import logging
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ccar.errors import CcarError, Damaged, StoreError, TrackingError, UserError
from ccar.store.disk_folder import DiskFolder
from ccar.store.records import StudyRecord, StudyTrial, TrialRecord
from ccar.store.trial_log import FINAL
from ccar.store.trial_store import TrialStore
from ccar.tracking.address import absolute, artifact_root, check_tracking, digest, shown, sqlite_file
from ccar.tracking.cursor import Cursor, Delivered
from ccar.tracking.environment import prepare_mlflow
from ccar.tracking.rest import Rest
from ccar.tracking.study_content import digest_of_plan

if TYPE_CHECKING:
    from ccar.tracking.mlflow_projection import Projection

log = logging.getLogger(__name__)

_SECONDS_TO_WAIT = 60.0  # for another process that is delivering to the same place
_SECONDS_BETWEEN_SAVES = 5.0  # of the notes, in a long pass: one that is cut off is not to look like none
_FAILURES_TO_GIVE_UP = 3  # one trial that is refused must not hold up the others; a dead server must


class _Busy(TrackingError):
    """Another process delivers, and does not get done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """What one pass over a study has sent: points, of so many trials. `damaged`: what cannot be read."""

    trials: int = 0
    points: int = 0
    damaged: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncReport:
    """What `sync` has sent: points, of so many trials. `damaged`: what cannot be read, and why."""

    studies: int
    trials: int
    points: int
    seconds: float
    damaged: tuple[str, ...]


def sync(
    store: TrialStore,
    tracking_uri: str,
    study_names: Sequence[str] | None = None,
    *,
    trust_cursor: bool = False,
    report_dir: Callable[[str], Path] | None = None,
) -> SyncReport:
    """Bring MLflow up to the store's state: what is missing there is sent, whatever the reason it is missing.

    A study that cannot be read, or that MLflow does not take all of, does not hold up the others.

    Args:
        store: the truth.
        tracking_uri: where MLflow is.
        study_names: which studies; None: all that were ever run against the store.
        trust_cursor: believe the notes about what was delivered, without asking the server. Then a study with
            nothing new costs milliseconds, but a server that was wiped meanwhile is not noticed.
        report_dir: the folder for the report of a study, by its name: one that is there is sent, too.

    Raises:
        UserError: there is no study of that name.
        StoreError: a study cannot be read; the others were sent.
        TrackingError: MLflow did not take everything; what it took is noted.
    """
    started = time.monotonic()
    outbox = Outbox(store, tracking_uri)
    deliveries: list[Delivery] = []
    errors: list[CcarError] = []

    @contextmanager
    def going_on() -> Iterator[None]:
        try:
            yield
        except (StoreError, TrackingError) as error:
            if outbox.is_shut_by(error):
                raise
            errors.append(error)

    for name in _names(store, study_names):
        with going_on():
            study = store.study(name)
            if study is None:  # somebody has deleted it just now
                continue
            with going_on():
                deliveries.append(outbox.deliver(study, trust_cursor=trust_cursor))
            if report_dir is not None and report_dir(name).is_dir():
                outbox.deliver_report(study, report_dir(name))
    for error in errors[1:]:
        log.warning("%s", error.with_hint)
    if errors:
        raise errors[0]
    return SyncReport(
        studies=len(deliveries),
        trials=sum(delivery.trials for delivery in deliveries),
        points=sum(delivery.points for delivery in deliveries),
        seconds=time.monotonic() - started,
        damaged=tuple(dict.fromkeys(problem for delivery in deliveries for problem in delivery.damaged)),
    )


@dataclass(slots=True)
class _Notes:
    """What we remember of a study from one pass to the next."""

    cursor: Cursor
    settled: set[StudyTrial] = field(default_factory=set)  # delivered, and they never change again
    begun: set[str] = field(default_factory=set)  # the keys of trials that were found in the store
    rest_from_begun: Rest = field(default_factory=Rest)  # from asking which others have begun
    rest_from_stopped: Rest = field(default_factory=Rest)  # from looking whether another study goes on with them


class Outbox:
    """Delivers studies of one store to one tracking URI. Any number of processes may; for a study they take turns."""

    def __init__(self, store: TrialStore, tracking_uri: str) -> None:
        self._store = store
        self.tracking_uri = absolute(tracking_uri)
        self._is_file = sqlite_file(self.tracking_uri) is not None
        # A database that is a file of this machine is written from here only, by notes that lie here, too.
        place = DiskFolder(store.root) if self._is_file else store.files
        self._folder = place.folder("tracking", digest(self.tracking_uri))
        self._token = uuid.uuid4().hex
        self._projection: Projection | None = None
        self._notes: dict[str, _Notes] = {}  # by the name of the study
        self._refused: set[str] = set()  # keys of trials that come last next time

    def pending(self, study: StudyRecord) -> list[StudyTrial]:
        """The trials with something that can be delivered and was not yet, by the notes: asks no server.

        Those that were found damaged when it was last tried are left out.
        """
        damaged = self._notes_of(study.name).cursor.damaged
        return [trial for trial in self._undelivered(study) if trial.key not in damaged]

    def is_current(self, study: StudyRecord) -> bool:
        """Whether all is delivered, and the study itself is shown as it is now, by the notes."""
        return self._work(study) is None

    def is_shut_by(self, error: CcarError) -> bool:
        """Whether what one study failed of is in the way of every other one: MLflow is away, or not ours just now."""
        if isinstance(error, _Busy):
            return self._is_file
        if not isinstance(error, TrackingError):
            return False
        if self._projection is None:  # it could not be opened
            return True
        try:
            check_tracking(self.tracking_uri)
        except CcarError:
            return True
        return False

    def deliver(self, study: StudyRecord, *, trust_cursor: bool = True, min_age: float = 0.0) -> Delivery:
        """Send what MLflow lacks of this study.

        Args:
            study: which trials, under which names.
            trust_cursor: see `sync`.
            min_age: leave out unfinished trials that began less than this many seconds ago: a short one is
                cheaper to send in one go, when it has ended. Above 0, looks at all of a large store are rare, too.

        Raises:
            TrackingError: MLflow did not take everything, or another process that delivers does not get done.
        """
        spares = min_age > 0
        work = self._work(study, spares=spares) if trust_cursor else None
        if trust_cursor and work is None:
            return Delivery()
        with self._turn(study.name) as notes_hold:
            if not trust_cursor:
                self._forget(study.name)
                self._notes[study.name] = _Notes(Cursor())
            if not (trust_cursor and notes_hold):
                work = self._work(study, spares=spares)
            if work is None:
                return Delivery()
            try:
                return self._send(study, work, began_before=time.time() - min_age)
            except BaseException:
                self._forget(study.name)  # whether the last call arrived is not known
                raise

    def deliver_report(self, study: StudyRecord, folder: Path) -> None:
        """Put the files in `folder` into the study's parent run, under report/; same names are replaced.

        Raises:
            TrackingError: MLflow did not take them.
        """
        with self._turn(study.name):
            self._open(study.name).study(study).log_report(folder)

    def _send(self, study: StudyRecord, work: Sequence[StudyTrial], *, began_before: float) -> Delivery:
        cursor = self._notes_of(study.name).cursor
        cursor.plan = None
        cursor.damaged.clear()
        view = self._open(study.name).study(study)
        lost = [trial for trial in _distinct(study.trials) if trial.key in cursor.trials and not view.has(trial.key)]
        for trial in lost:  # it was wiped, or somebody has deleted these runs
            del cursor.trials[trial.key]
        num_trials = num_points = 0
        damaged: list[str] = []
        refused: list[TrackingError] = []
        saved_at = time.monotonic()
        for trial in sorted(dict.fromkeys([*work, *lost]), key=lambda trial: trial.key in self._refused):
            try:
                record = self._store.read(trial.key)
                test = self._store.read_test(trial.key) if record.status == "finished" else None
            except StoreError as error:
                damaged.append(str(error))
                if isinstance(error, Damaged):  # else it may be readable in a moment
                    cursor.damaged.add(trial.key)
                continue
            if record.status == "absent" or _is_young(record, began_before):
                continue
            try:
                sent = view.deliver(trial, record, test)
            except TrackingError as error:
                refused.append(error)
                self._refused.add(trial.key)
                if len(refused) == _FAILURES_TO_GIVE_UP:
                    break
                continue
            self._refused.discard(trial.key)
            num_trials += sent > 0
            num_points += sent
            cursor.trials[trial.key] = Delivered(record.num_records, record.status, trial.cell, trial.method)
            if time.monotonic() - saved_at >= _SECONDS_BETWEEN_SAVES:
                cursor.save(self._folder, f"{study.name}.json")
                saved_at = time.monotonic()
        if not refused:
            view.settle(_distinct(study.trials))
            cursor.plan = digest_of_plan(study)
        cursor.save(self._folder, f"{study.name}.json")
        if refused:
            raise refused[0]
        return Delivery(trials=num_trials, points=num_points, damaged=tuple(damaged))

    def _work(self, study: StudyRecord, *, spares: bool = False) -> list[StudyTrial] | None:
        """The trials that are to be delivered, by the notes; None where not even the study itself is."""
        undelivered = self._undelivered(study, spares=spares)
        is_shown = self._notes_of(study.name).cursor.plan == digest_of_plan(study)
        return None if is_shown and not undelivered else undelivered

    def _undelivered(self, study: StudyRecord, *, spares: bool = False) -> list[StudyTrial]:
        """The trials that are to be delivered, by the notes.

        Args:
            study: which trials.
            spares: look no more often than every now and then at what is many, and changes seldom.
        """
        notes = self._notes_of(study.name)
        unsettled = [trial for trial in _distinct(study.trials) if trial not in notes.settled]
        if not spares or notes.rest_from_begun.is_over:
            with notes.rest_from_begun:
                unseen = {trial.key for trial in unsettled} - notes.begun
                begun = self._store.begun(unseen)
            notes.begun |= begun
            for key in unseen - begun:
                if notes.cursor.trials.pop(key, None):  # somebody has deleted it, to train it again
                    notes.cursor.plan = None  # so that this is saved, even if nothing else is new
        looks_at_stopped = not spares or notes.rest_from_stopped.is_over
        with notes.rest_from_stopped if looks_at_stopped else nullcontext():
            return [
                trial
                for trial in unsettled
                if trial.key in notes.begun and not self._is_delivered(trial, notes, looks_at_stopped)
            ]

    def _is_delivered(self, trial: StudyTrial, notes: _Notes, looks_at_stopped: bool) -> bool:
        delivered = notes.cursor.trials.get(trial.key)
        if delivered is not None and (delivered.cell, delivered.method) == (trial.cell, trial.method):
            if delivered.status in FINAL:
                notes.settled.add(trial)
                return True
            if delivered.status == "stopped" and not looks_at_stopped:
                return True
        num_records = self._store.num_records(trial.key)
        if num_records == 0:  # its first claim is being written; or it was deleted
            return True
        return delivered is not None and delivered == (num_records, delivered.status, trial.cell, trial.method)

    @contextmanager
    def _turn(self, study_name: str) -> Iterator[bool]:
        """Deliver a study while nobody else does.

        Yields:
            Whether what we remember of it holds; it was forgotten if somebody else has delivered it in between.
        """
        lock = "lock" if self._is_file else f"{study_name}.lock"  # SQLite knows one writer at a time
        try:
            with self._folder.turn(lock, _SECONDS_TO_WAIT):
                is_ours = self._last_deliverer(study_name) == self._token
                if not is_ours:
                    self._forget(study_name)
                yield is_ours
        except TimeoutError as error:
            raise _Busy(
                f"another process is delivering to {shown(self.tracking_uri)}",
                hint=f"{_SECONDS_TO_WAIT:.0f} s were not enough for it: run `ccar sync` later",
            ) from error

    def _open(self, study_name: str) -> Projection:
        """Connect to MLflow, and let every other process know that we may write this study there."""
        if self._last_deliverer(study_name) != self._token:
            self._folder.replace(f"{study_name}.deliverer", self._token.encode())
        if self._projection is None:
            prepare_mlflow()
            from ccar.tracking.mlflow_projection import Projection

            self._projection = Projection(
                self.tracking_uri, artifact_root(self._store.root, self.tracking_uri), self._store.id()
            )
        return self._projection

    def _last_deliverer(self, study_name: str) -> str | None:
        try:
            return self._folder.read(f"{study_name}.deliverer").decode()
        except FileNotFoundError:
            return None

    def _forget(self, study_name: str) -> None:
        self._notes.pop(study_name, None)
        if self._projection is not None:
            self._projection.forget(study_name)

    def _notes_of(self, study_name: str) -> _Notes:
        if study_name not in self._notes:
            database = sqlite_file(self.tracking_uri)
            wiped = database is not None and not database.exists()
            cursor = Cursor() if wiped else Cursor.load(self._folder, f"{study_name}.json")
            self._notes[study_name] = _Notes(cursor)
        return self._notes[study_name]


def _is_young(record: TrialRecord, began_before: float) -> bool:
    return record.status == "unfinished" and record.started_at is not None and record.started_at > began_before


def _names(store: TrialStore, wanted: Sequence[str] | None) -> Sequence[str]:
    """The names of the studies that are wanted, readable or not; None: of all.

    Raises:
        UserError: there is no study of that name.
    """
    known = list(store.study_versions())
    for name in wanted or ():
        if name not in known:
            similar = difflib.get_close_matches(name, known, n=1)
            raise UserError(
                f"no study {name!r} was run against the store {store.address}",
                hint=f"did you mean {similar[0]!r}?" if similar else f"there are: {', '.join(known) or 'none'}",
            )
    return known if wanted is None else wanted


def _distinct(trials: Sequence[StudyTrial]) -> list[StudyTrial]:
    """Each training once, under its first name: two cells of a study may come down to the same trial."""
    return list({trial.key: trial for trial in reversed(trials)}.values())[::-1]
