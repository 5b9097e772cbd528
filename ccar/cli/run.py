"""`ccar run`: train what the store does not have yet, feed MLflow meanwhile, and report."""

from __future__ import annotations

import os
import platform
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from ccar.cli.places import Places
from ccar.cli.plan import check_device_hours, plan_of_view, this_machine
from ccar.cli.progress import ProgressDisplay
from ccar.cli.study_view import StudyView
from ccar.cluster.address import find_cluster
from ccar.cluster.allowance import Allowance, Limits
from ccar.cluster.events import RunSummary, TrialProgress
from ccar.cluster.interruption import Interruption
from ccar.cluster.remaining import RemainingTrials
from ccar.cluster.seat import Seat
from ccar.cluster.submissions import DRIVER_NAME
from ccar.errors import CcarError
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
    report_dir: Path


def run_study(
    file: Path,
    places: Places,
    address: str | None,
    talk: Console,
    interruption: Interruption,
    limits: Limits | None = None,
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
        UserError: the file, the store, the tracking server or the cluster cannot be used, or the rest of the study
            would take too long; nothing was begun.
    """
    view = StudyView.open(file, places)
    if not places.tracks_in_store:
        check_tracking(places.tracking_uri)
    cluster = None if address is None else find_cluster(address)
    limits = limits or Limits()
    if limits.max_device_hours is not None:
        check_device_hours(view.study, plan_of_view(view), limits.max_device_hours)
    places.store.check_writable()
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
    with _feeding(view, talk, interruption) as feeder, _seat(view, cluster, limits, talk) as seat:
        allowance = Allowance(limits, interruption, seat=seat)
        with interruption.being_watched():
            outcome = _train(view, remaining, cluster, talk, feeder, allowance)
            while outcome.summary.interrupted and (outcome.summary.crowded or allowance.outlasts_pause()):
                outcome = _train(view, _sources(view)[1], cluster, talk, feeder, allowance)
        if allowance.is_spent:
            talk.print(f"--max-device-hours {limits.max_device_hours:g} are used up", style="yellow", markup=False)
        return outcome


def _sources(view: StudyView) -> tuple[TrialSource, RemainingTrials]:
    """All trials of the study, and those that the store does not have yet."""
    source = view.source()
    stops_early = view.study.early_stopping is not None
    return source, RemainingTrials(source, view.places.store, stopped_is_done=stops_early)


@contextmanager
def _seat(view: StudyView, address: str | None, limits: Limits, talk: Console) -> Iterator[Seat | None]:
    """A seat among those that share the cluster at `address`; none on this machine's own Ray."""
    if address is None:
        yield None
        return
    name = os.environ.get(DRIVER_NAME) or f"{view.study.name}_{platform.node()}-{os.getpid()}"

    def say(text: str) -> None:
        talk.print(f"{name} {text}", markup=False, highlight=False, soft_wrap=True)

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

    # An early-stopping rule knows nothing but what it is shown: it has to see the finished trials again.
    shows_all = view.study.early_stopping is not None
    source: TrialSource = view.source() if shows_all else remaining
    num_done = 0 if shows_all else remaining.num_done
    place = Place(
        store=view.places.store.address,
        cache_dir=view.places.cache_dir,
        resources=view.study.resources,
        packing=view.packing(source.known, lambda text: talk.print(text, markup=False, highlight=False)),
        address=address,
    )
    with ProgressDisplay(talk, source.num_trials, num_done) as display:
        listener = _RunListener(display, view, source, feeder, num_done=num_done, on_cluster=address is not None)
        run_on_ray(source, place, view.study.early_stopping, listener, allowance)
    assert listener.outcome is not None, "run_on_ray tells of its end"
    return listener.outcome


def _reported(view: StudyView, summary: RunSummary, source: TrialSource) -> RunOutcome:
    folder = view.places.report_dir(view.study.name)
    if summary.interrupted:
        return RunOutcome(view, summary, None, folder)
    from ccar.reports.results import summarise  # half a second, and the first trial would wait for it
    from ccar.reports.write import write_report

    results = summarise(view.report_input(source.known))
    try:
        view.remember(source.known)  # a searcher may have come up with more
        write_report(folder, results)
    except CcarError:
        if summary.store_error is None:  # else the store's own message, which comes next, says it all
            raise
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
        source: TrialSource,
        feeder: Feeder,
        *,
        num_done: int,
        on_cluster: bool,
    ) -> None:
        self._display = display
        self._num_done = num_done
        self._on_cluster = on_cluster
        self._metrics: RunMetrics | None = None
        self._feeder = feeder
        self._view = view
        self._source = source
        self._num_known = len(source.known)
        self._imports = threading.Thread(target=_import_reports, name="ccar-imports")

    def started(self, trial: PlannedTrial) -> None:
        if self._source.adaptive and len(self._source.known) != self._num_known:
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

    def lost_worker(self, trial: PlannedTrial) -> None:
        self._display.lost_worker(trial)
        if self._metrics is not None:
            self._metrics.lost_worker()

    def all_ended(self, summary: RunSummary) -> None:
        self._feeder.hurry()
        if self._imports.ident is not None:
            self._imports.join()
        self.outcome = _reported(self._view, summary, self._source)

    def _new_metrics(self) -> RunMetrics:
        from ccar.cluster.metrics import RunMetrics

        store, uri, study = self._view.places.store, self._view.places.tracking_uri, self._view.study.name

        def outbox_depth() -> int:
            record = store.study(study)
            return len(Outbox(store, uri).pending(record)) if record is not None else 0

        return RunMetrics(study, self._source.num_trials, self._num_done, outbox_depth)


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
        missing = feeder.finish(INTERRUPTED_FEEDER_SECONDS if interruption.is_over else FEEDER_SECONDS)
        if missing:
            talk.print(
                f"MLflow at {shown(places.tracking_uri)} does not have {missing} trials yet; "
                "nothing is lost, `ccar sync` delivers them",
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
