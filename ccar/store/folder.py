"""What the store asks of the place that it is kept in: whole files, one writer for each, a clock for all."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import AbstractContextManager
from typing import Protocol


class Folder(Protocol):
    """A folder of whole files that many processes on many hosts use at once; `str` is its address.

    It need not exist before a file is put into it. What cannot be read or written raises StoreError.
    """

    def folder(self, *names: str) -> Folder:
        """A folder in this one."""

    def create(self, name: str, content: bytes) -> bool:
        """Create a file, durably; False when somebody else has created it already. Of several, one succeeds."""

    def replace(self, name: str, content: bytes) -> None:
        """Create or replace a file, durably; readers see the old content or the new, never a part."""

    def read(self, name: str) -> bytes:
        """What is in a file.

        Raises:
            FileNotFoundError: there is no such file.
        """

    def exists(self, name: str) -> bool:
        """Whether there is such a file."""

    def delete(self, *names: str) -> None:
        """Remove files, as far as they are there."""

    def touch(self, name: str) -> None:
        """Renew the time of a file, which is made empty if it is not there. Need not be durable."""

    def touched_at(self, name: str) -> float:
        """When a file was written or touched, in Unix time, by the one clock of this place.

        Raises:
            FileNotFoundError: there is no such file.
        """

    def names(self, depth: int = 1) -> Collection[str]:
        """The names of all files and folders in it, or for `depth` 2 in its folders; in no order."""

    def versions(self) -> Mapping[str, str]:
        """For each file in it, and maybe for folders, a text that changes when its content does."""

    def turn(self, name: str, seconds: float) -> AbstractContextManager[None]:
        """For the time of the block be the only one that has the turn of this name; who dies loses it.

        Raises:
            TimeoutError: others had it for so many seconds.
        """

    def nearest(self) -> Folder:
        """Itself; where it does not exist and would have to be made first, the nearest one above that does."""

    def clear(self) -> None:
        """Remove it and all that is in it, as far as that can be done."""

    def free_bytes(self) -> int | None:
        """How much fits in yet; None where nobody counts."""
