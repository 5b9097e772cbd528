"""What the trial store hands out: plain, frozen values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from ccar.training.config import TrialConfig
from ccar.training.result import EpochResult

TrialStatus = Literal["absent", "unfinished", "stopped", "diverged", "failed", "finished"]
_TRACEBACK = "Traceback (most recent call last):"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialRecord:
    """Everything the store knows of one trial except its test results, which are read apart.

    `absent`: never begun. `unfinished`: begun, goes on from its last commit. `stopped`: ended by early
    stopping. `diverged`: a loss or a weight was no longer finite. `failed`: the code raised; the next run tries
    again. In a trial that has ended, only the last and the best epoch keep their per-class accuracies and reliability.
    """

    key: str
    status: TrialStatus
    config: TrialConfig | None = None
    parts: Mapping[str, Any] = field(default_factory=dict)  # what the key digests
    class_counts: tuple[int, ...] = ()  # training images per class
    epochs: tuple[EpochResult, ...] = ()
    started_at: float | None = None  # Unix time of the first claim
    ended_at: float | None = None  # Unix time of the last record
    error: str | None = None
    worker: Mapping[str, Any] = field(default_factory=dict)  # host, pid, device, threads, versions
    num_records: int = 0  # length of the trial's log: a cursor for projections
    claim: Mapping[str, Any] | None = None  # of an unfinished trial: who took it, and the file of its heartbeat

    @property
    def seconds(self) -> float:
        """Pure training and validation time, in seconds."""
        return sum(epoch.seconds for epoch in self.epochs)


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyTrial:
    """One trial of a study, by its names in that study and its key in the store."""

    cell: str
    method: str
    seed: int
    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyRecord:
    """A study that was run against this store: its file as it was, and its trials in order."""

    name: str
    definition: str
    trials: tuple[StudyTrial, ...]
    submitted_at: float


def reason_of(error: str | None) -> str:
    r"""What went wrong, on one line: of a traceback the exception, of other words their first line; "" for none.

    Example:
        >>> reason_of("Traceback (most recent call last):\n  File ...\nOSError: the disk is gone")
        'OSError: the disk is gone'
    """
    _, traceback, last = (error or "").strip().rpartition(_TRACEBACK)  # of several, the one that ended the trial
    lines = [line for line in last.splitlines() if line.strip()]
    if traceback:  # its places are indented; a message may go on over several lines
        lines = [line for line in lines if not line[0].isspace()] or lines[-1:]
    return lines[0].strip() if lines else ""


def without_unneeded_classes(epochs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The epochs, with per-class accuracies and reliability only in the last and in the best one.

    Reason: with 8,142 classes and 90 epochs they would be 99 % of the record, and no table shows the others.
    """
    validated = [epoch for epoch in epochs if epoch["validation"] is not None]
    keep = {epochs[-1]["epoch"]} if epochs else set()
    if validated:
        best = max(validated, key=lambda epoch: (epoch["validation"]["balanced_accuracy"], -epoch["epoch"]))
        keep.add(best["epoch"])
    return [
        dict(epoch)
        if epoch["epoch"] in keep or epoch["validation"] is None
        else {**epoch, "validation": {**epoch["validation"], "per_class": (), "reliability": None}}
        for epoch in epochs
    ]
