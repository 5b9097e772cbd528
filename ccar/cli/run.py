"""`ccar run`: train what the store does not have yet, feed MLflow meanwhile, and report."""

from __future__ import annotations

import os
import platform
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from ccar.cli.places import Places
from ccar.cli.plan import check_device_hours, plan_of_view, this_machine
from ccar.cli.progress import ProgressDisplay
from ccar.cli.side_by_side import load_and_check
from ccar.cli.study_view import StudyView
from ccar.cluster.address import find_cluster
from ccar.cluster.allowance import Allowance, Limits
from ccar.cluster.events import RunSummary, TrialProgress
from ccar.cluster.fair_share import name_of
from ccar.cluster.interruption import Interruption
from ccar.cluster.remaining import RemainingTrials
from ccar.cluster.seat import Seat
from ccar.cluster.submissions import DRIVER_NAME
from ccar.errors import CcarError, StoreError, TrackingUnreachable
from ccar.study.data_notes import coarse_validation
from ccar.study.definition import Study, load_study
from ccar.study.expansion import PlannedTrial
from ccar.study.search import TrialSource
from ccar.tracking.address import check_tracking, shown
from ccar.tracking.feeder import Feeder
from ccar.tracking.outbox import Outbox

if TYPE_CHECKING:
    from ccar.cluster.metrics import RunMetrics
    from ccar.reports.results import Results

FEEDER_SECONDS = 120.0  # for what MLflow does not have yet at the end of a run
INTERRUPTED_FEEDER_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class RunOutcome:
    """What came of a run."""

    view: StudyView
    summary: RunSummary
    results: Results | None  # None for a run that was interrupted: there is no time for a report
    report_dir: Path | None  # None where it has no report: it was interrupted, or the store failed
    is_spent: bool = False  # it has had all the device-hours that it was allowed


def run_study(
    file: Path,
    places: Places,
    address: str | None,
    talk: Console,
    interruption: Interruption,
    limits: Limits,
) -> RunOutcome:
    """Bring a study to its end, or as far as it gets, and write its report unless it was interrupted.

    Args:
        file: the study file.
        places: store, cache, MLflow.
        address: of a Ray cluster; None for this machine.
        talk: where progress goes.
        interruption: ends the run early.
        limits: how much the run may take.

    Raises:
        UserError: the file, the store, the tracking server or the cluster cannot be used, all told at once; or the
            images cannot; or the rest of the study would take too long. Nothing was begun. A study that the store has
            goes on without its tracking server.
    """
    study, cluster = _checked(file, places, address, talk)
    view = StudyView.of(study, places)
    if limits.max_device_hours is not None:
        check_device_hours(view.study, plan_of_view(view), limits.max_device_hours)
    source, remaining = _sources(view)
    view.remember(source.known)
    if remaining.exhausted:
        talk.print(f"{view.study.name}: all {source.num_trials} trials are in the store; nothing to train")
        outcome = _reported(view, RunSummary(), source)
        if _mlflow_lacks_something(view):
            with _feeding(view, talk, interruption):
                pass
        return outcome
    talk.print(_opening(view, source, remaining, address), markup=False, highlight=False)
    if note := coarse_validation(view.study, view.images):
        talk.print(f"note: {note}", style="yellow", markup=False, highlight=False, soft_wrap=True)
    with _feeding(view, talk, interruption) as feeder, _seat(view, cluster, limits, talk) as seat:
        allowance = Allowance(limits, interruption, seat=seat)
        with interruption.being_watched():
            outcome = _train(view, remaining, cluster, talk, feeder, allowance)
            while outcome.summary.interrupted and (outcome.summary.crowded or allowance.outlasts_pause()):
                outcome = _train(view, _sources(view)[1], cluster, talk, feeder, allowance)
        return replace(outcome, is_spent=allowance.is_spent)


def _checked(file: Path, places: Places, address: str | None, talk: Console) -> tuple[Study, str | None]:
    """The study and the cluster's address, if all that the run needs is there.

    Images, which may take minutes to decode, are looked at later.
    """
    found: list[str] = []
    checks: list[Callable[[], None]] = [places.store.check_writable]
    if address is not None:
        checks.append(lambda: found.append(find_cluster(address)))
    if not places.tracks_in_store:
        checks.append(partial(_check_tracking, file, places, talk))
    return load_and_check(partial(load_study, file), *checks), found[0] if found else None


def _check_tracking(file: Path, places: Places, talk: Console) -> None:
    """Make sure that MLflow can be reached; where the study goes on, as that of a requeued job, only say so.

    Raises:
        UserError: it cannot, and the study is new: the address may be wrong.
    """
    try:
        check_tracking(places.tracking_uri)
    except TrackingUnreachable as error:
        if not _is_in_store(file, places):
            raise
        talk.print(
            f"{error}\nthe study goes on; MLflow is sent what it lacks once it is back, or by `ccar sync`",
            style="yellow",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )


def _is_in_store(file: Path, places: Places) -> bool:
    try:
        return places.store.study(load_study(file).name) is not None
    except CcarError:  # somebody else tells what is wrong with the file or the store
        return False


def _sources(view: StudyView) -> tuple[TrialSource, RemainingTrials]:
    """All trials of the study, and those that the store does not have yet."""
    source = view.source()
    stops_early = view.study.early_stopping is not None
    return source, RemainingTrials(source, view.places.store, stops_early=stops_early)


@contextmanager
def _seat(view: StudyView, address: str | None, limits: Limits, talk: Console) -> Iterator[Seat | None]:
    """A seat among those that share the cluster at `address`; none on this machine's own Ray."""
    if address is None:
        yield None
        return
    name = os.environ.get(DRIVER_NAME) or f"{view.study.name}_{platform.node()}-{os.getpid()}"

    def say(text: str) -> None:
        talk.print(f"{name_of(name)} {text}", markup=False, highlight=False, soft_wrap=True)

    drivers = view.places.store.drivers
    with Seat(
        drivers,
        name,
        study=view.study.name,
        priority=limits.priority,
        at_once=limits.trials_at_once,
        say=say,
    ) as seat:
        yield seat


def _train(
    view: StudyView,
    remaining: RemainingTrials,
    address: str | None,
    talk: Console,
    feeder: Feeder,
    allowance: Allowance,
) -> RunOutcome:
    from ccar.cluster.tune_runner import Place, run_on_ray  # Ray takes a second to import

    place = Place(
        store=view.places.store.address,
        cache_dir=view.places.cache_dir,
        resources=view.study.resources,
        packing=view.packing(remaining.known, lambda text: talk.print(text, markup=False, highlight=False)),
        address=address,
    )
    with ProgressDisplay(talk, remaining.num_trials + remaining.num_done, remaining.num_done) as display:
        listener = _RunListener(display, view, remaining, feeder, on_cluster=address is not None)
        run_on_ray(remaining, place, view.study.early_stopping, listener, allowance)
    assert listener.outcome is not None, "run_on_ray tells of its end"
    return listener.outcome


def _reported(view: StudyView, summary: RunSummary, source: TrialSource) -> RunOutcome:
    if summary.interrupted:
        return RunOutcome(view, summary, None, None)
    from ccar.reports.results import summarise  # half a second, and the first trial would wait for it
    from ccar.reports.write import write_report

    results = summarise(view.report_input(source.known))
    folder = view.places.report_dir(view.study.name)
    try:
        view.remember(source.known)  # a searcher may have come up with more
        write_report(folder, results)
    except CcarError:
        if summary.store_error is None:  # else the store's own message, which comes next, says it all
            raise
        return RunOutcome(view, summary, results, None)
    return RunOutcome(view, summary, results, folder)


class _RunListener:
    """Tells the display and the feeder, notes in the store what a searcher comes up with, and reports at the end.

    On a cluster, which somebody may watch, it counts for Prometheus too.
    """

    outcome: RunOutcome | None = None  # until all trials have ended

    def __init__(
        self,
        display: ProgressDisplay,
        view: StudyView,
        source: RemainingTrials,
        feeder: Feeder,
        *,
        on_cluster: bool,
    ) -> None:
        self._display = display
        self._on_cluster = on_cluster
        self._metrics: RunMetrics | None = None
        self._feeder = feeder
        self._view = view
        self._source = source
        self._num_known = len(source.known)
        self._imports = threading.Thread(target=_import_reports, name="ccar-imports")

    def started(self, trial: PlannedTrial) -> None:
        if len(self._source.known) != self._num_known:  # a searcher has come up with more
            self._num_known = len(self._source.known)
            self._view.remember(self._source.known)
        self._display.started(trial)
        if self._on_cluster:
            self._metrics = self._metrics or self._new_metrics()  # Ray is there by now
            self._metrics.started()
        if self._source.exhausted and self._imports.ident is None:
            self._imports.start()  # the last trials are running, and processors are about to fall idle

    def progressed(self, trial: PlannedTrial, progress: TrialProgress) -> None:
        self._display.progressed(trial, progress)
        if self._metrics is not None:
            self._metrics.progressed(progress)

    def lost_worker(self, trial: PlannedTrial, cause: str) -> None:
        self._display.lost_worker(trial, cause)
        if self._metrics is not None:
            self._metrics.lost_worker()

    def waits_for(self, what: str) -> None:
        self._display.waits_for(what)

    def all_ended(self, summary: RunSummary) -> None:
        self._feeder.hurry()
        if self._imports.ident is not None:
            self._imports.join()
        self.outcome = _reported(self._view, summary, self._source)

    def _new_metrics(self) -> RunMetrics:
        from ccar.cluster.metrics import RunMetrics

        store, uri, study = self._view.places.store, self._view.places.tracking_uri, self._view.study.name

        depth = 0

        def outbox_depth() -> int:
            nonlocal depth
            with suppress(CcarError):  # a hiccup of the store: nobody's run ends by a gauge
                record = store.study(study)
                depth = len(Outbox(store, uri).pending(record)) if record is not None else 0
            return depth

        return RunMetrics(study, self._source.num_trials, self._source.num_done, outbox_depth)


def _import_reports() -> None:
    from ccar.reports.write import import_ahead

    import_ahead()


def _mlflow_lacks_something(view: StudyView) -> bool:
    record = view.places.store.study(view.study.name)
    return record is None or not Outbox(view.places.store, view.places.tracking_uri).is_current(record)


@contextmanager
def _feeding(view: StudyView, talk: Console, interruption: Interruption) -> Iterator[Feeder]:
    """Deliver to MLflow, from a process of its own, for as long as the block runs."""
    places = view.places
    report_dir = places.report_dir(view.study.name)
    feeder = Feeder.start(places.store, places.tracking_uri, view.study.name, report_dir)
    try:
        yield feeder
    finally:
        try:
            missing = feeder.finish(INTERRUPTED_FEEDER_SECONDS if interruption.is_over else FEEDER_SECONDS)
            lacks = f"does not have {missing} trials yet" if missing else ""
        except StoreError as error:  # the run has ended as it has
            lacks = f"may not have all trials yet, {error}"
        if lacks:
            talk.print(
                f"MLflow at {shown(places.tracking_uri)} {lacks}; nothing is lost, `ccar sync` delivers them",
                style="yellow",
                markup=False,
                highlight=False,
            )


def _opening(view: StudyView, source: TrialSource, remaining: RemainingTrials, address: str | None) -> str:
    done = f", {remaining.num_done} already done" if remaining.num_done else ""
    where = f"this machine ({this_machine().cpus} CPUs)"
    if address:
        where = "the Ray cluster of this machine" if address == "auto" else f"the Ray cluster at {address}"
    return f"{view.study.name}: {source.num_trials} trials{done}, on {where}\n{view.study.question.strip()}"
