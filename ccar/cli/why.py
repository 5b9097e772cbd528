"""`ccar why`: which part of a trial's key differs from the nearest finished trial."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any

from ccar.errors import UserError
from ccar.store.records import TrialRecord
from ccar.study.expansion import PlannedTrial
from ccar.study.plan import Why


def find_trial(wanted: str, trials: Sequence[PlannedTrial]) -> PlannedTrial:
    """The trial of that name (`CELL seed N`, or the cell alone for its first seed), or whose key begins so.

    Raises:
        UserError: there is none, or a key that begins so is not the only one.
    """
    by_name = {trial.name: trial for trial in trials}
    by_cell = {trial.cell.id: trial for trial in reversed(trials)}
    if wanted in by_name or wanted in by_cell:
        return by_name.get(wanted) or by_cell[wanted]
    by_key = [trial for trial in trials if len(wanted) >= 4 and trial.key.startswith(wanted)]
    if len(by_key) == 1:
        return by_key[0]
    close = difflib.get_close_matches(wanted, [*by_cell, *by_name], n=1)
    hint = f"did you mean '{close[0]}'?" if close else f"for example '{trials[0].name}'"
    raise UserError(f"the study has no trial {wanted!r}", hint=hint)


def why_text(trial: PlannedTrial, own: TrialRecord, answer: Why) -> str:
    """The answer in a few lines.

    Args:
        trial: the trial that was asked about.
        own: what the store has of it.
        answer: the finished trial that is most like it.
    """
    head = f"{trial.name} (key {trial.key[:12]})"
    if own.status in ("finished", "diverged"):
        return f"{head}\nwould not run again: it has {own.status}"
    if own.status != "absent":
        return f"{head}\nwould go on after epoch {len(own.epochs)}: it is {own.status}"
    if answer.nearest is None:
        return f"{head}\nhas not run: no trial has finished in this store"
    lines = [
        head,
        f"would run: the nearest finished trial, {answer.nearest.key[:12]}, differs in",
        *(f"  {difference}" for difference in answer.differences),
    ]
    return "\n".join(lines)


def why_json(trial: PlannedTrial, own: TrialRecord, answer: Why) -> dict[str, Any]:
    """The answer as plain JSON."""
    return {
        "trial": trial.name,
        "key": trial.key,
        "status": own.status,
        "nearest": None if answer.nearest is None else answer.nearest.key,
        "differences": [
            {"path": part.path, "stored": part.stored, "current": part.current} for part in answer.differences
        ],
    }
