"""A study that was never trained: a plan, and records with made-up numbers that follow the store's schema."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from ccar.evidence.frames import ValidationFrame, cost_frame, validation_frame
from ccar.evidence.reliability import reliability_frame
from ccar.evidence.test_results import test_frame as frame_of_tests
from ccar.metrics.accuracy import Evaluation
from ccar.metrics.calibration import Reliability
from ccar.store.key import keyed_configuration
from ccar.store.records import TrialRecord, TrialStatus
from ccar.study.definition import Study
from ccar.study.expansion import PlannedTrial, cells_of, method_of, plan_cells
from ccar.study.methods import entry_of
from ccar.training.config import TrialConfig
from ccar.training.result import EpochResult, TestResult

NUM_EPOCHS = 3
PLAIN_AND_TWO_OMEGAS = {
    "bases": ["cross_entropy", "balanced_softmax"],
    "reweighting": {"omega": [0.5, 0.75]},
}


@dataclass(frozen=True)
class MadeUpStudy:
    """Plan, records and test results, and the frames made of them."""

    study: Study
    trials: tuple[PlannedTrial, ...]
    records: dict[str, TrialRecord]
    tests: dict[str, TestResult | None]

    @property
    def validation(self) -> ValidationFrame:
        return validation_frame(self.trials, self.records)

    @property
    def test_results(self) -> pd.DataFrame:
        return frame_of_tests(self.tests)

    @property
    def reliability(self) -> pd.DataFrame:
        return reliability_frame(self.tests)

    @property
    def costs(self) -> pd.DataFrame:
        return cost_frame(self.trials, self.records)

    @property
    def configurations(self) -> dict[str, dict[str, Any]]:
        return {trial.cell.id: keyed_configuration(trial.cell.config) for trial in self.trials}

    @property
    def entries(self) -> dict[str, dict[str, Any]]:
        return {trial.cell.id: entry_of(method_of(self.study, trial.cell)) for trial in self.trials}

    def keys(self, method: str) -> list[str]:
        """The keys of one method's trials, in the order of the plan."""
        return [trial.key for trial in self.trials if trial.cell.method == method]

    @property
    def never_ran(self) -> MadeUpStudy:
        """The same study, before anything of it was trained."""
        return replace(self, records={}, tests={})

    def ended(self, key: str, status: TrialStatus, error: str) -> MadeUpStudy:
        """The same study, with one trial that ended otherwise and so was never tested."""
        records = {**self.records, key: replace(self.records[key], status=status, error=error)}
        return replace(self, records=records, tests={**self.tests, key: None})


def made_up_study(
    *,
    methods: Mapping[str, Any] = PLAIN_AND_TWO_OMEGAS,
    imbalance_factors: Sequence[float | str] = (100,),
    seeds: Sequence[int] = (0, 1, 2),
    validation_per_class: int = 10,
    num_classes: int = 100,
    class_order: str = "label",
    recipe: str | Mapping[str, Any] = "ldam_drw_cifar",
) -> MadeUpStudy:
    """A study with these methods, as its file would list them, and the numbers of `made_up`."""
    study = Study.model_validate(
        {
            "study": "made-up",
            "question": "Does omega help?",
            "data": {
                "name": "cifar100",
                "imbalance_factors": list(imbalance_factors),
                "validation_per_class": validation_per_class,
                "class_order": class_order,
            },
            "model": "resnet32",
            "recipe": recipe,
            "methods": methods,
            "seeds": list(seeds),
            "baseline": "cross_entropy",
        }
    )
    return made_up(study, num_classes)


def made_up(study: Study, num_classes: int = 100) -> MadeUpStudy:
    """Numbers for all trials of a study, by a simple rule.

    A seed shifts all methods alike; a base loss adds its own gain; omega helps most at 0.75; a little noise.
    """
    fingerprints = {(factor, seed): "0" * 64 for factor in study.data.imbalance_factors for seed in study.seeds}
    trials = plan_cells(cells_of(study), study.seeds, fingerprints)
    bases = list(dict.fromkeys(trial.config.loss for trial in trials))
    records = {}
    tests: dict[str, TestResult | None] = {}
    for number, trial in enumerate(trials):
        noise = np.random.default_rng(number)
        level = _level(trial.config, bases.index(trial.config.loss))
        records[trial.key] = _record(trial, level, noise, num_classes)
        tests[trial.key] = _test(level, noise, num_classes)
    return MadeUpStudy(study, trials, records, tests)


def _level(config: TrialConfig, base: int) -> float:
    factor = config.data.imbalance_factor
    level = 0.55 - 0.04 * np.log10(100.0 if factor == "natural" else factor) + 0.012 * base
    level += 0.004 * np.random.default_rng(config.seed).standard_normal()
    if config.reweighting is not None:
        level += 0.012 - 0.06 * (config.reweighting.omega - 0.75) ** 2 - 0.004 * base
    return float(level)


def _record(trial: PlannedTrial, level: float, noise: np.random.Generator, num_classes: int) -> TrialRecord:
    epochs = tuple(
        EpochResult(
            epoch=number,
            train_loss=3.0 / number,
            learning_rate=0.1,
            seconds=1.5,
            images_per_second=4000.0,
            finished_at=1000.0 + number,
            validation=(
                _evaluation(level * number / NUM_EPOCHS, noise, num_classes)
                if trial.config.data.validation_per_class
                else None
            ),
        )
        for number in range(1, NUM_EPOCHS + 1)
    )
    return TrialRecord(
        key=trial.key,
        status="finished",
        config=trial.config,
        epochs=epochs,
        started_at=1000.0,
        ended_at=1004.5,
        worker={"host": "node-1", "device": "cpu", "processor": "made up", "threads": 1, "versions": {"torch": "2"}},
        num_records=3,
    )


def _test(level: float, noise: np.random.Generator, num_classes: int) -> TestResult:
    return TestResult(
        last_epoch=_evaluation(level, noise, num_classes),
        best_epoch=_evaluation(level - 0.001, noise, num_classes),
        best_epoch_index=NUM_EPOCHS,
    )


def _evaluation(level: float, noise: np.random.Generator, num_classes: int) -> Evaluation:
    accuracy = round(float(level + 0.002 * noise.standard_normal()), 4)
    return Evaluation(
        num_images=10_000,
        loss=2.0 - accuracy,
        accuracy=accuracy,
        balanced_accuracy=accuracy,
        many=accuracy + 0.25,
        medium=accuracy,
        few=accuracy - 0.25,
        per_class=(accuracy - 0.1, *(accuracy,) * (num_classes - 1)),
        ece=0.06,
        reliability=Reliability(
            counts=(0, 4_000, 6_000), confidence=(0.0, accuracy, accuracy + 0.1), accuracy=(0.0, accuracy, accuracy)
        ),
    )
