"""The trials of a study that was run, from what the store remembers of it: no image is looked at."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ccar.store.records import StudyTrial
from ccar.study.definition import Study
from ccar.study.expansion import Cell, PlannedTrial, cell_of, cells_of, num_trials_of, open_cells_of


def stored_trials(study: Study, trials: Sequence[StudyTrial]) -> tuple[PlannedTrial, ...]:
    """The trials under the keys that they had when the study was last run.

    Args:
        study: the definition that the store remembers.
        trials: those that it remembers. One that the definition does not have is left out.

    Returns:
        In the order of `trials`, without the fingerprints of their data and without the keys of their first stages.
    """
    cells = {cell.id: cell for cell in cells_of(study)}
    for trial in trials:
        if trial.cell not in cells and (cell := _searched_cell(study, trial.cell)) is not None:
            cells[cell.id] = cell
    return tuple(
        PlannedTrial(cell=cell, config=cell.config.with_seed(trial.seed), key=trial.key, data_fingerprint="")
        for trial in trials
        if (cell := cells.get(trial.cell)) is not None
    )


def num_to_suggest(study: Study, trials: Sequence[StudyTrial]) -> int:
    """How many more trials a searcher has yet to suggest, at least; none of a study without one.

    Args:
        study: the definition that the store remembers.
        trials: those that it remembers.
    """
    if study.search is None:
        return 0
    # Each omega that the study lists may have been a suggestion before, and then there is none in its place.
    listed = sum(cell.config.reweighting is not None for cell in cells_of(study))
    return max(0, num_trials_of(study) - len(trials) - listed * len(study.seeds))


def _searched_cell(study: Study, wanted: str) -> Cell | None:
    """The cell of this id among those whose omega a searcher chooses."""
    for cell in open_cells_of(study):
        before, _, after = cell.id.rpartition("omega=*")
        found = re.fullmatch(f"{re.escape(before)}omega=([0-9.e-]+){re.escape(after)}", wanted)
        if found is not None:
            return cell_of(study, cell.method.at(float(found[1])), cell.imbalance_factor)
    return None
