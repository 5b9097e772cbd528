"""The summaries that all parts of a report share, computed once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

from ccar.evidence.best_omega import best_omegas
from ccar.evidence.cells import summarise_cells
from ccar.evidence.costs import StudyCosts, claim_costs, study_costs
from ccar.evidence.flat_region import flat_region
from ccar.evidence.frames import SETTING
from ccar.evidence.optimism import optimism
from ccar.evidence.published import beside_measured
from ccar.evidence.ranks import Ranks, average_ranks
from ccar.evidence.selection import candidates, select_omega, select_without_each_seed
from ccar.evidence.shape_and_scale import select_method, shape_and_scale
from ccar.evidence.test_results import with_test_results
from ccar.reports.report_input import ReportInput


@dataclass(frozen=True, slots=True)
class Setting:
    """One data set at one imbalance factor: results compare inside it, never across."""

    data: str
    imbalance_factor: str

    @property
    def label(self) -> str:
        """How tables and figures call it: `IF 100`."""
        return setting_label(self.imbalance_factor)

    def of(self, frame: pd.DataFrame) -> pd.DataFrame:
        """The rows of this setting."""
        return frame[(frame["data"] == self.data) & (frame["imbalance_factor"] == self.imbalance_factor)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """A report's numbers.

    Attributes:
        source: what the report was asked to show.
        trials: validation and test results side by side, one row per trial.
        cells: from `summarise_cells`.
        choices: from `best_omegas`; without rows where nothing could be chosen.
        candidates: ids of the cells that competed for the choices.
        optimism: what picking omega on the test set would have claimed, from `optimism`.
        flat: from `flat_region`: which cells validation does not show to be worse than the chosen one.
        shape_and_scale: the parts of the gains, from `shape_and_scale`; without rows in a study without controls.
        published: published rows beside measured cells, from `beside_measured`.
        ranks: over the settings; None where they are too few.
        costs: what the study took.
        claims: what each choice took, from `claim_costs`.
        settings: in the order of the study.
    """

    source: ReportInput
    trials: pd.DataFrame
    cells: pd.DataFrame
    choices: pd.DataFrame
    candidates: frozenset[str]
    optimism: pd.DataFrame
    flat: pd.Series[Any]
    shape_and_scale: pd.DataFrame
    published: pd.DataFrame
    ranks: Ranks | None
    costs: StudyCosts
    claims: pd.DataFrame
    settings: tuple[Setting, ...]

    @property
    def has_validation(self) -> bool:
        """Whether the study holds out images to choose omega on."""
        return bool((self.trials["validation_per_class"] != "0").any())


def summarise(source: ReportInput) -> Results:
    """Compute what the tables, figures and sentences of a report are made from."""
    choices = select_omega(source.validation)  # before anything of the test set is looked at
    competed = candidates(source.validation)
    left_out = select_without_each_seed(source.validation)
    methods = select_method(source.validation)
    flat = flat_region(choices, source.validation)
    trials = with_test_results(source.validation, source.tests)
    cells = summarise_cells(trials, source.baseline)
    costs = study_costs(source.validation, source.costs, source.submitted_at)
    return Results(
        source=source,
        trials=trials,
        cells=cells,
        choices=best_omegas(choices, cells),
        candidates=competed,
        optimism=optimism(choices, left_out, competed, trials, cells),
        flat=flat,
        shape_and_scale=shape_and_scale(methods, trials, cells),
        published=beside_measured(cells),
        ranks=average_ranks(cells, choices),
        costs=costs,
        claims=claim_costs(choices, cells, costs.hours_of_cell),
        settings=tuple(
            Setting(*setting) for setting in trials.drop_duplicates(SETTING)[SETTING].itertuples(index=False, name=None)
        ),
    )


def setting_label(imbalance_factor: str) -> str:
    """How a table heads its columns."""
    return "natural tail" if imbalance_factor == "natural" else f"IF {imbalance_factor}"
