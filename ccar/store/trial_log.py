"""One trial's log: numbered records, each created exclusively, in a total order that fences zombies off.

Whoever writes knows the number of the next record. Taking a trial over appends a claim under that number, so
a former worker that wakes up finds its next number taken and can write nothing: no window is left.

The record that ends a trial for good repeats its history and names the commits that it replaces, which are deleted
then. Whoever creates one of their numbers again finds it in that record: it is taken for good all the same.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ccar.errors import Damaged, Fenced
from ccar.store.folder import Folder
from ccar.store.seal import TRAIN_AGAIN, sealed, unseal_needed

RecordType = Literal["claim", "commit", "released", "finished", "diverged", "failed", "stopped"]
ENDS: frozenset[str] = frozenset({"finished", "diverged", "failed", "stopped"})
FINAL: frozenset[str] = frozenset({"finished", "diverged"})  # such a log never grows again
_RECORD = re.compile(r"(\d{6,})\.jsonl")  # what file managers and synchronisers leave beside them is not ours


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
        """How many records were written, the replaced ones included."""
        found = map(_RECORD.fullmatch, self._folder.names())
        return max((int(record[1]) + 1 for record in found if record), default=0)

    def version(self) -> str:
        """A text that changes with it, also where it was deleted and begun anew."""
        return "; ".join(f"{name} {version}" for name, version in sorted(self._folder.versions().items()))

    def read(self, number: int) -> LogRecord:
        """Read one record, verified.

        Raises:
            Damaged: it is missing, or was altered after it was written.
            StoreError: it cannot be read.
        """
        content = unseal_needed(self._folder, _name(number), hint=TRAIN_AGAIN)
        return LogRecord(number, content.pop("type"), content.pop("at"), content)

    def last(self) -> LogRecord | None:
        """The last record, verified; None: there is none.

        Raises:
            Damaged: it is missing, or was altered after it was written.
            StoreError: it cannot be read.
        """
        while length := self.length():
            try:
                return self.read(length - 1)
            except Damaged:
                if self.length() == length:  # else it was replaced by a later one just now
                    raise
        return None

    def append(self, number: int, type_: RecordType, at: float, content: Mapping[str, Any]) -> None:
        """Write record `number`, durably.

        Args:
            number: of the record, the next one as far as the caller knows.
            type_: what happens to the trial.
            at: Unix time.
            content: of the record; `replaces` are the numbers of those that are not needed beside it.

        Raises:
            Fenced: somebody else has written this number; or the trial was deleted, and must not begin in its middle.
            StoreError: the disk is full or not writable.
        """
        if number and not self._folder.exists(_name(number - 1)):
            raise Fenced(f"the trial whose log is {self._folder} has ended, or was deleted")
        if not self._folder.create(_name(number), sealed({"type": type_, "at": at, **content})):
            raise Fenced(f"another worker has taken over the trial whose log is {self._folder}")
        # Whoever was slow between looking and creating may have created the number of a commit that was replaced.
        last = self.last() if self.length() > number + 1 else None
        if last is not None and number in last.content.get("replaces", ()):
            self._folder.delete(_name(number))
            raise Fenced(f"the trial whose log is {self._folder} has ended")

    def tidy(self, replaced: Collection[int]) -> None:
        """Delete these records, and what somebody began to write and did not end.

        Raises:
            StoreError: something cannot be deleted.
        """
        names = set(map(_name, replaced))
        self._folder.delete(*(name for name in self._folder.names() if name in names or name.startswith(".")))


def _name(number: int) -> str:
    return f"{number:06d}.jsonl"
