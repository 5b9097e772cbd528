"""Run a study's trials through Ray Tune: warm actors, retries, early stopping.

Tune decides what runs where and when; what has been trained is decided by the trial store alone. So Tune's
own checkpoints, snapshots and loggers are off, and its files live in a temporary folder.
"""

from __future__ import annotations

import gc
import platform
import time
import traceback
from collections import Counter, deque
from collections.abc import Callable, Collection, Generator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune.search import Searcher

from ccar.cluster.control import RunControl, Unlimited
from ccar.cluster.death import Death
from ccar.cluster.early_stopping import StoppingRules, StudyScheduler, objective
from ccar.cluster.events import Listener, RunSummary, TrialProgress
from ccar.cluster.gpu_probe import GpuProbe
from ccar.cluster.node_facts import software
from ccar.cluster.packing import Packing
from ccar.cluster.ray_session import cluster_id, ray_session
from ccar.cluster.room import MOST_ASKED_FOR, Room
from ccar.cluster.same_software import check_nodes, check_this_node
from ccar.cluster.scratch import scratch_folder
from ccar.cluster.turn import RunIsOver, Turn
from ccar.cluster.watchdog import HANG_SECONDS, last_words
from ccar.cluster.worker import NewWorker, Worker, Workplace, cache_folder
from ccar.errors import Fenced, StoreError, TrialBusy, WrongNode
from ccar.store.records import TrialRecord
from ccar.store.trial_store import TrialStore
from ccar.study.definition import EarlyStopping, Resources
from ccar.study.expansion import PlannedTrial
from ccar.study.search import TrialSource
from ccar.training.config import TrialConfig

MAX_LOST_WORKERS = 2  # deaths without a commit after which a trial is tried again; one more is probably its own doing
BUSY_PAUSE_SECONDS = 2.0  # before asking again for a trial that another driver's worker trains; doubled each time
LONGEST_BUSY_PAUSE_SECONDS = 30.0
MAX_SILENT_DEATHS = 5  # of different trials in a row that had said nothing yet: hardly the doing of any of them
SECONDS_TO_PLACE = 60.0  # a process starts within some seconds; on a full machine, or from a cold disk, in more


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where trials run, and where workers find the store and may keep decoded images."""

    store: str  # its address
    cache_dir: Path  # of nodes that name no other by CCAR_CACHE
    resources: Resources
    packing: Packing | None = None  # says what each trial gets, where `resources` leave that to measurement
    address: str | None = None  # of a running Ray cluster; None starts Ray on this machine


def trial_worker(workplace: Workplace) -> Worker:
    """The worker that trains, on the GPU where it is given one.

    Raises:
        WrongNode: the node has one that torch cannot use: on the CPU a trial would take tens of times as long.
    """
    # Imported here and not above: the driver, which trains nothing, starts without torch.
    import torch

    from ccar.cluster.trial_worker import TrialWorker

    cuda = workplace.has_gpu and torch.cuda.is_available()
    # The driver of such a GPU counts it; where there is none, Ray was told of one that is made up, as by tests.
    if workplace.has_gpu and not cuda and torch.cuda.device_count():
        raise WrongNode(
            f"node {platform.node()} has a GPU that torch cannot use",
            hint="install a driver of NVIDIA's there that is new enough for this torch; `ccar doctor` says more",
        )
    return TrialWorker(
        TrialStore(workplace.store),
        workplace.cache_dir,
        device=torch.device("cuda" if cuda else "cpu"),
        threads=max(1, int(workplace.cpus)),
        hang_seconds=workplace.hang_seconds,
    )


def run_on_ray(
    source: TrialSource,
    place: Place,
    early_stopping: EarlyStopping | None,
    listener: Listener,
    control: RunControl | None = None,
    *,
    new_worker: NewWorker = trial_worker,
) -> RunSummary:
    """Train everything that `source` hands out.

    Args:
        source: which trial comes next.
        place: resources per trial and the cluster they come from.
        early_stopping: compares trials of one imbalance factor; None lets every trial run to its end.
        listener: is told what happens.
        control: is asked how many trials may be under way, and when to end; None: as many as fit, to the end.
        new_worker: makes the one that trains, in each process.

    Raises:
        UserError: the cluster cannot be reached, or no node that it has, or could get, can run a trial.
    """
    control = control or Unlimited()
    with ray_session(place.address) as let_go, scratch_folder() as scratch:
        if place.address is not None:
            check_nodes()
        room = Room(place.resources, is_fixed=place.address is None)
        adapter = _SourceSearcher(source, place, early_stopping is not None, room, listener, control, new_worker)
        if room.wait(adapter.num_without_room, adapter.cannot_go_on, listener.waits_for):
            with suppress(RunIsOver):
                _join(control, room)
                if place.packing is not None:
                    probe_of = partial(GpuProbe, cache_dir=place.cache_dir, turn=Turn(control))
                    room.fit(place.packing.measured(probe_of))
                    _join(control, room)
                rules = None
                if early_stopping is not None:
                    rules = StoppingRules(early_stopping, _compared(source, TrialStore(place.store)))
                tuner = _tuner(adapter, room.resources, rules, scratch)
                tuner.fit()
        unfinished = not adapter.done or adapter.summary.crowded
        adapter.summary.interrupted = unfinished and not adapter.summary.is_cut_short
        # Handles of actors call Ray when they are freed, which ends this process while Ray shuts down: the tuner stays
        # until that is over, and so does what is garbage by now.
        gc.freeze()
        let_go()  # 1.2 s, in which it mostly waits for Ray's processes
        listener.all_ended(adapter.summary)
        return adapter.summary


def _join(control: RunControl, room: Room) -> None:
    """Become one of those who share the cluster."""
    devices = room.resources.gpu_share or room.resources.cpus
    control.begin(cluster_id(), room.slots, devices)


def _tuner(adapter: _SourceSearcher, resources: Resources, rules: StoppingRules | None, scratch: Path) -> tune.Tuner:
    return tune.Tuner(
        tune.with_resources(_TrialActor, {"cpu": resources.cpus, "gpu": resources.gpu_share}),
        tune_config=tune.TuneConfig(
            search_alg=adapter,
            scheduler=StudyScheduler(rules, adapter.may_start, adapter.placed, adapter.died),
            num_samples=-1,
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(
            name="study",
            storage_path=str(scratch),
            # Not tried again by Tune, which counts the death of an idle process twice against the trial that it was
            # to train next: the searcher hands the trial out again.
            failure_config=tune.FailureConfig(max_failures=0),
            checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=0, checkpoint_at_end=False),
            # No callbacks: given any, Tune imports MLflow (1 s, 100 MB) to see whether one of them is its own.
            # The searcher and the scheduler hear all that we need.
            stop=_Ending(adapter.is_over),
            verbose=0,
        ),
    )


class _TrialActor(tune.Trainable):  # type: ignore[misc]  # Ray ships no types for Tune
    """A warm process: one worker that lives through many trials."""

    def setup(self, config: dict[str, Any]) -> None:
        self._worker: Worker | None = None
        self._progress: Generator[TrialProgress, None, None] | None = None

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.cleanup()
        return True

    def step(self) -> dict[str, Any]:
        # What is raised here would be tried again as if the process had died: only a death is worth that.
        try:
            progress = self._next_progress()
        except WrongNode as error:
            progress = TrialProgress(key=self.config["key"], status="refused", error=error.with_hint)
        except Exception:
            progress = TrialProgress(key=self.config["key"], status="failed", error=traceback.format_exc())
        return {**asdict(progress), "objective": objective(progress.accuracies), "done": progress.ended}

    def _next_progress(self) -> TrialProgress:
        if self._progress is None:
            self._worker = self._worker or _new_worker(self.config)
            trial = TrialConfig.model_validate_json(self.config["trial"])
            self._progress = self._worker.run(trial, self.config["key"], every_epoch=self.config["every_epoch"])
        return next(self._progress)

    def cleanup(self) -> None:
        if self._progress is not None:
            self._progress.close()
            self._progress = None


def _new_worker(config: dict[str, Any]) -> Worker:
    check_this_node(config["software"])  # it may have joined since the driver looked
    # Called from the first step and not from setup: until setup returns, Tune may give the process up for another one.
    new_worker: NewWorker = config["new_worker"]
    worker = new_worker(
        Workplace(
            store=config["store"],
            cache_dir=cache_folder(otherwise=Path(config["cache_dir"])),
            cpus=config["cpus"],
            has_gpu=bool(ray.get_gpu_ids()),
            hang_seconds=config["hang_seconds"],
        )
    )
    # All that was imported lives as long as the process. The collections at its exit would look at each of these
    # 400,000 objects several times: 1.2 s, in which the run's last trials are over and the cluster is not free.
    gc.freeze()
    return worker


class _SourceSearcher(Searcher):  # type: ignore[misc]  # Ray ships no types for Tune
    """Lets Tune ask our `TrialSource` for trials, and counts how they end."""

    def __init__(
        self,
        source: TrialSource,
        place: Place,
        every_epoch: bool,
        room: Room,
        listener: Listener,
        control: RunControl,
        new_worker: NewWorker = trial_worker,
    ) -> None:
        super().__init__(metric="objective", mode="max")
        self._source = source
        self._packing = place.packing
        self._store = TrialStore(place.store)
        self._constants = {
            "store": place.store,
            "cache_dir": str(place.cache_dir),
            "cpus": place.resources.cpus,
            "every_epoch": every_epoch,
            "hang_seconds": HANG_SECONDS,
            "software": dict(software()),
            "new_worker": new_worker,
        }
        self._room = room
        self._slots = room.slots  # as those who share the cluster know it
        self._num_drawn = 0  # from the source
        self._control = control
        self._again: list[tuple[float, PlannedTrial]] = []  # when to ask for it again
        self._ahead: deque[PlannedTrial] = deque()  # drawn from the source, and not handed out yet
        self._times_busy: Counter[str] = Counter()  # by key
        self._listener = listener
        self._running: dict[str, PlannedTrial] = {}
        self._unplaced: dict[str, PlannedTrial] = {}  # those of them that have no process yet
        self._idle_since = 0.0  # none of those under way has had a process since then
        self._is_missing = False  # what they wait for: so it was told
        self.summary = RunSummary()
        self._lost: Counter[str] = Counter()  # workers that died on a trial since its last commit, by its key
        self._deaths: dict[str, Death] = {}  # that `on_trial_complete` has yet to hear of, by the id of the trial
        self._silent: set[str] = set()  # those of the running that nothing was heard of yet
        self._died_silently: set[str] = set()  # keys of trials, since one was last heard of for the first time

    @property
    def done(self) -> bool:
        """Whether every trial has ended."""
        return self._source.exhausted and not (self._ahead or self._again or self._running)

    def is_over(self) -> bool:
        """Whether nothing is to be under way any more: it goes on from its last commit in another run."""
        return self._control.is_over or self.summary.crowded or self.summary.refusal is not None

    def cannot_go_on(self) -> bool:
        """Whether nothing more is to start."""
        return self.is_over() or self.summary.is_cut_short

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        if self.done or self.cannot_go_on():
            return str(Searcher.FINISHED)
        if len(self._running) >= self._most_now(self._followed()):
            return None
        trial = self._next()
        if trial is None or self.summary.is_cut_short:
            return None
        self._running[trial_id] = self._unplaced[trial_id] = trial
        self._silent.add(trial_id)
        config: dict[str, Any] = {
            "trial": trial.config.model_dump_json(),
            "key": trial.key,
            "may_stop": trial.cell.may_stop,
            "imbalance_factor": trial.config.data.imbalance_factor,
            **self._constants,
        }
        return config

    def _followed(self) -> int:
        """How many trials the cluster holds; who shares it hears when that changes, and the user what is missing."""
        slots = self._room.follow(self.num_without_room)
        if slots != self._slots:
            self._slots = slots
            self._control.resized(slots)
        missing = self._missing(slots)
        if missing is not None and not self._is_missing:
            self._listener.waits_for(missing)
        self._is_missing = missing is not None
        return slots

    def _missing(self, slots: int) -> str | None:
        """What the study does not get on without."""
        now, none_has_a_process = time.monotonic(), len(self._running) == len(self._unplaced)
        if slots == 0 or not self._running or not none_has_a_process:
            self._idle_since = now
        if slots == 0 and none_has_a_process:
            return f"a node with {self._room.what}; the last one that had them has gone"
        if now - self._idle_since < SECONDS_TO_PLACE:
            return None
        return (
            f"room: no trial has a process yet, and each takes {self._room.what}; another program, or a study in "
            "another store, may have them"
        )

    def placed(self, unplaced: Collection[str]) -> None:
        """Hear which of the trials under way have no process: not yet, or not any more."""
        for trial_id in [waiting for waiting in self._unplaced if waiting not in unplaced]:
            self._starts(trial_id)
        # Of a node that is drained, as when a spot machine is taken back, Tune gives the trials to others by itself.
        for trial_id in self._running.keys() & set(unplaced) - self._unplaced.keys():
            self._unplaced[trial_id] = self._running[trial_id]
            self._deaths.pop(trial_id, None)
            self._listener.lost_worker(self._running[trial_id], "its node was drained, to be taken away")

    def _starts(self, trial_id: str) -> None:
        with self._ends_with_the_store():
            self._listener.started(self._unplaced.pop(trial_id))

    def may_start(self, num_ended: int) -> bool:
        """Whether one more trial may start, if so many of those under way have ended."""
        return len(self._running) - num_ended < self._most_now(self._room.slots, num_ended)

    def _most_now(self, slots: int, num_ended: int = 0) -> float:
        """How many trials may be under way, if so many of those that are have ended.

        Never more than can run: what waits for a process would count as under way, for limits and for who shares the
        cluster. What no node can run takes nothing from others.
        """
        num_running = len(self._running) - num_ended
        unplaced = min(len(self._unplaced), num_running)  # one of them may have ended since
        if slots == 0:
            self._control.trials_at_once(num_running - unplaced, 0, 0)
            return 0
        return min(slots, self._control.trials_at_once(num_running, self._num_left(num_ended), unplaced))

    def num_without_room(self) -> int:
        """How many trials wait for nothing but a larger cluster; as many are drawn, to be sure that they are there."""
        num_running = len(self._running)
        if num_running < self._most_now(self._room.slots):
            return 0
        most = int(min(MOST_ASKED_FOR, self._control.most - num_running))
        self._draw(most - self._num_due())
        return min(most, self._num_due() + len(self._ahead))

    def _num_left(self, num_ended: int) -> int:
        """How many trials could start now, as far as is known: not those that wait for what others reach.

        Who shares the cluster would keep devices free for them, perhaps for hours.
        """
        self._draw(1)
        if not self._ahead:
            # What is ending has yet to be told to the source, and may be what it waits for.
            return self._num_due() + (num_ended > 0 and not self._source.exhausted)
        return self._num_due() + len(self._ahead) + max(0, self._source.num_trials - self._num_drawn)

    def _num_due(self) -> int:
        """How many trials are to be asked for again now."""
        now = time.monotonic()
        return sum(due <= now for due, _ in self._again)

    def _draw(self, count: int) -> None:
        """Have so many new trials ahead, if the source has them now."""
        with self._ends_with_the_store():
            while len(self._ahead) < count and not self._source.exhausted:
                trial = self._source.next()
                if trial is None:
                    return
                self._num_drawn += 1
                self._ahead.append(trial)

    def _next(self) -> PlannedTrial | None:
        # Before new ones: whoever trained it may be dead by now, and what it has reached is lost time until it goes on.
        for entry in self._again:
            if entry[0] <= time.monotonic():
                self._again.remove(entry)
                return entry[1]
        return self._ahead.popleft() if self._ahead else None

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        progress = progress_from(result)
        if progress.ended:  # `on_trial_complete` tells of it
            return
        trial = self._running[trial_id]
        self._hear_of(trial_id)
        if progress.new_commits:
            self._lost.pop(trial.key, None)
        self._listener.progressed(trial, progress)

    def _hear_of(self, trial_id: str) -> None:
        """A process lives long enough to say something."""
        if trial_id in self._silent:
            self._silent.discard(trial_id)
            self._died_silently.clear()

    def _end_if_it_is_the_node(self, trial_id: str, trial: PlannedTrial, death: Death) -> None:
        """End the run where trial after trial dies before it says anything.

        A node on which nothing can live is always free: it would be given one trial after the other.
        """
        if trial_id in self._silent and not death.node_has_gone:
            self._died_silently.add(trial.key)
        self._silent.discard(trial_id)
        if len(self._died_silently) == MAX_SILENT_DEATHS:
            self.summary.refusal = (
                f"{MAX_SILENT_DEATHS} trials in a row died before they had trained an epoch, the last one by "
                f"{death.cause} (mend that node or leave it out; then run the study again)"
            )

    def died(self, trial_id: str, death: Death) -> None:
        """Hear how a trial's process has died; `on_trial_complete` comes next."""
        self._deaths[trial_id] = death

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        if trial_id in self._unplaced:  # its process did not come as far as to train it
            self._starts(trial_id)
        trial = self._running.pop(trial_id)
        self._most_now(self._room.slots)  # one less is under way
        progress = progress_from(result) if result else None
        if error or progress is None:
            death = self._deaths.pop(trial_id, Death())
            with suppress(StoreError):  # what it has told itself says more
                death = replace(death, why=last_words(self._store.stacks_file(trial.key)) or death.why)
            self._lost[trial.key] += 1
            self._end_if_it_is_the_node(trial_id, trial, death)
            if self._lost[trial.key] <= MAX_LOST_WORKERS:
                self._listener.lost_worker(trial, death.cause)
                self._again.append((time.monotonic(), trial))
                return
            reason = (
                f"the process that trained it died, or could not be started, {MAX_LOST_WORKERS + 1} times without a "
                f"commit in between; the last time: {death.cause}"
            )
            progress = TrialProgress(key=trial.key, status="failed", error=reason)
        self._hear_of(trial_id)
        if not progress.ended:
            progress = self._stop_early(trial, progress)
        elif progress.status == "out_of_memory" and self._makes_room():
            return
        self._listener.progressed(trial, progress)
        if progress.status == "busy":
            pause = BUSY_PAUSE_SECONDS * 2.0 ** min(self._times_busy[trial.key], 10)
            self._times_busy[trial.key] += 1
            self._again.append((time.monotonic() + min(pause, LONGEST_BUSY_PAUSE_SECONDS), trial))
            return
        self.summary.count(trial, progress)
        if progress.status not in ("store_failed", "refused"):
            with self._ends_with_the_store():
                self._source.tell(trial, progress.accuracies if progress.status == "finished" else None)

    def _makes_room(self) -> bool:
        """Whether the trials that ran out of memory fit with fewer others beside them: this run ends for another."""
        with self._ends_with_the_store():
            self.summary.crowded = self.summary.crowded or (self._packing is not None and self._packing.back_off())
        return self.summary.crowded

    @contextmanager
    def _ends_with_the_store(self) -> Iterator[None]:
        """A store that fails the driver ends the run like one that fails a worker: Tune would only print it."""
        try:
            yield
        except StoreError as error:
            self.summary.store_error = error.with_hint

    def _stop_early(self, trial: PlannedTrial, progress: TrialProgress) -> TrialProgress:
        reason = f"stopped after epoch {progress.epoch} of {progress.num_epochs}"
        try:
            record = self._store.read(trial.key)
            if record.status == "absent":
                raise Fenced(f"trial {trial.key[:12]} was deleted while it was trained")
            claim = self._store.claim(
                trial.config, record.parts, class_counts=record.class_counts, worker=record.worker, even_if_busy=True
            )
            claim.stop(reason)
        except (TrialBusy, Fenced) as error:  # it has ended by another driver's hand, or is to be trained anew
            return TrialProgress(key=trial.key, status="busy", error=str(error))
        except StoreError as error:
            return TrialProgress(key=trial.key, status="store_failed", error=error.with_hint)
        return TrialProgress(
            key=trial.key,
            status="stopped",
            epoch=progress.epoch,
            num_epochs=progress.num_epochs,
            accuracies=progress.accuracies,
            seconds=progress.seconds,
            error=reason,
        )

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles its searcher for its own restore, which ccar does not use

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save: the store knows."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to restore: the store knows."""


class _Ending(tune.Stopper):  # type: ignore[misc]  # Ray ships no types for Tune
    """Ends the whole Tune run: its workers give their trials back, to go on from the last commit."""

    def __init__(self, is_over: Callable[[], bool]) -> None:
        self._is_over = is_over

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return self._is_over()

    def __getstate__(self) -> dict[str, Any]:
        return {}  # see _SourceSearcher


def progress_from(result: dict[str, Any]) -> TrialProgress:
    """The progress that `_TrialActor.step` sent, out of Tune's (flattened or nested) result."""
    prefix = "accuracies/"
    accuracies = result.get("accuracies") or {
        name.removeprefix(prefix): value for name, value in result.items() if name.startswith(prefix)
    }
    return TrialProgress(
        key=result["key"],
        status=result["status"],
        epoch=result["epoch"],
        num_epochs=result["num_epochs"],
        accuracies=accuracies or None,
        seconds=result["seconds"],
        error=result["error"],
        replayed=result["replayed"],
        new_epochs=result["new_epochs"],
        new_images=result["new_images"],
        new_commits=result["new_commits"],
    )


def _compared(source: TrialSource, store: TrialStore) -> Iterator[TrialRecord]:
    """The trials that early stopping compares, as far as they are known by now."""
    return (store.read(trial.key) for trial in source.known if trial.cell.may_stop)
