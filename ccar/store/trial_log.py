"""One trial's log: numbered records, each created exclusively, in a total order that fences zombies off.

Whoever writes knows the number of the next record. Taking a trial over appends a claim under that number, so
a former worker that wakes up finds its next number taken and can write nothing: no window is left.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ccar.errors import Fenced
from ccar.store.folder import Folder
from ccar.store.seal import sealed, unseal

RecordType = Literal["claim", "commit", "released", "finished", "diverged", "failed", "stopped"]
ENDS: frozenset[str] = frozenset({"finished", "diverged", "failed", "stopped"})


@dataclass(frozen=True, slots=True)
class LogRecord:
    """One record: its place in the order, what it says, and when it was written (Unix time)."""

    number: int
    type: str
    at: float
    content: Mapping[str, Any]


class TrialLog:
    """The records of one trial, in the folder that holds them."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder

    def length(self) -> int:
        """How many records there are."""
        return max((int(name.partition(".")[0]) + 1 for name in self._folder.names() if name[0] != "."), default=0)

    def read(self, number: int) -> LogRecord:
        """Read one record, verified.

        Raises:
            StoreError: it was altered after it was written.
        """
        content = unseal(self._folder, _name(number))
        return LogRecord(number, content.pop("type"), content.pop("at"), content)

    def append(self, number: int, type_: RecordType, at: float, content: Mapping[str, Any]) -> None:
        """Write record `number`, durably.

        Raises:
            Fenced: somebody else has written this number.
            StoreError: the disk is full or not writable.
        """
        if not self._folder.create(_name(number), sealed({"type": type_, "at": at, **content})):
            raise Fenced(f"another worker has taken over the trial whose log is {self._folder}")


def _name(number: int) -> str:
    return f"{number:06d}.jsonl"
