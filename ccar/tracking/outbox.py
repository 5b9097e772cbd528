"""What MLflow does not have yet, and how it gets there.

The store is the truth. A cursor per tracking URI and study remembers what has been delivered, so that a
finished study costs nothing: not even the import of MLflow. Losing one costs time, never a doubled point.
"""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import json
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ccar.errors import StoreError, TrackingError, UserError
from ccar.store.disk_folder import DiskFolder
from ccar.store.records import StudyRecord, StudyTrial, TrialRecord
from ccar.store.trial_store import TrialStore
from ccar.tracking.address import absolute, artifact_root, digest, shown, sqlite_file
from ccar.tracking.cursor import Cursor, Delivered
from ccar.tracking.environment import prepare_mlflow

if TYPE_CHECKING:
    from ccar.tracking.mlflow_projection import Projection

FINAL = frozenset({"finished", "diverged"})  # such a log never grows again

_SECONDS_TO_WAIT = 60.0  # for another process that is delivering to the same place
_FAILURES_TO_GIVE_UP = 3  # one trial that is refused must not hold up the others; a dead server must


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
) -> SyncReport:
    """Bring MLflow up to the store's state: what is missing there is sent, whatever the reason it is missing.

    Args:
        store: the truth.
        tracking_uri: where MLflow is.
        study_names: which studies; None: all that were ever run against the store.
        trust_cursor: believe the notes about what was delivered, without asking the server. Then a study with
            nothing new costs milliseconds, but a server that was wiped meanwhile is not noticed.

    Raises:
        UserError: there is no study of that name.
        TrackingError: MLflow did not take everything; what it took is noted.
    """
    started = time.monotonic()
    outbox = Outbox(store, tracking_uri)
    studies = store.studies() if study_names is None else [_named(store, name) for name in study_names]
    deliveries = [outbox.deliver(study, trust_cursor=trust_cursor) for study in studies]
    return SyncReport(
        studies=len(deliveries),
        trials=sum(delivery.trials for delivery in deliveries),
        points=sum(delivery.points for delivery in deliveries),
        seconds=time.monotonic() - started,
        damaged=tuple(dict.fromkeys(problem for delivery in deliveries for problem in delivery.damaged)),
    )


def deliver_report(store: TrialStore, tracking_uri: str, study_name: str, folder: Path) -> None:
    """Put the files in `folder` into the study's parent run, under report/; same names are replaced.

    Raises:
        UserError: there is no study of that name.
        TrackingError: MLflow did not take them.
    """
    Outbox(store, tracking_uri).deliver_report(_named(store, study_name), folder)


class Outbox:
    """Delivers studies of one store to one tracking URI. Any number of processes may; they take turns."""

    def __init__(self, store: TrialStore, tracking_uri: str) -> None:
        self._store = store
        self.tracking_uri = absolute(tracking_uri)
        # A database that is a file of this machine is written from here only, by notes that lie here, too.
        place = store.files if sqlite_file(self.tracking_uri) is None else DiskFolder(store.root)
        self._folder = place.folder("tracking", digest(self.tracking_uri))
        self._token = uuid.uuid4().hex
        self._projection: Projection | None = None
        self._cursors: dict[str, Cursor] = {}
        self._settled: set[tuple[str, StudyTrial]] = set()  # delivered, and they never change again

    def pending(self, study: StudyRecord) -> list[StudyTrial]:
        """The trials with something that was not delivered yet, by the notes: asks no server."""
        return [trial for trial in _distinct(study.trials) if not self._is_delivered(trial, study.name)]

    def is_current(self, study: StudyRecord) -> bool:
        """Whether nothing is pending, and the study itself is shown as it is now, by the notes."""
        return self._cursor(study.name).plan == _digest_of_plan(study) and not self.pending(study)

    def deliver(
        self,
        study: StudyRecord,
        *,
        trust_cursor: bool = True,
        min_age: float = 0.0,
        seconds_to_wait: float = _SECONDS_TO_WAIT,
    ) -> Delivery:
        """Send what MLflow lacks of this study.

        Args:
            study: which trials, under which names.
            trust_cursor: see `sync`.
            min_age: leave out unfinished trials that began less than this many seconds ago: a short one is
                cheaper to send in one go, when it has ended.
            seconds_to_wait: how long to wait while another process delivers.

        Raises:
            TrackingError: MLflow did not take everything, or the other process does not get done.
        """
        with self._turn(seconds_to_wait):
            if not trust_cursor:
                self._forget()
                self._cursors[study.name] = Cursor()
            if self.is_current(study):
                return Delivery()
            try:
                return self._send(study, self.pending(study), began_before=time.time() - min_age)
            except BaseException:
                self._forget()  # whether the last call arrived is not known
                raise

    def deliver_report(self, study: StudyRecord, folder: Path) -> None:
        """See the function of this name."""
        with self._turn(_SECONDS_TO_WAIT):
            self._open().study(study).log_report(folder)

    def _send(self, study: StudyRecord, pending: Sequence[StudyTrial], *, began_before: float) -> Delivery:
        cursor = self._cursor(study.name)
        cursor.plan = None
        view = self._open().study(study)
        num_trials = num_points = 0
        damaged: list[str] = []
        refused: list[TrackingError] = []
        for trial in pending:
            try:
                record = self._store.read(trial.key)
                test = self._store.read_test(trial.key) if record.status == "finished" else None
            except StoreError as error:
                damaged.append(str(error))
                continue
            if record.status == "absent" or _is_young(record, began_before):
                continue
            try:
                sent = view.deliver(trial, record, test)
            except TrackingError as error:
                refused.append(error)
                if len(refused) == _FAILURES_TO_GIVE_UP:
                    break
                continue
            num_trials += sent > 0
            num_points += sent
            cursor.trials[trial.key] = Delivered(record.num_records, record.status, trial.cell, trial.method)
        if not refused:
            view.settle(_distinct(study.trials))
            cursor.plan = _digest_of_plan(study)
        cursor.save(self._folder, f"{study.name}.json")
        if refused:
            raise refused[0]
        return Delivery(trials=num_trials, points=num_points, damaged=tuple(damaged))

    def _is_delivered(self, trial: StudyTrial, study_name: str) -> bool:
        if (study_name, trial) in self._settled:
            return True
        cursor = self._cursor(study_name)
        delivered = cursor.trials.get(trial.key)
        num_records = self._store.num_records(trial.key)
        if delivered is None:
            return num_records == 0
        if delivered != (num_records, delivered.status, trial.cell, trial.method):
            return False
        if delivered.status in FINAL:
            self._settled.add((study_name, trial))
        return True

    @contextmanager
    def _turn(self, seconds_to_wait: float) -> Iterator[None]:
        """Deliver while nobody else does; what we remember is out of date if somebody else did in between."""
        try:
            with self._folder.turn("lock", seconds_to_wait):
                if self._last_deliverer() != self._token:
                    self._forget()
                yield
        except TimeoutError as error:
            raise TrackingError(
                f"another process is delivering to {shown(self.tracking_uri)}",
                hint=f"{seconds_to_wait:.0f} s were not enough for it: run `ccar sync` later",
            ) from error

    def _open(self) -> Projection:
        """Connect to MLflow, and let every other process know that we may write there."""
        if self._last_deliverer() != self._token:
            self._folder.replace("deliverer", self._token.encode())
        if self._projection is None:
            prepare_mlflow()
            from ccar.tracking.mlflow_projection import Projection

            self._projection = Projection(
                self.tracking_uri, artifact_root(self._store.root, self.tracking_uri), self._store.id()
            )
        return self._projection

    def _last_deliverer(self) -> str | None:
        try:
            return self._folder.read("deliverer").decode()
        except FileNotFoundError:
            return None

    def _forget(self) -> None:
        self._cursors.clear()
        self._settled.clear()
        if self._projection is not None:
            self._projection.forget()

    def _cursor(self, study_name: str) -> Cursor:
        if study_name not in self._cursors:
            database = sqlite_file(self.tracking_uri)
            wiped = database is not None and not database.exists()
            self._cursors[study_name] = Cursor() if wiped else Cursor.load(self._folder, f"{study_name}.json")
        return self._cursors[study_name]


def _is_young(record: TrialRecord, began_before: float) -> bool:
    return record.status == "unfinished" and record.started_at is not None and record.started_at > began_before


def _named(store: TrialStore, name: str) -> StudyRecord:
    study = store.study(name)
    if study is None:
        known = [study.name for study in store.studies()]
        similar = difflib.get_close_matches(name, known, n=1)
        raise UserError(
            f"no study {name!r} was run against the store {store.address}",
            hint=f"did you mean {similar[0]!r}?" if similar else f"there are: {', '.join(known) or 'none'}",
        )
    return study


def _distinct(trials: Sequence[StudyTrial]) -> list[StudyTrial]:
    """Each training once, under its first name: two cells of a study may come down to the same trial."""
    return list({trial.key: trial for trial in reversed(trials)}.values())[::-1]


def _digest_of_plan(study: StudyRecord) -> str:
    plan = {**dataclasses.asdict(study), "submitted_at": None}  # submitting it again changes nothing
    return hashlib.sha256(json.dumps(plan).encode()).hexdigest()
