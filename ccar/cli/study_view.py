"""A study as the commands see it: its file, its images, its trials, and what the store has of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ccar.cli.places import Places
from ccar.cluster.packing import Packing
from ccar.data.image_set import SourceData
from ccar.data.long_tail import Split, split_long_tailed
from ccar.evidence.frames import cost_frame, validation_frame
from ccar.evidence.reliability import reliability_frame
from ccar.evidence.test_results import test_frame
from ccar.reports.report_input import ReportInput
from ccar.store.key import keyed_configuration
from ccar.store.records import StudyRecord, StudyTrial, TrialRecord
from ccar.study.definition import Study, load_study
from ccar.study.expansion import ImbalanceFactorValue, PlannedTrial, load_data, method_of
from ccar.study.methods import entry_of
from ccar.study.search import TrialSource, trial_source


@dataclass(frozen=True, slots=True)
class StudyView:
    """A valid study with its images at hand."""

    study: Study
    images: SourceData
    places: Places

    @classmethod
    def open(cls, file: Path, places: Places, *, pack: bool = True) -> StudyView:
        """Read and check the file and the images that it names.

        Args:
            file: the study file.
            places: store, cache, MLflow.
            pack: False: where large images are not packed yet, only their labels are looked at.

        Raises:
            StudyFileError: all that is wrong with them.
        """
        return cls.of(load_study(file), places, pack=pack)

    @classmethod
    def of(cls, study: Study, places: Places, *, pack: bool = True) -> StudyView:
        """The same for a study that was read."""
        return cls(study, load_data(study, places.cache_dir, pack=pack), places)

    def packing(self, trials: Sequence[PlannedTrial], say: Callable[[str], None]) -> Packing:
        """What each trial gets; one that needs no other trial first is tried where that has to be measured."""
        tried = next((trial.config for trial in trials if trial.stage_one_key is None), None)
        return Packing(self.study.resources, tried, self.places.store.gpu_notes, say)

    def source(self) -> TrialSource:
        """The trials in their order; a search goes on where the store says it was."""
        return trial_source(self.study, self.images, self.places.store.search_log(self.study.name))

    def records(self, trials: Sequence[PlannedTrial]) -> dict[str, TrialRecord]:
        """What the store has of these trials, by key."""
        return {trial.key: self.places.store.read(trial.key) for trial in trials}

    def remember(self, trials: Sequence[PlannedTrial]) -> None:
        """Note in the store which trials make up the study, for all that starts from the store.

        Raises:
            StoreError: the store cannot be written.
        """
        known = self.places.store.study(self.study.name)
        record = StudyRecord(
            name=self.study.name,
            definition=self.study.text,
            trials=tuple(
                StudyTrial(cell=trial.cell.id, method=trial.cell.method, seed=trial.seed, key=trial.key)
                for trial in trials
            ),
            submitted_at=known.submitted_at if known else time.time(),
        )
        if record != known:
            self.places.store.put_study(record)

    def report_input(self, trials: Sequence[PlannedTrial]) -> ReportInput:
        """What the report is made of, as the store has it now."""
        records = self.records(trials)
        tests = {
            trial.key: self.places.store.read_test(trial.key)
            for trial in trials
            if records[trial.key].status == "finished"
        }
        known = self.places.store.study(self.study.name)
        cells = {trial.cell.id: trial.cell for trial in trials}.values()
        splits = {
            factor: split_long_tailed(self.images.train.labels, self.study.data.at(factor), self.study.seeds[0])
            for factor in self.study.data.imbalance_factors
        }
        return ReportInput(
            study=self.study.name,
            question=self.study.question,
            baseline=self.study.baseline,
            validation=validation_frame(trials, records),
            tests=test_frame(tests),
            reliability=reliability_frame(tests),
            costs=cost_frame(trials, records),
            submitted_at=known.submitted_at if known else None,
            study_file=self.study.text,
            configurations={cell.id: keyed_configuration(cell.config) for cell in cells},
            entries={cell.id: entry_of(method_of(self.study, cell)) for cell in cells},
            class_counts={factor: split.class_counts for factor, split in splits.items()},
            classes=_classes(self.images, splits),
        )


def _classes(images: SourceData, splits: Mapping[ImbalanceFactorValue, Split]) -> pd.DataFrame:
    """See `ReportInput.classes`."""
    num_classes = len(images.class_names)

    def counts(labels: NDArray[np.integer[Any]]) -> NDArray[np.intp]:
        return np.bincount(labels, minlength=num_classes)

    own = images.validation
    return pd.concat(
        pd.DataFrame(
            {
                "imbalance_factor": factor,
                "label": range(num_classes),
                "class": images.class_names,
                "train": split.class_counts,
                "validation": counts(images.train.labels[split.validation] if own is None else own.labels),
                "test": counts(images.test.labels),
            }
        )
        for factor, split in splits.items()
    )
