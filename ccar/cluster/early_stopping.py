"""The scheduler that Ray Tune asks: early stopping by its own rules, applied where accuracies compare."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import AsyncHyperBandScheduler, FIFOScheduler, MedianStoppingRule, TrialScheduler

from ccar.study.definition import EarlyStopping


class StudyScheduler(FIFOScheduler):  # type: ignore[misc]  # Ray ships no types for Tune
    """First come, first served; one early-stopping rule per imbalance factor for the trials of a `Cell.may_stop`.

    Accuracies at different imbalance factors do not compare: one rule over all would stop every trial of the
    steepest tail.
    """

    def __init__(self, early_stopping: EarlyStopping | None, lost_worker: Callable[[str], None]) -> None:
        """Prepare for one run.

        Args:
            early_stopping: the rule; None lets every trial run to its end.
            lost_worker: is told the id of each trial that comes again because its process died.
        """
        super().__init__()
        self._early_stopping = early_stopping
        self._lost_worker = lost_worker
        self._rules: dict[float, TrialScheduler] = {}

    def on_trial_add(self, tune_controller: object, trial: Trial) -> None:
        if trial.num_failures:
            self._lost_worker(trial.trial_id)
        if self._applies(trial):
            self._rule(trial).on_trial_add(tune_controller, trial)

    def choose_trial_to_run(self, tune_controller: object) -> None:
        """No choice: Tune starts all that are pending, in order.

        The choice of FIFOScheduler, the first that is pending, would take over the first warm process that falls free
        while its own is starting. That one would be given up, and trials that are shorter than a start would never get
        another process: not on a node that joins, and not in the place of one that died.
        """

    def on_trial_result(self, tune_controller: object, trial: Trial, result: dict[str, Any]) -> str:
        if not self._applies(trial):
            return str(TrialScheduler.CONTINUE)
        decision = str(self._rule(trial).on_trial_result(tune_controller, trial, result))
        # What the store has is shown to the rule, for the sake of the others; it cannot be stopped any more. And
        # the median rule's pause, until there is more to compare with, would only keep a warm process waiting.
        stops = decision == TrialScheduler.STOP and not result["replayed"]
        return str(TrialScheduler.STOP if stops else TrialScheduler.CONTINUE)

    def on_trial_complete(self, tune_controller: object, trial: Trial, result: dict[str, Any]) -> None:
        if self._applies(trial):
            self._rule(trial).on_trial_complete(tune_controller, trial, result)

    def on_trial_error(self, tune_controller: object, trial: Trial) -> None:
        if self._applies(trial):
            self._rule(trial).on_trial_error(tune_controller, trial)

    def on_trial_remove(self, tune_controller: object, trial: Trial) -> None:
        if self._applies(trial):
            self._rule(trial).on_trial_remove(tune_controller, trial)

    def _applies(self, trial: Trial) -> bool:
        return self._early_stopping is not None and bool(trial.config["may_stop"])

    def _rule(self, trial: Trial) -> TrialScheduler:
        assert self._early_stopping is not None, "asked only where a rule applies"
        factor = trial.config["imbalance_factor"]
        if factor not in self._rules:
            self._rules[factor] = _rule(self._early_stopping)
        return self._rules[factor]


def _rule(definition: EarlyStopping) -> TrialScheduler:
    named: dict[str, Any] = {"time_attr": "epoch", "metric": "objective", "mode": "max"}
    if definition.algorithm == "asha":
        return AsyncHyperBandScheduler(
            **named,
            max_t=1_000_000,  # the recipe ends a trial, not the rule
            grace_period=definition.grace_epochs,
            reduction_factor=definition.reduction_factor,
        )
    return MedianStoppingRule(**named, grace_period=definition.grace_epochs)
