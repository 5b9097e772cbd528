"""Progress of a run on stderr: a live line in a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterable
from types import TracebackType
from typing import NamedTuple

from rich.console import Console, RenderableType
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from ccar.cli.plan import duration
from ccar.cluster.events import RunSummary, TrialProgress
from ccar.store.records import reason_of
from ccar.study.expansion import PlannedTrial
from ccar.study.parts import plain

PLAIN_LINE_SECONDS = 10.0
_BEST = "best of this run on validation"


class _Standing(NamedTuple):
    setting: str
    accuracy: float  # balanced, on validation
    name: str

    @classmethod
    def of(cls, trial: PlannedTrial, accuracy: float) -> _Standing:
        factor = plain(trial.config.data.imbalance_factor)
        setting = "natural tail" if factor == "natural" else f"IF {factor}"
        return cls(setting, accuracy, f"{trial.cell.method} seed {trial.seed}")

    def or_better(self, other: _Standing | None) -> _Standing:
        """Of equals the other, which was there before."""
        return self if other is None or self.accuracy > other.accuracy else other


class _Bar(Progress):
    """A line with the bar, and one for each of the best trials, cut where the terminal ends."""

    def get_renderables(self) -> Iterable[RenderableType]:
        yield self.make_tasks_table(self.tasks)
        for task in self.tasks:
            for line in task.fields["best"]:
                yield Text(f"{_BEST}, {line}", no_wrap=True, overflow="ellipsis")


class ProgressDisplay:
    """A listener that shows trials done / running / failed, the time left, and this run's best trials on validation.

    Used as a context manager around a run.
    """

    def __init__(self, console: Console, total: int, already_done: int) -> None:
        self._console = console
        self._total = total
        self._done = already_done
        self._done_before = already_done
        self._failed = 0
        self._running: set[str] = set()
        self._standings: dict[str, _Standing] = {}  # of the trials that run, by key
        self._best: dict[str, _Standing] = {}  # of those that came to their end, by setting
        self._last_line = time.monotonic()
        self._first_end = 0.0  # when the first trial had ended, and Ray and its workers had started
        self._bar = _Bar(
            TextColumn("[bold]{task.description}"),
            BarColumn(bar_width=16),
            MofNCompleteColumn(),
            TextColumn("{task.fields[state]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(elapsed_when_finished=False),
            console=console,
            transient=True,
        )
        self._task = self._bar.add_task("trials", total=total, completed=already_done, state="", best=[])

    def __enter__(self) -> ProgressDisplay:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def started(self, trial: PlannedTrial) -> None:
        """The trial has a process."""
        self._running.add(trial.key)
        self._show()

    def progressed(self, trial: PlannedTrial, progress: TrialProgress) -> None:
        """The trial has moved on, or has ended."""
        self._rank(trial, progress)
        if progress.ended:
            self._running.discard(trial.key)
            if progress.status in ("finished", "stopped", "diverged"):
                self._done += 1
                self._first_end = self._first_end or time.monotonic()
            elif progress.status in ("failed", "out_of_memory"):
                self._failed += 1
                self._console.print(_failure_line(trial, progress), style="red", markup=False, highlight=False)
        self._show(line=not progress.ended)  # the next trial starts at once: until then one too few would be running

    def lost_worker(self, trial: PlannedTrial, cause: str) -> None:
        """The process that trained this trial is gone, and why; the trial will be tried again."""
        self._running.discard(trial.key)
        message = f"{trial.name}: its worker process died ({cause}); the trial goes on from its last committed epoch"
        self._console.print(message, style="yellow", markup=False, highlight=False, soft_wrap=True)

    def waits_for(self, what: str) -> None:
        """No trial can start before this is there."""
        self._console.print(f"waits for {what}", style="yellow", markup=False, highlight=False, soft_wrap=True)

    def all_ended(self, summary: RunSummary) -> None:
        """Leaving the display's block clears it."""

    def _rank(self, trial: PlannedTrial, progress: TrialProgress) -> None:
        """Trials stand by their latest epoch: the best of all epochs is the luckiest one."""
        if progress.accuracies is not None:
            self._standings[trial.key] = _Standing.of(trial, progress.accuracies["balanced_accuracy"])
        if progress.ended:
            last = self._standings.pop(trial.key, None)
            if last is not None and progress.status in ("finished", "stopped"):
                self._best[last.setting] = last.or_better(self._best.get(last.setting))

    def _best_lines(self) -> list[str]:
        best = dict(self._best)
        for standing in self._standings.values():
            best[standing.setting] = standing.or_better(best.get(standing.setting))
        return [f"{setting}: {100 * standing.accuracy:.1f} % {standing.name}" for setting, standing in best.items()]

    def _show(self, *, line: bool = True) -> None:
        state = f"{len(self._running)} running" + (f", {self._failed} failed" if self._failed else "")
        best = self._best_lines()
        self._bar.update(self._task, completed=self._done, state=state, best=best)
        if line and not self._console.is_terminal and time.monotonic() - self._last_line >= PLAIN_LINE_SECONDS:
            self._last_line = time.monotonic()
            text = f"{self._done}/{self._total} trials, {state}{self._time_left()}"
            text += f"; {_BEST}, {'; '.join(best)}" if best else ""
            self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def _time_left(self) -> str:
        since_first = self._done - self._done_before - 1
        if since_first < max(len(self._running), 1):  # those that run side by side end side by side
            return ""
        seconds = (time.monotonic() - self._first_end) / since_first * (self._total - self._done)
        return f", about {duration(seconds / 3600)} left"


def _failure_line(trial: PlannedTrial, progress: TrialProgress) -> str:
    return f"{trial.name}: failed: {reason_of(progress.error) or 'no reason given'}"
