"""The scheduler that Ray Tune asks: early stopping by Ray's own rules, told everything that the store knows."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import AsyncHyperBandScheduler, FIFOScheduler, MedianStoppingRule, TrialScheduler

from ccar.cluster.death import Death
from ccar.cluster.events import accuracies_of
from ccar.store.records import TrialRecord
from ccar.study.definition import EarlyStopping
from ccar.study.expansion import ImbalanceFactorValue
from ccar.training.result import EpochResult

_SECONDS_BETWEEN_ASKS = 0.1  # as long as Tune waits for an event where it has something to wait for


class StoppingRules:
    """One early-stopping rule per imbalance factor, which is told the result of every epoch once.

    Accuracies at different imbalance factors do not compare: one rule over all would stop every trial of the
    steepest tail.

    What a rule answers depends on the results that it was told, but not on their order across trials. So rules that
    begin with what the store has answer like those of the run that filled it.
    """

    def __init__(self, definition: EarlyStopping, stored: Iterable[TrialRecord]) -> None:
        """Tell what earlier runs have reached.

        Args:
            definition: the rule.
            stored: the trials that are compared, as the store has them.
        """
        self._definition = definition
        self._rules: dict[ImbalanceFactorValue, TrialScheduler] = {}
        self._told: dict[str, tuple[int, bool]] = {}  # by trial key: the last epoch, and whether to stop after it
        undecided: list[tuple[TrialRecord, EpochResult]] = []
        for record in stored:
            for epoch in record.epochs:
                if record.status in ("unfinished", "failed") and epoch is record.epochs[-1]:
                    undecided.append((record, epoch))
                else:
                    self._tell_stored(record, epoch, decided=True)
        # Last: they are judged by all that the others had reached.
        for record, epoch in undecided:
            self._tell_stored(record, epoch, decided=False)

    def tell(
        self, key: str, imbalance_factor: ImbalanceFactorValue, epoch: int, objective: float, *, decided: bool
    ) -> bool:
        """Tell the result of an epoch, in the order of the trial's epochs; it may be told again.

        Args:
            key: of the trial.
            imbalance_factor: of its data.
            epoch: from 1.
            objective: what is compared, larger is better.
            decided: whether the trial is known to have gone on, or to have ended, after it; it only counts for the
                others then.

        Returns:
            Whether to stop the trial after this epoch: the first answer, however often it is told.
        """
        last, stops = self._told.get(key, (0, False))
        if epoch <= last:
            return stops and epoch == last
        rule, trial = self._rule(imbalance_factor), _Contestant(key)
        result = {"epoch": epoch, "objective": objective}
        rule.on_trial_add(None, trial)
        if decided or stops:  # another driver may have trained on what was to stop; Ray's rules cannot be asked again
            rule.on_trial_complete(None, trial, result)
        else:
            stops = bool(rule.on_trial_result(None, trial, result) == TrialScheduler.STOP)
        self._told[key] = epoch, stops
        return stops

    def _tell_stored(self, record: TrialRecord, epoch: EpochResult, *, decided: bool) -> None:
        assert record.config is not None, "a trial with epochs has been begun"
        factor = record.config.data.imbalance_factor
        self.tell(record.key, factor, epoch.epoch, objective(accuracies_of(epoch)), decided=decided)

    def _rule(self, imbalance_factor: ImbalanceFactorValue) -> TrialScheduler:
        if imbalance_factor not in self._rules:
            self._rules[imbalance_factor] = _rule(self._definition)
        return self._rules[imbalance_factor]


class StudyScheduler(FIFOScheduler):  # type: ignore[misc]  # Ray ships no types for Tune
    """First come, first served; asks the stopping rules about the trials of a `Cell.may_stop`."""

    def __init__(
        self,
        rules: StoppingRules | None,
        may_start: Callable[[int], bool],
        placed: Callable[[Collection[str]], None],
        died: Callable[[str, Death], None],
    ) -> None:
        """Prepare for one run.

        Args:
            rules: early stopping; None lets every trial run to its end.
            may_start: says whether one more trial may start, if so many of those under way have ended.
            placed: is told, several times a second, the ids of those under way that have no process yet.
            died: is told, by the id of its trial, that a process has died, before the searcher hears it.
        """
        super().__init__()
        self._rules = rules
        self._may_start = may_start
        self._placed = placed
        self._died = died
        self._asks_once = False
        self._idle: Any = None  # Tune's store of warm processes without a trial; none before one has ended

    def choose_trial_to_run(self, tune_controller: Any) -> None:  # noqa: ANN401
        """No choice: Tune starts all that are pending, in order.

        The choice of FIFOScheduler, the first that is pending, would take over the first warm process that falls free
        while its own is starting. That one would be given up, and trials that are shorter than a start would never get
        another process: not on a node that joins, and not in the place of one that died.
        """
        if not self._asks_once:
            loop = tune_controller._tune_controller
            loop._update_trial_queue = _AsksOnce(loop._update_trial_queue)
            self._asks_once = True
        live = tune_controller.get_live_trials()
        self._placed({trial.trial_id for trial in live if trial.status == Trial.PENDING})
        if self._idle is not None and self._idle.num_cached_objects:
            self._idle._may_keep_one = self._may_start(0)

    def on_trial_result(self, tune_controller: object, trial: Trial, result: dict[str, Any]) -> str:
        stops = self._tell(trial, result, decided=result["replayed"]) and not result["replayed"]
        return str(TrialScheduler.STOP if stops else TrialScheduler.CONTINUE)

    def on_trial_complete(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> None:  # noqa: ANN401
        # Tune would keep a process, and with it a GPU, for a trial that may be long in coming: when it is the turn of
        # other studies, which wait for what it holds.
        self._idle = tune_controller._actor_cache
        self._idle._may_keep_one = self._may_start(1)
        self._tell(trial, result, decided=True)  # the last epoch of a trial comes with its end
        _forget_numbers(trial)

    def on_trial_error(self, tune_controller: object, trial: Trial) -> None:
        noted = trial.error_file
        self._died(trial.trial_id, Death.told(Path(noted).read_text(errors="replace") if noted else ""))

    def _tell(self, trial: Trial, result: Mapping[str, Any], *, decided: bool) -> bool:
        epoch = result.get("epoch", 0)  # 0: an end that no new epoch comes with
        if self._rules is None or not trial.config["may_stop"] or epoch == 0:
            return False
        key, factor = trial.config["key"], trial.config["imbalance_factor"]
        return self._rules.tell(key, factor, epoch, result["objective"], decided=decided)


class _AsksOnce:
    """Asks for a next trial, and lets Tune's loop go on where there is none.

    With nothing under way Tune would ask for 600 s and do nothing else: a process that it has let go would keep its GPU
    as long, whoever's turn it is.
    """

    def __init__(self, ask: Callable[[], bool]) -> None:
        self._ask = ask

    def __call__(self, *, blocking: bool) -> bool:
        found = self._ask()
        if blocking and not found:
            time.sleep(_SECONDS_BETWEEN_ASKS)
        return found

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles all parts of its loop for its own restore, which ccar does not use


def objective(accuracies: Mapping[str, float] | None) -> float:
    """What the rules compare; NaN when there is no validation part."""
    return float("nan") if accuracies is None else accuracies["balanced_accuracy"]


@dataclass(frozen=True, slots=True)
class _Contestant:
    """All that Ray's rules want of a trial. Its id is our key: Ray has another one for it in every run."""

    trial_id: str


def _forget_numbers(trial: Trial) -> None:
    """Drop what Tune would keep of an ended trial until the run ends.

    Of each number that a trial has told, Tune keeps the extremes, means and the last ten: 43 kB a trial, which would be
    most of the driver's memory after thousands of them.
    """
    trial.metric_analysis.clear()
    trial.metric_n_steps.clear()


def _rule(definition: EarlyStopping) -> TrialScheduler:
    named: dict[str, Any] = {"time_attr": "epoch", "metric": "objective", "mode": "max"}
    if definition.algorithm == "asha":
        return AsyncHyperBandScheduler(
            **named,
            max_t=1_000_000,  # the recipe ends a trial, not the rule
            grace_period=definition.grace_epochs,
            reduction_factor=definition.reduction_factor,
        )
    return MedianStoppingRule(
        **named,
        grace_period=definition.grace_epochs,
        min_time_slice=math.inf,  # a pause, until there is more to compare with, would keep a warm process waiting
    )
