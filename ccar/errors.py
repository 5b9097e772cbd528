"""The errors that ccar raises on purpose. Their messages are written for the person at the terminal."""

from __future__ import annotations

from dataclasses import dataclass


class CcarError(Exception):
    """Something went wrong that the message explains; `hint`, when given, says what to do about it."""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint

    @property
    def with_hint(self) -> str:
        """The message, and the hint in brackets where there is one: for places that show one text."""
        return f"{self} ({self.hint})" if self.hint else str(self)


class UserError(CcarError):
    """The input cannot be used as it is: exit code 2."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with a file, where it stands, and what would be right."""

    file: str
    line: int | None
    message: str
    hint: str | None = None

    def __str__(self) -> str:
        where = self.file if self.line is None else f"{self.file}:{self.line}"
        return f"{where}: {self.message}" + (f"\n  hint: {self.hint}" if self.hint else "")


class StudyFileError(UserError):
    """A study file, or the data it names, has one or more independent problems; all are listed at once."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems


class DataError(UserError):
    """A data set is missing, unreadable, or cannot give the long tail that was asked for.

    The message has one line for each independent problem; `problems` gives them one by one.
    """

    @property
    def problems(self) -> tuple[str, ...]:
        return tuple(str(self).splitlines())


class StoreError(CcarError):
    """The trial store cannot be read or written."""


class Damaged(StoreError):
    """A file of the store is missing, or is not what was written."""


class StoreUnreachable(StoreError, UserError):
    """There is no store at the address that was given, or none that lets us in."""


class TrialBusy(StoreError):
    """Somebody else, still alive, holds the claim on this trial."""


class Fenced(StoreError):
    """Another worker has taken this trial over; nothing more may be written by this one."""


class ClusterError(CcarError):
    """A Ray cluster, or a part of it, did not do what it was to do."""


class WrongNode(UserError):
    """A node has other software, code or images than the driver: it must not train, under keys that are not its own."""


class TrackingError(CcarError):
    """The MLflow store or server did not take what it was given."""


class TrackingUnreachable(TrackingError, UserError):
    """No MLflow server answers at the address that was given."""


class Diverged(CcarError):
    """A loss or a weight is no longer finite."""
