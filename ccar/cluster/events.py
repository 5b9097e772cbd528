"""What a runner tells while it works, and what it says at the end; the same in process and on Ray."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

from ccar.study.expansion import PlannedTrial
from ccar.training.result import EpochResult

OutcomeStatus = Literal[
    "running", "finished", "diverged", "stopped", "failed", "busy", "store_failed", "out_of_memory", "refused"
]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialProgress:
    """Where a trial stands: after every step of a worker, and at its end."""

    key: str
    status: OutcomeStatus
    epoch: int = 0
    num_epochs: int = 0
    accuracies: Mapping[str, float] | None = None  # of the last epoch, on the validation part
    seconds: float = 0.0  # pure training time of this trial so far, earlier attempts included
    error: str | None = None
    replayed: bool = False  # told again from the store; the trial has gone on since, or has ended
    new_epochs: int = 0  # trained since the worker last told of this trial, as are the next two
    new_images: int = 0
    new_commits: int = 0

    @property
    def ended(self) -> bool:
        """Whether the worker is done with this trial."""
        return self.status != "running"


def accuracies_of(epoch: EpochResult) -> Mapping[str, float] | None:
    """The shares that searchers, schedulers and the progress line may look at; None without validation."""
    validation = epoch.validation
    if validation is None:
        return None
    named = {
        "accuracy": validation.accuracy,
        "balanced_accuracy": validation.balanced_accuracy,
        "many": validation.many,
        "medium": validation.medium,
        "few": validation.few,
    }
    return {name: value for name, value in named.items() if value is not None}


@dataclass(slots=True)
class RunSummary:
    """How a run ended. `interrupted`: before everything was done, by Ctrl-C or SIGTERM, or where it is `crowded`:
    trials ran out of a GPU's memory, and fewer of them will share one from now on. `store_error` and `refusal` say why
    nothing more was trained: the store cannot be used, or a node is not like the driver."""

    finished: int = 0
    diverged: int = 0
    stopped: int = 0
    failures: list[tuple[PlannedTrial, str]] = field(default_factory=list)
    store_error: str | None = None
    refusal: str | None = None
    interrupted: bool = False
    crowded: bool = False

    @property
    def cut_short_by(self) -> str | None:
        """Why the run ended early, where the next one would meet the same again."""
        return self.store_error or self.refusal

    @property
    def is_cut_short(self) -> bool:
        """Whether it did."""
        return self.cut_short_by is not None

    def count(self, trial: PlannedTrial, progress: TrialProgress) -> None:
        """Add one trial that has ended."""
        if progress.status == "finished":
            self.finished += 1
        elif progress.status == "diverged":
            self.diverged += 1
        elif progress.status == "stopped":
            self.stopped += 1
        elif progress.status == "store_failed":
            self.store_error = progress.error
        elif progress.status == "refused":
            self.refusal = progress.error
        else:
            self.failures.append((trial, progress.error or "no reason given"))


class Listener(Protocol):
    """Is told what happens; must return quickly, since the scheduler waits meanwhile."""

    def started(self, trial: PlannedTrial) -> None:
        """The trial has a process. Told before anything else of it, and again after that was lost."""

    def progressed(self, trial: PlannedTrial, progress: TrialProgress) -> None:
        """The trial has moved on, or has ended."""

    def lost_worker(self, trial: PlannedTrial, cause: str) -> None:
        """The process that trained this trial is gone, and why; the trial will be tried again."""

    def waits_for(self, what: str) -> None:
        """No trial can start before this is there."""

    def all_ended(self, summary: RunSummary) -> None:
        """No trial runs any more. The cluster is being let go meanwhile: there is time for what needs none."""
