"""`ccar why`: which part of a trial's key differs from the nearest finished trial."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ccar.errors import UserError
from ccar.reports.wording import listed
from ccar.store.records import TrialRecord
from ccar.study.expansion import PlannedTrial
from ccar.study.plan import Why, states_to_run
from ccar.study.wording import did_you_mean


def find_trial(wanted: str, trials: Sequence[PlannedTrial]) -> PlannedTrial:
    """The trial of that name (`CELL seed N`, or the cell alone for its first seed), or whose key begins so.

    Raises:
        UserError: there is none, or a key that begins so is not the only one.
    """
    by_name = {trial.name: trial for trial in trials}
    by_cell = {trial.cell.id: trial for trial in reversed(trials)}
    if wanted in by_name or wanted in by_cell:
        return by_name.get(wanted) or by_cell[wanted]
    by_key = {trial.key: trial for trial in reversed(trials) if len(wanted) >= 4 and trial.key.startswith(wanted)}
    if len(by_key) == 1:
        return next(iter(by_key.values()))
    if by_key:
        named = listed([repr(trial.name) for trial in by_key.values()])
        message = f"{wanted!r} begins the keys of {len(by_key)} trials, expected one: {named}"
        raise UserError(message, hint="give more of the key, or the name of the trial")
    hint = did_you_mean(wanted, [*by_cell, *by_name]) or f"for example '{trials[0].name}'"
    raise UserError(f"the study has no trial {wanted!r}", hint=hint)


def why_text(trial: PlannedTrial, own: TrialRecord, answer: Why, *, stopped_is_done: bool) -> str:
    """The answer in a few lines.

    Args:
        trial: the trial that was asked about.
        own: what the store has of it.
        answer: the finished trial that is most like it.
        stopped_is_done: see `ccar.study.plan.states_to_run`.
    """
    head = f"{trial.name} (key {trial.key[:12]})"
    if own.status not in states_to_run(stopped_is_done=stopped_is_done):
        end = "was stopped early" if own.status == "stopped" else f"has {own.status}"
        return f"{head}\nwould not run again: it {end}"
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
