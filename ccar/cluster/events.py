"""What a runner tells while it works, and what it says at the end; the same in process and on Ray."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from ccar.cluster.trial_worker import Progress
from ccar.study.expansion import PlannedTrial


class Listener(Protocol):
    """Is told what happens; must return quickly, since the scheduler waits meanwhile."""

    def started(self, trial: PlannedTrial) -> None:
        """A worker has begun with this trial."""

    def progressed(self, trial: PlannedTrial, progress: Progress) -> None:
        """The trial has moved on, or has ended."""

    def lost_worker(self, trial: PlannedTrial) -> None:
        """The process that trained this trial is gone; the trial will be tried again."""


@dataclass(slots=True)
class RunSummary:
    """How a run ended. `interrupted`: by Ctrl-C or SIGTERM, before everything was done."""

    finished: int = 0
    diverged: int = 0
    stopped: int = 0
    failures: list[tuple[PlannedTrial, str]] = field(default_factory=list)
    store_error: str | None = None
    interrupted: bool = False

    def count(self, trial: PlannedTrial, progress: Progress) -> None:
        """Add one trial that has ended."""
        if progress.status == "finished":
            self.finished += 1
        elif progress.status == "diverged":
            self.diverged += 1
        elif progress.status == "stopped":
            self.stopped += 1
        elif progress.status == "store_failed":
            self.store_error = progress.error
        else:
            self.failures.append((trial, progress.error or "no reason given"))
